/* SPDX-License-Identifier: BSD-3-Clause */
/* file: what its parts share: opening, admission, I/O, and NVMe namespaces. */
#ifndef OB_BLOCK_FILE_H
#define OB_BLOCK_FILE_H

#include <sys/uio.h>

#include "block/types.h"

#define FILE_NR_SLOTS 8
#define FILE_SLOT_SIZE (128u * 1024)
#define FILE_NO_SLOT (-1)

/*
 * What a request must wait for, and what others wait for while it runs; see
 * file_gate.c.
 */
enum file_lane {
	FILE_LANE_FREE,			/* changes nothing */
	FILE_LANE_SHARED,		/* changes whole blocks */
	FILE_LANE_EXCLUSIVE,		/* changes parts of blocks */
};

struct file_request {
	struct ob_op op;
	struct file_drive *file;
	struct file_request *next;	/* waiting, for admission or a way */
	enum file_lane lane;
	bool waiting, needs_slot, cancelled;
	int slot;

	uint64_t pos;			/* bytes of the request that are done */
	uint64_t piece;			/* bytes that this round adds */
	int mode;			/* of fallocate */

	/* The transfer under way, and what follows it. */
	struct iovec iov;
	uint64_t at;
	bool writing;
	void (*then)(struct file_request *part);
};

/* How the bytes are reached; see file_io.c and file_nvme.c. */
struct file_medium {
	/* Begins what is left of part->iov, or less; op.done gets bytes, -errno. */
	void (*transfer)(struct file_request *part);
	/* Zeroes part->piece bytes in place, or makes that less; op.done gets 0,
	 * -errno.  False: it cannot. */
	bool (*zero)(struct file_request *part, uint64_t at);
	/* part->piece bytes at part->at; ends with file_discarded. */
	void (*discard)(struct file_request *part);
	/* op.done gets 0, -errno. */
	void (*sync)(struct file_request *part);
};

/* Of a namespace; all limits are whole blocks. */
struct file_nvme {
	uint32_t nsid;
	unsigned shift;			/* log2 of a block */
	uint32_t max_transfer;		/* bytes, for one command each */
	uint64_t max_zero, max_discard;
	bool deallocates;		/* Write Zeroes may, and it reads as zeros */
	struct file_request *away;	/* wait for a way to the device */
	struct ob_timer look;
};

/*
 * slots are the bounce buffers; behind them lies one more, never written,
 * that is the source of zeros.  None of it is resident until it is used.
 */
struct file_drive {
	struct ob_drive drive;
	int fd;
	bool block_device, is_nvme, direct;
	uint32_t mem_align, offset_align;	/* 1 unless direct */
	bool no_punch, no_zero_range;		/* learned from the kernel */
	const struct file_medium *medium;

	struct file_nvme nvme;			/* only if it is one */
	int claim;				/* the block device; -1: none */
	int io_fd;				/* its commands' */
	bool fenced;				/* nothing may begin yet */
	struct ob_timer fence;

	uint8_t *slots;
	uint32_t free_slots;			/* bit per slot */
	unsigned changing;			/* in the shared lane */
	bool exclusive;
	struct file_request *wait_head, **wait_tail;
};

/* file_gate.c */
void file_gate_init(struct file_drive *file);
/* True: go ahead.  False: file_io_start is called when the time has come. */
bool file_gate_enter(struct file_drive *file, struct file_request *part);
void file_gate_leave(struct file_drive *file, struct file_request *part);
/* Takes a waiting request out of the queue. */
void file_gate_remove(struct file_drive *file, struct file_request *part);
/* Something that requests wait for may have changed. */
void file_gate_look(struct file_drive *file);

/* file_io.c */
extern const struct file_medium file_medium_plain;
void file_io_start(struct file_request *part);
void file_discarded(struct ob_op *op, int res);
/* Must what part transfers be on the medium before it is done? */
bool file_wants_fua(const struct file_request *part);
void file_submit(struct ob_drive *drive, struct ob_block_request *req);
void file_cancel(struct ob_drive *drive, struct ob_block_request *req);

/* file_probe.c: what the file is and can do; fills the drive's info. */
int file_probe_size(struct file_drive *file, uint64_t *size,
		    struct ob_err *err);
/* Turns on direct I/O when it works, and learns its alignment. */
void file_probe_direct(struct file_drive *file);
/*
 * For an image of a former life: whether it is direct is what the open file
 * says, which belongs to others too and is not changed.
 */
void file_probe_kept(struct file_drive *file);
/* incoming: the image is another's, so it is only looked at. */
void file_probe_medium(struct file_drive *file, bool incoming);

/* file_nvme.c */
extern const struct file_medium file_medium_nvme;
size_t file_nvme_request_size(void);
/* Of a status that is no success. */
int file_nvme_errno(int status);

/* file_sysfs.c */
struct stat;
bool file_is_nvme(const struct stat *st);
/* The block device, open as a claim has to be; -EBUSY: another has it; -errno. */
int file_nvme_node(const struct file_drive *file);

/* file_identify.c */
/* Everything but the size; refuses what cannot be served. */
int file_nvme_probe(struct file_drive *file, struct ob_err *err);
int file_nvme_may_read(struct file_drive *file, struct ob_err *err);
int file_nvme_size(struct file_drive *file, uint64_t *size,
		   struct ob_err *err);

/* file_claim.c.  Without a claim, and for what is no namespace, these succeed. */
int file_claim_take(struct file_drive *file, bool once, struct ob_err *err);
void file_claim_drop(struct file_drive *file);
/* That of a former life; false: it had none. */
bool file_claim_find(struct file_drive *file);
void file_claim_close(struct file_drive *file);

/* file_fence.c */
int file_fence_open(struct file_drive *file, struct ob_err *err);
void file_fence_close(struct file_drive *file);
/* Tries to; if not, file_gate_look is called when it has come to that. */
bool file_fence_pass(struct file_drive *file);
/* The right to begin anything is given up. */
void file_fence_raise(struct file_drive *file);

#endif
