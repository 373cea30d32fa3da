// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the processes give up.
 *
 * A filter lasts through fork and exec, so there are two.  The first binds all:
 * what neither the keeper nor a worker needs and an intruder would like, such
 * as other processes' memory, the kernel's programs and modules, mounts, keys.
 * The second is the keeper's alone and names the few calls that it makes once
 * the midwives are there, who start workers in its place.  It opens no file,
 * makes no socket and no process, maps no memory.
 *
 * What is refused fails with EPERM and is told to the audit log.  It does not
 * kill: the keeper's death is that of all devices, so a call that was forgotten
 * here, or that another C library makes, must be an error in the log and no
 * more; and an intruder gains nothing by an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper/impl.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define FIRST_FOREIGN 0x40000000	/* x32: the same calls by other numbers */
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#define FIRST_FOREIGN 0x40000000
#else
#define ARCH 0
#define FIRST_FOREIGN 0
#endif

#define DATA(member) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define EQUALS(value, yes, no) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
/* Its tests run with one that kills, so that they show what was forgotten. */
#ifndef OB_KEEPER_REFUSAL
#define OB_KEEPER_REFUSAL (SECCOMP_RET_ERRNO | EPERM)
#endif
#define ALLOWED BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define REFUSED BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

/* Leaves the number of the call to those that follow. */
#define BEGIN \
	DATA(arch), EQUALS(ARCH, 1, 0), REFUSED, DATA(nr), \
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, FIRST_FOREIGN, 0, 1), REFUSED
#define REFUSE(name) EQUALS(SYS_##name, 0, 1), REFUSED
#define ALLOW(name) EQUALS(SYS_##name, 0, 1), ALLOWED

static const struct sock_filter all[] = {
	BEGIN,
	REFUSE(ptrace), REFUSE(process_vm_readv), REFUSE(process_vm_writev),
	REFUSE(bpf), REFUSE(perf_event_open), REFUSE(userfaultfd),
	REFUSE(init_module), REFUSE(finit_module), REFUSE(delete_module),
	REFUSE(kexec_load), REFUSE(reboot), REFUSE(mount), REFUSE(umount2),
	REFUSE(pivot_root), REFUSE(chroot), REFUSE(setns), REFUSE(unshare),
	REFUSE(swapon), REFUSE(swapoff), REFUSE(add_key), REFUSE(request_key),
	REFUSE(keyctl), REFUSE(open_by_handle_at), REFUSE(acct),
	REFUSE(quotactl), REFUSE(personality), REFUSE(settimeofday),
	REFUSE(clock_settime), REFUSE(sethostname), REFUSE(setdomainname),
	ALLOWED,
};

static const struct sock_filter keeper[] = {
	BEGIN,
	/* waiting */
#ifdef SYS_epoll_wait
	ALLOW(epoll_wait), ALLOW(poll),
#endif
	ALLOW(epoll_pwait), ALLOW(ppoll), ALLOW(epoll_ctl),
	ALLOW(restart_syscall),
	/* workers' words, the midwife's, signals; answers, the log */
	ALLOW(recvmsg), ALLOW(recvfrom), ALLOW(read),
	ALLOW(sendmsg), ALLOW(sendto), ALLOW(write),
	/* descriptors */
	ALLOW(close), ALLOW(eventfd2),
	/* clients */
	ALLOW(accept4), ALLOW(getsockopt), ALLOW(setitimer),
	ALLOW(rt_sigreturn),
	/* workers' lives */
	ALLOW(waitid), ALLOW(pidfd_send_signal), ALLOW(sched_setaffinity),
	ALLOW(clock_gettime), ALLOW(getcpu), ALLOW(exit_group),
	/* of fcntl one command: O_NONBLOCK on a listening socket */
	EQUALS(SYS_fcntl, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, OB_KEEPER_REFUSAL),
	DATA(args[1]), EQUALS(F_SETFL, 0, 1), ALLOWED,
	BPF_STMT(BPF_RET | BPF_K, OB_KEEPER_REFUSAL),
};

static void install(const struct sock_filter *filter, size_t size)
{
	const struct sock_fprog program = {
		.len = (unsigned short)(size / sizeof(*filter)),
		.filter = (struct sock_filter *)filter,
	};

	if (OB_SANITIZED != 0 || ARCH == 0)
		return;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    SECCOMP_FILTER_FLAG_LOG, &program))
		SAY(WARN, "no system call filter: %s", strerror(errno));
}

void ob_confine_all(void)
{
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	install(all, sizeof(all));
}

/*
 * Pages of programs that beginning took.  They are the files', and come again if
 * they are asked for; segments that may be written to have pages of our own.
 */
static int forget_pages(struct dl_phdr_info *object, size_t size, void *arg)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)arg;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		uintptr_t at = object->dlpi_addr + part->p_vaddr;

		if (part->p_type == PT_LOAD && !(part->p_flags & PF_W))
			madvise((void *)(at & -page), part->p_memsz + at % page,
				MADV_DONTNEED);
	}
	return 0;
}

void ob_confine_memory(void)
{
	dl_iterate_phdr(forget_pages, NULL);
}

void ob_confine_keeper(void)
{
	install(keeper, sizeof(keeper));
}
