// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_copy FILE DEPTH SECONDS: random reads of 4 KiB, direct, each copied once.
 * Prints how many in a second.
 *
 * fio does not look at what it has read, a device server has to.  This is the
 * least that does: one ring, held pages, one submission for each completion,
 * and a copy.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BLOCK		4096u
#define MAX_DEPTH	256u

struct bench {
	struct io_uring ring;
	int fd;
	unsigned depth;
	uint64_t blocks, random, done;
	uint8_t *from, *to;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t next_block(struct bench *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random % b->blocks;
}

static void start(struct bench *b, unsigned slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);

	io_uring_prep_read_fixed(sqe, b->fd, b->from + slot * BLOCK, BLOCK,
				 next_block(b) * BLOCK, 0);
	io_uring_sqe_set_data64(sqe, slot);
}

static int take(struct bench *b)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&b->ring, &cqe)) {
		unsigned slot = (unsigned)cqe->user_data;

		if (cqe->res != (int)BLOCK)
			return -1;
		io_uring_cqe_seen(&b->ring, cqe);
		memcpy(b->to + slot * BLOCK, b->from + slot * BLOCK, BLOCK);
		start(b, slot);
		io_uring_submit(&b->ring);
		b->done++;
	}
	return 0;
}

static int run(struct bench *b, double seconds)
{
	double begun = now(), passed = 0;

	for (unsigned slot = 0; slot < b->depth; slot++)
		start(b, slot);
	for (; passed < seconds; passed = now() - begun)
		if (io_uring_submit_and_wait(&b->ring, 1) < 0 || take(b))
			return -1;
	printf("%.0f\n", (double)b->done / passed);
	return 0;
}

static int prepare(struct bench *b, const char *path)
{
	size_t size = b->depth * BLOCK;
	struct iovec iov;
	off_t end;

	b->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	end = b->fd < 0 ? -1 : lseek(b->fd, 0, SEEK_END);
	if (end < (off_t)BLOCK)
		return -1;
	b->blocks = (uint64_t)end / BLOCK;
	b->from = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b->from == MAP_FAILED)
		return -1;
	b->to = b->from + size;
	iov = (struct iovec){ b->from, size };
	if (io_uring_queue_init(MAX_DEPTH, &b->ring, IORING_SETUP_COOP_TASKRUN))
		return -1;
	return io_uring_register_buffers(&b->ring, &iov, 1);
}

int main(int argc, char **argv)
{
	struct bench b = { .random = 88172645463325252u };

	b.depth = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
	if (!b.depth || b.depth > MAX_DEPTH) {
		fprintf(stderr, "usage: bench_copy FILE DEPTH SECONDS\n");
		return 2;
	}
	if (prepare(&b, argv[1]) || run(&b, atof(argv[3]))) {
		perror("bench_copy");
		return 1;
	}
	return 0;
}
