// SPDX-License-Identifier: BSD-3-Clause
/*
 * Servers that answer late, short, wrong, or not at all.  The client tells
 * which it was, and stays usable where the stream can still be trusted.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../open_fds.h"
#include "peer.h"

static struct peer peer;
static const struct ob_client_params quick = { .timeout_ms = 100 };

static int read_u32(struct ob_client *client, uint32_t *value,
		    struct ob_err *err)
{
	return ob_client_read(client, 0, 8, value, sizeof(*value), err);
}

/* The reply to a 4-byte read: the access header and the value. */
static void reply_value(struct peer *p, uint32_t value)
{
	uint8_t bytes[20];

	memcpy(bytes, p->payload, 16);
	memcpy(bytes + 16, &value, 4);
	peer_reply(p, bytes, sizeof(bytes));
}

static void answer_reads(struct peer *p)
{
	while (!peer_take(p))
		reply_value(p, 0xcafe);
}

static void late_script(struct peer *p)
{
	struct peer_header late;
	uint8_t bytes[36] = { 0 };

	peer_version(p, NULL);
	peer_take(p);
	late = p->hdr;
	/* The next request comes when the client has given up on this one. */
	PEER_EXPECT(p, peer_take(p) == 0 && p->hdr.id != late.id);
	late.flags = 1;
	late.size = sizeof(bytes);
	memcpy(bytes, &late, sizeof(late));
	memset(bytes + 32, 0xee, 4);
	peer_send(p, bytes, sizeof(bytes));
	reply_value(p, 0xcafe);
	answer_reads(p);
}

static void late_reply_is_dropped(void **state)
{
	struct ob_client *client;
	struct ob_err err = { 0 };
	uint32_t value = 1;

	(void)state;
	peer_start(&peer, late_script);
	client = peer_attach(&peer, &quick);
	assert_int_equal(read_u32(client, &value, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "100 ms"));
	ob_client_set_timeout(client, 5000);
	assert_int_equal(read_u32(client, &value, &err), 0);
	assert_int_equal(value, 0xcafe);
	assert_int_equal(read_u32(client, &value, &err), 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

/* The header of p's message with the flag of a reply, then what it asked for. */
static void fds_script(struct peer *p)
{
	uint8_t bytes[36] = { 0 };

	peer_version(p, NULL);
	while (!peer_take(p)) {
		p->hdr.flags = 1;
		p->hdr.size = sizeof(bytes);
		memcpy(bytes, &p->hdr, sizeof(p->hdr));
		memcpy(bytes + sizeof(p->hdr), p->payload, 16);
		memcpy(bytes + 32, (uint32_t[]){ 0xcafe }, 4);
		peer_send_fds(p, bytes, sizeof(bytes), &p->fd, 1);
	}
}

/* They are closed, also those that nobody ever looked at. */
static void fds_that_nobody_wants(void **state)
{
	struct ob_client *client;
	struct ob_err err = { 0 };
	uint32_t value;
	unsigned open;

	(void)state;
	peer_start(&peer, fds_script);
	client = peer_attach(&peer, NULL);
	open = count_fds();
	for (int i = 0; i < 20; i++) {
		value = 0;
		assert_int_equal(read_u32(client, &value, &err), 0);
		assert_int_equal(value, 0xcafe);
	}
	assert_int_equal(count_fds(), open);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void silent_script(struct peer *p)
{
	peer_version(p, NULL);
	while (!peer_take(p))
		;
}

/* A server that never answers is given up, not collected for ever. */
static void silence_ends_in_disconnection(void **state)
{
	static const struct ob_client_params hasty = { .timeout_ms = 2 };
	struct ob_client *client;
	uint32_t value;
	int r = 0, calls;

	(void)state;
	peer_start(&peer, silent_script);
	client = peer_attach(&peer, &quick);
	ob_client_set_timeout(client, hasty.timeout_ms);
	for (calls = 0; calls < 100 && r != -ENOTCONN; calls++)
		r = read_u32(client, &value, NULL);
	assert_int_equal(r, -ENOTCONN);
	assert_in_range(calls, 2, 50);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void wrong_id_script(struct peer *p)
{
	peer_version(p, NULL);
	peer_take(p);
	p->hdr.id += 77;
	reply_value(p, 1);
	peer_take(p);
}

static void wrong_command_script(struct peer *p)
{
	peer_version(p, NULL);
	peer_take(p);
	p->hdr.cmd = 13;
	reply_value(p, 1);
	peer_take(p);
}

static void unknown_type_script(struct peer *p)
{
	struct peer_header hdr = { .id = 1, .cmd = 9, .size = 16, .flags = 7 };

	peer_version(p, NULL);
	peer_take(p);
	peer_send(p, &hdr, sizeof(hdr));
	peer_take(p);
}

static void huge_script(struct peer *p)
{
	struct peer_header hdr = {
		.id = 1, .cmd = 9, .size = 1u << 30, .flags = 1,
	};

	peer_version(p, NULL);
	peer_take(p);
	hdr.id = p->hdr.id;
	peer_send(p, &hdr, sizeof(hdr));
	peer_take(p);
}

static void tiny_script(struct peer *p)
{
	struct peer_header hdr = { .cmd = 9, .size = 15, .flags = 1 };

	peer_version(p, NULL);
	peer_take(p);
	hdr.id = p->hdr.id;
	peer_send(p, &hdr, sizeof(hdr));
	peer_take(p);
}

static void lost_stream(void (*script)(struct peer *), int expected)
{
	struct ob_client *client;
	struct ob_err err = { 0 };
	uint32_t value;

	peer_start(&peer, script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(read_u32(client, &value, &err), expected);
	assert_string_not_equal(err.msg, "");
	assert_int_equal(read_u32(client, &value, &err), -ENOTCONN);
	assert_int_equal(ob_client_poll(client, 0, &err), -ENOTCONN);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void untrusted_streams_end(void **state)
{
	(void)state;
	lost_stream(wrong_id_script, -EPROTO);
	lost_stream(wrong_command_script, -EPROTO);
	lost_stream(unknown_type_script, -EPROTO);
	lost_stream(huge_script, -EPROTO);
	lost_stream(tiny_script, -EPROTO);
}

static void half_reply_script(struct peer *p)
{
	struct peer_header hdr = { .cmd = 9, .size = 36, .flags = 1 };

	peer_version(p, NULL);
	peer_take(p);
	hdr.id = p->hdr.id;
	peer_send(p, &hdr, sizeof(hdr));
	peer_send(p, p->payload, 7);
}

static void eof_script(struct peer *p)
{
	peer_version(p, NULL);
	peer_take(p);
}

static void end_of_stream(void **state)
{
	(void)state;
	lost_stream(half_reply_script, -ECONNRESET);
	lost_stream(eof_script, -ECONNRESET);
}

static void short_script(struct peer *p)
{
	uint8_t bytes[20] = { 0 };
	uint32_t count = 2;

	peer_version(p, NULL);
	peer_take(p);			/* an access header without data */
	peer_reply(p, p->payload, 16);
	peer_take(p);			/* not even an access header */
	peer_reply(p, p->payload, 3);
	peer_take(p);			/* fewer bytes than asked for */
	memcpy(bytes, p->payload, 16);
	memcpy(bytes + 12, &count, 4);
	peer_reply(p, bytes, 18);
	answer_reads(p);
}

static void short_replies_are_errors(void **state)
{
	struct ob_client *client;
	uint32_t value = 0x1111;

	(void)state;
	peer_start(&peer, short_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(read_u32(client, &value, NULL), -EPROTO);
	assert_int_equal(read_u32(client, &value, NULL), -EPROTO);
	assert_int_equal(read_u32(client, &value, NULL), -EIO);
	assert_int_equal(value, 0x1111);
	assert_int_equal(read_u32(client, &value, NULL), 0);
	assert_int_equal(value, 0xcafe);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void errors_script(struct peer *p)
{
	static const uint32_t errors[] = { 22, 0, 0x80000016, 4096 };

	peer_version(p, NULL);
	for (unsigned i = 0; i < 4; i++) {
		peer_take(p);
		peer_error(p, errors[i]);
	}
	answer_reads(p);
}

static void error_replies(void **state)
{
	struct ob_client *client;
	struct ob_err err = { 0 };
	uint32_t value;

	(void)state;
	peer_start(&peer, errors_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(read_u32(client, &value, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "REGION_READ"));
	/* What no errno can be is an I/O error. */
	assert_int_equal(read_u32(client, &value, NULL), -EIO);
	assert_int_equal(read_u32(client, &value, NULL), -EIO);
	assert_int_equal(read_u32(client, &value, NULL), -EIO);
	assert_int_equal(read_u32(client, &value, NULL), 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void one_byte_script(struct peer *p)
{
	uint8_t bytes[36] = { 0 };
	struct peer_header hdr = { .cmd = 9, .size = 36, .flags = 1 };

	peer_version(p, NULL);
	while (!peer_take(p)) {
		hdr.id = p->hdr.id;
		memcpy(bytes, &hdr, sizeof(hdr));
		memcpy(bytes + 16, p->payload, 16);
		memcpy(bytes + 32, "\xfe\xca\0\0", 4);
		for (unsigned i = 0; i < sizeof(bytes); i++)
			peer_send(p, bytes + i, 1);
	}
}

static void byte_by_byte(void **state)
{
	static const struct ob_client_params spinning = { .spin = true };
	const struct ob_client_params *params[] = { NULL, &spinning };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct ob_client *client;
		uint32_t value = 0;

		peer_start(&peer, one_byte_script);
		client = peer_attach(&peer, params[i]);
		assert_int_equal(read_u32(client, &value, NULL), 0);
		assert_int_equal(value, 0xcafe);
		ob_client_destroy(client);
		peer_end(&peer);
	}
}

static void spinning_silence(void **state)
{
	static const struct ob_client_params params = {
		.spin = true, .timeout_ms = 100,
	};
	struct ob_client *client;
	uint32_t value;

	(void)state;
	peer_start(&peer, silent_script);
	client = peer_attach(&peer, &params);
	assert_int_equal(read_u32(client, &value, NULL), -ETIMEDOUT);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void unread_script(struct peer *p)
{
	char byte;

	peer_version(p, NULL);
	/* Reads nothing until the client has gone. */
	while (read(*(int *)p->arg, &byte, 1) < 0 && errno == EINTR)
		;
}

/* A server that stops receiving: bounded memory, a timeout, no hang. */
static void posted_writes_into_a_full_socket(void **state)
{
	struct ob_client_reg_write writes[512];
	struct ob_client *client;
	int done[2], r = 0;

	(void)state;
	assert_int_equal(pipe(done), 0);
	for (unsigned i = 0; i < 512; i++)
		writes[i] = (struct ob_client_reg_write){
			.offset = i, .len = 4, .value = i,
		};
	peer.arg = &done[0];
	peer_start(&peer, unread_script);
	client = peer_attach(&peer, &quick);
	for (unsigned i = 0; i < 10000 && !r; i++)
		r = ob_client_post(client, writes, 512, NULL);
	assert_int_equal(r, -ETIMEDOUT);
	ob_client_destroy(client);
	close(done[1]);
	peer_end(&peer);
	close(done[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_reply_is_dropped),
		cmocka_unit_test(fds_that_nobody_wants),
		cmocka_unit_test(silence_ends_in_disconnection),
		cmocka_unit_test(untrusted_streams_end),
		cmocka_unit_test(end_of_stream),
		cmocka_unit_test(short_replies_are_errors),
		cmocka_unit_test(error_replies),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(spinning_silence),
		cmocka_unit_test(posted_writes_into_a_full_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
