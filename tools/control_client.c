// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control_client.h"
#include "hist.h"

#define ANSWER_MS 5000
#define TRY_NS 10000000000ull		/* while processes are replaced */
#define PAUSE_NS 2000000L
#define MAX_ANSWER (16u << 20)

static void nap(void)
{
	const struct timespec pause = { 0, PAUSE_NS };

	nanosleep(&pause, NULL);
}

static int dial(const char *path, int *out, struct ob_err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(sun.sun_path))
		return ob_fail(err, ENAMETOOLONG, "%s: too long a path", path);
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return ob_fail(err, errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		int r = ob_fail(err, errno, "%s: %s", path, strerror(errno));

		close(fd);
		return r;
	}
	*out = fd;
	return 0;
}

static int send_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A line, to be freed; -ECONNRESET when the process went. */
static int receive_line(int fd, char **line)
{
	size_t got = 0, room = 4096;
	char *text = malloc(room);

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = -1;
		int r = 0;

		if (!text || room > MAX_ANSWER)
			r = -ENOMEM;
		else if (poll(&p, 1, ANSWER_MS) == 0)
			r = -ETIMEDOUT;
		else if ((n = recv(fd, text + got, room - got, 0)) <= 0)
			r = -ECONNRESET;
		if (r) {
			free(text);
			return r;
		}
		got += (size_t)n;
		if (text[got - 1] == '\n') {
			text[got - 1] = 0;
			*line = text;
			return 0;
		}
		if (got == room)
			text = realloc(text, room *= 2);
	}
}

static int exchange(const char *path, const char *request, char **answer,
		    struct ob_err *err)
{
	int fd = -1, r = dial(path, &fd, err);

	if (r)
		return r;
	r = send_all(fd, request, strlen(request));
	if (!r)
		r = receive_line(fd, answer);
	close(fd);
	return r ? ob_fail(err, -r, "%s: no answer: %s", path, strerror(-r))
		 : 0;
}

static int take_result(const char *text, json_t **result, struct ob_err *err)
{
	json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	json_t *found = json_object_get(root, "result");
	const char *why = json_string_value(json_object_get(
		json_object_get(root, "error"), "message"));
	int r = 0;

	if (why)
		r = ob_fail(err, EINVAL, "%s", why);
	else if (!found)
		r = ob_fail(err, EPROTO, "the answer is no JSON-RPC");
	else
		*result = json_incref(found);
	json_decref(root);
	return r;
}

static bool may_pass(int r)
{
	return r == -ECONNRESET || r == -ECONNREFUSED || r == -ETIMEDOUT ||
	       r == -EPIPE;
}

int control_call(const char *path, const char *method, json_t *params,
		 bool once, json_t **result, struct ob_err *err)
{
	json_t *call = json_pack("{s:s, s:i, s:s, s:o*}", "jsonrpc", "2.0",
				 "id", 1, "method", method, "params", params);
	char *line = json_dumps(call, JSON_COMPACT), *answer = NULL;
	uint64_t end = now_ns() + TRY_NS;
	char *request = NULL;
	int r;

	json_decref(call);
	if (!line || asprintf(&request, "%s\n", line) < 0) {
		free(line);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	for (;;) {
		r = exchange(path, request, &answer, err);
		if (!r || once || !may_pass(r) || now_ns() > end)
			break;
		nap();
	}
	if (!r)
		r = take_result(answer, result, err);
	free(answer);
	free(request);
	free(line);
	return r;
}

static const char *upgrade_state(const json_t *keeper)
{
	const char *word = json_string_value(json_object_get(keeper,
							     "upgrade"));

	return word ? word : "unknown";
}

/* Until it is no longer under way. */
static int await_upgrade(const char *path, double seconds, json_t **status,
			 struct ob_err *err)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
	json_t *found, *keeper;
	int r;

	for (;;) {
		r = control_call(path, "status", NULL, false, &found, err);
		if (r)
			return r;
		keeper = json_object_get(found, "keeper");
		if (strcmp(upgrade_state(keeper), "under way"))
			break;
		json_decref(found);
		if (now_ns() > end)
			return ob_fail(err, ETIMEDOUT,
				       "still under way after %.0f s",
				       seconds);
		nap();
	}
	if (!strcmp(upgrade_state(keeper), "refused"))
		r = ob_fail(err, ECANCELED, "refused: %s",
			    json_string_value(json_object_get(keeper, "why")));
	*status = found;
	return r;
}

int control_upgrade(const char *path, const char *binary, bool dry_run,
		    double seconds, json_t **status, struct ob_err *err)
{
	json_t *params = json_pack("{s:b, s:s*}", "dry_run", dry_run, "binary",
				   binary);
	json_t *accepted;
	int r = control_call(path, "upgrade", params, true, &accepted, err);

	*status = NULL;
	if (r)
		return r;
	json_decref(accepted);
	return await_upgrade(path, seconds, status, err);
}
