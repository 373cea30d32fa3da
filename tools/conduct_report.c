// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is seen of a VM's migration while it goes on, and the account at its end:
 * how long the VM was blacked out, how much of that was QEMU's and how much ours.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "conduct.h"
#include "conduct_view.h"
#include "move.h"
#include "report.h"

#define DRAW_US UINT64_C(150000)
#define BAR_WIDTH 24

/* -- meanwhile --------------------------------------------------------- */

void conduct_view_init(struct conduct_view *view)
{
	*view = (struct conduct_view){
		.to = stderr, .bar = isatty(STDERR_FILENO),
	};
}

void conduct_view_end(struct conduct_view *view)
{
	if (view->drawn)
		fputs("\r\033[K", view->to);
	fflush(view->to);
	view->drawn = false;
}

static void ask_qemu(struct conductor *c)
{
	json_t *now = NULL;
	json_int_t sent = 0, left = 0, total = 0, rate = 0;

	if (!c->qmp[CONDUCT_FROM] || !c->migrating)
		return;
	if (ob_qmp_call(c->qmp[CONDUCT_FROM], "query-migrate", NULL, &now,
			NULL))
		return;
	if (!json_unpack(now, "{s:{s:I, s:I, s:I, s?I}}", "ram", "transferred",
			 &sent, "remaining", &left, "total", &total,
			 "dirty-pages-rate", &rate)) {
		c->now.ram_sent = (uint64_t)sent;
		c->now.ram_left = (uint64_t)left;
		c->now.ram_total = (uint64_t)total;
		c->now.ram_dirty = (double)rate * 4096;
	}
	json_decref(now);
}

static void keep_sample(struct conduct_view *view, const struct conductor *c)
{
	if (view->nr_samples == CONDUCT_SAMPLES) {
		view->nr_samples /= 2;
		for (unsigned i = 0; i < view->nr_samples; i++)
			view->samples[i] = view->samples[2 * i];
	}
	view->samples[view->nr_samples++] = (struct conduct_sample){
		.us = conduct_now(),
		.sent = c->now.ram_sent + c->now.device_sent,
		.left = c->now.ram_left + c->now.device_left,
	};
}

static void draw_bar(FILE *f, double share)
{
	char bar[BAR_WIDTH + 1];

	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)(share * BAR_WIDTH));
	bar[BAR_WIDTH] = 0;
	fprintf(f, " [%s]", bar);
}

static void draw(struct conduct_view *view, const struct conductor *c)
{
	const struct conduct_progress *now = &c->now;
	char size[REPORT_SIZE_MAX];

	fprintf(view->to, "\r%-10s", now->phase);
	if (now->ram_total)
		draw_bar(view->to, 1 - (double)now->ram_left /
					       (double)now->ram_total);
	fprintf(view->to, "  memory %s left", report_size(now->ram_left, size));
	if (now->ram_dirty > 0)
		fprintf(view->to, ", dirty %s/s", report_size(
			(unsigned long long)now->ram_dirty, size));
	fprintf(view->to, "  devices %s sent",
		report_size(now->device_sent, size));
	fprintf(view->to, ", %s left", report_size(now->device_left, size));
	fprintf(view->to, ", %" PRIu64 " pages\033[K", now->pages);
	fflush(view->to);
	view->drawn = true;
}

/* A bar on a terminal, a line for each phase elsewhere. */
void conduct_progress(struct conductor *c)
{
	struct conduct_view *view = c->view;
	uint64_t now = conduct_now();

	if (!view || !c->now.phase)
		return;
	if (view->phase != c->now.phase && !view->bar)
		fprintf(view->to, "outboard %s: %s\n", c->params.verb,
			c->now.phase);
	if (view->phase == c->now.phase && now < view->next_us)
		return;
	view->phase = c->now.phase;
	view->next_us = now + DRAW_US;
	if (!c->stood)		/* in the pause nobody is asked for numbers */
		ask_qemu(c);
	keep_sample(view, c);
	if (view->bar)
		draw(view, c);
}

/* -- the account ------------------------------------------------------- */

const struct conduct_part conduct_parts[] = {
	{ "notice", CONDUCT_STOPPED, CONDUCT_SEEN, false,
	  "until the stop was heard of" },
	{ "standstill", CONDUCT_SEEN, CONDUCT_QUIET, false,
	  "devices end what is in flight" },
	{ "look", CONDUCT_QUIET, CONDUCT_TAKEN, false,
	  "what QEMU has of them is read" },
	{ "last pass", CONDUCT_TAKEN, CONDUCT_QEMU, true,
	  "QEMU's memory and machine" },
	{ "devices", CONDUCT_QEMU, CONDUCT_STREAMS, false,
	  "what their streams took longer" },
	{ "pages", CONDUCT_STREAMS, CONDUCT_APPLIED, false,
	  "written by devices, put in place" },
	{ "repair", CONDUCT_APPLIED, CONDUCT_REPAIRED, false,
	  "addresses and interrupts in QEMU" },
	{ "drives", CONDUCT_REPAIRED, CONDUCT_RESUMED, false,
	  "locks taken, devices run" },
	{ "run", CONDUCT_RESUMED, CONDUCT_RAN, true, "QEMU lets the VM run" },
	{ NULL, 0, 0, false, NULL },
};

uint64_t conduct_part_us(const struct conductor *c,
			 const struct conduct_part *part)
{
	uint64_t from = c->marks[part->from], to = c->marks[part->to];

	return from && to > from ? to - from : 0;
}

uint64_t conduct_blackout_us(const struct conductor *c)
{
	uint64_t from = c->marks[CONDUCT_STOPPED], to = c->marks[CONDUCT_RAN];

	return from && to > from ? to - from : 0;
}

static uint64_t share_us(const struct conductor *c, bool qemu)
{
	uint64_t sum = 0;

	for (const struct conduct_part *p = conduct_parts; p->name; p++)
		if (p->qemu == qemu)
			sum += conduct_part_us(c, p);
	return sum;
}

static uint64_t total_us(const struct conductor *c)
{
	return c->marks[CONDUCT_ENDED] - c->marks[CONDUCT_BEGAN];
}

void conduct_print(const struct conductor *c, FILE *f)
{
	char a[MOVE_TIME_MAX], b[MOVE_TIME_MAX], d[MOVE_TIME_MAX];
	char size[REPORT_SIZE_MAX];

	fprintf(f, "Moved %s of memory and %u device%s in %s, blackout %s: "
		"QEMU's %s, ",
		report_size((unsigned long long)c->memory[0], size),
		c->nr_devices, c->nr_devices == 1 ? "" : "s",
		move_time(total_us(c) * 1000, a),
		move_time(conduct_blackout_us(c) * 1000, b),
		move_time(share_us(c, true) * 1000, d));
	fprintf(f, "ours %s\n\n", move_time(share_us(c, false) * 1000, a));
	fprintf(f, "%-12s %10s  %-6s\n", "blackout", "time", "whose");
	for (const struct conduct_part *p = conduct_parts; p->name; p++)
		fprintf(f, "%-12s %10s  %-6s %s\n", p->name,
			move_time(conduct_part_us(c, p) * 1000, a),
			p->qemu ? "QEMU's" : "ours", p->what);
	fprintf(f, "\n%-12s %10s  %10s  %s\n", "device", "state", "pages",
		"interrupts");
	for (unsigned i = 0; i < c->nr_devices; i++)
		fprintf(f, "%-12s %10s  %10" PRIu64 "  %s\n",
			c->devices[i].ends[CONDUCT_FROM].qdev,
			report_size(c->devices[i].bytes, size),
			c->devices[i].pages,
			conduct_answers[c->devices[i].answer]);
}

static json_t *describe_parts(const struct conductor *c, bool qemu)
{
	json_t *obj = json_object();

	for (const struct conduct_part *p = conduct_parts; p->name; p++)
		if (p->qemu == qemu)
			json_object_set_new(obj, p->name, json_real(
				(double)conduct_part_us(c, p) / 1e3));
	return obj;
}

static json_t *describe_devices(const struct conductor *c)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < c->nr_devices; i++) {
		const struct conduct_device *d = &c->devices[i];
		const struct conduct_signs *s = &d->ends[CONDUCT_TO].signs;

		json_array_append_new(list, json_pack(
			"{s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:s, s:{s:I, s:I, s:I}}",
			"id", d->ends[0].qdev, "model", d->ends[0].model,
			"from", d->ends[0].id, "to", d->ends[1].id,
			"bytes", (json_int_t)d->bytes,
			"pages", (json_int_t)d->pages,
			"vectors", (int)(d->repair.table_len / 16),
			"interrupts", conduct_answers[d->answer], "signalled",
			"intx", (json_int_t)s->intx, "msi", (json_int_t)s->msi,
			"msix", (json_int_t)s->msix));
	}
	return list;
}

json_t *conduct_describe(const struct conductor *c, const char *outcome)
{
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:{s:o, s:o}, s:o, s:o}",
			 "outcome", outcome,
			 "total_ms", (double)total_us(c) / 1e3,
			 "blackout_ms", (double)conduct_blackout_us(c) / 1e3,
			 "qemu_ms", (double)share_us(c, true) / 1e3,
			 "ours_ms", (double)share_us(c, false) / 1e3,
			 "blackout", "qemu_ms", describe_parts(c, true),
			 "ours_ms", describe_parts(c, false),
			 "devices", describe_devices(c), "warnings",
			 strcmp(outcome, "moved") ? json_array()
						  : conduct_warnings(c));
}
