// SPDX-License-Identifier: BSD-3-Clause
/*
 * What flows: rounds and when they end, the bandwidth, memory in pieces, and
 * the two halves with something else between them than a client.  Time is
 * the test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mig_vmm.h"

/* The guest makes dirty what was sent, faster than it goes. */
static void diverge(void)
{
	prepare(1);
	vmm.ns_per_call = 100000000;
	vmm.cpu_dirty = RAM_PAGES;
	params.downtime_ms = 1;
}

static void what_does_not_converge_is_stopped(void **state)
{
	(void)state;
	diverge();
	moved(migrate());
	assert_false(result.converged);
	assert_int_equal(result.nr_rounds, 3);
	assert_true(result.rounds[2].dirty_rate > 0);
	assert_true(result.rounds[2].left >= RAM_PAGES * MIG_PAGE);

	diverge();
	params.max_rounds = 2;
	moved(migrate());
	assert_int_equal(result.nr_rounds, 2);
}

static void or_given_up(void **state)
{
	(void)state;
	diverge();
	params.must_converge = true;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "does not converge"));
	assert_int_equal(mig_find("guest stops", 0), -1);
}

/* As long as a tenth goes away each time, it goes on. */
static void slow_convergence(void **state)
{
	(void)state;
	prepare(1);
	from[0].live = 64 * MIG_XFER;
	params.nr_ram = 0;
	params.downtime_ms = 1;
	vmm.ns_per_call = 1;
	moved(migrate());
	assert_true(result.converged);
	assert_int_equal(result.nr_rounds, 1);
	assert_true(result.rate > 0);
}

static void bandwidth_is_kept_while_the_guest_runs(void **state)
{
	uint64_t bytes = RAM_PAGES * MIG_PAGE + 5 * MIG_XFER;

	(void)state;
	prepare(1);
	params.bandwidth = 1 << 20;
	moved(migrate());
	/* 2 MiB at 1 MiB/s, in naps that a cancel can end. */
	assert_in_range(vmm.slept, bytes * 900, bytes * 1000);
	assert_true(vmm.progress > vmm.slept / 20000001);
	assert_true(result.downtime_ns < 100000000);
	/* What would go without the limit is what the rest is judged by. */
	assert_true(result.rate > 100.0 * (1 << 20));
}

/* Memory in pieces, the last with a begun page. */
static const struct ob_client_range ranges[] = {
	{ 0x100000, 100 * MIG_PAGE }, { 0x40000000, 37 * MIG_PAGE - 100 },
};
static uint64_t range_bytes[2];

static int count_pages(void *arg, const struct ob_migrate_pages *pages,
		       struct ob_err *why)
{
	const struct ob_client_range *range = &ranges[pages->range];

	(void)arg;
	(void)why;
	assert_in_range(pages->iova, range->iova,
			range->iova + range->length - 1);
	assert_true(pages->iova - range->iova + pages->length <=
		    range->length);
	for (uint64_t i = 0; i * MIG_PAGE < pages->length; i++)
		if (pages->bitmap[i / 64] >> i % 64 & 1)
			range_bytes[pages->range] += MIG_PAGE;
	return 0;
}

static void several_ranges(void **state)
{
	const struct ob_migrate_ops ops = { .ram_copy = count_pages };

	(void)state;
	prepare(1);
	vmm.moved = true;
	params.ops = &ops;
	params.ram = ranges;
	params.nr_ram = 2;
	from[0].dirty_page = ranges[1].iova + 36 * MIG_PAGE;
	memset(range_bytes, 0, sizeof(range_bytes));
	moved(migrate());
	assert_int_equal(range_bytes[0], 100 * MIG_PAGE);
	assert_int_equal(range_bytes[1], 38 * MIG_PAGE);
	assert_int_equal(result.ram_bytes, 138 * MIG_PAGE);
	assert_int_equal(result.last_ram_bytes, MIG_PAGE);
}

/* The destination takes less at once than the source gives. */
static void a_destination_that_takes_little(void **state)
{
	(void)state;
	prepare(2);
	to[0].xfer = 1000;
	from[1].xfer = 1500;
	moved(migrate());
	assert_int_equal(result.device_bytes, 2 * (5 * MIG_XFER + 101));
}

/* It could say more, and says so; one round is enough for that. */
static void short_answers(void **state)
{
	(void)state;
	prepare(1);
	from[0].quirks = MIG_SHORT;
	moved(migrate());
	assert_int_equal(result.nr_rounds, 1);
	assert_int_equal(result.rounds[0].device_bytes, 5 * MIG_XFER);
}

/* Halves */

struct pipe {
	uint8_t bytes[1 << 16];
	size_t len, at;
	size_t fail_at;
};
static struct pipe line;

static int put(void *arg, unsigned device, const void *bytes, size_t len,
	       struct ob_err *why)
{
	struct pipe *p = arg;

	assert_int_equal(device, 0);
	assert_true(len > 0);
	if (p->fail_at && p->len + len > p->fail_at)
		return ob_fail(why, EPIPE, "nobody listens");
	memcpy(p->bytes + p->len, bytes, len);
	p->len += len;
	return 0;
}

static int get(void *arg, unsigned *device, void *buf, size_t room,
	       size_t *got, struct ob_err *why)
{
	struct pipe *p = arg;
	size_t left = p->len - p->at;

	(void)device;
	if (p->fail_at)
		return ob_fail(why, EIO, "the line is cut");
	room = room < 1000 ? room : 1000;
	*got = left < room ? left : room;
	memcpy(buf, p->bytes + p->at, *got);
	p->at += *got;
	return 0;
}

static int send_half(struct ob_outgoing **out)
{
	struct ob_client *client;

	start_side(from, &client);
	*out = NULL;
	return ob_outgoing_send(&client, 1, &params, put, &line, out, &result,
				&err);
}

static void halves_that_go_well(void **state)
{
	struct ob_outgoing *out;
	struct ob_incoming *in;
	struct ob_client *client;

	(void)state;
	prepare(1);
	memset(&line, 0, sizeof(line));
	assert_int_equal(send_half(&out), 0);
	assert_int_equal(result.outcome, OB_MIGRATE_SENT);
	assert_int_equal(from[0].state, OB_CLIENT_STOP_COPY);
	assert_int_equal(line.len, result.device_bytes);

	start_side(to, &client);
	assert_int_equal(ob_incoming_begin(&client, 1, &params, &in, &result,
					   &err), 0);
	assert_int_equal(ob_incoming_pull(in, get, &line, &err), 0);
	assert_int_equal(ob_incoming_load(in, &err), 0);
	assert_int_equal(to[0].state, OB_CLIENT_STOP);
	assert_int_equal(ob_outgoing_done(out, &err), 0);
	assert_int_equal(from[0].state, OB_CLIENT_STOP);
	assert_int_equal(ob_incoming_run(in, &err), 0);
	assert_int_equal(result.outcome, OB_MIGRATE_MOVED);
	assert_int_equal(ob_incoming_destroy(in, &err), 0);
	ob_outgoing_destroy(out);
	end_side(from);
	end_side(to);
	moved(0);
}

static void halves_that_do_not(void **state)
{
	struct ob_outgoing *out;
	struct ob_incoming *in;
	struct ob_client *client;

	(void)state;
	/* Nobody takes it: nothing is left to do. */
	prepare(1);
	memset(&line, 0, sizeof(line));
	line.fail_at = 3 * MIG_XFER;
	to[0].die_at = 0;		/* there is none */
	assert_int_equal(send_half(&out), -EPIPE);
	assert_null(out);
	end_side(from);
	stayed(-EPIPE);

	/* All is sent, and then given up; twice is the same as once. */
	prepare(1);
	memset(&line, 0, sizeof(line));
	assert_int_equal(send_half(&out), 0);
	assert_int_equal(ob_outgoing_undo(out, &err), 0);
	assert_int_equal(from[0].state, OB_CLIENT_RUNNING);
	ob_outgoing_destroy(out);
	end_side(from);
	assert_true(vmm.runs);

	/* Forgotten. */
	prepare(1);
	memset(&line, 0, sizeof(line));
	assert_int_equal(send_half(&out), 0);
	ob_outgoing_destroy(out);
	end_side(from);
	assert_int_equal(from[0].state, OB_CLIENT_RUNNING);
	assert_true(vmm.runs);

	/* The stream ends early; the destination is as new. */
	prepare(1);
	line.fail_at = 1;
	start_side(to, &client);
	assert_int_equal(ob_incoming_begin(&client, 1, NULL, &in, NULL, &err),
			 0);
	assert_int_equal(ob_incoming_put(in, 1, "x", 1, &err), -EINVAL);
	assert_int_equal(ob_incoming_pull(in, get, &line, &err), -EIO);
	assert_int_equal(ob_incoming_destroy(in, &err), 0);
	end_side(to);
	assert_int_equal(to[0].resets, 1);
	assert_int_equal(to[0].state, OB_CLIENT_RUNNING);
}

/* Its flush takes longer than a server may keep us waiting. */
static void a_drive_that_is_not_free_at_once(void **state)
{
	(void)state;
	prepare(1);
	from[0].busy_reads = 3;
	moved(migrate());
	assert_int_equal(from[0].busy_reads, 0);
	assert_true(vmm.slept > 0);
}

static void a_drive_that_is_never_free(void **state)
{
	(void)state;
	prepare(1);
	from[0].busy_reads = UINT32_MAX;
	stayed(migrate());
	assert_non_null(strstr(err.msg, "10 s"));
	assert_in_range(vmm.now, UINT64_C(10000000000),
			UINT64_C(12000000000));
}

static int cancel_when_busy(void *arg, const struct ob_migrate_progress *now)
{
	(void)arg;
	(void)now;
	return mig_find("a busy", 0) < 0 ? 0 : -EINTR;
}

static void a_wait_for_a_drive_is_cancelled(void **state)
{
	struct ob_migrate_ops ops = vmm_ops;

	(void)state;
	prepare(1);
	ops.progress = cancel_when_busy;
	params.ops = &ops;
	from[0].busy_reads = UINT32_MAX;
	stayed(migrate());
	assert_true(vmm.now < UINT64_C(1000000000));
}

/* It ran and has the drive, which the source needs back. */
static void a_destination_that_frees_its_drive_late(void **state)
{
	(void)state;
	prepare(1);
	vmm.start_fails = true;
	to[0].busy_reads = 2;
	stayed(migrate());
	assert_int_equal(to[0].busy_reads, 0);
	assert_true(mig_find("A busy", 0) < mig_find("A reset", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_does_not_converge_is_stopped),
		cmocka_unit_test(or_given_up),
		cmocka_unit_test(slow_convergence),
		cmocka_unit_test(bandwidth_is_kept_while_the_guest_runs),
		cmocka_unit_test(several_ranges),
		cmocka_unit_test(a_destination_that_takes_little),
		cmocka_unit_test(short_answers),
		cmocka_unit_test(halves_that_go_well),
		cmocka_unit_test(halves_that_do_not),
		cmocka_unit_test(a_drive_that_is_not_free_at_once),
		cmocka_unit_test(a_drive_that_is_never_free),
		cmocka_unit_test(a_wait_for_a_drive_is_cancelled),
		cmocka_unit_test(a_destination_that_frees_its_drive_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
