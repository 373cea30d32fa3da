// SPDX-License-Identifier: BSD-3-Clause
/*
 * A hostile world: a kernel that refuses, a full disk, workers gone mad,
 * midwives who are killed; and what the service manager hears.  Argument: the toy.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rig.h"

#include "keeper/impl.h"

/* -- a kernel that refuses -- */

static void plan(int nr, int error, unsigned skip, unsigned times)
{
	board->kernel.nr = nr;
	board->kernel.error = error;
	board->kernel.skip = skip;
	__atomic_store_n(&board->kernel.times, times, __ATOMIC_SEQ_CST);
}

static unsigned failed(void)
{
	return __atomic_load_n(&board->kernel.failed, __ATOMIC_SEQ_CST);
}

/* And waits longer and longer between them. */
static void forks_that_fail_are_tried_again(void **state)
{
	(void)state;
	KEEP(.faulty = true);
	UNTIL(lives(1));
	plan(SYS_clone, EAGAIN, 0, 6);
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(failed(), 6);
	assert_true(life(2)->at_ms - life(1)->at_ms + 1 >= 10 + 10 + 10 + 20 + 40 + 80);
	assert_int_equal(stop(), 0);
}

/* Each call that a death leads to, the first time, the second and so on. */
static void whatever_the_kernel_refuses(void **state)
{
	static const struct {
		int nr, error;
	} faults[] = {
		{ SYS_clone, ENOMEM }, { SYS_socketpair, EMFILE },
		{ SYS_socketpair, ENOMEM }, { SYS_memfd_create, ENOMEM },
		{ SYS_ftruncate, ENOSPC }, { SYS_pwrite64, ENOSPC },
		{ SYS_io_uring_setup, ENOMEM }, { SYS_io_uring_setup, EMFILE },
		{ SYS_epoll_ctl, ENOMEM }, { SYS_sendmsg, ENOBUFS },
		{ SYS_sendmsg, ETOOMANYREFS }, { SYS_sendto, ENOBUFS },
	};
	unsigned n = 1;

	(void)state;
	KEEP(.faulty = true);
	UNTIL(lives(1));
	for (unsigned i = 0; i < COUNT_OF(faults); i++)
		for (unsigned skip = 0; skip < 6; skip++) {
			plan(faults[i].nr, faults[i].error, skip, 2);
			ring(ACT_DIE);
			UNTIL(lives(n + 1));
			n = board->births;
		}
	assert_true(failed() > COUNT_OF(faults));
	plan(0, 0, 0, 0);
	assert_int_equal(stop(), 0);
}

static void clients_that_cannot_be_taken_are_refused(void **state)
{
	(void)state;
	KEEP(.faulty = true);
	UNTIL(lives(1));
	plan(SYS_accept4, EMFILE, 0, 1);
	assert_int_equal(knock(), 0);
	assert_int_equal(board->clients, 0);
	assert_int_equal(knock(), 0);
	assert_int_equal(board->clients, 1);
	assert_int_equal(stop(), 0);
}

/* R6: O_NONBLOCK is cleared and the client taken between two calls of ours. */
static void test_r6_accept_is_not_made_to_wait(void **state)
{
	(void)state;
	KEEP(.faulty = true);
	UNTIL(lives(1));
	board->kernel.steal = true;
	for (unsigned i = 1; i <= 3; i++) {
		plan(SYS_fcntl, 0, 0, 1);
		assert_int_equal(knock(), 0);
		UNTIL(failed() == i);
		status();	/* the keeper does something else again */
	}
	assert_int_equal(knock(), 0);
	assert_int_equal(board->clients, 1);
	assert_int_equal(stop(), 0);
}

/* -- the log -- */

static void succeeded_with_log(const char *path)
{
	KEEP(.log = path);
	UNTIL(lives(1));
	board->die_ready = 30;
	ring(ACT_DIE);
	UNTIL(lives(32));
	assert_int_equal(stop(), 0);
}

static void a_full_disk_is_survived(void **state)
{
	(void)state;
	succeeded_with_log("/dev/full");
}

static void with_log_in_pipe(bool broken)
{
	int pipe_fds[2];
	char path[40];

	assert_return_code(pipe2(pipe_fds, O_CLOEXEC), errno);
	snprintf(path, sizeof(path), "/dev/fd/%d", pipe_fds[1]);
	fcntl(pipe_fds[1], F_SETPIPE_SZ, 4096);
	if (broken)
		close(pipe_fds[0]);
	succeeded_with_log(path);
	if (!broken)
		close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void a_closed_log_is_survived(void **state)
{
	(void)state;
	with_log_in_pipe(true);
}

static void a_log_that_nobody_reads_is_survived(void **state)
{
	(void)state;
	with_log_in_pipe(false);
}

/* -- the midwives -- */

static bool is_named(pid_t pid, const char *wanted)
{
	char path[64], name[20] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (f && !fgets(name, sizeof(name), f))
		name[0] = '\0';
	if (f)
		fclose(f);
	return !strncmp(name, wanted, strlen(wanted)) &&
	       name[strlen(wanted)] == '\n';
}

/* How many there are, the oldest first. */
static unsigned midwives(pid_t pids[OB_MIDWIVES])
{
	unsigned n = 0;
	char path[64];
	pid_t pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)keeper,
		 (int)keeper);
	f = fopen(path, "re");
	assert_non_null(f);
	while (n < OB_MIDWIVES && fscanf(f, "%d", &pid) == 1)
		if (is_named(pid, "outboard-births"))
			pids[n++] = pid;
	fclose(f);
	return n;
}

static void kill_midwife(unsigned which)
{
	pid_t pids[OB_MIDWIVES] = { 0 };

	UNTIL(midwives(pids) == OB_MIDWIVES);
	kill(pids[which], SIGKILL);
	/* Reaped: or she would be counted with the next one. */
	UNTIL(kill(pids[which], 0) && errno == ESRCH);
}

/* Stopped first, or one would be replaced before the other is dead. */
static void kill_both(void)
{
	pid_t pids[OB_MIDWIVES] = { 0 };

	UNTIL(midwives(pids) == OB_MIDWIVES);
	for (unsigned i = 0; i < OB_MIDWIVES; i++)
		kill(pids[i], SIGSTOP);
	for (unsigned i = 0; i < OB_MIDWIVES; i++)
		kill(pids[i], SIGKILL);
}

static void a_midwife_is_replaced(void **state)
{
	pid_t pids[OB_MIDWIVES];

	(void)state;
	KEEP(.standby = true);
	UNTIL(lives(1));
	for (unsigned i = 0; i < 20; i++) {
		kill_midwife(i % 3 == 0);
		ring(ACT_DIE);
		UNTIL(lives(i + 2));
	}
	UNTIL(midwives(pids) == OB_MIDWIVES);
	assert_int_equal(stop(), 0);
}

/* The other one does what was asked of the one that is dead. */
static void a_midwife_dies_when_she_is_needed(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	for (unsigned i = 0; i < 50; i++) {
		ring(ACT_DIE);
		usleep(i * 37 % 800);
		kill_midwife(i % 2);
		UNTIL(lives(i + 2));
	}
	assert_int_equal(stop(), 0);
}

static void a_midwife_who_cannot_be_replaced_at_once(void **state)
{
	pid_t pids[OB_MIDWIVES];

	(void)state;
	KEEP(.faulty = true);
	UNTIL(lives(1));
	plan(SYS_clone, EAGAIN, 0, 2);
	kill_midwife(0);
	UNTIL(failed() == 2);
	UNTIL(midwives(pids) == OB_MIDWIVES);
	plan(SYS_epoll_ctl, ENOMEM, 0, 1);
	kill_midwife(1);
	UNTIL(failed() == 3);
	UNTIL(midwives(pids) == OB_MIDWIVES);
	assert_int_equal(stop(), 0);
}

/* Who serves goes on; nobody can follow. */
static void without_midwives_the_last_worker_serves_on(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	kill_both();
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	assert_int_equal(knock(), 0);
	assert_int_equal(board->clients, 1);
	kill(keeper, SIGHUP);
	ring(ACT_DIE);
	assert_int_equal(ended(), 1);
	assert_int_equal(board->births, 1);
}

static void without_midwives_it_ends_in_order(void **state)
{
	(void)state;
	KEEP(.standby = true);
	UNTIL(lives(1));
	kill_both();
	assert_int_equal(stop(), 0);
}

static unsigned field_of(pid_t pid, const char *name)
{
	unsigned n = 0;
	char path[40], line[100], format[40];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	snprintf(format, sizeof(format), "%s: %%u", name);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) && sscanf(line, format, &n) != 1)
		;
	fclose(f);
	return n;
}

/* One filter for all, and one that is the keeper's. */
static void filters_are_in_force(void **state)
{
	unsigned own = field_of(getpid(), "Seccomp_filters");
	pid_t pids[OB_MIDWIVES];

	(void)state;
	if (OB_SANITIZED)
		skip();
	KEEP(0);
	UNTIL(lives(1));
	assert_int_equal(field_of(keeper, "Seccomp"), 2);
	assert_int_equal(field_of(keeper, "Seccomp_filters"), own + 2);
	assert_int_equal(midwives(pids), OB_MIDWIVES);
	for (unsigned i = 0; i < OB_MIDWIVES; i++)
		assert_int_equal(field_of(pids[i], "Seccomp_filters"), own + 1);
	assert_int_equal(field_of(life(1)->pid, "Seccomp_filters"), own + 1);
	assert_int_equal(field_of(life(1)->pid, "NoNewPrivs"), 1);
	assert_int_equal(stop(), 0);
}

/* -- hostile workers -- */

static void one_that_floods_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_FLOOD, SIGALRM);
}

/* What it could still say is kept. */
static void poverty(enum act act)
{
	KEEP(.files = 1000);
	UNTIL(lives(1));
	ring(act);
	UNTIL(lives(2));
	assert_int_equal(life(2)->signal, SIGABRT);
	assert_int_equal(board->left, 1);
	ring(ACT_DIE);
	UNTIL(lives(3));
	assert_int_equal(stop(), 0);
}

static void one_without_descriptors_is_succeeded(void **state)
{
	(void)state;
	poverty(ACT_FILES);
}

/* Sanitizers have an allocator of their own, which the limit does not meet. */
static void one_without_memory_is_succeeded(void **state)
{
	(void)state;
	if (OB_SANITIZED)
		skip();
	poverty(ACT_MEMORY);
}

/* Not as one that is killed: nobody else is to be blamed for the storm. */
static void crashes_after_ready_wait_longer_and_longer(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_ready = 6;
	board->late = ANSWER_CRASH;
	ring(ACT_DIE);
	UNTIL(lives(8));
	assert_int_equal(life(8)->deaths, 7);
	assert_true(life(8)->at_ms - life(7)->at_ms + 1 >= 40);
	assert_int_equal(stop(), 0);
}

/* The rule for a thousand, which would take a quarter of an hour. */
static void a_thousand_deaths_are_a_try_a_second(void **state)
{
	uint64_t before = 0;

	(void)state;
	for (unsigned n = 0; n < 3; n++)
		assert_int_equal(ob_life_delay_ms(n), 0);
	for (unsigned n = 3; n <= 1000; n++) {
		uint64_t ms = ob_life_delay_ms(n);

		assert_true(ms >= before && ms <= 2 * before + 10);
		before = ms;
	}
	assert_int_equal(ob_life_delay_ms(10), 1000);
	assert_int_equal(ob_life_delay_ms(1000), 1000);
	assert_int_equal(ob_life_delay_ms(UINT32_MAX), 1000);
}

/* At most a try a second in the end, and at least that. */
static void a_storm_does_not_burn_the_machine(void **state)
{
	uint64_t began;

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_early = 1000;
	ring(ACT_DIE);
	began = life(1)->at_ms;
	UNTIL(*(volatile unsigned *)&board->births >= 13);
	assert_true(life(13)->at_ms - began + 1 >= 10 + 20 + 40 + 80 + 160 + 320 + 640 + 1000);
	assert_true(life(13)->at_ms - life(12)->at_ms + 1 >= 1000);
	board->die_early = 0;
	UNTIL(lives(board->births));
	assert_int_equal(stop(), 0);
}

/* -- the service manager -- */

static void the_manager_hears_of_upgrades(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(2));
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(board->told[OB_KEEPER_IS_READY], 1);
	assert_int_equal(board->told[OB_KEEPER_IS_RELOADING], 1);
	assert_int_equal(board->told[OB_KEEPER_IS_RELOADED], 1);
	assert_int_equal(stop(), 0);
	assert_int_equal(board->told[OB_KEEPER_IS_STOPPING], 1);
	assert_int_equal(board->told[OB_KEEPER_IS_ALIVE], 0);
}

/* Else it would wait for the second word. */
static void the_manager_hears_of_upgrades_that_are_none(void **state)
{
	(void)state;
	KEEP(.path = "/nobody/was/here");
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(*(volatile unsigned *)&board->told[OB_KEEPER_IS_RELOADED] == 1);
	assert_int_equal(board->told[OB_KEEPER_IS_RELOADING], 1);
	assert_int_equal(stop(), 0);
}

static void the_manager_hears_signs_of_life(void **state)
{
	(void)state;
	KEEP(.alive_ms = 10);
	UNTIL(*(volatile unsigned *)&board->told[OB_KEEPER_IS_ALIVE] >= 5);
	assert_int_equal(stop(), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(forks_that_fail_are_tried_again),
		TEST(whatever_the_kernel_refuses),
		TEST(clients_that_cannot_be_taken_are_refused),
		TEST(test_r6_accept_is_not_made_to_wait),
		TEST(a_full_disk_is_survived),
		TEST(a_closed_log_is_survived),
		TEST(a_log_that_nobody_reads_is_survived),
		TEST(a_midwife_is_replaced),
		TEST(a_midwife_dies_when_she_is_needed),
		TEST(a_midwife_who_cannot_be_replaced_at_once),
		TEST(without_midwives_the_last_worker_serves_on),
		TEST(without_midwives_it_ends_in_order),
		TEST(filters_are_in_force),
		TEST(one_that_floods_is_killed),
		TEST(one_without_descriptors_is_succeeded),
		TEST(one_without_memory_is_succeeded),
		TEST(crashes_after_ready_wait_longer_and_longer),
		TEST(a_thousand_deaths_are_a_try_a_second),
		TEST(a_storm_does_not_burn_the_machine),
		TEST(the_manager_hears_of_upgrades),
		TEST(the_manager_hears_of_upgrades_that_are_none),
		TEST(the_manager_hears_signs_of_life),
	};

	if (rig_arguments(argc, argv))
		return 2;
	return cmocka_run_group_tests(tests, rig_prepare, rig_finish);
}
