/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What of a device outlives its process: names with the keeper, steps that
 * happen as a whole, and the successor's side (docs/crash-safety.md).  Grouped
 * by file.  Without a keeper all of it does nothing.
 */
#ifndef OB_SERVER_KEPT_H
#define OB_SERVER_KEPT_H

#include <outboard/device.h>

#include "server/server.h"
#include "state/state_mem.h"

struct ob_conn_memory;
struct ob_dma_table;
struct ob_hdr;
struct ob_request;

/* keep.c: names below the device's own. */
int ob_dev_keep(struct ob_device *dev, int fd, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* An fd of one's own, or -errno. */
int ob_dev_kept(const struct ob_device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* With '/' at the end: all below. */
void ob_dev_unkeep(struct ob_device *dev, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Everything that was created here goes to the keeper, the state last. */
int ob_dev_keep_all(struct ob_device *dev, struct ob_err *err);
/* After a step: drops the names of what it took away. */
void ob_dev_settle(struct ob_device *dev);
/* The client has gone, in the state as well: so do its descriptors. */
void ob_dev_unkeep_client(struct ob_device *dev);

/* Names of descriptors in a connection's journal. */
enum ob_fd_name { OB_FD_TWIN_PEER = 1, OB_FD_BAR0 };

/* wire.c: ID/wire, the memory of a connection and its twin. */
struct ob_wire {
	int fd;
	uint8_t *base;
	size_t size;
};
int ob_wire_create(struct ob_device *dev, struct ob_err *err);
/* The predecessor's, as its state says that it is divided. */
int ob_wire_adopt(struct ob_device *dev, struct ob_err *err);
void ob_wire_finish(struct ob_device *dev);
/* Nobody is connected: what is in it is nobody's. */
void ob_wire_cool(struct ob_device *dev);
void ob_wire_memory(struct ob_device *dev, bool twin,
		    struct ob_conn_memory *out);

/* step.c */
/* The open step happens as a whole: core, plain part, session; and alone. */
void ob_step_protect(struct ob_device *dev);
/* ... and all of the hot part, which is going to be another. */
void ob_step_protect_hot(struct ob_device *dev);
/* ... or of it only the journals: the rest is to be the same if done twice. */
void ob_step_protect_journal(struct ob_device *dev);
/* Does that message change nothing but what is hot? */
bool ob_request_is_hot(struct ob_device *dev, const struct ob_request *req);

/* adopt.c */
/* The predecessor's state, if there is one: dev->old. */
int ob_adopt_begin(struct ob_device *dev, struct ob_err *err);
/* The state that is in fd, as dev->old. */
int ob_adopt_open(struct ob_device *dev, int fd, struct ob_err *err);
/* Takes it over, up to the hand-over; the device is built and reset. */
int ob_adopt(struct ob_device *dev, struct ob_err *err);
/* Talks to the client, and runs if nothing of the dead is under way. */
void ob_adopt_resume(struct ob_device *dev);
void ob_adopt_end(struct ob_device *dev);
/* No successor will ever take it over, for that reason. */
bool ob_adopt_is_hopeless(const struct ob_device *dev, int error);
/* A device that begins anew instead: forgets all but its socket and drives. */
void ob_adopt_nothing(struct ob_device *dev);
/* The rings in which that connection's last calls are; NULL: nowhere. */
struct ob_conn_journal;
const struct ob_old_rings *ob_past_rings(const struct ob_past *past,
					 const struct ob_conn_journal *journal);
/* Fresh copies of what the old state says; each as large as its table. */
struct ob_adopt_parts {
	void *core, *plain, *hot;
};
/* ... of the client's share where it is going to be; checked. */
int ob_adopt_read_client(struct ob_device *dev, struct ob_err *err);
int ob_adopt_read(struct ob_device *dev, struct ob_adopt_parts *parts,
		  struct ob_err *err);
void ob_adopt_parts_free(struct ob_adopt_parts *parts);

/* rehearse.c: only the judgement of ID/copy. */
int ob_rehearse(struct ob_device *dev, struct ob_err *err);

/* adopt_dma.c */
int ob_adopt_dma(struct ob_device *dev, struct ob_err *err);
/* Drops files that no entry names. */
void ob_adopt_dma_extra(struct ob_device *dev);
/* Of a table that was read: bounds, flags, order. */
int ob_adopt_dma_check(const struct ob_device *dev,
		       const struct ob_dma_table *table, struct ob_err *err);

/* fuse.c */
/* Deaths in a row in the same place; what that means for this life. */
void ob_fuse_judge(struct ob_device *dev);
/* Whoever dies before it serves died of the state in fd; 0, or too many did. */
int ob_fuse_taking(struct ob_device *dev, int fd, struct ob_err *err);
/* Ours is the truth from now on, and still on trial until it serves. */
void ob_fuse_taken(struct ob_device *dev, bool serves);
/* The message in hand killed too often: log it, fail the device; -EIO. */
int ob_fuse_message(struct ob_device *dev, const struct ob_hdr *hdr);
/* The device's failed state. */
void ob_fuse_fail(struct ob_device *dev);

#endif
