/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

/*
 * This thread, and what it makes, would rather run soon than long: a short
 * slice of the fair scheduler's (sched_setattr(2), since Linux 6.12; before
 * that, nothing).  Whoever is woken then gets a busy CPU at once, if it has not
 * had its share, instead of some milliseconds later.  It takes no privilege and
 * no more of the CPU.
 */
void ob_slice_short(void);

#endif
