// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard ctl: one method of a server's control socket, and its answer.
 *
 * A method that reads a descriptor gets standard input, one that writes it
 * standard output, and the answer is then printed on standard error.  A server
 * takes pipes and sockets only; what is neither is pumped through a pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carry.h"
#include "control_link.h"
#include "daemon/control.h"
#include "tools.h"

enum { NOTHING = 0, READS = 1, WRITES = 2 };	/* ob_control_takes */

/* Between a file and the pipe that stands for it. */
struct pump {
	pthread_t thread;
	bool runs;
	int from, to;			/* closed at the end: the pipe's end */
	int own;			/* which of them that is */
	int rc;
};

static void *pump_main(void *arg)
{
	struct pump *pump = arg;

	pump->rc = carry(pump->from, pump->to);
	close(pump->own);
	return NULL;
}

static bool is_fit(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 &&
	       (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* The descriptor that goes to the server, to be closed if it is not std. */
static int start_pump(struct pump *pump, int takes, int std, int *fd,
		      struct ob_err *err)
{
	int ends[2], r;

	*fd = std;
	if (is_fit(std))
		return 0;
	if (pipe2(ends, O_CLOEXEC))
		return ob_fail(err, errno, "pipe: %s", strerror(errno));
	*fd = ends[takes == WRITES];
	pump->own = ends[takes == READS];
	pump->from = takes == READS ? std : pump->own;
	pump->to = takes == READS ? pump->own : std;
	r = pthread_create(&pump->thread, NULL, pump_main, pump);
	pump->runs = r == 0;
	return r ? ob_fail(err, r, "thread: %s", strerror(r)) : 0;
}

/*
 * What the server wrote is on its way yet, and what it did not read is not
 * missed.  A full disk is the better reason than that the reader has gone.
 */
static int end_pump(struct pump *pump, int takes, int r, struct ob_err *err)
{
	if (!pump->runs || takes == READS)
		return r;
	pthread_join(pump->thread, NULL);
	return pump->rc ? ob_fail(err, -pump->rc, "standard output: %s",
				  strerror(-pump->rc)) : r;
}

static int exchange(struct control_link *link, const char *method, int takes,
		    json_t *params, json_t **result, struct ob_err *err)
{
	int std = takes == WRITES ? STDOUT_FILENO : STDIN_FILENO, fd = -1, r = 0;
	struct pump pump = { .rc = 0 };

	if (takes > NOTHING)
		r = start_pump(&pump, takes, std, &fd, err);
	if (r)
		json_decref(params);
	else
		r = control_send(link, method, params, fd, err);
	/* Its copy has left: the last writer is the server's, or the pump's. */
	if (fd >= 0)
		close(fd);
	if (!r)
		r = control_receive(link, -1, result, err);
	return end_pump(&pump, takes, r, err);
}

static int print(json_t *result, FILE *to, struct ob_err *err)
{
	if (json_dumpf(result, to, JSON_INDENT(2)) || fputc('\n', to) == EOF ||
	    fflush(to))
		return ob_fail(err, errno, "printing: %s", strerror(errno));
	return 0;
}

static int call(const char *path, const char *method, json_t *params,
		struct ob_err *err)
{
	struct control_link *link = NULL;
	int takes = ob_control_takes(method);
	json_t *result = NULL;
	int r = control_open(path, &link, err);

	if (r)
		json_decref(params);
	else
		r = exchange(link, method, takes, params, &result, err);
	control_close(link);
	if (!r)
		r = print(result, takes == WRITES ? stderr : stdout, err);
	json_decref(result);
	return r;
}

static int add_word(json_t *params, const char *method, const char *word,
		    struct ob_err *err)
{
	const char *value = strchr(word, '=');
	char key[64];

	if (!value || value == word || (size_t)(value - word) >= sizeof(key))
		return ob_fail(err, EINVAL, "'%s' is not KEY=VALUE", word);
	memcpy(key, word, (size_t)(value - word));
	key[value - word] = 0;
	return json_object_set_new(params, key, ob_control_value(
			method, key, value + 1)) ?
		ob_fail(err, EINVAL, "'%s' is no text of JSON", word) : 0;
}

static int print_schema(void)
{
	json_t *schema = ob_control_schema();
	struct ob_err err = { "" };
	int r = print(schema, stdout, &err);

	json_decref(schema);
	return r ? tool_failed("ctl", &err) : TOOL_OK;
}

void tool_ctl_help(FILE *out)
{
	fputs("  --schema  print the methods and their parameters, as OpenRPC\n",
	      out);
}

int tool_ctl(int argc, char **argv)
{
	struct ob_err err = { "" };
	json_t *params;

	if (argc == 2 && !strcmp(argv[1], "--schema"))
		return print_schema();
	if (argc < 3 || argv[1][0] == '-') {
		ob_fail(&err, EINVAL, "a CONTROL and a METHOD are needed");
		return tool_misused("ctl", &err);
	}
	params = json_object();
	for (int i = 3; i < argc; i++) {
		if (!add_word(params, argv[2], argv[i], &err))
			continue;
		json_decref(params);
		return tool_misused("ctl", &err);
	}
	signal(SIGPIPE, SIG_IGN);
	return call(argv[1], argv[2], params, &err) ? tool_failed("ctl", &err) :
		TOOL_OK;
}
