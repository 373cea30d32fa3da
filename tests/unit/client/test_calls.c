// SPDX-License-Identifier: BSD-3-Clause
/*
 * What the client sends, byte for byte, and what it makes of good answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer.h"

static struct peer peer;

#define CAPS(text) "{\"capabilities\":{" text "}}"

static uint32_t u32_at(const struct peer *p, size_t at)
{
	uint32_t v;

	memcpy(&v, p->payload + at, sizeof(v));
	return v;
}

static uint64_t u64_at(const struct peer *p, size_t at)
{
	uint64_t v;

	memcpy(&v, p->payload + at, sizeof(v));
	return v;
}

static void narrow_script(struct peer *p)
{
	peer_version(p, CAPS("\"max_msg_fds\":3,\"max_data_xfer_size\":8192,"
			     "\"write_multiple\":true,\"migration\":{}"));
	PEER_EXPECT(p, strstr((char *)p->payload + 4, "max_msg_fds"));
	PEER_EXPECT(p, p->payload[p->len - 1] == 0);
	PEER_EXPECT(p, peer_take(p));
}

static void negotiation(void **state)
{
	const struct ob_client_version *version;
	struct ob_client *client;

	(void)state;
	peer_start(&peer, narrow_script);
	client = peer_attach(&peer, NULL);
	version = ob_client_version(client);
	assert_int_equal(version->major, 0);
	assert_int_equal(version->minor, 1);
	assert_int_equal(version->max_msg_fds, 3);
	assert_int_equal(version->max_data_xfer_size, 8192);
	assert_int_equal(version->max_dma_maps, 65535);
	assert_true(version->write_multiple);
	assert_false(version->twin_socket);
	assert_int_equal(ob_client_twin_fd(client), -1);
	assert_non_null(strstr(version->json, "migration"));
	ob_client_destroy(client);
	peer_end(&peer);
}

static void plain_script(struct peer *p)
{
	peer_version(p, NULL);
}

static void server_without_capabilities(void **state)
{
	struct ob_client_reg_write write = { .len = 4 };
	struct ob_client *client;

	(void)state;
	peer_start(&peer, plain_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_version(client)->max_msg_fds, 1);
	assert_false(ob_client_version(client)->write_multiple);
	assert_string_equal(ob_client_version(client)->json, "");
	assert_int_equal(ob_client_write_multi(client, &write, 1, true, NULL,
					       NULL), -EOPNOTSUPP);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void busy_script(struct peer *p)
{
	peer_take(p);
	peer_error(p, EBUSY);
}

static void closing_script(struct peer *p)
{
	peer_take(p);
}

static void major_script(struct peer *p)
{
	peer_take(p);
	peer_reply(p, "\1\0\0\0", 4);
}

static void json_script(struct peer *p)
{
	peer_version(p, "{\"capabilities\":[");
}

static int attach(void (*script)(struct peer *), struct ob_err *err)
{
	struct ob_client *client = NULL;
	int r;

	memset(err, 0, sizeof(*err));
	peer_start(&peer, script);
	r = ob_client_attach(peer.client_fd, NULL, &client, err);
	assert_null(client);
	peer_end(&peer);
	return r;
}

static void refusals(void **state)
{
	struct ob_err err;

	(void)state;
	assert_int_equal(attach(busy_script, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "another client"));
	assert_int_equal(attach(closing_script, &err), -ECONNRESET);
	assert_non_null(strstr(err.msg, "another client"));
	assert_int_equal(attach(major_script, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "1.0"));
	assert_int_not_equal(attach(json_script, &err), 0);
	assert_string_not_equal(err.msg, "");
}

static void no_server(void **state)
{
	struct ob_client *client;
	struct ob_err err = { 0 };
	char path[200];

	(void)state;
	assert_int_equal(ob_client_connect("/nonexistent/x.sock", NULL,
					   &client, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/x.sock"));
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	assert_int_equal(ob_client_connect(path, NULL, &client, &err),
			 -ENAMETOOLONG);
}

/* Listening, with nobody who accepts and no room to queue. */
static void nobody_accepts(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	static const struct ob_client_params quick = { .timeout_ms = 100 };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int queued = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ob_client *client;
	struct ob_err err = { 0 };
	char dir[] = "/tmp/obcalls.XXXXXX";

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/sock", dir);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr,
			      sizeof(addr)), 0);
	assert_int_equal(listen(listener, 0), 0);
	assert_int_equal(connect(queued, (struct sockaddr *)&addr,
				 sizeof(addr)), 0);
	assert_int_equal(ob_client_connect(addr.sun_path, &quick, &client,
					   &err), -ETIMEDOUT);
	assert_non_null(strstr(err.msg, "nobody accepts"));
	close(queued);
	close(listener);
	unlink(addr.sun_path);
	rmdir(dir);
}

/* Answers like a memory of bytes whose value is their low address byte. */
static void split_script(struct peer *p)
{
	uint8_t bytes[16 + 4096];

	peer_version(p, CAPS("\"max_data_xfer_size\":4096"));
	while (!peer_take(p)) {
		uint64_t offset = u64_at(p, 0);
		uint32_t count = u32_at(p, 12);

		PEER_EXPECT(p, u32_at(p, 8) == 2 && count <= 4096);
		memcpy(bytes, p->payload, 16);
		for (uint32_t i = 0; i < count; i++) {
			bytes[16 + i] = (uint8_t)(offset + i);
			if (p->hdr.cmd == 10)
				PEER_EXPECT(p, p->payload[16 + i] ==
						       (uint8_t)(offset + i));
		}
		peer_reply(p, bytes, p->hdr.cmd == 9 ? 16 + count : 16);
	}
}

static void long_accesses_are_split(void **state)
{
	static uint8_t bytes[10000];
	struct ob_client *client;

	(void)state;
	peer_start(&peer, split_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_read(client, 2, 5, bytes, sizeof(bytes),
					NULL), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], (uint8_t)(5 + i));
	assert_int_equal(ob_client_write(client, 2, 5, bytes, sizeof(bytes),
					 NULL), 0);
	assert_int_equal(ob_client_read(client, 2, 5, bytes, 0, NULL),
			 -EINVAL);
	assert_int_equal(ob_client_read(client, 2, UINT64_MAX, bytes, 2,
					NULL), -EINVAL);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void post_script(struct peer *p)
{
	uint32_t last_id = 1u << 16;

	peer_version(p, NULL);
	for (uint32_t i = 0; i < 3000; i++) {
		PEER_EXPECT(p, peer_take(p) == 0);
		PEER_EXPECT(p, p->hdr.cmd == 10 && p->hdr.flags == 0x10);
		PEER_EXPECT(p, p->hdr.id != last_id);
		PEER_EXPECT(p, u64_at(p, 0) == i && u32_at(p, 8) == 1);
		PEER_EXPECT(p, u32_at(p, 12) == 4 && p->len == 20);
		PEER_EXPECT(p, u32_at(p, 16) == i * 3);
		last_id = p->hdr.id;
	}
	PEER_EXPECT(p, peer_take(p) == 0 && p->hdr.cmd == 13);
	PEER_EXPECT(p, p->len == 0 && p->hdr.flags == 0);
	peer_reply(p, NULL, 0);
}

static void posted_writes(void **state)
{
	static struct ob_client_reg_write writes[3000];
	struct ob_client *client;

	(void)state;
	for (uint32_t i = 0; i < 3000; i++)
		writes[i] = (struct ob_client_reg_write){
			.offset = i, .region = 1, .len = 4, .value = i * 3,
		};
	peer_start(&peer, post_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_post(client, writes, 3000, NULL), 0);
	assert_int_equal(ob_client_reset(client, NULL), 0);
	writes[1].len = 9;
	assert_int_equal(ob_client_post(client, writes, 2, NULL), -EINVAL);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void multi_script(struct peer *p)
{
	uint64_t done = 2;

	peer_version(p, CAPS("\"write_multiple\":true"));
	peer_take(p);
	PEER_EXPECT(p, p->hdr.cmd == 15 && p->hdr.flags == 0x10);
	PEER_EXPECT(p, p->len == 8 + 2 * 24 && u64_at(p, 0) == 2);
	PEER_EXPECT(p, u64_at(p, 8) == 0x10 && u32_at(p, 16) == 3);
	PEER_EXPECT(p, u32_at(p, 20) == 2);
	PEER_EXPECT(p, p->payload[24] == 0x34 && p->payload[25] == 0x12);
	PEER_EXPECT(p, u32_at(p, 44) == 8 &&
			       u64_at(p, 48) == 0x1122334455667788);
	peer_take(p);
	PEER_EXPECT(p, p->hdr.cmd == 15 && p->hdr.flags == 0);
	peer_reply(p, &done, sizeof(done));
	peer_take(p);
	done = 1;
	peer_reply(p, &done, sizeof(done));
}

static void several_writes_in_one_message(void **state)
{
	const struct ob_client_reg_write writes[] = {
		{ .offset = 0x10, .region = 3, .len = 2, .value = 0x1234 },
		{ .offset = 0x18, .region = 3, .len = 8,
		  .value = 0x1122334455667788 },
	};
	struct ob_client *client;
	uint64_t done = 0;

	(void)state;
	peer_start(&peer, multi_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_write_multi(client, writes, 2, true, NULL,
					       NULL), 0);
	assert_int_equal(ob_client_write_multi(client, writes, 2, false, &done,
					       NULL), 0);
	assert_int_equal(done, 2);
	assert_int_equal(ob_client_write_multi(client, writes, 2, false, &done,
					       NULL), -EIO);
	assert_int_equal(done, 1);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void region_script(struct peer *p)
{
	/* argsz flags index cap_offset, size, offset, then two areas */
	uint64_t sparse[] = {
		72 | 0xfULL << 32, 0 | 32ULL << 32, 0x10000, 0,
		1 | 1ULL << 16, 2, 0x1000, 0x1000, 0x4000, 0x2000,
	};
	uint64_t fixed[] = { 72 | 0x7ULL << 32, 0, 0x10000, 0 };
	int fd = *(int *)p->arg;

	peer_version(p, NULL);
	peer_take(p);
	PEER_EXPECT(p, p->hdr.cmd == 5 && u32_at(p, 0) == 32);
	peer_reply(p, fixed, sizeof(fixed));
	peer_take(p);
	PEER_EXPECT(p, u32_at(p, 0) == 72 && u32_at(p, 8) == 0);
	for (unsigned i = 0; i < 1; i++) {
		uint8_t bytes[16 + sizeof(sparse)];
		struct peer_header hdr = p->hdr;

		hdr.flags = 1;
		hdr.size = 16 + 72 + 8;
		memcpy(bytes, &hdr, 16);
		memcpy(bytes + 16, sparse, sizeof(sparse));
		peer_send_fds(p, bytes, sizeof(bytes), &fd, 1);
	}
	PEER_EXPECT(p, peer_take(p));
}

static void sparse_region(void **state)
{
	const struct ob_client_region *info, *again;
	int fd = memfd_create("bar", MFD_CLOEXEC);
	struct ob_client *client;
	uint8_t *page;

	(void)state;
	assert_int_equal(ftruncate(fd, 0x10000), 0);
	assert_int_equal(pwrite(fd, "hello", 5, 0x5000), 5);
	peer.arg = &fd;
	peer_start(&peer, region_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_region_info(client, 0, &info, NULL), 0);
	assert_true(info->readable && info->writable && info->mappable);
	assert_int_equal(info->size, 0x10000);
	assert_int_equal(info->nr_areas, 2);
	assert_int_equal(info->areas[1].offset, 0x4000);
	/* The second question is answered from memory. */
	assert_int_equal(ob_client_region_info(client, 0, &again, NULL), 0);
	assert_ptr_equal(info, again);

	assert_int_equal(ob_client_region_map(client, 0, 0x5000, 0x1000,
					      PROT_READ, (void **)&page,
					      NULL), 0);
	assert_memory_equal(page, "hello", 5);
	munmap(page, 0x1000);
	assert_int_equal(ob_client_region_map(client, 0, 0x5000, 0x2000,
					      PROT_READ, (void **)&page,
					      NULL), -EINVAL);
	assert_int_equal(ob_client_region_map(client, 0, 0, 0x1000, PROT_READ,
					      (void **)&page, NULL), -EINVAL);
	ob_client_destroy(client);
	peer_end(&peer);
	close(fd);
}

/* Answers a region question with whatever the test wants. */
static void bad_region_script(struct peer *p)
{
	peer_version(p, NULL);
	while (!peer_take(p))
		peer_reply(p, p->arg, 64);
}

static void hostile_region_information(void **state)
{
	/* A chain that points to itself, areas that cannot be, an argsz. */
	uint64_t loop[8] = { 32 | 8ULL << 32, 32ULL << 32, 4096, 0,
			     9 | 32ULL << 32 };
	uint64_t many[8] = { 32 | 8ULL << 32, 32ULL << 32, 4096, 0,
			     1 | 1ULL << 16, 0xffffffff };
	uint64_t outside[8] = { 32 | 8ULL << 32, 32ULL << 32, 4096, 0,
				1 | 1ULL << 16, 1, 0x1000, 0x1000 };
	uint64_t beyond[8] = { 32 | 8ULL << 32, 1000ULL << 32, 4096, 0 };
	uint64_t into[8] = { 32 | 8ULL << 32, 8ULL << 32, 4096, 0 };
	uint64_t argsz[8] = { 0xfffffff0, 0, 4096, 0 };
	uint64_t *cases[] = { loop, many, outside, beyond, into, argsz };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct ob_client_region *info;
		struct ob_client *client;

		peer.arg = cases[i];
		peer_start(&peer, bad_region_script);
		client = peer_attach(&peer, NULL);
		assert_int_equal(ob_client_region_info(client, 3, &info, NULL),
				 -EPROTO);
		assert_int_equal(ob_client_region_info(client, 64, &info,
						       NULL), -EINVAL);
		ob_client_destroy(client);
		peer_end(&peer);
	}
}

static void irq_script(struct peer *p)
{
	/* start, count, fds of each message that is due */
	static const unsigned want[][3] = {
		{ 1, 2, 2 }, { 3, 1, 1 }, { 4, 1, 0 }, { 5, 1, 1 },
	};
	uint64_t one = 1;

	peer_version(p, CAPS("\"max_msg_fds\":2"));
	for (unsigned i = 0; i < 4; i++) {
		peer_take(p);
		PEER_EXPECT(p, p->hdr.cmd == 8 && p->len == 20);
		PEER_EXPECT(p, u32_at(p, 0) == 20 && u32_at(p, 4) == 0x24);
		PEER_EXPECT(p, u32_at(p, 8) == 2);
		PEER_EXPECT(p, u32_at(p, 12) == want[i][0]);
		PEER_EXPECT(p, u32_at(p, 16) == want[i][1]);
		PEER_EXPECT(p, p->nr_fds == want[i][2]);
		for (unsigned f = 0; f < p->nr_fds; f++) {
			if (i == 3)
				PEER_EXPECT(p, write(p->fds[f], &one, 8) == 8);
			close(p->fds[f]);
		}
		peer_reply(p, NULL, 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t flags[] = { 0x9, 0x11, 0x21, 0x21 };

		peer_take(p);
		PEER_EXPECT(p, u32_at(p, 4) == flags[i]);
		PEER_EXPECT(p, u32_at(p, 16) == (i == 3 ? 0 : 1));
		peer_reply(p, NULL, 0);
	}
}

static void interrupts(void **state)
{
	int event = eventfd(0, EFD_NONBLOCK);
	int fds[] = { event, event, event, -1, event };
	struct ob_client *client;
	uint64_t count = 0;

	(void)state;
	peer_start(&peer, irq_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_irq_attach(client, OB_CLIENT_MSIX, 1, fds,
					      5, NULL), 0);
	assert_int_equal(read(event, &count, 8), 8);
	assert_int_equal(count, 1);
	assert_int_equal(ob_client_irq_mask(client, 2, 0, 1, NULL), 0);
	assert_int_equal(ob_client_irq_unmask(client, 2, 0, 1, NULL), 0);
	assert_int_equal(ob_client_irq_trigger(client, 2, 0, 1, NULL), 0);
	assert_int_equal(ob_client_irq_trigger(client, 2, 0, 0, NULL),
			 -EINVAL);
	assert_int_equal(ob_client_irq_disable(client, 2, NULL), 0);
	ob_client_destroy(client);
	peer_end(&peer);
	close(event);
}

static void raw_script(struct peer *p)
{
	int fd = *(int *)p->arg;
	uint8_t bytes[26] = { 0 };
	struct peer_header hdr;

	peer_version(p, NULL);
	peer_take(p);
	PEER_EXPECT(p, p->hdr.cmd == 99 && p->len == 3 && p->nr_fds == 1);
	hdr = p->hdr;
	hdr.flags = 1;
	hdr.size = sizeof(bytes);
	memcpy(bytes, &hdr, sizeof(hdr));
	memcpy(bytes + 16, "0123456789", 10);
	peer_send_fds(p, bytes, sizeof(bytes), &fd, 1);
	close(p->fds[0]);
	peer_take(p);
	PEER_EXPECT(p, p->hdr.flags == 0x10);
	PEER_EXPECT(p, peer_take(p));
}

static void raw_calls(void **state)
{
	int fd = memfd_create("x", 0), got = -1;
	char reply[4];
	struct ob_client_raw call = {
		.command = 99, .request = "abc", .request_len = 3,
		.fds = &fd, .nr_fds = 1, .reply = reply, .reply_size = 4,
		.reply_fds = &got, .reply_fds_max = 1,
	};
	struct ob_client *client;

	(void)state;
	peer.arg = &fd;
	peer_start(&peer, raw_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_raw(client, &call, NULL), 0);
	assert_int_equal(call.reply_len, 10);
	assert_memory_equal(reply, "0123", 4);
	assert_int_equal(call.nr_reply_fds, 1);
	assert_true(got >= 0 && got != fd);
	call.no_reply = true;
	call.nr_fds = 0;
	assert_int_equal(ob_client_raw(client, &call, NULL), 0);
	assert_int_equal(call.nr_reply_fds, 0);
	ob_client_destroy(client);
	peer_end(&peer);
	close(got);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(negotiation),
		cmocka_unit_test(server_without_capabilities),
		cmocka_unit_test(refusals),
		cmocka_unit_test(no_server),
		cmocka_unit_test(nobody_accepts),
		cmocka_unit_test(long_accesses_are_split),
		cmocka_unit_test(posted_writes),
		cmocka_unit_test(several_writes_in_one_message),
		cmocka_unit_test(sparse_region),
		cmocka_unit_test(hostile_region_information),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(raw_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
