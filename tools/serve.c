// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdbool.h>

#include "daemon/kept.h"
#include "daemon/serve.h"
#include "tools.h"

int tool_serve(int argc, char **argv)
{
	struct ob_serve_options opts;
	struct ob_err err = { 0 };
	bool usage = false;
	int rc, status = TOOL_OK;

	rc = ob_serve_options_parse(&opts, argc, argv, &err);
	if (rc == -EINVAL)
		usage = true;
	else if (!rc && ob_serve_is_kept(&opts))
		rc = status = ob_serve_kept(&opts, &err);
	else if (!rc)
		rc = ob_serve(&opts, &usage, &err);
	ob_serve_options_finish(&opts);
	if (rc >= 0)
		return status;
	return usage ? tool_misused("serve", &err) : tool_failed("serve", &err);
}

void tool_serve_help(FILE *out)
{
	ob_serve_options_help(out);
	fprintf(out, "\n'outboard devices' lists models, keys and drives.\n");
}
