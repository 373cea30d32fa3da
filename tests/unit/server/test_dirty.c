// SPDX-License-Identifier: BSD-3-Clause
/* The dirty log: which pages count as written, and for how long. */
#include "dirty_client.h"
#include "dirty_model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void what_was_written_is_told_once(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();
	struct report *told = (struct report *)rig->reply;

	(void)arg;
	assert_int_equal(rig_map(rig, 0x100000, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_write(rig, 0x100000, 8), 0);	/* nobody asked yet */
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0x103ffe, 4), 0);	/* two pages */
	assert_int_equal(log_write(rig, 0x140000, 70 * PAGE), 0);
	assert_int_equal(log_write(rig, 0x1fffff, 1), 0);
	assert_int_equal(log_report(rig, 0x100000, MEM_SIZE, PAGE), 0);
	assert_int_equal(rig->len, 8 + 24 + 32);
	assert_int_equal(told->feature.argsz, rig->len);
	assert_int_equal(told->feature.flags, REPORT | GET);
	assert_int_equal(told->iova, 0x100000);
	assert_int_equal(told->length, MEM_SIZE);
	assert_int_equal(told->page_size, PAGE);
	assert_int_equal(log_bits(rig), 2 + 70 + 1);
	assert_true(log_bit(rig, 3) && log_bit(rig, 4) && log_bit(rig, 0x40) &&
		    log_bit(rig, 0x40 + 69) && log_bit(rig, 255));
	assert_int_equal(log_report(rig, 0x100000, MEM_SIZE, PAGE), 0);
	assert_int_equal(log_bits(rig), 0);
	assert_int_equal(log_write(rig, 0x103000, 1), 0);	/* dirty again */
	assert_true(log_dirty(rig, 0x103000));
	close(fd);
	rig_end(rig);
}

static void reads_are_not_logged(void **arg)
{
	struct rig *rig = log_rig();
	struct ob_seg seg = { 0, 64 };
	int fd = log_guest();
	uint8_t buf[64];

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, MEM_SIZE, MEM_SIZE, 0, R, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, NULL), 0);
	assert_non_null(ob_dma_ptr(rig->dev, 0, 8, true));
	assert_int_equal(log_write(rig, MEM_SIZE, 1), -EACCES);
	assert_int_equal(log_report(rig, 0, 2 * MEM_SIZE, PAGE), 0);
	assert_int_equal(log_bits(rig), 0);
	close(fd);
	rig_end(rig);
}

/* Completion queues and shadow doorbells are written through pointers. */
static void stores_through_a_pointer_are_logged(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();
	uint32_t *word;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	word = ob_dma_ptr(rig->dev, 0x5ffc, 4, true);
	assert_non_null(word);
	*word = 1;
	ob_dma_wrote(rig->dev, 0x5ffc, 4);
	ob_dma_wrote(rig->dev, 0x7000, 0);
	assert_int_equal(log_report(rig, 0, MEM_SIZE, PAGE), 0);
	assert_int_equal(log_bits(rig), 1);
	assert_true(log_bit(rig, 5));
	close(fd);
	rig_end(rig);
}

static void writes_by_file_io_are_logged(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW | FILE_IO, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0x2ff0, 0x20), 0);
	assert_int_equal(log_report(rig, 0, MEM_SIZE, PAGE), 0);
	assert_int_equal(log_bits(rig), 2);
	assert_true(log_bit(rig, 2) && log_bit(rig, 3));
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
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, 0x4000, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, 0x4000, 0x4000, 0, RW, -1), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(ob_dma_write(rig->dev, segs, 2, "abcdefgh", &op),
			 -EINPROGRESS);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, DMA_WRITE);
	rig_answer(rig, rig->fd, &rig->hdr, 0, NULL, 0);
	rig_settle(rig);
	assert_int_equal(log_report(rig, 0, 0x8000, PAGE), 0);
	assert_int_equal(log_bits(rig), 1);
	assert_true(log_bit(rig, 3));
	close(fd);
	rig_end(rig);
}

static void memory_mapped_while_it_is_on_is_logged(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(rig_map(rig, 5 * GIB, PAGE, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, UINT64_MAX - PAGE + 1, PAGE, 0, RW, fd), 0);
	assert_int_equal(rig_map(rig, 3 * GIB - PAGE, 2 * PAGE, 0, RW, fd), 0);
	assert_int_equal(log_write(rig, 5 * GIB, 1), 0);
	assert_int_equal(log_write(rig, UINT64_MAX, 1), 0);
	assert_int_equal(log_write(rig, 3 * GIB - 1, 2), 0);
	assert_int_equal(log_report(rig, 2 * GIB, 4 * GIB, PAGE), 0);
	assert_int_equal(log_bits(rig), 3);
	assert_true(log_bit(rig, GIB / PAGE) && log_bit(rig, GIB / PAGE - 1) &&
		    log_bit(rig, 3 * GIB / PAGE));
	assert_true(log_dirty(rig, UINT64_MAX));
	close(fd);
	rig_end(rig);
}

static void what_is_unmapped_stays_dirty(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, GIB, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, GIB + 0x7000, 1), 0);
	assert_int_equal(log_write(rig, GIB + 0x9000, 1), 0);
	assert_int_equal(rig_unmap(rig, GIB, MEM_SIZE, 0), 0);
	assert_true(log_dirty(rig, GIB + 0x7000));
	assert_int_equal(rig_map(rig, GIB, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(rig_unmap(rig, 0, 0, ALL), 0);
	assert_false(log_dirty(rig, GIB + 0x7000));
	assert_true(log_dirty(rig, GIB + 0x9000));
	close(fd);
	rig_end(rig);
}

static void what_was_never_mapped_is_clean(void **arg)
{
	struct rig *rig = log_rig();

	(void)arg;
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_report(rig, 0, GIB, PAGE), 0);
	assert_int_equal(rig->len, 32 + 32768);
	assert_int_equal(log_bits(rig), 0);
	assert_int_equal(log_report(rig, 0, UINT64_MAX, UINT64_C(1) << 63), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(log_bits(rig), 0);
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
	struct rig *rig = log_rig();
	int fd = log_guest();
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, ranges, 6), 0);
	assert_int_equal(rig_map(rig, GIB - 4 * PAGE, 8 * PAGE, 0, RW, fd), 0);
	assert_int_equal(log_write(rig, 0, MEM_SIZE), 0);
	assert_int_equal(log_write(rig, GIB - 4 * PAGE, 8 * PAGE), 0);
	assert_int_equal(log_report(rig, 0, MEM_SIZE, PAGE), 0);
	for (i = 0; i < 256; i++)
		assert_int_equal(log_bit(rig, i), i == 2 || i == 3 ||
				 (i >= 8 && i <= 12) || i == 14 || i == 15);
	assert_int_equal(log_report(rig, GIB - 4 * PAGE, 8 * PAGE, PAGE), 0);
	assert_int_equal(log_bits(rig), 2);
	assert_true(log_bit(rig, 3) && log_bit(rig, 4));
	close(fd);
	rig_end(rig);
}

static void a_reset_keeps_the_log_a_hang_up_ends_it(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0, 1), 0);
	assert_int_equal(rig_call(rig, RESET, NULL, 0), 0);
	assert_true(log_dirty(rig, 0));
	rig_hang_up(rig);
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(log_report(rig, 0, PAGE, PAGE), EINVAL);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	close(fd);
	rig_end(rig);
}

static void sub_ranges_take_what_is_inside(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0, MEM_SIZE), 0);
	assert_int_equal(log_report(rig, 70 * PAGE, 3 * PAGE, PAGE), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(log_bits(rig), 3);
	assert_int_equal(log_report(rig, 69 * PAGE, 5 * PAGE, PAGE), 0);
	assert_int_equal(log_bits(rig), 2);
	assert_true(log_bit(rig, 0) && log_bit(rig, 4));
	/* Only partly inside: told, but not taken. */
	assert_int_equal(log_report(rig, PAGE + 1, PAGE, PAGE), 0);
	assert_int_equal(log_bits(rig), 1);
	assert_int_equal(log_report(rig, 0, 4 * PAGE, PAGE), 0);
	assert_int_equal(log_bits(rig), 4);
	close(fd);
	rig_end(rig);
}

static void finer_pages_repeat_a_bit_coarser_fold_them(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	/* More than 256 bits of a page that is smaller. */
	assert_int_equal(log_write(rig, 2 * PAGE, 1), 0);
	assert_int_equal(log_report(rig, 0, 64 * PAGE, 512), 0);
	assert_int_equal(rig->len, 32 + 64);
	for (i = 0; i < 512; i++)
		assert_int_equal(log_bit(rig, i), i / 8 == 2);
	assert_int_equal(log_write(rig, 3 * PAGE, 1), 0);
	assert_int_equal(log_report(rig, 3 * PAGE - 10, 20, 1), 0);
	assert_int_equal(rig->len, 40);
	for (i = 0; i < 64; i++)
		assert_int_equal(log_bit(rig, i), i >= 10 && i < 20);
	assert_int_equal(log_write(rig, 17 * PAGE, 1), 0);
	assert_int_equal(log_report(rig, 0, MEM_SIZE, 16 * PAGE), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(log_bits(rig), 2);
	assert_true(log_bit(rig, 0) && log_bit(rig, 1));
	assert_int_equal(log_write(rig, 255 * PAGE, 1), 0);
	assert_int_equal(log_report(rig, 0, UINT64_MAX, UINT64_C(1) << 63), 0);
	assert_int_equal(rig->len, 40);
	assert_int_equal(log_bits(rig), 1);
	assert_true(log_bit(rig, 0));
	assert_false(log_dirty(rig, 255 * PAGE));
	close(fd);
	rig_end(rig);
}

/* 256 TiB: refused at the start; mapped later, the guest must have it. */
static void more_than_can_be_logged_is_dirty(void **arg)
{
	static const struct range low = { 0, GIB };
	const uint64_t size = UINT64_C(1) << 48, at = UINT64_C(1) << 50;
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct rig *rig = log_rig();

	(void)arg;
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(rig_map(rig, at, size, 0, RW | FILE_IO, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), E2BIG);
	assert_int_equal(log_start(rig, PAGE, &low, 1), 0);
	assert_int_equal(log_stop(rig), 0);
	assert_int_equal(rig_unmap(rig, at, size, 0), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(rig_map(rig, at, size, 0, RW | FILE_IO, fd), 0);
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_write(rig, 0x3000, 1), 0);
	assert_true(log_dirty(rig, at + size / 2));
	assert_true(log_dirty(rig, at + size / 2));	/* who knows */
	assert_int_equal(log_report(rig, 0, MEM_SIZE, PAGE), 0);
	assert_int_equal(log_bits(rig), 1);
	close(fd);
	rig_end(rig);
}

/* Random maps, writes, ranges and questions, against a list of pages. */
static void is_what_a_list_of_pages_says(void **arg)
{
	static const int kinds[] = { RW, W, R, RW | FILE_IO, RW };
	struct model m = { .seed = 20 };
	struct rig *rig = log_rig();
	int fd = log_guest();
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
			assert_int_equal(log_stop(rig), 0);
			model_start(&m);
			assert_int_equal(log_start(rig, PAGE, (struct range *)m.ranges,
					       m.nr_ranges), 0);
			break;
		case 3:
			if (!m.on)
				break;
			model_query(&m, &q);
			assert_int_equal(log_report(rig, q.iova, q.length,
						q.page_size), 0);
			model_check(&m, &q, rig->reply + 32, rig->len - 32);
			break;
		default:
			model_write(&m, &addr, &len);
			log_write(rig, addr, (uint32_t)len);
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
		cmocka_unit_test(a_reset_keeps_the_log_a_hang_up_ends_it),
		cmocka_unit_test(sub_ranges_take_what_is_inside),
		cmocka_unit_test(finer_pages_repeat_a_bit_coarser_fold_them),
		cmocka_unit_test(more_than_can_be_logged_is_dirty),
		cmocka_unit_test(is_what_a_list_of_pages_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
