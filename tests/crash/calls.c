// SPDX-License-Identifier: BSD-3-Clause
/*
 * What crash safety costs in system calls, batch by batch: nothing
 * (docs/crash-safety.md).
 *
 *	calls OUTBOARD
 *
 * The same batches are sent to a server with its keeper and to one without,
 * each from the moment the server sleeps to the moment it sleeps again.  The
 * process that serves runs under ptrace, which counts.  A batch is some register
 * reads, or some commands behind one doorbell, told by one interrupt; doorbells
 * are messages, because one that polls asks its socket as often as time allows.
 *
 * Of each load the least count is compared: one that comes a moment later than
 * it could (a message, a completion) costs a turn more, whoever serves.  A disk
 * that is busy for the whole of a run is asked again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <linux/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <outboard/client.h>

#include "child.h"
#include "folder.h"
#include "nvme_user.h"

#define BATCHES 60u
#define COUNTED (BATCHES - 1)	/* the last is followed by the end */
#define TRIES 3
#define FIRST 4u		/* not counted: until everything is warm */
#define MAX_DEPTH 16u
#define BLOCK 4096u
#define PATIENCE_NS 30000000000ull

struct load {
	const char *name, *drive;	/* "": the file */
	uint8_t opcode;
	unsigned depth;			/* 0: register reads */
	bool posted;			/* doorbells are one-way messages */
};

static const struct load loads[] = {
	{ "4 register reads", "null:1M", 0, 0, false },
	{ "1 read of memory", "mem:1M", NVME_USER_READ, 1, false },
	{ "16 reads of memory", "mem:1M", NVME_USER_READ, 16, false },
	{ "16 writes to memory", "mem:1M", NVME_USER_WRITE, 16, false },
	{ "16 requests of a drive", "null:1M", NVME_USER_WRITE, 16, false },
	{ "1 read of a file", "", NVME_USER_READ, 1, false },
	/* A doorbell of the submission queue, one of the completion queue. */
	{ "16 reads, told one-way", "mem:1M", NVME_USER_READ, 16, true },
	{ "1 read of a file, one-way", "", NVME_USER_READ, 1, true },
};
#define NR_LOADS (sizeof(loads) / sizeof(loads[0]))

enum side { KEPT, ALONE, NR_SIDES };
static const char *const side_names[NR_SIDES] = { "keeper", "no keeper" };

/* What the client's thread and the counting one tell each other. */
struct run {
	const struct load *load;
	const char *outboard;
	char folder[FOLDER_ROOM];
	struct child server;
	pid_t worker;
	bool waits;			/* the worker is in a call that sleeps */
	unsigned calls;
	unsigned counts[BATCHES];
	atomic_uint asked, done;	/* batches */
	atomic_bool ended;
	int result;			/* the client's, with err */
	struct ob_err err;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
}

static int late(struct run *run, const char *what)
{
	return ob_fail(&run->err, ETIMEDOUT, "%s", what);
}

/* -- the client -------------------------------------------------------- */

static int read_registers(struct run *run, struct ob_client *client)
{
	uint32_t value;
	int r = 0;

	for (unsigned i = 0; i < 4 && !r; i++)
		r = ob_client_read(client, 0, 8, &value, sizeof(value),
				   &run->err);
	return r;
}

static int commands(struct run *run, struct nvme_user *nvme)
{
	struct nvme_user_queue *q = &nvme->queues[0];
	unsigned left = run->load->depth;
	struct nvme_user_done done[MAX_DEPTH];
	uint64_t end = now_ns() + PATIENCE_NS;
	int n, r;

	for (unsigned i = 0; i < left; i++)
		nvme_user_submit(q, i, run->load->opcode,
				 i * (BLOCK / nvme->lba_size),
				 BLOCK / nvme->lba_size);
	r = nvme_user_ring(q, &run->err);
	while (!r && left) {
		n = nvme_user_poll(q, done, MAX_DEPTH, &run->err);
		r = n < 0 ? n : 0;
		left -= n > 0 ? (unsigned)n : 0;
		if (!n && now_ns() > end)
			r = late(run, "commands do not end");
	}
	return r;
}

static int one_batch(struct run *run, struct ob_client *client,
		     struct nvme_user *nvme)
{
	uint64_t end = now_ns() + PATIENCE_NS;
	int r;

	while (atomic_load(&run->asked) <= atomic_load(&run->done)) {
		if (now_ns() > end)
			return late(run, "the server does not come to rest");
		nap();
	}
	r = run->load->depth ? commands(run, nvme) :
	    read_registers(run, client);
	atomic_fetch_add(&run->done, 1);
	return r;
}

static int converse(struct run *run, struct ob_client *client)
{
	const struct nvme_user_params params = {
		.queues = 1, .depth = MAX_DEPTH, .buffer_size = BLOCK,
		.nsid = 1, .interrupts = true,
	};
	struct nvme_user *nvme = NULL;
	int r = nvme_user_open(client, &params, &nvme, &run->err);

	if (!r && !run->load->posted)
		nvme->how = NVME_USER_ANSWERED;
	for (unsigned i = 0; i < BATCHES && !r; i++)
		r = one_batch(run, client, nvme);
	nvme_user_close(r ? NULL : nvme);
	return r;
}

static void *client_main(void *arg)
{
	struct ob_client_params params = { .timeout_ms = 20000 };
	struct run *run = arg;
	struct ob_client *client = NULL;

	run->result = ob_client_connect(run->server.path, &params, &client,
					&run->err);
	if (!run->result)
		run->result = converse(run, client);
	ob_client_destroy(client);
	atomic_store(&run->ended, true);
	return NULL;
}

/* -- the server -------------------------------------------------------- */

static void make_image(const struct run *run, char path[FOLDER_ROOM + 8])
{
	char data[BLOCK] = { 0 };
	int fd;

	snprintf(path, FOLDER_ROOM + 8, "%s/image", run->folder);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	for (unsigned i = 0; fd >= 0 && i < 256; i++)
		if (write(fd, data, BLOCK) != BLOCK)
			abort();
	close(fd);
}

static int start_server(struct run *run, enum side side)
{
	struct child_options options = {
		.outboard = run->outboard, .folder = run->folder,
		.name = "calls", .options = {
			"--watchdog", "0", side == ALONE ? "--no-keeper" : NULL,
		},
	};
	char image[FOLDER_ROOM + 8], device[160];

	make_image(run, image);
	snprintf(device, sizeof(device), "nvme,doorbells=trapped,drive=%s%s",
		 *run->load->drive ? run->load->drive : "file:",
		 *run->load->drive ? "" : image);
	options.device = device;
	return child_start(&run->server, &options, &run->err);
}

/* -- counting ---------------------------------------------------------- */

static bool sleeps(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	if (f)
		fclose(f);
	return state == 'S';
}

/* A call that may sleep, of either of the loop's engines. */
static bool is_wait(const struct __ptrace_syscall_info *info)
{
	switch (info->entry.nr) {
	case SYS_io_uring_enter:
		return info->entry.args[2];
#ifdef SYS_epoll_wait
	case SYS_epoll_wait:
#endif
	case SYS_epoll_pwait:
		return true;
	default:
		return false;
	}
}

static void at_call(struct run *run)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, run->worker, sizeof(info), &info) <= 0)
		return;
	run->waits = info.op == PTRACE_SYSCALL_INFO_ENTRY && is_wait(&info);
	run->calls += info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

/* One stop of the worker, if there is one. */
static bool take_stop(struct run *run)
{
	int status, signo;

	if (waitpid(run->worker, &status, WNOHANG | __WALL) != run->worker)
		return false;
	if (!WIFSTOPPED(status)) {
		atomic_store(&run->ended, true);
		return true;
	}
	signo = WSTOPSIG(status);
	if (signo == (SIGTRAP | 0x80))
		at_call(run);
	if (signo == (SIGTRAP | 0x80) || status >> 16)
		signo = 0;
	ptrace(PTRACE_SYSCALL, run->worker, NULL, (void *)(long)signo);
	return true;
}

/* The worker sleeps, and the client has had everything that it asked for. */
static bool is_quiet(struct run *run)
{
	return atomic_load(&run->asked) == atomic_load(&run->done) &&
	       run->waits && sleeps(run->worker) && !take_stop(run) &&
	       run->waits;
}

static void count(struct run *run)
{
	unsigned asked = 0;

	while (!atomic_load(&run->ended)) {
		if (take_stop(run))
			continue;
		if (asked == BATCHES || !is_quiet(run)) {
			nap();
			continue;
		}
		if (asked)
			run->counts[asked - 1] = run->calls;
		run->calls = 0;
		asked++;
		atomic_store(&run->asked, asked);
	}
}

/* -- a run ------------------------------------------------------------- */

static bool trace(struct run *run, enum side side)
{
	run->worker = side == ALONE ? run->server.pid :
		child_worker(&run->server);
	return run->worker > 0 &&
	       !ptrace(PTRACE_SEIZE, run->worker, NULL,
		       (void *)(long)PTRACE_O_TRACESYSGOOD) &&
	       !ptrace(PTRACE_INTERRUPT, run->worker, NULL, NULL);
}

static unsigned least(const unsigned *counts)
{
	unsigned best = UINT_MAX;

	for (unsigned i = FIRST; i < COUNTED; i++)
		if (counts[i] < best)
			best = counts[i];
	return best;
}

/* Followed to its end, since it stops at its calls until somebody goes on. */
static void end_server(struct run *run)
{
	int status, signo;

	kill(run->server.pid, SIGTERM);
	while (waitpid(run->worker, &status, __WALL) == run->worker &&
	       WIFSTOPPED(status)) {
		signo = WSTOPSIG(status);
		if (signo == (SIGTRAP | 0x80) || status >> 16)
			signo = 0;
		ptrace(PTRACE_CONT, run->worker, NULL, (void *)(long)signo);
	}
	if (run->server.pid != run->worker)
		child_stop(&run->server);
}

/* The least count, or 0 and the reason is told. */
static unsigned one_run(const char *outboard, const struct load *load,
			enum side side)
{
	struct run run = { .load = load, .outboard = outboard };
	pthread_t client;

	folder_make(run.folder, "obcalls");
	if (start_server(&run, side) || !trace(&run, side) ||
	    pthread_create(&client, NULL, client_main, &run)) {
		fprintf(stderr, "calls: %s, %s: no server, or no tracing\n",
			load->name, side_names[side]);
		if (run.server.pid > 0)
			kill(run.server.pid, SIGKILL);
		return 0;
	}
	count(&run);
	pthread_join(client, NULL);
	end_server(&run);
	if (run.result) {
		fprintf(stderr, "calls: %s, %s: %s (log in %s)\n", load->name,
			side_names[side], run.err.msg, run.folder);
		return 0;
	}
	folder_remove(run.folder);
	return least(run.counts);
}

/* Prints, and says whether a keeper costs nothing. */
static bool compare(const char *outboard, const struct load *load)
{
	unsigned kept, alone = one_run(outboard, load, ALONE), again;

	kept = one_run(outboard, load, KEPT);
	for (int i = 0; i < TRIES && kept > alone; i++) {
		again = one_run(outboard, load, KEPT);
		kept = again < kept ? again : kept;
	}
	printf("%-24s %5u      %5u\n", load->name, kept, alone);
	fflush(stdout);
	return kept && alone && kept <= alone;
}

int main(int argc, char **argv)
{
	int r = 0;

	if (argc != 2) {
		fprintf(stderr, "calls OUTBOARD\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	printf("system calls for        keeper  no keeper\n");
	for (unsigned i = 0; i < NR_LOADS; i++)
		r |= !compare(argv[1], &loads[i]);
	return r;
}
