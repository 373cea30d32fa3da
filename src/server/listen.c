// SPDX-License-Identifier: BSD-3-Clause
/*
 * The listening socket.
 *
 * One client at a time (R11).  When another one connects, the first is looked
 * at: if it has hung up, what it left is worked off, its session ends, and
 * the new one is taken; else the new one is refused at once (refuse.c), since
 * a client that waits in the backlog keeps its whole VM waiting.  For the same
 * reason a client is taken and closed when the process has no fd left for it.
 *
 * Under a keeper, that accepts, and has each client in a place of the listener
 * until it is kept as ID/client, which the state confirms, or has been sent
 * away.  What a successor finds there was on its way when its predecessor died.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/keep.h"
#include "server/device_impl.h"
#include "server/server.h"
#include "server/session.h"

#define BACKLOG 16
#define KNOCKS 4
#define KNOCK_MS 250

static pid_t peer_pid(int fd)
{
	struct ucred cred = { .pid = -1 };
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -1;
	return cred.pid;
}

static bool hung_up(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 &&
	       (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void ob_device_client(struct ob_device *dev, unsigned place, int fd)
{
	pid_t pid = peer_pid(fd);
	int r;

	if (dev->session && hung_up(ob_conn_fd(dev->session->main.conn)))
		ob_session_drain(dev->session);
	if (dev->session) {
		ob_log(&dev->log, OB_LOG_GUEST,
		       "refused process %d: process %d is connected",
		       (int)pid, (int)dev->session->pid);
		ob_refuse(dev, place, fd);
		return;
	}
	r = ob_session_create(dev, fd, pid, &dev->session);
	ob_listener_forget(dev, place);
	if (r) {
		ob_log(&dev->log, OB_LOG_ERROR, "client %d: %s", (int)pid,
		       strerror(-r));
		return;
	}
	ob_log(&dev->log, OB_LOG_GUEST, "client %d connected", (int)pid);
	ob_poll_update(dev);
}

void ob_listener_forget(struct ob_device *dev, unsigned place)
{
	ob_dev_unkeep(dev, "listen/new/%u", place);
}

static bool is_same_socket(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/* One whom the dead process had just taken needs no more than its name dropped. */
static void greet(struct ob_device *dev, unsigned place, int fd)
{
	if (!dev->session ||
	    !is_same_socket(fd, ob_conn_fd(dev->session->main.conn))) {
		ob_device_client(dev, place, fd);
		return;
	}
	close(fd);
	ob_listener_forget(dev, place);
}

static void greet_all(struct ob_device *dev)
{
	for (unsigned place = 0; dev->kept && place < OB_KEEP_NEW; place++) {
		int fd = ob_dev_kept(dev, "listen/new/%u", place);

		if (fd >= 0)
			greet(dev, place, fd);
	}
}

static int accept_one(const struct ob_device *dev)
{
	return accept4(dev->listener.watch.fd, NULL, NULL,
		       SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* The fd that was kept for this makes room to take one and hang up. */
static bool refuse_one(struct ob_device *dev)
{
	struct ob_listener *l = &dev->listener;
	int fd, error;

	ob_fd_close(&l->spare);
	fd = accept_one(dev);
	error = errno;
	if (fd >= 0)
		close(fd);
	l->spare = eventfd(0, EFD_CLOEXEC);
	errno = error;
	if (fd >= 0)
		ob_log(&dev->log, OB_LOG_GUEST,
		       "refused a client: too many open files");
	return fd >= 0;
}

static void listen_ready(struct ob_watch *watch, uint32_t events)
{
	struct ob_device *dev = container_of(watch, struct ob_device,
					     listener.watch);
	int fd;

	(void)events;
	/* One a call: an inherited socket may block, its flags are shared (R6). */
	fd = accept_one(dev);
	if (fd >= 0)
		ob_device_client(dev, 0, fd);
	else if (errno == EMFILE && refuse_one(dev))
		return;
	else if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
		ob_log(&dev->log, OB_LOG_GUEST, "accept: %s", strerror(errno));
}

static int fill_address(struct sockaddr_un *sun, const char *path,
			struct ob_err *err)
{
	size_t len = strlen(path);

	memset(sun, 0, sizeof(*sun));
	sun->sun_family = AF_UNIX;
	if (len == 0)
		return ob_fail(err, EINVAL, "socket: the path is empty");
	if (len >= sizeof(sun->sun_path))
		return ob_fail(err, ENAMETOOLONG,
			       "socket: the path is %zu bytes long, at most %zu fit: %s",
			       len, sizeof(sun->sun_path) - 1, path);
	memcpy(sun->sun_path, path, len);
	return 0;
}

/*
 * Does somebody have it?  ECONNREFUSED alone says no: there are sockets of
 * other kinds, and of users who do not let us connect.  A server that was
 * killed a moment ago is dead, but its ring lets go of the socket only now:
 * such a connection is taken and then dropped, so it is tried again.
 */
static bool alive(const struct sockaddr_un *sun)
{
	for (int i = 0; i < KNOCKS; i++) {
		OB_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM |
					      SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		struct pollfd p = { .fd = fd, .events = POLLRDHUP };

		if (fd < 0)
			return true;
		if (connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0)
			return errno != ECONNREFUSED;
		if (poll(&p, 1, KNOCK_MS) == 0)
			return true;
	}
	return true;
}

/* A stale socket goes; anything else that has the name stays. */
static int clear_path(const struct sockaddr_un *sun, struct ob_err *err)
{
	const char *path = sun->sun_path;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 :
			ob_fail(err, errno, "socket %s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return ob_fail(err, EEXIST, "socket %s: the file that exists is no socket",
			       path);
	if (alive(sun))
		return ob_fail(err, EADDRINUSE, "socket %s: another program has it",
			       path);
	if (unlink(path) < 0 && errno != ENOENT)
		return ob_fail(err, errno, "socket %s: cannot replace the stale one: %s",
			       path, strerror(errno));
	return 0;
}

static int fail_bind(const char *path, int error, struct ob_err *err)
{
	const char *slash = strrchr(path, '/');

	if (error == ENOENT && slash)
		return ob_fail(err, ENOENT, "socket %s: folder %.*s does not exist",
			       path, (int)(slash - path), path);
	return ob_fail(err, error, "socket %s: %s", path, strerror(error));
}

/*
 * The file appears with the mode it keeps: the umask is the process's, but
 * no other thread makes files.
 */
static int bind_private(int fd, const struct sockaddr_un *sun)
{
	mode_t old = umask(0117);
	int r = bind(fd, (const struct sockaddr *)sun, sizeof(*sun));
	int error = errno;

	umask(old);
	return r < 0 ? -error : 0;
}

static int listen_path(struct ob_device *dev, const char *path,
		       struct ob_err *err)
{
	OB_CLEANUP_FD int fd = -1;
	struct sockaddr_un sun;
	struct stat st;
	int r;

	if ((r = fill_address(&sun, path, err)) || (r = clear_path(&sun, err)))
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ob_fail(err, errno, "socket: %s", strerror(errno));
	r = bind_private(fd, &sun);
	if (r)
		return fail_bind(path, -r, err);
	if (lstat(path, &st) < 0)
		return ob_fail(err, errno, "socket %s: %s", path, strerror(errno));
	dev->listener.dev = st.st_dev;
	dev->listener.ino = st.st_ino;
	dev->listener.path = strdup(path);
	if (!dev->listener.path)
		return ob_fail(err, ENOMEM, "out of memory");
	if (listen(fd, BACKLOG) < 0)
		return ob_fail(err, errno, "socket %s: %s", path, strerror(errno));
	dev->listener.watch.fd = ob_fd_take(&fd);
	return 0;
}

static int socket_option(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ?
		-1 : value;
}

static int listen_inherited(struct ob_device *dev, int fd, struct ob_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ob_fail(err, errno, "fd %d: %s", fd, strerror(errno));
	if (!S_ISSOCK(st.st_mode) || socket_option(fd, SO_DOMAIN) != AF_UNIX ||
	    socket_option(fd, SO_TYPE) != SOCK_STREAM ||
	    socket_option(fd, SO_ACCEPTCONN) != 1)
		return ob_fail(err, EINVAL, "fd %d is not a listening Unix stream socket",
			       fd);
	/* Its flags are the parent's; accept should not wait, exec not inherit. */
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return ob_fail(err, errno, "fd %d: %s", fd, strerror(errno));
	dev->listener.watch.fd = fd;
	return 0;
}

static int start(struct ob_device *dev, struct ob_err *err)
{
	struct ob_listener *l = &dev->listener;
	int r;

	if (dev->kept)
		return 0;
	l->watch.ready = listen_ready;
	l->watch.events = POLLIN;
	r = ob_watch_add(dev->loop, &l->watch);
	if (r)
		return ob_fail(err, -r, "watching the socket: %s", strerror(-r));
	l->watched = true;
	l->spare = eventfd(0, EFD_CLOEXEC);
	return l->spare < 0 ? ob_fail(err, errno, "eventfd: %s",
				      strerror(errno)) : 0;
}

/* The keeper has it from a former life. */
static int listen_kept(struct ob_device *dev, const char *path,
		       struct ob_err *err)
{
	struct ob_listener *l = &dev->listener;

	l->dev = (dev_t)dev->ss->socket_dev;
	l->ino = (ino_t)dev->ss->socket_ino;
	l->path = path ? strdup(path) : NULL;
	return path && !l->path ? ob_fail(err, ENOMEM, "out of memory") : 0;
}

static int listen_new(struct ob_device *dev, const char *path,
		      struct ob_err *err)
{
	int r = path ? listen_path(dev, path, err) :
		listen_inherited(dev, (int)ob_options_u64(dev->opts, "fd"),
				 err);

	if (r)
		return r;
	dev->ss->socket_dev = dev->listener.dev;
	dev->ss->socket_ino = dev->listener.ino;
	r = ob_dev_keep(dev, dev->listener.watch.fd, "listen");
	return r ? ob_fail(err, -r, "the keeper does not take the socket: %s",
			   strerror(-r)) : 0;
}

static int set_names(struct ob_device *dev, const char *path)
{
	struct ob_listener *l = &dev->listener;
	int n = path ? asprintf(&l->address, "unix:%s", path) :
		asprintf(&l->address, "fd:%d",
			 (int)ob_options_u64(dev->opts, "fd"));

	if (n < 0) {
		l->address = NULL;
		return -ENOMEM;
	}
	if (dev->kept && asprintf(&l->name, "%s/listen", dev->id) < 0) {
		l->name = NULL;
		return -ENOMEM;
	}
	return 0;
}

int ob_device_listen(struct ob_device *dev, struct ob_err *err)
{
	const char *path = ob_options_str(dev->opts, "socket");
	int fd = ob_dev_kept(dev, "listen"), r;

	if (fd >= 0) {
		dev->listener.watch.fd = fd;
		dev->listener.is_kept = true;
		r = listen_kept(dev, path, err);
	} else {
		r = listen_new(dev, path, err);
	}
	if (r == 0 && set_names(dev, path))
		r = ob_fail(err, ENOMEM, "out of memory");
	if (r == 0)
		r = start(dev, err);
	if (r)
		ob_err_prefix(err, "%s", dev->id);
	else
		greet_all(dev);
	return r;
}

const char *ob_device_listen_name(const struct ob_device *dev)
{
	return dev->listener.name;
}

const char *ob_device_address(const struct ob_device *dev)
{
	return dev->listener.address ? dev->listener.address : "";
}

void ob_listener_close(struct ob_device *dev, bool for_good)
{
	struct ob_listener *l = &dev->listener;
	struct stat st;

	if (l->watched)
		ob_watch_remove(dev->loop, &l->watch);
	l->watched = false;
	ob_fd_close(&l->watch.fd);
	ob_fd_close(&l->spare);
	ob_refusals_end(dev, for_good);
	if (for_good && l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->path);
	free(l->path);
	l->path = NULL;
}
