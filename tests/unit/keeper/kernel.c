// SPDX-License-Identifier: BSD-3-Clause
/*
 * A filter asks a supervisor about each call (SECCOMP_RET_USER_NOTIF), which
 * has it made, or answers with an error in the kernel's place.  The supervisor
 * is a child and goes when this process does.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel.h"

#define MAX_CALLS 32

#define DATA(member) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))

static int ask_about(const int *nrs)
{
	struct sock_filter filter[4 + 2 * MAX_CALLS] = { DATA(nr) };
	struct sock_fprog program = { .filter = filter, .len = 1 };
	const struct sock_filter ask =
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);

	for (int i = 0; nrs[i] && i < MAX_CALLS; i++) {
		filter[program.len++] = (struct sock_filter)
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nrs[i], 0, 1);
		filter[program.len++] = ask;
	}
	filter[program.len++] = (struct sock_filter)
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

static ino_t program_of(pid_t pid)
{
	char path[40];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

static bool is_meant(const struct seccomp_notif *call,
		     const struct kernel_plan *plan)
{
	return plan->times && call->data.nr == plan->nr &&
		program_of((pid_t)call->pid) == program_of(getpid()) &&
		(call->data.nr != SYS_clone ||
		 call->data.args[0] & CLONE_PARENT) &&
		(call->data.nr != SYS_epoll_ctl ||
		 call->data.args[1] == EPOLL_CTL_ADD);
}

static void answer(int listener, struct kernel_plan *plan)
{
	struct seccomp_notif call = { 0 };
	struct seccomp_notif_resp reply = { 0 };

	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call))
		return;
	reply.id = call.id;
	reply.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	if (is_meant(&call, plan) && plan->skip) {
		plan->skip--;
	} else if (is_meant(&call, plan)) {
		if (plan->steal)
			close(accept((int)call.data.args[0], NULL, NULL));
		reply.flags = 0;
		reply.error = -plan->error;
		plan->times--;
		__atomic_fetch_add(&plan->failed, 1, __ATOMIC_SEQ_CST);
	}
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
}

/* Without the filter; shares our descriptors, so the listener is its own. */
static pid_t start_supervisor(const int *listener)
{
	pid_t parent = getpid(), pid;

	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL,
			     NULL, NULL);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent && !__atomic_load_n(listener,
						       __ATOMIC_SEQ_CST))
		poll(NULL, 0, 1);
	return 0;
}

bool kernel_fails(const int *nrs, struct kernel_plan *plan)
{
	pid_t pid = start_supervisor(&plan->listener);

	if (!pid && plan->listener > 0)
		for (;;)
			answer(plan->listener, plan);
	if (!pid)
		_exit(0);
	plan->listener = ask_about(nrs);
	return pid > 0 && plan->listener > 0;
}
