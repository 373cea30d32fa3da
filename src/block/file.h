/* SPDX-License-Identifier: BSD-3-Clause */
/* file: what its three parts share: opening, admission, and I/O. */
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
	struct file_request *next;	/* waiting for admission */
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

/*
 * slots are the bounce buffers; behind them lies one more, never written,
 * that is the source of zeros.  None of it is resident until it is used.
 */
struct file_drive {
	struct ob_drive drive;
	int fd;
	bool block_device, direct;
	uint32_t mem_align, offset_align;	/* 1 unless direct */
	bool no_punch, no_zero_range;		/* learned from the kernel */

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

/* file_io.c */
void file_io_start(struct file_request *part);
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

#endif
