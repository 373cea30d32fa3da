/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the verbs that move a device have in common: signals that end it well,
 * what is to be seen meanwhile, the account at the end.
 */
#ifndef TOOLS_MOVE_H
#define TOOLS_MOVE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include <outboard/migrate.h>

/* How far it was at some time, for the plot. */
struct move_sample {
	uint64_t ns, sent, left;
};
#define MOVE_MAX_SAMPLES 2048u

/*
 * A bar on a terminal, a line for each phase elsewhere.  Its callbacks also
 * notice signals; its address is ob_migrate_params.arg.
 */
struct move_view {
	const char *verb;
	FILE *to;
	bool bar, drawn;
	uint64_t expected;		/* bytes; 0: the move itself knows */
	char phase[64];
	uint64_t next_ns;		/* not drawn before */
	struct ob_migrate_progress last;
	/* Every step-th update; step doubles when there is no more room. */
	struct move_sample samples[MOVE_MAX_SAMPLES];
	unsigned nr_samples, updates, step;
};

extern const struct ob_migrate_ops move_ops;

/* Draws on standard error. */
void move_view_init(struct move_view *view, const char *verb);
/* Takes the bar away. */
void move_view_end(struct move_view *view);

/*
 * SIGINT, SIGTERM and SIGHUP end the move at the next step, as an error
 * -EINTR; SIGPIPE and SIGXFSZ become errors of write(2).
 */
void move_catch_signals(void);
bool move_interrupted(void);
/* read(2), which a signal ends whenever it comes, also just before: EINTR. */
ssize_t move_read(int fd, void *buf, size_t len);

/* "outboard VERB: message; the source goes on" and what else is to be said. */
int move_failed(const char *verb, const struct ob_migrate_result *result,
		const struct ob_err *err);

/* The account as a table for people; as JSON. */
void move_print(FILE *f, const struct ob_migrate_result *result);
json_t *move_describe(const struct ob_migrate_result *result);

/* Writes a picture of it, as SVG; 0 or -errno. */
int move_plot(FILE *f, const struct ob_migrate_result *result,
	      const struct move_view *view, struct ob_err *err);

/* The steps of the blackout, gathered, in their order. */
struct move_phase {
	const char *name;
	enum ob_migrate_step first, last;
};
extern const struct move_phase move_phases[];	/* ends with no name */
uint64_t move_phase_ns(const struct ob_migrate_result *result,
		       const struct move_phase *phase);

/* "1.25 s", "3.1 ms", "810 us". */
#define MOVE_TIME_MAX 32
char *move_time(uint64_t ns, char buf[MOVE_TIME_MAX]);

#endif
