// SPDX-License-Identifier: BSD-3-Clause
/*
 * Deaths while a state that has come in is put in place: registers are of the old
 * state or of the new one, and whoever finds the old ones with content of the
 * new beside them has a failed device.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "life.h"
#include "rig_mig.h"

#define AREA 0x1000u		/* of the model's BAR0 */
#define FAILED 4711u

static int *dies;		/* shared with the lives: in loaded */
static struct stream stream;

static void load_dies(struct ob_device *dev)
{
	life_class.loaded(dev);
	if (!*dies)
		return;
	*dies = 0;
	kill(getpid(), SIGKILL);
}

static void go_bad(struct ob_device *dev)
{
	struct life_state *st = ob_dev_state(dev);

	st->sum = FAILED;
}

/* A copy of what is kept so. */
static int kept(struct life *life, const char *name)
{
	fake_keep_drain(&life->keep, life->told);
	for (unsigned i = 0; i < FAKE_NAMES; i++)
		if (life->keep.names[i].fd >= 0 &&
		    !strcmp(life->keep.names[i].name, name))
			return fcntl(life->keep.names[i].fd, F_DUPFD_CLOEXEC, 0);
	return -1;
}

static uint8_t *area_of(struct life *life)
{
	int fd = kept(life, "dev/bar/0");
	void *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, AREA);

	close(fd);
	return area;
}

/* Its registers say 5, and its memory A, in the stream; 6 and B before it comes. */
static struct life *begin_as(void (*fail)(struct ob_device *dev), uint8_t **area)
{
	static struct ob_device_class cls;
	struct life *life;

	cls = life_class;
	cls.loaded = load_dies;
	cls.fail = fail;
	life = life_start(&cls);
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	*area = area_of(life);
	assert_ptr_not_equal(*area, MAP_FAILED);
	memset(*area, 'A', 4096);
	assert_int_equal(life_put(life, LIFE_ADD, 5), 0);
	stream_free(&stream);
	rig_save(&life->rig, &stream);
	assert_int_equal(rig_mig_set(&life->rig, S_RUNNING), 0);
	assert_int_equal(life_put(life, LIFE_ADD, 1), 0);
	memset(*area, 'B', 4096);
	return life;
}

static struct life *begin(uint8_t **area)
{
	return begin_as(go_bad, area);
}

static void stop_dying(struct life *life)
{
	rig_mig_ask(&life->rig, S_STOP);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
}

static const char *const notes[] = { "dev/half/load", "dev/half" };
#define NR_NOTES 2u

static void is_whole(struct life *life)
{
	fake_keep_drain(&life->keep, life->told);
	for (unsigned i = 0; i < NR_NOTES; i++)
		assert_false(fake_keep_has(&life->keep, notes[i]));
}

/* Its memory is the new one's already. */
static void test_content_is_there(void **unused)
{
	uint8_t *area;
	struct life *life = begin(&area);

	(void)unused;
	rig_load(&life->rig, &stream);
	*dies = 1;
	stop_dying(life);
	assert_int_equal(life->rig.hdr.error, EIO);
	assert_int_equal(*area, 'A');
	assert_int_equal(life_get(life, LIFE_ADD), FAILED);
	/* Nor does it come to life by another death. */
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), FAILED);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	assert_int_equal(life_get(life, LIFE_ADD), 0);
	is_whole(life);
	/* And what comes in then is as ever. */
	rig_load(&life->rig, &stream);
	assert_int_equal(rig_mig_set(&life->rig, S_STOP), 0);
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 5);
	assert_int_equal(*area, 'A');
	is_whole(life);
	munmap(area, 4096);
	life_end(life);
}

/*
 * A model that cannot say that it failed: it stands still until a reset, however
 * often, and around whichever word to the keeper, its processes die.
 */
static void test_failed_ones_stay_failed(void **unused)
{
	uint8_t *area;
	struct life *life = begin_as(NULL, &area);
	struct { uint64_t offset; uint32_t region, count; uint64_t value; } scratch = {
		LIFE_SCRATCH, 0, 8, 0
	};
	unsigned runs, n = 1;

	(void)unused;
	rig_load(&life->rig, &stream);
	*dies = 1;
	stop_dying(life);
	runs = life->shared->runs;
	for (bool up = false; !up; n++) {
		life_kill(life);
		rig_send(&life->rig, REGION_WRITE, 0, &scratch, sizeof(scratch),
			 NULL, 0);
		life->shared->die_at_call = n;
		life_begin(life);
		up = life_goes_on(life);
		assert_true(rig_receive(&life->rig));
		assert_int_equal(life->shared->runs, runs);
	}
	assert_true(n > 4);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
	is_whole(life);
	munmap(area, 4096);
	life_end(life);
}

/* It runs again, as soon as nothing of the dead is under way. */
static void runs_since(struct life *life, unsigned runs)
{
	for (unsigned ms = 0; ms < 10000 && life->shared->runs == runs; ms++)
		poll(NULL, 0, 1);
	assert_true(life->shared->runs > runs);
}

/*
 * A reset leads it out of that, at whichever word to the keeper the process of the
 * reset dies: what was answered has happened.
 */
static void test_reset_and_death(void **unused)
{
	(void)unused;
	for (unsigned n = 1, up = 0; !up; n++) {
		uint8_t *area;
		struct life *life = begin_as(NULL, &area);
		unsigned runs;

		rig_load(&life->rig, &stream);
		*dies = 1;
		stop_dying(life);
		runs = life->shared->runs;
		life->shared->die_at_call = n;
		rig_send(&life->rig, RESET, 0, NULL, 0, NULL, 0);
		up = life_goes_on(life);
		assert_true(rig_receive(&life->rig));
		assert_int_equal(life->rig.hdr.error, 0);
		assert_int_equal(life_get(life, LIFE_ADD), 0);
		runs_since(life, runs);
		runs = life->shared->runs;
		life_again(life);
		assert_int_equal(life_get(life, LIFE_ADD), 0);
		runs_since(life, runs);
		is_whole(life);
		munmap(area, 4096);
		life_end(life);
	}
}

/* Another load, too: all of it, or it stands still as before. */
static void test_load_and_death(void **unused)
{
	(void)unused;
	for (unsigned n = 1, up = 0; !up; n++) {
		uint8_t *area;
		struct life *life = begin_as(NULL, &area);
		unsigned runs;

		rig_load(&life->rig, &stream);
		*dies = 1;
		stop_dying(life);
		runs = life->shared->runs;
		life_kill(life);
		life_connect(life);
		life_begin(life);
		assert_int_equal(rig_version(&life->rig, NULL), 0);
		rig_load(&life->rig, &stream);
		life->shared->die_at_call = n;
		rig_mig_ask(&life->rig, S_STOP);
		up = life_goes_on(life);
		assert_true(rig_receive(&life->rig));
		assert_true(!up || !life->rig.hdr.error);
		if (!life->rig.hdr.error) {
			assert_int_equal(life_get(life, LIFE_ADD), 5);
			assert_int_equal(rig_mig_set(&life->rig, S_RUNNING), 0);
		}
		assert_int_equal(life->shared->runs > runs, !life->rig.hdr.error);
		munmap(area, 4096);
		life_end(life);
	}
}

/* The name that older releases give it: it counts, and it goes. */
static void test_older_note(void **unused)
{
	uint8_t *area;
	struct life *life = begin(&area);

	(void)unused;
	rig_load(&life->rig, &stream);
	life_kill(life);
	fake_keep_drain(&life->keep, life->told);
	assert_int_equal(fake_keep_enter(&life->keep, "dev/half",
					 kept(life, "dev/state")), 0);
	life_begin(life);
	assert_int_equal(life_get(life, LIFE_ADD), FAILED);
	is_whole(life);
	munmap(area, 4096);
	life_end(life);
}

/* What the note has cannot be looked at: then it stays, and is looked at again. */
static void test_note_that_cannot_be_had(void **unused)
{
	uint8_t *area;
	struct life *life = begin(&area);

	(void)unused;
	rig_load(&life->rig, &stream);
	*dies = 1;
	rig_mig_ask(&life->rig, S_STOP);
	life_wait(life);
	life->keep.lost = notes[0];
	life_begin(life);
	life_judge(life);
	fake_keep_drain(&life->keep, life->told);
	assert_true(fake_keep_has(&life->keep, notes[0]));
	life->keep.lost = NULL;
	life_begin(life);
	assert_true(rig_receive(&life->rig));
	assert_int_equal(life_get(life, LIFE_ADD), FAILED);
	is_whole(life);
	munmap(area, 4096);
	life_end(life);
}

/* Of a load that a release without that name left behind it, whatever its life. */
static void leave_note(struct life *life, unsigned i)
{
	int fd = memfd_create("another state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	fake_keep_drain(&life->keep, life->told);
	assert_int_equal(fake_keep_enter(&life->keep, notes[i], fd), 0);
}

/* The next load is a healthy one, also when its process dies before it is done. */
static void test_note_of_another_state(void **unused)
{
	uint8_t *area;
	struct life *life = begin(&area);

	(void)unused;
	rig_load(&life->rig, &stream);
	for (unsigned i = 0; i < NR_NOTES; i++) {
		leave_note(life, i);
		life_again(life);
		assert_int_equal(life_get(life, LIFE_ADD), 6);
		is_whole(life);
	}
	assert_int_equal(*area, 'B');
	munmap(area, 4096);
	life_end(life);
}

/* It is gone before anything loads. */
static void test_note_goes_with_the_first_life(void **unused)
{
	uint8_t *area;
	struct life *life = begin(&area);

	(void)unused;
	for (unsigned i = 0; i < NR_NOTES; i++)
		leave_note(life, i);
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 6);
	is_whole(life);
	rig_load(&life->rig, &stream);
	assert_int_equal(rig_mig_set(&life->rig, S_STOP), 0);
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 5);
	munmap(area, 4096);
	life_end(life);
}

/* Around each word to the keeper: all of the one, all of the other, or failed. */
static void test_words_to_the_keeper(void **unused)
{
	uint8_t *area;
	uint32_t error;
	uint64_t sum;

	(void)unused;
	for (unsigned n = 1; n <= 4; n++) {
		struct life *life = begin(&area);

		rig_load(&life->rig, &stream);
		life->shared->die_at_call = n;
		stop_dying(life);
		error = life->rig.hdr.error;
		sum = life_get(life, LIFE_ADD);
		assert_true(sum == FAILED || (sum == 6 && *area == 'B') ||
			    (sum == 5 && *area == 'A'));
		assert_int_equal(sum == 5, error == 0);
		assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
		is_whole(life);
		munmap(area, 4096);
		life_end(life);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_content_is_there),
		cmocka_unit_test(test_failed_ones_stay_failed),
		cmocka_unit_test(test_reset_and_death),
		cmocka_unit_test(test_load_and_death),
		cmocka_unit_test(test_older_note),
		cmocka_unit_test(test_note_that_cannot_be_had),
		cmocka_unit_test(test_note_of_another_state),
		cmocka_unit_test(test_note_goes_with_the_first_life),
		cmocka_unit_test(test_words_to_the_keeper),
	};

	signal(SIGPIPE, SIG_IGN);
	dies = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (dies == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
