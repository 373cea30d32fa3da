// SPDX-License-Identifier: BSD-3-Clause
/*
 * An operator drives a device's migration beside its client.
 *
 * The states, the arcs and their deeds are those that a client uses (mig.c).
 * What is different: streams are moved to and from a pipe by the server itself,
 * and nobody's request is held: whoever waits is called back.
 *
 * Who may.  Whoever takes the device out of RUNNING owns it until it is there
 * again (ob_mig_claim).  The client's hang-up ends what the operator began, as it
 * ends what the client began.  The operator's ends streams, not states: another
 * operator goes on from there.
 *
 * A stream that ends before its time leaves the state as it is, without a
 * session; save and load begin again from such a state.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/operator_impl.h"

struct ob_operator *ob_operator_get(struct ob_device *dev)
{
	struct ob_operator *o = dev->operator;

	if (o)
		return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->dev = dev;
	o->state.flow.watch.fd = -1;
	dev->operator = o;
	return o;
}

void ob_operation_end(struct ob_operation **place, int r,
		      const struct ob_err *err)
{
	struct ob_operation *op = *place;

	*place = NULL;
	if (!op)
		return;
	op->dev = NULL;
	if (r && err)
		op->err = *err;
	op->done(op, r);
}

/* Changes of state */

int ob_operator_move(struct ob_operator *o, uint32_t state,
		     ob_operator_next next)
{
	struct ob_device *dev = o->dev;
	int r;

	if (o->next)
		return ob_fail(&o->err, EBUSY, "another change of its state is under way");
	ob_step_begin(&dev->mem, OB_STEP_WORK);
	ob_step_protect(dev);
	r = ob_mig_request(dev, OB_MIG_OPERATOR, state, &o->err);
	ob_dev_step_end(dev);
	if (r == -EINPROGRESS)
		o->next = next;
	return r;
}

void ob_operator_moved(struct ob_device *dev, int r)
{
	struct ob_operator *o = dev->operator;
	ob_operator_next next = o->next;

	o->next = NULL;
	next(o, r);
}

static void has_moved(struct ob_operator *o, int r)
{
	if (r == 0)
		ob_state_flow_go_on(o);
	ob_operation_end(&o->mover, r, &o->err);
}

/* For a request that only changes the state. */
static int change(struct ob_operator *o, struct ob_operation *op,
		  uint32_t state)
{
	int r = ob_operator_move(o, state, has_moved);

	if (r == -EINPROGRESS) {
		op->dev = o->dev;
		o->mover = op;
	} else if (r) {
		op->err = o->err;
	} else {
		ob_state_flow_go_on(o);
	}
	return r;
}

int ob_operator_quiesce(struct ob_device *dev, struct ob_operation *op)
{
	struct ob_operator *o = ob_operator_get(dev);
	int r = ob_mig_claim(dev, OB_MIG_OPERATOR, &op->err);

	if (r)
		return r;
	if (!o)
		return ob_fail(&op->err, ENOMEM, "out of memory");
	if (!o->next && ob_mig_is_still(dev->mig.state))
		return 0;
	return change(o, op, ob_mig_is_saving(dev->mig.state) ?
		      OB_MIG_STOPPED_COPY : OB_MIG_STOP);
}

int ob_operator_resume(struct ob_device *dev, struct ob_operation *op)
{
	struct ob_operator *o = ob_operator_get(dev);
	struct ob_err why = { "it was resumed" };
	int r = ob_mig_claim(dev, OB_MIG_OPERATOR, &op->err);

	if (r)
		return r;
	if (!o)
		return ob_fail(&op->err, ENOMEM, "out of memory");
	if (o->next)
		return ob_fail(&op->err, EBUSY, "another change of its state is under way");
	ob_state_flow_end(o, -ECANCELED, &why);
	ob_state_flow_tidy(o);
	if (ob_pages_out_is_final(o))
		ob_pages_out_end(o, -ECANCELED, &why);
	return change(o, op, OB_MIG_RUNNING);
}

void ob_operation_cancel(struct ob_operation *op)
{
	struct ob_err why = { "nobody waits for it" };
	struct ob_operator *o = op->dev ? op->dev->operator : NULL;

	op->dev = NULL;
	if (!o)
		return;
	if (o->mover == op) {
		o->mover = NULL;
	} else if (o->state.op == op) {
		o->state.op = NULL;
		ob_state_flow_end(o, -ECANCELED, &why);
	} else if (!ob_pages_out_cancel(o, op)) {
		ob_pages_in_cancel(o, op);
	}
}

/* Ends of another kind */

static void end_all(struct ob_operator *o, const struct ob_err *why)
{
	o->next = NULL;
	ob_state_flow_end(o, -ECONNRESET, why);
	ob_pages_out_end(o, -ECONNRESET, why);
	ob_pages_in_end(o, -ECONNRESET, why);
	ob_operation_end(&o->mover, -ECONNRESET, why);
}

void ob_operator_client_gone(struct ob_device *dev)
{
	struct ob_err why = { "the client has gone" };

	if (dev->operator)
		end_all(dev->operator, &why);
	ob_operator_log_end(dev);
}

void ob_operator_was_reset(struct ob_device *dev)
{
	struct ob_err why = { "the client has reset the device" };
	struct ob_operator *o = dev->operator;

	if (dev->ss->operator & OB_OPERATOR_LOADED)
		ob_log(&dev->log, OB_LOG_WARN, "reset by its client after its "
		       "state was loaded, which is lost");
	dev->ss->operator &= (uint8_t)~OB_OPERATOR_LOADED;
	if (o && o->state.out && dev->mig.state == OB_MIG_STOPPED_COPY)
		ob_state_flow_end(o, -ECONNRESET, &why);
}

void ob_operator_finish(struct ob_device *dev)
{
	struct ob_err why = { "the server ends" };

	if (!dev->operator)
		return;
	end_all(dev->operator, &why);
	free(dev->operator);
	dev->operator = NULL;
}
