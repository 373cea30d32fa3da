/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stream, pulled out of a device piece by piece, in its own order and never
 * more of it than was asked for.  Content goes out from where it lies when a
 * whole run of it fits; the saver holds what else one call gives out, and at
 * most a section that was cut: all of it no more than 1 MiB and a PART.
 */
#ifndef OB_STATE_SAVE_H
#define OB_STATE_SAVE_H

#include <sys/uio.h>

#include "state/stream.h"

struct ob_saver;

struct ob_content_run {
	uint64_t offset, length;
	const void *data;		/* NULL: zeros */
};

/* Content, for a saver. */
struct ob_content_source {
	struct ob_content_id id;
	/* It may be sent while the device runs, and changes again then. */
	bool live;
	/* It need not look for zeros: runs of them are of any length. */
	bool knows_zeros;
	/*
	 * The next run of at most max bytes (>= 4096), taken off the account;
	 * the bytes stay valid and as they are until the loop runs again.
	 * False: nothing now.
	 */
	bool (*take)(void *arg, uint64_t max, struct ob_content_run *run);
	void (*left)(void *arg, uint64_t *initial, uint64_t *dirty);
	void *arg;
};

struct ob_save_plan {
	const char *model, *id;
	const struct ob_part *parts;	/* borrowed, like everything here, */
	unsigned nr_parts;		/* for the saver's life */
	const struct ob_content_source *contents;
	unsigned nr_contents;
};

int ob_saver_create(const struct ob_save_plan *plan, struct ob_saver **out,
		    struct ob_err *err);
void ob_saver_destroy(struct ob_saver *saver);

/*
 * The device stands still: from now on all content that is left, then the
 * parts, follow.  Before, only schema, identity, objects and live content.
 */
void ob_saver_stopped(struct ob_saver *saver);
/*
 * END says that the state is complete and the drives are free.  The saver
 * stops before it (wants_end) until allow_end.
 */
bool ob_saver_wants_end(const struct ob_saver *saver);
void ob_saver_allow_end(struct ob_saver *saver);

/*
 * Up to room bytes of the stream, as pieces that stay valid until the next
 * call and until the loop runs again.  *count: the places in iov, then the
 * pieces used; with few places more is copied.  Returns the bytes.  Fewer than
 * room: nothing now, the end, or wants_end.  A room of up to 1 MiB is filled
 * exactly when there is enough, whatever the places.
 */
size_t ob_saver_read(struct ob_saver *saver, size_t room, struct iovec *iov,
		     unsigned *count);
/* Every byte of END has been read. */
bool ob_saver_done(const struct ob_saver *saver);

/*
 * Bytes of content, of framing that has not been read, and of the parts as
 * they are now: what STOP_COPY would send (an estimate that is not low while
 * nothing changes).  initial and dirty as PRECOPY_INFO tells them.
 */
uint64_t ob_saver_left(const struct ob_saver *saver);
void ob_saver_precopy_info(const struct ob_saver *saver, uint64_t *initial,
			   uint64_t *dirty);
/* The same estimate for a device that is not being saved. */
uint64_t ob_save_size(const struct ob_save_plan *plan);

#endif
