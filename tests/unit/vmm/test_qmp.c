// SPDX-License-Identifier: BSD-3-Clause
/* QEMU's monitor: what it says in what order, and what it should not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_qemu.h"
#include "vmm/qmp.h"

static struct ob_qmp *open_qmp(struct fake_qemu *q,
			       const struct fake_step *steps)
{
	struct ob_qmp *qmp = NULL;
	struct ob_err err = { 0 };
	int fd = fake_qemu_start(q, steps);

	if (ob_qmp_open(fd, &qmp, &err))
		fail_msg("%s", err.msg);
	return qmp;
}

static void test_greets(void **state)
{
	static const struct fake_step steps[] = { FAKE_HELLO, FAKE_END };
	struct fake_qemu q;
	struct ob_qmp *qmp = open_qmp(&q, steps);

	(void)state;
	assert_string_equal(ob_qmp_version(qmp), "11.1.3");
	ob_qmp_close(qmp);
	fake_qemu_end(&q);
}

static int refused(const struct fake_step *steps, struct ob_err *err)
{
	struct fake_qemu q;
	struct ob_qmp *qmp = NULL;
	int r = ob_qmp_open(fake_qemu_start(&q, steps), &qmp, err);

	assert_null(qmp);
	fake_qemu_end(&q);
	return r;
}

static void test_refuses_what_is_no_monitor(void **state)
{
	static const struct fake_step ssh[] = {
		{ NULL, "SSH-2.0\n", false }, FAKE_END
	};
	static const struct fake_step other[] = {
		{ NULL, "{\"jsonrpc\": \"2.0\"}\n", false }, FAKE_END
	};
	static const struct fake_step gone[] = { { NULL, NULL, true } };
	static const struct fake_step deaf[] = {
		{ NULL, FAKE_GREETING, false },
		{ "qmp_capabilities", "{\"error\": {\"class\": \"x\", "
		  "\"desc\": \"no more\"}, \"id\": @}\n", false }, FAKE_END
	};
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(refused(ssh, &err), -ECONNRESET);
	assert_int_equal(refused(other, &err), -ECONNRESET);
	assert_int_equal(refused(gone, &err), -ECONNRESET);
	assert_int_equal(refused(deaf, &err), -EREMOTEIO);
	assert_non_null(strstr(err.msg, "no more"));
}

static void expect_event(struct ob_qmp *qmp, const char *name)
{
	struct ob_err err = { 0 };
	json_t *event = NULL;

	assert_int_equal(ob_qmp_event(qmp, 5000, &event, &err), 0);
	assert_string_equal(json_string_value(json_object_get(event, "event")),
			    name);
	json_decref(event);
}

static void test_keeps_events_in_order(void **state)
{
	static const struct fake_step steps[] = {
		FAKE_HELLO,
		{ NULL, "{\"event\": \"A\"}\n", false },
		{ "\"query-status\"", "{\"event\": \"B\"}\r\n{\"event\": \"C\"}\n"
		  "{\"return\": {\"status\": \"running\"}, \"id\": @}\n{\"event\":",
		  false },
		{ NULL, " \"D\"}\n", false },
		FAKE_END
	};
	struct fake_qemu q;
	struct ob_qmp *qmp = open_qmp(&q, steps);
	struct ob_err err = { 0 };
	json_t *result = NULL, *event;

	(void)state;
	assert_int_equal(ob_qmp_call(qmp, "query-status", NULL, &result, &err),
			 0);
	assert_string_equal(json_string_value(json_object_get(result,
							      "status")),
			    "running");
	json_decref(result);
	assert_true(ob_qmp_has_event(qmp));
	expect_event(qmp, "A");
	expect_event(qmp, "B");
	expect_event(qmp, "C");
	expect_event(qmp, "D");
	assert_int_equal(ob_qmp_event(qmp, 5000, &event, &err), -ECONNRESET);
	ob_qmp_close(qmp);
	fake_qemu_end(&q);
}

static void test_tells_a_refusal_and_a_silence(void **state)
{
	static const struct fake_step steps[] = {
		FAKE_HELLO,
		{ "\"migrate\"", "{\"error\": {\"class\": \"GenericError\", "
		  "\"desc\": \"not now\"}, \"id\": @}\n", false },
		{ "\"silent\"", NULL, false },
		/* The answer to the silent one comes late, and to nobody. */
		{ "\"quit\"", "{\"return\": {\"late\": 1}, \"id\": 3}\n", false },
		{ NULL, "{\"return\": {\"late\": 0}, \"id\": 4}\n", false },
		FAKE_END
	};
	struct fake_qemu q;
	struct ob_qmp *qmp = open_qmp(&q, steps);
	struct ob_err err = { 0 };
	json_t *result = NULL;

	(void)state;
	assert_int_equal(ob_qmp_call(qmp, "migrate", json_pack("{s:s}", "uri",
							       "fd:x"),
				     NULL, &err), -EREMOTEIO);
	assert_string_equal(err.msg, "migrate: not now");
	ob_qmp_set_timeout(qmp, 50);
	assert_int_equal(ob_qmp_call(qmp, "silent", NULL, NULL, &err),
			 -ETIMEDOUT);
	ob_qmp_set_timeout(qmp, 5000);
	assert_int_equal(ob_qmp_call(qmp, "quit", NULL, &result, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(result, "late")),
			 0);
	json_decref(result);
	ob_qmp_close(qmp);
	fake_qemu_end(&q);
}

static void test_passes_a_descriptor(void **state)
{
	static const struct fake_step steps[] = {
		FAKE_HELLO,
		{ "\"fdname\":\"box\"", FAKE_EMPTY, false },
		FAKE_END
	};
	struct fake_qemu q;
	struct ob_qmp *qmp = open_qmp(&q, steps);
	struct ob_err err = { 0 };
	struct stat ours, theirs;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(ob_qmp_give_fd(qmp, "box", ends[1], &err), 0);
	assert_int_equal(fstat(ends[1], &ours), 0);
	assert_int_equal(fstat(q.got_fd, &theirs), 0);
	assert_int_equal(ours.st_ino, theirs.st_ino);
	close(ends[0]);
	close(ends[1]);
	ob_qmp_close(qmp);
	fake_qemu_end(&q);
}

static void test_speaks_to_peoples_monitor(void **state)
{
	static const struct fake_step steps[] = {
		FAKE_HELLO,
		{ "\"command-line\":\"i/w 0xcfc\"",
		  "{\"return\": \"portl[0x0cfc] = 0x1\\r\\n\", \"id\": @}\n",
		  false },
		{ "\"command-line\":\"stop\"", "{\"return\": {}, \"id\": @}\n",
		  false },
		FAKE_END
	};
	struct fake_qemu q;
	struct ob_qmp *qmp = open_qmp(&q, steps);
	struct ob_err err = { 0 };
	char *text = NULL;

	(void)state;
	assert_int_equal(ob_qmp_hmp(qmp, &text, &err, "i/%c %#x", 'w', 0xcfc),
			 0);
	assert_string_equal(text, "portl[0x0cfc] = 0x1\r\n");
	free(text);
	assert_int_equal(ob_qmp_hmp(qmp, &text, &err, "stop"), -EPROTO);
	assert_null(text);
	ob_qmp_close(qmp);
	fake_qemu_end(&q);
}

static void test_is_told_when_it_goes(void **state)
{
	static const struct fake_step steps[] = {
		FAKE_HELLO, { "\"quit\"", NULL, true }
	};
	struct fake_qemu q;
	struct ob_qmp *qmp = open_qmp(&q, steps);
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(ob_qmp_call(qmp, "quit", NULL, NULL, &err),
			 -ECONNRESET);
	fake_qemu_end(&q);
	assert_int_equal(ob_qmp_call(qmp, "quit", NULL, NULL, &err),
			 -ECONNRESET);
	ob_qmp_close(qmp);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greets),
		cmocka_unit_test(test_refuses_what_is_no_monitor),
		cmocka_unit_test(test_keeps_events_in_order),
		cmocka_unit_test(test_tells_a_refusal_and_a_silence),
		cmocka_unit_test(test_passes_a_descriptor),
		cmocka_unit_test(test_speaks_to_peoples_monitor),
		cmocka_unit_test(test_is_told_when_it_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
