// SPDX-License-Identifier: BSD-3-Clause
/* RULES R7: memory that a peer cuts. */
#include "unit.h"

#include <base/fd.h>
#include <base/guard.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 4

struct shared {
	struct ob_guard guard;
	volatile unsigned char *bytes;
	size_t page;
	int fd;
};

static void map_shared(struct shared *s)
{
	memset(s, 0, sizeof(*s));
	/* Here, because cmocka puts its own handler around each test. */
	assert_int_equal(ob_guard_start(), 0);
	s->page = (size_t)sysconf(_SC_PAGESIZE);
	s->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(s->fd, (off_t)(PAGES * s->page)), 0);
	s->guard.len = PAGES * s->page;
	s->guard.addr = mmap(NULL, s->guard.len, PROT_READ | PROT_WRITE,
			     MAP_SHARED, s->fd, 0);
	assert_ptr_not_equal(s->guard.addr, MAP_FAILED);
	s->bytes = s->guard.addr;
	memset(s->guard.addr, 0x5a, s->guard.len);
}

static void unmap_shared(struct shared *s)
{
	munmap(s->guard.addr, s->guard.len);
	ob_fd_close(&s->fd);
}

static void test_r7_truncated_memory_reads_as_zeros_and_is_told(void **state)
{
	struct shared s;

	(void)state;
	map_shared(&s);
	assert_int_equal(ob_guard_add(&s.guard), 0);
	assert_int_equal(s.bytes[0], 0x5a);
	assert_false(s.guard.lost);
	assert_int_equal(ftruncate(s.fd, (off_t)s.page), 0);
	assert_int_equal(s.bytes[0], 0x5a);
	assert_false(s.guard.lost);
	assert_int_equal(s.bytes[2 * s.page + 5], 0);
	assert_true(s.guard.lost);
	ob_guard_remove(&s.guard);
	unmap_shared(&s);
}

static void test_r7_writes_to_truncated_memory_live(void **state)
{
	struct shared s;

	(void)state;
	map_shared(&s);
	assert_int_equal(ob_guard_add(&s.guard), 0);
	assert_int_equal(ftruncate(s.fd, 0), 0);
	/* A copy over every page of it, as a transfer does. */
	memset(s.guard.addr, 1, s.guard.len);
	assert_true(s.guard.lost);
	assert_int_equal(s.bytes[0], 1);
	assert_int_equal(s.bytes[PAGES * s.page - 1], 1);
	ob_guard_remove(&s.guard);
	unmap_shared(&s);
}

static void test_r7_only_the_range_that_faulted_is_lost(void **state)
{
	struct shared cut, whole;

	(void)state;
	map_shared(&cut);
	map_shared(&whole);
	assert_int_equal(ob_guard_add(&cut.guard), 0);
	assert_int_equal(ob_guard_add(&whole.guard), 0);
	assert_int_equal(ftruncate(cut.fd, 0), 0);
	assert_int_equal(cut.bytes[0], 0);
	assert_true(cut.guard.lost);
	assert_int_equal(whole.bytes[0], 0x5a);
	assert_false(whole.guard.lost);
	ob_guard_remove(&cut.guard);
	/* The slot is used again; the other range still has its own. */
	ob_guard_remove(&cut.guard);
	assert_int_equal(ftruncate(whole.fd, 0), 0);
	assert_int_equal(whole.bytes[0], 0);
	assert_true(whole.guard.lost);
	ob_guard_remove(&whole.guard);
	unmap_shared(&cut);
	unmap_shared(&whole);
}

/* How a child that runs `die` ends: the signal, or 0. */
static int death_of(void (*die)(struct shared *s), struct shared *s)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		const struct rlimit no_core = { 0, 0 };

		setrlimit(RLIMIT_CORE, &no_core);
		die(s);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void touch_cut_memory(struct shared *s)
{
	if (ftruncate(s->fd, 0) < 0)
		_exit(1);
	s->bytes[0] = 1;
}

static void send_sigbus(struct shared *s)
{
	(void)s;
	raise(SIGBUS);
}

static void test_a_fault_elsewhere_kills(void **state)
{
	struct shared s, other;

	(void)state;
	map_shared(&s);
	map_shared(&other);
	assert_int_equal(ob_guard_add(&other.guard), 0);
	assert_int_equal(death_of(touch_cut_memory, &s), SIGBUS);
	assert_int_equal(death_of(send_sigbus, &s), SIGBUS);
	ob_guard_remove(&other.guard);
	unmap_shared(&s);
	unmap_shared(&other);
}

static void test_a_removed_range_is_guarded_no_more(void **state)
{
	struct shared s;

	(void)state;
	map_shared(&s);
	assert_int_equal(ob_guard_add(&s.guard), 0);
	ob_guard_remove(&s.guard);
	assert_int_equal(death_of(touch_cut_memory, &s), SIGBUS);
	unmap_shared(&s);
}

/* As many as the protocol's maps; the table ends, and with an error. */
static void test_the_table_holds_65536_ranges_and_then_refuses(void **state)
{
	enum { TRIES = 80000 };
	struct ob_guard *guards = calloc(TRIES, sizeof(*guards));
	struct shared s;
	int added = 0;

	(void)state;
	assert_non_null(guards);
	map_shared(&s);
	while (added < TRIES && !ob_guard_add(&guards[added]))
		added++;
	assert_in_range(added, 65536, TRIES - 1);
	assert_int_equal(ob_guard_add(&s.guard), -ENOSPC);
	ob_guard_remove(&guards[1000]);
	assert_int_equal(ob_guard_add(&s.guard), 0);
	assert_int_equal(ftruncate(s.fd, 0), 0);
	assert_int_equal(s.bytes[0], 0);
	assert_true(s.guard.lost);
	ob_guard_remove(&s.guard);
	for (int i = 0; i < added; i++)
		ob_guard_remove(&guards[i]);
	unmap_shared(&s);
	free(guards);
}

static void test_memfds_cannot_be_cut_by_who_gets_them(void **state)
{
	int fd = ob_memfd_create("bar", 8192);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 8192);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(ftruncate(fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	ob_fd_close(&fd);
	assert_int_equal(fd, -1);
	assert_int_equal(ob_memfd_create("bar", -1), -EINVAL);
}

/* Whether the mapping at addr stays out of core dumps, as smaps tells. */
static bool is_left_out_of_dumps(const volatile void *addr)
{
	unsigned long first, last;
	bool here = false, left_out = false;
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &first, &last) == 2)
			here = first <= (unsigned long)addr &&
				(unsigned long)addr < last;
		else if (here && !strncmp(line, "VmFlags:", 8))
			left_out = strstr(line, " dd");
	}
	fclose(file);
	return left_out;
}

/* What we copy to a lost page is still the guest's. */
static void test_r32_lost_pages_stay_out_of_core_dumps(void **state)
{
	struct shared s;

	(void)state;
	map_shared(&s);
	assert_int_equal(madvise(s.guard.addr, s.guard.len, MADV_DONTDUMP), 0);
	assert_int_equal(ob_guard_add(&s.guard), 0);
	assert_true(is_left_out_of_dumps(&s.bytes[s.page]));
	assert_int_equal(ftruncate(s.fd, 0), 0);
	s.bytes[s.page] = 1;
	assert_true(s.guard.lost);
	assert_true(is_left_out_of_dumps(&s.bytes[s.page]));
	ob_guard_remove(&s.guard);
	unmap_shared(&s);
}

static void test_fds_are_closed_once_and_errno_survives(void **state)
{
	int fds[3] = { dup(0), -1, dup(0) }, first = fds[0], taken;

	(void)state;
	taken = ob_fd_take(&fds[0]);
	assert_int_equal(taken, first);
	assert_int_equal(fds[0], -1);
	errno = EXDEV;
	ob_fds_close(fds, 3);
	assert_int_equal(fds[2], -1);
	ob_fds_close(fds, 3);
	assert_int_equal(errno, EXDEV);
	assert_int_equal(fcntl(taken, F_GETFD), 0);
	ob_fd_close(&taken);
	assert_int_equal(fcntl(first, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_r7_truncated_memory_reads_as_zeros_and_is_told),
		cmocka_unit_test(test_r7_writes_to_truncated_memory_live),
		cmocka_unit_test(test_r7_only_the_range_that_faulted_is_lost),
		cmocka_unit_test(test_a_fault_elsewhere_kills),
		cmocka_unit_test(test_a_removed_range_is_guarded_no_more),
		cmocka_unit_test(
			test_the_table_holds_65536_ranges_and_then_refuses),
		cmocka_unit_test(test_r32_lost_pages_stay_out_of_core_dumps),
		cmocka_unit_test(test_memfds_cannot_be_cut_by_who_gets_them),
		cmocka_unit_test(test_fds_are_closed_once_and_errno_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
