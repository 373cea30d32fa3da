/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole stream in memory, by the tables of its own schema, so that streams
 * of other releases and of models that nobody here knows are understood too.
 * Of the state memory of a process: all its sections.
 * Content is in files without a name, sparse, as it is after the last piece.
 */
#ifndef TOOLS_STATE_TREE_H
#define TOOLS_STATE_TREE_H

#include <jansson.h>

#include "state/parse.h"
#include "state_source.h"

#define STATE_ROOTS_MAX 32u

struct state_content {
	struct ob_content_id id;
	uint64_t data, zeros, pieces;	/* bytes that came, and in how many */
	int fd;				/* -1 unless it is kept */
};

struct state_tree {
	struct ob_stream_identity identity;
	const struct ob_schema *schema;		/* the parser's, the memory's */
	struct ob_schema_root roots[STATE_ROOTS_MAX];
	const void *values[STATE_ROOTS_MAX];	/* of each root */
	void *bases[STATE_ROOTS_MAX];		/* ... of a stream */
	unsigned nr_roots;
	struct state_content *contents;
	unsigned nr_contents;
	struct ob_parser *parser;
	bool keep, is_memory;
};

/* Reads to the end.  keep: the bytes of content too.  src is not closed before
 * the tree is finished. */
int state_tree_read(struct state_tree *tree, struct state_source *src,
		    bool keep, struct ob_err *err);
void state_tree_finish(struct state_tree *tree);

/* {"core": {field: value}, ...}; all: also what has its default. */
json_t *state_tree_parts(const struct state_tree *tree, bool all);

#endif
