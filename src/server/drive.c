// SPDX-License-Identifier: BSD-3-Clause
/* Drives get their names with the keeper here: models know no keeper. */
#include <stdio.h>

#include <outboard/keep.h>

#include "server/device_impl.h"
#include "server/drive.h"

int ob_dev_drive_open(struct ob_device *dev, unsigned index, const char *spec,
		      unsigned flags, struct ob_drive **out,
		      struct ob_err *err)
{
	char prefix[OB_KEEP_NAME_MAX + 1];

	snprintf(prefix, sizeof(prefix), "%s/drive/%u/", dev->id, index);
	return ob_drive_open_kept(dev->loop, spec, flags, prefix, out, err);
}

int ob_device_recall_drives(struct ob_device *dev, struct ob_err *err)
{
	struct ob_drive *drive;
	int r = 0;

	for (unsigned i = 0; !r && dev->cls->drive; i++) {
		drive = dev->cls->drive(dev, i);
		if (!drive)
			break;
		r = ob_drive_recall(drive, err);
	}
	return r;
}
