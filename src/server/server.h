/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon uses of the server: create devices, let them listen, end
 * them.  Everything runs on the device's loop's thread, but for what depends on
 * no loop (ob_device_prepare) and the names, which do not change.
 */
#ifndef OB_SERVER_SERVER_H
#define OB_SERVER_SERVER_H

#include <outboard/device.h>

#include "state/stream.h"

/* Keys that every device has: socket, fd, id, msix, msi, rom, drain, incoming,
 * thread (the daemon's), lanes. */
extern const struct ob_option ob_device_common_options[];

/*
 * Takes opts (also on error).  The device's state is created, reset, and
 * ready; it does not listen yet.
 */
int ob_device_create(struct ob_loop *loop, const struct ob_device_class *cls,
		     struct ob_options *opts, struct ob_device **out,
		     struct ob_err *err);

/*
 * The same under a keeper (outboard/keep.h), where a dead process may have left
 * the device: then its state is found there and goes on (docs/crash-safety.md).
 * What is known of the dead, kept by the caller until this returns:
 */
struct ob_old_rings;
struct ob_past {
	const struct ob_old_rings *const *rings;	/* all that are not over */
	unsigned nr_rings;
	int signal;		/* of the last death; 0: unknown, none */
	uint64_t generation;	/* ours, for the recorder */
	/* Others have failed before: a device whose state is refused begins anew,
	 * without its client, instead of holding up all others. */
	bool last_try;
};
/*
 * The same in two parts.  The first depends on nothing that a predecessor may
 * still change; takes opts.  The second, or ob_device_destroy, has to follow.
 * One that fails has destroyed the device; one that begins anew has made another.
 */
int ob_device_prepare(const struct ob_device_class *cls,
		      struct ob_options *opts, struct ob_device **out,
		      struct ob_err *err);
int ob_device_begin(struct ob_device **dev, struct ob_loop *loop,
		    const struct ob_past *past, struct ob_err *err);
/*
 * Between them: the loops of a device with option lanes, the first being its own.
 * Without this all are in one.
 */
void ob_device_set_lanes(struct ob_device *dev, struct ob_loop *const *loops,
			 unsigned nr);
/* As many as its options say. */
unsigned ob_device_lanes(const struct ob_options *opts);
/* Between them, for who has time: touches memory that will be written. */
void ob_device_get_warm(struct ob_device *dev);
int ob_device_create_after(struct ob_loop *loop,
			   const struct ob_device_class *cls,
			   struct ob_options *opts, const struct ob_past *past,
			   struct ob_device **out, struct ob_err *err);
/*
 * No request of the dead is in the kernel any more: the device may run.  Until
 * then it answers register accesses and stands still.  Needs to be called only
 * if past had rings that were not over.
 */
void ob_device_old_rings_over(struct ob_device *dev);

/*
 * A copy of the state for a rehearsal, between two steps, put as ID/copy and
 * ID/recorder/copy, the lanes' recorders as ID/recorder/N/copy.
 */
int ob_device_copy(struct ob_device *dev, struct ob_err *err);

/*
 * Would this build go on with the copy?  Changes nothing and puts nothing.
 * Takes opts.  -ENOENT: there is none.  With out == NULL it is for the
 * practice, and judges what it builds itself instead.
 */
struct ob_rehearsal {
	size_t state_bytes;	/* that were written */
	uint64_t oldest_ns;	/* age of the oldest drive request in flight */
	uint32_t in_flight;	/* drive requests */
};
int ob_device_rehearse(struct ob_loop *loop, const struct ob_device_class *cls,
		       struct ob_options *opts, struct ob_rehearsal *out,
		       struct ob_err *err);

/*
 * Listens as its options say: socket=PATH (created 0660, unlinked at the end;
 * a stale one is replaced, a live one refused) or fd=N.
 */
int ob_device_listen(struct ob_device *dev, struct ob_err *err);
/*
 * Under a keeper the device does not accept: the keeper does, at the socket it
 * has under this name, and whoever hears of a client hands it over (takes fd),
 * with the place in which the keeper has it (base/keep.h).  NULL without one.
 */
const char *ob_device_listen_name(const struct ob_device *dev);
void ob_device_client(struct ob_device *dev, unsigned place, int fd);

/*
 * The parts of a model's state that travel: core, plain, hot, those that it
 * has, without bases.  Returns how many.
 */
unsigned ob_device_class_parts(const struct ob_device_class *cls,
			       struct ob_part parts[OB_PARTS_MAX]);

/* "unix:PATH" or "fd:N", for the ready line. */
const char *ob_device_address(const struct ob_device *dev);

/*
 * Would this device load that stream?  read gives its bytes: how many, 0 at
 * the end, -errno.  Judges as RESUMING -> STOP does, and changes nothing.  The
 * message names section, field and reason.
 */
int ob_device_check_stream(struct ob_device *dev,
			   int (*read)(void *arg, void *buf, size_t len),
			   void *arg, struct ob_err *err);

/* What the device is doing now; the words live as long as the device. */
struct ob_device_status {
	const char *id, *model, *address;
	pid_t client;			/* 0: none is connected */
	uint64_t step;			/* odd: inside of one */
	uint64_t state_bytes;		/* of its memory, as far as written */
	unsigned in_flight;		/* commands */
	/* Signalled by this process, and how many are due and wait. */
	uint64_t intx, msi, msix;
	unsigned waiting;
	/* How often the guest was seen, at a register or with a command; signals since. */
	uint64_t visits, unanswered;
	/* Threads that may have a part of it; do they, now? */
	unsigned lanes;
	bool spread;
};
void ob_device_status(struct ob_device *dev, struct ob_device_status *out);
/* Commands in flight, with their age. */
void ob_device_inflight(struct ob_device *dev,
			void (*each)(void *arg,
				     const struct ob_device_inflight *io),
			void *arg);

/* The operator asks to look again at what is behind the device. */
void ob_device_refresh(struct ob_device *dev);

/*
 * Stops listening, drops the client, waits for nothing.  When no operation is
 * in flight any more, gone runs (from the loop) and the device may be
 * destroyed.
 */
void ob_device_shutdown(struct ob_device *dev, void (*gone)(void *arg),
			void *arg);
void ob_device_destroy(struct ob_device *dev);

#endif
