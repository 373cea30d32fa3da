// SPDX-License-Identifier: BSD-3-Clause
/* The client's memory: maps, the accessor, messages. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { R = 1, W = 2, RW = 3, MMAP = 4, FILE_IO = 8 };
enum { BITMAP = 1, ALL = 2 };

#define PAGE 0x1000u
#define MEM_SIZE 0x10000u

struct memory {
	int fd;
	uint8_t *bytes;
};

static struct memory new_memory(size_t size)
{
	struct memory m = { .fd = memfd_create("guest", MFD_CLOEXEC) };

	assert_true(m.fd >= 0);
	assert_int_equal(ftruncate(m.fd, (off_t)size), 0);
	m.bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
	assert_ptr_not_equal(m.bytes, MAP_FAILED);
	return m;
}

static void free_memory(struct memory *m, size_t size)
{
	munmap(m->bytes, size);
	close(m->fd);
}

/* Ready, bus master on. */
static struct rig *rig_dma(void)
{
	struct rig *rig = rig_ready();

	rig_master(rig, true);
	return rig;
}

static int rd(struct rig *rig, uint64_t addr, void *buf, uint32_t len)
{
	struct ob_seg seg = { addr, len };

	return ob_dma_read(rig->dev, &seg, 1, buf, NULL);
}

static int wr(struct rig *rig, uint64_t addr, const void *buf, uint32_t len)
{
	struct ob_seg seg = { addr, len };

	return ob_dma_write(rig->dev, &seg, 1, buf, NULL);
}

static void copies_both_ways(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	struct ob_seg segs[2] = { { 0x100ffe, 4 }, { 0x100010, 2 } };
	uint8_t buf[6];

	(void)arg;
	assert_int_equal(rig_map(rig, 0x100000, MEM_SIZE, 0, RW, m.fd), 0);
	assert_int_equal(rig->len, 0);
	assert_int_equal(rig_seen(rig)->memory, 1);
	memcpy(m.bytes + 0xffe, "abcd", 4);
	memcpy(m.bytes + 0x10, "xy", 2);
	assert_int_equal(ob_dma_read(rig->dev, segs, 2, buf, NULL), 0);
	assert_memory_equal(buf, "abcdxy", 6);
	assert_int_equal(ob_dma_write(rig->dev, segs, 2, "123456", NULL), 0);
	assert_memory_equal(m.bytes + 0xffe, "1234", 4);
	assert_memory_equal(m.bytes + 0x10, "56", 2);
	assert_ptr_equal(ob_dma_ptr(rig->dev, 0x100000, MEM_SIZE, true),
			 (uint8_t *)ob_dma_ptr(rig->dev, 0x100008, 8, true) - 8);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void a_segment_may_span_neighbours_a_pointer_not(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	uint8_t buf[0x20];

	(void)arg;
	assert_int_equal(rig_map(rig, 0x2000, PAGE, 0x3000, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x3000, PAGE, 0x1000, RW, m.fd), 0);
	memset(m.bytes + 0x3ff0, 1, 0x10);
	memset(m.bytes + 0x1000, 2, 0x10);
	assert_int_equal(rd(rig, 0x2ff0, buf, 0x20), 0);
	assert_int_equal(buf[0xf], 1);
	assert_int_equal(buf[0x10], 2);
	assert_int_equal(ob_dma_check(rig->dev, 0x2000, 2 * PAGE, true), 0);
	assert_null(ob_dma_ptr(rig->dev, 0x2ff0, 0x20, false));
	assert_non_null(ob_dma_ptr(rig->dev, 0x2ff0, 0x10, false));
	assert_int_equal(rd(rig, 0x3ff0, buf, 0x20), -EFAULT);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void rights_are_the_maps(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	uint32_t v = 0;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, PAGE, 0, R, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0x1000, W, m.fd), 0);
	assert_int_equal(rd(rig, 0, &v, 4), 0);
	assert_int_equal(wr(rig, 0, &v, 4), -EACCES);
	assert_int_equal(wr(rig, 0x1000, &v, 4), 0);
	assert_int_equal(rd(rig, 0x1000, &v, 4), -EACCES);
	assert_null(ob_dma_ptr(rig->dev, 0, 4, true));
	assert_int_equal(ob_dma_check(rig->dev, 0, 4, true), -EACCES);
	assert_int_equal(ob_dma_check(rig->dev, 0x2000, 4, true), -EFAULT);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void without_bus_master_nothing_is_reached(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_ready();
	uint32_t v = 0;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	assert_int_equal(rd(rig, 0, &v, 4), -EACCES);
	assert_null(ob_dma_ptr(rig->dev, 0, 4, false));
	rig_master(rig, true);
	assert_int_equal(rd(rig, 0, &v, 4), 0);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void r2_bad_maps_are_refused(void **arg)
{
	static const struct {
		uint64_t addr, size, offset; uint32_t flags; bool fd; int want;
	} bad[] = {
		{ 0, 0, 0, RW, true, EINVAL },
		{ 1, PAGE, 0, RW, true, EINVAL },
		{ 0, 1, 0, RW, true, EINVAL },
		{ 0, PAGE, 1, RW, true, EINVAL },
		{ UINT64_MAX - PAGE + 1, 2 * PAGE, 0, RW, true, EINVAL },
		{ PAGE, UINT64_MAX - PAGE + 1, 0, RW, true, EINVAL },
		{ 0, MEM_SIZE + PAGE, 0, RW, true, EINVAL },
		{ 0, PAGE, MEM_SIZE, RW, true, EINVAL },
		{ 0, PAGE, UINT64_MAX - PAGE + 1, RW, true, EINVAL },
		{ 0, PAGE, 1ull << 63, RW, true, EINVAL },
		{ 0, PAGE, 0, 0, true, EINVAL },
		{ 0, PAGE, 0, RW | 16, true, EINVAL },
		{ 0, PAGE, 0, RW | MMAP | FILE_IO, true, EINVAL },
		{ 0, PAGE, 0, RW | MMAP, false, EINVAL },
		{ 0, MEM_SIZE + PAGE, 0, RW | FILE_IO, true, EINVAL },
	};
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(rig_map(rig, bad[i].addr, bad[i].size,
					 bad[i].offset, bad[i].flags,
					 bad[i].fd ? m.fd : -1), bad[i].want);
	assert_int_equal(rig_seen(rig)->memory, 0);
	/* The very last page of the address space is a page like others. */
	assert_int_equal(rig_map(rig, UINT64_MAX - PAGE + 1, PAGE, 0, RW, m.fd),
			 0);
	assert_int_equal(wr(rig, UINT64_MAX - 3, "last", 4), 0);
	assert_int_equal(wr(rig, UINT64_MAX - 2, "over", 4), -EFAULT);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void only_memory_like_files_are_mapped(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	char name[64];
	int pipes[2], ro, path;

	(void)arg;
	assert_int_equal(pipe(pipes), 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", m.fd);
	ro = open(name, O_RDONLY | O_CLOEXEC);
	path = open(name, O_PATH | O_CLOEXEC);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, pipes[0]), EINVAL);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, path), EINVAL);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, ro), EACCES);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW | FILE_IO, ro), EACCES);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, R, ro), 0);
	close(pipes[0]);
	close(pipes[1]);
	close(ro);
	close(path);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void overlaps_conflict_the_same_again_does_not(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();

	(void)arg;
	assert_int_equal(rig_map(rig, 0x4000, 0x2000, 0x2000, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x4000, 0x2000, 0x2000, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x4000, 0x2000, 0x2000, R, m.fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x4000, 0x2000, 0x3000, RW, m.fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x4000, 0x2000, 0, RW, -1), EEXIST);
	assert_int_equal(rig_map(rig, 0x3000, 0x2000, 0, RW, m.fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x5000, 0x2000, 0, RW, m.fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x0, 0x10000, 0, RW, m.fd), EEXIST);
	assert_int_equal(rig_map(rig, 0x3000, 0x1000, 0, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x6000, 0x1000, 0, RW, m.fd), 0);
	/* One unmap ends what was mapped twice. */
	assert_int_equal(rig_unmap(rig, 0x4000, 0x2000, 0), 0);
	assert_int_equal(rig_unmap(rig, 0x4000, 0x2000, 0), ENOENT);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void r10_after_unmap_nothing_is_reached(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	uint32_t v = 0x5a5a5a5a;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, 0x2000, 0, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x2000, 0x2000, 0x2000, RW, m.fd), 0);
	assert_int_equal(wr(rig, 0x10, &v, 4), 0);	/* the cache is warm */
	assert_int_equal(rig_unmap(rig, 0, 0x2000, 0), 0);
	memset(m.bytes, 0, MEM_SIZE);
	assert_int_equal(wr(rig, 0x10, &v, 4), -EFAULT);
	assert_null(ob_dma_ptr(rig->dev, 0x10, 4, false));
	assert_int_equal(m.bytes[0x10], 0);
	assert_int_equal(wr(rig, 0x2010, &v, 4), 0);
	assert_int_equal(m.bytes[0x2010], 0x5a);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void unmap_is_exact_or_all(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	unsigned i;

	(void)arg;
	for (i = 0; i < 8; i++)
		assert_int_equal(rig_map(rig, i * 0x2000, 0x2000, i * 0x2000, RW,
					 m.fd), 0);
	assert_int_equal(rig_unmap(rig, 0, 0x1000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0x1000, 0x1000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0, 0x4000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0, 0, 0), EINVAL);
	assert_int_equal(rig_unmap(rig, 0x20000, 0x1000, 0), ENOENT);
	assert_int_equal(rig_unmap(rig, 0, 0x2000, BITMAP), ENOTSUP);
	assert_int_equal(rig_unmap(rig, 0, 0x2000, 4), EINVAL);
	assert_int_equal(rig_unmap(rig, 0, 0x2000, ALL), EINVAL);
	assert_int_equal(rig_unmap(rig, 0x2000, 0, ALL), EINVAL);
	assert_int_equal(ob_dma_check(rig->dev, 0, 0x10000, true), 0);
	assert_int_equal(rig_unmap(rig, 0, 0, ALL), 0);
	assert_int_equal(ob_dma_check(rig->dev, 0, 1, true), -EFAULT);
	assert_int_equal(rig_unmap(rig, 0, 0, ALL), 0);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

/* One memfd, a fresh fd each time: one fd is held, however many maps. */
static void r1_a_thousand_maps_of_a_memfd_hold_one_fd(void **arg)
{
	struct memory m = new_memory(1000 * PAGE);
	struct rig *rig = rig_dma();
	unsigned i, before = count_fds();

	(void)arg;
	for (i = 0; i < 1000; i++)
		assert_int_equal(rig_map(rig, i * 2 * PAGE, PAGE, i * PAGE, RW,
					 m.fd), 0);
	assert_int_equal(count_fds(), before + 1);
	for (i = 0; i < 999; i++)
		assert_int_equal(rig_unmap(rig, i * 2 * PAGE, PAGE, 0), 0);
	assert_int_equal(wr(rig, 999 * 2 * PAGE, "last", 4), 0);
	assert_memory_equal(m.bytes + 999 * PAGE, "last", 4);
	assert_int_equal(rig_unmap(rig, 999 * 2 * PAGE, PAGE, 0), 0);
	assert_int_equal(count_fds(), before);
	free_memory(&m, 1000 * PAGE);
	rig_end(rig);
}

/* In the worst order, with holes; then one more; then look-ups. */
static void holds_65535_maps(void **arg)
{
	struct memory m = new_memory(PAGE);
	struct rig *rig = rig_dma();
	uint32_t i, n = 65535;

	(void)arg;
	for (i = 0; i < n; i++)
		assert_int_equal(rig_map(rig, (uint64_t)(n - i) * 2 * PAGE, PAGE,
					 0, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), ENOSPC);
	for (i = 1; i <= n; i += 101) {
		assert_int_equal(wr(rig, (uint64_t)i * 2 * PAGE, &i, 4), 0);
		assert_int_equal(wr(rig, (uint64_t)i * 2 * PAGE + PAGE, &i, 4),
				 -EFAULT);
	}
	assert_int_equal(rig_unmap(rig, 6 * PAGE, PAGE, 0), 0);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	assert_int_equal(rig_unmap(rig, 0, 0, ALL), 0);
	free_memory(&m, PAGE);
	rig_end(rig);
}

static void max_dma_maps_is_what_was_agreed(void **arg)
{
	struct rig *rig = rig_start("", NULL);

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig,
		"{\"capabilities\":{\"max_dma_maps\":2}}"), 0);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, -1), 0);
	assert_int_equal(rig_map(rig, PAGE, PAGE, 0, RW, -1), 0);
	assert_int_equal(rig_map(rig, 2 * PAGE, PAGE, 0, RW, -1), ENOSPC);
	rig_end(rig);
}

/* QEMU maps the device's own BARs and the firmware like this. */
static void maps_without_an_fd_cost_nothing(void **arg)
{
	struct rig *rig = rig_dma();
	uint32_t v;

	(void)arg;
	assert_int_equal(rig_map(rig, 0xfe000000, 0x4000, 0, RW, -1), 0);
	assert_int_equal(rig_map(rig, 0xfffc0000, 0x40000, 0, R, -1), 0);
	assert_null(ob_dma_ptr(rig->dev, 0xfffc0000, 4, false));
	assert_int_equal(ob_dma_check(rig->dev, 0xfffc0000, 4, false), 0);
	assert_int_equal(rd(rig, 0xfffc0000, &v, 4), -EFAULT);	/* no op */
	assert_int_equal(rig_unmap(rig, 0xfe000000, 0x4000, 0), 0);
	rig_end(rig);
}

static void file_io_reads_and_writes_the_file(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	char buf[4];

	(void)arg;
	assert_int_equal(rig_map(rig, 0, PAGE, 0x2000, RW | FILE_IO, m.fd), 0);
	memcpy(m.bytes + 0x2ffc, "tail", 4);
	assert_int_equal(rd(rig, 0xffc, buf, 4), 0);
	assert_memory_equal(buf, "tail", 4);
	assert_int_equal(wr(rig, 8, "data", 4), 0);
	assert_memory_equal(m.bytes + 0x2008, "data", 4);
	assert_null(ob_dma_ptr(rig->dev, 0, 4, false));
	assert_int_equal(ftruncate(m.fd, 0x2000), 0);
	assert_int_equal(rd(rig, 0, buf, 4), -EIO);
	assert_true(ob_dma_lost(rig->dev));
	assert_false(ob_dma_lost(rig->dev));
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void r7_truncated_memory_is_a_failed_access(void **arg)
{
	struct memory m = new_memory(MEM_SIZE), other = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	uint32_t v = 1;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x100000, MEM_SIZE, 0, RW, other.fd), 0);
	assert_int_equal(wr(rig, 0x8000, &v, 4), 0);
	assert_false(ob_dma_lost(rig->dev));
	assert_int_equal(ftruncate(m.fd, PAGE), 0);
	assert_int_equal(wr(rig, 0x8000, &v, 4), -EIO);
	assert_int_equal(rd(rig, 0x8000, &v, 4), -EIO);
	assert_null(ob_dma_ptr(rig->dev, 0x8000, 4, false));
	assert_true(ob_dma_lost(rig->dev));
	assert_false(ob_dma_lost(rig->dev));
	assert_int_equal(wr(rig, 0x100000, &v, 4), 0);
	/* It may be unmapped and mapped anew. */
	assert_int_equal(rig_unmap(rig, 0, MEM_SIZE, 0), 0);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	assert_int_equal(wr(rig, 0, &v, 4), 0);
	munmap(m.bytes, MEM_SIZE);
	close(m.fd);
	free_memory(&other, MEM_SIZE);
	rig_end(rig);
}

/* A file that grows after its first map is mapped as it is then. */
static void a_grown_file_is_mapped_to_its_new_end(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, PAGE, PAGE, MEM_SIZE, RW, m.fd), EINVAL);
	assert_int_equal(ftruncate(m.fd, 2 * MEM_SIZE), 0);
	assert_int_equal(rig_map(rig, PAGE, PAGE, MEM_SIZE, RW, m.fd), 0);
	assert_int_equal(wr(rig, PAGE - 2, "span", 4), 0);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

/* Each file has an fd and a window here; both go with its last map. */
static void files_go_in_any_order(void **arg)
{
	static const unsigned order[] = { 3, 0, 7, 6, 1, 5, 2, 4 };
	struct rig *rig = rig_dma();
	unsigned i, before = count_fds();
	struct memory m;

	(void)arg;
	for (i = 0; i < 8; i++) {
		m = new_memory(MEM_SIZE);
		assert_int_equal(rig_map(rig, i * PAGE, PAGE, 0, RW, m.fd), 0);
		assert_int_equal(rig_map(rig, (8 + i) * PAGE, PAGE, PAGE, R, m.fd), 0);
		memset(m.bytes, (int)i, MEM_SIZE);
		free_memory(&m, MEM_SIZE);
	}
	for (i = 0; i < 8; i++) {
		char byte;

		assert_int_equal(rd(rig, order[i] * PAGE, &byte, 1), 0);
		assert_int_equal(byte, order[i]);
		assert_int_equal(rig_unmap(rig, order[i] * PAGE, PAGE, 0), 0);
		assert_int_equal(rd(rig, (8 + order[i]) * PAGE, &byte, 1), 0);
		assert_int_equal(byte, order[i]);
		assert_int_equal(rig_unmap(rig, (8 + order[i]) * PAGE, PAGE, 0), 0);
		assert_int_equal(count_fds(), before + 7 - i);
	}
	rig_end(rig);
}

/* A map is judged by the file as it is, not as it was at the first map. */
static void r7_a_map_beyond_a_cut_is_refused(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();
	uint32_t v = 7;

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, m.fd), 0);
	assert_int_equal(ftruncate(m.fd, PAGE), 0);
	assert_int_equal(rig_map(rig, 0x100000, PAGE, PAGE, RW, m.fd), EINVAL);
	assert_int_equal(wr(rig, PAGE, &v, 4), -EIO);
	/* Grown again it can be mapped anew beside the map that lost it. */
	assert_int_equal(ftruncate(m.fd, MEM_SIZE), 0);
	assert_int_equal(rig_map(rig, 0x100000, PAGE, PAGE, RW, m.fd), 0);
	assert_int_equal(wr(rig, 0x100000, &v, 4), 0);
	assert_int_equal(*(uint32_t *)(void *)(m.bytes + PAGE), 7);
	assert_int_equal(wr(rig, PAGE, &v, 4), -EIO);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static bool smaps_says(const void *addr, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to;
	char line[512];
	bool here = false, found = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)addr >= from && (uintptr_t)addr < to;
		else if (here && !strncmp(line, "VmFlags:", 8))
			found |= strstr(line, flag) != NULL;
	}
	fclose(f);
	return found;
}

static void r32_guest_memory_stays_out_of_core_dumps(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_dma();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	assert_true(smaps_says(ob_dma_ptr(rig->dev, 0, 1, false), " dd"));
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void memory_goes_with_the_client(void **arg)
{
	struct memory m = new_memory(MEM_SIZE);
	struct rig *rig = rig_start("", NULL);
	unsigned before = count_fds(), seen;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, NULL), 0);
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	rig_master(rig, true);
	seen = rig_seen(rig)->memory;
	rig_hang_up(rig);
	assert_int_equal(rig_seen(rig)->memory, seen + 1);
	assert_int_equal(ob_dma_check(rig->dev, 0, 1, false), -EFAULT);
	assert_int_equal(count_fds(), before);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

/* Messages. */

struct op {
	struct ob_dma_op op;
	unsigned calls;
	int rc;
};

static void note(struct ob_dma_op *op, int rc)
{
	struct op *o = (struct op *)op;

	o->calls++;
	o->rc = rc;
}

struct dma_body {
	uint64_t addr, count;
	uint8_t data[8];
};

static void messages_fetch_and_store(void **arg)
{
	struct op read = { .op.done = note }, write = { .op.done = note };
	struct ob_seg seg = { 0x1008, 8 };
	struct dma_body body;
	struct rig *rig = rig_dma();
	char buf[8] = "";

	(void)arg;
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &read.op),
			 -EINPROGRESS);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, DMA_READ);
	assert_int_equal(rig->hdr.flags, 0);
	assert_int_equal(rig->len, 16);
	memcpy(&body, rig->reply, 16);
	assert_int_equal(body.addr, 0x1008);
	assert_int_equal(body.count, 8);
	assert_int_equal(read.calls, 0);
	memcpy(body.data, "contents", 8);
	rig_answer(rig, rig->fd, &rig->hdr, 0, &body, 24);
	rig_settle(rig);
	assert_int_equal(read.calls, 1);
	assert_int_equal(read.rc, 0);
	assert_memory_equal(buf, "contents", 8);

	assert_int_equal(ob_dma_write(rig->dev, &seg, 1, "abcdefgh", &write.op),
			 -EINPROGRESS);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, DMA_WRITE);
	assert_int_equal(rig->len, 24);
	assert_memory_equal(rig->reply + 16, "abcdefgh", 8);
	rig_answer(rig, rig->fd, &rig->hdr, 0, NULL, 0);
	rig_settle(rig);
	assert_int_equal(write.calls, 1);
	assert_int_equal(write.rc, 0);
	rig_end(rig);
}

static void mixed_segments_complete_once(void **arg)
{
	struct op read = { .op.done = note };
	struct memory m = new_memory(MEM_SIZE);
	struct ob_seg segs[2] = { { 0xffc, 8 }, { 0x2000, 4 } };
	struct dma_body body = { 0, 0, "" };
	struct rig *rig = rig_dma();
	char buf[12];

	(void)arg;
	assert_int_equal(rig_map(rig, 0, PAGE, 0, RW, m.fd), 0);
	assert_int_equal(rig_map(rig, 0x1000, 2 * PAGE, 0, RW, -1), 0);
	memcpy(m.bytes + 0xffc, "near", 4);
	assert_int_equal(ob_dma_read(rig->dev, segs, 2, buf, &read.op),
			 -EINPROGRESS);
	assert_true(rig_receive(rig));
	memcpy(&body, rig->reply, 16);
	assert_int_equal(body.addr, 0x1000);
	memcpy(body.data, "far1", 4);
	rig_answer(rig, rig->fd, &rig->hdr, 0, &body, 20);
	assert_true(rig_receive(rig));
	assert_int_equal(read.calls, 0);
	memcpy(&body, rig->reply, 16);
	assert_int_equal(body.addr, 0x2000);
	memcpy(body.data, "far2", 4);
	rig_answer(rig, rig->fd, &rig->hdr, 0, &body, 20);
	rig_settle(rig);
	assert_int_equal(read.calls, 1);
	assert_memory_equal(buf, "nearfar1far2", 12);
	/* What fails before anything was sent is told at once. */
	segs[1].addr = 0x9000;
	assert_int_equal(ob_dma_read(rig->dev, segs, 2, buf, &read.op), -EFAULT);
	assert_true(rig_silent(rig));
	assert_int_equal(read.calls, 1);
	free_memory(&m, MEM_SIZE);
	rig_end(rig);
}

static void messages_are_as_long_as_the_client_takes(void **arg)
{
	struct op write = { .op.done = note };
	struct ob_seg seg = { 0x1000, 1000 };
	struct rig *rig = rig_start("", NULL);
	char buf[1000] = "";
	unsigned i;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig,
		"{\"capabilities\":{\"max_data_xfer_size\":10}}"), 0);
	rig_master(rig, true);
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
	assert_int_equal(ob_dma_write(rig->dev, &seg, 1, buf, &write.op),
			 -EINPROGRESS);
	for (i = 0; i < 100; i++) {
		assert_int_equal(write.calls, 0);
		assert_true(rig_receive(rig));
		assert_int_equal(rig->len, 26);
		rig_answer(rig, rig->fd, &rig->hdr, 0, NULL, 0);
	}
	rig_settle(rig);
	assert_int_equal(write.calls, 1);
	rig_end(rig);
}

static void take_away_by_reset(struct rig *rig)
{
	rig_send(rig, RESET, 0, NULL, 0, NULL, 0);
}

static void take_away_by_bus_master(struct rig *rig)
{
	struct { uint64_t offset; uint32_t region, count; uint8_t data[2]; }
		body = { 4, CONFIG, 2, { 0, 0 } };

	rig_send(rig, REGION_WRITE, 0, &body, 18, NULL, 0);
}

static void unmap_in_flight(struct rig *rig, uint64_t size, uint32_t flags)
{
	struct { uint32_t argsz, flags; uint64_t addr, size; } body = {
		sizeof(body), flags, size ? 0x1000 : 0, size
	};

	rig_send(rig, DMA_UNMAP, 0, &body, sizeof(body), NULL, 0);
}

static void take_away_by_unmap(struct rig *rig)
{
	unmap_in_flight(rig, PAGE, 0);
}

static void take_away_by_unmap_all(struct rig *rig)
{
	unmap_in_flight(rig, 0, ALL);
}

/*
 * A transfer of many messages is under way.  Behind the reply that ends the
 * right to it not one more comes, though those before are answered.
 */
static void r10_no_message_leaves_after_the_answer(void **arg)
{
	static const struct {
		void (*take_away)(struct rig *rig);
		int rc;
	} ways[] = {
		{ take_away_by_reset, -EACCES },
		{ take_away_by_bus_master, -EACCES },
		{ take_away_by_unmap, -EFAULT },
		{ take_away_by_unmap_all, -EFAULT },
	};
	struct ob_seg seg = { 0x1000, 1000 };
	struct hdr asked[64];
	char buf[1000] = "";
	unsigned i, n;

	(void)arg;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct op write = { .op.done = note };
		struct rig *rig = rig_start("", NULL);

		rig_connect(rig);
		assert_int_equal(rig_version(rig,
			"{\"capabilities\":{\"max_data_xfer_size\":20}}"), 0);
		rig_master(rig, true);
		assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
		assert_int_equal(ob_dma_write(rig->dev, &seg, 1, buf, &write.op),
				 -EINPROGRESS);
		rig_settle(rig);
		ways[i].take_away(rig);
		for (n = 0; n < 64; n++) {
			assert_true(rig_receive(rig));
			if (rig->hdr.cmd != DMA_WRITE)
				break;
			asked[n] = rig->hdr;
		}
		assert_int_equal(rig->hdr.flags, REPLY);
		assert_in_range(n, 1, 49);
		while (n--)
			rig_answer(rig, rig->fd, &asked[n], 0, NULL, 0);
		assert_true(rig_silent(rig));
		assert_int_equal(write.calls, 1);
		assert_int_equal(write.rc, ways[i].rc);
		rig_end(rig);
	}
}

static void error_and_nonsense_answers_fail_the_transfer(void **arg)
{
	static const struct { uint32_t error; size_t len; int rc; } answers[] = {
		{ 19, 0, -ENODEV }, { 0x80000000, 0, -EIO }, { 0, 0, -EPROTO },
		/* What only we say: that one was called off, or goes on. */
		{ ECANCELED, 0, -EIO }, { EINPROGRESS, 0, -EIO },
		{ 0, 23, -EPROTO }, { 0, 16, -EPROTO },
	};
	struct ob_seg seg = { 0x1000, 8 };
	struct dma_body body = { 0x1000, 8, "" };
	struct rig *rig = rig_dma();
	unsigned i;
	char buf[8];

	(void)arg;
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct op read = { .op.done = note };

		assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &read.op),
				 -EINPROGRESS);
		assert_true(rig_receive(rig));
		rig_answer(rig, rig->fd, &rig->hdr, answers[i].error, &body,
			   answers[i].len);
		rig_settle(rig);
		assert_int_equal(read.calls, 1);
		assert_int_equal(read.rc, answers[i].rc);
	}
	rig_end(rig);
}

static struct op in_write;
static char in_write_buf[8];

static void read_guest_memory(struct ob_device *dev, uint64_t offset)
{
	struct ob_seg seg = { 0x1000, 8 };

	(void)offset;
	in_write = (struct op){ .op.done = note };
	assert_int_equal(ob_dma_read(dev, &seg, 1, in_write_buf, &in_write.op),
			 -EINPROGRESS);
}

/* The answer comes first, though the transfer began inside the request; and
 * further requests are answered while ours is not. */
static void r9_answer_first_ask_later(void **arg)
{
	struct { uint64_t offset; uint32_t region, count, value; } m = {
		0, 0, 4, 1
	};
	struct dma_body body = { 0x1000, 8, "answered" };
	struct rig *rig = rig_dma();
	struct hdr asked;
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
	rig_seen(rig)->on_write = read_guest_memory;
	rig_send(rig, REGION_WRITE, 0, &m, 20, NULL, 0);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.flags, REPLY);
	assert_true(rig_receive(rig));
	assert_int_equal(rig->hdr.cmd, DMA_READ);
	asked = rig->hdr;
	for (i = 0; i < 20; i++)
		assert_int_equal(rig_call(rig, REGION_READ, &m, 16), 0);
	assert_int_equal(in_write.calls, 0);
	rig_answer(rig, rig->fd, &asked, 0, &body, 24);
	rig_settle(rig);
	assert_int_equal(in_write.calls, 1);
	assert_memory_equal(in_write_buf, "answered", 8);
	rig_end(rig);
}

static void twin_socket_carries_our_commands(void **arg)
{
	struct op write = { .op.done = note };
	struct ob_seg seg = { 0x1000, 4 };
	struct rig *rig = rig_start("", NULL);
	struct { struct hdr hdr; uint64_t addr, count; char data[4]; } m;
	int twin;

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig, "{\"capabilities\":{\"max_msg_fds\":8,"
		"\"twin_socket\":{\"supported\":true}}}"), 0);
	assert_int_equal(rig->nr_fds, 1);
	twin = dup(rig->fds[0]);
	rig_master(rig, true);
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
	assert_int_equal(ob_dma_write(rig->dev, &seg, 1, "twin", &write.op),
			 -EINPROGRESS);
	assert_true(rig_silent(rig));
	assert_int_equal(recv(twin, &m, 100, MSG_DONTWAIT), 36);
	assert_int_equal(m.hdr.cmd, DMA_WRITE);
	assert_memory_equal(m.data, "twin", 4);
	rig_answer(rig, twin, &m.hdr, 0, NULL, 0);
	rig_settle(rig);
	assert_int_equal(write.calls, 1);
	close(twin);
	rig_end(rig);
}

static void transfers_fail_when_the_client_goes(void **arg)
{
	struct op ops[40];
	struct ob_seg seg = { 0x1000, 8 };
	struct rig *rig = rig_dma();
	char buf[8];
	unsigned i;

	(void)arg;
	assert_int_equal(rig_map(rig, 0x1000, PAGE, 0, RW, -1), 0);
	for (i = 0; i < 40; i++) {
		ops[i] = (struct op){ .op.done = note };
		assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &ops[i].op),
				 -EINPROGRESS);
	}
	rig_settle(rig);
	rig_hang_up(rig);
	for (i = 0; i < 40; i++) {
		assert_int_equal(ops[i].calls, 1);
		assert_int_equal(ops[i].rc, -ECANCELED);
	}
	rig_end(rig);
}

/* The client maps our BAR where the guest sees it, as QEMU does. */
static void r14_the_device_does_not_reach_its_own_registers(void **arg)
{
	struct op op = { .op.done = note };
	struct ob_seg seg = { 0xfe003ffc, 8 };
	struct rig *rig = rig_dma();
	char buf[8];

	(void)arg;
	rig_set_config(rig, 0x10, 0xfe000000, 4);
	rig_set_config(rig, 4, 6, 2);
	assert_int_equal(rig_map(rig, 0xfe000000, 0x8000, 0, RW, -1), 0);
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &op.op), -EFAULT);
	seg.addr = 0xfe004000;
	assert_int_equal(ob_dma_read(rig->dev, &seg, 1, buf, &op.op),
			 -EINPROGRESS);
	rig_end(rig);
	assert_int_equal(op.calls, 1);
}

/* Pages of 64 KiB, if that is what was agreed, and maps align to them. */
static void r23_page_size_is_what_was_agreed(void **arg)
{
	struct memory m = new_memory(0x20000);
	struct rig *rig = rig_start("", NULL);

	(void)arg;
	rig_connect(rig);
	assert_int_equal(rig_version(rig,
		"{\"capabilities\":{\"pgsizes\":65536}}"), 0);
	assert_int_equal(rig_map(rig, 0, 0x1000, 0, RW, m.fd), EINVAL);
	assert_int_equal(rig_map(rig, 0x1000, 0x10000, 0, RW, m.fd), EINVAL);
	assert_int_equal(rig_map(rig, 0x10000, 0x10000, 0x1000, RW, m.fd),
			 EINVAL);
	assert_int_equal(rig_map(rig, 0x10000, 0x10000, 0x10000, RW, m.fd), 0);
	free_memory(&m, 0x20000);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_both_ways),
		cmocka_unit_test(a_segment_may_span_neighbours_a_pointer_not),
		cmocka_unit_test(rights_are_the_maps),
		cmocka_unit_test(without_bus_master_nothing_is_reached),
		cmocka_unit_test(r2_bad_maps_are_refused),
		cmocka_unit_test(only_memory_like_files_are_mapped),
		cmocka_unit_test(overlaps_conflict_the_same_again_does_not),
		cmocka_unit_test(r10_after_unmap_nothing_is_reached),
		cmocka_unit_test(unmap_is_exact_or_all),
		cmocka_unit_test(r1_a_thousand_maps_of_a_memfd_hold_one_fd),
		cmocka_unit_test(holds_65535_maps),
		cmocka_unit_test(max_dma_maps_is_what_was_agreed),
		cmocka_unit_test(maps_without_an_fd_cost_nothing),
		cmocka_unit_test(file_io_reads_and_writes_the_file),
		cmocka_unit_test(r7_truncated_memory_is_a_failed_access),
		cmocka_unit_test(a_grown_file_is_mapped_to_its_new_end),
		cmocka_unit_test(r32_guest_memory_stays_out_of_core_dumps),
		cmocka_unit_test(memory_goes_with_the_client),
		cmocka_unit_test(messages_fetch_and_store),
		cmocka_unit_test(mixed_segments_complete_once),
		cmocka_unit_test(messages_are_as_long_as_the_client_takes),
		cmocka_unit_test(files_go_in_any_order),
		cmocka_unit_test(r7_a_map_beyond_a_cut_is_refused),
		cmocka_unit_test(r10_no_message_leaves_after_the_answer),
		cmocka_unit_test(error_and_nonsense_answers_fail_the_transfer),
		cmocka_unit_test(r9_answer_first_ask_later),
		cmocka_unit_test(twin_socket_carries_our_commands),
		cmocka_unit_test(transfers_fail_when_the_client_goes),
		cmocka_unit_test(r14_the_device_does_not_reach_its_own_registers),
		cmocka_unit_test(r23_page_size_is_what_was_agreed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
