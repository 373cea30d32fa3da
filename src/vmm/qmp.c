// SPDX-License-Identifier: BSD-3-Clause
/*
 * A line is an answer, an event or the greeting.  Each request has a number of its
 * own, so that the late answer to one that was given up is known for what it is.
 * What QEMU sends is bounded here and judged by those who asked.
 */
#include "vmm/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"

#define FIRST_ROOM 8192u
#define MAX_LINE (16u << 20)
#define MAX_EVENTS 1024u		/* older ones are forgotten */

struct ob_qmp {
	int fd;
	int timeout_ms;
	json_int_t id;			/* of the last request */
	char *text;			/* what has come of lines */
	size_t got, room;
	json_t *events;			/* an array */
	char version[32];
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* -- lines ------------------------------------------------------------- */

static int make_room(struct ob_qmp *qmp)
{
	size_t room = qmp->room ? qmp->room * 2 : FIRST_ROOM;
	char *text;

	if (qmp->got < qmp->room)
		return 0;
	text = room > MAX_LINE ? NULL : realloc(qmp->text, room);
	if (!text)
		return -ENOMEM;
	qmp->text = text;
	qmp->room = room;
	return 0;
}

/* Waits until `end`, or for ever (-1 ms gives UINT64_MAX). */
static int receive(struct ob_qmp *qmp, uint64_t end)
{
	struct pollfd p = { .fd = qmp->fd, .events = POLLIN };
	uint64_t now = now_ms();
	int left = end == UINT64_MAX ? -1 : end > now ? (int)(end - now) : 0;
	int r = make_room(qmp);
	ssize_t n;

	if (r)
		return r;
	r = poll(&p, 1, left);
	if (r <= 0)
		return r ? -errno : -ETIMEDOUT;
	n = recv(qmp->fd, qmp->text + qmp->got, qmp->room - qmp->got, 0);
	if (n <= 0)
		return n < 0 && errno == EINTR ? -EINTR : -ECONNRESET;
	qmp->got += (size_t)n;
	return 0;
}

static int read_line(struct ob_qmp *qmp, uint64_t end, json_t **line)
{
	char *stop;
	size_t len;
	int r;

	while (!qmp->got || !(stop = memchr(qmp->text, '\n', qmp->got)))
		if ((r = receive(qmp, end)))
			return r;
	len = (size_t)(stop - qmp->text) + 1;
	*line = json_loadb(qmp->text, len, 0, NULL);
	qmp->got -= len;
	memmove(qmp->text, qmp->text + len, qmp->got);
	return json_is_object(*line) ? 0 : -EPROTO;
}

static bool is_event(const json_t *line)
{
	return json_is_string(json_object_get(line, "event"));
}

/* Takes the line. */
static void keep_event(struct ob_qmp *qmp, json_t *line)
{
	if (json_array_size(qmp->events) == MAX_EVENTS)
		json_array_remove(qmp->events, 0);
	json_array_append_new(qmp->events, line);
}

static int failed(int r, const char *what, struct ob_err *err)
{
	switch (r) {
	case -ETIMEDOUT:
		return ob_fail(err, ETIMEDOUT, "%s: QEMU does not answer", what);
	case -EINTR:
		return ob_fail(err, EINTR, "%s: interrupted", what);
	case -EPROTO:
		return ob_fail(err, ECONNRESET, "%s: no QMP is spoken there", what);
	default:
		return ob_fail(err, ECONNRESET, "%s: QEMU has gone", what);
	}
}

/* -- requests ---------------------------------------------------------- */

static int send_text(const struct ob_qmp *qmp, const char *text, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)(uintptr_t)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
	}
	while (iov.iov_len) {
		ssize_t n = sendmsg(qmp->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -ECONNRESET;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

static int send_request(struct ob_qmp *qmp, const char *command, json_t *args,
			int fd)
{
	json_t *request = json_pack("{s:s, s:o*, s:I}", "execute", command,
				    "arguments", args, "id", ++qmp->id);
	OB_CLEANUP_FREE char *line = request ? json_dumps(request, JSON_COMPACT)
					     : NULL;
	OB_CLEANUP_FREE char *text = NULL;

	json_decref(request);
	if (!line || asprintf(&text, "%s\n", line) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	return send_text(qmp, text, fd);
}

/* Events are kept, late answers are not. */
static int await_answer(struct ob_qmp *qmp, json_t **answer)
{
	uint64_t end = now_ms() + (uint64_t)qmp->timeout_ms;
	json_t *line, *id;
	int r;

	for (;;) {
		line = NULL;
		r = read_line(qmp, end, &line);
		if (r == -EINTR)	/* a signal is for who called us */
			continue;
		if (r) {
			json_decref(line);
			return r;
		}
		id = json_object_get(line, "id");
		if (is_event(line)) {
			keep_event(qmp, line);
		} else if (id && json_integer_value(id) != qmp->id) {
			json_decref(line);
		} else {
			*answer = line;
			return 0;
		}
	}
}

static int judge(json_t *answer, const char *command, json_t **result,
		 struct ob_err *err)
{
	const json_t *error = json_object_get(answer, "error");
	const char *why = json_string_value(json_object_get(error, "desc"));
	json_t *value = json_object_get(answer, "return");

	if (error)
		return ob_fail(err, EREMOTEIO, "%s: %s", command,
			       why ? why : "refused");
	if (!value)
		return failed(-EPROTO, command, err);
	if (result)
		*result = json_incref(value);
	return 0;
}

static int call(struct ob_qmp *qmp, const char *command, json_t *args, int fd,
		json_t **result, struct ob_err *err)
{
	json_t *answer = NULL;
	int r = send_request(qmp, command, args, fd);

	if (!r)
		r = await_answer(qmp, &answer);
	if (r)
		return failed(r, command, err);
	r = judge(answer, command, result, err);
	json_decref(answer);
	return r;
}

int ob_qmp_call(struct ob_qmp *qmp, const char *command, json_t *args,
		json_t **result, struct ob_err *err)
{
	return call(qmp, command, args, -1, result, err);
}

int ob_qmp_give_fd(struct ob_qmp *qmp, const char *name, int fd,
		   struct ob_err *err)
{
	return call(qmp, "getfd", json_pack("{s:s}", "fdname", name), fd, NULL,
		    err);
}

int ob_qmp_hmp(struct ob_qmp *qmp, char **text, struct ob_err *err,
	       const char *format, ...)
{
	OB_CLEANUP_FREE char *line = NULL;
	json_t *result = NULL;
	va_list ap;
	int r;

	*text = NULL;
	va_start(ap, format);
	r = vasprintf(&line, format, ap);
	va_end(ap);
	if (r < 0) {
		line = NULL;
		return ob_fail(err, ENOMEM, "out of memory");
	}
	r = ob_qmp_call(qmp, "human-monitor-command",
			json_pack("{s:s}", "command-line", line), &result, err);
	if (!r && json_is_string(result))
		*text = strdup(json_string_value(result));
	json_decref(result);
	if (!r && !*text)
		return ob_fail(err, EPROTO, "%s: no text came back", line);
	return r;
}

int ob_qmp_event(struct ob_qmp *qmp, int timeout_ms, json_t **event,
		 struct ob_err *err)
{
	uint64_t end = timeout_ms < 0 ? UINT64_MAX
				      : now_ms() + (uint64_t)timeout_ms;
	json_t *line;
	int r;

	while (!json_array_size(qmp->events)) {
		line = NULL;
		r = read_line(qmp, end, &line);
		if (!r && is_event(line)) {
			keep_event(qmp, line);
			continue;
		}
		json_decref(line);
		if (r)
			return failed(r, "waiting for an event", err);
	}
	*event = json_incref(json_array_get(qmp->events, 0));
	json_array_remove(qmp->events, 0);
	return 0;
}

/* -- the connection ---------------------------------------------------- */

static void note_version(struct ob_qmp *qmp, const json_t *greeting)
{
	int major = 0, minor = 0, micro = 0;

	json_unpack((json_t *)(uintptr_t)greeting,
		    "{s:{s:{s:{s:i, s:i, s:i}}}}", "QMP", "version", "qemu",
		    "major", &major, "minor", &minor, "micro", &micro);
	snprintf(qmp->version, sizeof(qmp->version), "%d.%d.%d", major, minor,
		 micro);
}

static int greet(struct ob_qmp *qmp, struct ob_err *err)
{
	json_t *line = NULL;
	int r = read_line(qmp, now_ms() + (uint64_t)qmp->timeout_ms, &line);

	if (!r && !json_object_get(line, "QMP"))
		r = -EPROTO;
	if (!r)
		note_version(qmp, line);
	json_decref(line);
	/* QEMU accepts one client, and lets others wait without a word. */
	if (r == -ETIMEDOUT)
		return ob_fail(err, EBUSY, "no greeting of QEMU: another "
			       "program has this monitor");
	if (r)
		return failed(r, "greeting", err);
	return ob_qmp_call(qmp, "qmp_capabilities", NULL, NULL, err);
}

int ob_qmp_open(int fd, struct ob_qmp **out, struct ob_err *err)
{
	struct ob_qmp *qmp = calloc(1, sizeof(*qmp));
	int r;

	if (!qmp) {
		close(fd);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	qmp->fd = fd;
	qmp->timeout_ms = OB_QMP_TIMEOUT_MS;
	qmp->events = json_array();
	r = greet(qmp, err);
	if (r)
		ob_qmp_close(qmp);
	else
		*out = qmp;
	return r;
}

int ob_qmp_connect(const char *path, struct ob_qmp **out, struct ob_err *err)
{
	int fd = ob_fd_connect(path, err), r;

	if (fd < 0)
		return fd;
	r = ob_qmp_open(fd, out, err);
	if (r)
		ob_err_prefix(err, "%s", path);
	return r;
}

void ob_qmp_close(struct ob_qmp *qmp)
{
	if (!qmp)
		return;
	close(qmp->fd);
	json_decref(qmp->events);
	free(qmp->text);
	free(qmp);
}

const char *ob_qmp_version(const struct ob_qmp *qmp)
{
	return qmp->version;
}

void ob_qmp_set_timeout(struct ob_qmp *qmp, int timeout_ms)
{
	qmp->timeout_ms = timeout_ms;
}

int ob_qmp_fd(const struct ob_qmp *qmp)
{
	return qmp->fd;
}

bool ob_qmp_has_event(const struct ob_qmp *qmp)
{
	return json_array_size(qmp->events) ||
	       (qmp->got && memchr(qmp->text, '\n', qmp->got));
}
