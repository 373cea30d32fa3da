// SPDX-License-Identifier: BSD-3-Clause
/*
 * The example of docs/embedding.md between two real servers: the device
 * writes into guest memory while pages are copied, and the page arrives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/models.h"
#include "forked.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#include "embedding_example.c"

#define ADDR 0x100000u
#define SIZE 0x40000u
#define PAGE 4096u

enum { REG_LIVENESS = 0x04, REG_DMA_SRC = 0x80, REG_DMA_DST = 0x88,
       REG_DMA_COUNT = 0x90, REG_DMA_CMD = 0x98, BUFFER = 0x40000 };

static struct forked servers[2];
static struct ob_client *clients[2];
static struct vm vm;
static unsigned device_writes;
static bool paused, moved;

static void set(unsigned side, uint64_t reg, uint64_t value, size_t len)
{
	assert_int_equal(ob_client_write(clients[side], 0, reg, &value, len,
					 NULL), 0);
}

/* The device writes to guest memory, as a guest's driver asked it to. */
static void device_write(unsigned side, unsigned page)
{
	uint32_t cmd = 1;

	set(side, REG_DMA_SRC, BUFFER, 8);
	set(side, REG_DMA_DST, ADDR + page * PAGE, 8);
	set(side, REG_DMA_COUNT, 16, 8);
	set(side, REG_DMA_CMD, 1 | 2, 4);
	while (cmd & 1)
		assert_int_equal(ob_client_read(clients[side], 0, REG_DMA_CMD,
						&cmd, 4, NULL), 0);
}

/* Called behind every round and at the end; the guest is still active once. */
static void dirty(struct vm *v, uint64_t *bitmap)
{
	v->memory_here[5 * PAGE] = 0x55;
	bitmap[0] |= 1 << 5;
}

static void pause_guest(struct vm *v)
{
	(void)v;
	device_write(0, 9);
	device_writes++;
	paused = true;
}

static void resume_guest(struct vm *v, bool there)
{
	(void)v;
	assert_true(paused);
	moved = there;
}

static uint8_t *memory(unsigned side, int *fd)
{
	uint8_t *at;

	*fd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(ftruncate(*fd, SIZE), 0);
	at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_true(at != MAP_FAILED);
	assert_int_equal(ob_client_dma_map(clients[side],
		&(struct ob_client_dma){ .addr = ADDR, .size = SIZE,
					 .readable = true, .writable = true,
					 .fd = *fd }, NULL), 0);
	return at;
}

static int start(void **state)
{
	int fd;

	(void)state;
	forked_start(&servers[0], &ob_edu_class, "edu");
	forked_start(&servers[1], &ob_edu_class, "edu");
	for (unsigned i = 0; i < 2; i++)
		clients[i] = forked_connect(&servers[i], NULL);
	vm = (struct vm){
		.ram = { ADDR, SIZE }, .pause = pause_guest,
		.resume = resume_guest, .get_dirty = dirty,
	};
	vm.memory_here = memory(0, &fd);
	close(fd);
	vm.memory_there = memory(1, &fd);
	close(fd);
	paused = moved = false;
	device_writes = 0;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	munmap(vm.memory_here, SIZE);
	munmap(vm.memory_there, SIZE);
	for (unsigned i = 0; i < 2; i++) {
		ob_client_destroy(clients[i]);
		forked_stop(&servers[i]);
	}
	return 0;
}

static void bus_master(unsigned side)
{
	uint16_t command = 6;

	assert_int_equal(ob_client_write(clients[side], OB_CLIENT_CONFIG, 4,
					 &command, 2, NULL), 0);
}

static void the_example_moves_a_device(void **state)
{
	uint8_t words[16] = "buffer of edu";
	struct ob_err err = { 0 };
	uint32_t live;

	(void)state;
	bus_master(0);
	memset(vm.memory_here, 0x11, SIZE);
	memcpy(vm.memory_here + 3 * PAGE, words, sizeof(words));
	set(0, REG_LIVENESS, 0x12345678, 4);
	/* Its buffer has what will be written. */
	set(0, REG_DMA_SRC, ADDR + 3 * PAGE, 8);
	set(0, REG_DMA_DST, BUFFER, 8);
	set(0, REG_DMA_COUNT, 16, 8);
	set(0, REG_DMA_CMD, 1, 4);

	if (move_vm(&vm, clients[0], clients[1], &err))
		fail_msg("%s", err.msg);
	assert_true(moved);
	assert_int_equal(device_writes, 1);
	assert_memory_equal(vm.memory_there + 9 * PAGE, words, sizeof(words));
	assert_memory_equal(vm.memory_there, vm.memory_here, SIZE);
	assert_int_equal(ob_client_read(clients[1], 0, REG_LIVENESS, &live, 4,
					NULL), 0);
	assert_int_equal(live, ~0x12345678u);
	/* Its buffer has come along. */
	device_write(1, 20);
	assert_memory_equal(vm.memory_there + 20 * PAGE, words,
			    sizeof(words));
}

/* The other side is another model: the guest goes on here. */
static void the_example_stays(void **state)
{
	struct ob_err err = { 0 };
	uint32_t live = 0;

	(void)state;
	ob_client_destroy(clients[1]);
	forked_stop(&servers[1]);
	forked_start(&servers[1], &ob_null_class, "null");
	clients[1] = forked_connect(&servers[1], NULL);
	bus_master(0);
	set(0, REG_LIVENESS, 1, 4);
	assert_true(move_vm(&vm, clients[0], clients[1], &err) < 0);
	assert_non_null(strstr(err.msg, "destination"));
	assert_false(moved);
	assert_int_equal(ob_client_read(clients[0], 0, REG_LIVENESS, &live, 4,
					NULL), 0);
	assert_int_equal(live, ~1u);
	device_write(0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_example_moves_a_device,
						start, stop),
		cmocka_unit_test_setup_teardown(the_example_stays, start,
						stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
