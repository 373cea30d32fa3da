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

#define AREA 0x1000u		/* of the model's BAR0 */
#define FAILED 4711u
#define STREAM (1u << 20)

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING };

static int *dies;		/* shared with the lives: in loaded */
static uint8_t stream[STREAM];
static size_t stream_len;

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

struct mig_ask {
	uint32_t argsz, flags, state, fd;
};

static int set_state(struct life *life, uint32_t state)
{
	struct mig_ask ask = { sizeof(ask), 1u << 17 | 2, state, UINT32_MAX };

	return rig_call(&life->rig, FEATURE, &ask, sizeof(ask));
}

static void save(struct life *life)
{
	uint32_t ask[2] = { 8 + 4096, 4096 }, got = 4096;

	assert_int_equal(set_state(life, STOP_COPY), 0);
	for (stream_len = 0; got == 4096; stream_len += got) {
		assert_int_equal(rig_call(&life->rig, MIG_READ, ask, sizeof(ask)),
				 0);
		memcpy(&got, life->rig.reply + 4, 4);
		assert_true(stream_len + got <= STREAM);
		memcpy(stream + stream_len, life->rig.reply + 8, got);
	}
	assert_int_equal(set_state(life, RUNNING), 0);
}

static void bring(struct life *life)
{
	uint8_t message[8 + 4096];

	assert_int_equal(set_state(life, STOP), 0);
	assert_int_equal(set_state(life, RESUMING), 0);
	for (size_t at = 0; at < stream_len; at += 4096) {
		uint32_t n = stream_len - at < 4096 ? stream_len - at : 4096;
		uint32_t head[2] = { 8 + n, n };

		memcpy(message, head, 8);
		memcpy(message + 8, stream + at, n);
		assert_int_equal(rig_call(&life->rig, MIG_WRITE, message, 8 + n),
				 0);
	}
}

/* Its registers say 5, and its memory A, in the stream; 6 and B before it comes. */
static struct life *begin(uint8_t **area)
{
	static struct ob_device_class cls;
	struct life *life;

	cls = life_class;
	cls.loaded = load_dies;
	cls.fail = go_bad;
	life = life_start(&cls);
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	*area = area_of(life);
	assert_ptr_not_equal(*area, MAP_FAILED);
	memset(*area, 'A', 4096);
	assert_int_equal(life_put(life, LIFE_ADD, 5), 0);
	save(life);
	assert_int_equal(life_put(life, LIFE_ADD, 1), 0);
	memset(*area, 'B', 4096);
	return life;
}

static void stop_dying(struct life *life)
{
	struct mig_ask ask = { sizeof(ask), 1u << 17 | 2, STOP, UINT32_MAX };

	rig_send(&life->rig, FEATURE, 0, &ask, sizeof(ask), NULL, 0);
	life_wait(life);
	life_begin(life);
	assert_true(rig_receive(&life->rig));
}

static void is_whole(struct life *life)
{
	fake_keep_drain(&life->keep, life->told);
	assert_false(fake_keep_has(&life->keep, "dev/half"));
}

/* Its memory is the new one's already. */
static void test_content_is_there(void **unused)
{
	uint8_t *area;
	struct life *life = begin(&area);

	(void)unused;
	bring(life);
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
	bring(life);
	assert_int_equal(set_state(life, STOP), 0);
	life_again(life);
	assert_int_equal(life_get(life, LIFE_ADD), 5);
	assert_int_equal(*area, 'A');
	is_whole(life);
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

		bring(life);
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
		cmocka_unit_test(test_words_to_the_keeper),
	};

	signal(SIGPIPE, SIG_IGN);
	dies = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (dies == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
