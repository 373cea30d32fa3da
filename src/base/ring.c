// SPDX-License-Identifier: BSD-3-Clause
/*
 * Making and mapping rings.
 *
 * Flags.  COOP_TASKRUN: completions are posted when this thread enters the
 * kernel anyway, not by interrupting it; TASKRUN_FLAG tells a spinning loop
 * that some are due.  Not DEFER_TASKRUN, though it is a little quicker: the
 * ring of a process that was killed can be adopted by a successor, every
 * request in flight accounted for, with cooperative task work but not with
 * deferred.  Kernels that know none of these flags get a plain ring.
 *
 * What makes rings allocates nothing and maps nothing: the keeper calls it
 * between one worker's death and the next one's start.
 */
#include <liburing.h>

#include <base/ring.h>

#include <base/fd.h>

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOOP_CQ		4096u
#define SURE_SQ		8u
#define SURE_CQ		64u
#define MAX_OFFSET	(2u << 20)	/* of the arrays in the largest ring */

/*
 * Without the first a full queue loses completions; without the second a
 * timeout would be a request of its own (before 5.11).
 */
#define NEEDED		(IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)

int ob_ring_setup(unsigned sq_entries, unsigned cq_entries,
		  struct io_uring_params *params)
{
	static const unsigned flags[] = {
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	OB_CLEANUP_FD int fd = -1;

	for (size_t i = 0; fd < 0 && i < sizeof(flags) / sizeof(*flags); i++) {
		*params = (struct io_uring_params){
			.flags = flags[i] | IORING_SETUP_CQSIZE |
				IORING_SETUP_CLAMP,
			.cq_entries = cq_entries,
		};
		fd = (int)syscall(SYS_io_uring_setup, sq_entries, params);
		if (fd < 0 && errno != EINVAL)
			return -errno;
	}
	if (fd < 0)
		return -EINVAL;
	if ((params->features & NEEDED) != NEEDED)
		return -ENOSYS;
	return ob_fd_take(&fd);
}

static int write_head(int fd, const struct ob_ring_journal *head)
{
	const size_t len = offsetof(struct ob_ring_journal, ops);
	ssize_t n = pwrite(fd, head, len, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

static int create(struct ob_rings *rings)
{
	/* The entries are zeros in a new file; only the head is ever used. */
	static struct ob_ring_journal head;

	head.magic = OB_RING_MAGIC;
	head.generation = rings->generation;
	rings->loop = ob_ring_setup(OB_RING_SQ, LOOP_CQ, &head.loop);
	if (rings->loop < 0)
		return rings->loop;
	rings->sure = ob_ring_setup(SURE_SQ, SURE_CQ, &head.sure);
	if (rings->sure < 0)
		return rings->sure;
	rings->journal = ob_memfd_create("rings", sizeof(head));
	if (rings->journal < 0)
		return rings->journal;
	return write_head(rings->journal, &head);
}

int ob_rings_create(uint64_t generation, struct ob_rings *out)
{
	int r;

	*out = (struct ob_rings){ -1, -1, -1, generation, 0 };
	r = create(out);
	if (r)
		ob_rings_close(out);
	return r;
}

void ob_rings_close(struct ob_rings *rings)
{
	/* What is -errno here was never a descriptor. */
	ob_fd_close(&rings->loop);
	ob_fd_close(&rings->sure);
	ob_fd_close(&rings->journal);
}

struct ob_ring_journal *ob_ring_journal_map(int fd)
{
	struct stat st;
	void *at;

	if (fstat(fd, &st) < 0)
		return NULL;
	if (st.st_size < (off_t)sizeof(struct ob_ring_journal)) {
		errno = EINVAL;
		return NULL;
	}
	at = mmap(NULL, sizeof(struct ob_ring_journal), PROT_READ | PROT_WRITE,
		  MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return NULL;
	madvise(at, sizeof(struct ob_ring_journal), MADV_DONTFORK);
	return at;
}

void ob_ring_journal_unmap(struct ob_ring_journal *journal)
{
	if (journal)
		munmap(journal, sizeof(*journal));
}

static bool is_power(unsigned n, unsigned max)
{
	return n && n <= max && !(n & (n - 1));
}

/* The ring's words are in its first page, which every ring has. */
static bool is_word(unsigned offset)
{
	return !(offset % 4) && offset < 4096;
}

static bool fits(const struct io_uring_params *p)
{
	const struct io_sqring_offsets *sq = &p->sq_off;
	const struct io_cqring_offsets *cq = &p->cq_off;

	return (p->features & IORING_FEAT_SINGLE_MMAP) &&
		!(p->flags & (IORING_SETUP_SQPOLL | IORING_SETUP_SQE128 |
			      IORING_SETUP_CQE32)) &&
		is_power(p->sq_entries, 32768) &&
		is_power(p->cq_entries, 65536) &&
		is_word(sq->head) && is_word(sq->tail) &&
		is_word(sq->ring_mask) && is_word(sq->ring_entries) &&
		is_word(sq->flags) && is_word(sq->dropped) &&
		is_word(cq->head) && is_word(cq->tail) &&
		is_word(cq->ring_mask) && is_word(cq->ring_entries) &&
		is_word(cq->flags) && is_word(cq->overflow) &&
		sq->array % 4 == 0 && sq->array <= MAX_OFFSET &&
		cq->cqes % 8 == 0 && cq->cqes <= MAX_OFFSET;
}

/*
 * The kernel maps what a ring has and leaves the rest of a longer mapping
 * empty.  A system call that reads its argument before it finds it wrong
 * tells where that begins.
 */
static bool is_there(const void *from, size_t len)
{
	const char *at = from;

	for (size_t i = 0; i < len; i += 4096)
		if (syscall(SYS_rt_sigprocmask, -1, at + i, NULL, 8) < 0 &&
		    errno == EFAULT)
			return false;
	return true;
}

static size_t sqes_size(const struct io_uring *ring)
{
	return ring->sq.ring_entries * sizeof(struct io_uring_sqe);
}

/* Does the ring say the same as the parameters? */
static bool agrees(const struct io_uring *ring,
		   const struct io_uring_params *params)
{
	return is_there(ring->sq.ring_ptr, ring->sq.ring_sz) &&
		is_there(ring->sq.sqes, sqes_size(ring)) &&
		*ring->sq.kring_entries == params->sq_entries &&
		*ring->sq.kring_mask == params->sq_entries - 1 &&
		*ring->cq.kring_entries == params->cq_entries &&
		*ring->cq.kring_mask == params->cq_entries - 1;
}

int ob_ring_map(int fd, const struct io_uring_params *params,
		struct io_uring *out)
{
	struct io_uring_params own = *params;
	int r;

	if (!fits(&own))
		return -EINVAL;
	r = io_uring_queue_mmap(fd, &own, out);
	if (r)
		return r;
	out->features = own.features;
	out->sq.ring_entries = own.sq_entries;
	if (!agrees(out, &own)) {
		ob_ring_unmap(out);
		return -EINVAL;
	}
	/* Where others let the array lead elsewhere, nobody here does. */
	for (unsigned i = 0; i < own.sq_entries; i++)
		out->sq.array[i] = i;
	io_uring_ring_dontfork(out);
	return 0;
}

void ob_ring_unmap(struct io_uring *ring)
{
	munmap(ring->sq.sqes, sqes_size(ring));
	munmap(ring->sq.ring_ptr, ring->sq.ring_sz);
}
