// SPDX-License-Identifier: BSD-3-Clause
/* Who may touch a drive's blocks, and how that changes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "rig.h"

static struct ob_drive *open_incoming(struct rig *rig, const char *spec)
{
	struct ob_drive *drive;
	struct ob_err err = { 0 };

	if (ob_drive_open(rig->loop, spec, OB_DRIVE_INCOMING, &drive, &err))
		fail_msg("%s", err.msg);
	return drive;
}

static void start_with_image(struct rig *rig, void **state, char *spec,
			     size_t size)
{
	rig_start(rig, state);
	rig_make_image(rig, rig_disk(), MIB);
	snprintf(spec, size, "file:%s", rig->path);
}

/* Whether anybody has a lock on any byte of the image. */
static bool anybody_locks(const struct rig *rig)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(rig->path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
	close(fd);
	return fl.l_type != F_UNLCK;
}

static void fails_requests(struct rig *rig)
{
	uint8_t buf[4096] = { 0 };

	assert_false(ob_drive_is_active(rig->drive));
	assert_int_equal(io_read(rig, 0, 4096, buf), -ESHUTDOWN);
	assert_int_equal(io_write(rig, 0, 4096, buf), -ESHUTDOWN);
	assert_int_equal(io_run(rig, OB_BLOCK_DISCARD, 0, 0, 4096, NULL),
			 -ESHUTDOWN);
	assert_int_equal(io_run(rig, OB_BLOCK_WRITE_ZEROES, 0, 0, 4096, NULL),
			 -ESHUTDOWN);
	assert_int_equal(io_flush(rig), 0);
}

static void serves_requests(struct rig *rig)
{
	uint8_t buf[4096] = { 7 };

	assert_true(ob_drive_is_active(rig->drive));
	assert_int_equal(io_write(rig, 0, 4096, buf), 0);
	assert_int_equal(io_read(rig, 0, 4096, buf), 0);
	assert_int_equal(io_flush(rig), 0);
}

static void an_incoming_drive_serves_once_it_is_acquired(struct rig *rig,
							 const char *spec)
{
	rig->drive = open_incoming(rig, spec);
	fails_requests(rig);
	assert_int_equal(ob_drive_release(rig->drive, NULL), 0);
	fails_requests(rig);
	assert_int_equal(ob_drive_acquire(rig->drive, NULL), 0);
	serves_requests(rig);
	assert_int_equal(ob_drive_acquire(rig->drive, NULL), 0);
	serves_requests(rig);
	assert_int_equal(ob_drive_release(rig->drive, NULL), 0);
	fails_requests(rig);
	rig_close(rig);
}

static void every_type_is_handed_over(void **state)
{
	static const char *const around[] = {
		"", "delay:0:", "fault:read=EIO@512K-1M:",
		"delay:0:fault:read=EIO@512K-1M:",
	};
	char spec[300];
	struct rig rig;

	rig_start(&rig, state);
	rig_make_image(&rig, rig_disk(), MIB);
	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
		snprintf(spec, sizeof(spec), "%smem:1M", around[i]);
		an_incoming_drive_serves_once_it_is_acquired(&rig, spec);
		snprintf(spec, sizeof(spec), "%snull:1M", around[i]);
		an_incoming_drive_serves_once_it_is_acquired(&rig, spec);
		snprintf(spec, sizeof(spec), "%sfile:%s", around[i], rig.path);
		an_incoming_drive_serves_once_it_is_acquired(&rig, spec);
		rig_open(&rig, spec, false);
		serves_requests(&rig);
		rig_close(&rig);
	}
	rig_stop(&rig);
}

/* A frozen drive that is not ours does not keep a flush from ending. */
static void a_flush_of_an_inactive_frozen_drive_ends(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig.drive = open_incoming(&rig, "delay:hang:mem:1M");
	assert_int_equal(io_flush(&rig), 0);
	rig_stop(&rig);
}

static void test_r26_a_drive_with_a_request_under_way_is_kept(void **state)
{
	struct ob_err err = { 0 };
	uint8_t buf[512] = { 1 };
	struct rig rig;
	struct io io;

	rig_start(&rig, state);
	rig_open(&rig, "delay:5000:mem:1M", false);
	assert_int_equal(ob_drive_in_flight(rig.drive), 0);
	io_start(&rig, &io, OB_BLOCK_WRITE, 0, 0, 512, buf);
	assert_int_equal(ob_drive_in_flight(rig.drive), 1);
	assert_int_equal(ob_drive_release(rig.drive, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "requests under way: 1"));
	assert_true(ob_drive_is_active(rig.drive));
	assert_int_equal(io_wait(&rig, &io), 0);

	assert_int_equal(ob_drive_in_flight(rig.drive), 0);
	assert_int_equal(ob_drive_release(rig.drive, &err), 0);
	assert_int_equal(io_write(&rig, 0, 512, buf), -ESHUTDOWN);
	rig_stop(&rig);
}

static void an_incoming_image_is_not_locked_before_it_is_acquired(void **state)
{
	struct ob_drive *owner, *incoming;
	struct ob_err err = { 0 };
	char spec[160];
	struct rig rig;

	start_with_image(&rig, state, spec, sizeof(spec));
	incoming = open_incoming(&rig, spec);
	assert_false(anybody_locks(&rig));

	/* Somebody else comes first, and is not disturbed. */
	rig_open(&rig, spec, false);
	owner = rig.drive;
	assert_int_equal(ob_drive_acquire(incoming, NULL), -EBUSY);
	assert_int_equal(ob_drive_acquire(incoming, &err), -EBUSY);
	assert_non_null(strstr(err.msg, spec));
	assert_non_null(strstr(err.msg, "in use by another drive of this "
			       "server: it holds a lock on \"write\""));
	assert_false(ob_drive_is_active(incoming));
	serves_requests(&rig);

	/* A try that failed leaves nothing behind. */
	assert_int_equal(ob_drive_release(owner, &err), 0);
	assert_false(anybody_locks(&rig));
	assert_int_equal(ob_drive_acquire(incoming, &err), 0);
	assert_true(anybody_locks(&rig));
	assert_int_equal(ob_drive_acquire(owner, NULL), -EBUSY);
	fails_requests(&rig);

	/* Back, as after a migration that was cancelled. */
	ob_drive_close(incoming);
	assert_int_equal(ob_drive_acquire(owner, &err), 0);
	serves_requests(&rig);
	rig_stop(&rig);
}

static void what_was_written_meanwhile_is_read(void **state)
{
	uint8_t buf[4096], old[4096] = { 1 }, fresh[4096] = { 2 };
	struct ob_drive *incoming;
	char spec[160];
	struct rig rig;

	start_with_image(&rig, state, spec, sizeof(spec));
	rig_open(&rig, spec, false);
	assert_int_equal(io_write(&rig, 0, 4096, old), 0);
	incoming = open_incoming(&rig, spec);
	assert_int_equal(io_write(&rig, 0, 4096, fresh), 0);
	assert_int_equal(io_flush(&rig), 0);
	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	rig_close(&rig);
	assert_int_equal(ob_drive_acquire(incoming, NULL), 0);
	rig.drive = incoming;
	assert_int_equal(io_read(&rig, 0, 4096, buf), 0);
	assert_memory_equal(buf, fresh, 4096);
	rig_stop(&rig);
}

static void count(void *arg)
{
	(*(unsigned *)arg)++;
}

static void an_image_that_grew_meanwhile_has_its_new_size(void **state)
{
	char spec[200];
	unsigned resized = 0;
	struct rig rig;

	rig_start(&rig, state);
	rig_make_image(&rig, rig_disk(), MIB);
	snprintf(spec, sizeof(spec), "delay:0:file:%s", rig.path);
	rig.drive = open_incoming(&rig, spec);
	ob_drive_on_resize(rig.drive, count, &resized);
	assert_int_equal(truncate(rig.path, 2 * MIB), 0);
	assert_int_equal(ob_drive_info(rig.drive)->size, MIB);
	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	assert_int_equal(resized, 1);
	assert_int_equal(ob_drive_info(rig.drive)->size, 2 * MIB);

	assert_int_equal(ob_drive_release(rig.drive, NULL), 0);
	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	assert_int_equal(resized, 1);
	rig_stop(&rig);
}

static void an_image_that_was_spoilt_meanwhile_is_not_taken(void **state)
{
	struct ob_err err = { 0 };
	char spec[160];
	struct rig rig;

	start_with_image(&rig, state, spec, sizeof(spec));
	rig.drive = open_incoming(&rig, spec);
	assert_int_equal(truncate(rig.path, 1000), 0);
	assert_int_equal(ob_drive_acquire(rig.drive, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "its size, 1000 bytes, is no multiple"));
	assert_false(ob_drive_is_active(rig.drive));
	assert_false(anybody_locks(&rig));
	assert_int_equal(truncate(rig.path, MIB), 0);
	assert_int_equal(ob_drive_acquire(rig.drive, &err), 0);
	rig_stop(&rig);
}

/* The linker's --wrap puts this before the drive's own probing. */
static unsigned holes_punched;
int __real_fallocate64(int fd, int mode, off_t offset, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len);

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t len)
{
	holes_punched++;
	return __real_fallocate64(fd, mode, offset, len);
}

/* An owner may be growing its image; nothing is tried out behind its end. */
static void opening_as_incoming_changes_nothing(void **state)
{
	char spec[160];
	struct rig rig;

	start_with_image(&rig, state, spec, sizeof(spec));
	holes_punched = 0;
	rig.drive = open_incoming(&rig, spec);
	assert_int_equal(holes_punched, 0);
	assert_int_equal(ob_drive_acquire(rig.drive, NULL), 0);
	assert_int_not_equal(ob_drive_info(rig.drive)->discard_granularity, 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, MIB, NULL), 0);
	rig_stop(&rig);
}

static void drives_are_handed_over_one_by_one(void **state)
{
	struct rig one, two;
	char spec[160];

	start_with_image(&one, state, spec, sizeof(spec));
	rig_open_image(&one, false);
	start_with_image(&two, state, spec, sizeof(spec));
	rig_open_image(&two, false);
	assert_int_equal(ob_drive_release(one.drive, NULL), 0);
	assert_false(anybody_locks(&one));
	assert_true(anybody_locks(&two));
	fails_requests(&one);
	serves_requests(&two);
	assert_int_equal(ob_drive_acquire(one.drive, NULL), 0);
	serves_requests(&one);
	rig_stop(&one);
	rig_stop(&two);
}

static void readers_share_an_image_after_it_was_handed_over(void **state)
{
	struct ob_drive *second;
	char spec[160];
	struct rig rig;

	start_with_image(&rig, state, spec, sizeof(spec));
	rig_open(&rig, spec, true);
	assert_int_equal(ob_drive_open(rig.loop, spec, OB_DRIVE_READONLY |
				       OB_DRIVE_INCOMING, &second, NULL), 0);
	assert_int_equal(ob_drive_acquire(second, NULL), 0);
	assert_true(ob_drive_is_active(rig.drive));
	assert_true(ob_drive_is_active(second));
	ob_drive_close(second);
	rig_stop(&rig);
}

/*
 * Two processes want the same image, give it up as soon as they have it, and
 * want it again.
 */
#define ROUNDS 300

struct arena {
	atomic_uint inside, clashes, rounds[2];
};

static void nap(unsigned us)
{
	nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

static void play(struct ob_drive *drive, struct arena *arena, unsigned me)
{
	while (arena->rounds[me] < ROUNDS) {
		int r = ob_drive_acquire(drive, NULL);

		if (r == -EBUSY) {
			nap(20 + rnd() % 200);
			continue;
		}
		if (r || atomic_fetch_add(&arena->inside, 1))
			arena->clashes++;
		nap(rnd() % 100);
		arena->inside--;
		arena->rounds[me]++;
		if (ob_drive_release(drive, NULL))
			arena->clashes++;
		nap(rnd() % 100);
	}
}

static void fork_player(struct rig *rig, const char *spec,
			struct arena *arena, pid_t *pid)
{
	*pid = fork();
	assert_true(*pid >= 0);
	if (*pid)
		return;
	alarm(30);
	rnd();
	play(open_incoming(rig, spec), arena, 1);
	_exit(0);
}

static void test_r26_two_processes_never_have_an_image_at_once(void **state)
{
	struct arena *arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char spec[160];
	struct rig rig;
	int status;
	pid_t pid;

	assert_true(arena != MAP_FAILED);
	start_with_image(&rig, state, spec, sizeof(spec));
	fork_player(&rig, spec, arena, &pid);
	rig.drive = open_incoming(&rig, spec);
	play(rig.drive, arena, 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(arena->clashes, 0);
	assert_int_equal(arena->rounds[0], ROUNDS);
	assert_int_equal(arena->rounds[1], ROUNDS);
	rig_stop(&rig);
	munmap(arena, sizeof(*arena));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(every_type_is_handed_over),
		ON_BOTH_ENGINES(a_flush_of_an_inactive_frozen_drive_ends),
		ON_BOTH_ENGINES(test_r26_a_drive_with_a_request_under_way_is_kept),
		ON_BOTH_ENGINES(an_incoming_image_is_not_locked_before_it_is_acquired),
		ON_BOTH_ENGINES(what_was_written_meanwhile_is_read),
		ON_BOTH_ENGINES(an_image_that_grew_meanwhile_has_its_new_size),
		ON_BOTH_ENGINES(an_image_that_was_spoilt_meanwhile_is_not_taken),
		ON_BOTH_ENGINES(opening_as_incoming_changes_nothing),
		ON_BOTH_ENGINES(drives_are_handed_over_one_by_one),
		ON_BOTH_ENGINES(readers_share_an_image_after_it_was_handed_over),
		ON_BOTH_ENGINES(test_r26_two_processes_never_have_an_image_at_once),
	};

	return cmocka_run_group_tests_name("hand-over of drives", tests, NULL,
					   NULL);
}
