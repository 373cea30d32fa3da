// SPDX-License-Identifier: BSD-3-Clause
/*
 * Descriptors that outlive the process: the public face.  Whoever has a link
 * to a keeper hangs it into the loop; without one nothing is kept, which the
 * callers need not know.
 */
#include <base/keep.h>

#include <base/loop_private.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

void ob_loop_set_keep(struct ob_loop *loop, struct ob_keep *keep)
{
	loop->keep = keep;
}

struct ob_keep *ob_loop_keep(const struct ob_loop *loop)
{
	return loop->keep;
}

bool ob_keep_is_on(const struct ob_loop *loop)
{
	return loop->keep;
}

bool ob_keep_is_sole(const struct ob_loop *loop)
{
	return !loop->keep || loop->keep->is_sole;
}

int ob_keep_put(struct ob_loop *loop, const char *name, int fd)
{
	if (!loop->keep)
		return 0;
	if (strlen(name) > OB_KEEP_NAME_MAX)
		return -ENAMETOOLONG;
	return loop->keep->put(loop->keep, name, fd);
}

int ob_keep_get(struct ob_loop *loop, const char *name)
{
	return loop->keep ? loop->keep->get(loop->keep, name) : -ENOENT;
}

void ob_keep_drop(struct ob_loop *loop, const char *name)
{
	if (loop->keep)
		loop->keep->drop(loop->keep, name);
}

static void name_new(char new_name[OB_KEEP_NAME_MAX + 1], const char *name,
		     unsigned n)
{
	snprintf(new_name, OB_KEEP_NAME_MAX + 1, "%s/new/%u", name, n);
}

int ob_keep_get_new(struct ob_loop *loop, const char *name, unsigned n)
{
	char new_name[OB_KEEP_NAME_MAX + 1];

	name_new(new_name, name, n);
	return ob_keep_get(loop, new_name);
}

void ob_keep_drop_new(struct ob_loop *loop, const char *name, unsigned n)
{
	char new_name[OB_KEEP_NAME_MAX + 1];

	name_new(new_name, name, n);
	ob_keep_drop(loop, new_name);
}
