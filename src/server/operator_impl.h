/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator's side of a device; grouped by file.  There is one change of the
 * device's state at a time, one stream of it, and one stream of pages.
 */
#ifndef OB_SERVER_OPERATOR_IMPL_H
#define OB_SERVER_OPERATOR_IMPL_H

#include <outboard/loop.h>

#include "server/flow.h"
#include "server/operator.h"

struct ob_operator;
struct ob_pages_in;
struct ob_pages_out;
struct ob_range;

/* What comes after a change of state, which ended with r; why is in o->err. */
typedef void (*ob_operator_next)(struct ob_operator *o, int r);

/* A stream of the device's state, out or in. */
struct ob_state_flow {
	bool under_way, out;
	struct ob_operation *op;	/* who waits for it; NULL: nobody now */
	struct ob_flow flow;
	struct ob_timer look;		/* for changes, for drives */
	uint64_t bytes;			/* of this one, or the last one */
	uint8_t *buf;			/* in: a piece */
};

struct ob_operator {
	struct ob_device *dev;
	ob_operator_next next;		/* a change of state is under way */
	struct ob_operation *mover;	/* quiesce or resume, or NULL */
	struct ob_err err;
	struct ob_state_flow state;
	struct ob_pages_out *out;
	struct ob_pages_in *in;
};

/* operator.c */
/* Made when it is first needed; NULL: no memory. */
struct ob_operator *ob_operator_get(struct ob_device *dev);
void ob_operator_finish(struct ob_device *dev);
/*
 * A change of state: 0 or an error at once, or -EINPROGRESS, and next comes
 * later.
 */
int ob_operator_move(struct ob_operator *o, uint32_t state,
		     ob_operator_next next);
/* What the above waited for has ended (mig.c). */
void ob_operator_moved(struct ob_device *dev, int r);
/* Ends an operation: *place becomes NULL, and whoever waits is told. */
void ob_operation_end(struct ob_operation **place, int r,
		      const struct ob_err *err);
/*
 * The client has reset the device: what stands still and was being written is
 * another state now.
 */
void ob_operator_was_reset(struct ob_device *dev);
/* It has gone, and all of this with it. */
void ob_operator_client_gone(struct ob_device *dev);

/* operator_stream.c */
/* The device has come to STOP_COPY: go on to the end. */
void ob_state_flow_go_on(struct ob_operator *o);
/* Ends the stream, if there is one, and its session; why r is in err. */
void ob_state_flow_end(struct ob_operator *o, int r, const struct ob_err *err);
/* No stream is under way, and what one has left is no state to go on from. */
void ob_state_flow_tidy(struct ob_operator *o);

/* operator_log.c */
void ob_operator_log_end(struct ob_device *dev);

/* pages_out.c, pages_in.c */
void ob_pages_out_end(struct ob_operator *o, int r, const struct ob_err *err);
void ob_pages_in_end(struct ob_operator *o, int r, const struct ob_err *err);
/* The last round has begun: what is written from now on is not seen. */
bool ob_pages_out_is_final(const struct ob_operator *o);
/* Its asker has gone. */
bool ob_pages_out_cancel(struct ob_operator *o, struct ob_operation *op);
bool ob_pages_in_cancel(struct ob_operator *o, struct ob_operation *op);
void ob_pages_out_status(const struct ob_operator *o,
			 struct ob_operator_status *out);
void ob_pages_in_status(const struct ob_operator *o,
			struct ob_operator_status *out);

#endif
