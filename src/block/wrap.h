/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the wrappers have in common: NAME:RULE:DRIVE, drive->inner, and a
 * request for it nested in the private part of the outer one.  A wrapper
 * hides the inner drive's memory, so that everything passes through it.
 */
#ifndef OB_BLOCK_WRAP_H
#define OB_BLOCK_WRAP_H

#include "block/types.h"

/* The outer request's private part; whatever else a wrapper needs is first. */
struct ob_wrap_request {
	struct ob_drive *drive;
	struct ob_block_request *outer;
	struct ob_block_request inner;
};

/*
 * Splits arg at its first colon; the rule is before it, rule_len bytes.
 * Fails when there is none.
 */
int ob_wrap_split(struct ob_drive *drive, const char *arg, size_t *rule_len,
		  struct ob_err *err);
/* Opens the inner drive; head is what the wrapper's private part begins with. */
int ob_wrap_open(struct ob_drive *drive, const char *spec, unsigned flags,
		 size_t head, struct ob_err *err);
/* The type's close and refresh. */
void ob_wrap_close(struct ob_drive *drive);
int ob_wrap_refresh(struct ob_drive *drive, struct ob_err *err);

/* Hands outer to the inner drive; outer is done when that is. */
void ob_wrap_pass(struct ob_drive *drive, struct ob_wrap_request *part,
		  struct ob_block_request *outer);

#endif
