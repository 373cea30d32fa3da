/* SPDX-License-Identifier: BSD-3-Clause */
/* Each test of the loop runs twice: with the ring and with the pool. */
#ifndef OB_TESTS_LOOP_FIXTURE_H
#define OB_TESTS_LOOP_FIXTURE_H

#include "unit.h"

#include <outboard/loop.h>

#define ON_BOTH_ENGINES(function) \
	{ #function "(uring)", function, loop_setup, loop_teardown, \
	  (void *)(uintptr_t)OB_LOOP_URING }, \
	{ #function "(pool)", function, loop_setup, loop_teardown, \
	  (void *)(uintptr_t)OB_LOOP_POOL }

/* *state: the engine before, the loop after. */
int loop_setup(void **state);
int loop_teardown(void **state);

/* A loop of a certain depth beside the fixture's; the caller destroys it. */
struct ob_loop *loop_like(struct ob_loop *loop, uint32_t depth);

/* Turns until *counter is at least target; fails when that never happens. */
void turn_until(struct ob_loop *loop, const int *counter, int target);
/* Turns a few times without waiting: what must not happen gets its chance. */
void turn_some(struct ob_loop *loop);

#endif
