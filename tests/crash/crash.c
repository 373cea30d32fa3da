// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every instant of a worker's death, one after another.
 *
 *	crash OUTBOARD [SECONDS [SEED [MODE]]]
 *
 * The server runs under ptrace.  A client works through session.c; in every one
 * of its steps the process that serves is killed once:
 *
 *	calls	at the Nth entry to or exit from a system call of the step,
 *		for all N, each N being a run of the whole session
 *	twice	at a random call in some of the steps, and its successor at a
 *		random one of its own; in few, since who dies before it serves
 *		makes the keeper wait longer and longer
 *	steps	after a random number of single instructions
 *
 * Each session must end, and must have been told what an undisturbed one was
 * told.  SECONDS (100) bounds it; runs are taken in a random order, those first
 * in which more steps are hit, so that a short test sees some of everything.  0:
 * all of it.  MODE: that one only.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "folder.h"
#include "session.h"

#define MAX_TASKS 64u
#define MAX_OPS 4096u
#define MAX_CALLS 1000u			/* a step that has more is cut there */
#define MAX_STEPS 32000u		/* instructions */
#define TWICE_EVERY 24u			/* steps */
#define RUN_SECONDS 600
#define OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | \
		 PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | \
		 PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD)

enum mode { COUNT, CALLS, TWICE, STEPS, NR_MODES };
static const char *const mode_names[NR_MODES] = {
	"undisturbed", "calls", "twice", "steps",
};

struct task {
	pid_t pid;			/* 0: free */
	bool worker, killed;
	uint64_t op;			/* the step that it was seen in */
	unsigned calls;			/* stops in that step */
	unsigned singles;		/* instructions still to be done */
	unsigned dies_at;		/* twice: its own call number; 0: lives */
	unsigned all_calls;
};

struct run {
	enum mode mode;
	unsigned n;			/* the number of calls, or of the run */
	uint64_t random, seed;
	struct session *session;
	char folder[FOLDER_ROOM], path[96];
	pid_t server, client;
	struct task tasks[MAX_TASKS];
	uint64_t killed_op;		/* one kill for a step */
	unsigned kills, dying;		/* all; those that are not dead yet */
	bool client_ended, server_ended, stopping;
	int client_status, server_status;
	time_t end;
};

static const char *outboard;
static unsigned calls_of[MAX_OPS];	/* of an undisturbed run */
static struct session *reference;
static unsigned points[NR_MODES], runs[NR_MODES], arrivals;
static const char *only;		/* a mode */

/* Of so many numbers of calls one; only the calls are counted out. */
static const unsigned every[NR_MODES] = { [CALLS] = 1, [TWICE] = 4, [STEPS] = 16 };

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* -- processes --------------------------------------------------------- */

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
	*place = (struct task){ .pid = pid };
	return place;
}

static pid_t start_server(struct run *run)
{
	char device[240], log[96];
	pid_t pid;
	int fd, null;

	snprintf(device, sizeof(device),
		 "nvme,drive=file:%s/image,queues=8,serial=CRASH,socket=%s",
		 run->folder, run->path);
	snprintf(log, sizeof(log), "%s/log", run->folder);
	pid = fork();
	if (pid)
		return pid;
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	null = open("/dev/null", O_RDWR);
	dup2(null, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	execl(outboard, "outboard", "serve", "--watchdog", "0", "--log-level",
	      "info", "--device", device, (char *)NULL);
	_exit(127);
}

static pid_t start_client(struct run *run)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(session_run(run->session, run->path));
}

/* -- who is killed when ------------------------------------------------ */

static void kill_task(struct run *run, struct task *task)
{
	kill(task->pid, SIGKILL);
	task->killed = true;
	run->dying++;
	run->kills++;
	points[run->mode]++;
}

/* 0: none of this step. */
static unsigned random_call(const struct run *run, uint64_t op)
{
	uint64_t random = (run->seed + op) * 0x9e3779b97f4a7c15ull;

	random ^= random >> 29;
	if (op >= MAX_OPS || !calls_of[op] || random % TWICE_EVERY)
		return 0;
	return 1 + (unsigned)(random / TWICE_EVERY % calls_of[op]);
}

/* Here, in this step?  Once for each. */
static bool is_the_moment(struct run *run, struct task *task)
{
	if (run->killed_op == task->op)
		return false;
	switch (run->mode) {
	case CALLS:
		return task->calls == run->n;
	case TWICE:
		return task->calls == random_call(run, task->op);
	default:
		return false;
	}
}

static void note_count(struct run *run, const struct task *task)
{
	if (run->mode == COUNT && task->op < MAX_OPS &&
	    task->calls > calls_of[task->op])
		calls_of[task->op] = task->calls;
}

/* A worker is at the entry to or the exit from a call; true: it lives on. */
static bool at_call(struct run *run, struct task *task)
{
	uint64_t op = __atomic_load_n(&run->session->op, __ATOMIC_ACQUIRE);

	if (op != task->op) {
		task->op = op;
		task->calls = 0;
	}
	task->calls++;
	task->all_calls++;
	note_count(run, task);
	if (!op || run->client_ended)
		return true;
	if (task->dies_at && task->all_calls == task->dies_at) {
		kill_task(run, task);
		return false;
	}
	if (run->mode == STEPS && task->calls == 1 && run->killed_op != op) {
		task->singles = 1 + next_random(&run->random) % MAX_STEPS;
		/* Most of what happens happens at the begin. */
		if (next_random(&run->random) & 7)
			task->singles = 1 + task->singles % 4000;
		run->killed_op = op;
	}
	if (!is_the_moment(run, task))
		return true;
	run->killed_op = op;
	kill_task(run, task);
	return false;
}

static void resume(struct run *run, struct task *task, int signo)
{
	int request = PTRACE_CONT;

	if (task->worker && !run->client_ended)
		request = task->singles ? PTRACE_SINGLESTEP : PTRACE_SYSCALL;
	ptrace(request, task->pid, NULL, (void *)(long)signo);
}

/* A process became something else: the server's children become workers. */
static void at_exec(struct run *run, struct task *task)
{
	task->worker = task->pid != run->server;
	if (task->worker && run->mode == TWICE && run->kills % 2)
		task->dies_at = 1 + next_random(&run->random) % 400;
}

static void one_instruction(struct run *run, struct task *task)
{
	if (--task->singles) {
		resume(run, task, 0);
		return;
	}
	kill_task(run, task);
}

/* A new task stops by itself, and may be seen before its parent's event. */
static void stopped(struct run *run, pid_t pid, int status)
{
	bool known = find_task(run, pid, false) != NULL;
	struct task *task = find_task(run, pid, true);
	int signo = WSTOPSIG(status), event = status >> 16;

	if (!task)
		return;
	if (event == PTRACE_EVENT_EXEC)
		at_exec(run, task);
	else if (signo == (SIGTRAP | 0x80) && !at_call(run, task))
		return;
	else if (signo == SIGTRAP && !event && task->singles) {
		one_instruction(run, task);
		return;
	}
	if (!known || event || signo == SIGTRAP || signo == (SIGTRAP | 0x80))
		signo = 0;
	resume(run, task, signo);
}

static void ended(struct run *run, pid_t pid, int status)
{
	struct task *task = find_task(run, pid, false);

	if (task) {
		run->dying -= task->killed;
		task->pid = 0;
	}
	if (pid == run->client) {
		run->client_ended = true;
		run->client_status = status;
	}
	if (pid == run->server) {
		run->server_ended = true;
		run->server_status = status;
	}
}

/* -- a run ------------------------------------------------------------- */

static void make_folder(struct run *run)
{
	char image[96];
	int fd;

	folder_make(run->folder, "obcrash");
	snprintf(run->path, sizeof(run->path), "%s/sock", run->folder);
	snprintf(image, sizeof(image), "%s/image", run->folder);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 8 << 20))
		abort();
	close(fd);
}

/* Not in the middle of a death: to end in order takes somebody who serves. */
static void ask_to_end(struct run *run)
{
	run->stopping = true;
	kill(run->server, SIGTERM);
}

static void follow(struct run *run)
{
	int status;
	pid_t pid;

	while (!run->server_ended || !run->client_ended) {
		pid = waitpid(-1, &status, __WALL);
		if (pid < 0 && errno == EINTR) {
			if (time(NULL) < run->end)
				continue;
			kill(run->client, SIGKILL);
			kill(run->server, SIGKILL);
			alarm(5);
			continue;
		}
		if (pid < 0)
			return;
		if (WIFSTOPPED(status))
			stopped(run, pid, status);
		else
			ended(run, pid, status);
		if (run->client_ended && !run->dying && !run->stopping)
			ask_to_end(run);
		if (run->server_ended && !run->client_ended)
			kill(run->client, SIGKILL);
	}
}

static void note_alarm(int signo)
{
	(void)signo;
}

static void start(struct run *run)
{
	struct sigaction action = { .sa_handler = note_alarm };
	int status;

	sigaction(SIGALRM, &action, NULL);
	run->end = time(NULL) + RUN_SECONDS - 1;
	alarm(RUN_SECONDS);
	make_folder(run);
	run->server = start_server(run);
	waitpid(run->server, &status, __WALL);
	find_task(run, run->server, true);
	ptrace(PTRACE_SETOPTIONS, run->server, NULL, (void *)OPTIONS);
	ptrace(PTRACE_CONT, run->server, NULL, NULL);
	run->client = start_client(run);
}

static int complain(const struct run *run, const char *what)
{
	fprintf(stderr, "crash: %s, %u, after %u deaths: %s (log in %s)\n",
		mode_names[run->mode], run->n, run->kills, what, run->folder);
	return 1;
}

/* What was told, against an undisturbed session. */
static int compare(const struct run *run)
{
	const struct session *a = reference, *b = run->session;
	char what[160];

	for (uint32_t i = 0; i < a->count && i < b->count; i++) {
		if (!strcmp(a->records[i].label, b->records[i].label) &&
		    a->records[i].crc == b->records[i].crc)
			continue;
		snprintf(what, sizeof(what), "record %u (%s) is another one "
			 "than undisturbed (%s)", i, b->records[i].label,
			 a->records[i].label);
		return complain(run, what);
	}
	return a->count == b->count ? 0 : complain(run, "records are missing");
}

static int judge(struct run *run)
{
	char what[320];

	if (!run->session->done) {
		snprintf(what, sizeof(what), "the session ended: %s",
			 run->session->error[0] ? run->session->error
						: "killed");
		return complain(run, what);
	}
	if (!WIFEXITED(run->server_status) || WEXITSTATUS(run->server_status)) {
		snprintf(what, sizeof(what), "the server ended with %#x",
			 run->server_status);
		return complain(run, what);
	}
	if (run->mode == COUNT)
		return run->session->loaded ? 0 :
			complain(run, "no migration came in");
	return compare(run);
}

static int one_run(enum mode mode, unsigned n, uint64_t seed)
{
	struct run run = {
		.mode = mode, .n = n, .random = seed | 1, .seed = seed,
	};
	struct session *session;
	int r;

	session = mmap(NULL, sizeof(*session), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (session == MAP_FAILED)
		abort();
	run.session = session;
	if (reference)
		session->stream = reference->stream;
	start(&run);
	follow(&run);
	alarm(0);
	runs[mode]++;
	r = judge(&run);
	arrivals += session->loaded;
	printf("crash: %s %u: %u deaths\n", mode_names[mode], n, run.kills);
	if (!r)
		folder_remove(run.folder);
	if (mode == COUNT)
		reference = session;
	else
		munmap(session, sizeof(*session));
	return r;
}

/* -- all runs ---------------------------------------------------------- */

static unsigned most_calls(unsigned *all)
{
	unsigned most = 0;

	*all = 0;
	for (unsigned op = 1; op < MAX_OPS; op++) {
		*all += calls_of[op];
		if (calls_of[op] > most)
			most = calls_of[op];
	}
	return most < MAX_CALLS ? most : MAX_CALLS;
}

static unsigned steps_with(unsigned calls)
{
	unsigned n = 0;

	for (unsigned op = 1; op < MAX_OPS; op++)
		n += calls_of[op] >= calls;
	return n;
}

/* A number of calls that has not been drawn, as often as steps have so many. */
static unsigned draw(unsigned *weights, unsigned most, uint64_t *random)
{
	uint64_t all = 0, at;

	for (unsigned n = 1; n <= most; n++)
		all += weights[n];
	at = next_random(random) % all;
	for (unsigned n = 1; n <= most; n++) {
		if (at < weights[n]) {
			weights[n] = 0;
			return n;
		}
		at -= weights[n];
	}
	abort();
}

static int all_runs(unsigned most, time_t end, uint64_t seed)
{
	unsigned weights[MAX_CALLS + 1];
	uint64_t random = seed | 1;
	int r = 0;

	for (unsigned n = 1; n <= most; n++)
		weights[n] = steps_with(n);
	for (unsigned i = 0; i < most && !r; i++) {
		unsigned n = draw(weights, most, &random);

		for (enum mode mode = CALLS; mode < NR_MODES && !r; mode++)
			if (i % every[mode] == every[mode] / 2 &&
			    time(NULL) < end &&
			    (!only || !strcmp(only, mode_names[mode])))
				r = one_run(mode, n, seed * 77 + i * 4 + mode);
	}
	return r;
}

int main(int argc, char **argv)
{
	unsigned seconds = argc > 2 ? (unsigned)atoi(argv[2]) : 100;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	time_t end = time(NULL) + (seconds ? seconds : 1000000);
	unsigned all, most;
	int r;

	if (argc < 2) {
		fprintf(stderr, "crash OUTBOARD [SECONDS [SEED [MODE]]]\n");
		return 2;
	}
	outboard = argv[1];
	only = argc > 4 ? argv[4] : NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	r = one_run(COUNT, 0, seed);
	if (r)
		return r;
	most = most_calls(&all);
	printf("crash: %llu steps, %u calls entered or left, at most %u in one\n",
	       (unsigned long long)reference->op, all, most);
	r = all_runs(most, end, seed);
	for (enum mode mode = CALLS; mode < NR_MODES; mode++)
		printf("crash: %s: %u deaths in %u sessions\n",
		       mode_names[mode], points[mode], runs[mode]);
	printf("crash: %u migrations came in whole\n", arrivals);
	return r;
}
