// SPDX-License-Identifier: BSD-3-Clause
/* The library against a real server: the teaching device, driven fully. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "devices/models.h"
#include "forked.h"

#define ADDR 0x100000u
#define SIZE 0x2000u

enum {
	REG_ID = 0x00, REG_LIVENESS = 0x04, REG_FACTORIAL = 0x08,
	REG_STATUS = 0x20, REG_IRQ_STATUS = 0x24, REG_IRQ_RAISE = 0x60,
	REG_IRQ_ACK = 0x64, REG_DMA_SRC = 0x80, REG_DMA_DST = 0x88,
	REG_DMA_COUNT = 0x90, REG_DMA_CMD = 0x98, BUFFER = 0x40000,
};

static struct forked server;

static int start(void **state)
{
	(void)state;
	forked_start(&server, &ob_edu_class, "edu");
	return 0;
}

static int stop(void **state)
{
	(void)state;
	forked_stop(&server);
	return 0;
}

static uint32_t get(struct ob_client *client, uint64_t reg)
{
	uint32_t value = 0;

	assert_int_equal(ob_client_read(client, 0, reg, &value, 4, NULL), 0);
	return value;
}

static void set(struct ob_client *client, uint64_t reg, uint64_t value,
		size_t len)
{
	assert_int_equal(ob_client_write(client, 0, reg, &value, len, NULL),
			 0);
}

static void config_write(struct ob_client *client, uint64_t at, uint16_t v)
{
	assert_int_equal(ob_client_write(client, OB_CLIENT_CONFIG, at, &v, 2,
					 NULL), 0);
}

static void what_it_is(void **state)
{
	struct ob_client *client = forked_connect(&server, NULL);
	const struct ob_client_region *region;
	struct ob_client_device info;
	struct ob_client_irq irq;
	uint16_t ids[2];

	(void)state;
	assert_int_equal(ob_client_device_info(client, &info, NULL), 0);
	assert_true(info.pci && info.resettable);
	assert_in_range(info.nr_regions, 8, 64);
	assert_int_equal(ob_client_region_info(client, 0, &region, NULL), 0);
	assert_int_equal(region->size, 1 << 20);
	assert_true(region->readable && region->writable);
	assert_int_equal(ob_client_region_info(client, 3, &region, NULL), 0);
	assert_int_equal(region->size, 0);
	assert_int_equal(ob_client_irq_info(client, OB_CLIENT_INTX, &irq,
					    NULL), 0);
	assert_int_equal(irq.count, 1);
	assert_true(irq.eventfd && irq.maskable && irq.automasked);
	assert_int_equal(ob_client_read(client, OB_CLIENT_CONFIG, 0, ids,
					sizeof(ids), NULL), 0);
	assert_int_equal(ids[0], 0x1234);
	assert_int_equal(ids[1], 0x11e8);
	ob_client_destroy(client);
}

static void registers(void **state)
{
	const struct ob_client_reg_write writes[] = {
		{ .offset = REG_LIVENESS, .len = 4, .value = 1 },
		{ .offset = REG_LIVENESS, .len = 4, .value = 0x55aa1234 },
	};
	struct ob_client *client = forked_connect(&server, NULL);

	(void)state;
	assert_int_equal(get(client, REG_ID), 0x010000ed);
	set(client, REG_LIVENESS, 0xff00ff00, 4);
	assert_int_equal(get(client, REG_LIVENESS), 0x00ff00ff);
	assert_int_equal(ob_client_post(client, writes, 2, NULL), 0);
	assert_int_equal(get(client, REG_LIVENESS), ~0x55aa1234u);
	set(client, REG_LIVENESS, 0, 4);
	assert_int_equal(ob_client_write_multi(client, writes, 2, true, NULL,
					       NULL), 0);
	assert_int_equal(get(client, REG_LIVENESS), ~0x55aa1234u);
	set(client, REG_FACTORIAL, 10, 4);
	while (get(client, REG_STATUS) & 1)
		;
	assert_int_equal(get(client, REG_FACTORIAL), 3628800);
	/* Beyond the region's end. */
	assert_int_equal(ob_client_read(client, 0, 1 << 20, &(uint32_t){ 0 },
					4, NULL), -EINVAL);
	assert_int_equal(get(client, REG_ID), 0x010000ed);
	ob_client_destroy(client);
}

static void reset(void **state)
{
	struct ob_client *client = forked_connect(&server, NULL);

	(void)state;
	set(client, REG_IRQ_RAISE, 0x10, 4);
	assert_int_equal(get(client, REG_IRQ_STATUS), 0x10);
	assert_int_equal(ob_client_reset(client, NULL), 0);
	assert_int_equal(get(client, REG_IRQ_STATUS), 0);
	ob_client_destroy(client);
}

static bool signalled(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t count;

	return poll(&p, 1, timeout_ms) == 1 && read(fd, &count, 8) == 8;
}

static void interrupts(void **state)
{
	struct ob_client *client = forked_connect(&server, NULL);
	int event = eventfd(0, EFD_NONBLOCK);

	(void)state;
	assert_int_equal(ob_client_reset(client, NULL), 0);
	assert_int_equal(ob_client_irq_attach(client, OB_CLIENT_INTX, 0,
					      &event, 1, NULL), 0);
	set(client, REG_IRQ_RAISE, 1, 4);
	assert_true(signalled(event, 5000));
	/* Masked by firing; still asserted, so the unmask fires again. */
	assert_int_equal(ob_client_irq_unmask(client, OB_CLIENT_INTX, 0, 1,
					      NULL), 0);
	assert_true(signalled(event, 5000));
	set(client, REG_IRQ_ACK, 1, 4);
	assert_int_equal(ob_client_irq_unmask(client, OB_CLIENT_INTX, 0, 1,
					      NULL), 0);
	assert_false(signalled(event, 20));
	assert_int_equal(ob_client_irq_trigger(client, OB_CLIENT_INTX, 0, 1,
					       NULL), 0);
	assert_true(signalled(event, 5000));
	assert_int_equal(ob_client_irq_disable(client, OB_CLIENT_INTX, NULL),
			 0);
	set(client, REG_IRQ_RAISE, 1, 4);
	assert_int_equal(get(client, REG_IRQ_STATUS), 1);
	assert_false(signalled(event, 20));
	ob_client_destroy(client);
	close(event);
}

/* Guest memory to the device's buffer and back to another place. */
static void round_trip(struct ob_client *client, const uint8_t *memory)
{
	config_write(client, 4, 0x0006);
	set(client, REG_DMA_SRC, ADDR, 8);
	set(client, REG_DMA_DST, BUFFER + 8, 8);
	set(client, REG_DMA_COUNT, 100, 8);
	set(client, REG_DMA_CMD, 1, 8);
	for (unsigned i = 0; i < 5000 && get(client, REG_DMA_CMD) & 1; i++)
		ob_client_poll(client, 1, NULL);
	set(client, REG_DMA_SRC, BUFFER + 8, 8);
	set(client, REG_DMA_DST, ADDR + 0x1100, 8);
	set(client, REG_DMA_CMD, 3, 8);
	for (unsigned i = 0; i < 5000 && get(client, REG_DMA_CMD) & 1; i++)
		ob_client_poll(client, 1, NULL);
	assert_int_equal(get(client, REG_DMA_CMD) & 1, 0);
	assert_memory_equal(memory, memory + 0x1100, 100);
}

static void fill(uint8_t *memory)
{
	memset(memory, 0, SIZE);
	for (unsigned i = 0; i < 100; i++)
		memory[i] = (uint8_t)(i * 7 + 1);
}

static void memory_by_fd(void **state)
{
	struct ob_client *client = forked_connect(&server, NULL);
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct ob_client_dma map = {
		.addr = ADDR, .size = SIZE, .readable = true,
		.writable = true, .fd = fd, .offset = 0x1000,
	};
	uint8_t *memory;

	(void)state;
	assert_int_equal(ftruncate(fd, 0x1000 + SIZE), 0);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		      0x1000);
	assert_true(memory != MAP_FAILED);
	fill(memory);
	assert_int_equal(ob_client_dma_map(client, &map, NULL), 0);
	round_trip(client, memory);
	assert_int_equal(ob_client_dma_unmap(client, ADDR, SIZE, NULL), 0);
	assert_true(ob_client_dma_unmap(client, ADDR, SIZE, NULL) < 0);
	ob_client_destroy(client);
	munmap(memory, SIZE);
	close(fd);
}

static void memory_by_messages(void **state)
{
	static const struct ob_client_params with_twin = {
		.twin_socket = true,
	};
	const struct ob_client_params *params[] = { NULL, &with_twin };
	static uint8_t memory[SIZE];
	struct ob_client_dma map = {
		.addr = ADDR, .size = SIZE, .readable = true,
		.writable = true, .fd = -1, .memory = memory,
	};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct ob_client *client = forked_connect(&server, params[i]);

		fill(memory);
		assert_int_equal(ob_client_dma_map(client, &map, NULL), 0);
		round_trip(client, memory);
		assert_int_equal(ob_client_dma_unmap_all(client, NULL), 0);
		ob_client_destroy(client);
	}
}

static void one_client_at_a_time(void **state)
{
	struct ob_client *first = forked_connect(&server, NULL);
	struct ob_client *second = NULL;
	struct ob_err err = { 0 };

	(void)state;
	set(first, REG_LIVENESS, 0x1234, 4);
	assert_int_not_equal(ob_client_connect(server.path, NULL, &second,
					       &err), 0);
	assert_non_null(strstr(err.msg, "another client"));
	/* The first does not notice. */
	assert_int_equal(get(first, REG_LIVENESS), ~0x1234u);
	ob_client_destroy(first);
	second = forked_connect(&server, NULL);
	assert_int_equal(get(second, REG_LIVENESS), ~0x1234u);
	ob_client_destroy(second);
}

static void server_dies(void **state)
{
	struct ob_client *client = forked_connect(&server, NULL);
	uint32_t value;

	(void)state;
	forked_stop(&server);
	assert_int_equal(ob_client_read(client, 0, 0, &value, 4, NULL),
			 -ECONNRESET);
	assert_int_equal(ob_client_read(client, 0, 0, &value, 4, NULL),
			 -ENOTCONN);
	ob_client_destroy(client);
	forked_start(&server, &ob_edu_class, "edu");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_is),
		cmocka_unit_test(registers),
		cmocka_unit_test(reset),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(memory_by_fd),
		cmocka_unit_test(memory_by_messages),
		cmocka_unit_test(one_client_at_a_time),
		cmocka_unit_test(server_dies),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
