// SPDX-License-Identifier: BSD-3-Clause
/*
 * The gap of each event as a histogram: time on a logarithmic axis,
 * eight bars to a decade, the kinds of events beside each other.  Plain SVG,
 * no script and no font of its own.
 */
#include <errno.h>
#include <math.h>

#include "move.h"
#include "torture.h"

#define WIDTH 960
#define HEIGHT 460
#define LEFT 80.0
#define RIGHT 930.0
#define TOP 90.0
#define BOTTOM 390.0
#define FIRST_NS 1e4			/* 10 us */
#define DECADES 6			/* to 10 s */
#define PER_DECADE 8
#define BARS (DECADES * PER_DECADE)

struct series {
	uint64_t bars[BARS], most;
};

static unsigned bar_of(double ns)
{
	double at = (log10(ns) - log10(FIRST_NS)) * PER_DECADE;

	return at < 0 ? 0 : at >= BARS ? BARS - 1 : (unsigned)at;
}

static void gather(const struct hist *h, struct series *s)
{
	*s = (struct series){ .most = 0 };
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		unsigned bar;

		if (!h->buckets[i])
			continue;
		bar = bar_of((double)hist_value(i) + 1);
		s->bars[bar] += h->buckets[i];
		if (s->bars[bar] > s->most)
			s->most = s->bars[bar];
	}
}

static double x_of(double bar)
{
	return LEFT + (RIGHT - LEFT) * bar / BARS;
}

static void text(FILE *f, double x, double y, const char *anchor,
		 const char *words)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n",
		x, y, anchor, words);
}

static void axes(FILE *f, uint64_t most)
{
	static const char *const decades[DECADES + 1] = {
		"10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s",
	};
	char words[32];

	for (unsigned i = 0; i <= DECADES; i++) {
		double x = x_of(i * PER_DECADE);

		fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
			"y2=\"%.1f\" stroke=\"#ddd\"/>\n", x, TOP, x, BOTTOM);
		text(f, x, BOTTOM + 20, "middle", decades[i]);
	}
	fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" "
		"stroke=\"#444\"/>\n", LEFT, BOTTOM, RIGHT, BOTTOM);
	text(f, LEFT - 8, BOTTOM, "end", "0");
	snprintf(words, sizeof(words), "%llu", (unsigned long long)most);
	text(f, LEFT - 8, TOP + 4, "end", words);
	text(f, (LEFT + RIGHT) / 2, BOTTOM + 44, "middle",
	     "time without a completion around each event");
}

static void bars(FILE *f, const struct series *s, uint64_t most,
		 unsigned place, const char *colour)
{
	double width = (RIGHT - LEFT) / BARS;

	for (unsigned i = 0; i < BARS; i++) {
		double height = (BOTTOM - TOP) * (double)s->bars[i] /
				(double)most;

		if (s->bars[i])
			fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
				"height=\"%.1f\" fill=\"%s\"/>\n",
				x_of(i) + width * place / TORTURE_NR_EVENTS,
				BOTTOM - height, width / TORTURE_NR_EVENTS - 1, height, colour);
	}
}

static void legend(FILE *f, const struct hist *h, const char *name,
		   unsigned place, const char *colour)
{
	char words[160], p50[MOVE_TIME_MAX], p99[MOVE_TIME_MAX],
	     max[MOVE_TIME_MAX];
	double y = 52 + 18 * place;

	snprintf(words, sizeof(words), "%llu %s: p50 %s, p99 %s, max %s",
		 (unsigned long long)h->count, name,
		 move_time(hist_percentile(h, 0.5), p50),
		 move_time(hist_percentile(h, 0.99), p99),
		 move_time(h->max, max));
	fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" "
		"fill=\"%s\"/>\n", LEFT, y - 11, colour);
	text(f, LEFT + 20, y, "start", words);
}

int torture_plot(FILE *f, const struct hist gaps[TORTURE_NR_EVENTS],
		 const char *title, struct ob_err *err)
{
	static const char *const colours[] = {
		"#d55e00", "#0072b2", "#777777",
	};
	struct series series[TORTURE_NR_EVENTS];
	uint64_t most = 1;

	for (unsigned i = 0; i < TORTURE_NR_EVENTS; i++) {
		gather(&gaps[i], &series[i]);
		if (series[i].most > most)
			most = series[i].most;
	}
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
		"height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
		"font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
		"fill=\"white\"/>\n<text x=\"%.0f\" y=\"28\" font-size=\"16\">"
		"%s</text>\n", WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT, title);
	axes(f, most);
	for (unsigned i = 0; i < TORTURE_NR_EVENTS; i++) {
		bars(f, &series[i], most, i, colours[i]);
		if (gaps[i].count)
			legend(f, &gaps[i], torture_event_names[i], i,
			       colours[i]);
	}
	fputs("</svg>\n", f);
	if (fflush(f) || ferror(f))
		return ob_fail(err, EIO, "cannot write the plot");
	return 0;
}
