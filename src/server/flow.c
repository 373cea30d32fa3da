// SPDX-License-Identifier: BSD-3-Clause
/*
 * A pipe is opened anew by its name in /proc, so that not to wait for it is our
 * own affair: the flag is the open file's, and the file is shared with whoever
 * sent it, who may be a shell.  A socket has a flag for each call.
 *
 * A file cannot be watched, and a disk may take its time; a terminal is no place
 * for a stream.  Both are refused, and cat makes a pipe of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/flow.h"

#define PIPE_BYTES (1 << 20)

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

static void watch_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_flow *flow = container_of(watch, struct ob_flow, watch);

	flow->ready(flow, events & (POLLERR | POLLHUP));
}

static const char *kind_of(mode_t mode)
{
	return S_ISREG(mode) ? "a file" : S_ISDIR(mode) ? "a directory" :
	       S_ISBLK(mode) ? "a block device" :
	       S_ISCHR(mode) ? "a character device" : "none of them";
}

static int check_socket(int fd, struct ob_err *err)
{
	socklen_t len = sizeof(int);
	int type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_STREAM)
		return ob_fail(err, EINVAL, "the socket is no stream socket");
	return 0;
}

/* Whoever may only read it is not to get the right to write by its name. */
static int reopen_pipe(int *fd, bool is_out, struct ob_err *err)
{
	int way = is_out ? O_WRONLY : O_RDONLY, mode = fcntl(*fd, F_GETFL) & O_ACCMODE;
	char name[32];
	int again;

	if (mode != O_RDWR && mode != way)
		return ob_fail(err, EBADF, "the pipe's end is the one to %s",
			       is_out ? "read" : "write");
	snprintf(name, sizeof(name), "/proc/self/fd/%d", *fd);
	again = open(name, way | O_NONBLOCK | O_CLOEXEC);
	if (again < 0)
		return ob_fail(err, errno, "the pipe: %s", strerror(errno));
	ob_fd_close(fd);
	*fd = again;
	fcntl(again, F_SETPIPE_SZ, PIPE_BYTES);	/* or as it is */
	return 0;
}

static int prepare(struct ob_flow *flow, int *fd, bool is_out,
		   struct ob_err *err)
{
	struct stat st;

	if (*fd < 0 || fstat(*fd, &st) < 0)
		return ob_fail(err, EBADF, "a pipe or a socket has to come along");
	flow->is_socket = S_ISSOCK(st.st_mode);
	if (flow->is_socket)
		return check_socket(*fd, err);
	if (S_ISFIFO(st.st_mode))
		return reopen_pipe(fd, is_out, err);
	return ob_fail(err, EINVAL, "%s is neither a pipe nor a socket: put cat "
		       "between", kind_of(st.st_mode));
}

int ob_flow_open(struct ob_flow *flow, struct ob_loop *loop, int fd,
		 bool is_out,
		 void (*ready)(struct ob_flow *flow, bool gone),
		 struct ob_err *err)
{
	int r;

	*flow = (struct ob_flow){
		.loop = loop, .ready = ready, .is_out = is_out,
		.watch = { .ready = watch_ready, .fd = -1,
			   .events = is_out ? POLLOUT : POLLIN },
	};
	r = prepare(flow, &fd, is_out, err);
	flow->watch.fd = fd;
	if (r)
		ob_flow_close(flow);
	return r;
}

int ob_flow_start(struct ob_flow *flow, struct ob_err *err)
{
	int r = ob_watch_add(flow->loop, &flow->watch);

	flow->watched = r == 0;
	return r ? ob_fail(err, -r, "the stream: %s", strerror(-r)) : 0;
}

void ob_flow_close(struct ob_flow *flow)
{
	if (flow->watched)
		ob_watch_remove(flow->loop, &flow->watch);
	flow->watched = false;
	ob_fd_close(&flow->watch.fd);
}

bool ob_flow_is_open(const struct ob_flow *flow)
{
	return flow->watch.fd >= 0;
}

int ob_flow_failed(const struct ob_flow *flow, int r, struct ob_err *err)
{
	if (flow->is_out && (r == -EPIPE || r == -ECONNRESET))
		return ob_fail(err, -r, "writing: the reader has gone");
	return ob_fail(err, -r, "%s: %s", flow->is_out ? "writing" : "reading",
		       strerror(-r));
}

ssize_t ob_flow_write(struct ob_flow *flow, const struct iovec *iov,
		      unsigned count)
{
	struct msghdr msg = {
		.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count,
	};
	ssize_t n;

	do
		n = flow->is_socket ?
			sendmsg(flow->watch.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) :
			writev(flow->watch.fd, iov, (int)count);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t ob_flow_read(struct ob_flow *flow, void *buf, size_t len)
{
	ssize_t n;

	do
		n = flow->is_socket ? recv(flow->watch.fd, buf, len, MSG_DONTWAIT) :
			read(flow->watch.fd, buf, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int ob_flow_want(struct ob_flow *flow, bool on)
{
	return ob_watch_modify(flow->loop, &flow->watch,
			       !on ? 0 : flow->is_out ? POLLOUT : POLLIN);
}
