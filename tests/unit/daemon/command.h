/* SPDX-License-Identifier: BSD-3-Clause */
/* The `outboard` command, run in a folder of the test's own. */
#ifndef OB_TESTS_DAEMON_COMMAND_H
#define OB_TESTS_DAEMON_COMMAND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#define WAIT_MS 20000

extern const char *command;		/* full path */
extern char dir[];

struct child {
	pid_t pid;
	int out;			/* its standard output and error */
	char text[16384];
	size_t len;
};

struct child start_words(const char *const *words);
#define START(...) start_words((const char *const[]){ __VA_ARGS__, NULL })

/* Until it has said that. */
void wait_for(struct child *c, const char *text);
/* Waits for its end; its exit code. */
int end(struct child *c);
void kill_now(struct child *c);
/* It ends with that code, and has said that. */
void expect(struct child c, int code, const char *text);

/* After a test: nobody is left of one that failed. */
int command_clear(void **state);
#define COMMAND_TEST(test) cmocka_unit_test_teardown(test, command_clear)
int command_setup(void **state);
int command_teardown(void **state);

#endif
