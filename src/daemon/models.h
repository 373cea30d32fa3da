/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef OB_DAEMON_MODELS_H
#define OB_DAEMON_MODELS_H

#include <stdio.h>

#include <outboard/error.h>

/*
 * What `outboard devices` tells: models and their keys, the keys that all
 * devices have, drive types.  All of it comes from the tables that the server
 * itself uses.  loads are shared objects with further models.
 */
int ob_models_print(FILE *out, const char *const *loads, size_t nr_loads,
		    struct ob_err *err);
/* The same as one JSON object. */
int ob_models_json(FILE *out, const char *const *loads, size_t nr_loads,
		   struct ob_err *err);

#endif
