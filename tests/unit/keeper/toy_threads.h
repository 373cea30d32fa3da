/* SPDX-License-Identifier: BSD-3-Clause */
/* The toy's other threads, each with a loop on rings of its own. */
#ifndef OB_TESTS_KEEPER_TOY_THREADS_H
#define OB_TESTS_KEEPER_TOY_THREADS_H

#include "board.h"
#include "link/link.h"

/* What is not as it should be, and the test that it fails. */
void wrong(const char *what);

void threads_init(struct board *board, struct ob_link *link,
		  struct ob_link_start *start);
/* As many as the board says, 1 and up; they turn when this returns. */
void threads_start(void);
void threads_stop(void);
/* The last of them, or all, do something; nobody waits for it. */
void threads_spin(void);
void threads_hammer(void);

/* A sure call on each loop, of which a successor is to know. */
void talk(struct ob_loop *loop, unsigned thread);
/* The rings of the dead: what they know of the last one's talk. */
void threads_look_back(struct ob_loop *loop);

#endif
