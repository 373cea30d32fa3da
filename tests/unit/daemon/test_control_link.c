// SPDX-License-Identifier: BSD-3-Clause
/*
 * A connection to a control socket that stays open, with a server in the test's
 * hands: answers in pieces, late, wrong, or none, and a descriptor that goes along.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../tools/control_link.h"
#include "../open_fds.h"

static char dir[] = "/tmp/outboard-link-XXXXXX", path[64];

struct peer {
	int listener, fd;
	struct control_link *link;
	char text[65536];
	int passed;			/* a descriptor that came; -1: none */
};

static void start(struct peer *p)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct ob_err err = { "" };

	strcpy(sun.sun_path, path);
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listener, (struct sockaddr *)&sun,
			      sizeof(sun)), 0);
	assert_int_equal(listen(p->listener, 1), 0);
	assert_int_equal(control_open(path, &p->link, &err), 0);
	p->fd = accept(p->listener, NULL, NULL);
	assert_true(p->fd >= 0 && control_fd(p->link) >= 0);
}

static void end(struct peer *p)
{
	control_close(p->link);
	if (p->fd >= 0)
		close(p->fd);
	close(p->listener);
	unlink(path);
}

/* One line of what the link sent. */
static json_t *hear(struct peer *p)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	size_t got = 0;
	json_t *tree;

	p->passed = -1;
	while (!got || p->text[got - 1] != '\n') {
		struct iovec iov = { p->text + got, sizeof(p->text) - got };
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1,
			.msg_control = &control, .msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(p->fd, &msg, 0);
		struct cmsghdr *h = CMSG_FIRSTHDR(&msg);

		assert_true(n > 0);
		if (h)
			memcpy(&p->passed, CMSG_DATA(h), sizeof(int));
		got += (size_t)n;
	}
	tree = json_loadb(p->text, got, 0, NULL);
	assert_non_null(tree);
	return tree;
}

static void tell(struct peer *p, const char *text)
{
	assert_int_equal(send(p->fd, text, strlen(text), MSG_NOSIGNAL),
			 strlen(text));
}

static int receive(struct peer *p, int ms, json_t **result, struct ob_err *err)
{
	*result = NULL;
	return control_receive(p->link, ms, result, err);
}

static void requests_are_json_rpc(void **state)
{
	struct ob_err err = { "" };
	struct peer p;
	json_t *tree, *result;

	(void)state;
	start(&p);
	for (int id = 1; id < 4; id++) {
		assert_int_equal(control_send(p.link, "m", json_pack(
			"{s:i}", "a", id), -1, &err), 0);
		tree = hear(&p);
		assert_string_equal(json_string_value(json_object_get(
			tree, "jsonrpc")), "2.0");
		assert_string_equal(json_string_value(json_object_get(
			tree, "method")), "m");
		assert_int_equal(json_integer_value(json_object_get(tree, "id")),
				 id);
		assert_int_equal(json_integer_value(json_object_get(
			json_object_get(tree, "params"), "a")), id);
		assert_int_equal(p.passed, -1);
		json_decref(tree);
		tell(&p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"b\":2}}\n");
		assert_int_equal(receive(&p, -1, &result, &err), 0);
		assert_int_equal(json_integer_value(json_object_get(result, "b")),
				 2);
		json_decref(result);
	}
	assert_int_equal(control_send(p.link, "m", NULL, -1, &err), 0);
	tree = hear(&p);
	assert_null(json_object_get(tree, "params"));
	json_decref(tree);
	end(&p);
}

static void an_answer_in_pieces(void **state)
{
	static const char text[] = "{\"result\":{\"list\":[1,2,3]}}\n";
	struct ob_err err = { "" };
	json_t *result;
	struct peer p;

	(void)state;
	start(&p);
	assert_int_equal(control_send(p.link, "m", NULL, -1, &err), 0);
	for (const char *at = text; *at; at++) {
		assert_int_equal(receive(&p, 0, &result, &err), -ETIMEDOUT);
		assert_int_equal(control_send(p.link, "n", json_object(), -1,
					      &err), -EBUSY);
		assert_int_equal(send(p.fd, at, 1, 0), 1);
	}
	assert_int_equal(receive(&p, 0, &result, &err), 0);
	assert_int_equal(json_array_size(json_object_get(result, "list")), 3);
	json_decref(result);
	assert_int_equal(control_send(p.link, "n", NULL, -1, &err), 0);
	end(&p);
}

static void a_long_answer(void **state)
{
	static char text[300000];
	struct ob_err err = { "" };
	json_t *result = NULL;
	size_t sent = 0, len;
	struct peer p;
	int r;

	(void)state;
	start(&p);
	memset(text, 'x', sizeof(text));
	memcpy(text, "{\"result\":\"", 11);
	strcpy(text + sizeof(text) - 5, "\"}\n");
	len = strlen(text);
	assert_int_equal(control_send(p.link, "m", NULL, -1, &err), 0);
	do {
		ssize_t n = send(p.fd, text + sent, len - sent, MSG_DONTWAIT);

		sent += n > 0 ? (size_t)n : 0;
		r = receive(&p, 0, &result, &err);
	} while (r == -ETIMEDOUT);
	assert_int_equal(r, 0);
	assert_int_equal(json_string_length(result), len - 14);
	json_decref(result);
	end(&p);
}

static void answers_that_are_none(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *why;
	} wrong[] = {
		{ "{\"error\":{\"code\":-32000,\"message\":\"it is busy\"}}\n",
		  -EREMOTEIO, "it is busy" },
		{ "hello\n", -EPROTO, "no JSON-RPC" },
		{ "{}\n", -EPROTO, "no JSON-RPC" },
		{ "\n", -EPROTO, "no JSON-RPC" },
		{ "{\"result\":1,\"result\":2}\n", -EPROTO, "no JSON-RPC" },
		{ "{\"error\":{\"message\":7}}\n", -EPROTO, "no JSON-RPC" },
	};
	struct ob_err err = { "" };
	json_t *result;
	struct peer p;

	(void)state;
	start(&p);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(control_send(p.link, "m", NULL, -1, &err), 0);
		tell(&p, wrong[i].text);
		assert_int_equal(receive(&p, -1, &result, &err), wrong[i].r);
		assert_non_null(strstr(err.msg, wrong[i].why));
		assert_null(result);
	}
	end(&p);
}

static void a_descriptor_goes_along(void **state)
{
	struct ob_err err = { "" };
	struct stat ours, theirs;
	unsigned files;
	struct peer p;
	int fds[2];

	(void)state;
	start(&p);
	files = count_fds();
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(control_send(p.link, "m", NULL, fds[1], &err), 0);
	json_decref(hear(&p));
	assert_true(p.passed >= 0);
	fstat(fds[1], &ours);
	fstat(p.passed, &theirs);
	assert_int_equal(ours.st_ino, theirs.st_ino);
	close(p.passed);
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(count_fds(), files);
	end(&p);
}

static void a_server_that_goes(void **state)
{
	struct ob_err err = { "" };
	json_t *result;
	struct peer p;

	(void)state;
	start(&p);
	assert_int_equal(control_send(p.link, "m", NULL, -1, &err), 0);
	tell(&p, "{\"result\":");
	close(p.fd);
	p.fd = -1;
	assert_int_equal(receive(&p, -1, &result, &err), -ECONNRESET);
	assert_int_equal(receive(&p, 0, &result, &err), -ECONNRESET);
	end(&p);
}

static void nobody_is_there(void **state)
{
	struct control_link *link = NULL;
	struct ob_err err = { "" };
	char longer[200];

	(void)state;
	assert_int_equal(control_open(path, &link, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = 0;
	assert_int_equal(control_open(longer, &link, &err), -ENAMETOOLONG);
	assert_null(link);
	control_close(NULL);
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/c", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_json_rpc),
		cmocka_unit_test(an_answer_in_pieces),
		cmocka_unit_test(a_long_answer),
		cmocka_unit_test(answers_that_are_none),
		cmocka_unit_test(a_descriptor_goes_along),
		cmocka_unit_test(a_server_that_goes),
		cmocka_unit_test(nobody_is_there),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
