// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device's state, written to a pipe or read from one.
 *
 * The stream is the one that a client would read or write.  It moves as fast as
 * the pipe does, a piece in each turn of the loop, so that others have theirs.
 * What a pipe did not take is copied, for the device may go on meanwhile.
 *
 * Out: in PRE_COPY there is nothing left sooner or later; then it is looked again
 * after a while, until the device has been brought to STOP_COPY.  Before END the
 * drives are waited for, as long as they take: the asker may give up.
 *
 * In: the end of the pipe is the end of the stream, which is judged then.  What
 * was refused, or cut short, has changed nothing, and the device is in STOP.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/device_impl.h"
#include "server/operator_impl.h"

#define PIECE (256u << 10)
#define CHANGES_NS 20000000u	/* between looks at what changed, */
#define DRIVES_NS 1000000u	/* at drives that are not free */

static void drop_session(struct ob_device *dev)
{
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_step_protect(dev);
	ob_mig_give_up(dev);
	ob_dev_step_end(dev);
}

void ob_state_flow_tidy(struct ob_operator *o)
{
	enum ob_mig_state state = o->dev->mig.state;

	if (state == OB_MIG_RESUMING || state == OB_MIG_ERROR)
		drop_session(o->dev);
}

void ob_state_flow_end(struct ob_operator *o, int r, const struct ob_err *err)
{
	struct ob_state_flow *s = &o->state;

	if (!s->under_way)
		return;
	s->under_way = false;
	ob_flow_close(&s->flow);
	ob_timer_cancel(o->dev->loop, &s->look);
	free(s->buf);
	s->buf = NULL;
	/* What is being judged is dropped at the end of that. */
	if (s->out || (r && !o->next))
		drop_session(o->dev);
	if (s->op)
		s->op->bytes = s->bytes;
	ob_operation_end(&s->op, r, err);
}

static struct ob_operator *operator_of(struct ob_flow *flow)
{
	return container_of(flow, struct ob_operator, state.flow);
}

static int busy(struct ob_operation *op)
{
	return ob_fail(&op->err, EBUSY, "a stream of its state is under way, "
		       "or a change of it");
}

/* Everything that can be refused before the device is touched; takes fd. */
static int begin(struct ob_device *dev, struct ob_operation *op, int fd,
		 bool out, void (*ready)(struct ob_flow *flow, bool gone),
		 struct ob_operator **to)
{
	struct ob_operator *o = ob_operator_get(dev);
	int r = ob_mig_claim(dev, OB_MIG_OPERATOR, &op->err);

	if (!r && !o)
		r = ob_fail(&op->err, ENOMEM, "out of memory");
	if (!r && (o->state.under_way || o->next))
		r = busy(op);
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	r = ob_flow_open(&o->state.flow, dev->loop, fd, out, ready, &op->err);
	if (r)
		return r;
	o->state.under_way = true;
	o->state.out = out;
	o->state.bytes = 0;
	o->state.op = op;
	op->dev = dev;
	*to = o;
	return 0;
}

/* Errors of the first moment are an answer; later ones are told. */
static int refuse(struct ob_operator *o, int r)
{
	struct ob_operation *op = o->state.op;

	ob_flow_close(&o->state.flow);
	free(o->state.buf);
	o->state.buf = NULL;
	o->state.op = NULL;
	o->state.under_way = false;
	op->dev = NULL;
	op->err = o->err;
	return r;
}

/* The device has come to where the stream begins. */
static void start(struct ob_operator *o, int r)
{
	if (!o->state.under_way) {
		drop_session(o->dev);	/* nobody waits for it any more */
		return;
	}
	if (r == 0)
		r = ob_flow_start(&o->state.flow, &o->err);
	if (r)
		ob_state_flow_end(o, r, &o->err);
}

static int go(struct ob_operator *o, uint32_t state)
{
	int r = ob_operator_move(o, state, start);

	if (r == -EINPROGRESS)
		return r;
	if (r == 0)
		r = ob_flow_start(&o->state.flow, &o->err);
	return r ? refuse(o, r) : -EINPROGRESS;
}

/* Out */

static void wait_a_while(struct ob_operator *o, uint64_t ns)
{
	ob_flow_want(&o->state.flow, false);
	ob_timer_arm(o->dev->loop, &o->state.look, ns);
}

static int allow_end(struct ob_device *dev, struct ob_err *err)
{
	int r;

	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_step_protect(dev);
	r = ob_mig_save_allow_end(dev, err);
	ob_dev_step_end(dev);
	return r;
}

/* Nothing is left to write for now; 0: for good. */
static int at_the_end(struct ob_operator *o, struct ob_err *err)
{
	struct ob_device *dev = o->dev;
	int r;

	if (ob_mig_save_is_done(dev))
		return 0;
	if (!ob_mig_save_wants_end(dev)) {
		wait_a_while(o, CHANGES_NS);
		return -EINPROGRESS;
	}
	r = allow_end(dev, err);
	if (r == -EINPROGRESS)
		wait_a_while(o, DRIVES_NS);
	return r ? r : -EINPROGRESS;
}

static int write_some(struct ob_operator *o, struct ob_err *err)
{
	struct iovec *iov;
	unsigned count;
	ssize_t n;
	int r;

	if (!ob_mig_save_pull(o->dev, PIECE, &iov, &count))
		return at_the_end(o, err);
	n = ob_flow_write(&o->state.flow, iov, count);
	if (n < 0 && n != -EAGAIN)
		return ob_flow_failed(&o->state.flow, (int)n, err);
	if (n > 0)
		o->state.bytes += (uint64_t)n;
	r = ob_mig_save_pulled(o->dev, n > 0 ? (size_t)n : 0);
	return r ? ob_fail(err, -r, "out of memory") : -EINPROGRESS;
}

static void write_ready(struct ob_flow *flow, bool gone)
{
	struct ob_operator *o = operator_of(flow);
	struct ob_err err = { "" };
	int r = gone ? ob_flow_failed(flow, -EPIPE, &err) : write_some(o, &err);

	if (r != -EINPROGRESS)
		ob_state_flow_end(o, r, &err);
}

static void look_again(struct ob_timer *timer)
{
	struct ob_operator *o = container_of(timer, struct ob_operator,
					     state.look);

	ob_flow_want(&o->state.flow, true);
}

void ob_state_flow_go_on(struct ob_operator *o)
{
	if (!o->state.under_way || !o->state.out)
		return;
	ob_timer_cancel(o->dev->loop, &o->state.look);
	ob_flow_want(&o->state.flow, true);
}

/* A stream that is over begins anew, from outside of the group of saving.  None of
 * these arcs waits. */
static int leave(struct ob_operator *o)
{
	enum ob_mig_state state = o->dev->mig.state;

	ob_state_flow_tidy(o);
	if (!ob_mig_is_saving(state))
		return 0;
	return ob_operator_move(o, state == OB_MIG_STOPPED_COPY ? OB_MIG_STOP :
				OB_MIG_RUNNING, start);
}

int ob_operator_save(struct ob_device *dev, struct ob_operation *op, int fd,
		     bool live)
{
	struct ob_operator *o;
	int r = begin(dev, op, fd, true, write_ready, &o);

	if (r)
		return r;
	o->state.look.fire = look_again;
	r = leave(o);
	if (r)
		return refuse(o, r);
	return go(o, live && !ob_mig_is_still(dev->mig.state) ?
		  OB_MIG_PRECOPY : OB_MIG_STOPPED_COPY);
}

/* In */

static void was_loaded(struct ob_device *dev)
{
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	dev->ss->operator |= OB_OPERATOR_LOADED;
	ob_dev_step_end(dev);
}

static void judged(struct ob_operator *o, int r)
{
	if (r == 0)
		was_loaded(o->dev);
	else if (!o->state.under_way)
		ob_state_flow_tidy(o);
	ob_state_flow_end(o, r, &o->err);
}

static void judge(struct ob_operator *o)
{
	int r;

	ob_flow_close(&o->state.flow);
	r = ob_operator_move(o, OB_MIG_STOP, judged);
	if (r != -EINPROGRESS)
		judged(o, r);
}

static void read_ready(struct ob_flow *flow, bool gone)
{
	struct ob_operator *o = operator_of(flow);
	ssize_t n = ob_flow_read(flow, o->state.buf, PIECE);
	struct ob_err err = { "" };
	int r = 0;

	(void)gone;
	if (n == 0)
		judge(o);
	if (n == 0 || n == -EAGAIN)
		return;
	if (n < 0) {
		r = ob_flow_failed(flow, (int)n, &err);
	} else {
		o->state.bytes += (uint64_t)n;
		r = ob_mig_load_push(o->dev, o->state.buf, (size_t)n, &err);
	}
	if (r)
		ob_state_flow_end(o, r, &err);
}

int ob_operator_load(struct ob_device *dev, struct ob_operation *op, int fd)
{
	struct ob_operator *o;
	int r = begin(dev, op, fd, false, read_ready, &o);

	if (r)
		return r;
	ob_state_flow_tidy(o);
	o->state.buf = malloc(PIECE);
	if (!o->state.buf)
		r = ob_fail(&o->err, ENOMEM, "out of memory");
	return r ? refuse(o, r) : go(o, OB_MIG_RESUMING);
}
