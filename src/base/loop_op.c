// SPDX-License-Identifier: BSD-3-Clause
/*
 * Asynchronous operations, the part that no engine needs to know.
 *
 * An operation is in exactly one place: waiting (no room in the engine),
 * in flight (the engine's) or finished (its result is known but done has not
 * run).  At most `depth` are in flight, fewer than the completion queue
 * holds.
 */
#include <base/loop_private.h>

#include <errno.h>
#include <stddef.h>

void ob_op_list_init(struct op_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

void ob_op_list_add(struct op_list *list, struct ob_op *op)
{
	op->next = NULL;
	*list->tail = op;
	list->tail = &op->next;
}

struct ob_op *ob_op_list_pop(struct op_list *list)
{
	struct ob_op *op = list->head;

	list->head = op->next;
	if (!list->head)
		list->tail = &list->head;
	return op;
}

static void list_push(struct op_list *list, struct ob_op *op)
{
	op->next = list->head;
	if (!list->head)
		list->tail = &op->next;
	list->head = op;
}

bool ob_op_list_remove(struct op_list *list, struct ob_op *op)
{
	struct ob_op **at = &list->head;

	while (*at && *at != op)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = op->next;
	if (!*at)
		list->tail = at;
	return true;
}

static bool try_start(struct ob_loop *loop, struct ob_op *op)
{
	if (loop->in_flight == loop->depth ||
	    loop->engine->op_start(loop, op) < 0)
		return false;
	loop->in_flight++;
	if (loop->unanswered)
		loop->unanswered--;
	return true;
}

void ob_op_finish(struct ob_loop *loop, struct ob_op *op, int res)
{
	op->res = res;
	ob_op_list_add(&loop->finished, op);
}

static void begin(struct ob_loop *loop, struct ob_op *op)
{
	if (loop->closing) {
		op->queued = false;
		ob_op_finish(loop, op, -ECANCELED);
		return;
	}
	op->queued = loop->waiting.head || !try_start(loop, op);
	if (op->queued)
		ob_op_list_add(&loop->waiting, op);
}

void ob_op_submit(struct ob_loop *loop, struct ob_op *op)
{
	op->loop = loop;
	op->cancelled = op->alone = false;
	begin(loop, op);
}

void ob_op_again(struct ob_loop *loop, struct ob_op *op)
{
	op->alone = true;
	begin(loop, op);
}

static void settle(struct ob_op *op)
{
	op->loop = NULL;
	op->done(op, op->res);
}

void ob_op_complete(struct ob_op *op, int res)
{
	op->loop->in_flight--;
	op->loop->unanswered++;
	/* A blocked worker of the kernel is cancelled by a signal. */
	if (res == -EINTR && op->cancelled)
		res = -ECANCELED;
	op->res = res;
	settle(op);
}

static void start_waiting(struct ob_loop *loop)
{
	struct op_list *list = &loop->waiting;

	while (list->head) {
		/* Off the list first: the engine may put it on its own. */
		struct ob_op *op = ob_op_list_pop(list);

		op->queued = !try_start(loop, op);
		if (op->queued) {
			list_push(list, op);
			break;
		}
	}
}

bool ob_op_advance(struct ob_loop *loop)
{
	struct op_list batch = loop->finished;
	bool any = batch.head;

	ob_op_list_init(&loop->finished);
	while (batch.head)
		settle(ob_op_list_pop(&batch));
	start_waiting(loop);
	return any;
}

void ob_op_cancel(struct ob_loop *loop, struct ob_op *op)
{
	if (!op->loop || op->cancelled)
		return;
	op->cancelled = true;
	if (!op->queued) {
		loop->engine->op_cancel(loop, op);
		return;
	}
	ob_op_list_remove(&loop->waiting, op);
	op->queued = false;
	ob_op_finish(loop, op, -ECANCELED);
}

/*
 * The kernel still writes to the memory of what is in flight, so that all of
 * it has to be over.
 */
void ob_op_drain(struct ob_loop *loop)
{
	loop->closing = true;
	while (loop->waiting.head)
		ob_op_cancel(loop, loop->waiting.head);
	loop->engine->cancel_all(loop);
	while (loop->in_flight || loop->finished.head) {
		if (ob_op_advance(loop) || loop->engine->reap(loop))
			continue;
		if (loop->in_flight && ob_loop_wait(loop, -1) < 0)
			break;
	}
}

static void start_op(struct ob_loop *loop, struct ob_op *op, enum op_code code,
		     int fd)
{
	op->code = (uint8_t)code;
	op->fd = fd;
	ob_op_submit(loop, op);
}

void ob_op_readv(struct ob_loop *loop, struct ob_op *op, int fd,
		 const struct iovec *iov, unsigned count, off_t offset)
{
	op->addr = iov;
	op->len = count;
	op->off = (uint64_t)offset;
	op->flags = 0;
	start_op(loop, op, OP_READV, fd);
}

void ob_op_writev(struct ob_loop *loop, struct ob_op *op, int fd,
		  const struct iovec *iov, unsigned count, off_t offset,
		  int rwf)
{
	op->addr = iov;
	op->len = count;
	op->off = (uint64_t)offset;
	op->flags = (uint32_t)rwf;
	start_op(loop, op, OP_WRITEV, fd);
}

void ob_op_fdatasync(struct ob_loop *loop, struct ob_op *op, int fd)
{
	start_op(loop, op, OP_FDATASYNC, fd);
}

void ob_op_fallocate(struct ob_loop *loop, struct ob_op *op, int fd, int mode,
		     off_t offset, off_t len)
{
	op->flags = (uint32_t)mode;
	op->off = (uint64_t)offset;
	op->off2 = (uint64_t)len;
	start_op(loop, op, OP_FALLOCATE, fd);
}

int ob_loop_nvme(struct ob_loop *loop)
{
	return loop->engine->nvme_open ? loop->engine->nvme_open(loop) : 0;
}

void ob_op_nvme(struct ob_loop *loop, struct ob_op *op, int fd,
		const struct nvme_uring_cmd *cmd)
{
	op->addr = cmd;
	start_op(loop, op, OP_NVME, fd);
}
