// SPDX-License-Identifier: BSD-3-Clause
/*
 * The sd_notify protocol is one datagram to a socket named in the
 * environment, which is less than the library that sends it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

static int sock = -1;

int ob_notify_open(void)
{
	if (sock >= 0 || !getenv("NOTIFY_SOCKET"))
		return 0;
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return sock < 0 ? -errno : 0;
}

int ob_notify(const char *state)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr;
	int len, r;

	if (!name)
		return 0;
	len = make_address(name, &addr);
	if (len < 0)
		return len;
	r = ob_notify_open();
	if (r)
		return r;
	if (sendto(sock, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
		   (struct sockaddr *)&addr, len) < 0)
		return -errno;
	return 0;
}

int ob_notify_status(const char *text)
{
	char state[512];
	int len = snprintf(state, sizeof(state), "STATUS=%s", text);

	for (char *at = state; len > 0 && *at; at++)
		if ((unsigned char)*at < ' ')
			*at = '?';
	return ob_notify(state);
}

unsigned ob_notify_alive_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long n;

	if (!us || (pid && atol(pid) != getpid()))
		return 0;
	n = strtoull(us, NULL, 10) / 2000;
	return n > UINT32_MAX ? UINT32_MAX : (unsigned)n;
}
