// SPDX-License-Identifier: BSD-3-Clause
/* What is to be seen while it runs, the account, and the verdict. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "move.h"
#include "report.h"
#include "torture.h"

#define LINE_NS 200000000ull		/* on a terminal */
#define LOG_NS 10000000000ull		/* elsewhere */
/* Old rings that are not over yet, a client that has moved; pools that filled. */
#define FDS_MORE 8u
#define KEEPER_MORE (256u << 10)
#define WORKER_MORE (4u << 20)

static uint64_t wrong_blocks(const struct torture *t)
{
	const struct verify *v = &t->guest->verify;

	return v->lost + v->stale + v->damaged;
}

const char *const torture_event_names[TORTURE_NR_EVENTS] = {
	"kill", "upgrade", "nothing",
};

void torture_line(struct torture *t, bool last)
{
	bool terminal = isatty(STDERR_FILENO);
	const struct guest *g = t->guest;
	uint64_t now = now_ns();

	if (last && terminal)
		fputs("\r\033[K", stderr);
	if (last || now < t->next_line_ns)
		return;
	t->next_line_ns = now + (terminal ? LINE_NS : LOG_NS);
	fprintf(stderr, "%s%5.1f s  %" PRIu64 " kills, %" PRIu64 " upgrades, %"
		PRIu64 " moves, %" PRIu64 " I/Os, %" PRIu64 " errors, %" PRIu64
		" wrong%s", terminal ? "\r" : "",
		(double)(now - t->started_ns) / 1e9,
		__atomic_load_n(&t->kills, __ATOMIC_RELAXED),
		__atomic_load_n(&t->upgrades, __ATOMIC_RELAXED), t->moves,
		g->done, g->faults.errors + g->faults.twice, wrong_blocks(t),
		terminal ? "\033[K" : "\n");
	fflush(stderr);
}

/* Of all servers: who has the device has more than the others, and moves change that. */
static int check_descriptors(const struct torture *t, struct ob_err *err)
{
	struct torture_size a = { 0 }, b = { 0 };

	for (unsigned i = 0; i < t->nr_servers; i++) {
		a.keeper_fds += t->first[i].keeper_fds;
		a.worker_fds += t->first[i].worker_fds;
		b.keeper_fds += t->last[i].keeper_fds;
		b.worker_fds += t->last[i].worker_fds;
	}
	if (b.keeper_fds <= a.keeper_fds + FDS_MORE &&
	    b.worker_fds <= a.worker_fds + FDS_MORE)
		return 0;
	return ob_fail(err, EMFILE, "descriptors: keeper %u to %u, worker %u to %u",
		       a.keeper_fds, b.keeper_fds, a.worker_fds, b.worker_fds);
}

static int check_growth(const struct torture *t, struct ob_err *err)
{
	for (unsigned i = 0; i < t->nr_servers; i++) {
		const struct torture_size *a = &t->first[i], *b = &t->last[i];

		if (b->keeper_memory > a->keeper_memory + KEEPER_MORE ||
		    b->worker_memory > a->worker_memory + WORKER_MORE)
			return ob_fail(err, ENOMEM, "memory: keeper %zu to "
				       "%zu, worker %zu to %zu bytes",
				       a->keeper_memory, b->keeper_memory,
				       a->worker_memory, b->worker_memory);
	}
	return check_descriptors(t, err);
}

int torture_verdict(const struct torture *t, struct ob_err *err)
{
	const struct guest *g = t->guest;

	if (g->faults.errors || g->faults.twice || wrong_blocks(t)) {
		*err = g->faults.first;
		return -EILSEQ;
	}
	if (t->opt.kills != UINT64_MAX &&
	    t->kills + t->upgrades + t->nothings < t->opt.kills)
		return ob_fail(err, ETIMEDOUT, "%" PRIu64 " of %" PRIu64
			       " events happened in time",
			       t->kills + t->upgrades + t->nothings,
			       t->opt.kills);
	return check_growth(t, err);
}

static void print_sizes(const struct torture *t, FILE *f)
{
	for (unsigned i = 0; i < t->nr_servers; i++) {
		const struct torture_size *a = &t->first[i], *b = &t->last[i];

		fprintf(f, "keeper     %u descriptors, %zu KiB; at the end %u, "
			"%zu\n", a->keeper_fds, a->keeper_memory >> 10,
			b->keeper_fds, b->keeper_memory >> 10);
		fprintf(f, "worker     %u descriptors, %zu KiB; at the end %u, "
			"%zu\n", a->worker_fds, a->worker_memory >> 10,
			b->worker_fds, b->worker_memory >> 10);
	}
}

static void print_times(const struct hist *h, const char *name,
			const char *what, FILE *f)
{
	char p50[MOVE_TIME_MAX], p99[MOVE_TIME_MAX], max[MOVE_TIME_MAX];

	if (h->count)
		fprintf(f, "%-10s %s: p50 %s, p99 %s, max %s\n", name, what,
			move_time(hist_percentile(h, 0.5), p50),
			move_time(hist_percentile(h, 0.99), p99),
			move_time(h->max, max));
}

static void print_stalls(const struct torture *t, unsigned event, FILE *f)
{
	const char *name = torture_event_names[event];

	print_times(&t->gaps[event], name, "gap", f);
	print_times(&t->stalls[event], name, "longest stall", f);
}

static void print_slowest(const struct torture *t, FILE *f)
{
	char slowest[MOVE_TIME_MAX];

	fprintf(f, "slowest    %s (an I/O of the guest's)\n",
		move_time(t->slowest_ns, slowest));
}

void torture_print(const struct torture *t, FILE *f)
{
	const struct guest *g = t->guest;
	const struct verify *v = &g->verify;

	fprintf(f, "seed       %" PRIu64 ", %.1f s\n", t->opt.seed,
		(double)(t->ended_ns - t->started_ns) / 1e9);
	fprintf(f, "kills      %" PRIu64 "\n", t->kills);
	if (t->opt.upgrade)
		fprintf(f, "upgrades   %" PRIu64 ", %" PRIu64 " refused\n",
			t->upgrades, t->refused);
	if (t->opt.migrate)
		fprintf(f, "moves      %" PRIu64 ", cut short by a death %"
			PRIu64 ", called off %" PRIu64 "\n", t->moves, t->cuts,
			t->cancels);
	fprintf(f, "I/Os       %" PRIu64 " (%" PRIu64 " reads, %" PRIu64
		" writes, %" PRIu64 " flushes)\n", g->done, g->reads,
		g->writes, g->flushes);
	fprintf(f, "errors     %" PRIu64 "\n", g->faults.errors);
	fprintf(f, "blocks     %" PRIu64 " lost, %" PRIu64 " stale, %" PRIu64
		" damaged\n", v->lost, v->stale, v->damaged);
	if (t->opt.vm)
		print_slowest(t, f);
	else
		fprintf(f, "completed twice  %" PRIu64 "\n", g->faults.twice);
	print_sizes(t, f);
	for (unsigned i = 0; i < TORTURE_NR_EVENTS; i++)
		print_stalls(t, i, f);
}

static json_t *describe_stalls(const struct hist *h)
{
	return json_pack("{s:I, s:f, s:f, s:f}", "count",
			 (json_int_t)h->count, "p50",
			 (double)hist_percentile(h, 0.5) / 1e3, "p99",
			 (double)hist_percentile(h, 0.99) / 1e3, "max",
			 (double)h->max / 1e3);
}

static json_t *describe_size(const struct torture_size *s)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "keeper fds",
			 (json_int_t)s->keeper_fds, "worker fds",
			 (json_int_t)s->worker_fds, "keeper bytes",
			 (json_int_t)s->keeper_memory, "worker bytes",
			 (json_int_t)s->worker_memory);
}

static void add_stalls(const struct torture *t, json_t *tree)
{
	char key[32];

	for (unsigned i = 0; i < TORTURE_NR_EVENTS; i++) {
		snprintf(key, sizeof(key), "%s stall us", torture_event_names[i]);
		json_object_set_new(tree, key, describe_stalls(&t->stalls[i]));
		snprintf(key, sizeof(key), "%s gap us", torture_event_names[i]);
		json_object_set_new(tree, key, describe_stalls(&t->gaps[i]));
	}
}

json_t *torture_describe(const struct torture *t)
{
	const struct guest *g = t->guest;
	const struct verify *v = &g->verify;
	json_t *tree = json_pack(
		"{s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
		" s:I, s:I, s:I, s:I}",
		"seed", (json_int_t)t->opt.seed, "seconds",
		(double)(t->ended_ns - t->started_ns) / 1e9,
		"kills", (json_int_t)t->kills,
		"upgrades", (json_int_t)t->upgrades,
		"refused", (json_int_t)t->refused,
		"moves", (json_int_t)t->moves, "cuts", (json_int_t)t->cuts,
		"ios", (json_int_t)g->done, "reads", (json_int_t)g->reads,
		"writes", (json_int_t)g->writes,
		"flushes", (json_int_t)g->flushes,
		"errors", (json_int_t)g->faults.errors,
		"lost", (json_int_t)v->lost, "stale", (json_int_t)v->stale,
		"damaged", (json_int_t)v->damaged,
		"twice", (json_int_t)g->faults.twice);

	if (t->opt.vm)
		json_object_set_new(tree, "slowest us",
				    json_real((double)t->slowest_ns / 1e3));
	json_object_set_new(tree, "first", describe_size(&t->first[0]));
	json_object_set_new(tree, "last", describe_size(&t->last[0]));
	add_stalls(t, tree);
	return tree;
}
