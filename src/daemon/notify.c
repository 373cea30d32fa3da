// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sd_notify protocol is one datagram to a socket named in the
 * environment, which is less than the library that sends it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "daemon/notify.h"

/* Length of the address, or -EINVAL.  '@' stands for the abstract NUL. */
static int make_address(const char *name, struct sockaddr_un *addr)
{
	size_t len = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || len < 2 ||
	    len >= sizeof(addr->sun_path))
		return -EINVAL;
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(addr->sun_path, name, len);
	if (name[0] == '@')
		addr->sun_path[0] = '\0';
	return offsetof(struct sockaddr_un, sun_path) + len;
}

int ob_notify(const char *state)
{
	const char *name = getenv("NOTIFY_SOCKET");
	OB_CLEANUP_FD int fd = -1;
	struct sockaddr_un addr;
	int len;

	if (!name)
		return 0;
	len = make_address(name, &addr);
	if (len < 0)
		return len;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
		   (struct sockaddr *)&addr, len) < 0)
		return -errno;
	return 0;
}
