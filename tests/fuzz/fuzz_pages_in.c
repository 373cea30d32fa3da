// SPDX-License-Identifier: BSD-3-Clause
/*
 * A stream of pages from anywhere, through a real pipe, into a device's staging
 * and from there into guest memory.  The first byte says in what pieces it
 * comes, and whether the rest are records (with sums made right, without which
 * nothing would come further than the first) or bytes as they are.
 *
 * What is refused has changed nothing.  What is accepted is in memory as a
 * model of it says.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "devices/models.h"
#include "server/device_impl.h"
#include "server/operator.h"
#include "server/pages.h"
#include "server/server.h"
#include "state/stream.h"
#include "state/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define MEM_PAGES 64u
#define MEM_SIZE (MEM_PAGES * OB_PAGE_SIZE)
#define STREAM_MAX (1u << 20)
#define OP_SIZE 5u
#define RECORDS 1u

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

static struct ob_loop *loop;
static struct ob_device *dev;
static uint8_t *memory, before[MEM_SIZE], after[MEM_SIZE];
static uint8_t stream[STREAM_MAX];
static size_t stream_len;
static int result;

static void map_memory(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct ob_dma_map map = {
		.argsz = OB_DMA_MAP_SIZE, .size = MEM_SIZE,
		.flags = OB_DMA_READ | OB_DMA_WRITE,
	};
	struct ob_err err = { "" };

	REQUIRE(fd >= 0 && ftruncate(fd, MEM_SIZE) == 0);
	memory = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	REQUIRE(memory != MAP_FAILED);
	REQUIRE(ob_dma_map(dev, &map, &fd, &err) == 0);
}

static void done(struct ob_operation *op, int r)
{
	(void)op;
	result = r;
}

static int wait_for(int r)
{
	result = r;
	while (result == -EINPROGRESS)
		REQUIRE(ob_loop_turn(loop, true) == 0);
	return result;
}

static void start(void)
{
	const struct ob_option *const tables[] = { ob_device_common_options, NULL };
	struct ob_operation op = { .done = done };
	struct ob_options *opts;
	struct ob_err err = { "" };

	ob_log_set_level(OB_LOG_ERROR);
	REQUIRE(ob_loop_create(NULL, &loop, &err) == 0);
	REQUIRE(ob_options_parse("null,fd=0", tables, &opts, &err) == 0);
	REQUIRE(ob_device_create(loop, &ob_null_class, opts, &dev,
				 &err) == 0);
	map_memory();
	REQUIRE(wait_for(ob_operator_quiesce(dev, &op)) == 0);
}

/* -- records ----------------------------------------------------------- */

static void put_record(uint64_t iova, uint32_t length, uint32_t kind,
		       uint8_t fill, uint8_t lie, uint32_t *crc)
{
	uint8_t *at = stream + stream_len;
	size_t size = OB_PAGES_HEAD + (kind == OB_PAGES_DATA ? length : 0);

	if (size + OB_PAGES_SUM > STREAM_MAX - stream_len)
		return;
	ob_le_store(at, iova, 8);
	ob_le_store(at + 8, length, 4);
	ob_le_store(at + 12, kind, 4);
	memset(at + OB_PAGES_HEAD, fill, size - OB_PAGES_HEAD);
	*crc = ob_crc32c(*crc, at, size);
	ob_le_store(at + size, *crc ^ lie, OB_PAGES_SUM);
	stream_len += size + OB_PAGES_SUM;
}

/* Each: kind, page, pages, what it is filled with, lies. */
static void make_records(const uint8_t *bytes, size_t len)
{
	uint32_t crc = 0;

	for (; len >= OP_SIZE; bytes += OP_SIZE, len -= OP_SIZE) {
		uint32_t kind = bytes[0] % 5;
		uint64_t iova = kind == OB_PAGES_END ? bytes[1] :
			(uint64_t)bytes[1] << OB_PAGE_SHIFT;
		uint32_t length = kind == OB_PAGES_END ? 0 :
			(uint32_t)(bytes[2] % 17) << OB_PAGE_SHIFT;

		if (bytes[4] & 1)
			iova ^= UINT64_C(1) << (bytes[4] >> 2);
		if (bytes[4] & 2)
			length += bytes[4] >> 2;
		put_record(iova, length, kind, bytes[3], bytes[4] == 0x80, &crc);
	}
}

/* -- the model --------------------------------------------------------- */

/* What an accepted stream leaves in `after`; how many pages count. */
static uint64_t expect(void)
{
	uint64_t count = 0, iova;
	uint32_t length, kind;
	uint8_t kept[256] = { 0 };
	size_t at = 0;

	for (;; at += OB_PAGES_HEAD + OB_PAGES_SUM +
	     (kind == OB_PAGES_DATA ? length : 0)) {
		iova = ob_le_load(stream + at, 8);
		length = (uint32_t)ob_le_load(stream + at + 8, 4);
		kind = (uint32_t)ob_le_load(stream + at + 12, 4);
		if (kind == OB_PAGES_END)
			break;
		for (uint64_t p = iova >> 12; p < (iova + length) >> 12; p++) {
			if (p >= MEM_PAGES)
				return UINT64_MAX;	/* not to be applied */
			kept[p] = kind == OB_PAGES_DATA;
			memcpy(after + p * OB_PAGE_SIZE, kept[p] ? stream + at +
			       OB_PAGES_HEAD + (p * OB_PAGE_SIZE - iova) :
			       before + p * OB_PAGE_SIZE, OB_PAGE_SIZE);
		}
	}
	for (unsigned p = 0; p < MEM_PAGES; p++)
		count += kept[p];
	return count;
}

/* -- one input --------------------------------------------------------- */

/* As fast as it is read; the reader may have had enough. */
static int send_all(struct ob_operation *op, size_t step)
{
	int ends[2], r;

	REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
	result = r = ob_operator_pages_in(dev, op, ends[0]);
	for (size_t at = 0; at < stream_len && result == -EINPROGRESS;) {
		size_t n = stream_len - at < step ? stream_len - at : step;
		ssize_t sent = write(ends[1], stream + at, n);

		at += sent > 0 ? (size_t)sent : 0;
		REQUIRE(ob_loop_turn(loop, false) == 0);
	}
	close(ends[1]);
	return wait_for(result);
}

static void apply(const struct ob_operation *in)
{
	struct ob_operation op = { .done = done };
	uint64_t count = expect();
	int r = wait_for(ob_operator_pages_apply(dev, &op));

	if (count == UINT64_MAX) {
		/* Outside of memory, unless it was dropped. */
		REQUIRE(r == 0 || !memcmp(memory, before, MEM_SIZE));
		return;
	}
	REQUIRE(r == 0 && op.pages == count && in->pages == count);
	REQUIRE(!memcmp(memory, after, MEM_SIZE));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ob_operation op = { .done = done };

	if (!len || len > STREAM_MAX)
		return 0;
	if (!dev)
		start();
	for (unsigned p = 0; p < MEM_PAGES; p++)
		memset(memory + p * OB_PAGE_SIZE, (int)p, OB_PAGE_SIZE);
	memcpy(before, memory, MEM_SIZE);
	memcpy(after, memory, MEM_SIZE);
	stream_len = 0;
	if (bytes[0] & RECORDS) {
		make_records(bytes + 1, len - 1);
	} else {
		memcpy(stream, bytes + 1, len - 1);
		stream_len = len - 1;
	}
	if (send_all(&op, 1 + bytes[0] / 2 * 512u)) {
		REQUIRE(op.err.msg[0]);
		REQUIRE(!memcmp(memory, before, MEM_SIZE));
	} else {
		apply(&op);
	}
	return 0;
}
