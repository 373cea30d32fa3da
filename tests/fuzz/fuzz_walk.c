// SPDX-License-Identifier: BSD-3-Clause
/*
 * Input: 8 bytes of head (psdt, page size, length), 16 of data pointer, then
 * the guest's memory, which repeats for ever: every address is somewhere in
 * it, so that lists lead into lists.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/walk.h"

#define HEAD 8
#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fetch(struct nvme_walk *w, const uint8_t *memory, size_t size)
{
	for (uint32_t i = 0; i < w->need.len; i++)
		w->list[i] = size ? memory[(w->need.addr + i) % size] : 0;
}

static void check_result(const struct nvme_walk *w, uint32_t length)
{
	uint64_t sum = 0, last_end = 0;

	REQUIRE(w->count <= NVME_WALK_SEGS);
	for (uint32_t i = 0; i < w->count; i++) {
		const struct ob_seg *s = &w->segs[i];

		REQUIRE(s->len && s->addr + s->len > s->addr);
		REQUIRE(!i || s->addr != last_end);
		last_end = s->addr + s->len;
		sum += s->len;
	}
	REQUIRE(sum == length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct nvme_walk w;
	uint32_t length, page;
	unsigned reads = 0;
	int rc;

	if (size < HEAD + 16)
		return 0;
	memcpy(&length, data, 4);
	page = 4096u << (data[4] & 3);
	rc = nvme_walk_start(&w, data + HEAD, data[5] & 3, length, page);
	while (rc == -EAGAIN) {
		REQUIRE(w.need.len && w.need.len <= NVME_WALK_LIST);
		REQUIRE(w.need.addr % 8 == 0);
		REQUIRE(++reads <= NVME_WALK_READS);
		fetch(&w, data + HEAD + 16, size - HEAD - 16);
		rc = nvme_walk_next(&w);
	}
	REQUIRE(rc >= 0 && rc <= 0x1ff);
	if (!rc)
		check_result(&w, length);
	return 0;
}
