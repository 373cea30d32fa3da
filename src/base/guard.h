/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGBUS in memory that a peer can truncate (RULES R7).
 *
 * A guarded range is a mapping of a peer's fd.  When a load or store in it
 * faults because the file was cut, the handler puts a zero page there, sets
 * the range's flag, and the instruction goes on; whoever copied looks at the
 * flag afterwards and fails the access.  No cost on the path without a fault.
 * A SIGBUS elsewhere is ours and kills the process as before.
 */
#ifndef OB_BASE_GUARD_H
#define OB_BASE_GUARD_H

#include <stdatomic.h>
#include <stddef.h>

struct ob_guard {
	void *addr;
	size_t len;
	atomic_bool lost;	/* some page of it was replaced */
	int slot;		/* private */
};

/* How many pages were replaced so far, in all ranges. */
extern atomic_uint ob_guard_losses;

/* Installs the process's handler; calling it again is harmless. */
int ob_guard_start(void);
/* addr and len are set by the caller, page multiples.  -ENOSPC. */
int ob_guard_add(struct ob_guard *guard);
void ob_guard_remove(struct ob_guard *guard);

#endif
