// SPDX-License-Identifier: BSD-3-Clause
/*
 * A move as a picture: above, what was sent and what was left over time, with
 * the rounds as bands and the blackout as one of its own colour; below, the
 * blackout alone, since next to the whole it is often too short to be seen.
 * Plain SVG, no script and no font of its own.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "move.h"
#include "report.h"

#define WIDTH 960
#define HEIGHT 580
#define LEFT 90.0
#define RIGHT 930.0
#define TOP 96.0
#define BOTTOM 350.0
#define BAR_TOP 456.0
#define BAR_BOTTOM 496.0

struct plot {
	FILE *f;
	const struct ob_migrate_result *result;
	const struct move_view *view;
	double ns, bytes;		/* the ends of the axes */
};

static double x_of(const struct plot *p, double ns)
{
	return LEFT + (RIGHT - LEFT) * ns / p->ns;
}

static double y_of(const struct plot *p, double bytes)
{
	return BOTTOM - (BOTTOM - TOP) * bytes / p->bytes;
}

static void text(const struct plot *p, double x, double y, const char *anchor,
		 const char *words)
{
	fprintf(p->f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s"
		"</text>\n", x, y, anchor, words);
}

static void line(const struct plot *p, double x1, double y1, double x2,
		 double y2, const char *colour)
{
	fprintf(p->f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
		"stroke=\"%s\"/>\n", x1, y1, x2, y2, colour);
}

static void box(const struct plot *p, double x, double y, double width,
		double height, const char *colour, double opacity)
{
	fprintf(p->f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
		"height=\"%.1f\" fill=\"%s\" fill-opacity=\"%.2f\"/>\n", x, y,
		width, height, colour, opacity);
}

/* 1, 2 or 5 times a power of ten, so that `most` of them reach the end. */
static double decimal_step(double end, double most)
{
	double power = pow(10, floor(log10(end / most)));

	for (unsigned i = 0; i < 3; i++) {
		static const double factors[] = { 1, 2, 5 };

		if (power * factors[i] * most >= end)
			return power * factors[i];
	}
	return power * 10;
}

static double binary_step(double end, double most)
{
	return exp2(ceil(log2(end / most)));
}

/* One unit for a whole axis, that of its end. */
static double time_unit(double end, const char **name)
{
	*name = end >= 2e9 ? "s" : end >= 2e6 ? "ms" : "us";
	return end >= 2e9 ? 1e9 : end >= 2e6 ? 1e6 : 1e3;
}

static void time_axis(const struct plot *p, double y, double end,
		      const char *what)
{
	double step = decimal_step(end, 8), unit;
	const char *name;
	char words[96];

	unit = time_unit(end, &name);
	line(p, LEFT, y, RIGHT, y, "#444");
	for (double at = 0; at <= end * 1.0001; at += step) {
		double x = LEFT + (RIGHT - LEFT) * at / end;

		line(p, x, y, x, y + 5, "#444");
		snprintf(words, sizeof(words), "%g", at / unit);
		text(p, x, y + 20, "middle", words);
	}
	snprintf(words, sizeof(words), "%s, %s", what, name);
	text(p, (LEFT + RIGHT) / 2, y + 38, "middle", words);
}

static void byte_axis(const struct plot *p)
{
	double step = binary_step(p->bytes, 6);
	char words[REPORT_SIZE_MAX];

	for (double at = 0; at <= p->bytes * 1.0001; at += step) {
		double y = y_of(p, at);

		line(p, LEFT, y, RIGHT, y, "#ddd");
		text(p, LEFT - 8, y + 4, "end",
		     report_size((unsigned long long)at, words));
	}
	line(p, LEFT, TOP, LEFT, BOTTOM, "#444");
}

static void rounds(const struct plot *p)
{
	for (unsigned i = 0; i < p->result->nr_rounds; i++) {
		const struct ob_migrate_round *round = &p->result->rounds[i];
		double x = x_of(p, (double)round->start_ns);
		double width = x_of(p, (double)(round->start_ns +
						round->ns)) - x;
		char words[32];

		box(p, x, TOP, width, BOTTOM - TOP,
		    i % 2 ? "#c8d8e8" : "#e4ecf4", 0.7);
		snprintf(words, sizeof(words), width < 60 ? "%u" : "round %u",
			 i + 1);
		if (width >= 16)
			text(p, x + width / 2, TOP + 14, "middle", words);
	}
}

/* Never narrower than can be seen. */
static void blackout(const struct plot *p)
{
	double x = x_of(p, (double)p->result->blackout_ns);
	double end = x_of(p, (double)(p->result->blackout_ns +
				      p->result->downtime_ns));

	if (!p->result->downtime_ns)
		return;
	box(p, end - x < 2 ? x - 1 : x, TOP, end - x < 2 ? 2 : end - x,
	    BOTTOM - TOP, "#d55e00", 0.55);
}

static void curve(const struct plot *p, const char *colour, bool left)
{
	const struct ob_migrate_result *result = p->result;
	double begin = (double)(result->nr_rounds ? result->rounds[0].start_ns
						  : result->blackout_ns);
	bool began = false;

	fputs("<polyline points=\"", p->f);
	for (unsigned i = 0; i < p->view->nr_samples; i++) {
		const struct move_sample *s = &p->view->samples[i];

		if (!began)
			fprintf(p->f, "%.1f,%.1f ", x_of(p, begin),
				y_of(p, left ? (double)s->left : 0));
		began = true;
		fprintf(p->f, "%.1f,%.1f ", x_of(p, (double)s->ns),
			y_of(p, (double)(left ? s->left : s->sent)));
	}
	if (!left && began)
		fprintf(p->f, "%.1f,%.1f", RIGHT,
			y_of(p, (double)(result->device_bytes +
					 result->ram_bytes)));
	fprintf(p->f, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\"/>\n",
		colour);
}

static void legend(const struct plot *p)
{
	static const struct {
		const char *words, *colour;
		double opacity;
	} entries[] = {
		{ "sent", "#0072b2", 1 }, { "left to send", "#e69f00", 1 },
		{ "round", "#c8d8e8", 1 }, { "blackout", "#d55e00", 0.55 },
	};
	double x = LEFT;

	for (unsigned i = 0; i < 4; i++, x += 130) {
		box(p, x, 66, 22, i < 2 ? 4 : 12, entries[i].colour,
		    entries[i].opacity);
		text(p, x + 30, 75, "start", entries[i].words);
	}
}

static void phase_words(const struct plot *p, const struct move_phase *phase,
			char words[96])
{
	char time[MOVE_TIME_MAX], size[REPORT_SIZE_MAX];
	uint64_t bytes = p->result->last_device_bytes +
			 p->result->last_ram_bytes;

	snprintf(words, 96, "%s %s", phase->name,
		 move_time(move_phase_ns(p->result, phase), time));
	if (phase->first == OB_MIGRATE_LAST_REPORT)
		snprintf(words + strlen(words), 96 - strlen(words), ", %s",
			 report_size(bytes, size));
}

static void blackout_alone(const struct plot *p)
{
	static const char *const colours[] = {
		"#cc79a7", "#0072b2", "#009e73", "#e69f00",
	};
	double end = (double)p->result->downtime_ns, at = 0;
	double scale = (RIGHT - LEFT) / end;
	char words[96];
	unsigned i = 0;

	text(p, LEFT, BAR_TOP - 32, "start", "The blackout alone");
	for (const struct move_phase *ph = move_phases; ph->name; ph++, i++) {
		double ns = (double)move_phase_ns(p->result, ph);

		ns = at + ns > end ? end - at : ns;
		box(p, LEFT + at * scale, BAR_TOP, ns * scale,
		    BAR_BOTTOM - BAR_TOP, colours[i], 0.8);
		at += ns;
		phase_words(p, ph, words);
		box(p, LEFT + 200 * i, BAR_TOP - 20, 12, 12, colours[i], 0.8);
		text(p, LEFT + 200 * i + 20, BAR_TOP - 9, "start", words);
	}
	time_axis(p, BAR_BOTTOM, end, "since the guest stopped");
}

static void title(const struct plot *p)
{
	char size[REPORT_SIZE_MAX], all[MOVE_TIME_MAX], down[MOVE_TIME_MAX];
	const struct ob_migrate_result *r = p->result;

	fprintf(p->f, "<text x=\"%.0f\" y=\"36\" font-size=\"18\">%s %s in "
		"%s, downtime %s</text>\n", LEFT,
		r->outcome == OB_MIGRATE_MOVED ? "Moved" : "Not moved:",
		report_size(r->device_bytes + r->ram_bytes, size),
		move_time(r->total_ns, all), move_time(r->downtime_ns, down));
}

/* At least 1, so that an axis has an end. */
static void find_ends(struct plot *p)
{
	double most = (double)(p->result->device_bytes + p->result->ram_bytes);

	for (unsigned i = 0; i < p->view->nr_samples; i++)
		if ((double)p->view->samples[i].left > most)
			most = (double)p->view->samples[i].left;
	p->bytes = most > 1 ? most : 1;
	p->ns = p->result->total_ns ? (double)p->result->total_ns : 1;
}

static void draw(struct plot *p)
{
	fprintf(p->f, "<svg xmlns=\"http://www.w3.org/2000/svg\" "
		"width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
		"font-family=\"sans-serif\" font-size=\"12\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
		WIDTH, HEIGHT, WIDTH, HEIGHT);
	title(p);
	legend(p);
	rounds(p);
	byte_axis(p);
	blackout(p);
	curve(p, "#0072b2", false);
	curve(p, "#e69f00", true);
	time_axis(p, BOTTOM, p->ns, "since the beginning");
	if (p->result->downtime_ns)
		blackout_alone(p);
	fputs("</svg>\n", p->f);
}

int move_plot(FILE *f, const struct ob_migrate_result *result,
	      const struct move_view *view, struct ob_err *err)
{
	struct plot p = { .f = f, .result = result, .view = view };

	find_ends(&p);
	draw(&p);
	if (fflush(f) || ferror(f))
		return ob_fail(err, EIO, "cannot write the plot");
	return 0;
}
