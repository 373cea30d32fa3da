// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard save: a device's state into a file or a pipe.
 *
 * The device stands still only for good when all of it has arrived: a file
 * is on the disk under its name, a pipe has taken the last byte.  Whatever
 * happens before, an interrupt, a full disk, a reader that goes, the device
 * goes on and no file is left.
 */
#include "connect.h"
#include "move.h"
#include "out_file.h"
#include "report.h"
#include "socket_args.h"
#include "tools.h"

static int put(void *arg, unsigned device, const void *bytes, size_t len,
	       struct ob_err *err)
{
	(void)device;
	return out_file_put(arg, bytes, len, err);
}

static void tell(const char *socket, const char *path,
		 const struct ob_migrate_result *result)
{
	char size[REPORT_SIZE_MAX];

	fprintf(stderr, "outboard save: %s; the device has been stopped and "
		"its drives are free.\n",
		report_size(result->device_bytes, size));
	if (!out_file_is_regular(path))
		return;
	fprintf(stderr, "outboard save: to go on: outboard load %s SOCKET "
		"(here: %s)\n", path, socket);
	fprintf(stderr, "outboard save: or without it: the next client of %s "
		"begins with its drives as they are; %s is of no use then\n", socket,
		path);
}

static int save_to(struct ob_client *client, struct out_file *file,
		   const char *path, struct move_view *view,
		   struct ob_migrate_result *result,
		   struct ob_err *err)
{
	struct ob_migrate_params params = { .ops = &move_ops, .arg = view };
	struct ob_outgoing *out;
	int r = ob_outgoing_send(&client, 1, &params, put, file, &out, result,
				 err);

	if (r)
		return r;
	r = out_file_keep(file, err);
	if (!r && (r = ob_outgoing_done(out, err)))
		/* A server that has died: it may be all there is. */
		ob_err_prefix(err, "all is in %.80s, but", path);
	ob_outgoing_destroy(out);
	return r;
}

static int save(const char *socket, const char *path)
{
	static struct ob_migrate_result result;
	static struct move_view view;
	struct ob_client *client = NULL;
	struct out_file file = OUT_FILE_NONE;
	struct ob_err err = { 0 };
	int r = tool_connect(socket, &client, &err);

	if (!r)
		r = out_file_open(&file, path, &err);
	if (r) {
		ob_client_destroy(client);
		return tool_failed("save", &err);
	}
	move_view_init(&view, "save");
	r = save_to(client, &file, path, &view, &result, &err);
	move_view_end(&view);
	out_file_drop(&file);
	ob_client_destroy(client);
	if (r)
		return move_failed("save", &result, &err);
	tell(socket, path, &result);
	return TOOL_OK;
}

static const struct ob_arg args[] = {
	{ NULL, NULL, NULL, NULL },
};

void tool_save_help(FILE *out)
{
	fputs("  FILE is replaced when all of it is there; - is standard "
	      "output.\n", out);
}

int tool_save(int argc, char **argv)
{
	const char *words[2];

	if (tool_words_args(args, NULL, argc, argv, "SOCKET and FILE are", 2,
			    words))
		return TOOL_USAGE;
	return save(words[0], words[1]);
}
