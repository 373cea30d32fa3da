// SPDX-License-Identifier: BSD-3-Clause
/*
 * Exercises the teaching device from inside the guest, the way a driver
 * would: registers through the mapped BAR, DMA to a page of its own, and
 * interrupts through the kernel's generic user-space driver.
 *
 *	edu /sys/bus/pci/devices/0000:00:05.0 [/dev/uio0]
 *
 * Prints a line for each thing that works; ends at the first that does not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	ID = 0x00, LIVENESS = 0x04, FACTORIAL = 0x08, STATUS = 0x20,
	IRQ_STATUS = 0x24, IRQ_RAISE = 0x60, IRQ_ACK = 0x64,
	DMA_SRC = 0x80, DMA_DST = 0x88, DMA_COUNT = 0x90, DMA_CMD = 0x98,
	DMA_BUFFER = 0x40000, BAR_SIZE = 0x100000,
};

static volatile uint8_t *bar;

static void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("edu: FAILED: ");
	vprintf(fmt, ap);
	printf("\n");
	exit(1);
}

static uint32_t get(unsigned reg)
{
	return *(volatile uint32_t *)(bar + reg);
}

static void put(unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)(bar + reg) = value;
}

static void put64(unsigned reg, uint64_t value)
{
	*(volatile uint64_t *)(bar + reg) = value;
}

/* Polls until the bit is clear; the computation runs beside the guest. */
static void wait_clear(unsigned reg, uint32_t bit)
{
	for (int i = 0; i < 5000; i++) {
		if (!(get(reg) & bit))
			return;
		usleep(1000);
	}
	fail("register %#x keeps bit %#x", reg, bit);
}

static void map_bar(const char *device)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/resource0", device);
	fd = open(path, O_RDWR | O_SYNC | O_CLOEXEC);
	if (fd < 0)
		fail("cannot open %s", path);
	bar = mmap(NULL, BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		fail("cannot map the BAR");
}

/* COMMAND: memory and bus master on, INTx not disabled. */
static void enable(const char *device)
{
	char path[PATH_MAX];
	uint16_t command;
	int fd;

	snprintf(path, sizeof(path), "%s/config", device);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, 2, 4) != 2)
		fail("cannot read the configuration space");
	command = (command | 0x6) & ~0x400;
	if (pwrite(fd, &command, 2, 4) != 2)
		fail("cannot write the configuration space");
	close(fd);
}

static void registers(void)
{
	if (get(ID) != 0x010000ed)
		fail("identification %#x", get(ID));
	printf("edu: identification\n");
	for (uint32_t v = 1; v; v <<= 1) {
		put(LIVENESS, v);
		if (get(LIVENESS) != ~v)
			fail("liveness of %#x is %#x", v, get(LIVENESS));
	}
	printf("edu: liveness\n");
	put(FACTORIAL, 10);
	wait_clear(STATUS, 1);
	if (get(FACTORIAL) != 3628800)
		fail("10! is %u", get(FACTORIAL));
	printf("edu: factorial\n");
}

static uint64_t physical(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (pread(fd, &entry, 8, (uintptr_t)page / 4096 * 8) != 8 || !(entry >> 63))
		fail("the page has no address");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * 4096;
}

static void transfer(uint64_t src, uint64_t dst, uint32_t command)
{
	put64(DMA_SRC, src);
	put64(DMA_DST, dst);
	put64(DMA_COUNT, 4096);
	put64(DMA_CMD, command);
	wait_clear(DMA_CMD, 1);
}

/* A page into the device, wiped, and out of the device again. */
static void dma(void)
{
	uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);

	if (page == MAP_FAILED)
		fail("no page");
	for (int i = 0; i < 4096; i++)
		page[i] = i * 7 + i / 256;
	transfer(physical(page), DMA_BUFFER, 1);
	memset(page, 0, 4096);
	transfer(DMA_BUFFER, physical(page), 1 | 2);
	for (int i = 0; i < 4096; i++)
		if (page[i] != (uint8_t)(i * 7 + i / 256))
			fail("DMA: byte %d came back as %#x", i, page[i]);
	printf("edu: dma\n");
}

static void await_interrupt(int uio, const char *cause)
{
	struct pollfd p = { .fd = uio, .events = POLLIN };
	uint32_t count;

	if (poll(&p, 1, 10000) != 1 || read(uio, &count, 4) != 4)
		fail("no interrupt: %s", cause);
}

static void interrupts(const char *device, const char *path)
{
	int uio = open(path, O_RDWR | O_CLOEXEC);

	if (uio < 0)
		fail("cannot open %s", path);
	enable(device);
	put(IRQ_RAISE, 0x40);
	await_interrupt(uio, "raised by register");
	if (get(IRQ_STATUS) != 0x40)
		fail("interrupt status %#x", get(IRQ_STATUS));
	put(IRQ_ACK, 0x40);
	enable(device);
	put(STATUS, 0x80);
	put(FACTORIAL, 5);
	await_interrupt(uio, "factorial done");
	if (get(FACTORIAL) != 120 || get(IRQ_STATUS) != 1)
		fail("5! is %u, status %#x", get(FACTORIAL), get(IRQ_STATUS));
	put(IRQ_ACK, 1);
	put(STATUS, 0);
	printf("edu: interrupts\n");
}

int main(int argc, char **argv)
{
	if (argc < 2)
		fail("usage: edu SYSFS-DEVICE [UIO]");
	setvbuf(stdout, NULL, _IOLBF, 0);
	map_bar(argv[1]);
	enable(argv[1]);
	registers();
	dma();
	if (argc > 2)
		interrupts(argv[1], argv[2]);
	printf("edu: all well\n");
	return 0;
}
