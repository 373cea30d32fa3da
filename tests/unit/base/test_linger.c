// SPDX-License-Identifier: BSD-3-Clause
#include "unit.h"

#include <base/linger.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct life {
	pid_t pid, lingers;
	int held;		/* its other end is the process's */
};

static pid_t only_child_of(pid_t pid)
{
	char path[80], line[80] = "";
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid,
		 (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(line, sizeof(line), f) ||
	    sscanf(line, "%d", &child) != 1)
		child = 0;
	if (f)
		fclose(f);
	return child;
}

static void *be_there(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static unsigned more_threads;

/* Ends as told on the way: by a byte in order, by a signal anyhow. */
static void live(int held, int control)
{
	pthread_t id;
	char byte;

	(void)held;
	ob_linger();
	for (unsigned i = 0; i < more_threads; i++)
		if (pthread_create(&id, NULL, be_there, NULL))
			_exit(1);
	if (read(control, &byte, 1) != 1)
		_exit(1);
	_exit(0);
}

static bool has_no_descriptors(pid_t pid)
{
	char path[80];

	snprintf(path, sizeof(path), "/proc/%d/fd/0", (int)pid);
	return access(path, F_OK) && errno == ENOENT;
}

static struct life begin(int *control)
{
	int held[2], ctl[2];
	struct life life = { 0 };

	assert_int_equal(pipe2(held, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ctl, O_CLOEXEC), 0);
	/* What is orphaned becomes ours, so that its end can be seen. */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	life.pid = fork();
	assert_true(life.pid >= 0);
	if (life.pid == 0) {
		close(held[0]);
		close(ctl[1]);
		live(held[1], ctl[0]);
	}
	close(held[1]);
	close(ctl[0]);
	*control = ctl[1];
	life.held = held[0];
	while (!(life.lingers = only_child_of(life.pid)))
		usleep(1000);
	while (!has_no_descriptors(life.lingers))
		usleep(1000);
	return life;
}

/* Its descriptors are gone with it, and in the end so is what lingers. */
static void expect_end(const struct life *life, int how)
{
	struct pollfd pfd = { .fd = life->held, .events = POLLIN };
	int status;

	assert_int_equal(waitpid(life->pid, &status, 0), life->pid);
	assert_int_equal(status, how);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_true(pfd.revents & POLLHUP);
	assert_int_equal(waitpid(life->lingers, &status, __WALL), life->lingers);
	assert_int_equal(status, 0);
	close(life->held);
}

static void test_a_kill_leaves_nothing_behind(void **state)
{
	int control;
	struct life life = begin(&control);

	(void)state;
	kill(life.pid, SIGKILL);
	expect_end(&life, SIGKILL);
	close(control);
}

/*
 * It is the child of whichever is left of them, and must not take the end of
 * one for the end of all.
 */
static void test_several_threads_are_killed_at_once(void **state)
{
	more_threads = 8;
	for (int i = 0; i < 20; i++)
		test_a_kill_leaves_nothing_behind(state);
	more_threads = 0;
}

static void test_an_end_in_order_leaves_nothing_behind(void **state)
{
	int control;
	struct life life = begin(&control);

	(void)state;
	assert_int_equal(write(control, "x", 1), 1);
	expect_end(&life, 0);
	close(control);
}

/* A service manager signals all of a group; that is not its business. */
static void test_other_signals_do_not_end_it(void **state)
{
	int control, status;
	struct life life = begin(&control);

	(void)state;
	kill(life.lingers, SIGTERM);
	kill(life.lingers, SIGINT);
	kill(life.lingers, SIGHUP);
	assert_int_equal(waitpid(life.lingers, &status, WNOHANG | __WALL), -1);
	assert_int_equal(kill(life.lingers, 0), 0);
	kill(life.pid, SIGKILL);
	expect_end(&life, SIGKILL);
	close(control);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_kill_leaves_nothing_behind),
		cmocka_unit_test(test_several_threads_are_killed_at_once),
		cmocka_unit_test(test_an_end_in_order_leaves_nothing_behind),
		cmocka_unit_test(test_other_signals_do_not_end_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
