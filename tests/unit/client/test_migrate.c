// SPDX-License-Identifier: BSD-3-Clause
/*
 * The order of a migration, between scripted devices: as it should be, ended
 * at every step and every call, and with sources and destinations of all
 * sorts.  Time is the test's own.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <outboard/migrate.h>

#include "mig_peer.h"

#define DEVICES 2
#define RAM_PAGES 512u
#define RAM_BASE 0x40000000u

static struct mig_peer from[DEVICES], to[DEVICES];
static unsigned count;
static struct ob_migrate_result result;
static struct ob_err err;

/* The guest and its VMM. */
static struct {
	bool runs, moved;
	unsigned copies[RAM_PAGES], late_copies[RAM_PAGES];
	int fail_step, steps;		/* the step to end at, by number */
	uint64_t now, slept;
	uint64_t ns_per_call;
	uint64_t cpu_dirty;		/* pages, each time */
	bool stop_fails, start_fails, restore_fails, copy_fails;
	uint64_t cancel_left;
	unsigned progress;
} vmm;

static uint64_t vmm_now(void *arg)
{
	(void)arg;
	return vmm.now += vmm.ns_per_call;
}

static void vmm_sleep(void *arg, uint64_t ns)
{
	(void)arg;
	vmm.now += ns;
	vmm.slept += ns;
}

static int vmm_step(void *arg, enum ob_migrate_step step, unsigned device)
{
	(void)arg;
	assert_true(device < count);
	assert_string_not_equal(ob_migrate_step_name(step), "unknown");
	return vmm.steps++ == vmm.fail_step ? 1 : 0;
}

static int vmm_progress(void *arg, const struct ob_migrate_progress *now)
{
	(void)arg;
	(void)now;
	vmm.progress++;
	return 0;
}

static int vmm_dirty(void *arg, unsigned range, uint64_t *bitmap,
		     struct ob_err *why)
{
	(void)arg;
	(void)why;
	assert_int_equal(range, 0);
	for (uint64_t i = 0; vmm.runs && i < vmm.cpu_dirty; i++)
		bitmap[i / 64] |= UINT64_C(1) << i % 64;
	return 0;
}

static int vmm_copy(void *arg, const struct ob_migrate_pages *pages,
		    struct ob_err *why)
{
	uint64_t first = (pages->iova - RAM_BASE) / pages->page;

	(void)arg;
	if (vmm.copy_fails)
		return ob_fail(why, ENOSPC, "no room over there");
	assert_true(pages->iova >= RAM_BASE);
	for (uint64_t i = 0; i < pages->length / pages->page; i++) {
		if (!(pages->bitmap[i / 64] >> i % 64 & 1))
			continue;
		assert_true(first + i < RAM_PAGES);
		vmm.copies[first + i]++;
		if (!vmm.runs)
			vmm.late_copies[first + i]++;
	}
	mig_trace("ram");
	return 0;
}

static int vmm_stop(void *arg, struct ob_err *why)
{
	(void)arg;
	(void)why;
	mig_trace("guest stops");
	if (vmm.stop_fails)
		return -EPERM;
	vmm.runs = false;
	return 0;
}

static int vmm_restore(void *arg, struct ob_err *why)
{
	(void)arg;
	mig_trace("restore");
	return vmm.restore_fails ? ob_fail(why, EIO, "no such BAR") : 0;
}

static int vmm_start(void *arg, struct ob_err *why)
{
	(void)arg;
	(void)why;
	mig_trace("guest starts");
	if (vmm.start_fails)
		return -EPERM;
	vmm.runs = vmm.moved = true;
	return 0;
}

static void vmm_continue(void *arg)
{
	(void)arg;
	mig_trace("guest goes on");
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(from[i].state, OB_CLIENT_RUNNING);
	vmm.runs = true;
}

static const struct ob_migrate_ops ops = {
	.step = vmm_step, .progress = vmm_progress, .ram_dirty = vmm_dirty,
	.ram_copy = vmm_copy, .stop_guest = vmm_stop, .restore = vmm_restore,
	.start_guest = vmm_start, .continue_guest = vmm_continue,
	.sleep = vmm_sleep, .now = vmm_now,
};
static const struct ob_client_range ram = {
	RAM_BASE, RAM_PAGES * MIG_PAGE,
};
static struct ob_migrate_params params;

static void set(struct mig_peer *m, const char *name)
{
	memset(m, 0, sizeof(*m));
	m->name = name;
	m->fail_at = m->die_at = -1;
	m->live = 5 * MIG_XFER;
	m->rest = 100;
	m->dirty_page = RAM_BASE + 7 * MIG_PAGE;
}

/* Two devices with everything, a guest that runs; tests change that. */
static void prepare(unsigned devices)
{
	static const char *const names[][DEVICES] = {
		{ "a", "b" }, { "A", "B" },
	};

	for (unsigned i = 0; i < DEVICES; i++) {
		set(&from[i], names[0][i]);
		set(&to[i], names[1][i]);
	}
	count = devices;
	memset(&vmm, 0, sizeof(vmm));
	vmm.runs = true;
	vmm.fail_step = -1;
	vmm.ns_per_call = 1000;
	params = (struct ob_migrate_params){
		.ops = &ops, .precopy = true, .ram = &ram, .nr_ram = 1,
	};
	mig_trace_log.count = 0;
	memset(&err, 0, sizeof(err));
}

static void clients(struct mig_peer *side, struct ob_client **list)
{
	for (unsigned i = 0; i < count; i++) {
		mig_peer_start(&side[i]);
		list[i] = side[i].client;
	}
}

static void end(struct mig_peer *side)
{
	for (unsigned i = 0; i < count; i++)
		mig_peer_end(&side[i]);
}

static int migrate(void)
{
	struct ob_client *sources[DEVICES], *destinations[DEVICES];
	int r;

	clients(from, sources);
	clients(to, destinations);
	r = ob_migrate(sources, destinations, count, &params, &result, &err);
	end(from);
	end(to);
	return r;
}

static void moved(int r)
{
	if (r)
		fail_msg("%d %s", r, err.msg);
	assert_int_equal(result.outcome, OB_MIGRATE_MOVED);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(to[i].state, OB_CLIENT_RUNNING);
		assert_true(to[i].loaded);
		assert_int_equal(from[i].state, OB_CLIENT_STOP);
		assert_false(from[i].logging);
	}
	assert_true(vmm.moved);
}

/* As if nothing had been: the guest runs here, and nothing runs there. */
static void stayed(int r)
{
	assert_true(r < 0);
	assert_true(err.msg[0]);
	if (result.outcome != OB_MIGRATE_STAYED)
		fail_msg("outcome %d: %s; %s", result.outcome, err.msg,
			 result.note);
	assert_true(vmm.runs);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(from[i].state, OB_CLIENT_RUNNING);
		assert_false(from[i].logging);
		assert_int_equal(from[i].resets, 0);
		if (to[i].die_at >= 0)
			continue;
		assert_int_equal(to[i].state, OB_CLIENT_RUNNING);
		assert_false(to[i].loaded);
	}
}

/* Each line comes behind the one before it. */
static void in_order(const char *const *lines)
{
	for (int at = -1; *lines; lines++) {
		int next = mig_find(*lines, at + 1);

		if (next < 0) {
			for (unsigned i = 0; i < mig_trace_log.count; i++)
				print_message("  %s\n",
					      mig_trace_log.lines[i]);
			fail_msg("'%s' is not there, or too early", *lines);
		}
		at = next;
	}
}

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

	clients(from, &client);
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

	clients(to, &client);
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
	end(from);
	end(to);
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
	end(from);
	stayed(-EPIPE);

	/* All is sent, and then given up; twice is the same as once. */
	prepare(1);
	memset(&line, 0, sizeof(line));
	assert_int_equal(send_half(&out), 0);
	assert_int_equal(ob_outgoing_undo(out, &err), 0);
	assert_int_equal(from[0].state, OB_CLIENT_RUNNING);
	ob_outgoing_destroy(out);
	end(from);
	assert_true(vmm.runs);

	/* Forgotten. */
	prepare(1);
	memset(&line, 0, sizeof(line));
	assert_int_equal(send_half(&out), 0);
	ob_outgoing_destroy(out);
	end(from);
	assert_int_equal(from[0].state, OB_CLIENT_RUNNING);
	assert_true(vmm.runs);

	/* The stream ends early; the destination is as new. */
	prepare(1);
	line.fail_at = 1;
	clients(to, &client);
	assert_int_equal(ob_incoming_begin(&client, 1, NULL, &in, NULL, &err),
			 0);
	assert_int_equal(ob_incoming_put(in, 1, "x", 1, &err), -EINVAL);
	assert_int_equal(ob_incoming_pull(in, get, &line, &err), -EIO);
	assert_int_equal(ob_incoming_destroy(in, &err), 0);
	end(to);
	assert_int_equal(to[0].resets, 1);
	assert_int_equal(to[0].state, OB_CLIENT_RUNNING);
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
		cmocka_unit_test(what_does_not_converge_is_stopped),
		cmocka_unit_test(or_given_up),
		cmocka_unit_test(slow_convergence),
		cmocka_unit_test(bandwidth_is_kept_while_the_guest_runs),
		cmocka_unit_test(halves_that_go_well),
		cmocka_unit_test(halves_that_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
