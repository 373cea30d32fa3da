// SPDX-License-Identifier: BSD-3-Clause
/*
 * Migration between real servers, every model, there and back, ended before
 * every step: the source runs each time, and the next attempt finds nothing
 * of the last one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <outboard/migrate.h>

#include "devices/models.h"
#include "forked.h"

#define ADDR 0x100000u
#define SIZE 0x10000u

static struct forked servers[2];
static struct ob_client *clients[2];
static struct ob_migrate_result result;
static struct ob_err err;
static int steps, end_at;
static unsigned copied;

static int see_step(void *arg, enum ob_migrate_step step, unsigned device)
{
	(void)arg;
	(void)step;
	(void)device;
	return steps++ == end_at ? -EINTR : 0;
}

static int copy_ram(void *arg, const struct ob_migrate_pages *pages,
		    struct ob_err *why)
{
	(void)arg;
	(void)pages;
	(void)why;
	copied++;
	return 0;
}

static const struct ob_migrate_ops ops = {
	.step = see_step, .ram_copy = copy_ram,
};

static void connect_side(unsigned side)
{
	static uint8_t memory[2][SIZE];
	const struct ob_client_dma map = {
		.addr = ADDR, .size = SIZE, .readable = true,
		.writable = true, .fd = -1, .memory = memory[side],
	};

	clients[side] = forked_connect(&servers[side], NULL);
	assert_int_equal(ob_client_dma_map(clients[side], &map, NULL), 0);
}

static void begin(const struct ob_device_class *cls, const char *spec)
{
	/* Servers first: a forked one would keep a client's socket open. */
	forked_start(&servers[0], cls, spec);
	forked_start(&servers[1], cls, spec);
	connect_side(0);
	connect_side(1);
}

static void end(void)
{
	for (unsigned i = 0; i < 2; i++) {
		ob_client_destroy(clients[i]);
		forked_stop(&servers[i]);
	}
}

static enum ob_client_mig_state state_of(unsigned side)
{
	enum ob_client_mig_state state;

	assert_int_equal(ob_client_mig_get(clients[side], &state, NULL), 0);
	return state;
}

/* The interrupt line register: nobody but the guest changes it. */
static void set_mark(unsigned side, uint8_t mark)
{
	assert_int_equal(ob_client_write(clients[side], OB_CLIENT_CONFIG, 0x3c,
					 &mark, 1, NULL), 0);
}

static uint8_t mark_of(unsigned side)
{
	uint8_t mark = 0;

	assert_int_equal(ob_client_read(clients[side], OB_CLIENT_CONFIG, 0x3c,
					&mark, 1, NULL), 0);
	return mark;
}

static int move(unsigned from, bool precopy, int step)
{
	static const struct ob_client_range ram = { ADDR, SIZE };
	struct ob_migrate_params params = {
		.ops = &ops, .precopy = precopy, .ram = &ram, .nr_ram = 1,
	};

	steps = 0;
	end_at = step;
	memset(&err, 0, sizeof(err));
	return ob_migrate(&clients[from], &clients[!from], 1, &params,
			  &result, &err);
}

/* Once for every step, then all the way. */
static void move_with_ends(unsigned from, bool precopy, uint8_t mark)
{
	int r = -1;

	set_mark(from, mark);
	for (int step = 0; r; step++) {
		r = move(from, precopy, step);
		if (r != -EINTR && r)
			fail_msg("step %d: %d %s; %s", step, r, err.msg,
				 result.note);
		assert_int_equal(state_of(from), r ? OB_CLIENT_RUNNING
						   : OB_CLIENT_STOP);
		assert_int_equal(state_of(!from), OB_CLIENT_RUNNING);
		assert_int_equal(mark_of(r ? from : !from), mark);
		assert_string_equal(result.note, "");
	}
	assert_true(steps > 8);
	assert_true(result.downtime_ns < 1000000000);
}

static void there_and_back(const struct ob_device_class *cls,
			   const char *spec)
{
	begin(cls, spec);
	for (unsigned i = 0; i < 4; i++) {
		move_with_ends(i % 2, i / 2, (uint8_t)(0x30 + i));
		/* A VMM that has given its device away goes. */
		ob_client_destroy(clients[i % 2]);
		connect_side(i % 2);
	}
	end();
}

static void null(void **state)
{
	(void)state;
	there_and_back(&ob_null_class, "null");
}

static void edu(void **state)
{
	(void)state;
	there_and_back(&ob_edu_class, "edu");
}

static void nvme(void **state)
{
	(void)state;
	there_and_back(&ob_nvme_class, "nvme,drive=null:1G");
	there_and_back(&ob_nvme_class, "nvme,drive=mem:1M");
}

static void another_disk_is_refused(void **state)
{
	(void)state;
	forked_start(&servers[0], &ob_nvme_class, "nvme,drive=mem:1M");
	forked_start(&servers[1], &ob_edu_class, "edu");
	connect_side(0);
	connect_side(1);
	set_mark(0, 7);
	assert_true(move(0, true, -1) < 0);
	assert_int_equal(result.outcome, OB_MIGRATE_STAYED);
	assert_int_equal(state_of(0), OB_CLIENT_RUNNING);
	assert_int_equal(state_of(1), OB_CLIENT_RUNNING);
	assert_int_equal(mark_of(0), 7);
	/* The server's words, not a number alone. */
	assert_non_null(strstr(err.msg, "section"));
	end();
}

/* The destination's process ends in the middle. */
static void a_destination_is_killed(void **state)
{
	(void)state;
	begin(&ob_edu_class, "edu");
	set_mark(0, 9);
	forked_stop(&servers[1]);
	assert_true(move(0, true, -1) < 0);
	assert_int_equal(result.outcome, OB_MIGRATE_STAYED);
	assert_int_equal(state_of(0), OB_CLIENT_RUNNING);
	assert_int_equal(mark_of(0), 9);
	ob_client_destroy(clients[0]);
	ob_client_destroy(clients[1]);
	forked_stop(&servers[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null),
		cmocka_unit_test(edu),
		cmocka_unit_test(nvme),
		cmocka_unit_test(another_disk_is_refused),
		cmocka_unit_test(a_destination_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
