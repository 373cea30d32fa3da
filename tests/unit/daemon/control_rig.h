/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A control socket with a host in the test's hands, devices of which it is
 * noted what they are asked for, and clients; all in one thread.
 */
#ifndef OB_TESTS_DAEMON_CONTROL_RIG_H
#define OB_TESTS_DAEMON_CONTROL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "../open_fds.h"
#include "daemon/control.h"
#include "server/operator.h"
#include "server/server.h"

#define TURNS 20000

/* What was asked of the host, and what it answers. */
extern struct host {
	unsigned asked, upgrades, flags, inflight;
	int32_t ticket;
	int rc;
	bool has_binary;
	const char *id;
} host;

/* What an operator asks of the device: noted, and ended by the test. */
extern struct seen {
	const char *what;
	struct ob_operation *op;
	int fd, rc;
	bool flag;
} seen;
/* Of the device; NULL until a test sets them. */
extern struct ob_options *rig_options;

/* A host with a keeper, one without. */
extern const struct ob_control_host kept, alone;

struct rig {
	struct ob_loop *loop;
	struct ob_control *control;
};

struct client {
	struct rig *rig;
	int fd;
	char text[1u << 20];
	size_t got;
};

/* The socket's path, in a folder of the test's own (cmocka's group setup). */
extern char rig_dir[], rig_path[64];
int rig_setup(void **state);
int rig_teardown(void **state);

struct rig start(const struct ob_control_host *with);
void finish(struct rig *rig);
void turn(struct rig *rig);
/* A connection, or -errno. */
int dial(void);

struct client *come(struct rig *rig);
void go(struct client *c);
void say_bytes(struct client *c, const void *bytes, size_t len);
void say(struct client *c, const char *line);
/* 1: there is more; 0: the end; -1: nothing yet. */
int take_more(struct client *c);
/* The result of that request, to be released. */
json_t *result(struct client *c, json_int_t id);
void is_refused(struct client *c, json_int_t code, const char *why);
void is_let_go(struct client *c);
void is_well(struct client *c);

#define CALL(method, id) \
	"{\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"id\":" #id "}"

#endif
