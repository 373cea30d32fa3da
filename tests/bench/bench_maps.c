// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_maps: what a translation, a map and an unmap cost with 1, 64, 1,024 and
 * 65,535 maps, in cycles of user space, which do not depend on who else uses the
 * machine (where the kernel does not count them: in nanoseconds).
 *
 * Addresses come at random, and beside it one after the other; maps come in
 * ascending, descending and random order.  A line of JSON for each.
 */
#include "rig.h"

#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <outboard/dma.h>

#include "server/device_impl.h"

#define PAGE 4096ull
#define MAX 65535u
#define LOOKS 1000000u
#define ROUNDS 7

static int counter = -1;
static uint32_t order[MAX];

static void open_counter(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr),
		.config = PERF_COUNT_HW_CPU_CYCLES,
		.exclude_kernel = 1, .exclude_hv = 1,
	};

	counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
}

static double count(void)
{
	struct timespec ts;
	uint64_t n;

	if (counter >= 0 && read(counter, &n, sizeof(n)) == sizeof(n))
		return (double)n;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void shuffle(uint32_t nr)
{
	for (uint32_t i = nr - 1; i; i--) {
		uint32_t j = (uint32_t)rand() % (i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
}

static void set_order(const char *how, uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		order[i] = *how == 'd' ? nr - 1 - i : i;
	if (*how == 'r')
		shuffle(nr);
}

/* Pages of one file, with a hole behind each in the guest's addresses. */
static void map(struct ob_device *dev, int file, uint32_t i)
{
	struct ob_dma_map req = {
		.argsz = 32, .flags = 3, .offset = i * PAGE,
		.address = 2 * i * PAGE, .size = PAGE,
	};
	struct ob_err err = { 0 };
	int fd = dup(file);

	if (ob_dma_map(dev, &req, &fd, &err)) {
		fprintf(stderr, "bench_maps: map %u: %s\n", i, err.msg);
		exit(1);
	}
	if (fd >= 0)
		close(fd);
}

static void unmap(struct ob_device *dev, uint32_t i)
{
	struct ob_dma_unmap req = {
		.argsz = 24, .address = 2 * i * PAGE, .size = PAGE,
	};

	if (ob_dma_unmap(dev, &req))
		exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void print_row(const char *what, const char *how, uint32_t nr,
		      double *values)
{
	qsort(values, ROUNDS, sizeof(*values), by_value);
	printf("{\"what\": \"%s\", \"order\": \"%s\", \"maps\": %u, "
	       "\"unit\": \"%s\", \"median\": %.1f, \"low\": %.1f, "
	       "\"high\": %.1f}\n", what, how, nr,
	       counter < 0 ? "ns" : "cycles", values[ROUNDS / 2], values[0],
	       values[ROUNDS - 1]);
}

static uintptr_t look(struct ob_device *dev, uint32_t nr)
{
	uintptr_t sum = 0;

	for (uint32_t n = 0, i = 0; n < LOOKS; n++, i = i + 1 < nr ? i + 1 : 0)
		sum += (uintptr_t)ob_dma_ptr(dev, 2 * order[i] * PAGE + 64, 64,
					     false);
	return sum;
}

static void measure_looks(struct ob_device *dev, const char *how, uint32_t nr)
{
	double values[ROUNDS], from;

	set_order(how, nr);
	look(dev, nr);
	for (unsigned r = 0; r < ROUNDS; r++) {
		from = count();
		look(dev, nr);
		values[r] = (count() - from) / LOOKS;
	}
	print_row("translation", how, nr, values);
}

/* All of them, and away again. */
static void measure_changes(struct ob_device *dev, int file, const char *how,
			    uint32_t nr)
{
	uint32_t times = nr < 1000 ? 10000 / nr : 1;
	double maps[ROUNDS] = { 0 }, unmaps[ROUNDS] = { 0 }, from;

	set_order(how, nr);
	for (unsigned r = 0; r < ROUNDS; r++) {
		for (uint32_t t = 0; t < times; t++) {
			from = count();
			for (uint32_t i = 0; i < nr; i++)
				map(dev, file, order[i]);
			maps[r] += (count() - from) / nr / times;
			from = count();
			for (uint32_t i = 0; i < nr; i++)
				unmap(dev, order[i]);
			unmaps[r] += (count() - from) / nr / times;
		}
	}
	print_row("map", how, nr, maps);
	print_row("unmap", how, nr, unmaps);
}

int main(void)
{
	static const uint32_t numbers[] = { 1, 64, 1024, MAX };
	struct rig *rig = rig_ready();
	struct ob_device *dev = rig->dev;
	int file = memfd_create("guest", MFD_CLOEXEC);

	open_counter();
	if (file < 0 || ftruncate(file, MAX * PAGE))
		return 1;
	rig_master(rig, true);
	for (unsigned n = 0; n < 4; n++) {
		measure_changes(dev, file, "ascending", numbers[n]);
		measure_changes(dev, file, "descending", numbers[n]);
		measure_changes(dev, file, "random", numbers[n]);
		for (uint32_t i = 0; i < numbers[n]; i++)
			map(dev, file, i);
		measure_looks(dev, "ascending", numbers[n]);
		measure_looks(dev, "random", numbers[n]);
		ob_dma_clear(dev);
	}
	close(file);
	rig_end(rig);
	return 0;
}
