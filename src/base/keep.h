/* SPDX-License-Identifier: BSD-3-Clause */
/* The link to a keeper, as the loop carries it: what is behind keep.h. */
#ifndef OB_BASE_KEEP_H
#define OB_BASE_KEEP_H

#include <outboard/keep.h>

/*
 * A client that the keeper accepted at the socket it has as NAME is kept as
 * NAME/new/N, N below this, until who serves has no more need of that name: then
 * the client is kept under another one, or has been sent away.
 */
#define OB_KEEP_NEW 9u
/* One of them, as ob_keep_get and ob_keep_drop. */
int ob_keep_get_new(struct ob_loop *loop, const char *name, unsigned n);
void ob_keep_drop_new(struct ob_loop *loop, const char *name, unsigned n);

struct ob_keep {
	/* As in keep.h. */
	int (*put)(struct ob_keep *keep, const char *name, int fd);
	int (*get)(struct ob_keep *keep, const char *name);
	void (*drop)(struct ob_keep *keep, const char *name);
	/*
	 * Calls fn for every name that begins with prefix, in the order in
	 * which they were first kept.  fn must not put, get or drop.
	 */
	void (*each)(struct ob_keep *keep, const char *prefix,
		     void (*fn)(void *arg, const char *name), void *arg);
	/* Nobody else puts or drops: what was got is what is kept. */
	bool is_sole;
};

/* keep is the caller's and outlives the loop; NULL: none. */
void ob_loop_set_keep(struct ob_loop *loop, struct ob_keep *keep);
struct ob_keep *ob_loop_keep(const struct ob_loop *loop);
bool ob_keep_is_sole(const struct ob_loop *loop);

#endif
