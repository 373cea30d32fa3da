/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the daemon uses of a device for its operator, who moves it beside its
 * client (docs/live-migration.md).
 *
 * An operation that takes time returns -EINPROGRESS and calls done later, once,
 * from the loop.  It belongs to the library until then, or until it is
 * cancelled.  Whatever fails says why in op->err.  fd is always taken: a pipe or
 * a stream socket, which is moved to and from without waiting for it.
 */
#ifndef OB_SERVER_OPERATOR_H
#define OB_SERVER_OPERATOR_H

#include <stdbool.h>
#include <stdint.h>

#include <outboard/error.h>

struct ob_device;

struct ob_operation {
	void (*done)(struct ob_operation *op, int r);
	struct ob_err err;
	uint64_t bytes;		/* of a stream, so far and in the end */
	uint64_t pages, dropped;	/* of one of pages */
	struct ob_device *dev;	/* while it is under way; the library's */
};

/* To a standstill: STOP, or from PRE_COPY STOP_COPY. */
int ob_operator_quiesce(struct ob_device *dev, struct ob_operation *op);
/* To RUNNING, whatever was being saved or loaded. */
int ob_operator_resume(struct ob_device *dev, struct ob_operation *op);
/* Writes the stream to its END; live: until quiesce comes it goes on. */
int ob_operator_save(struct ob_device *dev, struct ob_operation *op, int fd,
		     bool live);
/* Reads a stream, judges it, and becomes it. */
int ob_operator_load(struct ob_device *dev, struct ob_operation *op, int fd);

/* The operator's log of written pages, beside the client's. */
int ob_operator_log(struct ob_device *dev, bool on, struct ob_err *err);
/*
 * Writes pages that the log tells, until ob_operator_pages_finish and END; last: as
 * if that had come.  Another one, until the log begins anew, sends all of them again.
 */
int ob_operator_pages_out(struct ob_device *dev, struct ob_operation *op,
			  int fd, bool last);
/* The last round begins; -EBUSY: the device runs, -ENOENT: nothing goes out. */
int ob_operator_pages_finish(struct ob_device *dev, struct ob_err *err);
/* Reads pages into memory aside. */
int ob_operator_pages_in(struct ob_device *dev, struct ob_operation *op,
			 int fd);
/* What was read goes into guest memory. */
int ob_operator_pages_apply(struct ob_device *dev, struct ob_operation *op);

/*
 * Nobody waits for it any more: a stream ends, a change of state goes on.  done
 * is not called.
 */
void ob_operation_cancel(struct ob_operation *op);

struct ob_operator_status {
	const char *state, *owner;	/* "RUNNING"; "nobody" */
	const char *stream, *pages;	/* "none", "out", "in" (pages: "kept", "apply") */
	bool log, loaded, given;
	uint64_t bytes;			/* of the state, gone or come */
	uint64_t left;			/* of it, as far as known; 0 on the way in */
	uint64_t page_bytes, nr_pages;	/* gone or come */
	uint64_t pages_left;		/* known to be dirty; to be applied */
	const char *alarm;		/* what the operator is to know, or NULL */
};
void ob_operator_status(struct ob_device *dev, struct ob_operator_status *out);

/*
 * tell is called when the alarm of the status changes; NULL: it is over.
 */
void ob_operator_on_alarm(struct ob_device *dev,
			  void (*tell)(void *arg, struct ob_device *dev,
				       const char *alarm), void *arg);

/* What whoever restores a VMM's view has to know. */
#define OB_OPERATOR_CONFIG 256u
struct ob_operator_config {
	uint8_t config[OB_OPERATOR_CONFIG];
	uint8_t pm, msi, msix, express;	/* where the capabilities are, or 0 */
	unsigned table_bar, vectors;	/* of MSI-X; 0 vectors: it has none */
	uint32_t table_offset;
	struct {
		uint64_t size;		/* 0: it is not there */
		bool is_64, is_io, prefetch;
	} bars[6];
};
void ob_operator_config(struct ob_device *dev, struct ob_operator_config *out);
/* Drive i; false: there are no more. */
struct ob_operator_drive {
	const char *name;		/* as it was given */
	uint64_t size;
	bool readonly, travels;		/* travels: its content goes with the state */
	char identity[64];		/* of a file or a block device, or "" */
	char problem[128];		/* why it could not be opened now, or "" */
};
bool ob_operator_drive(struct ob_device *dev, unsigned i,
		       struct ob_operator_drive *out);
/* Entry i of the table as the server has it: the client may have its own. */
void ob_operator_msix_entry(struct ob_device *dev, unsigned i,
			    uint64_t *address, uint32_t *data,
			    uint32_t *control);

#endif
