// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"

#include "base/fd.h"
#include "base/log.h"
#include "keeper/keeper.h"

static char dir[] = "/tmp/outboard-keeper-XXXXXX", copy[64];
const char *toy, *other = copy;
struct board *board;
pid_t keeper;

static size_t memory_at_ready;

/* What the keeper and the midwives ask of the kernel in their lives. */
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
	size_t len = strlen(board->said);

	board->told[event]++;
	if (event == OB_KEEPER_GETS_READY || event == OB_KEEPER_IS_READY)
		snprintf(board->said + len, sizeof(board->said) - len, "%s",
			 text);
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
		.standby = wish->standby, .threads = wish->threads,
		.watchdog_ms = wish->watchdog_ms,
		.grace_ms = wish->grace_ms ? wish->grace_ms : GRACE_MS,
		.binary = open(toy, O_PATH | O_CLOEXEC),
	};
	struct rlimit limit = { wish->files, wish->files };
	struct ob_err err = { 0 };
	int r;

	if (wish->reaper)
		prctl(PR_SET_CHILD_SUBREAPER, 1);
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

void keep(const struct wish *wish)
{
	keeper = fork();
	assert_return_code(keeper, errno);
	if (!keeper)
		be_keeper(wish);
}

int ended(void)
{
	int status;

	assert_int_equal(waitpid(keeper, &status, 0), keeper);
	keeper = 0;
	assert_true(WIFEXITED(status));
	if (board->wrong)
		fail_msg("%s", board->what);
	return WEXITSTATUS(status);
}

int stop(void)
{
	kill(keeper, SIGTERM);
	return ended();
}

void until(const char *text, bool ok)
{
	if (!ok)
		fail_msg("never: %s (%s)", text, board->what);
}

const struct birth *life(unsigned n)
{
	return &board->birth[n - 1];
}

bool lives(unsigned n)
{
	return *(volatile unsigned *)&board->births >= n &&
	       *(volatile bool *)&board->birth[n - 1].ready;
}

void ring(enum act act)
{
	const uint64_t one = 1;

	board->act = act;
	assert_int_equal(write(BELL_FD, &one, sizeof(one)), sizeof(one));
}

const struct ob_keeper_status *status(void)
{
	unsigned acts = board->acts;

	ring(ACT_STATUS);
	UNTIL(*(volatile unsigned *)&board->acts == acts + 2);
	return &board->status;
}

void outcome_is(enum ob_upgrade_outcome outcome)
{
	UNTIL(status()->last_upgrade == (int)outcome);
}

int come(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_return_code(connect(fd, (struct sockaddr *)&board->address,
				   board->address_len), errno);
	return fd;
}

int knock(void)
{
	OB_CLEANUP_FD int fd = come();
	char byte;

	return (int)read(fd, &byte, 1);
}

void succeeded_after(enum act act, int signal)
{
	KEEP(.watchdog_ms = 100);
	UNTIL(lives(1));
	ring(act);
	UNTIL(lives(2));
	assert_int_equal(life(2)->signal, signal);
	assert_int_equal(stop(), 0);
}

/* The group */

int rig_clear(void **state)
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
	snprintf(copy, sizeof(copy), "%s/toy", dir);
	to = open(other, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	while (sendfile(to, from, NULL, 1 << 20) > 0)
		;
	return 0;
}

int rig_prepare(void **state)
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

unsigned long switches(pid_t pid)
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

int rig_finish(void **state)
{
	rig_clear(state);
	unlink(other);
	return rmdir(dir);
}

int rig_arguments(int argc, char **argv)
{
	if (argc < 2)
		return -1;
	toy = argv[1];
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	return 0;
}
