// SPDX-License-Identifier: BSD-3-Clause
/*
 * R28 on the real server and drives: the guest hops between two served disks,
 * with writes in flight, by the messages that a VMM sends.
 */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKS	64u		/* of 4 KiB */
#define PIECE	(1u << 19)
#define ROOM	(32u << 20)

enum { FEATURE = 16, MIG_READ, MIG_WRITE };
enum { STATE_STOP = 1, STATE_RUNNING, STATE_STOP_COPY, STATE_RESUMING };

struct pair {
	struct guest *here, *there;
	uint8_t *stream;
	size_t len;
	uint64_t data;
	uint32_t content[BLOCKS];
	uint32_t seed;
};

static void set_state(struct guest *g, uint32_t state)
{
	uint32_t body[4] = { sizeof(body), 1u << 17 | 2, state, UINT32_MAX };
	uint32_t ask[2] = { 264, 1u << 16 | 0xfb01 };
	char why[264] = "";

	if (!guest_call(g, FEATURE, body, sizeof(body), NULL, 0, NULL, 0))
		return;
	guest_call(g, FEATURE, ask, sizeof(ask), NULL, 0, why, sizeof(why));
	fail_msg("state %u: %s", state, why + 8);
}

static void read_stream(struct pair *p)
{
	uint8_t *reply = malloc(8 + PIECE);
	uint32_t ask[2] = { 8 + PIECE, PIECE }, got;

	assert_non_null(reply);
	p->len = 0;
	do {
		assert_int_equal(guest_call(p->here, MIG_READ, ask,
					    sizeof(ask), NULL, 0, reply,
					    8 + PIECE), 0);
		memcpy(&got, reply + 4, sizeof(got));
		assert_true(p->len + got <= ROOM);
		memcpy(p->stream + p->len, reply + 8, got);
		p->len += got;
	} while (got == PIECE);
	free(reply);
}

static void write_stream(struct pair *p)
{
	uint8_t *body = malloc(8 + PIECE);
	size_t at = 0;

	assert_non_null(body);
	while (at < p->len) {
		uint32_t len = p->len - at < PIECE ? p->len - at : PIECE;
		uint32_t head[2] = { 8 + len, len };

		memcpy(body, head, sizeof(head));
		memcpy(body + 8, p->stream + at, len);
		assert_int_equal(guest_call(p->there, MIG_WRITE, body, 8 + len,
					    NULL, 0, NULL, 0), 0);
		at += len;
	}
	free(body);
}

/* The guest's own memory goes with it: one memfd, its driver's cursors. */
static void hop(struct pair *p)
{
	struct guest *from = p->here, *to = p->there;

	set_state(from, STATE_STOP_COPY);
	read_stream(p);
	set_state(from, STATE_STOP);
	set_state(to, STATE_RESUMING);
	write_stream(p);
	set_state(to, STATE_STOP);
	set_state(to, STATE_RUNNING);
	to->admin = from->admin;
	memcpy(to->io, from->io, sizeof(to->io));
	to->next = from->next;
	to->shadow = from->shadow;
	to->index = from->index;
	p->here = to;
	p->there = from;
}

static void call_off(struct pair *p)
{
	set_state(p->here, STATE_STOP_COPY);
	if (rand() % 2)
		read_stream(p);
	set_state(p->here, STATE_RUNNING);
}

static void some_turns(struct guest *g)
{
	for (int i = rand() % 8; i; i--)
		guest_turn(g);
}

static unsigned write_some(struct pair *p)
{
	unsigned count = 1 + rand() % 40, first = rand() % 24;
	struct guest *g = p->here;

	for (unsigned i = 0; i < count; i++) {
		uint64_t addr = p->data + 4096 * i;
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_WRITE,
					       8 * (first + i), 8, addr);

		p->content[first + i] = ++p->seed;
		fill(guest_ptr(g, addr), 4096, p->seed);
		guest_put(g, &g->io[1], &sqe);
	}
	guest_ring(g, &g->io[1]);
	return count;
}

static void check_content(struct pair *p)
{
	struct guest *g = p->here;

	for (unsigned i = 0; i < BLOCKS; i++) {
		struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 8 * i, 8,
					       p->data);

		if (!p->content[i])
			continue;
		assert_int_equal(guest_io(g, sqe), 0);
		assert_true(is_filled(guest_ptr(g, p->data), 4096,
				      p->content[i]));
	}
}

static void one_round(struct pair *p)
{
	unsigned count = write_some(p);

	some_turns(p->here);
	if (rand() % 3 == 0) {
		call_off(p);
		some_turns(p->here);
	}
	hop(p);
	while (count--)
		assert_int_equal(guest_wait(p->here,
					    &p->here->io[1]).status >> 1, 0);
	check_content(p);
}

static void prepare(struct pair *p, bool shadow)
{
	struct guest *g = p->here;

	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 64), 0);
	if (shadow)
		guest_shadow(g);
	p->data = guest_alloc(g, BLOCKS * 4096);
	p->stream = malloc(ROOM);
	assert_non_null(p->stream);
}

static void check_hops(const char *a, const char *b, enum guest_memory memory,
		       bool shadow)
{
	struct guest *first = guest_start_as(a, memory);
	struct guest *second = guest_start_as(b, memory);
	struct pair p = { .here = first, .there = second };
	uint8_t *mem = second->mem;
	int memfd = second->memfd;

	second->memfd = first->memfd;
	second->mem = first->mem;
	guest_unmap_all(second);
	guest_map(second, GUEST_BASE, GUEST_SIZE, 0,
		  memory == GUEST_FILE_IO ? 3 | 8 : 3);
	prepare(&p, shadow);
	for (unsigned i = 0; i < 30; i++)
		one_round(&p);
	second->memfd = memfd;
	second->mem = mem;
	guest_end(second);
	guest_end(first);
	free(p.stream);
}

static void test_r28_hops_with_memory_drives(void **state)
{
	(void)state;
	check_hops("drive=mem:1M", "drive=mem:1M,incoming=on", GUEST_MAPPED,
		   false);
	check_hops("drive=delay:300:mem:1M,drain=0",
		   "drive=delay:300:mem:1M,drain=1,incoming=on", GUEST_MAPPED,
		   true);
	check_hops("drive=delay:300:mem:1M,drain=0",
		   "drive=mem:1M,drain=1,incoming=on", GUEST_FILE_IO, false);
}

static void test_r28_hops_with_memory_by_messages(void **state)
{
	(void)state;
	check_hops("drive=mem:1M,drain=0", "drive=mem:1M,drain=2,incoming=on",
		   GUEST_MESSAGES, false);
	check_hops("drive=delay:300:mem:1M,drain=0",
		   "drive=delay:100:mem:1M,drain=2,incoming=on",
		   GUEST_MESSAGES, false);
}

static void test_r28_hops_with_mapped_doorbells(void **state)
{
	(void)state;
	check_hops("drive=delay:300:mem:1M,doorbells=mapped,drain=0",
		   "drive=mem:1M,doorbells=mapped,incoming=on", GUEST_MAPPED,
		   false);
}

/* One image, whose lock goes to and fro. */
static void test_r28_hops_with_an_image(void **state)
{
	char path[] = "/tmp/ob-nvme-wire-XXXXXX", a[96], b[96];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	close(fd);
	snprintf(a, sizeof(a), "drive=delay:200:file:%s,drain=0", path);
	snprintf(b, sizeof(b), "drive=file:%s,drain=2,incoming=on", path);
	check_hops(a, b, GUEST_MAPPED, true);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r28_hops_with_memory_drives),
		cmocka_unit_test(test_r28_hops_with_memory_by_messages),
		cmocka_unit_test(test_r28_hops_with_mapped_doorbells),
		cmocka_unit_test(test_r28_hops_with_an_image),
	};
	const char *seed = getenv("OB_TEST_SEED");

	srand(seed ? strtoul(seed, NULL, 0) : 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
