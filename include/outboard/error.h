/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors: functions return 0 (or a count) or a negative errno.  Configuration
 * and control paths also fill a message that names what and where.
 */
#ifndef OUTBOARD_ERROR_H
#define OUTBOARD_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Owned by the caller, zero-initialised by it; every function accepts NULL. */
struct ob_err {
	char msg[256];
};

/* Sets the message and returns -errnum, so that `return ob_fail(...)` works. */
int ob_fail(struct ob_err *err, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "text: " before the message that is there; each layer may add one. */
void ob_err_prefix(struct ob_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
