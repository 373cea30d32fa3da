/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A keeper for tests.  The table is this process's; if there is a channel,
 * everything that is put or dropped is told there, too, descriptors included,
 * and whoever has the other end can make his table the same, also when the
 * teller has been killed.
 */
#ifndef OB_TESTS_SERVER_FAKE_KEEP_H
#define OB_TESTS_SERVER_FAKE_KEEP_H

#include "base/keep.h"

#define FAKE_NAMES 256u

struct fake_keep {
	struct ob_keep keep;		/* first */
	int channel;			/* -1: none */
	unsigned puts;
	const char *lost;		/* gets of that name fail; or NULL */
	void (*called)(void);		/* before and after each call; or NULL */
	struct {
		char name[OB_KEEP_NAME_MAX + 1];
		int fd;			/* -1: free */
	} names[FAKE_NAMES];
};

void fake_keep_init(struct fake_keep *fake, int channel);
/* Closes everything. */
void fake_keep_finish(struct fake_keep *fake);
/* Applies what came through the other end's channel, until there is no more. */
void fake_keep_drain(struct fake_keep *fake, int channel);
/* What a keeper has by itself; takes fd. */
int fake_keep_enter(struct fake_keep *fake, const char *name, int fd);
/* Is that kept? */
bool fake_keep_has(const struct fake_keep *fake, const char *name);
unsigned fake_keep_count(const struct fake_keep *fake);

#endif
