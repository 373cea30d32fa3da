/* SPDX-License-Identifier: BSD-3-Clause */
/* check.c and check_device.c */
#ifndef OB_DAEMON_CHECK_PRIV_H
#define OB_DAEMON_CHECK_PRIV_H

#include "daemon/check.h"
#include "devices/registry.h"

struct ob_models {
	struct ob_registry registry;
};

#endif
