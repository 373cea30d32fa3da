// SPDX-License-Identifier: BSD-3-Clause
/*
 * Transfers that follow each other in a file become one request.
 *
 * Who reads on in small pieces has many of them under way, and a request of the
 * kernel costs the same whatever its size.  So the newest entry of the submission
 * queue grows as long as the kernel has not taken it: a transfer of the same kind,
 * on the same file, that begins where the entry ends goes with it.  Nothing waits
 * for that.  What finds nothing to go with is an entry, and leaves when it would
 * have left anyway; only the newest entry grows, so that nothing overtakes.
 *
 * The transfers are chained behind the first one, their leader, whose entry it is:
 * in the ring, in the journal, for a cancellation.  They are over together.  If the
 * kernel moved all, each has moved all of its own.  Anything else, be it an error, a
 * short transfer, or the end of one that was asked for, says nothing about the single
 * ones: they are begun again, each alone, but for those that were cancelled.  Until
 * then their owners know of nothing, so their buffers are as they were.
 *
 * The kernel has read an array of pieces when it has taken the entry
 * (IORING_FEAT_SUBMIT_STABLE, which is older than what rings here need).
 */
#include <base/loop_private.h>

#include <errno.h>
#include <stddef.h>

#define MOST_BYTES	(128u << 10)

void ob_merge_init(struct merge *merge)
{
	for (unsigned i = 0; i < OB_MERGE_ARRAYS; i++)
		merge->arrays[i].entry = UINT32_MAX;	/* before the first */
}

static const struct iovec *piece_of(const struct ob_op *op)
{
	return op->addr;
}

/* One in a file that has places; -1 is that of the open file. */
static bool is_of_a_place(const struct ob_op *op)
{
	return (op->code == OP_READV || op->code == OP_WRITEV) &&
		op->off <= INT64_MAX;
}

void ob_merge_begin(struct merge *merge, struct ob_op *op, uint32_t entry)
{
	bool grows = is_of_a_place(op) && op->len == 1 && !op->alone &&
		piece_of(op)->iov_len < MOST_BYTES;

	merge->lead = grows ? op : NULL;
	merge->last = op;
	merge->entry = entry;
	merge->bytes = grows ? (uint32_t)piece_of(op)->iov_len : 0;
	merge->count = 0;
}

static bool fits(const struct merge *merge, const struct ob_op *op)
{
	const struct ob_op *lead = merge->lead;

	return op->code == lead->code && op->fd == lead->fd &&
		op->flags == lead->flags && op->len == 1 && !op->alone &&
		op->off == lead->off + merge->bytes &&
		piece_of(op)->iov_len <= MOST_BYTES - merge->bytes;
}

/* One that is not of an entry which the kernel has still to take. */
static struct merge_array *free_array(struct merge *merge, uint32_t head,
				      uint32_t tail)
{
	for (unsigned i = 0; i < OB_MERGE_ARRAYS; i++)
		if (merge->arrays[i].entry - head >= tail - head)
			return &merge->arrays[i];
	return NULL;
}

static bool get_array(struct merge *merge, uint32_t head, uint32_t tail)
{
	if (merge->count)
		return true;
	merge->array = free_array(merge, head, tail);
	if (!merge->array)
		return false;
	merge->array->entry = merge->entry;
	merge->array->pieces[0] = *piece_of(merge->lead);
	merge->count = 1;
	return true;
}

/* Buffers that follow each other as well are one piece. */
static bool add_piece(struct merge *merge, const struct iovec *piece)
{
	struct iovec *last = &merge->array->pieces[merge->count - 1];

	if ((char *)last->iov_base + last->iov_len == piece->iov_base) {
		last->iov_len += piece->iov_len;
		return true;
	}
	if (merge->count == OB_MERGE_PIECES)
		return false;
	merge->array->pieces[merge->count++] = *piece;
	return true;
}

bool ob_merge_join(struct merge *merge, struct ob_op *op, uint32_t head,
		   uint32_t tail)
{
	struct ob_op *lead = merge->lead;

	if (!lead || merge->entry != tail - 1 || head == tail ||
	    !fits(merge, op) || !get_array(merge, head, tail) ||
	    !add_piece(merge, piece_of(op)))
		return false;
	op->lead = lead;
	merge->last->next = op;
	merge->last = op;
	merge->bytes += (uint32_t)piece_of(op)->iov_len;
	return true;
}

bool ob_merge_is_full(const struct merge *merge)
{
	return merge->bytes == MOST_BYTES;
}

static bool moved_all(const struct ob_op *op, int res)
{
	uint64_t bytes = 0;

	for (; op; op = op->next)
		bytes += piece_of(op)->iov_len;
	return res >= 0 && (uint64_t)res == bytes;
}

/*
 * Each leads itself from here on: the done of one may cancel another, when the
 * leader that it went with may be in use again.
 */
void ob_merge_over(struct ob_loop *loop, struct ob_op *lead, int res)
{
	bool all = moved_all(lead, res);
	struct ob_op *op = lead, *next;

	for (; op; op = next) {
		next = op->next;
		op->lead = op;
		loop->in_flight--;
		if (all)
			ob_op_finish(loop, op, (int)piece_of(op)->iov_len);
		else if (op->cancelled)
			ob_op_finish(loop, op, -ECANCELED);
		else
			ob_op_again(loop, op);
	}
}
