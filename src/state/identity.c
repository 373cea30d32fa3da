// SPDX-License-Identifier: BSD-3-Clause
/* Who wrote a stream; names of content. */
#include <stdio.h>

#include "state/content.h"

static const struct ob_field identity_rows[] = {
	OB_BYTES(1, struct ob_stream_identity, model, "0.1"),
	OB_BYTES(2, struct ob_stream_identity, release, "0.1"),
	OB_BYTES(3, struct ob_stream_identity, id, "0.1", .optional = true),
	OB_END
};

const struct ob_table ob_stream_identity_table = {
	"identity", sizeof(struct ob_stream_identity), identity_rows
};

const char *ob_content_name(const struct ob_content_id *id, char *buf,
			    size_t size)
{
	switch (id->kind) {
	case OB_CONTENT_DRIVE:
		snprintf(buf, size, "drive %u", id->index);
		break;
	case OB_CONTENT_BAR:
		snprintf(buf, size, "memory of BAR %u", id->index);
		break;
	default:
		snprintf(buf, size, "content %u of kind %u", id->index, id->kind);
	}
	return buf;
}

const char *ob_content_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	unsigned unit = 0;

	while (unit < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	snprintf(buf, size, "%llu %s", (unsigned long long)bytes, units[unit]);
	return buf;
}
