/* SPDX-License-Identifier: BSD-3-Clause */
/* The built-in models; the list of them is in registry.c. */
#ifndef OB_DEVICES_MODELS_H
#define OB_DEVICES_MODELS_H

#include <outboard/device.h>

extern const struct ob_device_class ob_nvme_class;
extern const struct ob_device_class ob_edu_class;
extern const struct ob_device_class ob_null_class;

#endif
