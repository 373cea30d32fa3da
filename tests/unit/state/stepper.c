// SPDX-License-Identifier: BSD-3-Clause
#include "stepper.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static void child(void (*run)(void *arg), void *arg)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
		_exit(1);
	raise(SIGSTOP);
	run(arg);
	_exit(0);
}

static bool stopped(pid_t pid)
{
	int status = 0;

	return waitpid(pid, &status, 0) == pid && WIFSTOPPED(status);
}

unsigned long stepper_run(void (*run)(void *arg), bool (*look)(void *arg),
			  void *arg)
{
	unsigned long steps = 0;
	pid_t pid = fork();

	if (pid < 0)
		abort();
	if (pid == 0)
		child(run, arg);
	while (stopped(pid)) {
		steps++;
		if (!look(arg)) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
			break;
		}
		if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0) < 0)
			abort();
	}
	return steps;
}
