// SPDX-License-Identifier: BSD-3-Clause
/*
 * What keeper and workers give up together.
 *
 * A filter lasts through fork and exec, so whatever the keeper may not do its
 * workers may not either, and a filter that allowed the keeper its thirty
 * calls would leave workers without a server.  So this one refuses what none of
 * them needs and what an intruder would like: other processes' memory, the
 * kernel's programs and modules, mounts, keys.  They fail with EPERM, so that a
 * library that only tries goes on.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "keeper/impl.h"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#else
#define ARCH 0
#endif

#define REFUSE(name) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), \
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

static const struct sock_filter filter[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		 offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
		 offsetof(struct seccomp_data, nr)),
	REFUSE(ptrace), REFUSE(process_vm_readv), REFUSE(process_vm_writev),
	REFUSE(bpf), REFUSE(perf_event_open), REFUSE(userfaultfd),
	REFUSE(init_module), REFUSE(finit_module), REFUSE(delete_module),
	REFUSE(kexec_load), REFUSE(reboot), REFUSE(mount), REFUSE(umount2),
	REFUSE(pivot_root), REFUSE(chroot), REFUSE(setns), REFUSE(unshare),
	REFUSE(swapon), REFUSE(swapoff), REFUSE(add_key), REFUSE(request_key),
	REFUSE(keyctl), REFUSE(open_by_handle_at), REFUSE(acct),
	REFUSE(quotactl), REFUSE(personality), REFUSE(settimeofday),
	REFUSE(clock_settime), REFUSE(sethostname), REFUSE(setdomainname),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

/* The leak check of the sanitizers looks at its process by ptrace. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OB_SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define OB_SANITIZED 1
#endif
#ifndef OB_SANITIZED
#define OB_SANITIZED 0
#endif

void ob_confine(void)
{
	const struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = (struct sock_filter *)filter,
	};

	if (OB_SANITIZED)
		return;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    (ARCH && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)))
		SAY(DEBUG, "no system call filter: %s", strerror(errno));
}
