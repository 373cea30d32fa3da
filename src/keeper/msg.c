// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keeper/msg.h"

#define HEAD offsetof(struct ob_keeper_msg, text)
#define MAX_FDS 8	/* that are looked at; a sane peer sends one */

_Static_assert(sizeof(struct ob_keeper_msg) == 4096, "wire format");
_Static_assert(sizeof(struct ob_keeper_status) <= OB_KEEPER_TEXT, "fits");

union control {
	char buf[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	struct cmsghdr align;
};

void ob_msg_init(struct ob_keeper_msg *msg, enum ob_keeper_op op,
		 const char *name)
{
	memset(msg, 0, HEAD + 1);
	msg->magic = OB_KEEPER_MAGIC;
	msg->op = op;
	if (name)
		memcpy(msg->name, name, strnlen(name, OB_KEEPER_NAME - 1));
}

void ob_msg_text(struct ob_keeper_msg *msg, const char *text)
{
	size_t len = strnlen(text, OB_KEEPER_TEXT - 1);

	memcpy(msg->text, text, len);
	msg->text[len] = '\0';
}

static void attach(struct msghdr *hdr, union control *control, int fd)
{
	struct cmsghdr *cmsg;

	memset(control, 0, sizeof(*control));
	hdr->msg_control = control->buf;
	hdr->msg_controllen = CMSG_SPACE(sizeof(int));
	cmsg = CMSG_FIRSTHDR(hdr);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
}

int ob_msg_send(int channel, const struct ob_keeper_msg *msg, size_t extra,
		int fd, int flags)
{
	struct iovec iov = { .iov_base = (void *)msg };
	struct msghdr hdr = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	iov.iov_len = HEAD + (extra ? extra : strlen(msg->text));
	if (fd >= 0)
		attach(&hdr, &control, fd);
	do
		n = sendmsg(channel, &hdr, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* The first descriptor; what else came is closed. */
static int detach(struct msghdr *hdr)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(hdr);
	int first = -1, fd;

	for (; cmsg; cmsg = CMSG_NXTHDR(hdr, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET ||
		    cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= cmsg->cmsg_len;
		     at += sizeof(int)) {
			memcpy(&fd, (char *)cmsg + at, sizeof(int));
			if (first < 0)
				first = fd;
			else
				close(fd);
		}
	}
	return first;
}

/* Names are printable text: they go into the log. */
static bool well_formed(struct ob_keeper_msg *msg, ssize_t n, int flags)
{
	if (n < (ssize_t)HEAD || (flags & MSG_TRUNC) ||
	    msg->magic != OB_KEEPER_MAGIC || msg->name[OB_KEEPER_NAME - 1])
		return false;
	for (const char *c = msg->name; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return false;
	if (n == sizeof(*msg))
		n--;
	msg->text[n - HEAD] = '\0';
	return true;
}

int ob_msg_recv(int channel, struct ob_keeper_msg *msg, int *fd, int flags)
{
	struct iovec iov = { .iov_base = msg, .iov_len = sizeof(*msg) };
	union control control;
	struct msghdr hdr = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.buf, .msg_controllen = sizeof(control),
	};
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(channel, &hdr, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	*fd = detach(&hdr);
	if (n > 0 && well_formed(msg, n, hdr.msg_flags))
		return 1;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	/* A datagram of no bytes and the end look alike; the end has no fd and
	 * comes again. */
	return n ? -EBADMSG : 0;
}
