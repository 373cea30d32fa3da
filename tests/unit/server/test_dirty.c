// SPDX-License-Identifier: BSD-3-Clause
/* DMA_LOGGING_START, _STOP, _REPORT: which pages the device wrote. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dirty_model.h"

enum { START = 6, STOP = 7, REPORT = 8 };
enum { GET = 1 << 16, SET = 1 << 17, PROBE = 1 << 18 };
enum { R = 1, W = 2, RW = 3, FILE_IO = 8 };
enum { ALL = 2 };

#define PAGE 0x1000u
#define GIB (UINT64_C(1) << 30)
#define MEM_SIZE (256 * PAGE)

struct feature { uint32_t argsz, flags; };
struct range { uint64_t iova, length; };
struct start {
	struct feature feature;
	uint64_t page_size;
	uint32_t count, reserved;
	struct range ranges[8];
};
struct report {
	struct feature feature;
	uint64_t iova, length, page_size;
};

static int guest(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEM_SIZE), 0);
	return fd;
}

static struct rig *rig_dma(void)
{
	struct rig *rig = rig_ready();

	rig_master(rig, true);
	return rig;
}

static int start(struct rig *rig, uint64_t page_size,
		 const struct range *ranges, uint32_t count)
{
	struct start body = {
		{ sizeof(body), START | SET }, page_size, count, 0, { { 0, 0 } }
	};
	size_t len = 24 + count * sizeof(*ranges);

	if (count)
		memcpy(body.ranges, ranges, count * sizeof(*ranges));
	return rig_call(rig, FEATURE, &body, len);
}

static int stop(struct rig *rig)
{
	struct feature body = { 8, STOP | SET };

	return rig_call(rig, FEATURE, &body, sizeof(body));
}

/* Bits are at rig->reply + 32 then. */
static int report(struct rig *rig, uint64_t iova, uint64_t length,
		  uint64_t page_size)
{
	struct report body = {
		{ 1u << 30, REPORT | GET }, iova, length, page_size
	};

	return rig_call(rig, FEATURE, &body, sizeof(body));
}

static bool bit(const struct rig *rig, uint64_t n)
{
	return rig->reply[32 + n / 8] >> (n % 8) & 1;
}

static unsigned count_bits(const struct rig *rig)
{
	unsigned n = 0;

	for (size_t i = 0; i < (rig->len - 32) * 8; i++)
		n += bit(rig, i);
	return n;
}

/* One page of a range by its address: was it dirty?  It is not any more. */
static bool dirty(struct rig *rig, uint64_t addr)
{
	assert_int_equal(report(rig, addr & ~(uint64_t)(PAGE - 1), PAGE, PAGE), 0);
	assert_int_equal(rig->len, 40);
	return bit(rig, 0);
}

static int wr(struct rig *rig, uint64_t addr, uint32_t len)
{
	static uint8_t bytes[MEM_SIZE];
	struct ob_seg seg = { addr, len };

	return ob_dma_write(rig->dev, &seg, 1, bytes, NULL);
}

static void what_was_written_is_told_once(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();
	struct report *told = (struct report *)rig->reply;

	(void)arg;
	assert_int_equal(rig_map(rig, 0x100000, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(wr(rig, 0x100000, 8), 0);	/* nobody asked yet */
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0x103ffe, 4), 0);	/* two pages */
	assert_int_equal(wr(rig, 0x140000, 70 * PAGE), 0);
	assert_int_equal(wr(rig, 0x1fffff, 1), 0);
	assert_int_equal(report(rig, 0x100000, MEM_SIZE, PAGE), 0);
	assert_int_equal(rig->len, 8 + 24 + 32);
	assert_int_equal(told->feature.argsz, rig->len);
	assert_int_equal(told->feature.flags, REPORT | GET);
	assert_int_equal(told->iova, 0x100000);
	assert_int_equal(told->length, MEM_SIZE);
	assert_int_equal(told->page_size, PAGE);
	assert_int_equal(count_bits(rig), 2 + 70 + 1);
	assert_true(bit(rig, 3) && bit(rig, 4) && bit(rig, 0x40) &&
		    bit(rig, 0x40 + 69) && bit(rig, 255));
	assert_int_equal(report(rig, 0x100000, MEM_SIZE, PAGE), 0);
	assert_int_equal(count_bits(rig), 0);
	assert_int_equal(wr(rig, 0x103000, 1), 0);	/* dirty again */
	assert_true(dirty(rig, 0x103000));
	close(fd);
	rig_end(rig);
}

static void reads_are_not_logged(void **arg)
{
	struct rig *rig = rig_dma();
	struct ob_seg seg = { 0, 64 };
	int fd = guest();
	uint8_t buf[64];

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, MEM_SIZE, MEM_SIZE, 0, R, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, NULL), 0);
	assert_non_null(ob_dma_ptr(rig->dev, 0, 8, true));
	assert_int_equal(wr(rig, MEM_SIZE, 1), -EACCES);
	assert_int_equal(report(rig, 0, 2 * MEM_SIZE, PAGE), 0);
	assert_int_equal(count_bits(rig), 0);
	close(fd);
	rig_end(rig);
}

/* Completion queues and shadow doorbells are written through pointers. */
static void stores_through_a_pointer_are_logged(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();
	uint32_t *word;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	word = ob_dma_ptr(rig->dev, 0x5ffc, 4, true);
	assert_non_null(word);
	*word = 1;
	ob_dma_wrote(rig->dev, 0x5ffc, 4);
	ob_dma_wrote(rig->dev, 0x7000, 0);
	assert_int_equal(report(rig, 0, MEM_SIZE, PAGE), 0);
	assert_int_equal(count_bits(rig), 1);
	assert_true(bit(rig, 5));
	close(fd);
	rig_end(rig);
}

static void writes_by_file_io_are_logged(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW | FILE_IO, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0x2ff0, 0x20), 0);
	assert_int_equal(report(rig, 0, MEM_SIZE, PAGE), 0);
	assert_int_equal(count_bits(rig), 2);
	assert_true(bit(rig, 2) && bit(rig, 3));
	close(fd);
	rig_end(rig);
}

static void op_done(struct ob_dma_op *op, int rc)
{
	(void)op;
	assert_int_equal(rc, 0);
}

/* The client does that write, so it knows. */
static void writes_by_message_are_not_logged(void **arg)
{
	struct ob_dma_op op = { .done = op_done };
	struct ob_seg segs[2] = { { 0x3ffc, 4 }, { 0x4000, 4 } };
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, 0x4000, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, 0x4000, 0x4000, 0, RW, -1), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(ob_dma_write(rig->dev, segs, 2, "abcdefgh", &op),
			 -EINPROGRESS);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, DMA_WRITE);
	rig_answer(rig, rig->fd, &rig->hdr, 0, NULL, 0);
	rig_settle(rig);
	assert_int_equal(report(rig, 0, 0x8000, PAGE), 0);
	assert_int_equal(count_bits(rig), 1);
	assert_true(bit(rig, 3));
	close(fd);
	rig_end(rig);
}

static void memory_mapped_while_it_is_on_is_logged(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(rig_map(rig, 5 * GIB, PAGE, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, UINT64_MAX - PAGE + 1, PAGE, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, 3 * GIB - PAGE, 2 * PAGE, 0, RW, fd), 0);
	assert_int_equal(wr(rig, 5 * GIB, 1), 0);
	assert_int_equal(wr(rig, UINT64_MAX, 1), 0);
	assert_int_equal(wr(rig, 3 * GIB - 1, 2), 0);
	assert_int_equal(report(rig, 2 * GIB, 4 * GIB, PAGE), 0);
	assert_int_equal(count_bits(rig), 3);
	assert_true(bit(rig, GIB / PAGE) && bit(rig, GIB / PAGE - 1) &&
		    bit(rig, 3 * GIB / PAGE));
	assert_true(dirty(rig, UINT64_MAX));
	close(fd);
	rig_end(rig);
}

static void what_is_unmapped_stays_dirty(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, GIB, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, GIB + 0x7000, 1), 0);
	assert_int_equal(wr(rig, GIB + 0x9000, 1), 0);
	assert_int_equal(rig_unmap(rig, GIB, MEM_SIZE, 0), 0);
	assert_true(dirty(rig, GIB + 0x7000));
	assert_int_equal(rig_map(rig, GIB, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(rig_unmap(rig, 0, 0, ALL), 0);
	assert_false(dirty(rig, GIB + 0x7000));
	assert_true(dirty(rig, GIB + 0x9000));
	close(fd);
	rig_end(rig);
}

static void what_was_never_mapped_is_clean(void **arg)
{
	struct rig *rig = rig_dma();

	(void)arg;
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(report(rig, 0, GIB, PAGE), 0);
	assert_int_equal(rig->len, 32 + 32768);
	assert_int_equal(count_bits(rig), 0);
	assert_int_equal(report(rig, 0, UINT64_MAX, UINT64_C(1) << 63), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(count_bits(rig), 0);
	rig_end(rig);
}

static void ranges_are_honoured(void **arg)
{
	static const struct range ranges[] = {
		{ 0x8000, 0x4000 },	/* 8 to 11 */
		{ 0xa000, 0x3000 },	/* overlaps: to 12 */
		{ 0x2fff, 2 },		/* not whole pages: 2 and 3 */
		{ GIB - PAGE, 2 * PAGE },
		{ 0xe000, 0x1000 }, { 0xf000, 0x1000 },
	};
	struct rig *rig = rig_dma();
	int fd = guest();
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, ranges, 6), 0);
	assert_int_equal(rig_map(rig, GIB - 4 * PAGE, 8 * PAGE, 0, RW, fd), 0);
	assert_int_equal(wr(rig, 0, MEM_SIZE), 0);
	assert_int_equal(wr(rig, GIB - 4 * PAGE, 8 * PAGE), 0);
	assert_int_equal(report(rig, 0, MEM_SIZE, PAGE), 0);
	for (i = 0; i < 256; i++)
		assert_int_equal(bit(rig, i), i == 2 || i == 3 ||
				 (i >= 8 && i <= 12) || i == 14 || i == 15);
	assert_int_equal(report(rig, GIB - 4 * PAGE, 8 * PAGE, PAGE), 0);
	assert_int_equal(count_bits(rig), 2);
	assert_true(bit(rig, 3) && bit(rig, 4));
	close(fd);
	rig_end(rig);
}

/* The answer is what was asked, but for the page size that is in effect. */
static void start_answers_with_its_page_size(void **arg)
{
	static const struct range ranges[] = { { 0, GIB }, { GIB, 0x10000 } };
	struct rig *rig = rig_dma();
	struct start *told = (struct start *)rig->reply;

	(void)arg;
	assert_int_equal(start(rig, 1 << 21, ranges, 2), 0);
	assert_int_equal(rig->len, 24 + sizeof(ranges));
	assert_int_equal(told->feature.argsz, rig->len);
	assert_int_equal(told->page_size, 4096);
	assert_int_equal(told->count, 2);
	assert_memory_equal(told->ranges, ranges, sizeof(ranges));
	assert_int_equal(stop(rig), 0);
	assert_int_equal(rig->len, 8);
	assert_int_equal(start(rig, 1, NULL, 0), 0);
	assert_int_equal(rig->len, 24);
	assert_int_equal(told->page_size, 4096);
	rig_end(rig);
}

static void start_refuses_what_makes_no_sense(void **arg)
{
	static const struct range bad[] = {
		{ 0, 0 }, { PAGE, 0 }, { UINT64_MAX, 2 },
		{ PAGE, UINT64_MAX }, { UINT64_MAX - PAGE + 1, 2 * PAGE },
	};
	static const struct range last = { UINT64_MAX - PAGE + 1, PAGE };
	struct rig *rig = rig_dma();
	unsigned i;

	(void)arg;
	assert_int_equal(start(rig, 0, NULL, 0), EINVAL);
	assert_int_equal(start(rig, 0x3000, NULL, 0), EINVAL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(start(rig, PAGE, &bad[i], 1), EINVAL);
	assert_int_equal(report(rig, 0, PAGE, PAGE), EINVAL);	/* not on */
	assert_int_equal(start(rig, PAGE, &last, 1), 0);
	rig_end(rig);
}

static void there_is_one_log_at_a_time(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(stop(rig), 0);
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0, 1), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), EINVAL);
	assert_true(dirty(rig, 0));
	assert_int_equal(wr(rig, 0, 1), 0);
	assert_int_equal(stop(rig), 0);
	assert_int_equal(report(rig, 0, PAGE, PAGE), EINVAL);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_false(dirty(rig, 0));		/* a new one is empty */
	close(fd);
	rig_end(rig);
}

static void a_reset_keeps_the_log_a_hang_up_ends_it(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0, 1), 0);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	assert_true(dirty(rig, 0));
	rig_hang_up(rig);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(report(rig, 0, PAGE, PAGE), EINVAL);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	close(fd);
	rig_end(rig);
}

static void sub_ranges_take_what_is_inside(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0, MEM_SIZE), 0);
	assert_int_equal(report(rig, 70 * PAGE, 3 * PAGE, PAGE), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(count_bits(rig), 3);
	assert_int_equal(report(rig, 69 * PAGE, 5 * PAGE, PAGE), 0);
	assert_int_equal(count_bits(rig), 2);
	assert_true(bit(rig, 0) && bit(rig, 4));
	/* Only partly inside: told, but not taken. */
	assert_int_equal(report(rig, PAGE + 1, PAGE, PAGE), 0);
	assert_int_equal(count_bits(rig), 1);
	assert_int_equal(report(rig, 0, 4 * PAGE, PAGE), 0);
	assert_int_equal(count_bits(rig), 4);
	close(fd);
	rig_end(rig);
}

static void finer_pages_repeat_a_bit_coarser_fold_them(void **arg)
{
	struct rig *rig = rig_dma();
	int fd = guest();
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	/* More than 256 bits of a page that is smaller. */
	assert_int_equal(wr(rig, 2 * PAGE, 1), 0);
	assert_int_equal(report(rig, 0, 64 * PAGE, 512), 0);
	assert_int_equal(rig->len, 32 + 64);
	for (i = 0; i < 512; i++)
		assert_int_equal(bit(rig, i), i / 8 == 2);
	assert_int_equal(wr(rig, 3 * PAGE, 1), 0);
	assert_int_equal(report(rig, 3 * PAGE - 10, 20, 1), 0);
	assert_int_equal(rig->len, 40);
	for (i = 0; i < 64; i++)
		assert_int_equal(bit(rig, i), i >= 10 && i < 20);
	assert_int_equal(wr(rig, 17 * PAGE, 1), 0);
	assert_int_equal(report(rig, 0, MEM_SIZE, 16 * PAGE), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(count_bits(rig), 2);
	assert_true(bit(rig, 0) && bit(rig, 1));
	assert_int_equal(wr(rig, 255 * PAGE, 1), 0);
	assert_int_equal(report(rig, 0, UINT64_MAX, UINT64_C(1) << 63), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(count_bits(rig), 1);
	assert_true(bit(rig, 0));
	assert_false(dirty(rig, 255 * PAGE));
	close(fd);
	rig_end(rig);
}

static void report_refuses_what_makes_no_sense(void **arg)
{
	static const struct { uint64_t iova, length, page_size; int want; } bad[] = {
		{ 0, 0, PAGE, EINVAL },
		{ 0, PAGE, 0, EINVAL },
		{ 0, PAGE, 3, EINVAL },
		{ 0, PAGE, PAGE + 1, EINVAL },
		{ 1, UINT64_MAX, UINT64_C(1) << 63, 0 },
		{ 2, UINT64_MAX, UINT64_C(1) << 63, EINVAL },
		{ UINT64_MAX, 2, PAGE, EINVAL },
		{ 0, UINT64_MAX, 1, E2BIG },
		{ 0, UINT64_MAX, PAGE, E2BIG },
		{ 0, (UINT64_C(1) << 41) + 1, PAGE, E2BIG },
	};
	struct rig *rig = rig_dma();
	unsigned i;

	(void)arg;
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(report(rig, bad[i].iova, bad[i].length,
					bad[i].page_size), bad[i].want);
	rig_end(rig);
}

/* Where another server read behind the message's end. */
static void r2_every_length_that_is_too_short_is_refused(void **arg)
{
	struct start s = { { sizeof(s), START | SET }, PAGE, 2, 0,
			   { { 0, PAGE }, { GIB, PAGE } } };
	struct report g = { { 1 << 20, REPORT | GET }, 0, PAGE, PAGE };
	struct rig *rig = rig_dma();
	size_t len;

	(void)arg;
	for (len = 0; len < 24 + 2 * sizeof(struct range); len++)
		assert_int_equal(rig_call(rig, FEATURE, &s, len), EINVAL);
	s.count = UINT32_MAX;
	assert_int_equal(rig_call(rig, FEATURE, &s, sizeof(s)), EINVAL);
	s.count = 2;
	assert_int_equal(rig_call(rig, FEATURE, &s, sizeof(s)), 0);
	for (len = 0; len < sizeof(g); len++)
		assert_int_equal(rig_call(rig, FEATURE, &g, len), EINVAL);
	assert_int_equal(rig_call(rig, FEATURE, &g, sizeof(g)), 0);
	rig_end(rig);
}

static void without_room_the_answer_is_its_size_and_takes_nothing(void **arg)
{
	struct report body = { { 0, REPORT | GET }, 0, MEM_SIZE, PAGE };
	struct rig *rig = rig_dma();
	struct feature *told = (struct feature *)rig->reply;
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0x5000, 1), 0);
	for (body.feature.argsz = 8; body.feature.argsz < 64;
	     body.feature.argsz++) {
		assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)), 0);
		assert_int_equal(rig->len, 8);
		assert_int_equal(told->argsz, 64);
	}
	assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)), 0);
	assert_int_equal(rig->len, 64);
	assert_int_equal(count_bits(rig), 1);
	close(fd);
	rig_end(rig);
}

static void who_wants_no_reply_takes_nothing(void **arg)
{
	struct report body = { { 1 << 20, REPORT | GET }, 0, PAGE, PAGE };
	struct rig *rig = rig_dma();
	int fd = guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(wr(rig, 0, 1), 0);
	rig_send(rig, FEATURE, NO_REPLY, &body, sizeof(body), NULL, 0);
	assert_true(rig_silent(rig));
	assert_true(dirty(rig, 0));
	close(fd);
	rig_end(rig);
}

static void probe_and_flags(void **arg)
{
	static const struct { uint32_t flags; int want; } tries[] = {
		{ START | PROBE, 0 }, { START | PROBE | SET, 0 },
		{ START | PROBE | GET, EINVAL }, { START | GET, EINVAL },
		{ START | GET | SET, EINVAL }, { START, EINVAL },
		{ STOP | PROBE | SET, 0 }, { STOP | GET, EINVAL },
		{ REPORT | PROBE | GET, 0 }, { REPORT | PROBE | SET, EINVAL },
		{ REPORT | SET, EINVAL }, { REPORT | GET | 1 << 19, EINVAL },
	};
	struct rig *rig = rig_dma();
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct feature body = { sizeof(body), tries[i].flags };

		assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)),
				 tries[i].want);
		assert_int_equal(rig->len, sizeof(body));
		if (!tries[i].want)
			assert_memory_equal(rig->reply, &body, sizeof(body));
	}
	assert_int_equal(report(rig, 0, PAGE, PAGE), EINVAL);	/* still off */
	rig_end(rig);
}

/* Random maps, writes, ranges and questions, against a list of pages. */
static void is_what_a_list_of_pages_says(void **arg)
{
	static const int kinds[] = { RW, W, R, RW | FILE_IO, RW };
	struct model m = { .seed = 20 };
	struct rig *rig = rig_dma();
	int fd = guest();
	unsigned i;

	(void)arg;
	for (i = 0; i < 20000; i++) {
		struct query q;
		uint64_t addr, len;
		unsigned kind;

		switch (model_random(&m, 8)) {
		case 0:
			kind = (unsigned)model_random(&m, 5);
			if (!model_map(&m, kind, &addr, &len))
				break;
			assert_int_equal(rig_map(rig, addr, len, 0, kinds[kind] &
				(kind == 4 ? RW : ~0), kind == 4 ? -1 : fd), 0);
			break;
		case 1:
			if (!model_random(&m, 4) &&
			    model_unmap(&m, &addr, &len))
				assert_int_equal(rig_unmap(rig, addr, len, 0), 0);
			break;
		case 2:
			if (model_random(&m, 32))
				break;
			assert_int_equal(stop(rig), 0);
			model_start(&m);
			assert_int_equal(start(rig, PAGE, (struct range *)m.ranges,
					       m.nr_ranges), 0);
			break;
		case 3:
			if (!m.on)
				break;
			model_query(&m, &q);
			assert_int_equal(report(rig, q.iova, q.length,
						q.page_size), 0);
			model_check(&m, &q, rig->reply + 32, rig->len - 32);
			break;
		default:
			model_write(&m, &addr, &len);
			wr(rig, addr, (uint32_t)len);
		}
	}
	assert_true(m.bits_told > 10000);
	close(fd);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_told_once),
		cmocka_unit_test(reads_are_not_logged),
		cmocka_unit_test(stores_through_a_pointer_are_logged),
		cmocka_unit_test(writes_by_file_io_are_logged),
		cmocka_unit_test(writes_by_message_are_not_logged),
		cmocka_unit_test(memory_mapped_while_it_is_on_is_logged),
		cmocka_unit_test(what_is_unmapped_stays_dirty),
		cmocka_unit_test(what_was_never_mapped_is_clean),
		cmocka_unit_test(ranges_are_honoured),
		cmocka_unit_test(start_answers_with_its_page_size),
		cmocka_unit_test(start_refuses_what_makes_no_sense),
		cmocka_unit_test(there_is_one_log_at_a_time),
		cmocka_unit_test(a_reset_keeps_the_log_a_hang_up_ends_it),
		cmocka_unit_test(sub_ranges_take_what_is_inside),
		cmocka_unit_test(finer_pages_repeat_a_bit_coarser_fold_them),
		cmocka_unit_test(report_refuses_what_makes_no_sense),
		cmocka_unit_test(r2_every_length_that_is_too_short_is_refused),
		cmocka_unit_test(without_room_the_answer_is_its_size_and_takes_nothing),
		cmocka_unit_test(who_wants_no_reply_takes_nothing),
		cmocka_unit_test(probe_and_flags),
		cmocka_unit_test(is_what_a_list_of_pages_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
