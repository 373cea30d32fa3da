// SPDX-License-Identifier: BSD-3-Clause
/*
 * A device that only judges.  It is created like a destination: nobody's lock
 * is taken, no memory of a client is there, it does not listen.  What its
 * words say about a socket is not used, and need not be said.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "daemon/check_priv.h"
#include "server/server.h"

struct judge {
	struct ob_loop *loop;
	struct ob_device *dev;
};

static int parse(const struct ob_device_class *cls, const char *text,
		 struct ob_options **out, struct ob_err *err)
{
	const struct ob_option *tables[3] = {
		ob_device_common_options, cls->options
	};

	return ob_options_parse(text, tables, out, err);
}

/* The words, and those that a destination has without being told. */
static int complete(const struct ob_device_class *cls, const char *device,
		    struct ob_options **out, struct ob_err *err)
{
	OB_CLEANUP_FREE char *text = NULL;
	bool listens, incoming;
	int r = parse(cls, device, out, err);

	if (r)
		return r;
	listens = ob_options_count(*out, "socket") + ob_options_count(*out, "fd");
	incoming = ob_options_bool(*out, "incoming");
	if (listens && incoming)
		return 0;
	ob_options_destroy(*out);
	if (asprintf(&text, "%s%s%s", device, listens ? "" : ",socket=none",
		     incoming ? "" : ",incoming=on") < 0) {
		text = NULL;
		return ob_fail(err, ENOMEM, "out of memory");
	}
	return parse(cls, text, out, err);
}

static void gone(void *arg)
{
	ob_loop_stop(arg);
}

static void end(struct judge *j)
{
	if (j->dev) {
		ob_device_shutdown(j->dev, gone, j->loop);
		ob_loop_run(j->loop);
		ob_device_destroy(j->dev);
	}
	if (j->loop)
		ob_loop_destroy(j->loop);
}

static int judge(const struct ob_device_class *cls, struct ob_options *opts,
		 int (*read)(void *arg, void *buf, size_t len), void *arg,
		 struct ob_err *err)
{
	const struct ob_loop_params params = { .engine = OB_LOOP_AUTO };
	struct judge j = { 0 };
	int r = ob_loop_create(&params, &j.loop, err);

	if (r)
		ob_options_destroy(opts);
	else
		r = ob_device_create(j.loop, cls, opts, &j.dev, err);
	if (r)
		ob_err_prefix(err, "the device");
	else
		r = ob_device_check_stream(j.dev, read, arg, err);
	end(&j);
	return r;
}

int ob_models_check(const struct ob_models *models, const char *device,
		    int (*read)(void *arg, void *buf, size_t len), void *arg,
		    bool *usage, struct ob_err *err)
{
	const struct ob_device_class *cls;
	struct ob_options *opts;
	char name[64];
	size_t len = strcspn(device, ",");

	snprintf(name, sizeof(name), "%.*s",
		 len < sizeof(name) ? (int)len : (int)sizeof(name) - 1, device);
	*usage = true;
	cls = ob_registry_find(&models->registry, name, err);
	if (!cls)
		return -ENOENT;
	if (complete(cls, device, &opts, err))
		return -EINVAL;
	*usage = false;
	return judge(cls, opts, read, arg, err);
}
