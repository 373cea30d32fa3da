// SPDX-License-Identifier: BSD-3-Clause
/*
 * The keeper's table, seen from the worker (base/keep.h).
 *
 * A descriptor that was given at the start is handed out once; whoever asks
 * later, or for what this worker has put itself, gets it from the keeper anew.
 * So nothing is open twice for longer than needed.
 *
 * What the keeper has cannot change but by us, so what is not in our copy of the
 * table need not be dropped.
 *
 * A rehearsal is shown copies and may change nothing: it puts, drops and asks in
 * vain, as if there were no keeper.
 *
 * Any thread may come here, one at a time.
 */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "link/link_impl.h"

static struct ob_link *link_of(struct ob_keep *keep)
{
	return (struct ob_link *)((char *)keep -
				  offsetof(struct ob_link, keep));
}

static int put(struct ob_keep *keep, const char *name, int fd)
{
	struct ob_link *link = link_of(keep);
	OB_LINK_LOCK(link);
	int r;

	if (strlen(name) >= OB_KEEPER_NAME)
		return -ENAMETOOLONG;
	if (link->rehearsed)
		return 0;
	if (link->held.count >= link->room &&
	    !ob_held_find(&link->held, name))
		return -ENFILE;
	r = ob_link_say(link, OB_KEEPER_PUT, 0, name, fd);
	return r ? r : ob_held_put(&link->held, name, -1);
}

/*
 * Waits for the keeper's answer; what comes before it is for later.  The name is
 * known, so that one without a descriptor (there was no room for it here, or in the
 * keeper) does not say that there is none.
 */
static int ask(struct ob_link *link, const char *name)
{
	struct ob_keeper_msg msg;
	int r = ob_link_say(link, OB_KEEPER_GET, 0, name, -1), fd;

	while (!r && !ob_link_is_gone(link)) {
		r = ob_msg_recv(link->channel, &msg, &fd, 0);
		if (r == 0)
			ob_link_set_gone(link);
		else if (r == 1 && msg.op == OB_KEEPER_GIVE)
			return fd < 0 ? -EIO : fd;
		else if (r == 1)
			ob_link_later(link, &msg, fd);
		if (r == 1 || r == -EBADMSG)
			r = 0;
	}
	return r ? r : -EIO;
}

static int get(struct ob_keep *keep, const char *name)
{
	struct ob_link *link = link_of(keep);
	OB_LINK_LOCK(link);
	struct ob_held_entry *entry = ob_held_find(&link->held, name);

	if (!entry || (entry->fd < 0 && link->rehearsed))
		return -ENOENT;
	return entry->fd >= 0 ? ob_fd_take(&entry->fd) : ask(link, name);
}

static bool is_prefix(const char *name)
{
	return name[0] && name[strlen(name) - 1] == '/';
}

static bool is_known(struct ob_link *link, const char *name)
{
	return is_prefix(name) ? ob_held_below(&link->held, name, NULL) :
				 ob_held_find(&link->held, name);
}

static void drop(struct ob_keep *keep, const char *name)
{
	struct ob_link *link = link_of(keep);
	OB_LINK_LOCK(link);
	struct ob_held_entry *entry, *next;

	if (link->rehearsed || !is_known(link, name))
		return;
	ob_link_say(link, OB_KEEPER_DROP, 0, name, -1);
	if (!is_prefix(name)) {
		ob_held_remove(&link->held, ob_held_find(&link->held, name));
		return;
	}
	for (entry = ob_held_below(&link->held, name, NULL); entry; entry = next) {
		next = ob_held_below(&link->held, name, entry);
		ob_held_remove(&link->held, entry);
	}
}

static void each(struct ob_keep *keep, const char *prefix,
		 void (*fn)(void *arg, const char *name), void *arg)
{
	struct ob_link *link = link_of(keep);
	OB_LINK_LOCK(link);
	struct ob_held_entry *entry = ob_held_below(&link->held, prefix, NULL);

	for (; entry; entry = ob_held_below(&link->held, prefix, entry))
		fn(arg, entry->name);
}

void ob_link_keep_init(struct ob_link *link)
{
	link->keep = (struct ob_keep){
		.put = put, .get = get, .drop = drop, .each = each,
		.is_sole = true,
	};
}

struct ob_keep *ob_link_keep(struct ob_link *link)
{
	return &link->keep;
}
