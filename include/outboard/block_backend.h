/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives, for those who write them.  A drive type is one const structure in
 * the array of src/block/registry.c.
 */
#ifndef OUTBOARD_BLOCK_BACKEND_H
#define OUTBOARD_BLOCK_BACKEND_H

#include <outboard/block.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define OB_DRIVE_ABI 3u

/*
 * For a type whose blocks exist in this process alone and must travel with
 * the device.  Its drives have info.memory, and a size that does not change.
 * The front keeps the account of what changes.
 */
struct ob_drive_content {
	/*
	 * Sets *start and *length to the first bytes at or after from, which
	 * is below the size, that are not known to be zero; *length <= max.
	 * None: the size, and 0.  What a request under way is about to zero
	 * counts as zero, so that what is found stays as it is until control
	 * returns to the loop.  Reads nothing that would thereby take memory.
	 */
	void (*find)(struct ob_drive *drive, uint64_t from, uint64_t max,
		     uint64_t *start, uint64_t *length);
	/* About how many bytes find would find in all. */
	uint64_t (*allocated)(struct ob_drive *drive);

	/*
	 * As in block.h; the front has checked that there is a stage, the
	 * bounds, and for commit that nothing is in flight.  A commit that
	 * fails leaves both contents as they are.
	 */
	int (*stage_begin)(struct ob_drive *drive);
	int (*stage_put)(struct ob_drive *drive, uint64_t offset,
			 const void *data, uint64_t length);
	int (*stage_commit)(struct ob_drive *drive);
	void (*stage_abort)(struct ob_drive *drive);
};

struct ob_drive_type {
	uint32_t size;			/* sizeof(struct ob_drive_type) */
	uint32_t abi;			/* OB_DRIVE_ABI */
	const char *name;		/* the word before the first colon */
	const char *syntax, *summary;	/* for help and the manual */
	size_t instance_size;		/* embeds struct ob_drive first */

	/*
	 * arg is the text after "NAME:", flags of enum ob_drive_flags.  Fills
	 * drive->info and drive->request_size (of its private part).  On error close is
	 * called on the half-built instance (descriptors start at -1 after
	 * prepare, if given).
	 *
	 * info.size is 0 before, or, if the drive lived before, the size that
	 * it had: then it must be there among what is kept, and nothing may
	 * be done to it that a predecessor who is still at work would notice.
	 */
	void (*prepare)(struct ob_drive *drive);
	int (*open)(struct ob_drive *drive, const char *arg, unsigned flags,
		    struct ob_err *err);
	void (*close)(struct ob_drive *drive);

	/*
	 * The caller has checked: the range is inside the drive, op is
	 * allowed by info.readonly.  Must call ob_drive_done exactly once per
	 * request, from the loop.
	 */
	void (*submit)(struct ob_drive *drive, struct ob_block_request *req);
	void (*cancel)(struct ob_drive *drive, struct ob_block_request *req);
	/* Looks at the size again.  Default: it never changes. */
	int (*refresh)(struct ob_drive *drive, struct ob_err *err);

	/*
	 * Hand-over.  A drive that was opened with OB_DRIVE_INCOMING has no
	 * right to its blocks and must not disturb who has it.  acquire takes
	 * the right: one try, without waiting, -EBUSY when another has it.
	 * release gives it up.  They are called in turn, with nothing in
	 * flight; refresh follows acquire.  An error changes nothing.  When err
	 * is NULL nobody reads why, so nothing needs to be found out.
	 * Default: there is no such right, both succeed.
	 */
	int (*release)(struct ob_drive *drive, struct ob_err *err);
	int (*acquire)(struct ob_drive *drive, struct ob_err *err);

	/*
	 * ob_drive_recall: what is kept may be another thing than at open, and
	 * drive->active is what it is to be.  Default: there is nothing to do.
	 */
	int (*recall)(struct ob_drive *drive, struct ob_err *err);

	/*
	 * ob_drive_branch: branch is prepared, and has the drive's info; close
	 * leaves what belongs to branch->parent.  Default: -EOPNOTSUPP.
	 */
	int (*branch)(struct ob_drive *drive, struct ob_drive *branch,
		      uint32_t granule, struct ob_err *err);

	/* Default: nothing travels. */
	const struct ob_drive_content *content;
};

struct ob_drive {
	const struct ob_drive_type *type;
	struct ob_loop *loop;
	char *name;			/* the spec, for messages */
	char *keep;			/* "nvme0/drive/0/", before open; NULL: none */
	int record;			/* the front's, src/block/record.c */
	struct ob_drive_info info;
	size_t request_size;
	void (*resized)(void *arg);
	void *resized_arg;
	/*
	 * Set by the open of a type whose drives are around another one.
	 * Hand-over and content are the inner drive's; the front asks it.
	 */
	struct ob_drive *inner;
	/* The drive of a branch; those of a drive. */
	struct ob_drive *parent, *branches, *next_branch;
	/* From here on the front's, src/block/block.c. */
	bool active, staging;
	struct ob_content *content;
	unsigned in_flight, entered;
	struct ob_block_request *done_head, **done_tail;
	struct ob_deferred done_soon;
};

/* All types that are built in; NULL ends the array. */
extern const struct ob_drive_type *const ob_drive_types[];

/*
 * Completes a request in this turn of the loop or a later one.  May be called
 * from inside submit and cancel.  From elsewhere, the request and, if it was
 * the last one, the drive may be gone when this returns.
 */
void ob_drive_done(struct ob_drive *drive, struct ob_block_request *req,
		   int rc);

/* For refresh, or whenever a drive notices that its size is another one. */
void ob_drive_resized(struct ob_drive *drive, uint64_t size);

/*
 * What a drive opened and must not lose: kept under a short word of its own
 * ("image"), found by the open of the successor, the same open file with its
 * locks (keep.h).  Without a keeper kept is -ENOENT and keep succeeds.  close
 * drops nothing: the process may end and the drive go on.
 */
int ob_drive_keep(struct ob_drive *drive, const char *word, int fd);
int ob_drive_kept(struct ob_drive *drive, const char *word);
/* It is not needed any more. */
void ob_drive_forget(struct ob_drive *drive, const char *word);

/* For a type around another drive: opens it as drive->inner, kept as drive is. */
int ob_drive_open_inner(struct ob_drive *drive, const char *spec,
			unsigned flags, struct ob_err *err);

/* ob_fail with the drive's name in front. */
int ob_drive_fail(const struct ob_drive *drive, struct ob_err *err,
		  int errnum, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
