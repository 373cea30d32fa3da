// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the filters refuse, call by call; and what a worker may all the same.
 * Each in a process of its own, since a filter lasts.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../base/unit.h"
#include "keeper/impl.h"

/* The first that was not refused, counted from 1; 0: all were. */
#define REFUSES(call) do { \
	n++; \
	errno = 0; \
	if ((long)(call) != -1 || errno != EPERM) \
		return n; \
} while (0)

static int refused_to_all(void)
{
	int n = 0;

	REFUSES(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
	REFUSES(syscall(SYS_bpf, 0, NULL, 0));
	REFUSES(syscall(SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0));
	REFUSES(syscall(SYS_unshare, CLONE_NEWUSER));
#if defined(__x86_64__)
	REFUSES(syscall(0x40000000 | SYS_getpid));
#endif
	return 0;
}

static int refused_to_the_keeper(void)
{
	char *const argv[] = { (char *)"true", NULL };
	int n = 0, fd = 0;

	REFUSES(open("/dev/null", O_RDONLY));
	REFUSES(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
	REFUSES(execve("/bin/true", argv, NULL));
	REFUSES(syscall(SYS_execveat, fd, "", argv, NULL, AT_EMPTY_PATH));
	REFUSES(socket(AF_UNIX, SOCK_STREAM, 0));
	REFUSES(socket(AF_INET, SOCK_STREAM, 0));
	REFUSES(mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	REFUSES(mprotect((void *)refused_to_the_keeper, 1, PROT_WRITE));
	REFUSES(fcntl(fd, F_SETFD, 0));
	REFUSES(dup2(fd, 1));
	REFUSES(kill(getppid(), SIGTERM));
	REFUSES(unlink("/nobody/was/here"));
	REFUSES(syscall(SYS_io_uring_setup, 1, NULL));
	REFUSES(syscall(SYS_seccomp, 0, 0, NULL));
	return refused_to_all() ? 100 + refused_to_all() : 0;
}

static int allowed_to_the_keeper(void)
{
	int pair[2], fd = memfd_create("x", 0), value;
	socklen_t len = sizeof(value);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		return 1;
	ob_confine_keeper();
	if (fcntl(fd, F_SETFL, O_NONBLOCK) || write(pair[0], "x", 1) != 1 ||
	    recv(pair[1], &value, 1, MSG_DONTWAIT) != 1 || close(fd) ||
	    getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &value, &len))
		return 2;
	return 0;
}

static int as_keeper(void)
{
	ob_confine_keeper();
	return refused_to_the_keeper();
}

static int as_worker(void)
{
	pid_t pid;
	int status;

	if (refused_to_all())
		return refused_to_all();
	if (open("/dev/null", O_RDONLY) < 0 ||
	    socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		return 101;
	pid = fork();
	if (!pid)
		_exit(execl("/bin/true", "true", (char *)NULL));
	return waitpid(pid, &status, 0) != pid || status ? 102 : 0;
}

static void ends_well(int (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (OB_SANITIZED)
		skip();
	if (!pid) {
		ob_confine_all();
		_exit(body());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_r34_what_is_refused_to_the_keeper(void **state)
{
	(void)state;
	ends_well(as_keeper);
}

static void what_the_keeper_may(void **state)
{
	(void)state;
	ends_well(allowed_to_the_keeper);
}

static void what_a_worker_may(void **state)
{
	(void)state;
	ends_well(as_worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r34_what_is_refused_to_the_keeper),
		cmocka_unit_test(what_the_keeper_may),
		cmocka_unit_test(what_a_worker_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
