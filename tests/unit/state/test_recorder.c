// SPDX-License-Identifier: BSD-3-Clause
/* The flight recorder: what it holds, whoever died, whatever is in it. */
#include "sample.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "state/recorder.h"
#include "stepper.h"

#define ALL OB_RECORDER_EVENTS

static struct ob_event_entry events[ALL];

static size_t read_all(const struct ob_recorder *rec)
{
	return ob_recorder_read(rec->memory, sizeof(*rec->memory), events, ALL);
}

static void start(struct ob_recorder *rec)
{
	struct ob_err err = { "" };

	if (ob_recorder_open(rec, -1, &err))
		fail_msg("%s", err.msg);
}

static void tells_what_was_recorded(void **arg)
{
	struct ob_recorder rec;
	char text[OB_EVENT_TEXT];

	(void)arg;
	start(&rec);
	assert_int_equal(read_all(&rec), 0);
	ob_record(&rec, 1000, OB_EVENT_MESSAGE, 9, 3, 1024);
	ob_record(&rec, 1001, OB_EVENT_INTERRUPT, 2, 5, 0);
	assert_int_equal(read_all(&rec), 2);
	assert_int_equal(events[0].time, 1000);
	assert_int_equal(events[0].number, 1);
	assert_int_equal(events[1].time, 1001);
	assert_string_equal(ob_event_text(&events[0], text, sizeof(text)),
			    "message command=9 id=3 end=1024");
	assert_string_equal(ob_event_text(&events[1], text, sizeof(text)),
			    "interrupt index=2 vector=5");
	events[1].kind = 999;
	assert_string_equal(ob_event_text(&events[1], text, sizeof(text)),
			    "unknown kind=999 a=2 b=5 c=0");
	assert_string_equal(ob_event_text(&events[1], text, 10), "unknown k");
	ob_recorder_close(&rec);
	ob_recorder_close(&rec);
	ob_record(&rec, 1000, OB_EVENT_RESET, 0, 0, 0);	/* off: nothing */
}

static void several_are_one_by_time(void **arg)
{
	struct ob_recorder recs[3];
	struct ob_recorder_bytes bytes[3];
	struct ob_event_entry *all;

	(void)arg;
	for (unsigned i = 0; i < 3; i++) {
		start(&recs[i]);
		bytes[i] = (struct ob_recorder_bytes){
			recs[i].memory, sizeof(*recs[i].memory), -1,
		};
		ob_recorder_born(&recs[i], 10, 7 + i);
	}
	for (uint32_t i = 0; i < 30; i++)
		ob_record(&recs[i * i % 3], 100 + i, OB_EVENT_POST, 1, i, 0);
	assert_int_equal(ob_recorder_read_all(bytes, 3, &all), 33);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(all[i].kind, OB_EVENT_BORN);
	for (uint32_t i = 0; i < 30; i++) {
		assert_int_equal(all[3 + i].b, i);
		assert_int_equal(all[3 + i].generation, 7 + i * i % 3);
	}
	free(all);
	/* One that is nonsense has nothing to say, and does not disturb. */
	recs[0].memory->magic = 0;
	assert_int_equal(ob_recorder_read_all(bytes, 3, &all), 22);
	free(all);
	assert_int_equal(ob_recorder_read_all(bytes, 0, &all), 0);
	free(all);
	for (unsigned i = 0; i < 3; i++)
		ob_recorder_close(&recs[i]);
}

static void every_kind_has_a_name(void **arg)
{
	unsigned i, j;

	(void)arg;
	for (i = 0; i < OB_EVENT_NR; i++)
		for (j = 0; j <= i; j++)
			assert_int_equal(!strcmp(ob_event_name(i), ob_event_name(j)),
					 i == j);
	assert_string_equal(ob_event_name(OB_EVENT_NR), "unknown");
}

static void keeps_the_last_ones(void **arg)
{
	struct ob_recorder rec;
	unsigned i;

	(void)arg;
	start(&rec);
	for (i = 1; i <= 3 * ALL + 7; i++)
		ob_record(&rec, 1000, OB_EVENT_MODEL, 0, i, 0);
	assert_int_equal(read_all(&rec), ALL);
	for (i = 0; i < ALL; i++)
		assert_int_equal(events[i].b, 2 * ALL + 8 + i);
	assert_int_equal(ob_recorder_read(rec.memory, sizeof(*rec.memory), events,
					  3), 3);
	assert_int_equal(events[2].b, 3 * ALL + 7);
	assert_int_equal(ob_recorder_read(rec.memory, sizeof(*rec.memory), events,
					  0), 0);
	ob_recorder_close(&rec);
}

/* Within a step the hint stays behind; who reads or goes on is not misled. */
static void a_step_that_is_not_over_is_told(void **arg)
{
	struct ob_recorder rec, next;
	unsigned i;

	(void)arg;
	start(&rec);
	for (i = 0; i < OB_RECORDER_BEHIND - 3; i++) {
		ob_record(&rec, 1000, OB_EVENT_MODEL, 0, i, 0);
		assert_int_equal(rec.memory->next, 1);
		assert_int_equal(read_all(&rec), i + 1);
		assert_int_equal(events[i].b, i);
	}
	assert_int_equal(ob_recorder_open(&next, dup(rec.fd), NULL), 0);
	assert_int_equal(next.next, rec.next);
	ob_recorder_settle(&rec);
	assert_int_equal(rec.memory->next, rec.next);
	ob_recorder_close(&rec);
	ob_recorder_close(&next);
}

static void goes_on_in_another_process(void **arg)
{
	struct ob_recorder rec, next;
	unsigned i;

	(void)arg;
	start(&rec);
	for (i = 0; i < ALL + 5; i++)
		ob_record(&rec, 1000, OB_EVENT_MODEL, 0, i, 0);
	assert_int_equal(ob_recorder_open(&next, dup(rec.fd), NULL), 0);
	ob_recorder_born(&next, 1000, 2);
	assert_int_equal(read_all(&next), ALL);
	assert_int_equal(events[ALL - 2].b, ALL + 4);
	assert_int_equal(events[ALL - 1].kind, OB_EVENT_BORN);
	ob_recorder_close(&rec);
	ob_recorder_close(&next);
}

static void expect_generation(size_t from, size_t to, uint32_t generation)
{
	for (size_t i = from; i < to; i++)
		assert_int_equal(events[i].generation, generation);
}

static void model_events(struct ob_recorder *rec, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ob_record(rec, 1000, OB_EVENT_MODEL, 0, i, 0);
}

/* Whether or not the birth of any is still in sight. */
static void events_know_their_generation(void **arg)
{
	struct ob_recorder rec;

	(void)arg;
	start(&rec);
	ob_recorder_born(&rec, 1000, 3);
	model_events(&rec, ALL);
	assert_int_equal(read_all(&rec), ALL);
	expect_generation(0, ALL, 3);
	ob_recorder_born(&rec, 1000, 5);
	model_events(&rec, 9);
	ob_recorder_born(&rec, 1000, 6);
	model_events(&rec, 9);
	assert_int_equal(read_all(&rec), ALL);
	expect_generation(0, ALL - 20, 3);
	expect_generation(ALL - 20, ALL - 10, 5);
	expect_generation(ALL - 10, ALL, 6);
	assert_int_equal(ob_recorder_read(rec.memory, sizeof(*rec.memory), events,
					  15), 15);
	expect_generation(0, 5, 5);
	expect_generation(5, 15, 6);
	ob_recorder_close(&rec);
}

static void garbage_is_cleared(void **arg)
{
	struct ob_recorder rec, next;
	struct sample_rng rng = { 5 };
	uint8_t *bytes;
	size_t i;

	(void)arg;
	start(&rec);
	bytes = (uint8_t *)rec.memory;
	for (i = 0; i < sizeof(*rec.memory); i++)
		bytes[i] = (uint8_t)sample_random(&rng);
	assert_int_equal(ob_recorder_open(&next, dup(rec.fd), NULL), 0);
	assert_int_equal(read_all(&next), 0);
	ob_record(&next, 1000, OB_EVENT_RESET, 1, 0, 0);
	assert_int_equal(read_all(&next), 1);
	ob_recorder_close(&rec);
	ob_recorder_close(&next);
}

static void another_file_is_refused_or_made_to_fit(void **arg)
{
	struct ob_err err = { "" };
	struct ob_recorder rec;
	FILE *file = tmpfile();

	(void)arg;
	assert_non_null(file);
	assert_int_equal(ob_recorder_open(&rec, dup(fileno(file)), &err), -EINVAL);
	fclose(file);
	assert_string_equal(err.msg, "the recorder is no memory file");
	assert_int_equal(rec.fd, -1);
	assert_int_equal(ob_recorder_open(&rec, ob_memfd_create("short", 10), &err),
			 0);
	ob_record(&rec, 1000, OB_EVENT_RESET, 1, 0, 0);
	assert_int_equal(read_all(&rec), 1);
	ob_recorder_close(&rec);
}

static void any_bytes_can_be_read(void **arg)
{
	struct ob_recorder rec;
	struct sample_rng rng = { 6 };
	unsigned i, at, bit;
	size_t n;

	(void)arg;
	start(&rec);
	for (i = 0; i < 200; i++)
		ob_record(&rec, 1000, OB_EVENT_MODEL, 0, i, 0);
	for (i = 0; i < 20000; i++) {
		at = (unsigned)sample_random(&rng) % (i % 2 ? 24 : 8000);
		bit = 1u << sample_random(&rng) % 8;
		((uint8_t *)rec.memory)[at] ^= (uint8_t)bit;
		n = ob_recorder_read(rec.memory, i % 3 ? sizeof(*rec.memory) :
				     sample_random(&rng) % sizeof(*rec.memory),
				     events, ALL);
		assert_true(n <= ALL);
		((uint8_t *)rec.memory)[at] ^= (uint8_t)bit;
	}
	assert_int_equal(read_all(&rec), 200);
	ob_recorder_close(&rec);
}

/* A writer that stops anywhere leaves whole events, in order. */
struct death {
	struct ob_recorder rec;
	size_t most;
};

static void records(void *arg)
{
	struct death *d = arg;
	unsigned i;

	for (i = 0; i < 3; i++)
		ob_record(&d->rec, 1000, OB_EVENT_POST, 7, ALL + i, ~(uint64_t)(ALL + i));
}

static bool finds_whole_events(void *arg)
{
	struct death *d = arg;
	struct ob_recorder next;
	size_t n = read_all(&d->rec), i;
	bool good = n >= ALL - 1;

	for (i = 0; i < n && good; i++)
		good = events[i].c == ~(uint64_t)events[i].b && events[i].a == 7 &&
		       (i == 0 || events[i].b == events[i - 1].b + 1);
	if (!good || events[n - 1].b < d->most)
		return false;
	d->most = events[n - 1].b;
	/* What a successor adds is the next one. */
	if (ob_recorder_open(&next, dup(d->rec.fd), NULL))
		return false;
	good = next.memory->next == d->most + 2;
	ob_recorder_close(&next);
	return good;
}

static void events_are_whole_at_every_instruction(void **arg)
{
	struct death d = { .most = 0 };
	unsigned long steps;
	unsigned i;

	(void)arg;
	start(&d.rec);
	for (i = 0; i < ALL; i++)
		ob_record(&d.rec, 1000, OB_EVENT_POST, 7, i, ~(uint64_t)i);
	steps = stepper_run(records, finds_whole_events, &d);
	if (!steps)
		skip();
	if (d.most != ALL + 2)
		fail_msg("after %lu instructions: %zu", steps, d.most);
	ob_recorder_close(&d.rec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_what_was_recorded),
		cmocka_unit_test(several_are_one_by_time),
		cmocka_unit_test(every_kind_has_a_name),
		cmocka_unit_test(keeps_the_last_ones),
		cmocka_unit_test(a_step_that_is_not_over_is_told),
		cmocka_unit_test(goes_on_in_another_process),
		cmocka_unit_test(events_know_their_generation),
		cmocka_unit_test(garbage_is_cleared),
		cmocka_unit_test(another_file_is_refused_or_made_to_fit),
		cmocka_unit_test(any_bytes_can_be_read),
		cmocka_unit_test(events_are_whole_at_every_instruction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
