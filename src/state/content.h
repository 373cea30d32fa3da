/* SPDX-License-Identifier: BSD-3-Clause */
/* Content for people: "drive 0", "64 MiB". */
#ifndef OB_STATE_CONTENT_H
#define OB_STATE_CONTENT_H

#include "state/stream.h"

#define OB_CONTENT_TEXT 48u

const char *ob_content_name(const struct ob_content_id *id, char *buf,
			    size_t size);
const char *ob_content_size(uint64_t bytes, char *buf, size_t size);

static inline bool ob_content_same(const struct ob_content_id *a,
				   const struct ob_content_id *b)
{
	return a->kind == b->kind && a->index == b->index;
}

#endif
