// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bells: the kernel adds to an eventfd that is registered with a ring whenever
 * a completion is posted there, and another ring can post one by a request
 * (IORING_OP_MSG_RING, Linux 5.18), which is over within its submission.  So an
 * eventfd gets a ring of its own, in which nothing else ever happens.
 *
 * Nobody reads those completions, and a queue that is full would take no more:
 * before each request the head is moved to the tail.  The queue has room for
 * as many as can be on their way at once.
 */
#include <base/loop_private.h>

#include <base/fd.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ob_bell {
	int ring;
	void *base;		/* of the completion queue */
	size_t size;
	unsigned *head;
	const unsigned *tail;
};

static int map_queue(struct ob_bell *bell, const struct io_uring_params *params)
{
	const struct io_cqring_offsets *cq = &params->cq_off;
	char *base;

	bell->size = cq->cqes +
		params->cq_entries * sizeof(struct io_uring_cqe);
	base = mmap(NULL, bell->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		    bell->ring, IORING_OFF_CQ_RING);
	if (base == MAP_FAILED)
		return -errno;
	bell->base = base;
	bell->head = (unsigned *)(void *)(base + cq->head);
	bell->tail = (const unsigned *)(void *)(base + cq->tail);
	return 0;
}

static int open_ring(struct ob_bell *bell, int fd)
{
	struct io_uring_params params;
	int r;

	bell->ring = ob_ring_setup(1, OB_RING_SQ, &params);
	if (bell->ring < 0)
		return -ENOSYS;
	r = map_queue(bell, &params);
	if (r)
		return r;
	r = (int)syscall(SYS_io_uring_register, bell->ring,
			 IORING_REGISTER_EVENTFD, &fd, 1);
	if (r)
		r = errno == EINVAL ? -EBADF : -errno;
	return r;
}

int ob_bell_open(int fd, struct ob_bell **out)
{
	struct ob_bell *bell = calloc(1, sizeof(*bell));
	int r;

	if (!bell)
		return -ENOMEM;
	bell->ring = -1;
	r = open_ring(bell, fd);
	if (r) {
		ob_bell_close(bell);
		return r;
	}
	*out = bell;
	return 0;
}

void ob_bell_close(struct ob_bell *bell)
{
	if (!bell)
		return;
	if (bell->base)
		munmap(bell->base, bell->size);
	ob_fd_close(&bell->ring);
	free(bell);
}

int ob_bell_ready(struct ob_bell *bell)
{
	__atomic_store_n(bell->head,
			 __atomic_load_n(bell->tail, __ATOMIC_ACQUIRE),
			 __ATOMIC_RELEASE);
	return bell->ring;
}
