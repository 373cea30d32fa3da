// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard state diff.  Two streams need not have the same schema: each is
 * made a tree of names and values by its own, and the trees are compared.  A
 * field that only one of them has is a difference.  Content is compared as it
 * is after its last piece, however it came.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "state.h"
#include "state/content.h"
#include "state_tree.h"

#define BLOCK 65536u
#define VALUE_MAX 40
#define BYTES_MAX 16u

static unsigned compare(const char *path, json_t *a, json_t *b);

/* A value on one line, cut when it is long. */
static void print_value(json_t *value)
{
	char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT)
			   : NULL;

	if (!text)
		fputs("absent", stdout);
	else if (strlen(text) <= VALUE_MAX)
		fputs(text, stdout);
	else
		printf("%.*s... (%zu characters)", VALUE_MAX, text,
		       strlen(text));
	free(text);
}

static unsigned differs(const char *path, json_t *a, json_t *b)
{
	printf("%s: ", path);
	print_value(a);
	fputs(" -> ", stdout);
	print_value(b);
	fputc('\n', stdout);
	return 1;
}

/* Both are bytes as hexadecimal digits, as many of them? */
static bool are_bytes(json_t *a, json_t *b)
{
	const char *of_a = json_string_value(a), *of_b = json_string_value(b);

	return of_a && of_b && !strncmp(of_a, "0x", 2) &&
	       !strncmp(of_b, "0x", 2) &&
	       json_string_length(a) == json_string_length(b);
}

/* From `at` to the next byte that is the same in both, but no further than
 * fits on a line. */
static size_t run_of(const char *a, const char *b, size_t at)
{
	size_t n = 0;

	while (a[at + n] && n < BYTES_MAX * 2 && strncmp(a + at + n, b + at + n, 2))
		n += 2;
	return n;
}

static unsigned compare_bytes(const char *path, json_t *a, json_t *b)
{
	const char *of_a = json_string_value(a) + 2;
	const char *of_b = json_string_value(b) + 2;
	unsigned n = 0;
	size_t at, run;

	for (at = 0; of_a[at]; at += run ? run : 2) {
		run = run_of(of_a, of_b, at);
		if (!run)
			continue;
		printf("%s[%zu]: 0x%.*s -> 0x%.*s\n", path, at / 2, (int)run,
		       of_a + at, (int)run, of_b + at);
		n++;
	}
	return n;
}

static unsigned compare_member(const char *path, const char *key, json_t *a,
			       json_t *b)
{
	unsigned n;
	char *text;

	if (asprintf(&text, "%s%s%s", path, *path ? "." : "", key) < 0)
		return differs(path, a, b);
	n = compare(text, a, b);
	free(text);
	return n;
}

static unsigned compare_objects(const char *path, json_t *a, json_t *b)
{
	const char *key;
	unsigned n = 0;
	json_t *value;

	json_object_foreach(a, key, value)
		n += compare_member(path, key, value, json_object_get(b, key));
	json_object_foreach(b, key, value)
		if (!json_object_get(a, key))
			n += compare_member(path, key, NULL, value);
	return n;
}

static unsigned compare_arrays(const char *path, json_t *a, json_t *b)
{
	size_t i, most = json_array_size(a);
	unsigned n = 0;
	char *text;

	if (json_array_size(b) > most)
		most = json_array_size(b);
	for (i = 0; i < most; i++) {
		if (json_equal(json_array_get(a, i), json_array_get(b, i)))
			continue;
		if (asprintf(&text, "%s[%zu]", path, i) < 0)
			return n + differs(path, a, b);
		n += compare(text, json_array_get(a, i), json_array_get(b, i));
		free(text);
	}
	return n;
}

static unsigned compare(const char *path, json_t *a, json_t *b)
{
	if (json_is_object(a) && json_is_object(b))
		return compare_objects(path, a, b);
	if (json_is_array(a) && json_is_array(b))
		return compare_arrays(path, a, b);
	if (are_bytes(a, b))
		return compare_bytes(path, a, b);
	return json_equal(a, b) ? 0 : differs(path, a, b);
}

/* Content */

/* The next byte at or behind `at` that may differ from zero; size: none. */
static uint64_t next_data(const struct state_content *c, uint64_t at)
{
	off_t found = lseek(c->fd, (off_t)at, SEEK_DATA);

	return found < 0 || (uint64_t)found > c->id.size ? c->id.size
							  : (uint64_t)found;
}

/* Behind the end of the file are zeros. */
static ssize_t read_block(const struct state_content *c, uint64_t at,
			  uint8_t buf[BLOCK])
{
	ssize_t n = pread(c->fd, buf, BLOCK, (off_t)at);

	if (n >= 0)
		memset(buf + n, 0, BLOCK - (size_t)n);
	return n;
}

static int compare_blocks(const struct state_content *a,
			  const struct state_content *b, uint64_t *first,
			  uint64_t *blocks)
{
	static uint8_t of_a[BLOCK], of_b[BLOCK];
	uint64_t at = 0, in_a, in_b;

	for (*blocks = 0;; at += BLOCK) {
		in_a = next_data(a, at);
		in_b = next_data(b, at);
		at = (in_a < in_b ? in_a : in_b) / BLOCK * BLOCK;
		if (in_a == a->id.size && in_b == b->id.size)
			return 0;
		if (read_block(a, at, of_a) < 0 || read_block(b, at, of_b) < 0)
			return -errno;
		if (memcmp(of_a, of_b, BLOCK) && (*blocks)++ == 0)
			for (*first = at; of_a[*first - at] == of_b[*first - at];)
				(*first)++;
	}
}

static const struct state_content *find(const struct state_tree *tree,
					const struct ob_content_id *id)
{
	unsigned i;

	for (i = 0; i < tree->nr_contents; i++)
		if (ob_content_same(&tree->contents[i].id, id))
			return &tree->contents[i];
	return NULL;
}

static int compare_content(const struct state_content *a,
			   const struct state_content *b, unsigned *n,
			   struct ob_err *err)
{
	uint64_t first = 0, blocks;
	char name[OB_CONTENT_TEXT];
	int r;

	ob_content_name(&a->id, name, sizeof(name));
	if (a->id.size != b->id.size) {
		printf("%s: %llu -> %llu bytes\n", name,
		       (unsigned long long)a->id.size,
		       (unsigned long long)b->id.size);
		++*n;
		return 0;
	}
	r = compare_blocks(a, b, &first, &blocks);
	if (r)
		return ob_fail(err, -r, "%s: %s", name, strerror(-r));
	if (blocks)
		printf("%s: differs from byte %llu on, in %llu blocks of %u\n",
		       name, (unsigned long long)first,
		       (unsigned long long)blocks, BLOCK);
	*n += blocks != 0;
	return 0;
}

/* What only one of them has. */
static unsigned compare_lists(const struct state_tree *a,
			      const struct state_tree *b, const char *which)
{
	char name[OB_CONTENT_TEXT];
	unsigned i, n = 0;

	for (i = 0; i < a->nr_contents; i++)
		if (!find(b, &a->contents[i].id)) {
			printf("%s: only in the %s\n",
			       ob_content_name(&a->contents[i].id, name,
					       sizeof(name)), which);
			n++;
		}
	return n;
}

static int compare_contents(const struct state_tree *a,
			    const struct state_tree *b, unsigned *n,
			    struct ob_err *err)
{
	const struct state_content *other;
	unsigned i;
	int r = 0;

	*n += compare_lists(a, b, "first") + compare_lists(b, a, "second");
	for (i = 0; i < a->nr_contents && !r; i++) {
		other = find(b, &a->contents[i].id);
		if (other)
			r = compare_content(&a->contents[i], other, n, err);
	}
	return r;
}

/* Both */

/* To be compared with: streams have no DMA map and no session. */
static json_t *parts_of(const struct state_tree *tree,
			const struct state_tree *other)
{
	json_t *parts = state_tree_parts(tree, true);

	if (!other->is_memory) {
		json_object_del(parts, "dma");
		json_object_del(parts, "session");
	}
	return parts;
}

static int compare_trees(const struct state_tree *a,
			 const struct state_tree *b, struct ob_err *err)
{
	json_t *of_a = parts_of(a, b), *of_b = parts_of(b, a);
	unsigned n = 0;
	int r;

	if (memcmp(a->identity.model, b->identity.model,
		   sizeof(a->identity.model))) {
		printf("model: %.32s -> %.32s\n", a->identity.model,
		       b->identity.model);
		n++;
	}
	n += compare("", of_a, of_b);
	json_decref(of_a);
	json_decref(of_b);
	r = compare_contents(a, b, &n, err);
	if (!r && (fflush(stdout) || ferror(stdout)))
		r = ob_fail(err, EIO, "cannot write the list");
	return r || n ? TOOL_FAILED : TOOL_OK;
}

struct side {
	struct state_source *src;
	struct state_tree tree;
};

static int read_side(const struct state_options *opts, unsigned i,
		     struct side *side, struct ob_err *err)
{
	int r = state_source_open(opts->words[i], opts->models, &side->src, err);

	return r ? r : state_tree_read(&side->tree, side->src, true, err);
}

static void finish_side(struct side *side)
{
	state_tree_finish(&side->tree);
	state_source_close(side->src);
}

int state_diff(const struct state_options *opts, struct ob_err *err)
{
	struct side a = { 0 }, b = { 0 };
	int r = TOOL_FAILED;

	if (!strcmp(opts->words[0], "-") && !strcmp(opts->words[1], "-")) {
		ob_fail(err, EINVAL, "only one of them can be standard input");
		return TOOL_USAGE;
	}
	if (!read_side(opts, 0, &a, err) && !read_side(opts, 1, &b, err))
		r = compare_trees(&a.tree, &b.tree, err);
	finish_side(&a);
	finish_side(&b);
	return r;
}
