// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hist.h"
#include "vm.h"

#define BOOT_SECONDS 180u
#define SHELL_FD 3
#define MEMORY "384M"

static void run_qemu(const char *lab, const char *socket, const char *log)
{
	const char *accel = getenv("OUTBOARD_ACCEL");
	char qemu[256], kernel[256], initrd[256], console[256], device[512];
	const char *const argv[] = {
		qemu, "-accel", accel ? accel : "tcg",
		"-machine", "q35,memory-backend=mem", "-m", MEMORY,
		"-smp", "2", "-object",
		"memory-backend-memfd,id=mem,size=" MEMORY ",share=on",
		"-nodefaults", "-display", "none", "-chardev",
		"socket,id=shell,fd=3", "-serial", console, "-serial",
		"chardev:shell", "-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1", "-device", device,
		NULL
	};

	snprintf(qemu, sizeof(qemu), "%s/qemu", lab);
	snprintf(kernel, sizeof(kernel), "%s/vmlinuz", lab);
	snprintf(initrd, sizeof(initrd), "%s/initrd", lab);
	snprintf(console, sizeof(console), "file:%s", log);
	snprintf(device, sizeof(device), "{\"driver\":\"vfio-user-pci\","
		 "\"socket\":{\"type\":\"unix\",\"path\":\"%s\"}}", socket);
	execv(qemu, (char *const *)argv);
	fprintf(stderr, "%s: %s\n", qemu, strerror(errno));
	_exit(127);
}

static void become_qemu(int shell, const char *lab, const char *socket,
			const char *log)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, STDIN_FILENO);
	if (shell == SHELL_FD)
		fcntl(shell, F_SETFD, 0);
	else
		dup2(shell, SHELL_FD);
	run_qemu(lab, socket, log);
}

/* 0: there was more; -ETIMEDOUT, -ECHILD. */
static int hear(struct vm *vm, uint64_t end, char *text, size_t *got,
		size_t size)
{
	struct pollfd p = { .fd = vm->shell, .events = POLLIN };
	uint64_t now = now_ns();
	ssize_t n;

	if (now >= end || poll(&p, 1, (int)((end - now) / 1000000) + 1) == 0)
		return -ETIMEDOUT;
	/* What is too long loses its beginning. */
	if (*got > size / 2) {
		memmove(text, text + *got / 2, *got - *got / 2);
		*got -= *got / 2;
	}
	n = recv(vm->shell, text + *got, size - 1 - *got, 0);
	if (n <= 0)
		return -ECHILD;
	*got += (size_t)n;
	text[*got] = '\0';
	return 0;
}

/* Text up to the word, which is cut off; *rest: what follows the word. */
static int await(struct vm *vm, const char *word, unsigned seconds,
		 char *text, size_t size, char **rest, struct ob_err *err)
{
	uint64_t end = now_ns() + seconds * 1000000000ull;
	size_t got = 0;
	char *at;
	int r = 0;

	*text = '\0';
	while (!r && (!(at = strstr(text, word)) || !strchr(at, '\n')))
		r = hear(vm, end, text, &got, size);
	if (r)
		return ob_fail(err, -r, r == -ECHILD ? "QEMU ended" :
			       "the guest does not answer within %u s",
			       seconds);
	*at = '\0';
	*rest = at + strlen(word);
	return 0;
}

int vm_boot(struct vm *vm, const char *lab, const char *socket,
	    const char *log, struct ob_err *err)
{
	char text[4096], *rest;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return ob_fail(err, errno, "socketpair: %s", strerror(errno));
	*vm = (struct vm){ .shell = pair[0] };
	vm->pid = fork();
	if (vm->pid == 0)
		become_qemu(pair[1], lab, socket, log);
	close(pair[1]);
	if (vm->pid < 0)
		return ob_fail(err, errno, "fork: %s", strerror(errno));
	return await(vm, "AGENT-UP", BOOT_SECONDS, text, sizeof(text), &rest,
		     err);
}

int vm_run(struct vm *vm, const char *command, unsigned seconds, char *text,
	   size_t size, struct ob_err *err)
{
	char word[32], line[1024], *rest;
	int len, r, status;

	snprintf(word, sizeof(word), "END-OF-COMMAND-%u", ++vm->commands);
	len = snprintf(line, sizeof(line), "( %s\n) </dev/null 2>&1; s=$?; "
		       "echo; echo %s $s\n", command, word);
	if (len >= (int)sizeof(line) ||
	    send(vm->shell, line, (size_t)len, MSG_NOSIGNAL) != len)
		return ob_fail(err, EIO, "the guest's shell is gone");
	r = await(vm, word, seconds, text, size, &rest, err);
	if (r)
		return r;
	status = atoi(rest);
	return status ? ob_fail(err, ECHILD, "in the guest: status %d of "
				"'%.40s': %.120s", status, command, text) : 0;
}

int vm_off(struct vm *vm, struct ob_err *err)
{
	static const char off[] = "poweroff -f\n";
	int status = 0;

	if (send(vm->shell, off, sizeof(off) - 1, MSG_NOSIGNAL) < 0 ||
	    waitpid(vm->pid, &status, 0) != vm->pid)
		return ob_fail(err, errno, "QEMU: %s", strerror(errno));
	vm->pid = 0;
	close(vm->shell);
	return status ? ob_fail(err, ECHILD, "QEMU ended with status %#x",
				status) : 0;
}

void vm_kill(struct vm *vm)
{
	if (!vm->pid)
		return;
	kill(vm->pid, SIGKILL);
	waitpid(vm->pid, NULL, 0);
	close(vm->shell);
	vm->pid = 0;
}
