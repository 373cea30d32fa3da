// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_line CPU CPU: what a word in memory needs from one core to another and back,
 * in nanoseconds: median, lowest and highest of groups of a hundred.
 *
 * One command at a time is at least this, since its doorbell has to come and its
 * completion has to go; and it depends on which cores of the host these are,
 * which a hypervisor may change at any time.
 */
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define GROUP 100u
#define GROUPS 2000u
#define LINE 128	/* two, since cores fetch pairs */

static _Alignas(LINE) uint32_t there;
static _Alignas(LINE) uint32_t back;
static _Alignas(LINE) uint32_t times[GROUPS];

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("bench_line: CPU");
		exit(1);
	}
}

static void await(const uint32_t *word, uint32_t value)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
		;
}

static void *answer(void *cpu)
{
	pin(*(int *)cpu);
	for (uint32_t i = 1; i <= GROUP * GROUPS; i++) {
		await(&there, i);
		__atomic_store_n(&back, i, __ATOMIC_RELEASE);
	}
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void ask(void)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < GROUPS; i++) {
		uint64_t from = now_ns();

		for (unsigned j = 0; j < GROUP; j++) {
			__atomic_store_n(&there, ++value, __ATOMIC_RELEASE);
			await(&back, value);
		}
		times[i] = (uint32_t)((now_ns() - from) / GROUP);
	}
}

int main(int argc, char **argv)
{
	int cpus[2] = { argc > 1 ? atoi(argv[1]) : 0,
			argc > 2 ? atoi(argv[2]) : 1 };
	pthread_t thread;

	if (cpus[0] == cpus[1]) {
		fputs("bench_line: needs two CPUs\n", stderr);
		return 1;
	}
	pin(cpus[0]);
	if (pthread_create(&thread, NULL, answer, &cpus[1]))
		return 1;
	ask();
	pthread_join(thread, NULL);
	qsort(times, GROUPS, sizeof(*times), by_value);
	printf("{\"median\": %u, \"low\": %u, \"high\": %u}\n",
	       times[GROUPS / 2], times[0], times[GROUPS - 1]);
	return 0;
}
