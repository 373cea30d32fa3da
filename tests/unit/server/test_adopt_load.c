// SPDX-License-Identifier: BSD-3-Clause
/*
 * Deaths while a state that has come in is put in place: registers are of the old
 * state or of the new one, and whoever finds the old ones with content of the
 * new beside them has a failed device.
 */
#include <errno.h>
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

static uint8_t *area_of(struct life *life)
{
	fake_keep_drain(&life->keep, life->told);
	for (unsigned i = 0; i < FAKE_NAMES; i++)
		if (life->keep.names[i].fd >= 0 &&
		    !strcmp(life->keep.names[i].name, "dev/bar/0"))
			return mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				    MAP_SHARED, life->keep.names[i].fd, AREA);
	return MAP_FAILED;
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

static const char *const notes[] = { "dev/half/0", "dev/half/1", "dev/half/load" };

static void is_whole(struct life *life)
{
	fake_keep_drain(&life->keep, life->told);
	for (unsigned i = 0; i < 3; i++)
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

static bool has_note(struct life *life)
{
	fake_keep_drain(&life->keep, life->told);
	return fake_keep_has(&life->keep, "dev/half/0") ||
	       fake_keep_has(&life->keep, "dev/half/1");
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
		up = life_is_up(life);
		if (!up)
			life_wait(life);
		life->shared->die_at_call = 0;
		if (!up)
			life_begin(life);
		assert_true(rig_receive(&life->rig));
		assert_true(has_note(life));
		assert_int_equal(life->shared->runs, runs);
	}
	assert_true(n > 8);
	assert_int_equal(rig_call(&life->rig, RESET, NULL, 0), 0);
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
	for (unsigned i = 0; i < 3; i++) {
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
	for (unsigned i = 0; i < 3; i++)
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
