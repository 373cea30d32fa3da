// SPDX-License-Identifier: BSD-3-Clause
/*
 * What is to be seen while a device moves.  The bar is drawn ten times a
 * second at most, and only on a terminal; who reads a log gets one line for
 * each phase.  Samples for the plot are kept at the same places.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "move.h"
#include "report.h"
#include "tools.h"

#define DRAW_EVERY_NS UINT64_C(100000000)
#define BAR_WIDTH 24

static volatile sig_atomic_t interrupted;
static int wake[2] = { -1, -1 };	/* readable from then on */

static void note_signal(int number)
{
	int saved = errno;

	(void)number;
	interrupted = 1;
	(void)!write(wake[1], "", 1);
	errno = saved;
}

/* Not restarted: a wait that is under way ends, and the flag is seen. */
void move_catch_signals(void)
{
	struct sigaction action = { .sa_handler = note_signal };

	if (wake[0] < 0 && pipe2(wake, O_CLOEXEC | O_NONBLOCK))
		wake[0] = wake[1] = -1;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
	sigaction(SIGXFSZ, &action, NULL);
}

bool move_interrupted(void)
{
	return interrupted;
}

ssize_t move_read(int fd, void *buf, size_t len)
{
	struct pollfd fds[2] = {
		{ .fd = fd, .events = POLLIN },
		{ .fd = wake[0], .events = POLLIN },
	};
	ssize_t n = -1;

	errno = EINTR;
	while (n < 0 && errno == EINTR && !interrupted)
		if (poll(fds, 2, -1) > 0 && !interrupted)
			n = read(fd, buf, len);
	return n;
}

void move_view_init(struct move_view *view, const char *verb)
{
	*view = (struct move_view){
		.verb = verb, .to = stderr, .bar = isatty(STDERR_FILENO),
		.step = 1,
	};
}

static void keep_sample(struct move_view *view,
			const struct ob_migrate_progress *now)
{
	if (view->updates++ % view->step)
		return;
	if (view->nr_samples == MOVE_MAX_SAMPLES) {
		view->nr_samples /= 2;
		view->step *= 2;
		for (unsigned i = 0; i < view->nr_samples; i++)
			view->samples[i] = view->samples[2 * i];
	}
	view->samples[view->nr_samples++] = (struct move_sample){
		now->elapsed_ns, now->device_bytes + now->ram_bytes, now->left,
	};
}

static const struct {
	enum ob_migrate_step last;
	const char *name;
} phases[] = {
	{ OB_MIGRATE_PRE_COPY, "prepare" },
	{ OB_MIGRATE_REPORT, "copy" },
	{ OB_MIGRATE_LAST_DATA, "stop, copy the rest" },
	{ OB_MIGRATE_RESTORE, "load" },
	{ OB_MIGRATE_STOP, "stop the source" },
	{ OB_MIGRATE_DONE, "run" },
	{ OB_MIGRATE_RESET, "reset the destination" },
	{ OB_MIGRATE_NR_STEPS, "go back" },
};

/* Only a source has rounds. */
static void phase_of(const struct move_view *view, enum ob_migrate_step step,
		     char *name, size_t size)
{
	unsigned i = 0;

	while (step > phases[i].last)
		i++;
	if (step > OB_MIGRATE_PRE_COPY && step <= OB_MIGRATE_REPORT &&
	    view->last.round)
		snprintf(name, size, "%s, round %u", phases[i].name,
			 view->last.round);
	else
		snprintf(name, size, "%s", phases[i].name);
}

static void draw_bar(FILE *f, double share)
{
	char bar[BAR_WIDTH + 1];

	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)(share * BAR_WIDTH));
	bar[BAR_WIDTH] = 0;
	fprintf(f, " [%s] %3.0f %%", bar, share * 100);
}

/* From a pipe nobody knows how much there is. */
static void draw(struct move_view *view)
{
	const struct ob_migrate_progress *now = &view->last;
	uint64_t sent = now->device_bytes + now->ram_bytes;
	char size[REPORT_SIZE_MAX];

	fprintf(view->to, "\r%-20s", view->phase);
	if (now->left)
		draw_bar(view->to, (double)sent / (double)(sent + now->left));
	fprintf(view->to, "  %s", report_size(sent, size));
	if (now->left)
		fprintf(view->to, ", %s left", report_size(now->left, size));
	fprintf(view->to, "  %s/s",
		report_size((unsigned long long)now->rate, size));
	if (now->dirty_rate > 0)
		fprintf(view->to, "  dirty %s/s",
			report_size((unsigned long long)now->dirty_rate,
				    size));
	fputs("\033[K", view->to);
	fflush(view->to);
	view->drawn = true;
}

void move_view_end(struct move_view *view)
{
	if (view->drawn)
		fputs("\r\033[K", view->to);
	fflush(view->to);
	view->drawn = false;
}

static void show_phase(struct move_view *view, enum ob_migrate_step step)
{
	char phase[sizeof(view->phase)], left[REPORT_SIZE_MAX];

	phase_of(view, step, phase, sizeof(phase));
	if (!strcmp(phase, view->phase))
		return;
	strcpy(view->phase, phase);
	if (view->bar)
		return;
	fprintf(view->to, "outboard %s: %s", view->verb, phase);
	if (view->last.left && step < OB_MIGRATE_LOAD)
		fprintf(view->to, " (%s left)",
			report_size(view->last.left, left));
	fputc('\n', view->to);
}

static int see_step(void *arg, enum ob_migrate_step step, unsigned device)
{
	(void)device;
	show_phase(arg, step);
	return interrupted ? -EINTR : 0;
}

static int see_progress(void *arg, const struct ob_migrate_progress *now)
{
	struct move_view *view = arg;

	view->last = *now;
	if (view->expected > now->device_bytes)
		view->last.left = view->expected - now->device_bytes;
	keep_sample(view, now);
	show_phase(view, now->step);
	if (view->bar && now->elapsed_ns >= view->next_ns) {
		draw(view);
		view->next_ns = now->elapsed_ns + DRAW_EVERY_NS;
	}
	return interrupted ? -EINTR : 0;
}

const struct ob_migrate_ops move_ops = {
	.step = see_step, .progress = see_progress,
};
