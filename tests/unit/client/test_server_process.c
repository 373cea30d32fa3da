// SPDX-License-Identifier: BSD-3-Clause
/* Who serves a socket: found whoever made it listen, alive or not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server_process.h"

/* A client is nothing but its descriptor here. */
struct ob_client {
	int fd;
};

int ob_client_fd(const struct ob_client *client)
{
	return client->fd;
}

/* Made to listen by a process that has gone. */
static int orphan(struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), status;
	pid_t pid;

	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(addr->sun_path + 1, sizeof(addr->sun_path) - 1,
		 "outboard-test-%d", (int)getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
	pid = fork();
	if (!pid)
		_exit(listen(fd, 1));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	return fd;
}

static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Accepts, burns a little, and tells; until it is killed. */
static pid_t server(int listening)
{
	pid_t pid = fork();
	int fd;

	if (pid)
		return pid;
	fd = accept(listening, NULL, NULL);
	while (cpu_seconds() < 0.1)
		;
	if (fd < 0 || write(fd, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void the_living_are_found(void **state)
{
	struct sockaddr_un addr;
	struct ob_client client = {
		.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	};
	int listening = orphan(&addr);
	struct server_processes found;
	pid_t pid = server(listening);
	cpu_set_t cpus;
	char byte;

	(void)state;
	assert_int_equal(connect(client.fd, (struct sockaddr *)&addr,
				 sizeof(addr)), 0);
	assert_int_equal(read(client.fd, &byte, 1), 1);
	server_find(&client, &found);
	assert_int_equal(found.count, 1);
	if (found.pids[0] != pid && kill(found.pids[0], 0))
		skip();			/* no sock_diag: who listened */
	assert_int_equal(found.pids[0], pid);
	assert_true(server_cpu_seconds(&found) > 0);
	server_cpus(&found, &cpus);
	assert_true(CPU_COUNT(&cpus) > 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(server_cpu_seconds(&found) == 0);
	close(client.fd);
	close(listening);
}

static void nobody_is_no_mistake(void **state)
{
	struct server_processes found;
	cpu_set_t cpus;

	(void)state;
	server_find(NULL, &found);
	assert_int_equal(found.count, 0);
	assert_true(server_cpu_seconds(&found) == 0);
	server_cpus(&found, &cpus);
	assert_true(CPU_COUNT(&cpus) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_living_are_found),
		cmocka_unit_test(nobody_is_no_mistake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
