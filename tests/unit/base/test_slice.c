// SPDX-License-Identifier: BSD-3-Clause
#include "unit.h"

#include <base/slice.h>

#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONG_NS 20000000u
#define BATCH 3u			/* SCHED_BATCH */

static struct sched_attr now(void)
{
	struct sched_attr attr = { .size = sizeof(attr) };

	assert_return_code(syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0),
			   0);
	return attr;
}

static void be(unsigned policy, int nice, unsigned slice_ns)
{
	struct sched_attr attr = {
		.size = sizeof(attr), .sched_policy = policy,
		.sched_nice = nice, .sched_runtime = slice_ns,
	};

	assert_return_code(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
}

/* What a child finds itself with. */
static unsigned slice_of_child(void)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(now().sched_runtime < LONG_NS ? 1 : 2);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return (unsigned)WEXITSTATUS(status);
}

static void it_is_short_and_inherited(void **state)
{
	(void)state;
	be(0, 3, LONG_NS);
	if (now().sched_runtime != LONG_NS)
		skip();			/* before Linux 6.12 */
	ob_slice_short();
	assert_true(now().sched_runtime < LONG_NS / 10);
	assert_int_equal(now().sched_nice, 3);
	assert_int_equal(now().sched_policy, 0);
	assert_int_equal(slice_of_child(), 1);
}

static void another_policy_stays(void **state)
{
	(void)state;
	be(BATCH, 3, LONG_NS);
	ob_slice_short();
	assert_int_equal(now().sched_policy, BATCH);
	assert_true(now().sched_runtime == LONG_NS || !now().sched_runtime);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_short_and_inherited),
		cmocka_unit_test(another_policy_stays),
	};

	return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
