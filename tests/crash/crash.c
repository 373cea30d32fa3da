// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every instant of a worker's death, one after another.
 *
 *	crash [--threads N] OUTBOARD [SECONDS [SEED [MODE [KIND]]]]
 *
 * The server runs under ptrace.  Clients work through their sessions; in every step
 * of them the process that serves is killed once:
 *
 *	calls	at the Nth entry to or exit from a system call of the step,
 *		for all N, each N being a run of the whole session; where
 *		more than one thread has so many, also at the second one's
 *	twice	at a random call in some of the steps, and its successor at a
 *		random one of its own; in few, since who dies before it serves
 *		makes the keeper wait longer and longer
 *	steps	after a random number of single instructions
 *	stores	after a random one of the step's stores to what outlives it
 *		(watch.c); in a load, at an instruction of its commit as well
 *	chance	at a random call of any thread, all sessions having gone on
 *
 * What the sessions do is the kind: `alone` and `arrival` with any number of
 * threads, `pair` and `together` with several.  Then each successor is told at random how
 * many threads it has, and which of them have the devices (place.c).
 *
 * Each session must end, and must have been told what an undisturbed one was
 * told.  SECONDS (100) bounds it; runs are taken in a random order, those first
 * in which more steps are hit, so that a short test sees some of everything.  0:
 * all of it.  MODE, KIND: that one only; MODE "-": all.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

#define RUN_SECONDS 600
#define EARLY 5u	/* steps */
#define OPTIONS (PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | \
		 PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | \
		 PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD)

static const char *const mode_names[NR_MODES] = {
	"undisturbed", "calls", "twice", "steps", "stores", "chance",
};

struct kind_info {
	const char *name;
	unsigned clients;
	unsigned share;			/* of the time, in percent */
	unsigned every[NR_MODES];	/* of so many numbers of calls one; 0: none */
};

/* Only the calls are counted out. */
static const struct kind_info one_thread[] = {
	{ "alone", 1, 80, { [CALLS] = 1, [TWICE] = 4, [STEPS] = 4, [STORES] = 4 } },
	{ "arrival", 1, 20, { [CALLS] = 1, [TWICE] = 8, [STORES] = 1 } },
	{ 0 }
};
static const struct kind_info more_threads[] = {
	{ "pair", 2, 55, { [CALLS] = 1, [TWICE] = 8, [STEPS] = 8, [STORES] = 8 } },
	{ "together", 2, 20, { [CHANCE] = 8 } },
	{ "arrival", 1, 25, { [CALLS] = 1, [TWICE] = 8, [STORES] = 1 } },
	{ 0 }
};

const char *outboard;
unsigned threads = 1;
unsigned calls_of[2][MAX_OPS];

static const struct kind_info *info;	/* of the kind that is under way */
static struct session *reference[SESSIONS_MAX];
static unsigned points[NR_MODES], runs[NR_MODES], arrivals;
static const char *only_mode, *only_kind;

uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

uint64_t run_op(const struct run *run)
{
	uint64_t op = 0;

	for (unsigned i = 0; i < run->nr_clients; i++)
		op += __atomic_load_n(&run->clients[i].session->op,
				      __ATOMIC_ACQUIRE);
	return op;
}

bool run_clients_ended(const struct run *run)
{
	for (unsigned i = 0; i < run->nr_clients; i++)
		if (!run->clients[i].ended)
			return false;
	return true;
}

static unsigned calls_in(unsigned op, bool other)
{
	unsigned a = calls_of[0][op], b = calls_of[1][op];

	return other == (a < b) ? a : b;
}

/* Only the first steps have so many: those in which the server begins. */
static bool is_early(unsigned calls, bool other)
{
	for (unsigned op = EARLY; op < MAX_OPS; op++)
		if (calls_in(op, other) >= calls)
			return false;
	return true;
}

/* -- a run --------------------------------------------------------------- */

static enum kind kind_of(const char *name)
{
	static const char *const names[NR_KINDS] = {
		"alone", "pair", "together", "arrival",
	};
	enum kind kind = 0;

	while (strcmp(names[kind], name))
		kind++;
	return kind;
}

static void *share(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static pid_t start_client(struct run *run, unsigned i)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit((run->kind == ARRIVAL ? session_arrival : session_run)
	      (run->clients[i].session, run->folder));
}

static void make_sessions(struct run *run)
{
	struct session_turns *turns = run->kind == PAIR ?
		share(sizeof(*turns)) : NULL;

	for (unsigned i = 0; turns && i < SESSIONS_MAX; i++)
		sem_init(&turns->turn[i], 1, 0);
	for (unsigned i = 0; i < run->nr_clients; i++) {
		struct session *session = share(sizeof(*session));

		run->clients[i].session = session;
		session->number = i;
		session->turns = turns;
		session->is_brief = run->is_brief;
		if (reference[i])
			session->stream = reference[i]->stream;
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
	folder_make(run->folder, "obcrash");
	place_images(run);
	make_sessions(run);
	run->server = place_server(run);
	waitpid(run->server, &status, __WALL);
	ptrace(PTRACE_SETOPTIONS, run->server, NULL, (void *)OPTIONS);
	ptrace(PTRACE_CONT, run->server, NULL, NULL);
	for (unsigned i = 0; i < run->nr_clients; i++)
		run->clients[i].pid = start_client(run, i);
}

static int complain(const struct run *run, const char *what)
{
	fprintf(stderr, "crash: %s, %s%s, %u, after %u deaths: %s (log in %s)\n",
		info->name, mode_names[run->mode], run->other ? " of another" : "",
		run->n, run->kills, what, run->folder);
	return 1;
}

/* What was told, against an undisturbed session. */
static int compare(const struct run *run, unsigned client)
{
	const struct session *a = reference[client];
	const struct session *b = run->clients[client].session;
	char what[160];

	for (uint32_t i = 0; i < a->count && i < b->count; i++) {
		if (!strcmp(a->records[i].label, b->records[i].label) &&
		    a->records[i].crc == b->records[i].crc)
			continue;
		snprintf(what, sizeof(what), "client %u: record %u (%s) is another "
			 "one than undisturbed (%s)", client, i,
			 b->records[i].label, a->records[i].label);
		return complain(run, what);
	}
	return a->count == b->count || b->is_brief ? 0 :
		complain(run, "records are missing");
}

static int judge_client(struct run *run, unsigned i)
{
	const struct session *session = run->clients[i].session;
	char what[400];

	if (!session->done) {
		snprintf(what, sizeof(what), "client %u's session ended: %s", i,
			 session->error[0] ? session->error : "killed");
		return complain(run, what);
	}
	if (run->mode == COUNT)
		return session->loaded ? 0 :
			complain(run, "no migration came in");
	return compare(run, i);
}

static int judge(struct run *run)
{
	char what[80];
	int r = 0;

	for (unsigned i = 0; i < run->nr_clients; i++)
		r |= judge_client(run, i);
	/* A commit that is not found would be a test of nothing. */
	if (run->kind == ARRIVAL && run->mode == STORES && !run->kills)
		r |= complain(run, "no load died in its commit");
	if (r || (WIFEXITED(run->server_status) &&
		  !WEXITSTATUS(run->server_status)))
		return r;
	snprintf(what, sizeof(what), "the server ended with %#x",
		 run->server_status);
	return complain(run, what);
}

static void take_account(struct run *run)
{
	for (unsigned i = 0; i < run->nr_clients; i++) {
		struct session *session = run->clients[i].session;

		arrivals += session->loaded;
		if (run->mode == COUNT)
			reference[i] = session;
		else
			munmap(session, sizeof(*session));
	}
	runs[run->mode]++;
	points[run->mode] += run->kills;
	printf("crash: %s %s %u: %u deaths\n", info->name, mode_names[run->mode],
	       run->n, run->kills);
}

static int one_run(enum mode mode, unsigned n, bool other, uint64_t seed)
{
	struct run run = {
		.kind = kind_of(info->name), .mode = mode, .n = n,
		.other = other, .random = seed | 1, .seed = seed,
		.nr_clients = info->clients,
		.is_brief = mode == CALLS && is_early(n, other),
	};
	int r;

	start(&run);
	trace(&run);
	alarm(0);
	r = judge(&run);
	if (!r)
		folder_remove(run.folder);
	take_account(&run);
	return r;
}

/* -- all runs ------------------------------------------------------------ */

/* How a server begins is in the other kinds. */
static unsigned most_calls(unsigned *all)
{
	unsigned first = kind_of(info->name) == ARRIVAL ? EARLY : 1, most = 0;

	*all = 0;
	for (unsigned op = 1; op < MAX_OPS; op++) {
		*all += calls_of[0][op] + calls_of[1][op];
		if (op >= first && calls_in(op, false) > most)
			most = calls_in(op, false);
	}
	return most < MAX_CALLS ? most : MAX_CALLS;
}

static unsigned steps_with(unsigned calls, bool other)
{
	unsigned n = 0;

	for (unsigned op = 1; op < MAX_OPS; op++)
		n += calls_in(op, other) >= calls;
	return n;
}

/* A number that has not been drawn, each as often as its weight says. */
static unsigned draw(unsigned *weights, unsigned most, uint64_t *random)
{
	uint64_t all = 0, at;

	for (unsigned n = 0; n < most; n++)
		all += weights[n];
	if (!all)
		return most;
	at = next_random(random) % all;
	for (unsigned n = 0; n < most; n++) {
		if (at < weights[n]) {
			weights[n] = 0;
			return n;
		}
		at -= weights[n];
	}
	abort();
}

static bool is_due(enum mode mode, unsigned i)
{
	unsigned every = info->every[mode];

	return every && i % every == every / 2 &&
	       (!only_mode || !strcmp(only_mode, mode_names[mode]));
}

/* The numbers of calls of the first thread that has so many, then the others'. */
static int all_runs(unsigned most, time_t end, uint64_t seed)
{
	static unsigned weights[2 * MAX_CALLS];
	uint64_t random = seed | 1;
	int r = 0;

	for (unsigned n = 0; n < 2 * most; n++)
		weights[n] = steps_with(1 + n % most, n >= most);
	for (unsigned i = 0; !r && time(NULL) < end; i++) {
		unsigned n = draw(weights, 2 * most, &random);

		if (n == 2 * most)
			break;
		for (enum mode mode = CALLS; mode < NR_MODES && !r; mode++)
			if (is_due(mode, i) && time(NULL) < end)
				r = one_run(mode, 1 + n % most, n >= most,
					    seed * 77 + i * 8 + mode);
	}
	return r;
}

static void tell(void)
{
	for (enum mode mode = CALLS; mode < NR_MODES; mode++)
		if (runs[mode])
			printf("crash: %s: %s: %u deaths in %u sessions\n",
			       info->name, mode_names[mode], points[mode],
			       runs[mode]);
	printf("crash: %s: %u migrations came in whole\n", info->name, arrivals);
}

static void forget(void)
{
	memset(calls_of, 0, sizeof(calls_of));
	memset(points, 0, sizeof(points));
	memset(runs, 0, sizeof(runs));
	memset(reference, 0, sizeof(reference));
	arrivals = 0;
}

static int one_kind(time_t end, uint64_t seed)
{
	uint64_t steps = 0;
	unsigned all, most;
	int r;

	forget();
	r = one_run(COUNT, 0, false, seed);
	if (r)
		return r;
	most = most_calls(&all);
	for (unsigned i = 0; i < info->clients; i++)
		steps += reference[i]->op;
	printf("crash: %s: %llu steps, %u calls entered or left, at most %u in "
	       "one\n", info->name, (unsigned long long)steps, all, most);
	r = all_runs(most, end, seed);
	tell();
	return r;
}

static int all_kinds(unsigned seconds, uint64_t seed)
{
	unsigned share = 0;
	time_t begin = time(NULL);
	int r = 0;

	info = threads > 1 ? more_threads : one_thread;
	for (; info->name && !r; info++) {
		share += info->share;
		if (only_kind && strcmp(only_kind, info->name))
			continue;
		if (only_kind)
			share = 100;
		r = one_kind(begin + (seconds ? seconds * share / 100 :
				      1000000), seed);
	}
	return r;
}

static const char *word(int argc, char **argv, int i)
{
	return i < argc && strcmp(argv[i], "-") ? argv[i] : NULL;
}

int main(int argc, char **argv)
{
	const char *seconds, *seed;

	if (argc > 2 && !strcmp(argv[1], "--threads")) {
		threads = (unsigned)atoi(argv[2]);
		argc -= 2;
		argv += 2;
	}
	if (argc < 2 || threads < 1 || threads > 9) {
		fprintf(stderr, "crash [--threads N] OUTBOARD "
			"[SECONDS [SEED [MODE [KIND]]]]\n");
		return 2;
	}
	outboard = argv[1];
	seconds = word(argc, argv, 2);
	seed = word(argc, argv, 3);
	only_mode = word(argc, argv, 4);
	only_kind = word(argc, argv, 5);
	setvbuf(stdout, NULL, _IOLBF, 0);
	return all_kinds(seconds ? (unsigned)atoi(seconds) : 100,
			 seed ? strtoull(seed, NULL, 0) : 1);
}
