// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command.h"

const char *command;
char dir[] = "/tmp/outboard-command-XXXXXX";

/* Those that have not ended. */
static pid_t running[16];

static void note(pid_t from, pid_t to)
{
	for (unsigned i = 0; i < sizeof(running) / sizeof(running[0]); i++) {
		if (running[i] == from) {
			running[i] = to;
			return;
		}
	}
}

struct child start_words(const char *const *words)
{
	char *argv[512] = { (char *)command };
	posix_spawn_file_actions_t act;
	struct child c = { 0 };
	int pipes[2];

	for (unsigned i = 0; words[i]; i++) {
		assert_true(i + 2 < sizeof(argv) / sizeof(argv[0]));
		argv[i + 1] = (char *)words[i];
	}
	assert_return_code(pipe2(pipes, O_CLOEXEC), errno);
	posix_spawn_file_actions_init(&act);
	posix_spawn_file_actions_adddup2(&act, pipes[1], 1);
	posix_spawn_file_actions_adddup2(&act, pipes[1], 2);
	posix_spawn_file_actions_addchdir_np(&act, dir);
	assert_int_equal(posix_spawn(&c.pid, command, &act, NULL, argv,
				     environ), 0);
	note(0, c.pid);
	posix_spawn_file_actions_destroy(&act);
	close(pipes[1]);
	c.out = pipes[0];
	return c;
}

/* More of the output; false at its end. */
static bool read_more(struct child *c)
{
	struct pollfd p = { .fd = c->out, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("silent after: %s", c->text);
	n = read(c->out, c->text + c->len, sizeof(c->text) - 1 - c->len);
	if (n <= 0)
		return false;
	c->len += n;
	c->text[c->len] = '\0';
	return true;
}

void wait_for(struct child *c, const char *text)
{
	while (!strstr(c->text, text))
		if (!read_more(c))
			fail_msg("'%s' is not in: %s", text, c->text);
}

int end(struct child *c)
{
	int status;

	while (read_more(c))
		;
	close(c->out);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	note(c->pid, 0);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

void kill_now(struct child *c)
{
	kill(c->pid, SIGKILL);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
	note(c->pid, 0);
	close(c->out);
}

void expect(struct child c, int code, const char *text)
{
	int got = end(&c);

	if (got != code || !strstr(c.text, text))
		fail_msg("exit code %d, not %d; or '%s' is not in: %s", got,
			 code, text, c.text);
}

int command_clear(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(running) / sizeof(running[0]); i++) {
		if (!running[i])
			continue;
		kill(running[i], SIGKILL);
		waitpid(running[i], NULL, 0);
		running[i] = 0;
	}
	return 0;
}

int command_setup(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("JOURNAL_STREAM");
	return mkdtemp(dir) && !chdir(dir) ? 0 : -1;
}

/* Whatever is left there is a failure. */
int command_teardown(void **state)
{
	(void)state;
	return chdir("/") || rmdir(dir) ? -1 : 0;
}
