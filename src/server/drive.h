/* SPDX-License-Identifier: BSD-3-Clause */
/* Drives of a device that outlives its process. */
#ifndef OB_SERVER_DRIVE_H
#define OB_SERVER_DRIVE_H

#include <outboard/device.h>

/*
 * Of a successor, when its predecessor has ended and before anything else is
 * asked of the drives: what became of them meanwhile, and the end of a hand-over
 * that was cut short.  Done again it does no harm.
 */
int ob_device_recall_drives(struct ob_device *dev, struct ob_err *err);

#endif
