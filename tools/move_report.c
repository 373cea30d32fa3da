// SPDX-License-Identifier: BSD-3-Clause
/* The account of a move: a table for people, a tree for programs. */
#include <inttypes.h>
#include <string.h>

#include "move.h"
#include "report.h"
#include "tools.h"

const struct move_phase move_phases[] = {
	{ "stop", OB_MIGRATE_STOP_GUEST, OB_MIGRATE_STOP_COPY },
	{ "rest", OB_MIGRATE_LAST_REPORT, OB_MIGRATE_LAST_DATA },
	{ "load", OB_MIGRATE_LOAD, OB_MIGRATE_RESTORE },
	{ "run", OB_MIGRATE_LOG_STOP, OB_MIGRATE_START_GUEST },
	{ NULL, 0, 0 },
};

static const struct move_phase prepare = {
	"prepare", OB_MIGRATE_CHECK, OB_MIGRATE_PRE_COPY,
};

static const char *const outcomes[] = {
	[OB_MIGRATE_STAYED] = "stayed", [OB_MIGRATE_SENT] = "sent",
	[OB_MIGRATE_MOVED] = "moved", [OB_MIGRATE_STUCK] = "stuck",
};

uint64_t move_phase_ns(const struct ob_migrate_result *result,
		       const struct move_phase *phase)
{
	uint64_t ns = 0;

	for (int i = (int)phase->first; i <= (int)phase->last; i++)
		ns += result->steps[i].total_ns;
	return ns;
}

char *move_time(uint64_t ns, char buf[MOVE_TIME_MAX])
{
	if (ns >= 1000000000)
		snprintf(buf, MOVE_TIME_MAX, "%.2f s", (double)ns / 1e9);
	else if (ns >= 1000000)
		snprintf(buf, MOVE_TIME_MAX, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(buf, MOVE_TIME_MAX, "%.0f us", (double)ns / 1e3);
	return buf;
}

int move_failed(const char *verb, const struct ob_migrate_result *result,
		const struct ob_err *err)
{
	fprintf(stderr, "outboard %s: %s%s\n", verb,
		move_interrupted() ? "interrupted" : err->msg,
		result->outcome == OB_MIGRATE_STAYED ? "; the source goes on"
						     : "");
	if (result->note[0])
		fprintf(stderr, "outboard %s: then: %s\n", verb,
			result->note);
	return TOOL_FAILED;
}

static void print_rate(FILE *f, uint64_t bytes, uint64_t ns)
{
	char rate[REPORT_SIZE_MAX];

	if (ns && bytes)
		report_size((unsigned long long)((double)bytes * 1e9 /
						 (double)ns), rate);
	else
		strcpy(rate, "-");
	fprintf(f, "  %10s%s", rate, ns && bytes ? "/s" : "  ");
}

static void print_row(FILE *f, const char *name, uint64_t ns, uint64_t bytes)
{
	char time[MOVE_TIME_MAX], size[REPORT_SIZE_MAX];

	fprintf(f, "%-10s %9s  %10s", name, move_time(ns, time),
		bytes ? report_size(bytes, size) : "-");
	print_rate(f, bytes, ns);
}

static void print_rounds(FILE *f, const struct ob_migrate_result *result)
{
	char name[32], left[REPORT_SIZE_MAX], dirty[REPORT_SIZE_MAX];

	for (unsigned i = 0; i < result->nr_rounds; i++) {
		const struct ob_migrate_round *round = &result->rounds[i];

		snprintf(name, sizeof(name), "round %u", i + 1);
		print_row(f, name, round->ns,
			  round->device_bytes + round->ram_bytes);
		fprintf(f, "  %10s  %10s/s\n",
			report_size(round->left, left),
			report_size((unsigned long long)round->dirty_rate,
				    dirty));
	}
}

static void print_summary(FILE *f, const struct ob_migrate_result *result)
{
	char size[REPORT_SIZE_MAX], all[MOVE_TIME_MAX], down[MOVE_TIME_MAX];

	fprintf(f, "%s %s in %s, downtime %s",
		result->outcome == OB_MIGRATE_MOVED ? "Moved" : "Sent",
		report_size(result->device_bytes + result->ram_bytes, size),
		move_time(result->total_ns, all),
		move_time(result->downtime_ns, down));
	if (result->nr_rounds)
		fprintf(f, ", %u round%s%s", result->nr_rounds,
			result->nr_rounds == 1 ? "" : "s",
			result->converged ? ""
					  : ", which did not converge");
	fputs("\n\n", f);
}

void move_print(FILE *f, const struct ob_migrate_result *result)
{
	print_summary(f, result);
	fprintf(f, "%-10s %9s  %10s  %12s  %10s  %12s\n", "phase", "time",
		"bytes", "rate", "left", "dirty");
	print_row(f, prepare.name, move_phase_ns(result, &prepare), 0);
	fputc('\n', f);
	print_rounds(f, result);
	for (const struct move_phase *p = move_phases; p->name; p++) {
		bool rest = p->first == OB_MIGRATE_LAST_REPORT;

		print_row(f, p->name, move_phase_ns(result, p),
			  rest ? result->last_device_bytes +
				 result->last_ram_bytes : 0);
		fputc('\n', f);
	}
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* What a server claims has 64 bits, JSON's readers have 63. */
static json_int_t bytes_of(uint64_t n)
{
	return n < INT64_MAX ? (json_int_t)n : INT64_MAX;
}

static json_t *describe_rounds(const struct ob_migrate_result *result)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < result->nr_rounds; i++) {
		const struct ob_migrate_round *round = &result->rounds[i];

		json_array_append_new(list,
			json_pack("{s:f, s:f, s:I, s:I, s:I, s:f}",
				  "start_ms", ms(round->start_ns), "ms",
				  ms(round->ns), "device_bytes",
				  bytes_of(round->device_bytes),
				  "ram_bytes", bytes_of(round->ram_bytes),
				  "left_bytes", bytes_of(round->left),
				  "dirty_bytes_per_second",
				  round->dirty_rate));
	}
	return list;
}

static json_t *describe_phases(const struct ob_migrate_result *result)
{
	json_t *obj = json_pack("{s:f}", prepare.name,
				ms(move_phase_ns(result, &prepare)));

	for (const struct move_phase *p = move_phases; p->name; p++)
		json_object_set_new(obj, p->name,
			json_real(ms(move_phase_ns(result, p))));
	return obj;
}

json_t *move_describe(const struct ob_migrate_result *result)
{
	json_t *tree = json_pack(
		"{s:s, s:b, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:o, s:o}",
		"outcome", outcomes[result->outcome], "converged",
		result->converged, "total_ms", ms(result->total_ns),
		"downtime_ms", ms(result->downtime_ns), "blackout_at_ms",
		ms(result->blackout_ns), "device_bytes",
		bytes_of(result->device_bytes), "ram_bytes",
		bytes_of(result->ram_bytes), "last_device_bytes",
		bytes_of(result->last_device_bytes), "last_ram_bytes",
		bytes_of(result->last_ram_bytes), "bytes_per_second",
		result->rate, "phases_ms", describe_phases(result), "rounds",
		describe_rounds(result));

	if (result->note[0])
		json_object_set_new(tree, "note", json_string(result->note));
	return tree;
}
