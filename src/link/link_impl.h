/* SPDX-License-Identifier: BSD-3-Clause */
/* link.c, link_keep.c and link_watch.c */
#ifndef OB_LINK_LINK_IMPL_H
#define OB_LINK_LINK_IMPL_H

#include <pthread.h>

#include "base/pulse.h"
#include "keeper/held.h"
#include "link/link.h"
#include "keeper/msg.h"

/* What came while an answer was awaited. */
struct ob_link_late {
	struct ob_link_late *next;
	struct ob_keeper_msg msg;
	int fd;
};

/*
 * Threads: `held`, `late` and reading the channel are under the lock, so that who
 * asks gets its own answer.  It is held while waiting for the keeper, who waits
 * for nobody, and for nobody else.  A message is sent whole, with the lock
 * where the order of two matters, else without.  The rest is the first thread's.
 */
struct ob_link {
	struct ob_keep keep;
	int channel;
	pthread_mutex_t lock;
	bool gone;			/* the keeper; atomic */
	bool rehearsed;
	bool has_own;			/* rings, handed out */
	struct ob_pulse *pulses;
	struct ob_held held;	/* fd -1: the keeper has it, we do not */
	uint32_t room;		/* of the keeper for ours; held has some more */
	struct ob_rings rings[OB_LINK_RINGS + OB_THREADS];	/* own ones last */
	unsigned nr_rings;

	struct ob_loop *loop;
	struct ob_link_events events;
	struct ob_watch watch;
	struct ob_post post;		/* there are late ones */
	struct ob_link_late *late, **late_tail;
};

static inline struct ob_link *ob_link_lock(struct ob_link *link)
{
	pthread_mutex_lock(&link->lock);
	return link;
}

static inline void ob_link_unlock(struct ob_link **link)
{
	pthread_mutex_unlock(&(*link)->lock);
}

/* A declaration: until the end of the block. */
#define OB_LINK_LOCK(link) \
	__attribute__((cleanup(ob_link_unlock), unused)) \
	struct ob_link *locked = ob_link_lock(link)

/* link.c: 0 also when the keeper has gone. */
int ob_link_send(struct ob_link *link, const struct ob_keeper_msg *msg, int fd);
bool ob_link_is_gone(const struct ob_link *link);
void ob_link_set_gone(struct ob_link *link);
int ob_link_say(struct ob_link *link, enum ob_keeper_op op, uint64_t value,
		const char *name, int fd);
/* link_keep.c */
void ob_link_keep_init(struct ob_link *link);
/* link_watch.c: the message is for later; takes fd.  Locked. */
void ob_link_later(struct ob_link *link, const struct ob_keeper_msg *msg, int fd);

#endif
