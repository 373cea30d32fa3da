// SPDX-License-Identifier: BSD-3-Clause
/*
 * Torture by cancelling (R28): a guest with verified random I/O, 32 deep on
 * four queues, moves back and forth between two servers, and is called back
 * before every step and at random; now and then the destination refuses.
 * Nothing may be lost, come late or come twice, no I/O fail, no fd or memory
 * be left behind.
 *
 *	torture OUTBOARD [MOVES [SEED]]
 *
 * MOVES is for each of the cases below; TORTURE_LOG sets the servers' log
 * level.  A failure names seed, case and move.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hist.h"
#include "child.h"
#include "guest_move.h"

static const char *outboard;
static unsigned moves = 100;
static uint64_t seed = 1;

struct scene {
	const char *name;
	const char *drive;		/* @: the image */
	struct guest_options guest;
	const char *options;		/* more, of all servers */
	const char *other;		/* drive of the one that refuses */
};

struct run {
	const struct scene *scene;
	char folder[64], image[96];
	struct child servers[2], refuser;
	unsigned at;			/* the guest is on this server */
	uint64_t random;
	struct guest guest;
	unsigned ends[4], cancels[MOVE_NR_STEPS];
	struct hist downtime;
	unsigned fds[2];
	size_t memory[2];
};

static void drive_spec(const struct run *run, const char *drive, char *buf,
		       size_t size)
{
	if (drive[0] == '@')
		snprintf(buf, size, "file:%s", run->image);
	else
		snprintf(buf, size, "%s", drive);
}

static int start_server(struct run *run, struct child *s, const char *name,
			const char *drive, const char *more,
			struct ob_err *err)
{
	char spec[160], device[400];

	drive_spec(run, drive, spec, sizeof(spec));
	snprintf(device, sizeof(device), "nvme,drive=%s,queues=8%s%s", spec,
		 run->scene->options, more);
	return child_start(s, &(struct child_options){
		.outboard = outboard, .folder = run->folder, .name = name,
		.device = device,
	}, err);
}

static void make_folder(struct run *run)
{
	FILE *f;

	snprintf(run->folder, sizeof(run->folder), "/tmp/obtorture.XXXXXX");
	assert_non_null(mkdtemp(run->folder));
	snprintf(run->image, sizeof(run->image), "%s/image", run->folder);
	f = fopen(run->image, "we");
	assert_non_null(f);
	assert_int_equal(ftruncate(fileno(f), 64 << 20), 0);
	fclose(f);
}

static int start(struct run *run, struct ob_err *err)
{
	const struct scene *scene = run->scene;
	struct ob_client *client;
	int r;

	make_folder(run);
	run->random = seed * 0x9e3779b97f4a7c15ull | 1;
	if ((r = start_server(run, &run->servers[0], "a", scene->drive, "",
			      err)) ||
	    (r = start_server(run, &run->servers[1], "b", scene->drive,
			      ",incoming=on", err)) ||
	    (r = start_server(run, &run->refuser, "c", scene->other,
			      ",incoming=on", err)) ||
	    (r = ob_client_connect(run->servers[0].path, NULL, &client, err)))
		return r;
	return guest_start(&run->guest, client, &scene->guest, err);
}

/* One in five goes through undisturbed from end to end. */
static struct move_plan make_plan(struct run *run)
{
	static const size_t chunks[] = { 1 << 20, 1 << 20, 65536, 4096, 777 };
	uint64_t dice = guest_random(&run->random);
	struct move_plan plan = {
		.pre_copy = dice & 1, .p2p = dice >> 1 & 1,
		.rounds = 1 + (dice >> 2 & 3),
		.cancel = MOVE_NR_STEPS,
		.chunk = chunks[(dice >> 8) % 5],
	};

	if (dice >> 16 & 1)
		plan.cancel = (dice >> 24) % MOVE_NR_STEPS;
	else if ((dice >> 32) % 16 == 0)
		plan.refuse = true;
	return plan;
}

static int one_move(struct run *run, struct ob_err *err)
{
	struct move_plan plan = make_plan(run);
	const char *to = plan.refuse ? run->refuser.path
				     : run->servers[!run->at].path;
	uint64_t downtime;
	enum move_end end;
	int r = move_guest(&run->guest, to, &plan, &end, &downtime, err);

	if (r) {
		ob_err_prefix(err, "plan: pre-copy %d, p2p %d, rounds %u, "
			      "cancel before %s, refuse %d, chunks of %zu",
			      plan.pre_copy, plan.p2p, plan.rounds,
			      move_step_name(plan.cancel), plan.refuse,
			      plan.chunk);
		return r;
	}
	run->ends[end]++;
	if (end == MOVE_CANCELLED && plan.cancel < MOVE_NR_STEPS)
		run->cancels[plan.cancel]++;
	if (end == MOVE_MOVED) {
		run->at = !run->at;
		hist_add(&run->downtime, downtime);
	}
	return 0;
}

/* Between moves the guest is left in peace for a while. */
static int interlude(struct run *run, struct ob_err *err)
{
	unsigned turns = guest_random(&run->random) % 20;
	int r = 0;

	for (unsigned i = 0; i < turns && !r; i++)
		r = guest_turn(&run->guest, 16, true, err);
	return r;
}

static int check_servers(struct run *run, bool baseline, struct ob_err *err)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct child *s = &run->servers[i];
		unsigned fds = process_fds(s->pid);
		size_t memory = process_memory(s->pid);
		int r = child_alive(s, err);

		if (r)
			return r;
		if (baseline) {
			run->fds[i] = fds;
			run->memory[i] = memory;
		}
		/* A connection more or less; pools that filled meanwhile. */
		if (fds > run->fds[i] + 16)
			return ob_fail(err, EMFILE, "server %u has %u fds, "
				       "%u more than at first", i, fds,
				       fds - run->fds[i]);
		if (memory > run->memory[i] + (12u << 20))
			return ob_fail(err, ENOMEM, "server %u has %zu bytes, "
				       "%zu more than at first", i, memory,
				       memory - run->memory[i]);
	}
	return 0;
}

static int all_moves(struct run *run, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < moves && !r; i++) {
		if ((r = interlude(run, err)) || (r = one_move(run, err)))
			ob_err_prefix(err, "move %u", i);
		else if (i % 16 == 8 || i + 1 == moves)
			r = check_servers(run, i == 8, err);
	}
	return r;
}

static void tell(const struct run *run)
{
	const struct guest *g = &run->guest;

	printf("  %s: %u moved, %u cancelled, %u refused; %" PRIu64
	       " I/Os verified (%" PRIu64 " reads), pause p50 %.1f ms, "
	       "p99 %.1f ms\n  cancelled before:", run->scene->name,
	       run->ends[MOVE_MOVED], run->ends[MOVE_CANCELLED],
	       run->ends[MOVE_REFUSED], g->done, g->reads,
	       hist_percentile(&run->downtime, 0.5) / 1e6,
	       hist_percentile(&run->downtime, 0.99) / 1e6);
	for (unsigned i = 0; i < MOVE_NR_STEPS; i++)
		printf(" %s %u", move_step_name(i), run->cancels[i]);
	printf("\n");
}

static void clean_up(struct run *run)
{
	static const char *const files[] = {
		"image", "a.log", "b.log", "c.log", NULL
	};
	char path[160];

	for (unsigned i = 0; files[i]; i++) {
		snprintf(path, sizeof(path), "%s/%s", run->folder, files[i]);
		unlink(path);
	}
	rmdir(run->folder);
}

static void torture(const struct scene *scene)
{
	struct run *run = calloc(1, sizeof(*run));
	struct ob_err err = { 0 };
	struct ob_client *client;
	int r;

	assert_non_null(run);
	run->scene = scene;
	r = start(run, &err);
	if (!r)
		r = all_moves(run, &err);
	if (!r) {
		client = run->guest.disk->client;
		r = guest_end(&run->guest, &err);
		ob_client_destroy(client);
	}
	child_stop(&run->servers[0]);
	child_stop(&run->servers[1]);
	child_stop(&run->refuser);
	if (r)
		fail_msg("%s, seed %" PRIu64 ": %s (logs in %s)", scene->name,
			 seed, err.msg, run->folder);
	tell(run);
	assert_true(run->ends[MOVE_MOVED] > 0 || moves < 20);
	clean_up(run);
	free(run);
}

static void test_r28_file_there_and_back(void **state)
{
	(void)state;
	torture(&(struct scene){
		.name = "file", .drive = "@", .options = "",
		.other = "mem:64M",
		.guest = { .blocks = 16384, .seed = seed, .shadow = true },
	});
}

static void test_r28_memory_there_and_back(void **state)
{
	(void)state;
	torture(&(struct scene){
		.name = "mem", .drive = "mem:8M", .options = "",
		.other = "mem:4M",
		.guest = { .blocks = 2048, .seed = seed, .shadow = true },
	});
}

static void test_r29_interrupts_are_not_lost(void **state)
{
	(void)state;
	torture(&(struct scene){
		.name = "interrupts", .drive = "mem:8M", .options = "",
		.other = "mem:8M,lba=4096",
		.guest = { .blocks = 2048, .seed = seed, .interrupts = true,
			   .shadow = true },
	});
}

/* Requests that take longer than the bound are given up and done again. */
static void test_r26_slow_requests_are_done_again(void **state)
{
	(void)state;
	torture(&(struct scene){
		.name = "slow", .drive = "delay:3000:mem:8M",
		.options = ",drain=1", .other = "mem:4M",
		.guest = { .blocks = 2048, .seed = seed },
	});
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_r28_file_there_and_back),
		cmocka_unit_test(test_r28_memory_there_and_back),
		cmocka_unit_test(test_r29_interrupts_are_not_lost),
		cmocka_unit_test(test_r26_slow_requests_are_done_again),
	};

	if (argc < 2) {
		fprintf(stderr, "torture OUTBOARD [MOVES [SEED]]\n");
		return 2;
	}
	outboard = argv[1];
	if (argc > 2)
		moves = (unsigned)strtoul(argv[2], NULL, 0);
	if (argc > 3)
		seed = strtoull(argv[3], NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
