// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ring.h"
#include "heirs.h"

#define PREFIX "disk0/drive/0/"

static void table_put(struct heirs *heirs, const char *name, int fd)
{
	int i, free_one = -1;

	for (i = HEIRS_NAMES - 1; i >= 0; i--) {
		if (heirs->kept[i].fd < 0)
			free_one = i;
		else if (!strcmp(heirs->kept[i].name, name))
			break;
	}
	if (i < 0)
		i = free_one;
	assert_true(i >= 0);
	ob_fd_close(&heirs->kept[i].fd);
	heirs->kept[i].fd = fd;
	strcpy(heirs->kept[i].name, name);
}

static void table_drop(struct heirs *heirs, const char *name)
{
	size_t len = strlen(name);
	bool below = len && name[len - 1] == '/';

	for (int i = 0; i < HEIRS_NAMES; i++)
		if (below ? !strncmp(heirs->kept[i].name, name, len)
			  : !strcmp(heirs->kept[i].name, name))
			ob_fd_close(&heirs->kept[i].fd);
}

static void tell(struct heirs *heirs, const char *name, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { (void *)name, strlen(name) + 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = fd < 0 ? NULL : control,
		.msg_controllen = fd < 0 ? 0 : sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	if (cmsg) {
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	}
	if (sendmsg(heirs->sock, &msg, 0) < 0)
		_exit(3);
}

static int keep_put(struct ob_keep *keep, const char *name, int fd)
{
	struct heirs *heirs = (struct heirs *)keep;

	table_put(heirs, name, fcntl(fd, F_DUPFD_CLOEXEC, 0));
	if (heirs->sock >= 0)
		tell(heirs, name, fd);
	return 0;
}

static int keep_get(struct ob_keep *keep, const char *name)
{
	struct heirs *heirs = (struct heirs *)keep;

	for (int i = 0; i < HEIRS_NAMES; i++)
		if (heirs->kept[i].fd >= 0 &&
		    !strcmp(heirs->kept[i].name, name))
			return fcntl(heirs->kept[i].fd, F_DUPFD_CLOEXEC, 0);
	return -ENOENT;
}

static void keep_drop(struct ob_keep *keep, const char *name)
{
	struct heirs *heirs = (struct heirs *)keep;

	table_drop(heirs, name);
	if (heirs->sock >= 0)
		tell(heirs, name, -1);
}

/* False: the worker has no more to say. */
static bool collect_one(struct heirs *heirs)
{
	char control[CMSG_SPACE(sizeof(int))], name[OB_KEEP_NAME_MAX + 1];
	struct iovec iov = { name, sizeof(name) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(heirs->sock, &msg, MSG_CMSG_CLOEXEC) <= 0)
		return false;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg) {
		table_drop(heirs, name);
		return true;
	}
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	table_put(heirs, name, fd);
	return true;
}

void heirs_start(struct heirs *heirs, struct rig *rig, const char *spec)
{
	memset(heirs, 0, sizeof(*heirs));
	heirs->ops.put = keep_put;
	heirs->ops.get = keep_get;
	heirs->ops.drop = keep_drop;
	heirs->sock = -1;
	heirs->spec = spec;
	heirs->engine = ob_loop_is_uring(rig->loop) ? OB_LOOP_URING
						    : OB_LOOP_POOL;
	heirs->loop = rig->loop;
	for (int i = 0; i < HEIRS_NAMES; i++)
		heirs->kept[i].fd = -1;
	ob_loop_set_keep(rig->loop, &heirs->ops);
}

void heirs_stop(struct heirs *heirs)
{
	table_drop(heirs, PREFIX);
	assert_int_equal(heirs_nr_kept(heirs), 0);
}

unsigned heirs_nr_kept(const struct heirs *heirs)
{
	unsigned n = 0;

	for (int i = 0; i < HEIRS_NAMES; i++)
		n += heirs->kept[i].fd >= 0;
	return n;
}

int heirs_open(struct heirs *heirs, struct rig *rig, struct ob_err *err)
{
	return ob_drive_open_kept(rig->loop, heirs->spec, heirs->flags, PREFIX,
				  &rig->drive, err);
}

void heirs_must_open(struct heirs *heirs, struct rig *rig)
{
	struct ob_err err = { 0 };

	if (heirs_open(heirs, rig, &err))
		fail_msg("%s", err.msg);
}

void heirs_die(void)
{
	raise(SIGKILL);
	_exit(4);
}

static int create_loop(struct heirs *heirs, struct ob_rings *rings,
		       struct ob_loop **out)
{
	struct ob_loop_params params = { .engine = heirs->engine };
	struct ob_err err = { 0 };

	return rings->loop < 0 ? ob_loop_create(&params, out, &err)
			       : ob_loop_create_on(&params, rings, out, &err);
}

static void live(struct heirs *heirs, struct ob_rings *rings,
		 void (*work)(struct heirs *, struct rig *, void *), void *arg)
{
	struct rig rig = { 0 };
	struct ob_err err = { 0 };

	alarm(60);
	if (create_loop(heirs, rings, &rig.loop))
		_exit(1);
	ob_loop_set_keep(rig.loop, &heirs->ops);
	if (heirs_open(heirs, &rig, &err)) {
		dprintf(2, "life %u: %s\n", heirs->nr_lives, err.msg);
		_exit(2);
	}
	work(heirs, &rig, arg);
	heirs_die();
}

static void count_over(void *arg)
{
	++*(unsigned *)arg;
}

static void wait_for(struct heirs *heirs, struct ob_rings *rings)
{
	struct ob_old_rings *old = NULL;
	struct ob_err err = { 0 };
	unsigned over = 0;

	if (ob_old_rings_open(heirs->loop, rings, count_over, &over, &old,
			      &err))
		fail_msg("%s", err.msg);
	while (!over)
		assert_in_range(ob_loop_turn(heirs->loop, true), 0, INT32_MAX);
	assert_int_equal(ob_old_rings_left(old), 0);
	ob_old_rings_close(old);
	ob_rings_close(rings);
}

void heirs_live(struct heirs *heirs, void (*work)(struct heirs *heirs,
						  struct rig *rig, void *arg),
		void *arg)
{
	struct ob_rings rings = { -1, -1, -1, 0, 0 };
	int pair[2], status;
	pid_t pid;

	heirs->nr_lives++;
	if (heirs->engine == OB_LOOP_URING)
		assert_int_equal(ob_rings_create(heirs->nr_lives, &rings), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
				    pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(pair[0]);
		heirs->sock = pair[1];
		live(heirs, &rings, work, arg);
	}
	close(pair[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail_msg("life %u ended with status 0x%x", heirs->nr_lives,
			 status);
	heirs->sock = pair[0];
	while (collect_one(heirs))
		;
	ob_fd_close(&heirs->sock);
	if (rings.loop >= 0)
		wait_for(heirs, &rings);
}

void *heirs_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}
