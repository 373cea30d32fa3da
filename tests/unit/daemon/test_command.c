// SPDX-License-Identifier: BSD-3-Clause
/*
 * The `outboard` command as a user or a service manager meets it: what it
 * prints, how it ends, what it leaves behind.  Arguments: the command, and
 * shared objects with a model, and with one whose operations never end.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "command.h"

static const char *module, *hanging;

static void verbs(void **state)
{
	(void)state;
	expect(START("--version"), 0, "outboard ");
	expect(START("help"), 0, "  serve ");
	expect(START("help", "serve"), 0, "--device MODEL,KEY=VALUE,...");
	expect(START("serve", "--help"), 0, "--device MODEL,KEY=VALUE,...");
	expect(START("frobnicate"), 2, "  serve ");
	expect(START("help", "frobnicate"), 2, "no verb 'frobnicate'");
}

static void devices_are_listed(void **state)
{
	(void)state;
	expect(START("devices"), 0, "dma_mask=number");
	expect(START("devices"), 0, "(default 0x0fffffff)");
	expect(START("devices"), 0, "file:PATH");
	expect(START("devices", "--json"), 0, "\"name\": \"edu\"");
	expect(START("devices", "extra"), 2, "unexpected argument 'extra'");
}

static void wrong_words(void **state)
{
	(void)state;
	expect(START("serve"), 2, "give --device");
	expect(START("serve", "--device", "nul"), 2, "no model 'nul' (known: ");
	expect(START("serve", "--device", "edu,socket=s,mask=1"), 2,
	       "dma_mask");
	expect(START("serve", "--device", "null,socket=s", "--device",
		     "null,socket=s"), 2, "another device has socket=s");
	expect(START("serve", "--device", "null,id=a,socket=s", "--device",
		     "null,id=a,socket=t"), 2, "another device has id=a");
}

/* Nothing was created, not even by the device that could have been. */
static void one_bad_device_fails_all(void **state)
{
	(void)state;
	expect(START("serve", "--device", "null,socket=good.sock", "--device",
		     "null,socket=no/such/folder.sock"), 1, "no/such");
	assert_int_equal(access("good.sock", F_OK), -1);
}

static struct child start_two(void)
{
	struct child c = START("serve", "--device", "null,socket=a.sock,id=a",
			       "--device", "edu,socket=b.sock,id=b");

	wait_for(&c, "outboard: ready: a (null) on unix:a.sock, "
		 "b (edu) on unix:b.sock\n");
	return c;
}

static void serves_until_told_to_end(void **state)
{
	const int signals[] = { SIGTERM, SIGINT };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct child c = start_two();
		struct stat st;

		assert_return_code(stat("b.sock", &st), errno);
		assert_true(S_ISSOCK(st.st_mode));
		assert_int_equal(st.st_mode & 0007, 0);		/* R33 */
		kill(c.pid, signals[i]);
		assert_int_equal(end(&c), 0);
		assert_int_equal(access("a.sock", F_OK), -1);
		assert_int_equal(access("b.sock", F_OK), -1);
	}
}

/* All of it on one line: scripts wait for that, and look for their devices. */
static void many_devices_are_told_on_one_line(void **state)
{
	enum { MANY = 150 };
	char devices[MANY][64], line[MANY * 64] = "outboard: ready:";
	const char *words[2 * MANY + 2] = { "serve" };
	struct child c;

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		size_t len = strlen(line);

		snprintf(devices[i], sizeof(devices[i]),
			 "null,socket=many%u.sock,id=device%u", i, i);
		words[1 + 2 * i] = "--device";
		words[2 + 2 * i] = devices[i];
		snprintf(line + len, sizeof(line) - len,
			 "%s device%u (null) on unix:many%u.sock",
			 i ? "," : "", i, i);
	}
	strcat(line, "\n");
	c = start_words(words);
	wait_for(&c, line);
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), 0);
}

static void ends_with_a_client_connected(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct child c = start_two();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte;

	(void)state;
	strcpy(addr.sun_path, "a.sock");
	assert_return_code(connect(fd, (struct sockaddr *)&addr,
				   sizeof(addr)), errno);
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), 0);
	assert_true(read(fd, &byte, 1) <= 0);
	close(fd);
}

static void live_socket_is_refused(void **state)
{
	struct child c = start_two();

	(void)state;
	expect(START("serve", "--device", "null,socket=a.sock"), 1, "a.sock");
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), 0);
}

/* At once: the kernel may still be closing what the dead one had. */
static void stale_socket_is_replaced(void **state)
{
	struct child c = start_two();

	(void)state;
	for (int i = 0; i < 20; i++) {
		kill_now(&c);
		assert_int_equal(access("a.sock", F_OK), 0);
		c = start_two();
	}
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), 0);
}

static void service_manager_is_told(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct child c;
	char text[64];
	ssize_t n;

	(void)state;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/notify", dir);
	assert_return_code(bind(fd, (struct sockaddr *)&addr, sizeof(addr)),
			   errno);
	setenv("NOTIFY_SOCKET", addr.sun_path, 1);
	c = start_two();
	n = recv(fd, text, sizeof(text), 0);
	assert_int_equal(n, 7);
	assert_memory_equal(text, "READY=1", 7);
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), 0);
	n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
	assert_int_equal(n, 10);
	assert_memory_equal(text, "STOPPING=1", 10);
	unsetenv("NOTIFY_SOCKET");
	unlink(addr.sun_path);
	close(fd);
}

static void a_model_can_be_loaded(void **state)
{
	struct child c;

	(void)state;
	expect(START("devices", "--load", module), 0, "a model from outside");
	expect(START("serve", "--load", "/no/such.so", "--device",
		     "sample,socket=s"), 1, "/no/such.so");
	c = START("serve", "--load", module, "--device", "sample,socket=s");
	wait_for(&c, "(sample) on unix:s\n");
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), 0);
}

/* The one that hangs is on the last thread. */
static struct child start_hanging(const char *threads)
{
	const char *stuck = threads[0] == '1' ? "sample,socket=s,id=stuck" :
		"sample,socket=s,id=stuck,thread=1";
	struct child c = START("serve", "--load", hanging, "--threads", threads,
			       "--device", stuck, "--device",
			       "null,socket=t,id=fine");

	wait_for(&c, "outboard: ready: ");
	kill(c.pid, SIGTERM);
	wait_for(&c, "stopping");
	return c;
}

static void expect_abandoned(struct child c)
{
	assert_int_equal(end(&c), 1);
	assert_non_null(strstr(c.text, "stuck: abandoned"));
	assert_null(strstr(c.text, "fine: abandoned"));
	assert_int_equal(access("s", F_OK), -1);
	assert_int_equal(access("t", F_OK), -1);
}

/* R21: the end is bounded, whatever a drive does. */
static void test_r21_a_hung_drive_is_abandoned(void **state)
{
	(void)state;
	expect_abandoned(start_hanging("1"));
	expect_abandoned(start_hanging("2"));
}

static void test_r21_a_second_signal_does_not_wait(void **state)
{
	struct child c = start_hanging("1");

	(void)state;
	kill(c.pid, SIGINT);
	expect_abandoned(c);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		COMMAND_TEST(verbs),
		COMMAND_TEST(devices_are_listed),
		COMMAND_TEST(wrong_words),
		COMMAND_TEST(one_bad_device_fails_all),
		COMMAND_TEST(serves_until_told_to_end),
		COMMAND_TEST(many_devices_are_told_on_one_line),
		COMMAND_TEST(ends_with_a_client_connected),
		COMMAND_TEST(live_socket_is_refused),
		COMMAND_TEST(stale_socket_is_replaced),
		COMMAND_TEST(service_manager_is_told),
		COMMAND_TEST(a_model_can_be_loaded),
		COMMAND_TEST(test_r21_a_hung_drive_is_abandoned),
		COMMAND_TEST(test_r21_a_second_signal_does_not_wait),
	};

	if (argc != 4)
		return 2;
	command = realpath(argv[1], NULL);
	module = realpath(argv[2], NULL);
	hanging = realpath(argv[3], NULL);
	if (!command || !module || !hanging)
		return 2;
	return cmocka_run_group_tests(tests, command_setup, command_teardown);
}
