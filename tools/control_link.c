// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "control_link.h"

#define FIRST_ROOM 4096u
#define MAX_ANSWER (16u << 20)

struct control_link {
	int fd;
	json_int_t id;			/* of the last request */
	bool due;			/* its answer has not come */
	char *text;			/* of the answer, as far as it came */
	size_t got, room;
};

int control_open(const char *path, struct control_link **out,
		 struct ob_err *err)
{
	struct control_link *link = calloc(1, sizeof(*link));

	if (!link)
		return ob_fail(err, ENOMEM, "out of memory");
	link->fd = ob_fd_connect(path, err);
	if (link->fd < 0) {
		int r = link->fd;

		free(link);
		return r;
	}
	*out = link;
	return 0;
}

void control_close(struct control_link *link)
{
	if (!link)
		return;
	close(link->fd);
	free(link->text);
	free(link);
}

int control_fd(const struct control_link *link)
{
	return link->fd;
}

/* A descriptor goes with the first byte. */
static ssize_t send_some(int to, const char *text, size_t len, int fd)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .hdr = {
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(int)),
	} };
	struct iovec iov = { (void *)(uintptr_t)text, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(fd));
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
	}
	return sendmsg(to, &msg, MSG_NOSIGNAL);
}

static int send_all(int to, const char *text, size_t len, int fd)
{
	while (len) {
		ssize_t n = send_some(to, text, len, fd);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		fd = -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int control_send(struct control_link *link, const char *method, json_t *params,
		 int fd, struct ob_err *err)
{
	json_t *call = json_pack("{s:s, s:I, s:s, s:o*}", "jsonrpc", "2.0",
				 "id", ++link->id, "method", method, "params",
				 params);
	char *line = json_dumps(call, JSON_COMPACT);
	size_t len;
	int r;

	json_decref(call);
	if (!line)
		return ob_fail(err, ENOMEM, "out of memory");
	if (link->due) {
		free(line);
		return ob_fail(err, EBUSY, "%s: an answer is due", method);
	}
	len = strlen(line);
	line[len] = '\n';	/* in the place of the NUL */
	r = send_all(link->fd, line, len + 1, fd);
	free(line);
	link->due = r == 0;
	return r ? ob_fail(err, -r, "%s: %s", method, strerror(-r)) : 0;
}

static int make_room(struct control_link *link)
{
	size_t room = link->room ? link->room * 2 : FIRST_ROOM;
	char *text;

	if (link->got < link->room)
		return 0;
	text = room > MAX_ANSWER ? NULL : realloc(link->text, room);
	if (!text)
		return -ENOMEM;
	link->text = text;
	link->room = room;
	return 0;
}

/* More of the line; 1: all of it is there. */
static int read_some(struct control_link *link)
{
	int r = make_room(link);
	ssize_t n;

	if (r)
		return r;
	n = recv(link->fd, link->text + link->got, link->room - link->got,
		 MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ECONNRESET;
	link->got += (size_t)n;
	return link->text[link->got - 1] == '\n';
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int wait_line(struct control_link *link, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms, left = timeout_ms;
	struct pollfd p = { .fd = link->fd, .events = POLLIN };
	int r;

	while ((r = read_some(link)) == 0) {
		if (timeout_ms >= 0 && (left = end - now_ms()) < 0)
			left = 0;
		r = poll(&p, 1, (int)left);
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
	return r < 0 ? r : 0;
}

static int take_result(struct control_link *link, json_t **result,
		       struct ob_err *err)
{
	json_t *root = json_loadb(link->text, link->got, JSON_REJECT_DUPLICATES,
				  NULL);
	json_t *found = json_object_get(root, "result");
	const char *why = json_string_value(json_object_get(
		json_object_get(root, "error"), "message"));
	int r = 0;

	link->got = 0;
	link->due = false;
	if (why)
		r = ob_fail(err, EREMOTEIO, "%s", why);
	else if (!found)
		r = ob_fail(err, EPROTO, "the answer is no JSON-RPC");
	else
		*result = json_incref(found);
	json_decref(root);
	return r;
}

int control_receive(struct control_link *link, int timeout_ms, json_t **result,
		    struct ob_err *err)
{
	int r = wait_line(link, timeout_ms);

	if (r)
		return ob_fail(err, -r, "no answer: %s", strerror(-r));
	return take_result(link, result, err);
}
