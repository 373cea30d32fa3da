// SPDX-License-Identifier: BSD-3-Clause
/*
 * Drives whose process is killed: what the next one finds (heirs.h has the
 * keeper).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/record.h"
#include "heirs.h"

#define BLOCK 4096u
#define PER_LIFE 8u	/* blocks */

struct bench {
	struct rig rig;
	struct heirs heirs;
	char spec[200];
};

static void start(struct bench *b, void **state, const char *spec)
{
	rig_start(&b->rig, state);
	if (!spec) {
		rig_make_image(&b->rig, rig_disk(), MIB);
		snprintf(b->spec, sizeof(b->spec), "file:%s", b->rig.path);
		spec = b->spec;
	}
	heirs_start(&b->heirs, &b->rig, spec);
}

static void stop(struct bench *b)
{
	rig_close(&b->rig);
	heirs_stop(&b->heirs);
	rig_stop(&b->rig);
}

static void nothing(struct heirs *heirs, struct rig *rig, void *arg)
{
	(void)heirs;
	(void)rig;
	(void)arg;
}

/* Half of a life's blocks are written, the rest is in flight when it dies. */
static void write_and_die(struct heirs *heirs, struct rig *rig, void *arg)
{
	uint64_t base = (heirs->nr_lives - 1) * PER_LIFE * BLOCK;
	uint8_t *buf = page_alloc(BLOCK);
	struct io io[PER_LIFE];
	unsigned i;

	(void)arg;
	memset(buf, heirs->nr_lives, BLOCK);
	for (i = 0; i < PER_LIFE / 2; i++)
		if (io_write(rig, base + i * BLOCK, BLOCK, buf))
			_exit(9);
	for (; i < PER_LIFE; i++)
		io_start(rig, &io[i], OB_BLOCK_WRITE, 0, base + i * BLOCK,
			 BLOCK, buf);
	ob_loop_turn(rig->loop, false);	/* they are in the kernel now */
	heirs_die();
}

static void check_lives(struct rig *rig, unsigned lives)
{
	uint8_t *buf = page_alloc(BLOCK);

	for (unsigned i = 0; i < lives * PER_LIFE; i++) {
		uint8_t mark = i / PER_LIFE + 1;

		assert_int_equal(io_read(rig, i * BLOCK, BLOCK, buf), 0);
		if (i % PER_LIFE < PER_LIFE / 2 || buf[0])
			assert_true(all_bytes_are(buf, mark, BLOCK));
		else
			assert_true(all_bytes_are(buf, 0, BLOCK));
	}
	free(buf);
}

/*
 * Somebody who wants the image all the time, in the way of QEMU's programs:
 * takes the locks for "read" and "write", then looks for others.
 */
struct rival {
	atomic_uint tries, successes;
	atomic_bool enough;
	pid_t pid;
	int fd;
};

static bool sees_lock(int fd, off_t byte)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			    .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_GETLK, &fl) || fl.l_type != F_UNLCK;
}

static void rival_try(struct rival *rival)
{
	static const off_t mine[] = { 100, 101, 201, 203 };
	static const off_t theirs[] = { 101, 103, 200, 201 };
	struct flock fl = { .l_type = F_RDLCK, .l_whence = SEEK_SET,
			    .l_len = 1 };
	bool refused = false;

	for (unsigned i = 0; i < 4; i++) {
		fl.l_start = mine[i];
		refused |= fcntl(rival->fd, F_OFD_SETLK, &fl) != 0;
	}
	for (unsigned i = 0; i < 4; i++)
		refused |= sees_lock(rival->fd, theirs[i]);
	fl = (struct flock){ .l_type = F_UNLCK, .l_whence = SEEK_SET };
	fcntl(rival->fd, F_OFD_SETLK, &fl);
	rival->successes += !refused;
	rival->tries++;
}

static struct rival *rival_start(struct bench *b)
{
	struct rival *rival = heirs_shared(sizeof(*rival));

	rival->fd = open(b->rig.path, O_RDWR | O_CLOEXEC);
	assert_true(rival->fd >= 0);
	rival->pid = fork();
	assert_true(rival->pid >= 0);
	if (rival->pid)
		return rival;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	heirs_stop(&b->heirs);		/* its copies of what is kept */
	while (!rival->enough)
		rival_try(rival);
	_exit(0);
}

static void rival_waits(struct rival *rival, unsigned tries)
{
	unsigned from = rival->tries;

	while (rival->tries - from < tries)
		usleep(1000);
}

static void rival_stop(struct rival *rival)
{
	rival->enough = true;
	waitpid(rival->pid, NULL, 0);
	close(rival->fd);
	munmap(rival, sizeof(*rival));
}

/* The operator replaces the file; the disk is still the one it was. */
static void replace_path(struct rig *rig)
{
	char other[sizeof(rig->path) + 4];
	int fd;

	snprintf(other, sizeof(other), "%s.new", rig->path);
	fd = open(other, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 2 * MIB), 0);
	close(fd);
	assert_int_equal(rename(other, rig->path), 0);
}

#define LIVES 24u

static void test_r28_a_lock_is_never_free_while_workers_die(void **state)
{
	struct rival *rival;
	struct bench b;

	start(&b, state, NULL);
	heirs_live(&b.heirs, write_and_die, NULL);
	rival = rival_start(&b);
	for (unsigned i = 1; i < LIVES; i++) {
		if (i == LIVES / 2)
			replace_path(&b.rig);
		rival_waits(rival, 2);
		heirs_live(&b.heirs, write_and_die, NULL);
	}
	heirs_must_open(&b.heirs, &b.rig);
	check_lives(&b.rig, LIVES);
	assert_int_equal(ob_drive_info(b.rig.drive)->size, MIB);
	rival_waits(rival, 10);
	assert_int_equal(rival->successes, 0);

	/* Closed for good, it is free. */
	rig_close(&b.rig);
	rival_waits(rival, 10);
	assert_int_equal(rival->successes, 0);
	heirs_stop(&b.heirs);
	while (!rival->successes)
		usleep(1000);
	rival_stop(rival);
	stop(&b);
}

static void wrappers_pass_the_keep_on(void **state)
{
	char spec[260];
	struct bench b;

	start(&b, state, NULL);
	snprintf(spec, sizeof(spec), "delay:0:fault:read=EIO@1020K-1M:%s",
		 b.spec);
	b.heirs.spec = spec;
	heirs_live(&b.heirs, write_and_die, NULL);
	assert_int_equal(heirs_nr_kept(&b.heirs), 2);	/* image, record */
	replace_path(&b.rig);
	heirs_live(&b.heirs, write_and_die, NULL);
	heirs_must_open(&b.heirs, &b.rig);
	check_lives(&b.rig, 2);
	stop(&b);
}

static void descriptors_stay_flat(void **state)
{
	static const char *const specs[] = { NULL, "delay:0:mem:1M", "null:1M" };
	static const unsigned lives[] = { 200, 20, 10 };

	for (unsigned i = 0; i < 3; i++) {
		unsigned fds = 0, names = 0;
		struct bench b;

		start(&b, state, specs[i]);
		for (unsigned life = 0; life < lives[i]; life++) {
			heirs_live(&b.heirs, nothing, NULL);
			heirs_must_open(&b.heirs, &b.rig);
			rig_close(&b.rig);
			if (!life) {
				fds = count_fds();
				names = heirs_nr_kept(&b.heirs);
			}
		}
		assert_int_equal(count_fds(), fds);
		assert_int_equal(heirs_nr_kept(&b.heirs), names);
		stop(&b);
	}
}

static void the_content_of_mem_survives(void **state)
{
	struct bench b;

	start(&b, state, "mem:1M");
	for (unsigned i = 0; i < 4; i++)
		heirs_live(&b.heirs, write_and_die, NULL);
	heirs_must_open(&b.heirs, &b.rig);
	check_lives(&b.rig, 4);
	assert_true(all_bytes_are(ob_drive_info(b.rig.drive)->memory, 1,
				  PER_LIFE * BLOCK));
	stop(&b);
}

/* A move in and one out, and neither came to its end. */
static void stage_and_die(struct heirs *heirs, struct rig *rig, void *arg)
{
	uint8_t buf[BLOCK];

	(void)heirs;
	memset(buf, 0x77, sizeof(buf));
	if (ob_drive_track(rig->drive, true) ||
	    ob_drive_stage_begin(rig->drive) ||
	    ob_drive_stage_put(rig->drive, 0, buf, sizeof(buf)))
		_exit(9);
	if (arg && ob_drive_stage_commit(rig->drive))
		_exit(10);
	heirs_die();
}

static void a_stage_counts_from_its_commit(void **state)
{
	struct ob_drive_run run;
	struct bench b;

	start(&b, state, "delay:0:mem:1M");
	heirs_live(&b.heirs, write_and_die, NULL);
	heirs_live(&b.heirs, stage_and_die, NULL);
	heirs_must_open(&b.heirs, &b.rig);
	check_lives(&b.rig, 1);
	assert_false(ob_drive_take(b.rig.drive, BLOCK, &run));
	assert_int_equal(ob_drive_stage_commit(b.rig.drive), -EINVAL);
	rig_close(&b.rig);

	heirs_live(&b.heirs, stage_and_die, &b);
	heirs_must_open(&b.heirs, &b.rig);
	assert_true(ob_drive_track(b.rig.drive, true) == 0);
	assert_true(ob_drive_take(b.rig.drive, MIB, &run));
	assert_int_equal(run.offset, 0);
	assert_int_equal(run.length, BLOCK);
	assert_true(all_bytes_are(run.data, 0x77, BLOCK));
	stop(&b);
}

/* Hand-over. */

static bool anybody_locks(const struct rig *rig)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(rig->path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
	close(fd);
	return fl.l_type != F_UNLCK;
}

static void release_and_die(struct heirs *heirs, struct rig *rig, void *arg)
{
	(void)heirs;
	(void)arg;
	if (ob_drive_release(rig->drive, NULL))
		_exit(9);
}

/* Cut off between the note and the unlocking. */
static void begin_release_and_die(struct heirs *heirs, struct rig *rig,
				  void *arg)
{
	(void)heirs;
	(void)arg;
	if (ob_record_note_active(rig->drive, false))
		_exit(9);
}

static void acquire_and_die(struct heirs *heirs, struct rig *rig, void *arg)
{
	(void)heirs;
	(void)arg;
	if (ob_drive_is_active(rig->drive) ||
	    ob_drive_acquire(rig->drive, NULL))
		_exit(9);
}

static void is_away(struct bench *b)
{
	uint8_t buf[BLOCK] = { 0 };

	heirs_must_open(&b->heirs, &b->rig);
	assert_int_equal(ob_drive_recall(b->rig.drive, NULL), 0);
	assert_false(ob_drive_is_active(b->rig.drive));
	assert_int_equal(io_write(&b->rig, 0, BLOCK, buf), -ESHUTDOWN);
	rig_close(&b->rig);
}

static void is_ours(struct bench *b)
{
	uint8_t buf[BLOCK] = { 0 };

	heirs_must_open(&b->heirs, &b->rig);
	assert_true(ob_drive_is_active(b->rig.drive));
	assert_int_equal(io_write(&b->rig, 0, BLOCK, buf), 0);
	rig_close(&b->rig);
}

static void hand_over(struct bench *b, bool locks)
{
	heirs_live(&b->heirs, release_and_die, NULL);
	is_away(b);
	heirs_live(&b->heirs, nothing, NULL);
	is_away(b);
	if (locks)
		assert_false(anybody_locks(&b->rig));
	heirs_live(&b->heirs, acquire_and_die, NULL);
	is_ours(b);
	heirs_live(&b->heirs, begin_release_and_die, NULL);
	/* Beside a predecessor that is about to get it nothing is unlocked. */
	heirs_must_open(&b->heirs, &b->rig);
	if (locks)
		assert_true(anybody_locks(&b->rig));
	rig_close(&b->rig);
	is_away(b);
	if (locks)
		assert_false(anybody_locks(&b->rig));
	heirs_live(&b->heirs, acquire_and_die, NULL);
	is_ours(b);
	if (locks)
		assert_true(anybody_locks(&b->rig));
}

static void test_r26_a_drive_that_was_handed_over_stays_so(void **state)
{
	static const char *const specs[] = {
		NULL, "mem:1M", "null:1M", "delay:0:mem:1M",
	};

	for (unsigned i = 0; i < 4; i++) {
		struct bench b;

		start(&b, state, specs[i]);
		hand_over(&b, !specs[i]);
		stop(&b);
	}
}

/* The command line still says incoming; the record knows better. */
static void incoming_counts_for_the_first_life_only(void **state)
{
	struct bench b;

	start(&b, state, NULL);
	b.heirs.flags = OB_DRIVE_INCOMING;
	heirs_live(&b.heirs, nothing, NULL);
	is_away(&b);
	assert_false(anybody_locks(&b.rig));
	heirs_live(&b.heirs, acquire_and_die, NULL);
	is_ours(&b);
	assert_true(anybody_locks(&b.rig));
	stop(&b);
}

/* Sizes: a death is no refresh. */

static void grow(struct rig *rig, uint64_t size)
{
	assert_int_equal(truncate(rig->path, size), 0);
}


static void grow_only(struct heirs *heirs, struct rig *rig, void *arg)
{
	(void)heirs;
	(void)rig;
	grow((struct rig *)arg, 2 * MIB + 1);
}

static void has_size(struct bench *b, uint64_t size)
{
	heirs_must_open(&b->heirs, &b->rig);
	assert_int_equal(ob_drive_info(b->rig.drive)->size, size);
	rig_close(&b->rig);
}

static void the_size_is_what_the_guest_was_told(void **state)
{
	uint8_t *buf = page_alloc(BLOCK);
	struct bench b;

	start(&b, state, NULL);
	heirs_live(&b.heirs, grow_only, &b.rig);
	has_size(&b, MIB);
	/* What lies behind is nobody's to punch. */
	grow(&b.rig, 3 * MIB);
	heirs_must_open(&b.heirs, &b.rig);
	assert_int_equal(ob_drive_refresh(b.rig.drive, NULL), 0);
	rig_close(&b.rig);
	has_size(&b, 3 * MIB);

	grow(&b.rig, 2 * MIB);
	heirs_must_open(&b.heirs, &b.rig);
	assert_int_equal(ob_drive_info(b.rig.drive)->size, 3 * MIB);
	assert_int_equal(io_read(&b.rig, 0, BLOCK, buf), 0);
	assert_int_equal(io_read(&b.rig, 2 * MIB, BLOCK, buf), -EIO);
	stop(&b);
	free(buf);
}

static void opening_again_writes_nothing_behind_the_size(void **state)
{
	uint8_t buf[64 * 1024], back[sizeof(buf)];
	struct bench b;
	int fd;

	start(&b, state, NULL);
	heirs_live(&b.heirs, nothing, NULL);
	rnd_fill(buf, sizeof(buf));
	fd = open(b.rig.path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, buf, sizeof(buf), MIB), sizeof(buf));
	heirs_must_open(&b.heirs, &b.rig);
	assert_int_equal(ob_drive_info(b.rig.drive)->size, MIB);
	assert_int_equal(pread(fd, back, sizeof(back), MIB), sizeof(back));
	assert_memory_equal(buf, back, sizeof(buf));
	close(fd);
	stop(&b);
}

/* What does not fit together is refused, and nothing is changed by that. */

static void refuses(struct bench *b, int errnum, const char *why)
{
	unsigned kept = heirs_nr_kept(&b->heirs);
	struct ob_err err = { 0 };

	assert_int_equal(heirs_open(&b->heirs, &b->rig, &err), -errnum);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" instead of \"%s\"", err.msg, why);
	assert_null(b->rig.drive);
	assert_int_equal(heirs_nr_kept(&b->heirs), kept);
}

static void another_drive_is_refused(void **state)
{
	struct bench b;

	start(&b, state, NULL);
	heirs_live(&b.heirs, nothing, NULL);
	b.heirs.spec = "mem:1M";
	refuses(&b, EINVAL, "mem:1M: the device that goes on has another drive");
	b.heirs.spec = b.spec;
	b.heirs.flags = OB_DRIVE_READONLY;
	refuses(&b, EINVAL, "is not read-only");
	b.heirs.flags = 0;
	is_ours(&b);
	stop(&b);
}

static void drop(struct bench *b, const char *name)
{
	b->heirs.ops.drop(&b->heirs.ops, name);
}

static void what_is_gone_is_not_made_anew(void **state)
{
	struct bench b;

	start(&b, state, NULL);
	heirs_live(&b.heirs, nothing, NULL);
	drop(&b, "disk0/drive/0/image");
	refuses(&b, ENOENT, "its image was not kept");
	stop(&b);

	start(&b, state, "mem:1M");
	heirs_live(&b.heirs, nothing, NULL);
	drop(&b, "disk0/drive/0/memory");
	refuses(&b, ENOENT, "its content was not kept");
	stop(&b);
}

/* Every byte of the fixed part, every value that differs in one bit. */
static void test_r25_a_damaged_record_is_refused_or_harmless(void **state)
{
	struct ob_err err = { 0 };
	struct bench b;
	uint8_t byte, bad;
	int fd;

	start(&b, state, "mem:1M");
	heirs_live(&b.heirs, nothing, NULL);
	fd = b.heirs.ops.get(&b.heirs.ops, "disk0/drive/0/record");
	assert_true(fd >= 0);
	for (unsigned bit = 0; bit < 24 * 8; bit++) {
		assert_int_equal(pread(fd, &byte, 1, bit / 8), 1);
		bad = byte ^ 1u << bit % 8;
		assert_int_equal(pwrite(fd, &bad, 1, bit / 8), 1);
		if (!heirs_open(&b.heirs, &b.rig, &err)) {
			assert_int_equal(ob_drive_info(b.rig.drive)->size, MIB);
			rig_close(&b.rig);
		}
		assert_int_equal(pwrite(fd, &byte, 1, bit / 8), 1);
	}
	close(fd);
	is_ours(&b);
	stop(&b);
}

/* Killed before it had written its record: as if it had not been. */
static void a_drive_without_a_record_is_opened_as_new(void **state)
{
	struct bench b;

	start(&b, state, NULL);
	heirs_live(&b.heirs, write_and_die, NULL);
	drop(&b, "disk0/drive/0/record");
	heirs_live(&b.heirs, nothing, NULL);
	heirs_must_open(&b.heirs, &b.rig);
	check_lives(&b.rig, 1);
	stop(&b);
}

static void a_first_open_that_fails_keeps_nothing(void **state)
{
	struct bench b;

	start(&b, state, NULL);
	grow(&b.rig, 100);
	assert_int_equal(heirs_open(&b.heirs, &b.rig, NULL), -EINVAL);
	assert_int_equal(heirs_nr_kept(&b.heirs), 0);
	assert_false(anybody_locks(&b.rig));
	stop(&b);
}

/* Beside a predecessor who is still at work, and after it. */

static int status_flags(struct bench *b)
{
	int fd = b->heirs.ops.get(&b->heirs.ops, "disk0/drive/0/image");
	int flags = fcntl(fd, F_GETFL);

	close(fd);
	return flags;
}

static void opening_beside_a_living_one_disturbs_nothing(void **state)
{
	uint8_t *buf = page_alloc(BLOCK);
	struct bench b, heir;
	int flags;

	start(&b, state, NULL);
	heirs_must_open(&b.heirs, &b.rig);
	flags = status_flags(&b);
	/* Not what it would choose, but what it finds. */
	heir = b;
	heirs_must_open(&b.heirs, &heir.rig);
	assert_int_equal(status_flags(&b), flags);
	memset(buf, 5, BLOCK);
	assert_int_equal(io_write(&b.rig, 0, BLOCK, buf), 0);

	assert_int_equal(ob_drive_release(b.rig.drive, NULL), 0);
	grow(&b.rig, 2 * MIB);
	assert_int_equal(ob_drive_recall(heir.rig.drive, NULL), 0);
	assert_false(ob_drive_is_active(heir.rig.drive));
	assert_int_equal(ob_drive_acquire(b.rig.drive, NULL), 0);
	rig_close(&b.rig);

	assert_int_equal(ob_drive_recall(heir.rig.drive, NULL), 0);
	assert_true(ob_drive_is_active(heir.rig.drive));
	assert_int_equal(ob_drive_info(heir.rig.drive)->size, 2 * MIB);
	assert_true(anybody_locks(&b.rig));
	b.rig.drive = heir.rig.drive;
	assert_int_equal(io_read(&b.rig, 0, BLOCK, buf), 0);
	assert_true(all_bytes_are(buf, 5, BLOCK));
	stop(&b);
	free(buf);
}

static void a_recall_sees_content_that_was_replaced(void **state)
{
	struct ob_drive *heir;
	uint8_t buf[BLOCK];
	const void *memory;
	struct bench b;

	start(&b, state, "mem:1M");
	heirs_must_open(&b.heirs, &b.rig);
	heir = b.rig.drive;
	heirs_must_open(&b.heirs, &b.rig);
	memset(buf, 6, sizeof(buf));
	assert_int_equal(ob_drive_stage_begin(b.rig.drive), 0);
	assert_int_equal(ob_drive_stage_put(b.rig.drive, 0, buf, BLOCK), 0);
	assert_int_equal(ob_drive_stage_commit(b.rig.drive), 0);
	rig_close(&b.rig);
	b.rig.drive = heir;
	memory = ob_drive_info(heir)->memory;
	assert_int_equal(ob_drive_recall(heir, NULL), 0);
	assert_ptr_equal(ob_drive_info(heir)->memory, memory);
	assert_true(all_bytes_are(memory, 6, BLOCK));
	stop(&b);
}

/*
 * When its ring is over, or, with threads instead, as soon as the process is
 * gone, what the image holds it holds for ever.  Small writes that follow each other
 * are fewer requests of the kernel.
 */
static void fill_and_die(struct heirs *heirs, struct rig *rig, void *arg)
{
	uint64_t piece = heirs->nr_lives % 3 ? 64 * KIB : 4 * KIB;
	uint8_t *buf = page_alloc(piece);
	struct io io[MIB / (4 * KIB)];

	(void)arg;
	memset(buf, heirs->nr_lives, piece);
	for (unsigned i = 0; i < MIB / piece; i++)
		io_start(rig, &io[i], OB_BLOCK_WRITE, 0, i * piece, piece, buf);
	ob_loop_turn(rig->loop, false);
	if (heirs->nr_lives % 2)
		usleep(rnd() % 300);
	heirs_die();
}

static void test_r26_no_write_comes_after_the_end(void **state)
{
	uint8_t *then = malloc(MIB), *now = malloc(MIB);
	struct bench b;
	int fd;

	start(&b, state, NULL);
	fd = open(b.rig.path, O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < 40; i++) {
		heirs_live(&b.heirs, fill_and_die, NULL);
		assert_int_equal(pread(fd, then, MIB, 0), MIB);
		fdatasync(fd);
		sched_yield();
		assert_int_equal(pread(fd, now, MIB, 0), MIB);
		assert_memory_equal(then, now, MIB);
	}
	close(fd);
	free(then);
	free(now);
	stop(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(test_r28_a_lock_is_never_free_while_workers_die),
		ON_BOTH_ENGINES(wrappers_pass_the_keep_on),
		ON_BOTH_ENGINES(descriptors_stay_flat),
		ON_BOTH_ENGINES(the_content_of_mem_survives),
		ON_BOTH_ENGINES(a_stage_counts_from_its_commit),
		ON_BOTH_ENGINES(test_r26_a_drive_that_was_handed_over_stays_so),
		ON_BOTH_ENGINES(incoming_counts_for_the_first_life_only),
		ON_BOTH_ENGINES(the_size_is_what_the_guest_was_told),
		ON_BOTH_ENGINES(opening_again_writes_nothing_behind_the_size),
		ON_BOTH_ENGINES(another_drive_is_refused),
		ON_BOTH_ENGINES(what_is_gone_is_not_made_anew),
		ON_BOTH_ENGINES(test_r25_a_damaged_record_is_refused_or_harmless),
		ON_BOTH_ENGINES(a_drive_without_a_record_is_opened_as_new),
		ON_BOTH_ENGINES(a_first_open_that_fails_keeps_nothing),
		ON_BOTH_ENGINES(opening_beside_a_living_one_disturbs_nothing),
		ON_BOTH_ENGINES(a_recall_sees_content_that_was_replaced),
		ON_BOTH_ENGINES(test_r26_no_write_comes_after_the_end),
	};

	return cmocka_run_group_tests_name("drives and death", tests, NULL,
					   NULL);
}
