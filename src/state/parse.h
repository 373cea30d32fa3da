/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The framing of a stream, for everything that reads one: the loader, and the
 * tools that show, compare and convert.  A push parser: bytes in, callbacks
 * out.  Checks order, sequence numbers, lengths and checksums, collects the
 * payload of small sections, passes CONTENT on as it comes.
 */
#ifndef OB_STATE_PARSE_H
#define OB_STATE_PARSE_H

#include "state/schema.h"

struct ob_parser;

struct ob_section_info {
	uint64_t number, at;		/* byte of the stream where it begins */
	uint16_t type, flags;
	uint32_t length;		/* of the payload */
	const char *name;		/* "PART"; NULL: unknown, and skipped */
};

/*
 * 0 to go on; an error ends the parse with the message in err.  What nobody
 * wants to know is NULL.
 */
struct ob_parser_ops {
	/* Every section, before anything of its payload is known. */
	int (*section)(void *arg, const struct ob_section_info *info,
		       struct ob_err *err);
	/* The writer's tables; owned by the parser. */
	int (*schema)(void *arg, const struct ob_schema *schema,
		      struct ob_err *err);
	int (*identity)(void *arg, const struct ob_stream_identity *identity,
			struct ob_err *err);
	int (*objects)(void *arg, const struct ob_content_id *ids,
		       unsigned count, struct ob_err *err);
	/* A run, in pieces as they come; data NULL: zeros. */
	int (*content)(void *arg, const struct ob_content_id *id,
		       uint64_t offset, const void *data, uint64_t length,
		       struct ob_err *err);
	/* Records of root number `root` of the schema. */
	int (*part)(void *arg, unsigned root, const void *records, size_t len,
		    struct ob_err *err);
	int (*end)(void *arg, struct ob_err *err);
};

int ob_parser_create(const struct ob_parser_ops *ops, void *arg,
		     struct ob_parser **out, struct ob_err *err);
void ob_parser_destroy(struct ob_parser *parser);
int ob_parser_write(struct ob_parser *parser, const void *bytes, size_t len,
		    struct ob_err *err);
/* -EINVAL with what is missing unless END was the last byte. */
int ob_parser_finish(struct ob_parser *parser, struct ob_err *err);

#endif
