/* SPDX-License-Identifier: BSD-3-Clause */
/* Signals to eventfds, for those who cannot wait for the turn's end. */
#ifndef OB_BASE_SIGNALS_H
#define OB_BASE_SIGNALS_H

#include <outboard/loop.h>

/*
 * Sends what has been raised so far; the loop does it at the end of a turn.
 * What is still raised then waits for room in the ring.
 */
void ob_signals_send(struct ob_loop *loop);

#endif
