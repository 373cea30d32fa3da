// SPDX-License-Identifier: BSD-3-Clause
/*
 * A line is formatted into one buffer and written with one write, so that
 * lines of several threads and processes never mix.
 *
 * Guest lines: a bucket of LOG_BURST tokens per source, refilled at LOG_RATE
 * a second.  An empty bucket counts; the first line that is let through
 * again is preceded by the count.
 *
 * Who may never wait loses lines when standard error is a pipe that nobody
 * reads.  What is written at once fits into a pipe that has room; another process
 * could take that room between the two calls, if nobody reads meanwhile.  Threads
 * of one process take turns.
 */
#include <base/log.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_BURST	20
#define LOG_RATE	5
#define LOG_LINE	1024
#define NS_PER_TOKEN	(UINT64_C(1000000000) / LOG_RATE)

static const struct {
	const char *word;
	char priority;		/* sd-daemon(3) */
} levels[] = {
	[OB_LOG_ERROR] = { "error", '3' },
	[OB_LOG_WARN] = { "warn", '4' },
	[OB_LOG_INFO] = { "info", '6' },
	[OB_LOG_DEBUG] = { "debug", '7' },
	[OB_LOG_GUEST] = { "guest", '5' },
};

static _Atomic int highest = OB_LOG_INFO;

void ob_log_set_level(enum ob_log_level level)
{
	highest = level;
}

int ob_log_parse_level(const char *word, enum ob_log_level *level)
{
	for (int i = OB_LOG_ERROR; i <= OB_LOG_DEBUG; i++) {
		if (!strcmp(word, levels[i].word)) {
			*level = (enum ob_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* What a peer provokes matters as much as a warning. */
static bool is_wanted(enum ob_log_level level)
{
	int rank = level == OB_LOG_GUEST ? OB_LOG_WARN : (int)level;

	return rank <= highest;
}

/* Appends; what does not fit is cut, one byte stays for the newline. */
static size_t add(char *line, size_t len, const char *fmt, va_list ap)
{
	size_t room = LOG_LINE - 1 - len;
	int n = vsnprintf(line + len, room, fmt, ap);

	if (n < 0)
		return len;
	return len + ((size_t)n < room ? (size_t)n : room - 1);
}

__attribute__((format(printf, 3, 4)))
static size_t addf(char *line, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	len = add(line, len, fmt, ap);
	va_end(ap);
	return len;
}

static _Atomic bool never_wait;
static _Atomic unsigned lost;

void ob_log_never_wait(void)
{
	never_wait = true;
}

/* What is no pipe or socket always has; an end that was closed, too. */
static bool has_room(void)
{
	struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&fd, 1, 0) != 0;
}

static void write_all(const char *line, size_t len)
{
	ssize_t r;

	do
		r = write(STDERR_FILENO, line, len);
	while (r < 0 && errno == EINTR);
}

static void write_or_lose(const char *line, size_t len)
{
	static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&turn);
	if (has_room())
		write_all(line, len);
	else
		lost++;
	pthread_mutex_unlock(&turn);
}

static void write_line(const struct ob_log *log, enum ob_log_level level,
		       const char *fmt, va_list ap)
{
	const char *who = log && log->who ? log->who : "outboard";
	char line[LOG_LINE];
	size_t len = 0;

	if (getenv("JOURNAL_STREAM"))
		len = addf(line, len, "<%c>", levels[level].priority);
	len = addf(line, len, "%s %s: ", levels[level].word, who);
	len = add(line, len, fmt, ap);
	/* Text may quote a peer: it must not be able to forge a line. */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	if (never_wait)
		write_or_lose(line, len);
	else
		write_all(line, len);
}

__attribute__((format(printf, 3, 4)))
static void write_linef(const struct ob_log *log, enum ob_log_level level,
			const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	write_line(log, level, fmt, ap);
	va_end(ap);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void refill(struct ob_log *log)
{
	uint64_t now = now_ns(), earned;

	if (!log->refill_ns) {
		log->refill_ns = now;
		log->tokens = LOG_BURST;
		return;
	}
	earned = (now - log->refill_ns) / NS_PER_TOKEN;
	log->refill_ns += earned * NS_PER_TOKEN;
	log->tokens = earned > LOG_BURST - log->tokens ?
		LOG_BURST : log->tokens + (uint32_t)earned;
}

static bool take_token(struct ob_log *log)
{
	refill(log);
	if (!log->tokens) {
		log->held_back++;
		return false;
	}
	log->tokens--;
	if (log->held_back) {
		write_linef(log, OB_LOG_GUEST, "%u lines held back",
			    log->held_back);
		log->held_back = 0;
	}
	return true;
}

void ob_vlog(struct ob_log *log, enum ob_log_level level, const char *fmt,
	     va_list ap)
{
	int saved = errno;
	unsigned n = lost && has_room() ? atomic_exchange(&lost, 0) : 0;

	if (n)
		write_linef(NULL, OB_LOG_WARN, "%u lines lost: nobody read",
			    n);
	if (is_wanted(level) &&
	    (level != OB_LOG_GUEST || !log || take_token(log)))
		write_line(log, level, fmt, ap);
	errno = saved;
}

void ob_log(struct ob_log *log, enum ob_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	ob_vlog(log, level, fmt, ap);
	va_end(ap);
}
