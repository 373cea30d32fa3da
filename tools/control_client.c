// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "control_client.h"
#include "control_link.h"
#include "hist.h"

#define ANSWER_MS 5000
#define TRY_NS 15000000000ull		/* while processes are replaced */
#define PATIENCE_NS 120000000000ull	/* with a new binary that is no good */
#define NAP_NS 2000000L
#define NAP_MAX_NS 100000000L

/* Longer and longer. */
static void nap(long *ns)
{
	const struct timespec pause = { 0, *ns };

	*ns = *ns < NAP_MAX_NS ? *ns * 2 : NAP_MAX_NS;
	nanosleep(&pause, NULL);
}

static int exchange(const char *path, const char *method, json_t *params,
		    json_t **result, struct ob_err *err)
{
	struct control_link *link = NULL;
	int r = control_open(path, &link, err);

	if (!r)
		r = control_send(link, method, json_incref(params), -1, err);
	if (!r)
		r = control_receive(link, ANSWER_MS, result, err);
	if (r == -ECONNRESET || r == -ETIMEDOUT || r == -EPIPE)
		ob_err_prefix(err, "%s: is it the socket of serve --control?",
			      path);
	control_close(link);
	return r;
}

/* What a death in the middle looks like, or a server that is busy loading. */
static bool may_pass(int r)
{
	return r == -ECONNRESET || r == -ETIMEDOUT || r == -EPIPE;
}

int control_call(const char *path, const char *method, json_t *params,
		 json_t **result, struct ob_err *err)
{
	uint64_t end = now_ns() + TRY_NS;
	long pause = NAP_NS;
	int r;

	while ((r = exchange(path, method, params, result, err)) &&
	       may_pass(r) && now_ns() < end)
		nap(&pause);
	json_decref(params);
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
