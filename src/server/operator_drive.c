// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a device's drives are, for who wants to know before he moves it: would the
 * other side's be the same?  Of an image the path is looked at, as this process sees
 * it, so that one that has gone, or has been replaced, shows.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <outboard/block_backend.h>

#include "server/device_impl.h"
#include "server/operator.h"

/* The drive that has the bytes, inside of those that delay it. */
static const struct ob_drive *innermost(const struct ob_drive *drive)
{
	while (drive->inner)
		drive = drive->inner;
	return drive;
}

/* NULL: it is no file.  A name without a type is a path. */
static const char *path_of(const struct ob_drive *drive)
{
	static const char type[] = "file:";

	if (strcmp(drive->type->name, "file"))
		return NULL;
	return strncmp(drive->name, type, sizeof(type) - 1) ?
		       drive->name : drive->name + sizeof(type) - 1;
}

static void identify(const char *path, struct ob_operator_drive *out)
{
	struct stat st;

	if (stat(path, &st))
		snprintf(out->problem, sizeof(out->problem), "%s",
			 strerror(errno));
	else if (S_ISBLK(st.st_mode))
		snprintf(out->identity, sizeof(out->identity), "block %u:%u",
			 major(st.st_rdev), minor(st.st_rdev));
	else
		snprintf(out->identity, sizeof(out->identity), "inode %u:%u:%llu",
			 major(st.st_dev), minor(st.st_dev),
			 (unsigned long long)st.st_ino);
	if (!out->problem[0] && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size < out->size)
		snprintf(out->problem, sizeof(out->problem), "it has been cut to "
			 "%llu bytes", (unsigned long long)st.st_size);
}

bool ob_operator_drive(struct ob_device *dev, unsigned i,
		       struct ob_operator_drive *out)
{
	const struct ob_drive *drive;
	const char *path;

	if (i >= dev->mig.nr_drives)
		return false;
	drive = ob_mig_drive(dev, i);
	*out = (struct ob_operator_drive){
		.name = ob_drive_name(drive),
		.size = ob_drive_info(drive)->size,
		.readonly = ob_drive_info(drive)->readonly,
		.travels = ob_drive_has_content(drive),
	};
	path = path_of(innermost(drive));
	if (path)
		identify(path, out);
	return true;
}
