// SPDX-License-Identifier: BSD-3-Clause
/*
 * The table is static because the handler may use nothing else: it runs
 * between any two instructions, so it takes no lock and allocates nothing.
 *
 * A slot's `guard` pointer is what makes it live.  It is stored last when a
 * range is added and cleared first when one is removed, and the thread that
 * removes a range is the one that uses it, so the handler never sees a guard
 * whose owner is gone: another thread's slot may change while it is looked at,
 * but what is found is looked at twice, and the faulting thread's own stands still.
 *
 * The page that faulted is replaced by anonymous memory with MAP_FIXED,
 * which is one system call and async-signal-safe.  The memory is private:
 * what a peer cut away, it does not get back.  A mapping of huge pages cannot
 * be replaced in part; then the whole range goes.
 */
#include <base/guard.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The protocol's 65,535 maps and some of our own. */
#define GUARD_SLOTS	(65536 + 4096)

struct slot {
	_Atomic uintptr_t addr;
	_Atomic size_t len;
	struct ob_guard *_Atomic guard;
};

atomic_uint ob_guard_losses;

static struct slot slots[GUARD_SLOTS];
static _Atomic int slots_used;		/* all live ones are below */
static int first_free;			/* none is free below; under the lock */
static uintptr_t page_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct ob_guard *find(uintptr_t addr)
{
	int used = slots_used;

	for (int i = 0; i < used; i++) {
		struct ob_guard *guard = slots[i].guard;
		uintptr_t start = slots[i].addr;

		if (guard && addr - start < slots[i].len &&
		    slots[i].addr == start && slots[i].guard == guard)
			return guard;
	}
	return NULL;
}

/* What goes to it is a guest's all the same, so no core dump has it (R32). */
static bool replace(void *addr, size_t len)
{
	if (mmap(addr, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		 -1, 0) == MAP_FAILED)
		return false;
	madvise(addr, len, MADV_DONTDUMP);
	return true;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;
	uintptr_t page = addr & ~(page_size - 1);
	struct ob_guard *guard = NULL;
	int saved = errno;

	(void)context;
	/* A SIGBUS that somebody sent carries no address. */
	if (info->si_code > 0)
		guard = find(addr);
	if (guard && (replace((void *)page, page_size) ||
		      replace(guard->addr, guard->len))) {
		atomic_store(&guard->lost, true);
		atomic_fetch_add(&ob_guard_losses, 1);
	} else {
		/* The instruction runs again and dies of what it did. */
		signal(sig, SIG_DFL);
		if (info->si_code <= 0)
			raise(sig);
	}
	errno = saved;
}

int ob_guard_start(void)
{
	struct sigaction act = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO,
	};

	page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
	sigemptyset(&act.sa_mask);
	return sigaction(SIGBUS, &act, NULL) < 0 ? -errno : 0;
}

static int claim_slot(void)
{
	int i;

	for (i = first_free; i < GUARD_SLOTS; i++)
		if (!slots[i].guard)
			break;
	if (i == GUARD_SLOTS)
		return -ENOSPC;
	first_free = i + 1;
	if (i >= slots_used)
		slots_used = i + 1;
	return i;
}

int ob_guard_add(struct ob_guard *guard)
{
	int i;

	pthread_mutex_lock(&lock);
	i = claim_slot();
	guard->slot = i;
	if (i >= 0) {
		atomic_store(&guard->lost, false);
		slots[i].addr = (uintptr_t)guard->addr;
		slots[i].len = guard->len;
		slots[i].guard = guard;
	}
	pthread_mutex_unlock(&lock);
	return i < 0 ? i : 0;
}

void ob_guard_remove(struct ob_guard *guard)
{
	int used, i = guard->slot;

	/* One that was never added, or is already removed. */
	if (i < 0 || slots[i].guard != guard)
		return;
	pthread_mutex_lock(&lock);
	slots[i].guard = NULL;
	if (i < first_free)
		first_free = i;
	for (used = slots_used; used && !slots[used - 1].guard; used--)
		;
	slots_used = used;
	guard->slot = -1;
	pthread_mutex_unlock(&lock);
}
