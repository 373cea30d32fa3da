// SPDX-License-Identifier: BSD-3-Clause
/*
 * A loop is made by the thread that runs it: the kernel works off what a loop
 * asked for on behalf of the thread that asked.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/slice.h"
#include "daemon/threads.h"

static int make_loop(struct ob_thread *thread, struct ob_err *err)
{
	return ob_loop_create_on(thread->params, &thread->rings, &thread->loop,
				 err);
}

static void be_known(const struct ob_thread *thread)
{
	char name[16];

	snprintf(name, sizeof(name), "outboard/%u", thread->number);
	pthread_setname_np(pthread_self(), name);
	ob_slice_short();
}

/* The others cannot do without: the process dies, and has a successor. */
static void run(struct ob_thread *thread)
{
	int rc = ob_loop_run(thread->loop);

	if (!rc)
		return;
	ob_log(NULL, OB_LOG_ERROR, "event loop of thread %u: %s",
	       thread->number, strerror(-rc));
	abort();
}

static void *live(void *arg)
{
	struct ob_thread *thread = arg;
	int rc;

	be_known(thread);
	rc = thread->rc = make_loop(thread, &thread->err);
	sem_post(&thread->made);
	if (rc)
		return NULL;
	run(thread);
	ob_loop_destroy(thread->loop);
	return NULL;
}

static void end_asked(struct ob_post *post)
{
	struct ob_thread *thread = (struct ob_thread *)
		((char *)post - offsetof(struct ob_thread, end));

	ob_loop_stop(thread->loop);
}

static int begin(struct ob_thread *thread, struct ob_err *err)
{
	int rc;

	thread->end.run = end_asked;
	sem_init(&thread->made, 0, 0);
	rc = pthread_create(&thread->id, NULL, live, thread);
	if (rc) {
		sem_destroy(&thread->made);
		return ob_fail(err, rc, "thread %u: %s", thread->number,
			       strerror(rc));
	}
	while (sem_wait(&thread->made))
		;	/* a signal's handler ran */
	sem_destroy(&thread->made);
	if (!thread->rc)
		return 0;
	pthread_join(thread->id, NULL);
	*err = thread->err;
	return thread->rc;
}

int ob_threads_begin(struct ob_thread *threads, unsigned count,
		     const struct ob_loop_params *params,
		     struct ob_rings *rings, struct ob_err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < count && !rc; i++) {
		struct ob_thread *thread = &threads[i];

		thread->number = i;
		thread->params = params;
		thread->rings = (struct ob_rings){ -1, -1, -1, 0, i };
		if (rings) {
			thread->rings = rings[i];
			rings[i].loop = rings[i].sure = rings[i].journal = -1;
		}
		rc = i ? begin(thread, err) : make_loop(thread, err);
	}
	return rc;
}

void ob_threads_end(struct ob_thread *threads, unsigned count)
{
	for (unsigned i = 1; i < count && threads[i].loop; i++) {
		ob_loop_post(threads[i].loop, &threads[i].end);
		pthread_join(threads[i].id, NULL);
	}
	ob_loop_destroy(threads[0].loop);
}
