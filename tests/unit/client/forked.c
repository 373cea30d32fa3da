// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "forked.h"
#include "server/server.h"

/* Says on ready when the socket listens; ends with its parent. */
static int serve(const struct ob_device_class *cls, const char *text,
		 int ready)
{
	const struct ob_option *tables[] = {
		ob_device_common_options, cls->options, NULL,
	};
	struct ob_options *opts;
	struct ob_device *dev;
	struct ob_loop *loop;
	struct ob_err err = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	ob_log_set_level(OB_LOG_WARN);
	if (ob_loop_create(NULL, &loop, &err) ||
	    ob_options_parse(text, tables, &opts, &err) ||
	    ob_device_create(loop, cls, opts, &dev, &err) ||
	    ob_device_listen(dev, &err) || write(ready, "r", 1) != 1) {
		fprintf(stderr, "server: %s\n", err.msg);
		return 1;
	}
	close(ready);
	return ob_loop_run(loop) ? 1 : 0;
}

void forked_start(struct forked *f, const struct ob_device_class *cls,
		  const char *spec)
{
	char text[256], byte;
	int ready[2];

	snprintf(f->dir, sizeof(f->dir), "/tmp/obclient.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
	snprintf(text, sizeof(text), "%s,socket=%s", spec, f->path);
	assert_int_equal(pipe(ready), 0);
	f->pid = fork();
	assert_true(f->pid >= 0);
	if (!f->pid) {
		close(ready[0]);
		_exit(serve(cls, text, ready[1]));
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

void forked_stop(struct forked *f)
{
	kill(f->pid, SIGKILL);
	while (waitpid(f->pid, NULL, 0) < 0 && errno == EINTR)
		;
	unlink(f->path);
	rmdir(f->dir);
}

struct ob_client *forked_connect(const struct forked *f,
				 const struct ob_client_params *params)
{
	struct ob_client *client = NULL;
	struct ob_err err = { 0 };

	if (ob_client_connect(f->path, params, &client, &err))
		fail_msg("%s", err.msg);
	return client;
}
