// SPDX-License-Identifier: BSD-3-Clause
/* The control channel's upgrade (docs/control.md). */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/control_priv.h"

/* By its name: another release is under the same one now. */
static int own_binary(char path[PATH_MAX])
{
	static const char gone[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	size_t len = (size_t)n, tail = sizeof(gone) - 1;

	if (n < 0)
		return -errno;
	path[len] = 0;
	if (len > tail && !strcmp(path + len - tail, gone))
		path[len - tail] = 0;
	return 0;
}

static int open_binary(const char *name, int *fd, struct ob_err *err)
{
	char own[PATH_MAX];
	int r = name ? 0 : own_binary(own);

	if (r)
		return ob_fail(err, -r, "this binary has no name");
	if (!name)
		name = own;
	if (name[0] != '/')
		return ob_fail(err, EINVAL, "binary: not a full path");
	if (access(name, X_OK))
		return ob_fail(err, errno, "%s: %s", name, strerror(errno));
	*fd = open(name, O_PATH | O_CLOEXEC);
	return *fd < 0 ? ob_fail(err, errno, "%s: %s", name, strerror(errno))
		       : 0;
}

struct upgrade {
	const char *binary;
	unsigned flags;
	int32_t ticket;
};

static int upgrade(const struct ob_control_host *host,
		   const struct upgrade *up, struct ob_err *err)
{
	OB_CLEANUP_FD int fd = -1;
	int r;

	if (!host->upgrade)
		return ob_fail(err, ENOTSUP, "this server has no keeper");
	r = open_binary(up->binary, &fd, err);
	if (r)
		return r;
	r = host->upgrade(host->arg, fd, up->flags, up->ticket);
	return r ? ob_fail(err, -r, "the keeper: %s", strerror(-r)) : 0;
}

void control_do_upgrade(struct control_client *c,
			const struct control_call *call)
{
	struct upgrade up = {
		.binary = control_text(call, "binary"),
		.flags = control_flag(call, "dry_run") ? OB_UPGRADE_DRY_RUN : 0,
		.ticket = (int32_t)json_integer_value(json_object_get(
			call->params, "ticket")),
	};
	struct ob_err err = { "" };

	if (upgrade(&c->control->host, &up, &err))
		control_refuse(c, call->id, CONTROL_FAILED, err.msg);
	else
		control_succeed(c, call->id, json_pack("{s:b}", "accepted", 1));
}
