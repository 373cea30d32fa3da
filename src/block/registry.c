// SPDX-License-Identifier: BSD-3-Clause
#include "block/types.h"

const struct ob_drive_type *const ob_drive_types[] = {
	&ob_drive_file,
	&ob_drive_mem,
	&ob_drive_null,
	&ob_drive_delay,
	&ob_drive_fault,
	NULL,
};
