// SPDX-License-Identifier: BSD-3-Clause
/*
 * bench_registers SOCKET BYTES DEPTH SECONDS: how long a register read takes while
 * so many reads of so many bytes are always in flight.
 *
 * One thread is the guest: it takes completions, puts new commands in their
 * places, and five thousand times a second reads a register and waits for the
 * answer.  A server on a core of its own has no rest: it has the commands that
 * were in flight when the question came.
 *
 * Prints commands a second, then the reads: how many, p50, p99, the longest, in
 * microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/client.h>

#include "hist.h"
#include "nvme_user.h"
#include "report.h"

#define MAX_DEPTH 128u
#define EVERY_NS 200000u
#define REG_CSTS 0x1cu

static uint64_t random_state = 88172645463325252u;

static uint64_t next_block(uint64_t blocks)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % blocks;
}

static void fail(const char *what, const struct ob_err *err)
{
	fprintf(stderr, "bench_registers: %s: %s\n", what, err->msg);
	exit(1);
}

static void submit(struct nvme_user *nvme, unsigned slot, size_t bytes)
{
	uint32_t lbas = (uint32_t)bytes / nvme->lba_size;

	nvme_user_submit(&nvme->queues[0], slot, NVME_USER_READ,
			 next_block(nvme->lbas / lbas) * lbas, lbas);
}

static unsigned serve(struct nvme_user *nvme, size_t bytes)
{
	struct nvme_user_done done[MAX_DEPTH];
	struct ob_err err;
	int n = nvme_user_poll(&nvme->queues[0], done, MAX_DEPTH, &err);

	if (n < 0)
		fail("completion", &err);
	for (int i = 0; i < n; i++)
		submit(nvme, done[i].slot, bytes);
	if (n && nvme_user_ring(&nvme->queues[0], &err))
		fail("doorbell", &err);
	return (unsigned)n;
}

static void ask(struct nvme_user *nvme, struct hist *hist)
{
	uint64_t start = now_ns(), value;
	struct ob_err err;

	if (nvme_user_get_reg(nvme, REG_CSTS, &value, 4, &err))
		fail("register", &err);
	hist_add(hist, now_ns() - start);
}

static void measure(struct nvme_user *nvme, size_t bytes, double seconds)
{
	static struct hist hist;
	uint64_t start = now_ns(), now = start, next = start, total = 0;
	uint64_t end = start + (uint64_t)(seconds * 1e9);

	while (now < end) {
		total += serve(nvme, bytes);
		now = now_ns();
		if (now < next)
			continue;
		ask(nvme, &hist);
		next = now_ns() + EVERY_NS;
	}
	printf("%.0f\t%llu\t%.1f\t%.1f\t%.1f\n",
	       (double)total * 1e9 / (double)(now - start),
	       (unsigned long long)hist.count,
	       (double)hist_percentile(&hist, 0.5) / 1e3,
	       (double)hist_percentile(&hist, 0.99) / 1e3,
	       (double)hist.max / 1e3);
}

int main(int argc, char **argv)
{
	struct ob_client_params params = { .timeout_ms = 20000 };
	size_t bytes = argc > 2 ? strtoul(argv[2], NULL, 0) : 4096;
	unsigned depth = argc > 3 ? (unsigned)atoi(argv[3]) : 32;
	struct nvme_user_params user = {
		.queues = 1, .depth = depth, .buffer_size = bytes, .nsid = 1,
		.shadow = true,
	};
	struct ob_client *client;
	struct nvme_user *nvme;
	struct ob_err err;

	if (argc < 2 || depth > MAX_DEPTH)
		return 2;
	if (ob_client_connect(argv[1], &params, &client, &err) ||
	    nvme_user_open(client, &user, &nvme, &err))
		fail(argv[1], &err);
	ob_client_set_spin(client, true);
	for (unsigned i = 0; i < depth; i++)
		submit(nvme, i, bytes);
	if (nvme_user_ring(&nvme->queues[0], &err))
		fail("doorbell", &err);
	measure(nvme, bytes, argc > 4 ? atof(argv[4]) : 2);
	nvme_user_close(nvme);
	ob_client_destroy(client);
	return 0;
}
