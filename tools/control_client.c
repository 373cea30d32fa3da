// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "control_client.h"
#include "hist.h"

#define ANSWER_MS 5000
#define TRY_NS 15000000000ull		/* while processes are replaced */
#define PATIENCE_NS 120000000000ull	/* with a new binary that is no good */
#define NAP_NS 2000000L
#define NAP_MAX_NS 100000000L
#define MAX_ANSWER (16u << 20)

/* Longer and longer. */
static void nap(long *ns)
{
	const struct timespec pause = { 0, *ns };

	*ns = *ns < NAP_MAX_NS ? *ns * 2 : NAP_MAX_NS;
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
	return r ? ob_fail(err, -r, "%s: no answer: %s (is it the socket of "
			   "serve --control?)", path, strerror(-r)) : 0;
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

/* What a death in the middle looks like, or a server that is busy loading. */
static bool may_pass(int r)
{
	return r == -ECONNRESET || r == -ETIMEDOUT || r == -EPIPE;
}

static int call_text(const char *path, const char *request, char **answer,
		     struct ob_err *err)
{
	uint64_t end = now_ns() + TRY_NS;
	long pause = NAP_NS;
	int r;

	while ((r = exchange(path, request, answer, err)) && may_pass(r) &&
	       now_ns() < end)
		nap(&pause);
	return r;
}

int control_call(const char *path, const char *method, json_t *params,
		 json_t **result, struct ob_err *err)
{
	json_t *call = json_pack("{s:s, s:i, s:s, s:o*}", "jsonrpc", "2.0",
				 "id", 1, "method", method, "params", params);
	char *line = json_dumps(call, JSON_COMPACT), *answer = NULL;
	char *request = NULL;
	int r;

	json_decref(call);
	if (!line || asprintf(&request, "%s\n", line) < 0) {
		free(line);
		return ob_fail(err, ENOMEM, "out of memory");
	}
	r = call_text(path, request, &answer, err);
	if (!r)
		r = take_result(answer, result, err);
	free(answer);
	free(request);
	free(line);
	return r;
}

/* -- upgrades ---------------------------------------------------------- */

static const char *word(const json_t *keeper, const char *key)
{
	const char *text = json_string_value(json_object_get(keeper, key));

	return text ? text : "unknown";
}

static bool is_under_way(const json_t *keeper)
{
	return !strcmp(word(keeper, "upgrade"), "under way") ||
	       control_has_switched(keeper);
}

bool control_has_switched(const json_t *keeper)
{
	return !strcmp(word(keeper, "upgrade"), "switched");
}

static json_int_t new_ticket(void)
{
	uint32_t bits;

	do
		getrandom(&bits, sizeof(bits), 0);
	while (!(bits & INT32_MAX));
	return bits & INT32_MAX;
}

static int ask(const char *path, const struct control_upgrade *up,
	       json_int_t ticket, struct ob_err *err)
{
	json_t *params = json_pack("{s:b, s:I, s:s*}", "dry_run", up->dry_run,
				   "ticket", ticket, "binary", up->binary);
	json_t *accepted;
	int r = control_call(path, "upgrade", params, &accepted, err);

	if (!r)
		json_decref(accepted);
	return r;
}

/*
 * 1: it goes on.  A process that died with our request unread was no loss but
 * of the request: it is sent again.  One that had passed it on is no loss at
 * all, since the keeper knows the ticket.
 */
static int judge(const char *path, const struct control_upgrade *up,
		 json_int_t ticket, const json_t *keeper, struct ob_err *err)
{
	json_t *theirs = json_object_get(keeper, "ticket");
	int r;

	if (json_integer_value(theirs) != ticket) {
		if (is_under_way(keeper))
			return ob_fail(err, EBUSY,
				       "another upgrade is under way");
		r = ask(path, up, ticket, err);
		return r ? r : 1;
	}
	if (!strcmp(word(keeper, "upgrade"), "refused"))
		return ob_fail(err, ECANCELED, "refused: %s",
			       word(keeper, "why"));
	return is_under_way(keeper) && !(up->look && up->look(up->arg, keeper));
}

/* 1: it goes on. */
static int look(const char *path, const struct control_upgrade *up,
		json_int_t ticket, json_t **status, struct ob_err *err)
{
	int r;

	json_decref(*status);
	*status = NULL;
	r = control_call(path, "status", NULL, status, err);
	if (!r)
		return judge(path, up, ticket,
			     json_object_get(*status, "keeper"), err);
	ob_err_prefix(err, "asked for, and nobody tells what became of it");
	return r;
}

/* What is watched ends by itself, after the server's --grace. */
static bool is_late(uint64_t end, const json_t *status)
{
	return now_ns() > end &&
	       !control_has_switched(json_object_get(status, "keeper"));
}

int control_upgrade(const char *path, const struct control_upgrade *up,
		    json_t **status, struct ob_err *err)
{
	uint64_t end = now_ns() + PATIENCE_NS;
	json_int_t ticket = new_ticket();
	long pause = NAP_NS;
	int r = ask(path, up, ticket, err);

	*status = NULL;
	while (!r && (r = look(path, up, ticket, status, err)) == 1) {
		if (is_late(end, *status))
			return ob_fail(err, ETIMEDOUT, "still under way");
		nap(&pause);
		r = 0;
	}
	return r;
}
