/* SPDX-License-Identifier: BSD-3-Clause */
/* An operation of the loop that notes how often it has ended, and with what. */
#ifndef OB_TESTS_LOOP_JOB_H
#define OB_TESTS_LOOP_JOB_H

#include <outboard/loop.h>

struct job {
	struct ob_op op;
	int done, res;
};

static int all_done;

static void on_done(struct ob_op *op, int res)
{
	struct job *job = (struct job *)op;

	job->done++;
	job->res = res;
	all_done++;
}

#endif
