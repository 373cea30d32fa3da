// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fake_qemu.h"

/* A line, and a descriptor that came with it. */
static int read_line(struct fake_qemu *q, char *line, size_t size)
{
	size_t got = 0;

	while (got < size - 1) {
		char room[CMSG_SPACE(sizeof(int))];
		struct iovec iov = { line + got, 1 };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room,
			.msg_controllen = sizeof(room),
		};
		struct cmsghdr *control;

		if (recvmsg(q->fd, &msg, 0) != 1)
			return -1;
		control = CMSG_FIRSTHDR(&msg);
		if (control) {
			if (q->got_fd >= 0)
				close(q->got_fd);
			memcpy(&q->got_fd, CMSG_DATA(control), sizeof(int));
		}
		if (line[got++] == '\n')
			break;
	}
	line[got] = '\0';
	return 0;
}

static void say(struct fake_qemu *q, const char *text, const char *id)
{
	char *line = NULL;
	const char *at = strchr(text, '@');
	int len = at ? asprintf(&line, "%.*s%s%s", (int)(at - text), text, id,
				at + 1)
		     : asprintf(&line, "%s", text);

	if (len > 0 && send(q->fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		snprintf(q->problem, sizeof(q->problem), "nobody listens");
	free(line);
}

static void *run(void *arg)
{
	struct fake_qemu *q = arg;
	char line[8192], id[32] = "0";

	for (const struct fake_step *s = q->steps;
	     (s->expect || s->say || s->hang_up) && !q->problem[0]; s++) {
		const char *at;

		if (s->expect && read_line(q, line, sizeof(line))) {
			snprintf(q->problem, sizeof(q->problem),
				 "nothing came, and not %.150s", s->expect);
			break;
		}
		if (s->expect && !strstr(line, s->expect))
			snprintf(q->problem, sizeof(q->problem),
				 "%.100s, and not %.100s", line, s->expect);
		at = s->expect ? strstr(line, "\"id\":") : NULL;
		if (at)
			snprintf(id, sizeof(id), "%d", atoi(at + 5));
		if (s->say)
			say(q, s->say, id);
		if (s->hang_up)
			break;
	}
	shutdown(q->fd, SHUT_WR);
	return NULL;
}

int fake_qemu_start(struct fake_qemu *q, const struct fake_step *steps)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	*q = (struct fake_qemu){ .fd = pair[0], .steps = steps, .got_fd = -1 };
	assert_int_equal(pthread_create(&q->thread, NULL, run, q), 0);
	return pair[1];
}

void fake_qemu_end(struct fake_qemu *q)
{
	pthread_join(q->thread, NULL);
	close(q->fd);
	if (q->got_fd >= 0)
		close(q->got_fd);
	assert_string_equal(q->problem, "");
}
