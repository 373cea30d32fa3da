// SPDX-License-Identifier: BSD-3-Clause
/* The service manager's socket: by path, abstract, absent, wrong. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/notify.h"

/* A manager that listens at name, given as in NOTIFY_SOCKET. */
static int manager(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	size_t len = strlen(name);

	memcpy(addr.sun_path, name, len);
	if (name[0] == '@')
		addr.sun_path[0] = '\0';
	assert_return_code(fd, errno);
	assert_return_code(bind(fd, (struct sockaddr *)&addr,
				offsetof(struct sockaddr_un, sun_path) + len),
			   errno);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void expect_told(int fd, const char *text)
{
	char got[64] = "";
	ssize_t n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	assert_int_equal(n, strlen(text));
	assert_string_equal(got, text);
	close(fd);
}

static void by_path(void **state)
{
	char dir[] = "/tmp/outboard-notify-XXXXXX", path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/sock", dir);
	fd = manager(path);
	assert_int_equal(ob_notify("READY=1"), 0);
	expect_told(fd, "READY=1");
	unlink(path);
	assert_int_equal(ob_notify("READY=1"), -ENOENT);
	rmdir(dir);
}

static void abstract(void **state)
{
	char name[64];
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "@outboard-notify-%d", (int)getpid());
	fd = manager(name);
	assert_int_equal(ob_notify("STOPPING=1"), 0);
	expect_told(fd, "STOPPING=1");
	assert_int_equal(ob_notify("STOPPING=1"), -ECONNREFUSED);
}

static void nobody_listens(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(ob_notify("READY=1"), 0);
}

static void names_that_are_none(void **state)
{
	char longest[200];

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	assert_int_equal(ob_notify("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(ob_notify("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(ob_notify("READY=1"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_path),
		cmocka_unit_test(abstract),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(names_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
