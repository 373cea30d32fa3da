// SPDX-License-Identifier: BSD-3-Clause
#include "fake_keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PUT = 'p', DROP = 'd' };

struct word {
	char op;
	char name[OB_KEEP_NAME_MAX + 1];
};

static int find(const struct fake_keep *fake, const char *name)
{
	for (unsigned i = 0; i < FAKE_NAMES; i++)
		if (fake->names[i].fd >= 0 &&
		    strcmp(fake->names[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void forget(struct fake_keep *fake, unsigned i)
{
	if (fake->names[i].fd >= 0)
		close(fake->names[i].fd);
	fake->names[i].fd = -1;
}

int fake_keep_enter(struct fake_keep *fake, const char *name, int fd)
{
	int at = find(fake, name);

	for (unsigned i = 0; at < 0 && i < FAKE_NAMES; i++)
		if (fake->names[i].fd < 0)
			at = (int)i;
	if (at < 0) {
		close(fd);
		return -ENFILE;
	}
	forget(fake, (unsigned)at);
	strcpy(fake->names[at].name, name);
	fake->names[at].fd = fd;
	return 0;
}

static void leave(struct fake_keep *fake, const char *name)
{
	size_t len = strlen(name);
	bool below = len && name[len - 1] == '/';

	for (unsigned i = 0; i < FAKE_NAMES; i++)
		if (fake->names[i].fd >= 0 &&
		    (below ? strncmp(fake->names[i].name, name, len) == 0 :
		     strcmp(fake->names[i].name, name) == 0))
			forget(fake, i);
}

static void tell(const struct fake_keep *fake, char op, const char *name,
		 int fd)
{
	struct word word = { .op = op };
	struct iovec iov = { &word, sizeof(word) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fake->channel < 0)
		return;
	strcpy(word.name, name);
	if (fd >= 0) {
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
	}
	if (sendmsg(fake->channel, &mh, MSG_NOSIGNAL) < 0)
		abort();
}

static void now(const struct fake_keep *fake)
{
	if (fake->called)
		fake->called();
}

static int put(struct ob_keep *keep, const char *name, int fd)
{
	struct fake_keep *fake = (struct fake_keep *)keep;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0), r;

	if (own < 0)
		return -errno;
	now(fake);
	fake->puts++;
	tell(fake, PUT, name, fd);
	r = fake_keep_enter(fake, name, own);
	now(fake);
	return r;
}

static int get(struct ob_keep *keep, const char *name)
{
	struct fake_keep *fake = (struct fake_keep *)keep;
	int at = find(fake, name);

	now(fake);
	if (at < 0)
		return -ENOENT;
	if (fake->lost && !strcmp(name, fake->lost))
		return -EIO;
	at = fcntl(fake->names[at].fd, F_DUPFD_CLOEXEC, 0);
	return at < 0 ? -errno : at;
}

static void drop(struct ob_keep *keep, const char *name)
{
	struct fake_keep *fake = (struct fake_keep *)keep;

	now(fake);
	tell(fake, DROP, name, -1);
	leave(fake, name);
	now(fake);
}

static void each(struct ob_keep *keep, const char *prefix,
		 void (*fn)(void *arg, const char *name), void *arg)
{
	struct fake_keep *fake = (struct fake_keep *)keep;

	for (unsigned i = 0; i < FAKE_NAMES; i++)
		if (fake->names[i].fd >= 0 &&
		    strncmp(fake->names[i].name, prefix, strlen(prefix)) == 0)
			fn(arg, fake->names[i].name);
}

void fake_keep_init(struct fake_keep *fake, int channel)
{
	*fake = (struct fake_keep){
		.keep = { .put = put, .get = get, .drop = drop, .each = each },
		.channel = channel,
	};
	for (unsigned i = 0; i < FAKE_NAMES; i++)
		fake->names[i].fd = -1;
}

void fake_keep_finish(struct fake_keep *fake)
{
	for (unsigned i = 0; i < FAKE_NAMES; i++)
		forget(fake, i);
}

static bool hear(struct fake_keep *fake, int channel)
{
	struct word word;
	struct iovec iov = { &word, sizeof(word) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(channel, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) !=
	    sizeof(word))
		return false;
	if (mh.msg_controllen)
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(fd));
	if (word.op == PUT && fd >= 0)
		fake_keep_enter(fake, word.name, fd);
	else
		leave(fake, word.name);
	return true;
}

void fake_keep_drain(struct fake_keep *fake, int channel)
{
	while (hear(fake, channel))
		;
}

bool fake_keep_has(const struct fake_keep *fake, const char *name)
{
	return find(fake, name) >= 0;
}

unsigned fake_keep_count(const struct fake_keep *fake)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_NAMES; i++)
		n += fake->names[i].fd >= 0;
	return n;
}
