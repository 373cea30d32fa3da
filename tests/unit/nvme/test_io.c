// SPDX-License-Identifier: BSD-3-Clause
/* Reads, writes and their kin, on drives in memory, in files, and bad ones. */
#include "guest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1u << 20)

static char image[64];

static int make_image(void **state)
{
	int fd;

	(void)state;
	strcpy(image, "/tmp/ob-nvme-image-XXXXXX");
	fd = mkstemp(image);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 64 * MIB), 0);
	close(fd);
	return 0;
}

static int remove_image(void **state)
{
	(void)state;
	unlink(image);
	return 0;
}

static struct guest *on_file(const char *wrapper)
{
	char options[160];

	snprintf(options, sizeof(options), "drive=%sfile:%s", wrapper, image);
	return guest_ready(options);
}

/* -- what is written is read ------------------------------------------- */

static void round_trip(struct guest *g, uint64_t lba, uint32_t blocks)
{
	uint64_t from = guest_alloc(g, blocks * 512);
	uint64_t to = guest_alloc(g, blocks * 512);

	fill(guest_ptr(g, from), blocks * 512, lba + blocks);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, lba, blocks,
					      from)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, lba, blocks,
					      to)), 0);
	assert_true(is_filled(guest_ptr(g, to), blocks * 512, lba + blocks));
	g->next = from;
}

static void all_sizes(struct guest *g)
{
	static const uint32_t sizes[] = {
		1, 7, 8, 9, 16, 17, 64, 255, 1023, 1024
	};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		round_trip(g, 0, sizes[i]);
		round_trip(g, 12345, sizes[i]);
		round_trip(g, 64 * MIB / 512 - sizes[i], sizes[i]);
	}
	guest_end(g);
}

static void test_memory(void **state)
{
	(void)state;
	all_sizes(guest_ready("drive=mem:64M"));
}

static void test_file(void **state)
{
	(void)state;
	all_sizes(on_file(""));
}

static void enable_as(struct guest *g)
{
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
}

/* Queues, lists and data all travel in messages. */
static void test_memory_by_messages(void **state)
{
	struct guest *g = guest_start_as("drive=mem:64M", GUEST_MESSAGES);

	(void)state;
	enable_as(g);
	round_trip(g, 3, 1024);
	assert_true(g->nr_dma > 10);
	all_sizes(g);
}

static void test_file_by_messages(void **state)
{
	char options[160];
	struct guest *g;

	(void)state;
	snprintf(options, sizeof(options), "drive=file:%s", image);
	g = guest_start_as(options, GUEST_MESSAGES);
	enable_as(g);
	all_sizes(g);
}

static void test_memory_by_file_io(void **state)
{
	struct guest *g = guest_start_as("drive=mem:64M", GUEST_FILE_IO);

	(void)state;
	enable_as(g);
	all_sizes(g);
}

/* A drive's blocks are where they belong, seen from outside. */
static void test_file_content(void **state)
{
	struct guest *g = on_file("");
	uint64_t from = guest_alloc(g, 4096);
	uint8_t block[4096];
	int fd = open(image, O_RDONLY);

	(void)state;
	fill(guest_ptr(g, from), 4096, 99);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 1000, 8,
					      from)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_FLUSH, 0, 1, 0)), 0);
	assert_int_equal(pread(fd, block, 4096, 512000), 4096);
	assert_true(is_filled(block, 4096, 99));
	close(fd);
	guest_end(g);
}

static void test_big_blocks(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,lba=4096");
	uint64_t addr = guest_alloc(g, 8192);
	struct nvme_sqe sqe = guest_sqe(g, NVME_IO_WRITE, 1, addr, 8192);
	struct nvme_id_ns id;

	(void)state;
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 1, &id), 0);
	assert_int_equal(id.lbaf[0].lbads, 12);
	assert_int_equal(id.nsze, 256);
	fill(guest_ptr(g, addr), 8192, 5);
	sqe.cdw10 = 254;
	sqe.cdw12 = 1;
	assert_int_equal(guest_io(g, sqe), 0);
	memset(guest_ptr(g, addr), 0, 8192);
	sqe.opcode = NVME_IO_READ;
	assert_int_equal(guest_io(g, sqe), 0);
	assert_true(is_filled(guest_ptr(g, addr), 8192, 5));
	sqe.cdw10 = 255;
	assert_int_equal(guest_io(g, sqe), NVME_LBA_OUT_OF_RANGE);
	guest_end(g);
}

/* Many at once, each with its own data, completed in any order. */
static void test_depth(void **state)
{
	struct guest *g = on_file("delay:200:");
	struct queue *q = &g->io[1];
	uint64_t data = guest_alloc(g, 63 * 4096);
	uint64_t seen = 0;

	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		uint8_t op = round % 2 ? NVME_IO_READ : NVME_IO_WRITE;
		uint16_t first = q->next_cid;

		for (unsigned i = 0; i < 63; i++) {
			uint64_t at = data + i * 4096;
			struct nvme_sqe sqe = guest_rw(g, op, i * 8, 8, at);

			if (round % 2)
				memset(guest_ptr(g, at), 0, 4096);
			else
				fill(guest_ptr(g, at), 4096, round * 100 + i);
			guest_put(g, q, &sqe);
		}
		guest_ring(g, q);
		for (unsigned i = 0; i < 63; i++) {
			struct nvme_cqe cqe = guest_wait(g, q);

			assert_int_equal(cqe.status >> 1, 0);
			assert_true((uint16_t)(cqe.cid - first) < 63);
			seen ^= 1ull << (uint16_t)(cqe.cid - first);
		}
		assert_int_equal(seen, round % 2 ? 0 : (1ull << 63) - 1);
		for (unsigned i = 0; round % 2 && i < 63; i++)
			assert_true(is_filled(guest_ptr(g, data + i * 4096),
					      4096, (round - 1) * 100 + i));
	}
	guest_end(g);
}

/* The pool of bounce memory is smaller than what is asked for at once. */
static void test_more_than_the_pool(void **state)
{
	struct guest *g = on_file("delay:500:");
	struct queue *q = &g->io[1];
	uint64_t data = guest_alloc(g, 512 << 10);

	(void)state;
	fill(guest_ptr(g, data), 512 << 10, 1);
	for (unsigned i = 0; i < 60; i++) {
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_WRITE, i * 1024,
					       1024, data);

		guest_put(g, q, &sqe);
		g->next -= 4096;	/* one list serves all */
	}
	g->next += 4096;
	guest_ring(g, q);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(guest_wait(g, q).status >> 1, 0);
	round_trip(g, 59 * 1024, 1024);
	guest_end(g);
}

/* -- the other commands ------------------------------------------------ */

static void check_zeroes(struct guest *g, uint32_t deac)
{
	uint64_t addr = guest_alloc(g, 16 << 10);
	struct nvme_sqe sqe;
	uint32_t *words = guest_ptr(g, addr);

	fill(words, 16 << 10, 3);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 64, 32, addr)),
			 0);
	sqe = guest_rw(g, NVME_IO_WRITE_ZEROES, 72, 16, 0);
	sqe.cdw12 |= deac;
	assert_int_equal(guest_io(g, sqe), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 64, 32, addr)),
			 0);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(words[i] == 0, i >= 1024 && i < 3072);
}

static void test_write_zeroes(void **state)
{
	struct guest *g = on_file("");

	(void)state;
	check_zeroes(g, 0);
	check_zeroes(g, NVME_RW_DEAC);
	guest_end(g);
	g = guest_ready("drive=mem:1M");
	check_zeroes(g, 0);
	check_zeroes(g, NVME_RW_DEAC);
	/* Not bound by the transfer size: 65,536 blocks. */
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE_ZEROES, 0,
					      2048, 0)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE_ZEROES, 1,
					      2048, 0)),
			 NVME_LBA_OUT_OF_RANGE);
	guest_end(g);
}

static void check_compare(struct guest *g)
{
	uint64_t addr = guest_alloc(g, 512 << 10);
	uint8_t *bytes = guest_ptr(g, addr);

	fill(bytes, 512 << 10, 8);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 0, 1024,
					      addr)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_COMPARE, 0, 1024,
					      addr)), 0);
	bytes[(512 << 10) - 1] ^= 1;
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_COMPARE, 0, 1024,
					      addr)), NVME_COMPARE_FAILURE);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_COMPARE, 0, 1023,
					      addr)), 0);
	guest_end(g);
}

static void test_compare(void **state)
{
	(void)state;
	check_compare(guest_ready("drive=mem:1M"));
	check_compare(on_file(""));
}

static void test_verify(void **state)
{
	struct guest *g = on_file("fault:read=EIO@33554432-33555456:");

	(void)state;
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_VERIFY, 0, 65536,
					      0)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_VERIFY, 1000, 65000,
					      0)), NVME_UNRECOVERED_READ);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_VERIFY, 131000, 73,
					      0)), NVME_LBA_OUT_OF_RANGE);
	guest_end(g);
}

static struct nvme_sqe dsm(struct guest *g, unsigned count,
			   struct nvme_dsm_range **ranges)
{
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_sqe(g, NVME_IO_DSM, 1, addr, 4096);

	*ranges = guest_ptr(g, addr);
	sqe.cdw10 = count - 1;
	sqe.cdw11 = NVME_DSM_AD;
	return sqe;
}

/* Deallocation reaches the file: it gets holes. */
static void test_deallocate(void **state)
{
	struct guest *g = on_file("");
	struct nvme_dsm_range *ranges;
	struct nvme_sqe sqe;
	uint64_t addr = guest_alloc(g, 512 << 10);
	int fd = open(image, O_RDONLY);

	(void)state;
	fill(guest_ptr(g, addr), 512 << 10, 4);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 2048, 1024,
					      addr)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_FLUSH, 0, 1, 0)), 0);
	assert_int_equal(lseek(fd, MIB, SEEK_DATA), MIB);
	sqe = dsm(g, 2, &ranges);
	ranges[0] = (struct nvme_dsm_range){ 0, 512, 2048 };
	ranges[1] = (struct nvme_dsm_range){ 0, 512, 2560 };
	assert_int_equal(guest_io(g, sqe), 0);
	assert_true(lseek(fd, MIB, SEEK_DATA) < 0 ||
		    lseek(fd, MIB, SEEK_DATA) >= MIB + (512 << 10));
	close(fd);
	guest_end(g);
}

/* Every range is judged before the first is done. */
static void test_R22_deallocate_is_bounded(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_dsm_range *ranges;
	struct nvme_sqe sqe;
	uint64_t addr = guest_alloc(g, 4096);

	(void)state;
	fill(guest_ptr(g, addr), 4096, 6);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 0, 8, addr)),
			 0);
	sqe = dsm(g, 256, &ranges);
	for (unsigned i = 0; i < 256; i++)
		ranges[i] = (struct nvme_dsm_range){ 0, 8, i * 8 };
	ranges[255].start = 2041;
	assert_int_equal(guest_io(g, sqe), NVME_LBA_OUT_OF_RANGE);
	ranges[255].start = UINT64_MAX - 3;
	assert_int_equal(guest_io(g, sqe), NVME_LBA_OUT_OF_RANGE);
	ranges[255] = (struct nvme_dsm_range){ 0, UINT32_MAX, 8 };
	assert_int_equal(guest_io(g, sqe), NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8, addr)),
			 0);
	assert_true(is_filled(guest_ptr(g, addr), 4096, 6));
	ranges[255] = (struct nvme_dsm_range){ 0, 0, 8 };
	assert_int_equal(guest_io(g, sqe), 0);
	guest_end(g);
}

/* -- refusals ---------------------------------------------------------- */

static void test_ranges(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t addr = guest_alloc(g, MIB);
	struct nvme_sqe sqe;

	(void)state;
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 2047, 1, addr)),
			 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 2048, 1, addr)),
			 NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 2047, 2, addr)),
			 NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, UINT64_MAX, 2,
					      addr)), NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 1ull << 55, 1,
					      addr)), NVME_LBA_OUT_OF_RANGE);
	/* MDTS is 512 KiB: 1,024 blocks and no more. */
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 1024,
					      addr)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 1025,
					      addr)), NVME_INVALID_FIELD);
	sqe = guest_rw(g, NVME_IO_READ, 0, 1, addr);
	sqe.nsid = 0;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_NAMESPACE);
	sqe.nsid = 2;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_NAMESPACE);
	sqe.nsid = NVME_NSID_ALL;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_NAMESPACE);
	sqe.nsid = 1;
	sqe.flags = 1;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_FIELD);
	sqe.flags = 0;
	sqe.opcode = 0x7f;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_OPCODE);
	guest_end(g);
}

static void test_flush_namespaces(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,drive=mem:1M");
	struct nvme_sqe sqe = { .opcode = NVME_IO_FLUSH, .nsid = 2 };

	(void)state;
	assert_int_equal(guest_io(g, sqe), 0);
	sqe.nsid = NVME_NSID_ALL;
	assert_int_equal(guest_io(g, sqe), 0);
	sqe.nsid = 3;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_NAMESPACE);
	sqe.nsid = 0;
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_NAMESPACE);
	guest_end(g);
}

/* Zeros over what was there, of any size, and nobody else's memory. */
static void test_null_reads_zeros(void **state)
{
	struct guest *g = guest_ready("drive=null:1T");
	uint64_t addr = guest_alloc(g, NVME_MAX_TRANSFER + 4096);
	const uint32_t sizes[] = { 512, 4096, 12288, NVME_MAX_TRANSFER };
	uint8_t *mem = guest_ptr(g, addr);

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_WRITE, 8ull << i,
					       sizes[i] / 512, addr);

		fill(mem, NVME_MAX_TRANSFER + 4096, i);
		assert_int_equal(guest_io(g, sqe), 0);
		assert_true(is_filled(mem, NVME_MAX_TRANSFER + 4096, i));
		sqe.opcode = NVME_IO_READ;
		assert_int_equal(guest_io(g, sqe), 0);
		for (uint32_t at = 0; at < sizes[i]; at++)
			assert_int_equal(mem[at], 0);
		assert_int_not_equal(mem[sizes[i]], 0);
	}
	guest_end(g);
}

static void test_two_namespaces_differ(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,drive=mem:2M");
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_sqe sqe;
	struct nvme_id_ns a, b;

	(void)state;
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 1, &a), 0);
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 2, &b), 0);
	assert_int_equal(a.nsze, 2048);
	assert_int_equal(b.nsze, 4096);
	assert_memory_not_equal(a.nguid, b.nguid, 16);
	assert_memory_not_equal(a.eui64, b.eui64, 8);
	fill(guest_ptr(g, addr), 4096, 1);
	sqe = guest_rw(g, NVME_IO_WRITE, 0, 8, addr);
	sqe.nsid = 2;
	assert_int_equal(guest_io(g, sqe), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8, addr)),
			 0);
	assert_int_equal(*(uint32_t *)guest_ptr(g, addr), 0);
	sqe.opcode = NVME_IO_READ;
	assert_int_equal(guest_io(g, sqe), 0);
	assert_true(is_filled(guest_ptr(g, addr), 4096, 1));
	guest_end(g);
}

static void test_readonly(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,readonly");
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_dsm_range *ranges;
	struct nvme_id_ns id;

	(void)state;
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 1, &id), 0);
	assert_int_equal(id.nsattr & 1, 1);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8, addr)),
			 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 0, 8, addr)),
			 NVME_WRITE_PROTECTED);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE_ZEROES, 0, 8,
					      0)), NVME_WRITE_PROTECTED);
	assert_int_equal(guest_io(g, dsm(g, 1, &ranges)),
			 NVME_WRITE_PROTECTED);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_FLUSH, 0, 1, 0)), 0);
	guest_end(g);
}

/* -- drives that fail -------------------------------------------------- */

static void check_error(const char *rule, uint8_t opcode, uint16_t status)
{
	struct nvme_error_entry log[64];
	struct guest *g = on_file(rule);
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_smart smart;
	bool media = status >> 8 == 2;

	assert_int_equal(guest_io(g, guest_rw(g, opcode, 40, 8, addr)),
			 status);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, 512, false), 0);
	assert_int_equal(smart.media_errors[0], media);
	assert_int_equal(guest_log(g, NVME_LOG_ERROR, log, 4096, false), 0);
	if (media) {
		assert_int_equal(log[0].count, 1);
		assert_int_equal(log[0].sqid, 1);
		assert_int_equal(log[0].lba, 40);
		assert_int_equal(log[0].nsid, 1);
		assert_int_equal(log[0].status >> 1, status);
	} else {
		assert_int_equal(log[0].count, 0);
	}
	guest_end(g);
}

static void test_R21_drive_errors(void **state)
{
	(void)state;
	check_error("fault:read=EIO:", NVME_IO_READ, NVME_UNRECOVERED_READ);
	check_error("fault:write=EIO:", NVME_IO_WRITE, NVME_WRITE_FAULT);
	check_error("fault:write=ENOSPC:", NVME_IO_WRITE,
		    NVME_CAPACITY_EXCEEDED);
	check_error("fault:write=EROFS:", NVME_IO_WRITE,
		    NVME_WRITE_PROTECTED);
	check_error("fault:zeroes=EOPNOTSUPP:", NVME_IO_WRITE_ZEROES,
		    NVME_INVALID_OPCODE);
	check_error("fault:flush=EIO:", NVME_IO_FLUSH, NVME_WRITE_FAULT);
	check_error("fault:read=EIO:", NVME_IO_COMPARE,
		    NVME_UNRECOVERED_READ);
}

/* One bad request among many; the rest is served. */
static void test_R21_error_among_many(void **state)
{
	struct guest *g = on_file("fault:read=EIO@8192-8704:");
	struct queue *q = &g->io[1];
	uint64_t data = guest_alloc(g, 32 * 4096);

	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, i * 8, 8,
					       data + i * 4096);

		guest_put(g, q, &sqe);
	}
	guest_ring(g, q);
	for (unsigned i = 0; i < 32; i++) {
		struct nvme_cqe cqe = guest_wait(g, q);

		assert_int_equal(cqe.status >> 1 & 0x7ff,
				 cqe.cid == 2 ? NVME_UNRECOVERED_READ : 0);
	}
	guest_end(g);
}

/* -- bad memory -------------------------------------------------------- */

static void test_data_not_mapped(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t good = guest_alloc(g, 4096);

	(void)state;
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8, 0x1000)),
			 NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 0, 8,
					      GUEST_BASE + GUEST_SIZE)),
			 NVME_DATA_TRANSFER_ERROR);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8,
					      0xfffffffffffff000)),
			 NVME_DATA_TRANSFER_ERROR);
	/* The controller is as good as before. */
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 8, good)),
			 0);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_end(g);
}

static void test_sgl(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t data = guest_alloc(g, 8192), list = guest_alloc(g, 4096);
	struct sgl {
		uint64_t addr;
		uint32_t len;
		uint8_t rsvd[3], type;
	} __attribute__((packed)) *entries = guest_ptr(g, list), first;
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_WRITE, 0, 8, 0);

	(void)state;
	fill(guest_ptr(g, data), 8192, 12);
	entries[0] = (struct sgl){ data + 4096 + 100, 1000, { 0 }, 0 };
	entries[1] = (struct sgl){ data, 3096, { 0 }, 0 };
	first = (struct sgl){ list, 32, { 0 }, 0x30 };
	memcpy(sqe.dptr, &first, 16);
	sqe.flags = 1 << 6;
	assert_int_equal(guest_io(g, sqe), 0);
	sqe = guest_rw(g, NVME_IO_READ, 0, 8, list);
	assert_int_equal(guest_io(g, sqe), 0);
	assert_memory_equal(guest_ptr(g, list),
			    (char *)guest_ptr(g, data) + 4196, 1000);
	assert_memory_equal((char *)guest_ptr(g, list) + 1000,
			    guest_ptr(g, data), 3096);
	guest_end(g);
}

static void test_smart_counts(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint64_t addr = guest_alloc(g, 512 << 10);
	struct nvme_smart smart;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 0, 1024,
						      addr)), 0);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_WRITE, 0, 8, addr)),
			 0);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, 512, false), 0);
	assert_int_equal(smart.reads[0], 3);
	assert_int_equal(smart.writes[0], 1);
	assert_int_equal(smart.units_read[0], 4);	/* 3,072 blocks */
	assert_int_equal(smart.units_written[0], 1);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_memory_by_messages),
		cmocka_unit_test(test_file_by_messages),
		cmocka_unit_test(test_memory_by_file_io),
		cmocka_unit_test(test_file_content),
		cmocka_unit_test(test_big_blocks),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_more_than_the_pool),
		cmocka_unit_test(test_write_zeroes),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_verify),
		cmocka_unit_test(test_deallocate),
		cmocka_unit_test(test_R22_deallocate_is_bounded),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_flush_namespaces),
		cmocka_unit_test(test_null_reads_zeros),
		cmocka_unit_test(test_two_namespaces_differ),
		cmocka_unit_test(test_readonly),
		cmocka_unit_test(test_R21_drive_errors),
		cmocka_unit_test(test_R21_error_among_many),
		cmocka_unit_test(test_data_not_mapped),
		cmocka_unit_test(test_sgl),
		cmocka_unit_test(test_smart_counts),
	};

	return cmocka_run_group_tests(tests, make_image, remove_image);
}
