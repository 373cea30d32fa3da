// SPDX-License-Identifier: BSD-3-Clause
/*
 * The server reaches guest memory through the client: while a call waits,
 * when the client is idle, and over a twin socket.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer.h"

#define MEM_ADDR 0x100000u
#define MEM_SIZE 0x2000u
#define DMA_READ 11
#define DMA_WRITE 12

static struct peer peer;
static uint8_t memory[MEM_SIZE];

/* A command of the server; its reply lands in p->hdr and p->payload. */
static void ask(struct peer *p, uint16_t cmd, uint64_t addr, uint64_t count,
		const void *data, size_t data_len)
{
	uint8_t bytes[16 + 16 + 4096];
	struct peer_header hdr = {
		.id = 0x4242, .cmd = cmd,
		.size = (uint32_t)(32 + data_len),
	};

	memcpy(bytes, &hdr, 16);
	memcpy(bytes + 16, &addr, 8);
	memcpy(bytes + 24, &count, 8);
	if (data_len)
		memcpy(bytes + 32, data, data_len);
	peer_send(p, bytes, 32 + data_len);
}

static void expect_error(struct peer *p, uint32_t error)
{
	PEER_EXPECT(p, peer_take(p) == 0 && p->hdr.id == 0x4242);
	PEER_EXPECT(p, p->hdr.flags == (1 | 32));
	PEER_EXPECT(p, p->hdr.error == error);
}

static void expect_data(struct peer *p, uint64_t addr, uint64_t count,
			const void *data)
{
	PEER_EXPECT(p, peer_take(p) == 0 && p->hdr.id == 0x4242);
	PEER_EXPECT(p, p->hdr.flags == 1 && p->len >= 16);
	PEER_EXPECT(p, !memcmp(p->payload, &addr, 8));
	PEER_EXPECT(p, !memcmp(p->payload + 8, &count, 8));
	if (data) {
		PEER_EXPECT(p, p->len == 16 + count);
		PEER_EXPECT(p, !memcmp(p->payload + 16, data, count));
	} else {
		PEER_EXPECT(p, p->len == 16);
	}
}

static void use_memory(struct peer *p)
{
	ask(p, DMA_WRITE, MEM_ADDR + 0x10, 5, "hello", 5);
	expect_data(p, MEM_ADDR + 0x10, 5, NULL);
	ask(p, DMA_READ, MEM_ADDR + 0x11, 3, NULL, 0);
	expect_data(p, MEM_ADDR + 0x11, 3, "ell");
	/* Beyond the end, before the start, over the end, wrapping, empty. */
	ask(p, DMA_READ, MEM_ADDR + MEM_SIZE, 1, NULL, 0);
	expect_error(p, EFAULT);
	ask(p, DMA_READ, MEM_ADDR - 1, 1, NULL, 0);
	expect_error(p, EFAULT);
	ask(p, DMA_READ, MEM_ADDR + MEM_SIZE - 4, 8, NULL, 0);
	expect_error(p, EFAULT);
	ask(p, DMA_READ, UINT64_MAX - 3, 8, NULL, 0);
	expect_error(p, EINVAL);
	ask(p, DMA_READ, MEM_ADDR, 0, NULL, 0);
	expect_error(p, EINVAL);
	/* More than we announced; a write whose data is missing. */
	ask(p, DMA_READ, MEM_ADDR, 1ULL << 40, NULL, 0);
	expect_error(p, EINVAL);
	ask(p, DMA_WRITE, MEM_ADDR, 6, "hello", 5);
	expect_error(p, EINVAL);
	/* Not a command for a client. */
	ask(p, 9, 0, 0, NULL, 0);
	expect_error(p, ENOSYS);
}

static void during_call_script(struct peer *p)
{
	struct peer_header reset;

	peer_version(p, NULL);
	peer_take(p);
	PEER_EXPECT(p, p->hdr.cmd == 2 && p->len == 32 && p->nr_fds == 0);
	peer_reply(p, NULL, 0);
	peer_take(p);
	reset = p->hdr;
	PEER_EXPECT(p, reset.cmd == 13);
	use_memory(p);
	p->hdr = reset;
	peer_reply(p, NULL, 0);
	peer_take(p);
	PEER_EXPECT(p, p->hdr.cmd == 3);
	peer_reply(p, p->payload, 24);
	/* Unmapped: gone. */
	peer_take(p);
	reset = p->hdr;
	ask(p, DMA_READ, MEM_ADDR, 1, NULL, 0);
	expect_error(p, EFAULT);
	p->hdr = reset;
	peer_reply(p, NULL, 0);
}

static const struct ob_client_dma map = {
	.addr = MEM_ADDR, .size = MEM_SIZE, .readable = true,
	.writable = true, .fd = -1, .memory = memory,
};

static void serves_while_it_waits(void **state)
{
	struct ob_client *client;

	(void)state;
	peer_start(&peer, during_call_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_dma_map(client, &map, NULL), 0);
	assert_int_equal(ob_client_reset(client, NULL), 0);
	assert_memory_equal(memory + 0x10, "hello", 5);
	assert_int_equal(ob_client_dma_unmap(client, MEM_ADDR, MEM_SIZE,
					     NULL), 0);
	assert_int_equal(ob_client_reset(client, NULL), 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void rights_script(struct peer *p)
{
	peer_version(p, NULL);
	for (unsigned i = 0; i < 3; i++) {
		peer_take(p);
		peer_reply(p, NULL, 0);
	}
	ask(p, DMA_WRITE, 0x1000, 1, "x", 1);
	expect_error(p, EACCES);
	ask(p, DMA_READ, 0x1000, 1, NULL, 0);
	expect_data(p, 0x1000, 1, memory);
	ask(p, DMA_READ, 0x8000, 1, NULL, 0);
	expect_error(p, EACCES);
	ask(p, DMA_WRITE, 0x8fff, 1, "y", 1);
	expect_data(p, 0x8fff, 1, NULL);
	ask(p, DMA_READ, 0x4000, 1, NULL, 0);
	expect_data(p, 0x4000, 1, memory);
}

static void serves_when_idle_and_keeps_rights(void **state)
{
	struct ob_client_dma maps[] = {
		{ .addr = 0x1000, .size = 0x1000, .readable = true },
		{ .addr = 0x8000, .size = 0x1000, .writable = true },
		{ .addr = 0x4000, .size = 0x1000, .readable = true },
	};
	struct ob_client *client;
	int r;

	(void)state;
	peer_start(&peer, rights_script);
	client = peer_attach(&peer, NULL);
	for (unsigned i = 0; i < 3; i++) {
		maps[i].fd = -1;
		maps[i].memory = memory;
		assert_int_equal(ob_client_dma_map(client, &maps[i], NULL), 0);
	}
	/* Some may be served already while the last map is awaited. */
	while ((r = ob_client_poll(client, OB_CLIENT_FOREVER, NULL)) > 0)
		;
	assert_int_equal(r, -ECONNRESET);
	assert_int_equal(memory[0xfff], 'y');
	ob_client_destroy(client);
	peer_end(&peer);
}

static int read_pattern(void *arg, uint64_t addr, void *buf, size_t len)
{
	++*(unsigned *)arg;
	if (addr == 0xbad000)
		return -ENODEV;
	memset(buf, (int)(addr >> 12), len);
	return 0;
}

static void callback_script(struct peer *p)
{
	uint8_t expected[4096];

	memset(expected, 0x77, sizeof(expected));
	peer_version(p, NULL);
	ask(p, DMA_READ, 0x77000, sizeof(expected), NULL, 0);
	expect_data(p, 0x77000, sizeof(expected), expected);
	ask(p, DMA_READ, 0xbad000, 4, NULL, 0);
	expect_error(p, ENODEV);
	ask(p, DMA_WRITE, 0x77000, 4, "abcd", 4);
	expect_error(p, EFAULT);
}

static void callbacks_serve_the_rest(void **state)
{
	static const struct ob_client_dma_ops ops = { .read = read_pattern };
	unsigned calls = 0;
	struct ob_client_params params = {
		.dma_ops = &ops, .dma_arg = &calls,
	};
	struct ob_client *client;

	(void)state;
	peer_start(&peer, callback_script);
	client = peer_attach(&peer, &params);
	while (ob_client_poll(client, 5000, NULL) > 0)
		;
	assert_int_equal(calls, 2);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void quiet_script(struct peer *p)
{
	peer_version(p, NULL);
	peer_take(p);
}

static void polling_an_idle_server(void **state)
{
	struct ob_client *client;

	(void)state;
	peer_start(&peer, quiet_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_poll(client, 0, NULL), 0);
	assert_int_equal(ob_client_poll(client, 20, NULL), 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

/* Agrees on it, and answers a map; returns our end. */
static int twin_begin(struct peer *p)
{
	static const char json[] = "\0\0\1\0{\"capabilities\":{\"twin_socket\":"
				   "{\"supported\":true,\"fd_index\":0}}}";
	uint8_t bytes[16 + sizeof(json)];
	struct peer_header hdr;
	int pair[2];

	PEER_EXPECT(p, !socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	peer_take(p);
	PEER_EXPECT(p, strstr((char *)p->payload + 4, "twin_socket"));
	hdr = p->hdr;
	hdr.flags = 1;
	hdr.size = sizeof(bytes);
	memcpy(bytes, &hdr, 16);
	memcpy(bytes + 16, json, sizeof(json));
	peer_send_fds(p, bytes, sizeof(bytes), &pair[1], 1);
	close(pair[1]);
	peer_take(p);
	peer_reply(p, NULL, 0);
	return pair[0];
}

static void twin_script(struct peer *p)
{
	int twin = twin_begin(p), main_fd = p->fd;
	struct peer_header reset;

	peer_take(p);
	reset = p->hdr;
	p->fd = twin;
	use_memory(p);
	p->fd = main_fd;
	p->hdr = reset;
	peer_reply(p, NULL, 0);
	PEER_EXPECT(p, peer_take(p));
	close(twin);
}

/* Two writes leave, then the answer, before any of them is served. */
static void twin_still_script(struct peer *p)
{
	int twin = twin_begin(p), main_fd = p->fd;
	struct peer_header set;

	peer_take(p);
	set = p->hdr;
	p->fd = twin;
	ask(p, DMA_WRITE, MEM_ADDR, 4, "last", 4);
	ask(p, DMA_WRITE, MEM_ADDR + 4, 5, "words", 5);
	p->fd = main_fd;
	p->hdr = set;
	peer_reply(p, NULL, 0);
	p->fd = twin;
	expect_data(p, MEM_ADDR, 4, NULL);
	expect_data(p, MEM_ADDR + 4, 5, NULL);
	p->fd = main_fd;
	PEER_EXPECT(p, peer_take(p));
	close(twin);
}

/* What a device wrote before it stood still is there when the call returns. */
static void twin_socket_at_a_standstill(void **state)
{
	static const struct ob_client_params params = { .twin_socket = true };
	struct ob_client *client;

	(void)state;
	memset(memory, 0, 16);
	peer_start(&peer, twin_still_script);
	client = peer_attach(&peer, &params);
	assert_int_equal(ob_client_dma_map(client, &map, NULL), 0);
	assert_int_equal(ob_client_mig_set(client, OB_CLIENT_STOP, NULL), 0);
	assert_memory_equal(memory, "lastwords", 9);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void twin_socket(void **state)
{
	static const struct ob_client_params params = { .twin_socket = true };
	struct ob_client *client;

	(void)state;
	peer_start(&peer, twin_script);
	client = peer_attach(&peer, &params);
	assert_true(ob_client_version(client)->twin_socket);
	assert_true(ob_client_twin_fd(client) >= 0);
	assert_int_equal(ob_client_dma_map(client, &map, NULL), 0);
	assert_int_equal(ob_client_reset(client, NULL), 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

/* A failed map leaves nothing behind that could be served. */
static void refused_map_script(struct peer *p)
{
	struct peer_header reset;

	peer_version(p, NULL);
	peer_take(p);
	peer_error(p, EEXIST);
	peer_take(p);
	reset = p->hdr;
	ask(p, DMA_READ, MEM_ADDR, 1, NULL, 0);
	expect_error(p, EFAULT);
	p->hdr = reset;
	peer_reply(p, NULL, 0);
}

static void refused_maps(void **state)
{
	struct ob_client_dma wraps = map, empty = map;
	struct ob_client *client;

	(void)state;
	wraps.addr = UINT64_MAX - 0xfff;
	empty.size = 0;
	peer_start(&peer, refused_map_script);
	client = peer_attach(&peer, NULL);
	assert_int_equal(ob_client_dma_map(client, &wraps, NULL), -EINVAL);
	assert_int_equal(ob_client_dma_map(client, &empty, NULL), -EINVAL);
	assert_int_equal(ob_client_dma_map(client, &map, NULL), -EEXIST);
	assert_int_equal(ob_client_reset(client, NULL), 0);
	ob_client_destroy(client);
	peer_end(&peer);
}

static void chatty_script(struct peer *p)
{
	peer_version(p, NULL);
	peer_take(p);
	do
		ask(p, DMA_READ, MEM_ADDR, 1, NULL, 0);
	while (!peer_take(p) && p->hdr.cmd == DMA_READ);
	p->failure = NULL;	/* its last question may find the client gone */
}

/* A server that asks and never answers does not keep a call for ever. */
static void asked_for_ever(void **state)
{
	static const struct ob_client_params params = { .timeout_ms = 200 };
	struct ob_client *client;

	(void)state;
	peer_start(&peer, chatty_script);
	client = peer_attach(&peer, &params);
	assert_int_equal(ob_client_reset(client, NULL), -ETIMEDOUT);
	ob_client_destroy(client);
	peer_end(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves_while_it_waits),
		cmocka_unit_test(serves_when_idle_and_keeps_rights),
		cmocka_unit_test(callbacks_serve_the_rest),
		cmocka_unit_test(polling_an_idle_server),
		cmocka_unit_test(twin_socket),
		cmocka_unit_test(twin_socket_at_a_standstill),
		cmocka_unit_test(refused_maps),
		cmocka_unit_test(asked_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
