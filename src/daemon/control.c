// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sockets and lines of the control channel.
 *
 * A client sends one request at a time: while an answer is due or has not
 * left, nothing more is read from it, so that what it can make grow is one
 * line and one answer.  A client that speaks no JSON is told so; one whose
 * line is too long is let go as well, since nobody knows where the next begins.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <outboard/keep.h>

#include "base/fd.h"
#include "base/keep.h"
#include "base/log.h"
#include "daemon/control_priv.h"

#define BACKLOG 8
#define CONTROL_FDS 4u		/* of one read; more are closed by the kernel */

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/* -- clients ----------------------------------------------------------- */

static void drop(struct control_client *c)
{
	if (!c->control)
		return;
	ob_watch_remove(c->control->loop, &c->watch);
	control_cancel(c);
	close(c->watch.fd);
	ob_fd_close(&c->fd);
	free(c->out);
	free(c->line);
	json_decref(c->waits);
	memset(c, 0, sizeof(*c));
}

/* What it is waited for: room, or the next request. */
static void watch_again(struct control_client *c)
{
	uint32_t events = c->out ? POLLOUT : c->waits ? 0 : POLLIN;

	if (events != c->watch.events &&
	    ob_watch_modify(c->control->loop, &c->watch, events))
		c->dead = true;
	c->watch.events = events;
}

static void send_some(struct control_client *c)
{
	while (c->out) {
		ssize_t n = send(c->watch.fd, c->out + c->out_sent,
				 c->out_len - c->out_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			c->dead |= errno != EAGAIN;
			return;
		}
		c->out_sent += (size_t)n;
		if (c->out_sent == c->out_len) {
			free(c->out);
			c->out = NULL;
		}
	}
}

void control_answer(struct control_client *c, json_t *answer)
{
	char *text = json_dumps(answer, JSON_COMPACT);

	json_decref(answer);
	json_decref(c->waits);
	c->waits = NULL;
	c->asks_keeper = false;
	/* There is room for one: it asked nothing while that was due. */
	if (!text || c->out) {
		free(text);
		c->dead = true;
		return;
	}
	c->out_len = strlen(text);
	text[c->out_len++] = '\n';	/* in the place of the NUL */
	c->out_sent = 0;
	c->out = text;
	send_some(c);
}

/* Whole lines, as long as nothing is due. */
static void take_lines(struct control_client *c)
{
	char *end;

	while (!c->dead && !c->out && !c->waits &&
	       (end = memchr(c->line, '\n', c->got))) {
		size_t len = (size_t)(end - c->line) + 1;
		bool has_fd = c->fd >= 0 && c->fd_at == 0;
		bool too_many = c->too_many && c->fd_at == 0;

		c->fd_at -= c->fd_at ? len : 0;
		c->too_many &= !too_many;
		control_request(c, c->line, len - 1,
				has_fd ? ob_fd_take(&c->fd) : -1, too_many);
		c->got -= len;
		memmove(c->line, c->line + len, c->got);
	}
	if (c->got == CONTROL_MAX_LINE && !c->out && !c->waits) {
		control_refuse_line(c);
		c->dead = true;
	}
}

/*
 * Where the last line of what is there begins.  The kernel ends a read behind
 * what a descriptor came with, so that it belongs to that line.
 */
static size_t last_line(const struct control_client *c)
{
	size_t at = c->got;

	while (at && !(at < c->got && c->line[at - 1] == '\n'))
		at--;
	return at;
}

/* The first is kept for its line; others are one too many for it. */
static void take_fds(struct control_client *c, struct msghdr *msg)
{
	int fds[CONTROL_FDS];
	size_t n = 0;
	struct cmsghdr *h = CMSG_FIRSTHDR(msg);

	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
		n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(h), n * sizeof(int));
	}
	if (n == 0)
		return;
	c->too_many = n > 1 || c->fd >= 0 || (msg->msg_flags & MSG_CTRUNC);
	ob_fd_close(&c->fd);
	c->fd_at = last_line(c);
	if (!c->too_many)
		c->fd = ob_fd_take(&fds[0]);
	ob_fds_close(fds, n);
}

static void receive(struct control_client *c)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int) * CONTROL_FDS)];
	} control;
	struct iovec iov = { c->line + c->got, CONTROL_MAX_LINE - c->got };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	ssize_t n = recvmsg(c->watch.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n > 0) {
		c->got += (size_t)n;
		take_fds(c, &msg);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		c->dead = true;
	}
}

static void client_ready(struct ob_watch *watch, uint32_t events)
{
	struct control_client *c = container_of(watch, struct control_client,
						watch);

	if (events & POLLOUT)
		send_some(c);
	if (events & POLLIN)
		receive(c);
	else if (events & (POLLERR | POLLHUP))
		c->dead = true;
	control_go_on(c);
}

static bool is_trusted(int fd)
{
	struct ucred cred = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	ob_log(NULL, OB_LOG_WARN, "control: refused process %d of user %d",
	       (int)cred.pid, (int)cred.uid);
	return false;
}

static struct control_client *free_place(struct ob_control *control)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		if (!control->clients[i].control)
			return &control->clients[i];
	return NULL;
}

/*
 * What it asks may be the death of us, and is not to be that of our successor:
 * so the keeper has it no longer than until we have it.
 */
void ob_control_client(struct ob_control *control, unsigned place, int fd)
{
	struct control_client *c = free_place(control);

	ob_keep_drop_new(control->loop, OB_CONTROL_NAME, place);
	if (!c || !is_trusted(fd)) {
		close(fd);
		return;
	}
	c->control = control;
	c->fd = -1;
	c->line = malloc(CONTROL_MAX_LINE);
	c->watch = (struct ob_watch){
		.ready = client_ready, .fd = fd, .events = POLLIN,
	};
	if (!c->line || ob_watch_add(control->loop, &c->watch)) {
		close(fd);
		free(c->line);
		memset(c, 0, sizeof(*c));
	}
}

void control_go_on(struct control_client *c)
{
	if (!c->dead)
		take_lines(c);
	if (!c->dead)
		watch_again(c);
	if (c->dead)
		drop(c);
}

void ob_control_status(struct ob_control *control,
		       const struct ob_keeper_status *status)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *c = &control->clients[i];

		if (!c->control || !c->asks_keeper)
			continue;
		control_tell_status(c, status);
		control_go_on(c);
	}
}

/* -- listening --------------------------------------------------------- */

static void listener_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_control *control = container_of(watch, struct ob_control,
						  listener);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd >= 0)
		ob_control_client(control, 0, fd);
}

/* Whom our predecessor was told of, and did not come to. */
static void greet_all(struct ob_control *control)
{
	for (unsigned place = 0; place < OB_KEEP_NEW; place++) {
		int fd = ob_keep_get_new(control->loop, OB_CONTROL_NAME, place);

		if (fd >= 0)
			ob_control_client(control, place, fd);
	}
}

static int bind_private(int fd, const struct sockaddr_un *sun)
{
	mode_t old = umask(0177);
	int r = bind(fd, (const struct sockaddr *)sun, sizeof(*sun));
	int error = errno;

	umask(old);
	return r < 0 ? -error : 0;
}

/* Nobody listens there any more. */
static bool is_stale(const struct sockaddr_un *sun)
{
	OB_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC |
				      SOCK_NONBLOCK, 0);
	struct stat st;

	return fd >= 0 && !lstat(sun->sun_path, &st) && S_ISSOCK(st.st_mode) &&
	       connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0 &&
	       errno == ECONNREFUSED;
}

static int make_socket(const char *path, int *out, struct ob_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	OB_CLEANUP_FD int fd = -1;
	int r;

	if (!path[0] || strlen(path) >= sizeof(sun.sun_path))
		return ob_fail(err, EINVAL, "control: a path of 1 to %zu bytes",
			       sizeof(sun.sun_path) - 1);
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ob_fail(err, errno, "socket: %s", strerror(errno));
	r = bind_private(fd, &sun);
	if (r == -EADDRINUSE && is_stale(&sun) && !unlink(path))
		r = bind_private(fd, &sun);
	if (!r && listen(fd, BACKLOG))
		r = -errno;
	if (r)
		return ob_fail(err, -r, "control %s: %s", path, strerror(-r));
	*out = ob_fd_take(&fd);
	return 0;
}

/* That of a predecessor, or a new one, which a successor will find. */
static int get_socket(struct ob_control *control, struct ob_err *err)
{
	int r = ob_keep_get(control->loop, OB_CONTROL_NAME);

	if (r >= 0) {
		control->listener.fd = r;
		return 0;
	}
	r = make_socket(control->path, &control->listener.fd, err);
	if (r)
		return r;
	r = ob_keep_put(control->loop, OB_CONTROL_NAME, control->listener.fd);
	return r ? ob_fail(err, -r, "control: %s", strerror(-r)) : 0;
}

/* By ourselves, unless the keeper does. */
static int start(struct ob_control *control, struct ob_err *err)
{
	int r;

	if (control->host.accept)
		r = control->host.accept(control->host.arg);
	else
		r = ob_watch_add(control->loop, &control->listener);
	control->watched = !r && !control->host.accept;
	return r ? ob_fail(err, -r, "control: %s", strerror(-r)) : 0;
}

int ob_control_create(struct ob_loop *loop, const char *path,
		      const struct ob_control_host *host,
		      struct ob_control **out, struct ob_err *err)
{
	struct ob_control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return ob_fail(err, ENOMEM, "out of memory");
	*out = control;
	control->loop = loop;
	control->host = *host;
	control->listener = (struct ob_watch){
		.ready = listener_ready, .fd = -1, .events = POLLIN,
	};
	control->path = strdup(path);
	if (!control->path)
		return ob_fail(err, ENOMEM, "out of memory");
	r = get_socket(control, err);
	if (!r)
		r = start(control, err);
	if (!r)
		greet_all(control);
	return r;
}

void ob_control_destroy(struct ob_control *control, bool last)
{
	if (!control)
		return;
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		drop(&control->clients[i]);
	if (control->watched)
		ob_watch_remove(control->loop, &control->listener);
	if (control->listener.fd >= 0 && last)
		unlink(control->path);
	ob_fd_close(&control->listener.fd);
	free(control->path);
	free(control);
}
