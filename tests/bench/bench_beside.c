// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_beside CPU CPU SECONDS: how long a message of a register access takes to
 * somebody on the first CPU who does nothing but copy random blocks of 4 KiB, sixteen
 * at a time, and looks for messages in between.  Two thousand a second, from the second
 * CPU, which waits for each without sleeping.
 *
 * No server with a full queue answers sooner: where a hypervisor takes its processors
 * away for a tenth of a millisecond, some hundred times a second, that is the answer's
 * time in one of a hundred.  Prints as `outboard bench` does, in microseconds.
 */
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hist.h"

#define BLOCK		4096u
#define BLOCKS		(256u << 10)
#define BUFFERS		128u
#define SHARE		16u
#define EVERY_NS	500000u
#define QUESTION	32	/* bytes */
#define ANSWER		36

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("bench_beside: CPU");
}

static char *memory(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fail("bench_beside: memory");
	return at;
}

static void copy_some(char *to, const char *from, uint64_t *random)
{
	for (unsigned i = 0; i < SHARE; i++) {
		*random ^= *random << 13;
		*random ^= *random >> 7;
		*random ^= *random << 17;
		memcpy(to + (*random >> 40) % BUFFERS * BLOCK,
		       from + *random % BLOCKS * BLOCK, BLOCK);
	}
}

/* Says when it has begun, and ends with its parent. */
static void copy(int fd)
{
	char *from = memory((size_t)BLOCKS * BLOCK);
	char *to = memory((size_t)BUFFERS * BLOCK), message[64];
	uint64_t random = 88172645463325252u;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(from, 1, (size_t)BLOCKS * BLOCK);
	if (send(fd, "", 1, 0) != 1)
		exit(1);
	for (;;) {
		copy_some(to, from, &random);
		if (recv(fd, message, sizeof(message), MSG_DONTWAIT) > 0)
			send(fd, message, ANSWER, MSG_DONTWAIT);
	}
}

static void ask(int fd, struct hist *hist)
{
	char message[64] = { 0 };
	uint64_t start = now_ns();

	if (send(fd, message, QUESTION, 0) != QUESTION)
		fail("bench_beside: send");
	while (recv(fd, message, sizeof(message), MSG_DONTWAIT) <= 0)
		;
	hist_add(hist, now_ns() - start);
}

static void measure(int fd, double seconds, struct hist *hist)
{
	uint64_t now = now_ns(), next = now;
	uint64_t end = now + (uint64_t)(seconds * 1e9);

	for (; now < end; now = now_ns()) {
		if (now < next)
			continue;
		ask(fd, hist);
		next = now + EVERY_NS;
	}
}

int main(int argc, char **argv)
{
	static struct hist hist;
	char begun;
	int fds[2];
	pid_t child;

	if (argc < 4)
		return 2;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		fail("bench_beside: sockets");
	child = fork();
	pin(atoi(argv[child ? 2 : 1]));
	if (!child)
		copy(fds[1]);
	if (child < 0 || recv(fds[0], &begun, 1, 0) != 1)
		fail("bench_beside: the other side");
	measure(fds[0], atof(argv[3]), &hist);
	kill(child, SIGKILL);
	printf("{\"p50\": %.1f, \"p99\": %.1f}\n",
	       (double)hist_percentile(&hist, 0.5) / 1e3,
	       (double)hist_percentile(&hist, 0.99) / 1e3);
	return 0;
}
