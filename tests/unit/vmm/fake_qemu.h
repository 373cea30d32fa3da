/* SPDX-License-Identifier: BSD-3-Clause */
/* A monitor in a thread that follows a script: what it is asked, what it says. */
#ifndef TESTS_UNIT_VMM_FAKE_QEMU_H
#define TESTS_UNIT_VMM_FAKE_QEMU_H

#include <pthread.h>

struct fake_step {
	const char *expect;	/* a part of the line; NULL: nothing is read */
	/* Sent as it is; "@" is the request's id.  NULL: nothing. */
	const char *say;
	bool hang_up;
};

struct fake_qemu {
	pthread_t thread;
	int fd;			/* its end */
	const struct fake_step *steps;
	int got_fd;		/* the last one that came along, or -1 */
	char problem[256];
};

#define FAKE_GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 3, " \
	"\"minor\": 1, \"major\": 11}, \"package\": \"\"}, " \
	"\"capabilities\": []}}\r\n"
#define FAKE_EMPTY "{\"return\": {}, \"id\": @}\r\n"
#define FAKE_HELLO { NULL, FAKE_GREETING, false }, \
	{ "qmp_capabilities", FAKE_EMPTY, false }
#define FAKE_END { NULL, NULL, false }

/* Starts it; the client's end. */
int fake_qemu_start(struct fake_qemu *q, const struct fake_step *steps);
/* Waits for its end; fails the test if it was asked something else. */
void fake_qemu_end(struct fake_qemu *q);

#endif
