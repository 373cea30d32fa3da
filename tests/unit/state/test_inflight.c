// SPDX-License-Identifier: BSD-3-Clause
/* Which commands are in flight, as the flight recorder tells it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "state/inflight.h"

#define ROOM 64

static struct ob_event_entry events[OB_RECORDER_EVENTS];
static struct ob_inflight rows[ROOM];
static size_t nr_events;

static int empty(void **state)
{
	(void)state;
	nr_events = 0;
	return 0;
}

/* Each is a microsecond later than the one before. */
static void add(enum ob_event kind, uint16_t a, uint32_t b, uint64_t c)
{
	events[nr_events] = (struct ob_event_entry){
		.number = nr_events + 1, .time = (nr_events + 1) * 1000,
		.generation = 1, .kind = kind, .a = a, .b = b, .c = c,
	};
	nr_events++;
}

static void fetch(uint16_t queue, uint16_t id, uint8_t opcode)
{
	add(OB_EVENT_FETCH, queue, id, opcode);
}

static void drive(uint16_t slot, uint16_t queue, uint16_t id, uint64_t offset)
{
	add(OB_EVENT_DRIVE, slot, (uint32_t)queue << 16 | id, offset);
}

static size_t look(size_t room)
{
	memset(rows, 0x5a, sizeof(rows));
	return ob_inflight_find(events, nr_events, rows, room);
}

static void phases_follow_each_other(void **state)
{
	(void)state;
	assert_int_equal(look(ROOM), 0);
	fetch(1, 7, 2);
	assert_int_equal(look(ROOM), 1);
	assert_int_equal(rows[0].phase, OB_INFLIGHT_FETCHED);
	assert_int_equal(rows[0].queue, 1);
	assert_int_equal(rows[0].id, 7);
	assert_int_equal(rows[0].opcode, 2);
	drive(3, 1, 7, 4096);
	assert_int_equal(look(ROOM), 1);
	assert_int_equal(rows[0].phase, OB_INFLIGHT_DRIVE);
	assert_int_equal(rows[0].offset, 4096);
	assert_int_equal(rows[0].since, 1000);
	assert_int_equal(rows[0].phase_since, 2000);
	add(OB_EVENT_DRIVE_DONE, 3, 5, 0);
	assert_int_equal(look(ROOM), 1);
	assert_int_equal(rows[0].phase, OB_INFLIGHT_ENDED);
	assert_int_equal(rows[0].error, 5);
	assert_string_equal(ob_inflight_phase_name(rows[0].phase),
			    "drive done");
	add(OB_EVENT_POST, 1, 7, 0);
	assert_int_equal(look(ROOM), 0);
}

static void the_oldest_comes_first(void **state)
{
	(void)state;
	for (uint16_t id = 0; id < 6; id++)
		fetch(1, id, 1);
	fetch(2, 3, 9);
	add(OB_EVENT_POST, 1, 3, 0);
	add(OB_EVENT_POST, 1, 0, 0);
	assert_int_equal(look(ROOM), 5);
	assert_int_equal(rows[0].id, 1);
	assert_int_equal(rows[1].id, 2);
	assert_int_equal(rows[2].id, 4);
	assert_int_equal(rows[3].id, 5);
	assert_int_equal(rows[4].queue, 2);	/* the same id, another queue */
	assert_int_equal(rows[4].opcode, 9);
}

/* Begun again in another life, in another slot: the age is the guest's. */
static void a_death_does_not_make_it_younger(void **state)
{
	(void)state;
	fetch(1, 7, 1);
	drive(0, 1, 7, 512);
	add(OB_EVENT_BORN, 0, 0, 2);
	drive(9, 1, 7, 512);
	events[nr_events - 1].generation = 2;
	assert_int_equal(look(ROOM), 1);
	assert_int_equal(rows[0].since, 1000);
	assert_int_equal(rows[0].born, 1);
	assert_int_equal(rows[0].begun, 2);
	assert_int_equal(rows[0].slot, 9);
	add(OB_EVENT_DRIVE_DONE, 0, 0, 0);	/* not its slot any more */
	look(ROOM);
	assert_int_equal(rows[0].phase, OB_INFLIGHT_DRIVE);
}

static void resets_and_new_ids_close_what_was_open(void **state)
{
	(void)state;
	fetch(1, 7, 1);
	fetch(1, 7, 2);
	assert_int_equal(look(ROOM), 1);
	assert_int_equal(rows[0].opcode, 2);
	assert_int_equal(rows[0].since, 2000);
	add(OB_EVENT_RESET, 1, 0, 0);
	assert_int_equal(look(ROOM), 0);
}

static void what_began_before_the_first_event_is_passed_over(void **state)
{
	(void)state;
	drive(1, 1, 1, 0);
	add(OB_EVENT_DRIVE_DONE, 1, 0, 0);
	add(OB_EVENT_POST, 1, 1, 0);
	assert_int_equal(look(ROOM), 0);
}

/* It was never open; unless a dead process had told that it was. */
static void what_ended_at_once_is_not_in_flight(void **state)
{
	(void)state;
	add(OB_EVENT_AT_ONCE, 1, 7, 2);
	assert_int_equal(look(ROOM), 0);
	fetch(1, 8, 2);
	fetch(1, 9, 2);
	add(OB_EVENT_AT_ONCE, 1, 8, 2);
	assert_int_equal(look(ROOM), 1);
	assert_int_equal(rows[0].id, 9);
}

static void more_than_there_is_room_for_are_counted(void **state)
{
	(void)state;
	for (uint16_t id = 0; id < 10; id++)
		fetch(1, id, 1);
	assert_int_equal(look(4), 10);
	assert_int_equal(rows[3].id, 3);
	assert_int_equal(rows[4].id, 0x5a5a5a5a);	/* not touched */
	assert_int_equal(look(0), 10);
	add(OB_EVENT_POST, 1, 9, 0);
	assert_int_equal(look(4), 9);
}

/* Nothing in an event is believed; the sanitizers look on. */
static void test_r25_nonsense_is_harmless(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15;

	(void)state;
	for (unsigned round = 0; round < 20; round++) {
		nr_events = OB_RECORDER_EVENTS;
		for (size_t i = 0; i < sizeof(events); i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			((uint8_t *)events)[i] = seed >> 56;
		}
		for (size_t i = 0; i < nr_events; i++) {
			events[i].kind %= OB_EVENT_NR + 1;
			events[i].a %= 4;
			events[i].b &= round % 2 ? 0x30007 : UINT32_MAX;
		}
		look(ROOM);
		for (size_t i = 0; i < ROOM; i++)
			assert_non_null(ob_inflight_phase_name(rows[i].phase));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(phases_follow_each_other, empty),
		cmocka_unit_test_setup(the_oldest_comes_first, empty),
		cmocka_unit_test_setup(a_death_does_not_make_it_younger, empty),
		cmocka_unit_test_setup(resets_and_new_ids_close_what_was_open,
				       empty),
		cmocka_unit_test_setup(what_began_before_the_first_event_is_passed_over,
				       empty),
		cmocka_unit_test_setup(what_ended_at_once_is_not_in_flight,
				       empty),
		cmocka_unit_test_setup(more_than_there_is_room_for_are_counted,
				       empty),
		cmocka_unit_test_setup(test_r25_nonsense_is_harmless, empty),
	};

	return cmocka_run_group_tests_name("commands in flight", tests, NULL,
					   NULL);
}
