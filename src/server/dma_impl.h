/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the DMA map.  The client's mappings are entries of the state's DMA
 * table, in slots that never move.  Beside them the runtime keeps the ranges sorted
 * by address for the look-up, and for each range how to reach its bytes.
 */
#ifndef OB_SERVER_DMA_IMPL_H
#define OB_SERVER_DMA_IMPL_H

#include <outboard/dma.h>
#include <outboard/error.h>
#include <outboard/loop.h>

#include "base/bitmap.h"
#include "base/guard.h"
#include "proto/proto.h"
#include "server/core.h"

struct ob_device;
struct ob_dirty;
struct ob_dirty_range;
struct ob_session;

/* One file of the client, however often it was sent. */
struct ob_dma_file {
	struct ob_dma_file *next, **pprev;
	uint64_t dev, ino;
	int access;			/* O_RDONLY or O_RDWR */
	int fd;
	uint32_t id, refs;
	bool lost;			/* file I/O found it truncated */
	struct ob_window *windows;
};

/*
 * One mapping into our memory.  The first window of a file covers all of it,
 * so that a thousand DMA mappings of one memfd cost one mmap, one guard and
 * one fd.
 */
struct ob_window {
	struct ob_window *next, **pprev;
	struct ob_guard guard;
	uint64_t offset;		/* in the file */
	int prot;
	uint32_t refs;
	bool told;			/* its loss was logged and reported */
};

/* A cache line of its own: a look-up among many waits for it. */
struct ob_range {
	_Alignas(64) uint64_t first;
	uint64_t last;			/* inclusive: 2^64 - 1 may be mapped */
	uint8_t *host;			/* through a window, else NULL */
	struct ob_window *window;
	struct ob_dma_file *file;
	uint64_t offset;		/* of first, in the file */
	uint32_t flags, slot;
};

struct ob_dma {
	struct ob_leaf **leaves, *spare;	/* dma_index.c */
	uint64_t *ends;			/* of the leaves: their last addresses */
	uint32_t nr_leaves, room;
	uint32_t nr;			/* of ranges */
	uint32_t nr_far;		/* of those without host memory */
	struct ob_range *hit;		/* of the last look-up, or NULL */
	uint32_t free_hint;		/* no slot below it is free */
	uint32_t next_file_id;
	bool clearing;			/* all of it goes */
	struct ob_dma_file *files;
	struct ob_dma_file *over;	/* unused, but the keeper has them yet */
	uint64_t pgsize;		/* smallest page, for alignment */
	bool file_lost;			/* of some file, not told yet */
	unsigned losses;		/* ob_guard_losses when last told */
	bool logging;			/* into at least one of these: */
	struct ob_dirty *log;		/* the client's, or NULL */
	struct ob_dirty *op_log;	/* the operator's, or NULL */
	uint64_t *slots;		/* of the table that are taken; NULL: none */
};

void ob_dma_init(struct ob_device *dev);
/* fd is taken when it is used; *fd is -1 then.  0 or -errno for the reply. */
int ob_dma_map(struct ob_device *dev, const struct ob_dma_map *req, int *fd,
	       struct ob_err *err);
/* What of a mapping can be judged without its file.  -EINVAL. */
int ob_dma_map_check(const struct ob_device *dev, const struct ob_dma_map *req,
		     bool has_fd, struct ob_err *err);
int ob_dma_unmap(struct ob_device *dev, const struct ob_dma_unmap *req);
/* Everything: the client has gone. */
void ob_dma_clear(struct ob_device *dev);
/* The end; the state stays as it is. */
void ob_dma_finish(struct ob_device *dev);

/*
 * dirty_feature.c: is what we write there to be logged?  Of memory without an
 * fd the client writes every byte itself, and knows.
 */
bool ob_dma_is_logged(const struct ob_range *range);
/* Ends the client's log, if there is one. */
void ob_dma_log_end(struct ob_device *dev);
/* Another one, with room for everything that is mapped. */
int ob_dma_log_start(struct ob_device *dev, const struct ob_dirty_range *ranges,
		     uint32_t count, struct ob_dirty **log,
		     struct ob_err *err);
/* A dead process had one: another, in which all that is mapped is dirty. */
int ob_dma_log_adopt(struct ob_device *dev, struct ob_dirty **log,
		     struct ob_err *err);
/* One of them has been set, or taken away. */
void ob_dma_log_changed(struct ob_device *dev);

/* dma_file.c */
int ob_dma_file_get(struct ob_device *dev, int *fd, struct ob_dma_file **out);
void ob_dma_file_put(struct ob_device *dev, struct ob_dma_file *file);
/* A dead process's, by its number; looked up once. */
int ob_dma_file_adopt(struct ob_device *dev, uint32_t id,
		      struct ob_dma_file **out);
/* After a step: drops the names of what was put for the last time. */
void ob_dma_files_settle(struct ob_device *dev);
void ob_dma_files_free(struct ob_dma *dma);
/* May all of it be reached by file I/O, for writing too?  -EINVAL, -EACCES. */
int ob_dma_file_check(const struct ob_dma_file *file, uint64_t offset,
		      uint64_t size, bool write);
/* -EINVAL when the file ends before offset + size. */
int ob_window_get(struct ob_dma_file *file, uint64_t offset, uint64_t size,
		  int prot, struct ob_window **out);
void ob_window_put(struct ob_window *win);

/* dma_map.c: how the bytes of a range are reached, and the end of that. */
int ob_dma_attach(struct ob_range *range, uint64_t size);
void ob_dma_detach(struct ob_device *dev, struct ob_range *range);

/*
 * dma_index.c: the ranges, sorted and disjoint.  Places and pointers to ranges hold
 * until something is added or removed.  To go through all of them:
 *
 *	for (struct ob_place p = { 0 }; (range = ob_dma_at(dma, &p)); p.at++)
 */
#define OB_LEAF 64u
struct ob_place {
	uint32_t leaf, at;
};
/* Of the first range that ends at or after addr; the end, if there is none. */
struct ob_place ob_dma_place(const struct ob_dma *dma, uint64_t addr);
/* The range at a place, or behind the last of its leaf; NULL at the end. */
struct ob_range *ob_dma_at(const struct ob_dma *dma, struct ob_place *place);
/* The next ob_dma_add will have room.  -ENOMEM. */
int ob_dma_reserve(struct ob_dma *dma);
/* The range, which touches no other, at the place of its first address. */
struct ob_range *ob_dma_add(struct ob_dma *dma, struct ob_place place,
			    const struct ob_range *range);
void ob_dma_remove(struct ob_dma *dma, struct ob_place place);
void ob_dma_remove_all(struct ob_dma *dma);
struct ob_range *ob_dma_search(struct ob_dma *dma, uint64_t addr);

/* The range that holds addr, or NULL. */
static inline struct ob_range *ob_dma_find(struct ob_dma *dma, uint64_t addr)
{
	struct ob_range *range = dma->hit;

	if (range && addr >= range->first && addr <= range->last)
		return range;
	return ob_dma_search(dma, addr);
}

/* dma_map.c: room for one more range, in the index and in the table's bits. */
int ob_dma_make_room(struct ob_dma *dma);

/*
 * dma_msg.c: memory that only the client can reach.  Requests wait in a queue
 * and leave when no answer to the client is due (R9).
 */
struct ob_dma_msg;
struct ob_dma_queue {
	struct ob_dma_msg *waiting, **waiting_tail;
	struct ob_dma_msg *sent;
	unsigned nr_sent;
	uint16_t next_id;
	struct ob_dma_op *done, **done_tail;	/* their callbacks are due */
	struct ob_deferred run;			/* which does that */
};

void ob_dma_queue_init(struct ob_dma_queue *q);
/* Adds to op->pending.  -ENOMEM, -ENOTCONN, -EFAULT (R14). */
int ob_dma_msg_add(struct ob_device *dev, struct ob_dma_op *op, bool write,
		   uint64_t addr, uint8_t *buf, uint64_t len);
/* Takes back what was added to op and is not sent; op->done will not run. */
void ob_dma_msg_revoke(struct ob_device *dev, struct ob_dma_op *op);
/*
 * Fails what waits and touches first to last: the client took the memory
 * away, or the guest the right to DMA, so none of it may leave any more.
 */
void ob_dma_msg_drop(struct ob_device *dev, uint64_t first, uint64_t last,
		     int rc);
/* Sends what may be sent now. */
void ob_dma_msg_pump(struct ob_session *s);
/* A reply arrived; -ENOENT when nobody asked. */
struct ob_msg;
int ob_dma_msg_reply(struct ob_session *s, const struct ob_msg *msg);
/* The client has gone: every operation fails with rc, from the loop. */
void ob_dma_msg_fail_all(struct ob_device *dev, int rc);

#endif
