// SPDX-License-Identifier: BSD-3-Clause
/*
 * Both sides use sendmsg and recvmsg, which block or, spinning, return at
 * once and are called again.  A message's first byte says whether it wants an
 * answer; that is all the protocol there is.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "floor.h"

/* Room for a large message and the beginning of the next. */
#define ECHO_BUFFER (2 * FLOOR_MAX_MESSAGE)

enum { WANTS_REPLY = 1, POSTED = 2 };

static int send_all(int fd, const void *bytes, size_t len, bool spin)
{
	const char *at = bytes;

	while (len) {
		struct iovec iov = { (void *)at, len };
		struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t n = sendmsg(fd, &mh,
				    MSG_NOSIGNAL | (spin ? MSG_DONTWAIT : 0));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Bytes taken, 0 at the end, or -errno. */
static ssize_t receive(int fd, void *buf, size_t len, bool spin)
{
	struct iovec iov = { buf, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	do
		n = recvmsg(fd, &mh, spin ? MSG_DONTWAIT : 0);
	while (n < 0 && (errno == EAGAIN || errno == EINTR));
	return n < 0 ? -errno : n;
}

/* Messages of fixed size; an answer to each that wants one. */
static void echo(const struct floor *floor, size_t reply)
{
	static char buf[ECHO_BUFFER], answer[ECHO_BUFFER];
	size_t have = 0;

	for (;;) {
		ssize_t n = receive(floor->fd, buf + have, sizeof(buf) - have,
				    floor->spin);
		size_t at = 0;

		if (n <= 0)
			return;
		have += (size_t)n;
		for (; have - at >= floor->request; at += floor->request)
			if (buf[at] == WANTS_REPLY &&
			    send_all(floor->fd, answer, reply, floor->spin))
				return;
		have -= at;
		if (have)
			memmove(buf, buf + at, have);
	}
}

int floor_start(struct floor *floor, size_t request, size_t reply, bool spin,
		const cpu_set_t *cpus, struct ob_err *err)
{
	int pair[2];

	if (request > FLOOR_MAX_MESSAGE || reply > FLOOR_MAX_MESSAGE)
		return ob_fail(err, EINVAL, "messages of at most %u bytes",
			       FLOOR_MAX_MESSAGE);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return ob_fail(err, errno, "socketpair: %s", strerror(errno));
	*floor = (struct floor){
		.request = request, .reply = reply ? reply : request,
		.spin = spin,
	};
	floor->pid = fork();
	if (floor->pid == 0) {
		close(pair[0]);
		floor->fd = pair[1];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sched_setaffinity(0, sizeof(*cpus), cpus);
		echo(floor, floor->reply);
		_exit(0);
	}
	close(pair[1]);
	floor->fd = pair[0];
	if (floor->pid > 0)
		return 0;
	close(pair[0]);
	return ob_fail(err, errno, "fork: %s", strerror(errno));
}

void floor_stop(struct floor *floor)
{
	close(floor->fd);
	while (waitpid(floor->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int floor_exchange(struct floor *floor)
{
	static char buf[ECHO_BUFFER];
	size_t have = 0;
	int r;

	buf[0] = WANTS_REPLY;
	r = send_all(floor->fd, buf, floor->request, floor->spin);
	while (!r && have < floor->reply) {
		ssize_t n = receive(floor->fd, buf, sizeof(buf), floor->spin);

		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
		have += (size_t)n;
	}
	return r;
}

int floor_post(struct floor *floor, unsigned count)
{
	char buf[FLOOR_MAX_BATCH];
	size_t len = count * floor->request;

	if (len > sizeof(buf))
		return -EINVAL;
	for (size_t at = 0; at < len; at += floor->request)
		buf[at] = POSTED;
	return send_all(floor->fd, buf, len, floor->spin);
}

int floor_barrier(struct floor *floor)
{
	return floor_exchange(floor);
}
