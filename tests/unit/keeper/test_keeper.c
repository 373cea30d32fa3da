// SPDX-License-Identifier: BSD-3-Clause
/*
 * A real keeper with toy workers (toy.c), which really die, hang and talk
 * nonsense.  Argument: the toy.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/unit.h"
#include "base/fd.h"
#include "base/log.h"
#include "board.h"
#include "keeper/impl.h"
#include "../open_fds.h"

#define WAIT_MS 60000

static const char *toy;			/* and its copy, another file */
static char dir[] = "/tmp/outboard-keeper-XXXXXX", other[64];
static struct board *board;
static pid_t keeper;

/* The keeper's process */

struct wish {
	bool standby, faulty;
	unsigned watchdog_ms, alive_ms;
	rlim_t files;
	const char *log;	/* its standard error */
	const char *path;	/* of the next binary */
};

static size_t memory_at_ready;

/* What the keeper and the midwife ask of the kernel in their lives. */
static const int calls[] = {
	SYS_clone, SYS_socketpair, SYS_memfd_create, SYS_ftruncate,
	SYS_pwrite64, SYS_io_uring_setup, SYS_epoll_ctl, SYS_sendmsg,
	SYS_accept4, SYS_fcntl, SYS_eventfd2, SYS_openat, SYS_sendto, 0
};

/* The C library's own account, which misses nothing. */
static size_t memory_used(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static int tell(enum ob_keeper_event event, const char *text)
{
	(void)text;
	board->told[event]++;
	if (event == OB_KEEPER_IS_READY)
		memory_at_ready = memory_used();
	return 0;
}

static void log_into(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
		_exit(60);
	close(fd);
}

/* 50: it allocated something after the first worker was ready. */
static void be_keeper(const struct wish *wish)
{
	char *argv[] = { (char *)"toy", NULL };
	struct ob_keeper_options options = {
		.argv = argv, .path = wish->path ? wish->path : other,
		.tell = tell, .alive_ms = wish->alive_ms,
		.standby = wish->standby, .watchdog_ms = wish->watchdog_ms,
		.grace_ms = 300, .binary = open(toy, O_PATH | O_CLOEXEC),
	};
	struct rlimit limit = { wish->files, wish->files };
	struct ob_err err = { 0 };
	int r;

	if (wish->files)
		setrlimit(RLIMIT_NOFILE, &limit);
	if (wish->log)
		log_into(wish->log);
	if (wish->faulty && !kernel_fails(calls, &board->kernel))
		_exit(61);
	ob_log_set_level(OB_LOG_ERROR);
	r = ob_keeper_run(&options, &err);
	if (memory_at_ready && memory_used() != memory_at_ready)
		r = 50;
	_exit(r);
}

#define KEEP(...) keep(&(const struct wish){ __VA_ARGS__ })
static void keep(const struct wish *wish)
{
	keeper = fork();
	assert_return_code(keeper, errno);
	if (!keeper)
		be_keeper(wish);
}

static int ended(void)
{
	int status;

	assert_int_equal(waitpid(keeper, &status, 0), keeper);
	keeper = 0;
	assert_true(WIFEXITED(status));
	if (board->wrong)
		fail_msg("%s", board->what);
	return WEXITSTATUS(status);
}

static int stop(void)
{
	kill(keeper, SIGTERM);
	return ended();
}

/* Polls: what happens in other processes cannot be waited for otherwise. */
#define UNTIL(condition) until(#condition, ({ \
	bool ok_ = false; \
	for (int i_ = 0; i_ < WAIT_MS && !(ok_ = (condition)); i_++) \
		poll(NULL, 0, 1); \
	ok_; }))
static void until(const char *text, bool ok)
{
	if (!ok)
		fail_msg("never: %s (%s)", text, board->what);
}

static const struct birth *life(unsigned n)
{
	return &board->birth[n - 1];
}

static bool lives(unsigned n)
{
	return *(volatile unsigned *)&board->births >= n &&
	       *(volatile bool *)&board->birth[n - 1].ready;
}

static void ring(enum act act)
{
	const uint64_t one = 1;

	board->act = act;
	assert_int_equal(write(BELL_FD, &one, sizeof(one)), sizeof(one));
}

static int knock(void)
{
	OB_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	assert_return_code(connect(fd, (struct sockaddr *)&board->address,
				   board->address_len), errno);
	return (int)read(fd, &byte, 1);
}

/* The toy answers over the keeper's own channel. */
static const struct ob_keeper_status *status(void)
{
	unsigned acts = board->acts;

	ring(ACT_STATUS);
	UNTIL(*(volatile unsigned *)&board->acts == acts + 2);
	return &board->status;
}

static void outcome_is(enum ob_upgrade_outcome outcome)
{
	UNTIL(status()->last_upgrade == (int)outcome);
}

/* The tests */

static void a_life_in_order(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	assert_int_equal(life(1)->why, OB_START_FIRST);
	assert_int_equal(life(1)->generation, 1);
	assert_int_equal(stop(), 0);
	assert_int_equal(board->births, 1);
}

static void a_thousand_deaths(void **state)
{
	unsigned files;

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_DIE);
	UNTIL(lives(2));
	status();	/* it has heard all that was said before */
	files = count_fds_of(keeper);
	board->die_ready = 997;
	ring(ACT_DIE);
	UNTIL(lives(1000));
	ring(ACT_DIE);
	UNTIL(lives(1001));
	status();
	assert_int_equal(life(1001)->why, OB_START_DEATH);
	assert_int_equal(life(1001)->signal, SIGKILL);
	assert_int_equal(life(1001)->nr_old, 1);
	assert_int_equal(count_fds_of(keeper), files);
	assert_int_equal(stop(), 0);
}

static void a_standby_takes_over(void **state)
{
	(void)state;
	KEEP(.standby = true);
	for (unsigned i = 1; i <= 20; i++) {
		UNTIL(lives(i));
		ring(ACT_DIE);
	}
	UNTIL(lives(21));
	assert_int_equal(stop(), 0);
}

/* What each of them did is kept, and its rings too. */
static void deaths_before_ready_wait_longer_and_longer(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	board->die_early = 6;
	ring(ACT_DIE);
	UNTIL(lives(8));
	assert_int_equal(life(8)->deaths, 7);
	assert_true(life(7)->at_ms - life(6)->at_ms + 1 >= 20);
	assert_true(life(8)->at_ms - life(7)->at_ms + 1 >= 40);
	assert_int_equal(stop(), 0);
}

static void a_first_worker_that_exits_ends_the_server(void **state)
{
	(void)state;
	board->die_early = 1;
	board->early = ANSWER_EXIT;
	KEEP(0);
	assert_int_equal(ended(), 3);
	assert_int_equal(board->births, 1);
}

static void a_first_worker_that_crashes_has_three_lives(void **state)
{
	(void)state;
	board->die_early = 100;
	board->early = ANSWER_DIE;
	KEEP(0);
	assert_int_equal(ended(), 1);
	assert_int_equal(board->births, 3);
}

static void its_end_is_the_servers(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_END);
	assert_int_equal(ended(), 7);
}

static void own_puts_can_be_got(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	assert_int_equal(stop(), 0);
}

static void succeeded_after(enum act act)
{
	KEEP(.watchdog_ms = 100);
	UNTIL(lives(1));
	ring(act);
	UNTIL(lives(2));
	assert_int_equal(life(2)->signal, SIGKILL);
	assert_int_equal(stop(), 0);
}

static void one_that_spins_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_SPIN);
}

static void one_that_is_stopped_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_STOP);
}

static void one_that_closes_its_channel_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_CLOSE);
}

/* Continued in time, it lives. */
static void a_short_stop_is_forgiven(void **state)
{
	(void)state;
	KEEP(.watchdog_ms = 5000);
	UNTIL(lives(1));
	kill(life(1)->pid, SIGSTOP);
	poll(NULL, 0, 50);
	kill(life(1)->pid, SIGCONT);
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	assert_int_equal(stop(), 0);
	assert_int_equal(board->births, 1);
}

static unsigned long switches(pid_t pid)
{
	unsigned long n = 0;
	char path[40], line[100];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
			break;
	fclose(f);
	return n;
}

/* The watchdog rests; and wakes again, since a spin is noticed. */
static void an_idle_server_is_not_woken(void **state)
{
	unsigned long before, worker;

	(void)state;
	KEEP(.watchdog_ms = 40);
	UNTIL(lives(1));
	UNTIL(({ before = switches(keeper); poll(NULL, 0, 200);
		 switches(keeper) == before; }));
	worker = switches(life(1)->pid);
	poll(NULL, 0, 500);
	assert_int_equal(switches(keeper), before);
	assert_int_equal(switches(life(1)->pid), worker);
	ring(ACT_SPIN);
	UNTIL(lives(2));
	assert_int_equal(stop(), 0);
}

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

/* -- the midwife -- */

static pid_t midwife(void)
{
	char path[64], name[20] = "";
	pid_t pid = 0;
	FILE *f, *comm;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)keeper,
		 (int)keeper);
	f = fopen(path, "re");
	assert_non_null(f);
	while (strcmp(name, "outboard-births\n") && fscanf(f, "%d", &pid) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
		comm = fopen(path, "re");
		if (!comm || !fgets(name, sizeof(name), comm))
			name[0] = '\0';
		if (comm)
			fclose(comm);
	}
	fclose(f);
	assert_string_equal(name, "outboard-births\n");
	return pid;
}

/* Who serves goes on; nobody can follow. */
static void without_midwife_the_last_worker_serves_on(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	kill(midwife(), SIGKILL);
	ring(ACT_GET);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	assert_int_equal(knock(), 0);
	assert_int_equal(board->clients, 1);
	kill(keeper, SIGHUP);
	ring(ACT_DIE);
	assert_int_equal(ended(), 1);
	assert_int_equal(board->births, 1);
}

static void without_midwife_it_ends_in_order(void **state)
{
	(void)state;
	KEEP(.standby = true);
	UNTIL(lives(1));
	kill(midwife(), SIGKILL);
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

	(void)state;
	if (OB_SANITIZED)
		skip();
	KEEP(0);
	UNTIL(lives(1));
	assert_int_equal(field_of(keeper, "Seccomp"), 2);
	assert_int_equal(field_of(keeper, "Seccomp_filters"), own + 2);
	assert_int_equal(field_of(midwife(), "Seccomp_filters"), own + 1);
	assert_int_equal(field_of(life(1)->pid, "Seccomp_filters"), own + 1);
	assert_int_equal(field_of(life(1)->pid, "NoNewPrivs"), 1);
	assert_int_equal(stop(), 0);
}

/* -- hostile workers -- */

static void one_that_floods_is_killed(void **state)
{
	(void)state;
	succeeded_after(ACT_FLOOD);
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

static void one_without_memory_is_succeeded(void **state)
{
	(void)state;
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

static void a_full_table_hurts_nobody(void **state)
{
	(void)state;
	KEEP(.files = 600);
	UNTIL(lives(1));
	for (unsigned i = 1; i <= 3; i++) {
		ring(ACT_FILL);
		UNTIL(*(volatile unsigned *)&board->acts == i &&
		      *(volatile int *)&board->full);
		ring(ACT_NONE);
		UNTIL(*(volatile unsigned *)&board->acts >= i + 1);
		board->acts = i;
		assert_int_equal(board->full, -ENFILE);
		assert_true(board->filled > 300);
		board->full = 0;
	}
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(stop(), 0);
}

static void nonsense_is_dropped(void **state)
{
	unsigned files;

	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	files = count_fds_of(keeper);
	ring(ACT_GARBAGE);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	ring(ACT_DIE);
	UNTIL(lives(2));
	/* What it put under good names, it may. */
	assert_true(count_fds_of(keeper) < files + 200);
	ring(ACT_DIE);
	UNTIL(lives(3));
	assert_int_equal(stop(), 0);
}

static void clients_are_accepted_for_whoever_lives(void **state)
{
	(void)state;
	KEEP(0);
	for (unsigned i = 1; i <= 5; i++) {
		UNTIL(lives(i));
		assert_int_equal(knock(), 0);
		assert_int_equal(board->clients, i);
		kill(life(i)->pid, SIGKILL);
	}
	UNTIL(lives(6));
	assert_int_equal(stop(), 0);
}

/* Upgrades */

static uint64_t inode(const char *path)
{
	struct stat st;

	assert_return_code(stat(path, &st), errno);
	return st.st_ino;
}

static void another_binary_takes_over(void **state)
{
	(void)state;
	KEEP(.standby = true);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(2));
	assert_int_equal(life(1)->exe, inode(toy));
	assert_int_equal(life(2)->exe, inode(other));
	assert_int_equal(life(2)->why, OB_START_UPGRADE);
	assert_int_equal(board->rehearsals, 1);
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(board->status.upgrades, 1);
	assert_int_equal(board->status.deaths, 0);
	/* From now on it is the binary. */
	ring(ACT_DIE);
	UNTIL(lives(3));
	assert_int_equal(life(3)->exe, inode(other));
	assert_int_equal(stop(), 0);
}

static void refused_as(enum answer answer, const char *why)
{
	board->rehearsal = answer;
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	outcome_is(OB_UPGRADE_REFUSED);
	if (!strstr(board->status.why, why))
		fail_msg("%s", board->status.why);
	assert_int_equal(board->births, 1);
	ring(ACT_DIE);
	UNTIL(lives(2));
	assert_int_equal(life(2)->exe, inode(toy));
	assert_int_equal(stop(), 0);
}

static void a_refusal_changes_nothing(void **state)
{
	(void)state;
	refused_as(ANSWER_NO, "toy.x: too large");
}

static void a_death_in_rehearsal_changes_nothing(void **state)
{
	(void)state;
	refused_as(ANSWER_DIE, "signal 9");
}

static void an_exit_in_rehearsal_changes_nothing(void **state)
{
	(void)state;
	refused_as(ANSWER_EXIT, "exit status 3");
}

static void taken_back(void)
{
	KEEP(0);
	UNTIL(lives(1));
	kill(keeper, SIGHUP);
	UNTIL(lives(3));
	assert_int_equal(life(2)->why, OB_START_UPGRADE);
	assert_int_equal(life(2)->exe, inode(other));
	assert_int_equal(life(3)->why, OB_START_ROLLBACK);
	assert_int_equal(life(3)->exe, inode(toy));
	outcome_is(OB_UPGRADE_REFUSED);
	assert_int_equal(board->status.rollbacks, 1);
	assert_int_equal(board->status.upgrades, 0);
	/* It can be tried again. */
	board->die_upgraded = board->refuse_upgraded = false;
	kill(keeper, SIGHUP);
	UNTIL(lives(4));
	outcome_is(OB_UPGRADE_DONE);
	assert_int_equal(stop(), 0);
}

static void a_death_in_the_grace_period_is_taken_back(void **state)
{
	(void)state;
	board->die_upgraded = true;
	taken_back();
}

static void a_late_refusal_is_taken_back(void **state)
{
	(void)state;
	board->refuse_upgraded = true;
	taken_back();
}

static void a_dry_run_ends_with_the_rehearsal(void **state)
{
	(void)state;
	KEEP(0);
	UNTIL(lives(1));
	ring(ACT_UPGRADE_DRY);
	UNTIL(*(volatile unsigned *)&board->acts == 1);
	outcome_is(OB_UPGRADE_REHEARSED);
	assert_string_equal(board->status.why, "fine");
	assert_int_equal(board->births, 1);
	assert_int_equal(stop(), 0);
}

/* The group */

static int clear(void **state)
{
	uint64_t count;

	(void)state;
	if (keeper > 0) {	/* a test that failed left it */
		kill(keeper, SIGKILL);
		waitpid(keeper, NULL, 0);
	}
	keeper = 0;
	memset(board, 0, sizeof(*board));
	board->early = board->late = ANSWER_DIE;
	(void)!read(BELL_FD, &count, sizeof(count));
	return 0;
}

static int copy_toy(void)
{
	OB_CLEANUP_FD int from = open(toy, O_RDONLY | O_CLOEXEC);
	OB_CLEANUP_FD int to = -1;

	if (!mkdtemp(dir))
		return -1;
	snprintf(other, sizeof(other), "%s/toy", dir);
	to = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	while (sendfile(to, from, NULL, 1 << 20) > 0)
		;
	return 0;
}

static int prepare(void **state)
{
	int fd = memfd_create("board", 0), bell = eventfd(0, EFD_NONBLOCK);

	(void)state;
	if (fd < 0 || ftruncate(fd, sizeof(*board)) || dup2(fd, BOARD_FD) < 0 ||
	    dup2(bell, BELL_FD) < 0)
		return -1;
	close(fd);
	close(bell);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED,
		     BOARD_FD, 0);
	return board == MAP_FAILED ? -1 : copy_toy();
}

static int finish(void **state)
{
	clear(state);
	unlink(other);
	return rmdir(dir);
}

#define TEST(name) cmocka_unit_test_setup(name, clear)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_life_in_order),
		TEST(a_thousand_deaths),
		TEST(a_standby_takes_over),
		TEST(deaths_before_ready_wait_longer_and_longer),
		TEST(a_first_worker_that_exits_ends_the_server),
		TEST(a_first_worker_that_crashes_has_three_lives),
		TEST(its_end_is_the_servers),
		TEST(own_puts_can_be_got),
		TEST(one_that_spins_is_killed),
		TEST(one_that_is_stopped_is_killed),
		TEST(one_that_closes_its_channel_is_killed),
		TEST(a_short_stop_is_forgiven),
		TEST(an_idle_server_is_not_woken),
		TEST(forks_that_fail_are_tried_again),
		TEST(whatever_the_kernel_refuses),
		TEST(clients_that_cannot_be_taken_are_refused),
		TEST(test_r6_accept_is_not_made_to_wait),
		TEST(a_full_disk_is_survived),
		TEST(a_closed_log_is_survived),
		TEST(a_log_that_nobody_reads_is_survived),
		TEST(without_midwife_the_last_worker_serves_on),
		TEST(without_midwife_it_ends_in_order),
		TEST(filters_are_in_force),
		TEST(one_that_floods_is_killed),
		TEST(one_without_descriptors_is_succeeded),
		TEST(one_without_memory_is_succeeded),
		TEST(crashes_after_ready_wait_longer_and_longer),
		TEST(a_storm_does_not_burn_the_machine),
		TEST(the_manager_hears_of_upgrades),
		TEST(the_manager_hears_of_upgrades_that_are_none),
		TEST(the_manager_hears_signs_of_life),
		TEST(a_full_table_hurts_nobody),
		TEST(nonsense_is_dropped),
		TEST(clients_are_accepted_for_whoever_lives),
		TEST(another_binary_takes_over),
		TEST(a_refusal_changes_nothing),
		TEST(a_death_in_rehearsal_changes_nothing),
		TEST(an_exit_in_rehearsal_changes_nothing),
		TEST(a_death_in_the_grace_period_is_taken_back),
		TEST(a_late_refusal_is_taken_back),
		TEST(a_dry_run_ends_with_the_rehearsal),
	};

	if (argc < 2)
		return 2;
	toy = argv[1];
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests(tests, prepare, finish);
}
