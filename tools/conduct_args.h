/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Options that the verbs around the conductor share: `set` of their rows.  What
 * they write into begins with a struct conduct_params.
 */
#ifndef TOOLS_CONDUCT_ARGS_H
#define TOOLS_CONDUCT_ARGS_H

#include <outboard/error.h>

int conduct_set_from_qmp(void *into, const char *value, struct ob_err *err);
int conduct_set_to_qmp(void *into, const char *value, struct ob_err *err);
int conduct_set_from_control(void *into, const char *value, struct ob_err *err);
int conduct_set_to_control(void *into, const char *value, struct ob_err *err);
int conduct_set_device(void *into, const char *value, struct ob_err *err);
int conduct_set_json(void *into, const char *value, struct ob_err *err);

#endif
