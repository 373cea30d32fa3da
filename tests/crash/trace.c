// SPDX-License-Identifier: BSD-3-Clause
/*
 * The server's processes and threads, stop by stop, and who is killed when.  A
 * process dies as a whole, whichever of its threads has come to the place.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

#define MAX_STEPS 32000u		/* instructions */
#define MAX_WATCHED 8000u		/* ... of a step whose stores are counted */
#define STORE_BITS 6u			/* it dies within so many bits' stores */
#define COMMIT_BITS 17u			/* a commit within so many instructions */
#define TWICE_EVERY 24u			/* steps */
#define SINGLE_EVERY 8u			/* ... instruction by instruction */
#define MOST_CHANCE 120u		/* calls */

static struct task *find_task(struct run *run, pid_t pid, bool add)
{
	struct task *place = NULL;

	for (unsigned i = 0; i < MAX_TASKS; i++) {
		if (run->tasks[i].pid == pid)
			return &run->tasks[i];
		if (!place && !run->tasks[i].pid)
			place = &run->tasks[i];
	}
	if (!add || !place)
		return NULL;
	*place = (struct task){ .pid = pid, .process = pid };
	return place;
}

static struct task *first_of(struct run *run, struct task *task)
{
	struct task *first = find_task(run, task->process, false);

	return first ? first : task;
}

/* A thread, or a process of its own. */
static pid_t process_of(pid_t pid)
{
	char path[32], line[80];
	int process = pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Tgid: %d", &process) == 1)
			break;
	if (f)
		fclose(f);
	return process;
}

/* What is new is nobody's worker but a worker's thread. */
static struct task *new_task(struct run *run, pid_t pid)
{
	struct task *task = find_task(run, pid, true);

	if (!task)
		return NULL;
	task->process = process_of(pid);
	if (task->process != pid)
		task->worker = first_of(run, task)->worker;
	return task;
}

/* -- who is killed when -------------------------------------------------- */

static void kill_process(struct run *run, struct task *task)
{
	struct task *first = first_of(run, task);

	kill(first->pid, SIGKILL);
	if (first->killed)
		return;
	first->killed = true;
	run->dying++;
	run->kills++;
}

/* Of a step, in this run. */
static uint64_t random_of(const struct run *run, uint64_t op)
{
	uint64_t random = (run->seed + op) * 0x9e3779b97f4a7c15ull;

	return random ^ random >> 29;
}

/* 0: none of this step. */
static unsigned random_call(const struct run *run, uint64_t op)
{
	uint64_t random = random_of(run, op);
	unsigned calls;

	if (op >= MAX_OPS || random % TWICE_EVERY)
		return 0;
	calls = calls_of[0][op] > calls_of[1][op] ? calls_of[0][op] :
		calls_of[1][op];
	return calls ? 1 + (unsigned)(random / TWICE_EVERY % calls) : 0;
}

/* Who has so many calls first lives, and the other dies of the same number. */
static bool passes(struct run *run, const struct task *task)
{
	if (!run->other)
		return false;
	if (run->passed_op != task->op) {
		run->passed_op = task->op;
		run->passed = task->pid;
	}
	return run->passed == task->pid;
}

/* Since the last death everybody has come further. */
static bool all_went_on(const struct run *run)
{
	for (unsigned i = 0; i < run->nr_clients; i++) {
		const struct client *c = &run->clients[i];

		if (!c->ended && c->session->op == c->killed_op)
			return false;
	}
	return true;
}

static bool by_chance(struct run *run)
{
	if (!all_went_on(run) || run->chance--)
		return false;
	run->chance = (unsigned)(next_random(&run->random) % MOST_CHANCE);
	for (unsigned i = 0; i < run->nr_clients; i++)
		run->clients[i].killed_op = run->clients[i].session->op;
	return true;
}

/* Here, in this step?  Once for each. */
static bool is_the_moment(struct run *run, struct task *task)
{
	if (run->mode == CHANCE)
		return by_chance(run);
	if (run->killed_op == task->op)
		return false;
	switch (run->mode) {
	case CALLS:
		return task->calls == run->n && !passes(run, task);
	case TWICE:
		return task->calls == random_call(run, task->op);
	default:
		return false;
	}
}

static void note_count(struct run *run, const struct task *task)
{
	unsigned which = task->pid != task->process;

	if (run->mode == COUNT && task->op < MAX_OPS &&
	    task->calls > calls_of[which][task->op])
		calls_of[which][task->op] = task->calls;
}

/* Slow, so only some steps of a run are followed like that. */
static bool goes_singly(const struct run *run, const struct task *task)
{
	return task->calls == 1 && run->killed_op != task->op &&
	       random_of(run, task->op) % SINGLE_EVERY == 0;
}

/* Most of what happens happens at the begin of a step. */
static void choose_instruction(struct run *run, struct task *task)
{
	task->singles = 1 + next_random(&run->random) % MAX_STEPS;
	if (next_random(&run->random) & 7)
		task->singles = 1 + task->singles % 4000;
	run->killed_op = task->op;
}

/* -- stores -------------------------------------------------------------- */

/* Of an arrival only what a load becomes is of interest. */
static bool is_watched(const struct run *run, const struct task *task)
{
	const struct session *session = run->clients[0].session;

	if (run->mode != STORES)
		return false;
	return run->kind == ARRIVAL ? session->load > run->load :
	       goes_singly(run, task);
}

/* Each size of step is as likely: most happens at the begin. */
static uint64_t choose(struct run *run, unsigned bits)
{
	uint64_t random = next_random(&run->random);

	return 1 + random / bits % (1u << random % bits);
}

static void watch_from_here(struct run *run, struct task *task)
{
	task->watched = true;
	if (run->watched_op == task->op)
		return;
	run->watched_op = task->op;
	run->instructions = run->events = 0;
	run->dies_at = choose(run, run->kind == ARRIVAL ? COMMIT_BITS :
				   STORE_BITS);
	if (run->kind != ARRIVAL)
		watch_open(&run->watch, task->process);
}

/* What comes before the commit is long, and changes nothing. */
static void begin_to_watch(struct run *run, struct task *task)
{
	if (run->kind != ARRIVAL)
		watch_from_here(run, task);
	else if (run->mark.process != task->process)
		mark_set(&run->mark, task->process, outboard, "ob_device_reset");
}

static void at_mark(struct run *run, struct task *task)
{
	if (is_watched(run, task) && run_op(run) == task->op)
		watch_from_here(run, task);
}

/* After an instruction.  True: it was the last one. */
static bool is_last(struct run *run)
{
	run->events += run->kind == ARRIVAL || watch_changed(&run->watch);
	return run->events >= run->dies_at;
}

/* -- stops --------------------------------------------------------------- */

/* A worker is at the entry to or the exit from a call; true: it lives on. */
static bool at_call(struct run *run, struct task *task)
{
	uint64_t op = run_op(run);
	struct task *first = first_of(run, task);

	if (op != task->op) {
		task->op = op;
		task->calls = 0;
	}
	task->calls++;
	first->all_calls++;
	note_count(run, task);
	if (!op || run_clients_ended(run))
		return true;
	if (first->dies_at && first->all_calls >= first->dies_at) {
		kill_process(run, task);
		return false;
	}
	if (run->mode == STEPS && goes_singly(run, task))
		choose_instruction(run, task);
	if (is_watched(run, task))
		begin_to_watch(run, task);
	if (!is_the_moment(run, task))
		return true;
	run->killed_op = op;
	kill_process(run, task);
	return false;
}

static void resume(struct run *run, struct task *task, int signo)
{
	int request = PTRACE_CONT;

	if (task->worker && !run_clients_ended(run))
		request = task->singles || task->watched ? PTRACE_SINGLESTEP :
			  PTRACE_SYSCALL;
	ptrace(request, task->pid, NULL, (void *)(long)signo);
}

/* A process became something else: the server's children become workers. */
static void at_exec(struct run *run, struct task *task)
{
	task->worker = task->pid != run->server;
	if (!task->worker)
		return;
	if (run->kills)
		place_successor(run, task->pid);
	if (run->mode == TWICE && run->kills % 2)
		task->dies_at = 1 + next_random(&run->random) % 400;
}

static void one_watched(struct run *run, struct task *task)
{
	if (run_op(run) != task->op || run->killed_op == task->op ||
	    (++run->instructions > MAX_WATCHED && run->kind != ARRIVAL)) {
		task->watched = false;
	} else if (is_last(run)) {
		run->killed_op = task->op;
		run->load = run->clients[0].session->load;
		kill_process(run, task);
		return;
	}
	resume(run, task, 0);
}

static void one_instruction(struct run *run, struct task *task)
{
	if (task->watched)
		one_watched(run, task);
	else if (--task->singles)
		resume(run, task, 0);
	else
		kill_process(run, task);
}

/* A new task stops by itself, and may be seen before its parent's event. */
static void stopped(struct run *run, pid_t pid, int status)
{
	bool known = find_task(run, pid, false) != NULL;
	struct task *task = known ? find_task(run, pid, false) :
		new_task(run, pid);
	int signo = WSTOPSIG(status), event = status >> 16;

	if (!task || first_of(run, task)->killed)
		return;
	if (event == PTRACE_EVENT_EXEC)
		at_exec(run, task);
	else if (signo == (SIGTRAP | 0x80) && !at_call(run, task))
		return;
	else if (signo == SIGTRAP && !event && mark_reached(&run->mark, pid))
		at_mark(run, task);
	else if (signo == SIGTRAP && !event && (task->singles || task->watched)) {
		one_instruction(run, task);
		return;
	}
	if (!known || event || signo == SIGTRAP || signo == (SIGTRAP | 0x80))
		signo = 0;
	resume(run, task, signo);
}

static void client_ended(struct run *run, unsigned i, int status)
{
	run->clients[i].ended = true;
	run->clients[i].status = status;
	/* The others might wait for it. */
	for (unsigned j = 0; status && j < run->nr_clients; j++)
		if (!run->clients[j].ended)
			kill(run->clients[j].pid, SIGKILL);
}

static void ended(struct run *run, pid_t pid, int status)
{
	struct task *task = find_task(run, pid, false);

	if (task) {
		run->dying -= task->killed;
		task->pid = 0;
	}
	for (unsigned i = 0; i < run->nr_clients; i++)
		if (pid == run->clients[i].pid)
			client_ended(run, i, status);
	if (pid == run->server) {
		run->server_ended = true;
		run->server_status = status;
	}
}

/* -- the whole ----------------------------------------------------------- */

/* Not in the middle of a death: to end in order takes somebody who serves. */
static void ask_to_end(struct run *run)
{
	run->stopping = true;
	kill(run->server, SIGTERM);
}

static void kill_clients(const struct run *run)
{
	for (unsigned i = 0; i < run->nr_clients; i++)
		if (!run->clients[i].ended)
			kill(run->clients[i].pid, SIGKILL);
}

static void one_change(struct run *run)
{
	int status;
	pid_t pid = waitpid(-1, &status, __WALL);

	if (pid < 0 && time(NULL) >= run->end) {
		kill_clients(run);
		kill(run->server, SIGKILL);
		alarm(5);
	}
	if (pid < 0)
		return;
	if (WIFSTOPPED(status))
		stopped(run, pid, status);
	else
		ended(run, pid, status);
}

void trace(struct run *run)
{
	find_task(run, run->server, true);
	run->chance = MOST_CHANCE;
	while (!run->server_ended || !run_clients_ended(run)) {
		one_change(run);
		if (run_clients_ended(run) && !run->dying && !run->stopping)
			ask_to_end(run);
		if (run->server_ended)
			kill_clients(run);
	}
	watch_close(&run->watch);
}
