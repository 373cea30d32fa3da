// SPDX-License-Identifier: BSD-3-Clause
/* The dirty log: what may be asked, and what is answered to what may not. */
#include "dirty_client.h"
#include "dirty_model.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The answer is what was asked, but for the page size that is in effect. */
static void start_answers_with_its_page_size(void **arg)
{
	static const struct range ranges[] = { { 0, GIB }, { GIB, 0x10000 } };
	struct rig *rig = log_rig();
	struct start *told = (struct start *)rig->reply;

	(void)arg;
	assert_int_equal(log_start(rig, 1 << 21, ranges, 2), 0);
	assert_int_equal(rig->len, 24 + sizeof(ranges));
	assert_int_equal(told->feature.argsz, rig->len);
	assert_int_equal(told->page_size, 4096);
	assert_int_equal(told->count, 2);
	assert_memory_equal(told->ranges, ranges, sizeof(ranges));
	assert_int_equal(log_stop(rig), 0);
	assert_int_equal(rig->len, 8);
	assert_int_equal(log_start(rig, 1, NULL, 0), 0);
	assert_int_equal(rig->len, 24);
	assert_int_equal(told->page_size, 4096);
	rig_end(rig);
}

static void start_refuses_what_makes_no_sense(void **arg)
{
	static const struct range bad[] = {
		{ 0, 0 }, { PAGE, 0 }, { UINT64_MAX, 2 },
		{ PAGE, UINT64_MAX }, { UINT64_MAX - PAGE + 1, 2 * PAGE },
	};
	static const struct range last = { UINT64_MAX - PAGE + 1, PAGE };
	struct rig *rig = log_rig();
	unsigned i;

	(void)arg;
	assert_int_equal(log_start(rig, 0, NULL, 0), EINVAL);
	assert_int_equal(log_start(rig, 0x3000, NULL, 0), EINVAL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(log_start(rig, PAGE, &bad[i], 1), EINVAL);
	assert_int_equal(log_report(rig, 0, PAGE, PAGE), EINVAL);	/* not on */
	assert_int_equal(log_start(rig, PAGE, &last, 1), 0);
	rig_end(rig);
}

static void there_is_one_log_at_a_time(void **arg)
{
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(log_stop(rig), 0);
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0, 1), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), EINVAL);
	assert_true(log_dirty(rig, 0));
	assert_int_equal(log_write(rig, 0, 1), 0);
	assert_int_equal(log_stop(rig), 0);
	assert_int_equal(log_report(rig, 0, PAGE, PAGE), EINVAL);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_false(log_dirty(rig, 0));		/* a new one is empty */
	close(fd);
	rig_end(rig);
}

static void report_refuses_what_makes_no_sense(void **arg)
{
	static const struct { uint64_t iova, length, page_size; int want; } bad[] = {
		{ 0, 0, PAGE, EINVAL },
		{ 0, PAGE, 0, EINVAL },
		{ 0, PAGE, 3, EINVAL },
		{ 0, PAGE, PAGE + 1, EINVAL },
		{ 1, UINT64_MAX, UINT64_C(1) << 63, 0 },
		{ 2, UINT64_MAX, UINT64_C(1) << 63, EINVAL },
		{ UINT64_MAX, 2, PAGE, EINVAL },
		{ 0, UINT64_MAX, 1, E2BIG },
		{ 0, UINT64_MAX, PAGE, E2BIG },
		{ 0, (UINT64_C(1) << 41) + 1, PAGE, E2BIG },
	};
	struct rig *rig = log_rig();
	unsigned i;

	(void)arg;
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(log_report(rig, bad[i].iova, bad[i].length,
					bad[i].page_size), bad[i].want);
	rig_end(rig);
}

/* Where another server read behind the message's end. */
static void r2_every_length_that_is_too_short_is_refused(void **arg)
{
	struct start s = { { sizeof(s), START | SET }, PAGE, 2, 0,
			   { { 0, PAGE }, { GIB, PAGE } } };
	struct report g = { { 1 << 20, REPORT | GET }, 0, PAGE, PAGE };
	struct rig *rig = log_rig();
	size_t len;

	(void)arg;
	for (len = 0; len < 24 + 2 * sizeof(struct range); len++)
		assert_int_equal(rig_call(rig, FEATURE, &s, len), EINVAL);
	s.count = UINT32_MAX;
	assert_int_equal(rig_call(rig, FEATURE, &s, sizeof(s)), EINVAL);
	s.count = 2;
	assert_int_equal(rig_call(rig, FEATURE, &s, sizeof(s)), 0);
	for (len = 0; len < sizeof(g); len++)
		assert_int_equal(rig_call(rig, FEATURE, &g, len), EINVAL);
	assert_int_equal(rig_call(rig, FEATURE, &g, sizeof(g)), 0);
	rig_end(rig);
}

static void without_room_the_answer_is_its_size_and_takes_nothing(void **arg)
{
	struct report body = { { 0, REPORT | GET }, 0, MEM_SIZE, PAGE };
	struct rig *rig = log_rig();
	struct feature *told = (struct feature *)rig->reply;
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0x5000, 1), 0);
	for (body.feature.argsz = 8; body.feature.argsz < 64;
	     body.feature.argsz++) {
		assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)), 0);
		assert_int_equal(rig->len, 8);
		assert_int_equal(told->argsz, 64);
	}
	assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)), 0);
	assert_int_equal(rig->len, 64);
	assert_int_equal(log_bits(rig), 1);
	close(fd);
	rig_end(rig);
}

static void who_wants_no_reply_takes_nothing(void **arg)
{
	struct report body = { { 1 << 20, REPORT | GET }, 0, PAGE, PAGE };
	struct rig *rig = log_rig();
	int fd = log_guest();

	(void)arg;
	assert_int_equal(rig_map(rig, 0, MEM_SIZE, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	assert_int_equal(log_write(rig, 0, 1), 0);
	rig_send(rig, FEATURE, NO_REPLY, &body, sizeof(body), NULL, 0);
	assert_true(rig_silent(rig));
	assert_true(log_dirty(rig, 0));
	close(fd);
	rig_end(rig);
}

static void probe_and_flags(void **arg)
{
	static const struct { uint32_t flags; int want; } tries[] = {
		{ START | PROBE, 0 }, { START | PROBE | SET, 0 },
		{ START | PROBE | GET, EINVAL }, { START | GET, EINVAL },
		{ START | GET | SET, EINVAL }, { START, EINVAL },
		{ STOP | PROBE | SET, 0 }, { STOP | GET, EINVAL },
		{ REPORT | PROBE | GET, 0 }, { REPORT | PROBE | SET, EINVAL },
		{ REPORT | SET, EINVAL }, { REPORT | GET | 1 << 19, EINVAL },
	};
	struct rig *rig = log_rig();
	unsigned i;

	(void)arg;
	for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct feature body = { sizeof(body), tries[i].flags };

		assert_int_equal(rig_call(rig, FEATURE, &body, sizeof(body)),
				 tries[i].want);
		assert_int_equal(rig->len, sizeof(body));
		if (!tries[i].want)
			assert_memory_equal(rig->reply, &body, sizeof(body));
	}
	assert_int_equal(log_report(rig, 0, PAGE, PAGE), EINVAL);	/* still off */
	rig_end(rig);
}

/* Numbers at the edges of everything, in the place of every field. */
static void r2_no_number_does_harm(void **arg)
{
	static const uint64_t odd[] = {
		0, 1, 63, 64, 4095, 4096, 4097, GIB - 1, GIB, UINT64_C(1) << 41,
		UINT64_C(1) << 52, UINT64_C(1) << 63, UINT64_MAX - 4095, UINT64_MAX,
	};
	struct { struct feature feature; uint64_t words[8]; } body;
	struct model m = { .seed = 3 };
	struct rig *rig = log_rig();
	int fd = log_guest(), i;
	unsigned w;

	(void)arg;
	assert_int_equal(rig_map(rig, GIB - 4096, MEM_SIZE, 0, RW, fd), 0);
	for (i = 0; i < 20000; i++) {
		body.feature.flags = START + (uint32_t)model_random(&m, 3);
		body.feature.flags |= body.feature.flags == REPORT ? GET : SET;
		body.feature.argsz = (uint32_t)model_random(&m, REPLY_MAX);
		for (w = 0; w < 8; w++)
			body.words[w] = odd[model_random(&m, 14)];
		if (model_random(&m, 2))
			body.words[1] = model_random(&m, 4);	/* ranges */
		if (model_random(&m, 2))
			body.words[2] = UINT64_C(1) << model_random(&m, 64);
		rig_call(rig, FEATURE, &body,
			 8 + 8 * (size_t)model_random(&m, 9));
		log_write(rig, GIB - 4096 + model_random(&m, MEM_SIZE), 1);
	}
	close(fd);
	rig_end(rig);
}

/* An answer that the socket does not take is not touched by the next. */
static void answers_that_wait_stay_what_they_are(void **arg)
{
	struct report body = { { 1 << 24, REPORT | GET }, 0, 32 * GIB, PAGE };
	int fd = memfd_create("guest", MFD_CLOEXEC), i;
	struct rig *rig = log_rig();

	(void)arg;
	assert_int_equal(ftruncate(fd, 256 * GIB), 0);
	assert_int_equal(rig_map(rig, 0, 256 * GIB, 0, RW, fd), 0);
	assert_int_equal(log_start(rig, PAGE, NULL, 0), 0);
	for (i = 0; i < 8; i++) {
		ob_dma_wrote(rig->dev, i * 32 * GIB + 8 * i * PAGE, 1);
		ob_dma_wrote(rig->dev, (i + 1) * 32 * GIB - PAGE, 1);
	}
	for (i = 0; i < 8; i++) {
		body.iova = i * 32 * GIB;
		rig_send(rig, FEATURE, 0, &body, sizeof(body), NULL, 0);
	}
	rig_settle(rig);
	for (i = 0; i < 8; i++) {
		assert_true(rig_receive(rig));
		assert_int_equal(rig->hdr.flags, REPLY);
		assert_int_equal(rig->len, 32 + (1 << 20));
		assert_int_equal(log_bits(rig), 2);
		assert_true(log_bit(rig, 8 * (unsigned)i) &&
			    log_bit(rig, 32 * GIB / PAGE - 1));
	}
	close(fd);
	rig_end(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(start_answers_with_its_page_size),
		cmocka_unit_test(start_refuses_what_makes_no_sense),
		cmocka_unit_test(there_is_one_log_at_a_time),
		cmocka_unit_test(report_refuses_what_makes_no_sense),
		cmocka_unit_test(r2_every_length_that_is_too_short_is_refused),
		cmocka_unit_test(without_room_the_answer_is_its_size_and_takes_nothing),
		cmocka_unit_test(who_wants_no_reply_takes_nothing),
		cmocka_unit_test(probe_and_flags),
		cmocka_unit_test(r2_no_number_does_harm),
		cmocka_unit_test(answers_that_wait_stay_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
