// SPDX-License-Identifier: BSD-3-Clause
/*
 * The load.  The guest keeps its queues full and polls, so that the time of
 * every completion is known.  An event's gap is the time without one around
 * the end of a process; its longest stall is that of all the time until the
 * next event, in which other things happen as well: a rehearsal, the birth of
 * a standby, whatever the machine does.  Before the first event and after the
 * last there is a while of peace, in which descriptors and memory are counted.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connect.h"
#include "torture.h"

#define PEACE_NS 500000000ull
#define GRACE_MS "250"			/* of an upgrade; a kill may come in it */
#define EVENTS_PER_MOVE 5		/* on average */
#define BEFORE_NS 1000000u		/* an end is not seen earlier than that */
#define AFTER_NS 10000000u		/* by then the next one serves, or is slow */

/* -- servers ----------------------------------------------------------- */

static int make_image(struct torture *t, struct ob_err *err)
{
	FILE *f;
	int r;

	snprintf(t->image, sizeof(t->image), "%s/image", t->folder);
	f = fopen(t->image, "we");
	r = f ? ftruncate(fileno(f), (off_t)t->opt.size) : -1;
	if (r)
		ob_fail(err, errno, "%s: %s", t->image, strerror(errno));
	if (f)
		fclose(f);
	return r ? -EIO : 0;
}

static int start_server(struct torture *t, unsigned i, struct ob_err *err)
{
	char drive[320], device[480], thread[32] = "";
	struct child_options options = {
		.outboard = t->binary, .folder = t->folder,
		.name = i ? "b" : "a", .device = device,
	};
	unsigned n = 0;

	if (t->opt.threads)
		snprintf(thread, sizeof(thread), ",thread=%d",
			 atoi(t->opt.threads) - 1);
	if (t->opt.drive)
		snprintf(drive, sizeof(drive), "%s", t->opt.drive);
	else
		snprintf(drive, sizeof(drive), "file:%s", t->image);
	snprintf(device, sizeof(device), "nvme,drive=%s,queues=%u%s%s%s%s",
		 drive, (unsigned)t->opt.queues, i ? ",incoming=on" : "", thread,
		 t->opt.device ? "," : "", t->opt.device ? t->opt.device : "");
	snprintf(t->controls[i], sizeof(t->controls[i]), "%s/%s.control",
		 t->folder, options.name);
	options.options[n++] = "--control";
	options.options[n++] = t->controls[i];
	if (t->opt.engine) {
		options.options[n++] = "--io-engine";
		options.options[n++] = t->opt.engine;
	}
	if (t->opt.threads) {
		options.options[n++] = "--threads";
		options.options[n++] = t->opt.threads;
	}
	options.options[n++] = "--grace";
	options.options[n++] = GRACE_MS;
	if (t->opt.standby)
		options.options[n++] = "--standby";
	if (t->opt.no_keeper)
		options.options[n++] = "--no-keeper";
	return child_start(&t->servers[i], &options, err);
}

static int start_guest(struct torture *t, struct ob_err *err)
{
	const struct guest_options options = {
		.queues = (unsigned)t->opt.queues,
		.depth = (unsigned)t->opt.depth,
		.blocks = t->opt.size / GUEST_BLOCK, .seed = t->opt.seed,
		.interrupts = t->opt.interrupts, .shadow = true,
		.tolerant = true,
	};
	struct ob_client *client;
	int r = tool_connect(t->servers[0].path, &client, err);

	if (r)
		return r;
	/* A client waits as long as it takes; what is stuck is told otherwise. */
	ob_client_set_timeout(client, 30000);
	return guest_start(t->guest, client, &options, err);
}

static int start(struct torture *t, struct ob_err *err)
{
	const char *tmp = getenv("TMPDIR");
	int r = 0;

	if (!tmp || strlen(tmp) > sizeof(t->folder) - 32)
		tmp = "/tmp";
	snprintf(t->folder, sizeof(t->folder), "%s/outboard-torture.XXXXXX",
		 tmp);
	if (!mkdtemp(t->folder))
		return ob_fail(err, errno, "%s: %s", t->folder,
			       strerror(errno));
	if (!t->opt.drive && (r = make_image(t, err)))
		return r;
	t->nr_servers = t->opt.migrate ? 2 : 1;
	for (unsigned i = 0; i < t->nr_servers && !r; i++)
		r = start_server(t, i, err);
	if (r)
		return r;
	return t->opt.vm ? torture_vm_start(t, err) : start_guest(t, err);
}

static int stop_servers(struct torture *t, struct ob_err *err)
{
	int status, r = 0;

	for (unsigned i = 0; i < t->nr_servers; i++) {
		status = child_stop(&t->servers[i]);
		if (status && !r)
			r = ob_fail(err, ECHILD, "%s ended with status %#x, see "
				    "%s", t->servers[i].path, status,
				    t->servers[i].log);
	}
	return r;
}

/* What a failure left is for people to look at. */
static void clean_up(struct torture *t)
{
	static const char *const files[] = {
		"image", "a.log", "b.log", "a.sock", "b.sock", "a.control",
		"b.control", "console.log",
	};
	char path[160];

	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", t->folder, files[i]);
		unlink(path);
	}
	rmdir(t->folder);
}

static void measure(struct torture *t, struct torture_size *sizes)
{
	for (unsigned i = 0; i < t->nr_servers; i++) {
		pid_t keeper = t->servers[i].pid;
		pid_t worker = child_worker(&t->servers[i]);

		sizes[i] = (struct torture_size){
			process_fds(keeper), worker ? process_fds(worker) : 0,
			process_memory(keeper),
			worker ? process_memory(worker) : 0,
		};
	}
}

/* -- the load ---------------------------------------------------------- */

/* Some time after an end, or when the next one is there. */
static void account_gap(struct torture *t)
{
	uint64_t at = __atomic_load_n(&t->gone_ns, __ATOMIC_ACQUIRE);
	uint64_t end = t->end_ns;

	if (end && (at != end || t->guest->last_ns > end + AFTER_NS)) {
		hist_add(&t->gaps[t->end_kind],
			 guest_longest_stall(t->guest, end - BEFORE_NS,
					     end + AFTER_NS));
		t->end_ns = 0;
	}
	if (at == t->seen_end_ns)
		return;
	t->end_ns = t->seen_end_ns = at;
	t->end_kind = __atomic_load_n(&t->gone_kind, __ATOMIC_RELAXED);
}

/* What the last event has cost is known when the next one comes. */
static void account(struct torture *t, bool end)
{
	uint64_t events = __atomic_load_n(&t->events, __ATOMIC_ACQUIRE);

	account_gap(t);
	if (events == t->seen && !end)
		return;
	if (t->seen)
		hist_add(&t->stalls[t->seen_kind], t->guest->longest_ns);
	t->seen = end ? 0 : events;
	t->seen_kind = __atomic_load_n(&t->kind, __ATOMIC_RELAXED);
	t->guest->longest_ns = 0;
}

static void plan_move(struct torture *t)
{
	uint64_t most = (uint64_t)(t->opt.every * 2e9 * EVENTS_PER_MOVE) + 1;

	t->next_move_ns = now_ns() + guest_random(&t->random) % most;
}

/* A move has a pause of its own, which is not counted as a stall. */
static int move(struct torture *t, struct ob_err *err)
{
	uint64_t dice = guest_random(&t->random), downtime;
	const struct move_plan plan = {
		.pre_copy = dice & 1, .p2p = dice >> 1 & 1, .rounds = 2,
		.cancel = dice >> 8 & 3 ? MOVE_NR_STEPS
					: (dice >> 16) % MOVE_NR_STEPS,
		.cut = true, .chunk = 65536,
	};
	enum move_end end;
	int r = move_guest(t->guest, t->servers[!t->at].path, &plan, &end,
			   &downtime, err);

	if (r) {
		ob_err_prefix(err, "move %u", (unsigned)(t->moves + t->cuts));
		return r;
	}
	t->moves += end == MOVE_MOVED;
	t->cuts += end == MOVE_CUT;
	t->cancels += end == MOVE_CANCELLED;
	if (end == MOVE_MOVED) {
		t->at = !t->at;
		hist_add(&t->downtime, downtime);
		ob_client_set_timeout(t->guest->disk->client, 30000);
	}
	t->seen = __atomic_load_n(&t->events, __ATOMIC_ACQUIRE);
	t->guest->last_ns = now_ns();
	t->guest->longest_ns = 0;
	return 0;
}

static int turn(struct torture *t, struct ob_err *err)
{
	int r = guest_turn(t->guest, (unsigned)t->opt.depth, true, err);

	account(t, false);
	if (!r && t->opt.migrate && t->killing && now_ns() > t->next_move_ns) {
		r = move(t, err);
		plan_move(t);
	}
	torture_line(t, false);
	return r;
}

static int load_for(struct torture *t, uint64_t ns, struct ob_err *err)
{
	uint64_t end = now_ns() + ns;
	int r = 0;

	if (t->opt.vm)
		return torture_vm_load(t, ns, err);
	while (!r && now_ns() < end && !torture_killer_ended(t))
		r = turn(t, err);
	return r;
}

/* An upgrade that has begun goes on under load, as all others. */
static int load_until_killer_ended(struct torture *t, struct ob_err *err)
{
	int r = 0;

	torture_killer_stop(t);
	while (!r && !t->opt.vm && t->killing && !torture_killer_ended(t))
		r = turn(t, err);
	return r;
}

static int serving(const struct torture *t, struct ob_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < t->nr_servers && !r; i++)
		r = child_alive(&t->servers[i], err);
	return r;
}

/* Peace, war, peace. */
static int load(struct torture *t, struct ob_err *err)
{
	struct ob_err why = { 0 };
	int r, ended;

	t->started_ns = now_ns();
	if ((r = load_for(t, PEACE_NS, err)))
		return r;
	measure(t, t->first);
	if ((r = torture_killer_start(t, err)))
		return r;
	r = load_for(t, (uint64_t)(t->opt.seconds * 1e9), err);
	if (!r)
		r = load_until_killer_ended(t, err);
	ended = torture_killer_join(t, &why);
	if (!r && ended) {
		*err = why;
		r = ended;
	}
	if (!r)
		r = load_for(t, PEACE_NS, err);
	account(t, true);
	if (!r) {
		measure(t, t->last);
		r = serving(t, err);
	}
	return r;
}

/* Everything is read once more. */
static int end_guest(struct torture *t, struct ob_err *err)
{
	struct ob_client *client;
	int r;

	if (t->opt.vm)
		return torture_vm_end(t, err);
	client = t->guest->disk->client;
	r = guest_end(t->guest, err);
	ob_client_destroy(client);
	return r;
}

int torture_run(struct torture *t, struct ob_err *err)
{
	int r = start(t, err), stopped;
	struct ob_err why = { 0 };

	if (!r)
		r = load(t, err);
	if (!r)
		r = end_guest(t, err);
	vm_kill(&t->vm);
	t->ended_ns = now_ns();
	stopped = stop_servers(t, &why);
	if (!r && stopped) {
		r = stopped;
		*err = why;
	}
	torture_line(t, true);
	if (!r && !torture_verdict(t, &why))
		clean_up(t);
	return r;
}
