/* SPDX-License-Identifier: BSD-3-Clause */
/* What the framing (parse.c) and the sections (parse_section.c) share. */
#ifndef OB_STATE_PARSE_PRIV_H
#define OB_STATE_PARSE_PRIV_H

#include "state/parse.h"

/* A head may become longer; this much is passed over. */
#define OB_STREAM_HEAD_MAX 4096u

enum ob_parser_step {
	OB_PARSER_HEAD, OB_PARSER_HEAD_REST, OB_PARSER_SECTION,
	OB_PARSER_COLLECT, OB_PARSER_RUN, OB_PARSER_SKIP, OB_PARSER_DONE,
};

struct ob_section_head {
	uint16_t type, flags;
	uint32_t sequence, length, crc;
};

struct ob_parser {
	const struct ob_parser_ops *ops;
	void *arg;

	enum ob_parser_step step;
	uint64_t at;			/* bytes of the stream so far */
	uint64_t section_at;		/* where this section's header began */
	uint64_t sections;		/* complete ones */
	struct ob_section_head head;
	uint32_t crc;
	uint64_t left;			/* of what step passes over */
	/* What is collected: want bytes, have of them. */
	uint8_t *buf;
	uint8_t small[OB_STREAM_CONTENT];	/* or buf */
	size_t want, have, cap;

	struct ob_schema *schema;
	bool identified, listed, ended;
	struct ob_content_id *ids;
	unsigned nr_ids;
	struct ob_content_id run;	/* CONTENT under way */
	uint64_t run_at;

	int failed;
	struct ob_err error;
};

/* "PART", for messages; NULL when the type is not known. */
const char *ob_section_name(uint16_t type);
/* May this section come now, and how long may it be? */
int ob_section_check(const struct ob_parser *p, struct ob_err *err);
/* The whole payload of a section that is no CONTENT. */
int ob_section_take(struct ob_parser *p, struct ob_err *err);
/* The first bytes of CONTENT. */
int ob_section_run(struct ob_parser *p, const uint8_t *bytes,
		   struct ob_err *err);

#endif
