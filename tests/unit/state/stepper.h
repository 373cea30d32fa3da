/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Death at any instruction: runs a function in a child, one instruction at a
 * time, and looks after each at what a successor would find.
 */
#ifndef TEST_STATE_STEPPER_H
#define TEST_STATE_STEPPER_H

#include <stdbool.h>

/*
 * look is called in this process, while the child stands still; false from it
 * kills the child there.  Returns the number of instructions, 0 where
 * tracing is not allowed.
 */
unsigned long stepper_run(void (*run)(void *arg), bool (*look)(void *arg),
			  void *arg);

#endif
