// SPDX-License-Identifier: BSD-3-Clause
/*
 * The order of a migration, between scripted devices: as it should be, ended
 * at every step and every call, and with sources and destinations of all
 * sorts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mig_vmm.h"

static void one_device_alone(void **state)
{
	static const char *const lines[] = {
		"A RESUMING", "a STOP_COPY", "A STOP", "a STOP", "A RUNNING",
		NULL,
	};

	(void)state;
	prepare(1);
	vmm.moved = true;
	params = (struct ob_migrate_params){ 0 };
	moved(migrate());
	in_order(lines);
	assert_int_equal(mig_trace_log.count, 5);
	assert_int_equal(result.device_bytes, 5 * MIG_XFER + 101);
	assert_int_equal(result.last_device_bytes, 5 * MIG_XFER + 101);
	assert_int_equal(result.nr_rounds, 0);
	assert_true(result.downtime_ns > 0);
	assert_true(result.downtime_ns <= result.total_ns);
	assert_int_equal(result.steps[OB_MIGRATE_LAST_DATA].count, 6);
}

/* PROTOCOL of VMMs: what has to be before what. */
static void the_whole_order(void **state)
{
	static const char *const lines[] = {
		"A RESUMING", "B RESUMING", "a log", "b log", "a PRE_COPY",
		"b PRE_COPY", "ram", "a report", "b report", "guest stops",
		"a PRE_COPY_P2P", "b PRE_COPY_P2P", "a STOP_COPY",
		"b STOP_COPY", "a report", "b report", "ram", "A STOP",
		"B STOP", "restore", "a nolog", "b nolog", "a STOP", "b STOP",
		"A RUNNING_P2P", "B RUNNING_P2P", "A RUNNING", "B RUNNING",
		"guest starts", NULL,
	};

	(void)state;
	prepare(2);
	moved(migrate());
	in_order(lines);
	assert_true(result.converged);
	assert_int_equal(result.nr_rounds, 1);
	assert_int_equal(result.rounds[0].ram_bytes, RAM_PAGES * MIG_PAGE);
	assert_int_equal(result.rounds[0].device_bytes, 2 * 5 * MIG_XFER);
	assert_int_equal(result.last_device_bytes, 2 * 101);
	assert_true(vmm.progress > 4);
}

/* Dirty pages of the last report go, and only they. */
static void memory_follows_the_log(void **state)
{
	(void)state;
	prepare(2);
	from[1].dirty_page = RAM_BASE + 300 * MIG_PAGE;
	vmm.cpu_dirty = 2;
	moved(migrate());
	for (unsigned i = 0; i < RAM_PAGES; i++) {
		bool last = i < 2 || i == 7 || i == 300;

		assert_int_equal(vmm.copies[i], last ? 2 : 1);
		assert_int_equal(vmm.late_copies[i], last ? 1 : 0);
	}
	assert_int_equal(result.last_ram_bytes, 4 * MIG_PAGE);
}

static void without_precopy_all_goes_late(void **state)
{
	(void)state;
	prepare(2);
	params.precopy = false;
	moved(migrate());
	assert_int_equal(mig_find("a log", 0), -1);
	for (unsigned i = 0; i < RAM_PAGES; i++)
		assert_int_equal(vmm.late_copies[i], 1);
}

static void servers_of_all_styles(void **state)
{
	static const unsigned quirks[] = {
		MIG_ECHO | MIG_PAD, MIG_NO_EXTRAS, MIG_NO_EXTRAS | MIG_NO_SIZE,
		MIG_NO_PRECOPY, MIG_NO_SIZE | MIG_ECHO, MIG_ERROR_PAYLOAD,
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++) {
		prepare(2);
		for (unsigned n = 0; n < DEVICES; n++)
			from[n].quirks = to[n].quirks = quirks[i];
		moved(migrate());
	}
}

static void ended_before_every_step(void **state)
{
	unsigned steps = 0;

	(void)state;
	for (int n = 0;; n++) {
		int r;

		prepare(2);
		vmm.fail_step = n;
		r = migrate();
		if (!r)
			break;
		assert_int_equal(r, -ECANCELED);
		stayed(r);
		steps |= 1u << result.failed_step;
	}
	moved(0);
	/* Every step up to the guest's start was ended once. */
	assert_int_equal(steps, (1u << OB_MIGRATE_DONE) - 1);
}

/* One refusal, at every call of one of the four servers. */
static void one_call_fails(struct mig_peer *m)
{
	unsigned failures = 0;

	for (int n = 0; n < 200; n++) {
		int r;

		prepare(2);
		set(m, m->name);
		m->fail_at = n;
		r = migrate();
		if (!m->failed)
			break;
		/* Probes and questions have an answer for no. */
		if (!r)
			continue;
		stayed(r);
		failures++;
	}
	assert_false(m->failed);
	moved(0);
	assert_true(failures > 5);
}

static void every_call_fails_once(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DEVICES; i++) {
		prepare(2);
		one_call_fails(&from[i]);
		prepare(2);
		one_call_fails(&to[i]);
	}
}

static void a_destination_dies_at_every_call(void **state)
{
	(void)state;
	for (int n = 0; n < 200; n++) {
		int r;

		prepare(2);
		to[1].die_at = n;
		r = migrate();
		if (!to[1].failed)
			break;
		stayed(r);
	}
	assert_false(to[1].failed);
	moved(0);
}

/* Nothing can be done for it; the other one goes on, and all is told. */
static void a_source_dies_at_every_call(void **state)
{
	unsigned stuck = 0;

	(void)state;
	for (int n = 0; n < 200; n++) {
		int r;

		prepare(2);
		from[1].die_at = n;
		r = migrate();
		if (!from[1].failed)
			break;
		assert_true(r < 0);
		assert_false(vmm.moved);
		assert_int_equal(from[0].state, OB_CLIENT_RUNNING);
		assert_int_equal(to[0].state, OB_CLIENT_RUNNING);
		assert_false(to[0].loaded || to[1].loaded);
		if (result.outcome != OB_MIGRATE_STUCK)
			continue;
		stuck++;
		assert_non_null(strstr(result.note, "source device 1"));
		assert_int_equal(mig_find("guest goes on", 0), -1);
	}
	assert_true(stuck > 5);
	moved(0);
}

static void a_destination_refuses_the_state(void **state)
{
	(void)state;
	prepare(2);
	to[1].quirks = MIG_REFUSE_LOAD;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "destination device 1"));
	assert_non_null(strstr(err.msg, "hot.sqs[3].head"));
	assert_int_equal(result.failed_step, OB_MIGRATE_LOAD);
	assert_int_equal(result.failed_device, 1);
	assert_true(result.downtime_ns > 0);
	/* The destination lets go before the source takes back. */
	assert_true(mig_find("B reset", 0) < mig_find("a RUNNING", 0));
	assert_true(mig_find("guest goes on", 0) > mig_find("b RUNNING", 0));
}

static void a_source_that_does_not_come_back(void **state)
{
	(void)state;
	prepare(2);
	to[0].quirks = MIG_REFUSE_LOAD;
	from[1].quirks = MIG_KEEP_STOPPED;
	assert_int_equal(migrate(), -EINVAL);
	assert_int_equal(result.outcome, OB_MIGRATE_STUCK);
	assert_non_null(strstr(err.msg, "destination device 0"));
	assert_non_null(strstr(result.note, "source device 1: in STOP_COPY"));
	assert_int_equal(from[0].state, OB_CLIENT_RUNNING);
	assert_false(vmm.runs);
}

/* Its drive was given away, and is not free at once. */
static void a_source_that_comes_back_late(void **state)
{
	(void)state;
	prepare(1);
	to[0].quirks = MIG_REFUSE_LOAD;
	from[0].quirks = MIG_BUSY_ONCE;
	stayed(migrate());
	assert_string_equal(result.note, "");
}

static void callbacks_that_fail(void **state)
{
	(void)state;
	prepare(1);
	vmm.stop_fails = true;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "the guest does not stop"));
	prepare(1);
	vmm.copy_fails = true;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "no room over there"));
	prepare(2);
	vmm.restore_fails = true;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "no such BAR"));
	prepare(2);
	vmm.start_fails = true;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "the guest does not start"));
	/* It ran and may hold its drives: it gives its state away. */
	assert_true(mig_find("A STOP_COPY", 0) < mig_find("A reset", 0));
	assert_true(mig_find("A STOP_COPY", 0) > 0);
}

static void who_cannot_is_not_touched(void **state)
{
	(void)state;
	prepare(2);
	from[1].quirks = MIG_NO_MIGRATION;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "source device 1: it does not"));
	assert_int_equal(mig_trace_log.count, 0);
	prepare(2);
	to[1].quirks = MIG_NO_MIGRATION;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "destination device 1: it does not"));
	assert_int_equal(mig_find("a log", 0), -1);
	prepare(2);
	from[0].quirks = MIG_NO_P2P;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "P2P"));
	prepare(2);
	from[0].quirks = to[1].quirks = MIG_NO_P2P;
	params.without_p2p = true;
	moved(migrate());
	prepare(1);
	from[0].quirks = MIG_NO_LOG;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "no log"));
	prepare(1);
	from[0].state = OB_CLIENT_RESUMING;
	assert_int_equal(migrate(), -EBUSY);
	assert_non_null(strstr(err.msg, "it is in RESUMING"));
	assert_int_equal(from[0].state, OB_CLIENT_RESUMING);
}

static void bad_parameters(void **state)
{
	static const struct ob_client_range odd = { RAM_BASE + 1, 4096 };
	static const struct ob_migrate_ops no_ops;

	(void)state;
	prepare(1);
	params.page = 12288;
	assert_int_equal(migrate(), -EINVAL);
	prepare(1);
	params.ram = &odd;
	assert_int_equal(migrate(), -EINVAL);
	prepare(1);
	params.ops = &no_ops;
	assert_int_equal(migrate(), -EINVAL);
	assert_int_equal(ob_migrate(NULL, NULL, 0, NULL, NULL, NULL), -EINVAL);
}

/* It stood still before; that is where it goes back to. */
static void a_stopped_source(void **state)
{
	(void)state;
	prepare(1);
	from[0].state = OB_CLIENT_STOP;
	to[0].quirks = MIG_REFUSE_LOAD;
	params.ops = NULL;
	params.nr_ram = 0;
	assert_int_equal(migrate(), -EINVAL);
	assert_int_equal(result.outcome, OB_MIGRATE_STAYED);
	assert_int_equal(from[0].state, OB_CLIENT_STOP);
	assert_int_equal(mig_find("a PRE_COPY", 0), -1);
	prepare(1);
	from[0].state = OB_CLIENT_STOP;
	moved(migrate());
}

static void a_destination_in_error_is_reset_first(void **state)
{
	(void)state;
	prepare(1);
	to[0].in_error = true;
	moved(migrate());
	assert_int_equal(mig_find("A reset", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_device_alone),
		cmocka_unit_test(the_whole_order),
		cmocka_unit_test(memory_follows_the_log),
		cmocka_unit_test(without_precopy_all_goes_late),
		cmocka_unit_test(servers_of_all_styles),
		cmocka_unit_test(ended_before_every_step),
		cmocka_unit_test(every_call_fails_once),
		cmocka_unit_test(a_destination_dies_at_every_call),
		cmocka_unit_test(a_source_dies_at_every_call),
		cmocka_unit_test(a_destination_refuses_the_state),
		cmocka_unit_test(a_source_that_does_not_come_back),
		cmocka_unit_test(a_source_that_comes_back_late),
		cmocka_unit_test(callbacks_that_fail),
		cmocka_unit_test(who_cannot_is_not_touched),
		cmocka_unit_test(bad_parameters),
		cmocka_unit_test(a_stopped_source),
		cmocka_unit_test(a_destination_in_error_is_reset_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
