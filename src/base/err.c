// SPDX-License-Identifier: BSD-3-Clause
#include <outboard/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int ob_fail(struct ob_err *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
		va_end(ap);
	}
	return -errnum;
}

void ob_err_prefix(struct ob_err *err, const char *fmt, ...)
{
	struct ob_err old;
	va_list ap;
	size_t len;

	if (!err)
		return;
	old = *err;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", old.msg);
}
