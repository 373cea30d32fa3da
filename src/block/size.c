// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <inttypes.h>

#include <outboard/option.h>

#include "block/types.h"

int ob_drive_parse_size(const struct ob_drive *drive, const char *text,
			uint64_t *size, struct ob_err *err)
{
	struct ob_err why = { 0 };
	int r = ob_parse_size(text, size, &why);

	if (r)
		return ob_drive_fail(drive, err, -r, "%s", why.msg);
	if (!*size)
		return ob_drive_fail(drive, err, EINVAL, "the size is 0");
	if (*size % OB_SECTOR)
		return ob_drive_fail(drive, err, EINVAL,
				     "the size, %" PRIu64 " bytes, is no multiple of %u",
				     *size, OB_SECTOR);
	return 0;
}
