/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and their descriptors, in the order in which they were first put.
 * The keeper's table, and a worker's picture of it.  Allocated once, as address
 * space: a page costs memory when it is used.
 */
#ifndef OB_KEEPER_HELD_H
#define OB_KEEPER_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "keeper/wire.h"

#define OB_HELD_MAX 65536u

/* An order of entries: that of all, and that of a folder's bucket. */
enum ob_held_order { OB_HELD_ALL, OB_HELD_FOLDER, OB_HELD_ORDERS };

struct ob_held_list {
	uint32_t first, last;		/* 0: none, as in all that follow */
};

struct ob_held_entry {
	int fd;				/* -1: known by name only */
	/* The keeper's: */
	bool accept;			/* accepts there */
	bool is_new;			/* a client that it accepted */
	bool untold;			/* ... and could not tell of yet */
	uint32_t chain;			/* in its bucket, or of free ones */
	struct {
		uint32_t before, after;
	} place[OB_HELD_ORDERS];
	char name[OB_KEEPER_NAME];
};

struct ob_held {
	struct ob_held_entry *entries;	/* [0] is nobody */
	uint32_t *buckets;
	struct ob_held_list *folders;
	struct ob_held_list all;
	uint32_t room, count, used, free;
};

int ob_held_init(struct ob_held *held, uint32_t room);
/* Closes everything. */
void ob_held_finish(struct ob_held *held);

struct ob_held_entry *ob_held_find(struct ob_held *held, const char *name);
/* Takes fd, unless -ENFILE; closes what the name had before. */
int ob_held_put(struct ob_held *held, const char *name, int fd);
void ob_held_remove(struct ob_held *held, struct ob_held_entry *entry);
/* NULL at the end; entry NULL: the first. */
struct ob_held_entry *ob_held_next(const struct ob_held *held,
				   const struct ob_held_entry *entry);
/*
 * The same of those alone that begin with path, in which there is a '/': it costs
 * what is below the first one, however many others there are.
 */
struct ob_held_entry *ob_held_below(const struct ob_held *held,
				    const char *path,
				    const struct ob_held_entry *entry);

#endif
