// SPDX-License-Identifier: BSD-3-Clause
/*
 * Weak stand-ins for what the server and the drives bring with moving, so that
 * this branch links by itself.  Goes when those are there.
 */
#include <outboard/device.h>

#define STAND_IN __attribute__((weak, visibility("default")))

STAND_IN void ob_dev_stopped(struct ob_device *dev)
{
	(void)dev;
}

STAND_IN bool ob_dev_is_halted(const struct ob_device *dev)
{
	(void)dev;
	return false;
}

STAND_IN bool ob_dev_is_incoming(const struct ob_device *dev)
{
	(void)dev;
	return false;
}

STAND_IN int ob_dev_acquire_drives(struct ob_device *dev, struct ob_err *err)
{
	(void)dev;
	(void)err;
	return 0;
}

STAND_IN void ob_drive_wrote(struct ob_drive *drive, uint64_t offset,
			     uint64_t length)
{
	(void)drive;
	(void)offset;
	(void)length;
}
