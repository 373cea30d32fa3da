// SPDX-License-Identifier: BSD-3-Clause
/*
 * A server with a kept connection is killed, and its successor goes on; the
 * client must not notice.  Two sweeps over one session (kept_toy.h):
 *
 *	at each entry into and return from a system call
 *	at each instruction between two markers
 *
 * At each point the first successor is killed, too, while it adopts or soon
 * after; the second one lives.  Of system calls only the sure ones are tried,
 * of instructions every so many; OB_KILL_STRIDE=1 in the environment is every
 * one, which takes half an hour.
 */
#include "kept_toy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/ptrace.h>

#include "../base/unit.h"

#include "base/fd.h"
#include "../open_fds.h"

#define STRIDE 4001u		/* instructions */
#define PATIENCE 20u		/* seconds that a process may live */

struct world {
	struct toy *toy;
	struct toy_fds fds;
	struct ob_rings rings[2];	/* of the truth; of who lives */
	uint64_t generation;
	pid_t client;
};

/* Where a life ends. */
struct point {
	uint64_t marker;	/* that many are behind it */
	unsigned steps;		/* instructions after that */
	unsigned calls;		/* or: stops at system calls since the begin */
	bool sure_only;		/* count those at sure calls */
};
static const struct point never = { UINT64_MAX, 0, 0, false };

static struct toy *new_toy(void)
{
	struct toy *toy = mmap(NULL, sizeof(*toy), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(toy, MAP_FAILED);
	for (size_t i = 0; i < sizeof(toy->content); i++)
		toy->content[i] = i * 7 + i / 256;
	return toy;
}

static void reset_toy(struct toy *toy)
{
	toy->truth = toy->marker = 0;
	toy->failure[0] = '\0';
	memset(toy->lives, 0, sizeof(toy->lives));
	memset(toy->undo_is_on, 0, sizeof(toy->undo_is_on));
}

static void open_names(struct toy_fds *fds)
{
	for (uint32_t i = 0; i < TOY_NAMES; i++) {
		uint32_t number = TOY_NAME + i;

		fds->names[i] = ob_memfd_create("name", 4);
		assert_int_equal(pwrite(fds->names[i], &number, 4, 0), 4);
	}
}

/* Small rooms, so that few messages fit at once. */
static void open_sockets(struct toy_fds *fds)
{
	static const int room = 8192;
	int pair[2], keep[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, keep), 0);
	for (unsigned i = 0; i < 2; i++)
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	fds->client = pair[0];
	fds->server = pair[1];
	fds->keep_in = keep[0];
	fds->keep_out = keep[1];
}

static pid_t fork_client(struct world *w)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	alarm(PATIENCE);
	close(w->fds.server);
	toy_client(w->toy, &w->fds);
}

/* A server of the next generation; it waits for us before it begins. */
static pid_t fork_server(struct world *w)
{
	const struct ob_rings *old = w->toy->truth ? &w->rings[0] : NULL;
	pid_t pid;
	int status;

	assert_int_equal(ob_rings_create(++w->generation, &w->rings[1]), 0);
	pid = fork();
	if (!pid) {
		alarm(PATIENCE);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		toy_serve(w->toy, &w->fds, &w->rings[1], old);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	ptrace(PTRACE_SETOPTIONS, pid, 0,
	       PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	return pid;
}

/* Only the rings that the truth was written with matter from now on. */
static void server_died(struct world *w)
{
	if (w->toy->truth >> 1 == w->generation) {
		ob_rings_close(&w->rings[0]);
		w->rings[0] = w->rings[1];
	} else {
		ob_rings_close(&w->rings[1]);
	}
	w->rings[1] = (struct ob_rings){ -1, -1, -1, 0, 0 };
}

/* One stop further; false when it has ended. */
static bool go_on(pid_t pid, int request, int *status)
{
	assert_int_equal(ptrace(request, pid, 0, 0), 0);
	assert_int_equal(waitpid(pid, status, 0), pid);
	return WIFSTOPPED(*status);
}

/* Of a process that stopped at a system call: is it a sure call? */
static bool is_sure_call(pid_t pid, bool *inside)
{
	struct ptrace_syscall_info info;

	ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info);
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		return *inside = info.entry.nr == SYS_io_uring_enter;
	return *inside;
}

static bool run_to(struct world *w, pid_t pid, const struct point *end,
		   uint64_t first, int *status)
{
	unsigned calls = 0;
	bool inside = false;

	while (w->toy->marker - first < end->marker) {
		if (!go_on(pid, PTRACE_SYSCALL, status))
			return false;
		if (!end->sure_only || is_sure_call(pid, &inside))
			calls++;
		if (end->calls && calls == end->calls)
			return true;
	}
	for (unsigned i = 0; i < end->steps; i++) {
		if (w->toy->marker - first > end->marker)
			break;
		if (!go_on(pid, PTRACE_SINGLESTEP, status))
			return false;
	}
	return true;
}

static void check(struct world *w, int status, const char *who)
{
	if (w->toy->failure[0] || status)
		fail_msg("%s: status %x, %s", who, status,
			 w->toy->failure);
}

/* 1: killed there; 0: killed, but past the next marker; -1: it had ended. */
static int live(struct world *w, const struct point *end)
{
	uint64_t first = w->toy->marker;
	pid_t pid = fork_server(w);
	int status = 0;
	bool killed = run_to(w, pid, end, first, &status);
	int r = w->toy->marker - first <= end->marker;

	if (killed) {
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
	} else {
		check(w, status, "server");
	}
	server_died(w);
	return killed ? r : -1;
}

/* The last life needs no tracer. */
static void live_on(struct world *w)
{
	pid_t pid = fork_server(w);
	int status;

	ptrace(PTRACE_DETACH, pid, 0, 0);
	assert_int_equal(waitpid(w->client, &status, 0), w->client);
	check(w, status, "client");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	check(w, status, "last server");
	server_died(w);
}

static void begin(struct world *w)
{
	reset_toy(w->toy);
	open_sockets(&w->fds);
	w->generation = 0;
	w->rings[0] = w->rings[1] = (struct ob_rings){ -1, -1, -1, 0, 0 };
	w->client = fork_client(w);
	ob_fd_close(&w->fds.client);	/* so that it can hang up */
}

static void end(struct world *w)
{
	ob_rings_close(&w->rings[0]);
	ob_fd_close(&w->fds.server);
	ob_fd_close(&w->fds.keep_in);
	ob_fd_close(&w->fds.keep_out);
}

static int die_at(struct world *w, const struct point *first,
		  const struct point *second)
{
	int status, r;

	begin(w);
	r = live(w, first);
	if (r >= 0) {
		if (live(w, second) >= 0) {
			live_on(w);
			end(w);
			return r;
		}
	}
	/* It came to its end by itself; so did the client then. */
	assert_int_equal(waitpid(w->client, &status, 0), w->client);
	check(w, status, "client");
	end(w);
	return r;
}

static int set_up(void **state)
{
	struct ob_rings rings;
	struct world *w;

	if (ob_rings_create(1, &rings))
		skip();		/* without io_uring the outcome is in doubt */
	ob_rings_close(&rings);
	w = calloc(1, sizeof(*w));
	w->toy = new_toy();
	open_names(&w->fds);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	ob_fds_close(w->fds.names, TOY_NAMES);
	munmap(w->toy, sizeof(*w->toy));
	free(w);
	return 0;
}

static void no_death(void **state)
{
	struct world *w = *state;

	begin(w);
	live_on(w);
	end(w);
}

static unsigned stride(unsigned usual)
{
	const char *text = getenv("OB_KILL_STRIDE");
	long n = text ? strtol(text, NULL, 10) : 0;

	return n > 0 ? n : usual;
}

static void at_each_system_call(void **state)
{
	struct world *w = *state;
	struct point first = { UINT64_MAX, 0, 1, !getenv("OB_KILL_STRIDE") };
	unsigned before = count_fds(), n = 0, step = stride(1);

	/* Sessions differ in length: over when a few in a row had no such. */
	for (unsigned beyond = 0; beyond < 3; first.calls += step) {
		/* Half of them die at a call of the adoption and after it. */
		struct point second = { UINT64_MAX, 0, 1 + n % 80, false };

		if (die_at(w, &first, n % 2 ? &second : &never) < 0) {
			beyond++;
		} else {
			beyond = 0;
			n++;
		}
	}
	print_message("%u points at system calls\n", n);
	assert_true(n > 10);
	assert_int_equal(count_fds(), before);
}

static void at_each_instruction(void **state)
{
	struct world *w = *state;
	unsigned before = count_fds(), n = 0, step = stride(STRIDE);
	int r = 0;

	for (uint64_t marker = 1; r >= 0; marker++) {
		unsigned steps = marker * 53 % step;

		for (r = 1; r > 0; steps += step, n++) {
			struct point first = { marker, steps, 0, false };
			struct point second = { 1, n * 37 % 1500, 0, false };

			r = die_at(w, &first, &second);
		}
	}
	print_message("%u points at instructions\n", n);
	assert_int_equal(count_fds(), before);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	static const struct CMUnitTest tests[] = {
		T(no_death),
		T(at_each_system_call),
		T(at_each_instruction),
	};

	return cmocka_run_group_tests_name("kept-death", tests, NULL, NULL);
}
