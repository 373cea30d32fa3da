// SPDX-License-Identifier: BSD-3-Clause
/* What of a device travels, in the order in which it does. */
#include "server/core.h"
#include "server/server.h"

unsigned ob_device_class_parts(const struct ob_device_class *cls,
			       struct ob_part parts[OB_PARTS_MAX])
{
	unsigned n = 0;

	parts[n++] = (struct ob_part){ "core", &ob_core_table, NULL };
	if (cls->state)
		parts[n++] = (struct ob_part){ "plain", cls->state, NULL };
	if (cls->hot)
		parts[n++] = (struct ob_part){ "hot", cls->hot, NULL };
	return n;
}
