// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mig_vmm.h"

struct mig_peer from[DEVICES], to[DEVICES];
unsigned count;
struct ob_migrate_params params;
struct ob_migrate_result result;
struct ob_err err;
struct mig_vmm vmm;

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

const struct ob_migrate_ops vmm_ops = {
	.step = vmm_step, .progress = vmm_progress, .ram_dirty = vmm_dirty,
	.ram_copy = vmm_copy, .stop_guest = vmm_stop, .restore = vmm_restore,
	.start_guest = vmm_start, .continue_guest = vmm_continue,
	.sleep = vmm_sleep, .now = vmm_now,
};
static const struct ob_client_range ram = {
	RAM_BASE, RAM_PAGES * MIG_PAGE,
};

void set(struct mig_peer *m, const char *name)
{
	memset(m, 0, sizeof(*m));
	m->name = name;
	m->fail_at = m->die_at = -1;
	m->live = 5 * MIG_XFER;
	m->rest = 100;
	m->dirty_page = RAM_BASE + 7 * MIG_PAGE;
}

void prepare(unsigned devices)
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
		.ops = &vmm_ops, .precopy = true, .ram = &ram, .nr_ram = 1,
	};
	mig_trace_log.count = 0;
	memset(&err, 0, sizeof(err));
}

void start_side(struct mig_peer *side, struct ob_client **list)
{
	for (unsigned i = 0; i < count; i++) {
		mig_peer_start(&side[i]);
		list[i] = side[i].client;
	}
}

void end_side(struct mig_peer *side)
{
	for (unsigned i = 0; i < count; i++)
		mig_peer_end(&side[i]);
}

int migrate(void)
{
	struct ob_client *sources[DEVICES], *destinations[DEVICES];
	int r;

	start_side(from, sources);
	start_side(to, destinations);
	r = ob_migrate(sources, destinations, count, &params, &result, &err);
	end_side(from);
	end_side(to);
	return r;
}

void moved(int r)
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

void stayed(int r)
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

void in_order(const char *const *lines)
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
