// SPDX-License-Identifier: BSD-3-Clause
#include "dirty_client.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int log_guest(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MEM_SIZE), 0);
	return fd;
}

struct rig *log_rig(void)
{
	struct rig *rig = rig_ready();

	rig_master(rig, true);
	return rig;
}

int log_start(struct rig *rig, uint64_t page_size,
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

int log_stop(struct rig *rig)
{
	struct feature body = { 8, STOP | SET };

	return rig_call(rig, FEATURE, &body, sizeof(body));
}

int log_report(struct rig *rig, uint64_t iova, uint64_t length,
	       uint64_t page_size)
{
	struct report body = {
		{ 1u << 30, REPORT | GET }, iova, length, page_size
	};

	return rig_call(rig, FEATURE, &body, sizeof(body));
}

bool log_bit(const struct rig *rig, uint64_t n)
{
	return rig->reply[32 + n / 8] >> (n % 8) & 1;
}

unsigned log_bits(const struct rig *rig)
{
	unsigned n = 0;

	for (size_t i = 0; i < (rig->len - 32) * 8; i++)
		n += log_bit(rig, i);
	return n;
}

bool log_dirty(struct rig *rig, uint64_t addr)
{
	assert_int_equal(log_report(rig, addr & ~(uint64_t)(PAGE - 1), PAGE, PAGE), 0);
	assert_int_equal(rig->len, 40);
	return log_bit(rig, 0);
}

int log_write(struct rig *rig, uint64_t addr, uint32_t len)
{
	static uint8_t bytes[MEM_SIZE];
	struct ob_seg seg = { addr, len };

	return ob_dma_write(rig->dev, &seg, 1, bytes, NULL);
}
