// SPDX-License-Identifier: BSD-3-Clause
/*
 * One device's part of migration: right answers of every style that servers
 * have, wrong ones, and the words of a refusal.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mig_peer.h"

static struct mig_peer m;

static struct ob_client *start(unsigned quirks)
{
	memset(&m, 0, sizeof(m));
	m.name = "dev";
	m.fail_at = m.die_at = -1;
	m.quirks = quirks;
	m.live = 10000;
	m.rest = 50;
	mig_peer_start(&m);
	return m.client;
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(ob_client_mig_state_name(OB_CLIENT_ERROR),
			    "ERROR");
	assert_string_equal(ob_client_mig_state_name(OB_CLIENT_STOP_COPY),
			    "STOP_COPY");
	assert_string_equal(ob_client_mig_state_name(OB_CLIENT_PRE_COPY_P2P),
			    "PRE_COPY_P2P");
	assert_string_equal(ob_client_mig_state_name(99), "unknown");
	assert_string_equal(ob_client_mig_state_name(-1), "unknown");
}

static void offers(void **state)
{
	struct ob_client_mig info;
	struct ob_client *client = start(0);

	(void)state;
	assert_int_equal(ob_client_mig_info(client, &info, NULL), 0);
	assert_true(info.stop_copy && info.p2p && info.pre_copy &&
		    info.logging && info.precopy_info);
	mig_peer_end(&m);

	client = start(MIG_NO_EXTRAS | MIG_NO_P2P | MIG_NO_LOG);
	assert_int_equal(ob_client_mig_info(client, &info, NULL), 0);
	assert_true(info.stop_copy && info.pre_copy);
	assert_false(info.p2p || info.logging || info.precopy_info);
	assert_int_equal(ob_client_mig_precopy(client, &m.at, &m.at, NULL),
			 -EOPNOTSUPP);
	mig_peer_end(&m);

	/* "No such feature" is an answer, not an error. */
	client = start(MIG_NO_MIGRATION | MIG_NO_LOG | MIG_ERROR_PAYLOAD);
	memset(&info, 0xff, sizeof(info));
	assert_int_equal(ob_client_mig_info(client, &info, NULL), 0);
	assert_false(info.stop_copy || info.logging || info.precopy_info);
	mig_peer_end(&m);
}

/* All that a source gives, in pieces of `piece`, padded or not. */
static void saves_all(unsigned quirks, size_t piece)
{
	struct ob_client *client = start(quirks);
	enum ob_client_mig_state now;
	uint64_t initial, dirty, size, total = 0;
	uint8_t buf[MIG_XFER];
	size_t got;

	assert_int_equal(ob_client_mig_get(client, &now, NULL), 0);
	assert_int_equal(now, OB_CLIENT_RUNNING);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_PRE_COPY, NULL),
			 0);
	assert_int_equal(ob_client_mig_precopy(client, &initial, &dirty,
					       NULL), 0);
	assert_int_equal(initial, 10000);
	assert_int_equal(dirty, 0);
	do {
		assert_int_equal(ob_client_mig_read(client, buf, piece, &got,
						    NULL), 0);
		total += got;
	} while (got == piece);
	assert_int_equal(total, 10000);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_STOP_COPY, NULL),
			 0);
	assert_int_equal(ob_client_mig_size(client, &size, NULL), 0);
	assert_int_equal(size, 51);
	do {
		assert_int_equal(ob_client_mig_read(client, buf, piece, &got,
						    NULL), 0);
		total += got;
	} while (got == piece);
	assert_int_equal(total, 10051);
	assert_int_equal(buf[got - 1], 0xff);
	mig_peer_end(&m);
}

static void data_is_read(void **state)
{
	(void)state;
	saves_all(0, MIG_XFER);
	saves_all(0, 100);
	saves_all(MIG_PAD | MIG_ECHO, MIG_XFER);
	saves_all(MIG_PAD, 333);
}

static void data_is_written_in_pieces_that_fit(void **state)
{
	struct ob_client *client = start(0);
	uint8_t bytes[3 * MIG_XFER + 5];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 % 251);
	bytes[sizeof(bytes) - 1] = 0xff;
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_RESUMING, NULL),
			 0);
	assert_int_equal(ob_client_mig_write(client, bytes, sizeof(bytes),
					     NULL), 0);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_RUNNING, NULL),
			 0);
	mig_peer_end(&m);
	assert_int_equal(m.arrived, sizeof(bytes));
	assert_true(m.loaded);
}

static void too_much_at_once(void **state)
{
	struct ob_client *client = start(0);
	uint8_t byte;
	size_t got;

	(void)state;
	assert_int_equal(ob_client_mig_read(client, &byte, MIG_XFER + 1, &got,
					    NULL), -EINVAL);
	mig_peer_end(&m);
}

static void refusals_have_the_servers_words(void **state)
{
	struct ob_client *client = start(MIG_REFUSE_LOAD | MIG_ERROR_PAYLOAD);
	enum ob_client_mig_state now;
	struct ob_err err = { 0 };

	(void)state;
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_RESUMING, NULL),
			 0);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_STOP, &err),
			 -EINVAL);
	assert_string_equal(err.msg, "cannot enter STOP: the server refuses: "
			    "hot.sqs[3].head: no?such");
	assert_int_equal(ob_client_mig_get(client, &now, NULL), 0);
	assert_int_equal(now, OB_CLIENT_ERROR);
	mig_peer_end(&m);

	client = start(MIG_REFUSE_LOAD | MIG_NO_EXTRAS);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_RESUMING, NULL),
			 0);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_STOP, &err),
			 -EINVAL);
	assert_string_equal(err.msg, "cannot enter STOP: the server refuses "
			    "DEVICE_FEATURE: Invalid argument");
	mig_peer_end(&m);
}

static void dirty_log(void **state)
{
	struct ob_client_range range = { 0x100000, 16 << 20 };
	uint64_t bitmap[64] = { 0 }, page = 0;
	struct ob_client *client = start(MIG_ECHO);

	(void)state;
	m.dirty_page = 0x100000 + 4095 * MIG_PAGE;
	assert_int_equal(ob_client_log_start(client, 4096, &range, 1, &page,
					     NULL), 0);
	assert_int_equal(page, 4096);
	bitmap[3] = 5;
	assert_int_equal(ob_client_log_report(client, range.iova,
					      range.length, 4096, bitmap,
					      NULL), 0);
	assert_int_equal(m.reports, 1);
	assert_int_equal(bitmap[63], UINT64_C(1) << 63);
	assert_int_equal(bitmap[3], 5);
	assert_int_equal(ob_client_log_stop(client, NULL), 0);
	mig_peer_end(&m);

	/* The hint stands where the server does not say. */
	client = start(0);
	assert_int_equal(ob_client_log_start(client, 8192, NULL, 0, &page,
					     NULL), 0);
	assert_int_equal(page, 8192);
	mig_peer_end(&m);
}

/* A reply has room for 508 words here: 32512 pages. */
static void long_ranges_take_several_reports(void **state)
{
	static uint64_t bitmap[1024];
	struct ob_client *client = start(0);

	(void)state;
	memset(bitmap, 0, sizeof(bitmap));
	m.dirty_page = UINT64_C(40000) * 4096;
	assert_int_equal(ob_client_log_start(client, 4096, NULL, 0, NULL,
					     NULL), 0);
	assert_int_equal(ob_client_log_report(client, 0, 65536 * 4096u, 4096,
					      bitmap, NULL), 0);
	assert_int_equal(m.reports, 3);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(bitmap[i], i == 40000 / 64 ? 1 : 0);
	mig_peer_end(&m);
}

static void impossible_reports(void **state)
{
	struct ob_client *client = start(0);
	uint64_t word;

	(void)state;
	assert_int_equal(ob_client_log_report(client, 0, 0, 4096, &word,
					      NULL), -EINVAL);
	assert_int_equal(ob_client_log_report(client, 0, 4096, 0, &word,
					      NULL), -EINVAL);
	assert_int_equal(ob_client_log_report(client, 0, 4096, 12288, &word,
					      NULL), -EINVAL);
	assert_int_equal(ob_client_log_report(client, UINT64_MAX - 4095, 8192,
					      4096, &word, NULL), -EINVAL);
	mig_peer_end(&m);
}

/* Answers that are wrong, one after the other, to the calls below. */
static void wrong_script(struct peer *p)
{
	static const uint8_t bad_state[16] = { 16, 0, 0, 0, 2, 0, 1, 0, 8 };
	static const uint8_t big[12] = { 16, 0, 0, 0, 9 };
	static const uint8_t more[17] = { 16, 0, 0, 0, 9 };
	uint8_t report[8 + 24 + 8];

	peer_version(p, NULL);
	peer_take(p);
	peer_reply(p, bad_state, sizeof(bad_state));
	peer_take(p);
	peer_reply(p, bad_state, 8);
	peer_take(p);
	peer_reply(p, more, sizeof(more));	/* has 9, 8 were asked for */
	peer_take(p);
	peer_reply(p, big, sizeof(big));	/* claims 9, has 4 */
	peer_take(p);
	peer_reply(p, big, 4);
	peer_take(p);
	peer_reply(p, NULL, 0);			/* a report of nothing */
	peer_take(p);
	memset(report, 0xff, sizeof(report));	/* bits behind the end */
	peer_reply(p, report, sizeof(report));
	PEER_EXPECT(p, peer_take(p));
}

static void wrong_answers(void **state)
{
	static struct peer peer;
	enum ob_client_mig_state now;
	struct ob_client *client;
	struct ob_err err = { 0 };
	uint64_t bitmap[2] = { 0 };
	uint8_t buf[16];
	size_t got;

	(void)state;
	peer_start(&peer, wrong_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_mig_get(client, &now, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "state 8"));
	assert_int_equal(ob_client_mig_get(client, &now, NULL), -EPROTO);
	assert_int_equal(ob_client_mig_read(client, buf, 8, &got, NULL),
			 -EPROTO);
	assert_int_equal(ob_client_mig_read(client, buf, 16, &got, NULL),
			 -EPROTO);
	assert_int_equal(ob_client_mig_read(client, buf, 16, &got, NULL),
			 -EPROTO);
	assert_int_equal(ob_client_log_report(client, 0, 4096, 4096, bitmap,
					      NULL), -EPROTO);
	assert_int_equal(ob_client_log_report(client, 0, 3 * 4096 - 1, 4096,
					      bitmap, NULL), 0);
	assert_int_equal(bitmap[0], 7);
	assert_int_equal(bitmap[1], 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

/* Anything at all: small numbers, so that some of it makes sense. */
static void random_script(struct peer *p)
{
	uint8_t bytes[256];
	unsigned seed = 1;

	peer_version(p, "{\"capabilities\":{\"outboard_precopy_info\":true,"
			"\"outboard_error_text\":true}}");
	while (peer_take(p) == 0) {
		size_t len = (size_t)rand_r(&seed) % sizeof(bytes);

		for (size_t i = 0; i < len; i++)
			bytes[i] = rand_r(&seed) % 3 ? 0
						     : (uint8_t)rand_r(&seed);
		if (rand_r(&seed) % 4)
			peer_reply(p, bytes, len);
		else
			peer_error(p, (uint32_t)rand_r(&seed) % 200);
	}
}

static void nonsense_harms_nobody(void **state)
{
	static struct peer peer;
	struct ob_client *client;
	unsigned good = 0;

	(void)state;
	peer_start(&peer, random_script);
	client = peer_attach(&peer, NULL);
	for (unsigned i = 0; i < 3000; i++) {
		enum ob_client_mig_state now = OB_CLIENT_STOP;
		uint64_t bitmap[2] = { 0 }, a, b;
		struct ob_client_mig info;
		struct ob_err err = { 0 };
		uint8_t buf[40];
		size_t got = 0;

		good += !ob_client_mig_info(client, &info, &err);
		good += !ob_client_mig_get(client, &now, &err);
		assert_in_range(now, 0, OB_CLIENT_NR_MIG_STATES - 1);
		ob_client_mig_set(client, OB_CLIENT_STOP, &err);
		good += !ob_client_mig_read(client, buf, sizeof(buf), &got,
					    &err);
		assert_in_range(got, 0, sizeof(buf));
		ob_client_mig_write(client, buf, sizeof(buf), &err);
		good += !ob_client_mig_size(client, &a, &err);
		good += !ob_client_mig_precopy(client, &a, &b, &err);
		ob_client_log_start(client, 4096, NULL, 0, &a, &err);
		good += !ob_client_log_report(client, 0, 3 * 4096, 4096,
					      bitmap, &err);
		assert_in_range(bitmap[0], 0, 7);
		assert_int_equal(bitmap[1], 0);
		assert_true(strlen(err.msg) < sizeof(err.msg));
	}
	assert_true(good > 3000);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void slow_script(struct peer *p)
{
	struct timespec ts = { 0, 300000000 };

	peer_version(p, NULL);
	peer_take(p);
	nanosleep(&ts, NULL);
	peer_reply(p, NULL, 0);
	peer_take(p);
	PEER_EXPECT(p, peer_take(p));
}

/* A VMM that wants its registers fast waits for a change of state all the same. */
static void state_changes_may_take_long(void **state)
{
	static const struct ob_client_params params = { .timeout_ms = 50 };
	static struct peer peer;
	struct ob_client *client;

	(void)state;
	peer_start(&peer, slow_script);
	client = peer_attach(&peer, &params);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_STOP, NULL), 0);
	assert_int_equal(ob_client_reset(client, NULL), -ETIMEDOUT);
	ob_client_destroy(client);
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(offers),
		cmocka_unit_test(data_is_read),
		cmocka_unit_test(data_is_written_in_pieces_that_fit),
		cmocka_unit_test(too_much_at_once),
		cmocka_unit_test(refusals_have_the_servers_words),
		cmocka_unit_test(dirty_log),
		cmocka_unit_test(long_ranges_take_several_reports),
		cmocka_unit_test(impossible_reports),
		cmocka_unit_test(wrong_answers),
		cmocka_unit_test(nonsense_harms_nobody),
		cmocka_unit_test(state_changes_may_take_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
