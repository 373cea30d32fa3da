// SPDX-License-Identifier: BSD-3-Clause
/*
 * outboard bench-move: what a device adds to the pause of a migration, and how
 * fast its data goes through the protocol.
 *
 * Pause.  An NVMe driver of our own keeps several queues full, and the device
 * moves from one server to the other and back.  The clock runs from the
 * request to stop until the other server says that it runs; the guest's
 * memory is the same on both sides, so nothing but the device is in it.
 *
 * Data.  The whole stream is read from one server, then written to the other,
 * in rounds that alternate with the floor: two processes that exchange
 * messages of the same sizes, out of one buffer, with nothing behind them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <outboard/client.h>

#include "connect.h"
#include "floor.h"
#include "hist.h"
#include "nvme_user.h"
#include "report.h"
#include "server_process.h"
#include "socket_args.h"
#include "tools.h"

#define QUEUES 4u
#define DEPTH 32u
#define BLOCK 4096u
#define HEAD 24u		/* header and MIG_DATA's own, on the wire */
#define MAX_ROUNDS 101u
#define MIB (1u << 20)

struct options {
	uint64_t moves, rounds;
	bool json;
};

struct side {
	const char *path;
	struct ob_client *client;
	cpu_set_t cpus;
};

struct bench {
	struct options opt;
	struct side sides[2];
	unsigned at;			/* the device is there */
	struct nvme_user *disk;
	uint8_t *buf;			/* one message */
	uint8_t *stream;		/* all of it, while it is kept */
	size_t kept, room;
	struct hist pause, stop, data, load, run;
	uint64_t bytes;			/* of the last stream */
	unsigned in_flight, in_flight_most;
	bool busy[QUEUES][DEPTH];
	struct ob_err err;
};

static struct side *here(struct bench *b)
{
	return &b->sides[b->at];
}

static struct side *there(struct bench *b)
{
	return &b->sides[!b->at];
}

static int set(struct bench *b, struct side *side,
	       enum ob_client_mig_state state)
{
	return ob_client_mig_set(side->client, state, &b->err);
}

static int connect_side(struct bench *b, struct side *side)
{
	return tool_connect(side->path, &side->client, &b->err);
}

static void disconnect(struct side *side)
{
	ob_client_destroy(side->client);
	side->client = NULL;
}

/* -- the guest --------------------------------------------------------- */

static int start_guest(struct bench *b)
{
	const struct nvme_user_params params = {
		.queues = QUEUES, .depth = DEPTH, .buffer_size = BLOCK,
		.nsid = 1, .shadow = true,
	};

	return nvme_user_open(here(b)->client, &params, &b->disk, &b->err);
}

static int take(struct bench *b, unsigned at)
{
	struct nvme_user_done done[DEPTH];
	int n = nvme_user_poll(&b->disk->queues[at], done, DEPTH, &b->err);

	for (int i = 0; i < n; i++) {
		if (done[i].status || done[i].slot >= DEPTH)
			return ob_fail(&b->err, EIO, "an I/O fails, status %#x",
				       done[i].status);
		b->busy[at][done[i].slot] = false;
		b->in_flight--;
	}
	return n < 0 ? n : 0;
}

/* All slots of all queues hold a read. */
static int fill(struct bench *b)
{
	uint32_t sectors = BLOCK / b->disk->lba_size;
	uint64_t blocks = b->disk->lbas / sectors;
	int r = 0;

	for (unsigned at = 0; at < QUEUES && !r; at++) {
		struct nvme_user_queue *q = &b->disk->queues[at];

		r = take(b, at);
		for (unsigned slot = 0; slot < DEPTH && !r; slot++) {
			if (b->busy[at][slot])
				continue;
			nvme_user_submit(q, slot, NVME_USER_READ,
					 (uint64_t)rand() % blocks * sectors,
					 sectors);
			b->busy[at][slot] = true;
			b->in_flight++;
		}
		if (!r)
			r = nvme_user_ring(q, &b->err);
	}
	return r;
}

static int run_guest(struct bench *b, uint64_t ns)
{
	uint64_t end = now_ns() + ns;
	int r = 0;

	while (!r && now_ns() < end) {
		r = fill(b);
		if (!r)
			r = ob_client_poll(b->disk->client, 0, &b->err);
		if (r > 0)
			r = 0;
	}
	return r;
}

/* -- the pause --------------------------------------------------------- */

static int prepare_destination(struct bench *b)
{
	struct ob_client_dma map = {
		.addr = b->disk->memory_addr, .size = b->disk->memory_size,
		.readable = true, .writable = true, .fd = b->disk->memory_fd,
	};
	int r;

	if ((r = connect_side(b, there(b))) ||
	    (r = ob_client_dma_map(there(b)->client, &map, &b->err)))
		return r;
	return set(b, there(b), OB_CLIENT_RESUMING);
}

static int carry(struct bench *b)
{
	size_t got = MIB;
	int r = 0;

	b->bytes = 0;
	while (!r && got == MIB) {
		r = ob_client_mig_read(here(b)->client, b->buf, MIB, &got,
				       &b->err);
		if (!r && got)
			r = ob_client_mig_write(there(b)->client, b->buf, got,
						&b->err);
		b->bytes += got;
	}
	return r;
}

static uint64_t lap(struct hist *hist, uint64_t *since)
{
	uint64_t now = now_ns(), ns = now - *since;

	hist_add(hist, ns);
	*since = now;
	return ns;
}

static int pause_and_move(struct bench *b)
{
	uint64_t start = now_ns(), at = start;
	int r;

	if ((r = set(b, here(b), OB_CLIENT_STOP_COPY)))
		return r;
	lap(&b->stop, &at);
	if ((r = carry(b)))
		return r;
	lap(&b->data, &at);
	if ((r = set(b, there(b), OB_CLIENT_STOP)))
		return r;
	lap(&b->load, &at);
	if ((r = set(b, there(b), OB_CLIENT_RUNNING)))
		return r;
	lap(&b->run, &at);
	lap(&b->pause, &start);
	return 0;
}

static int one_move(struct bench *b)
{
	int r;

	if ((r = prepare_destination(b)) || (r = run_guest(b, 2000000)) ||
	    (r = fill(b)))
		return r;
	if (b->in_flight > b->in_flight_most)
		b->in_flight_most = b->in_flight;
	if ((r = pause_and_move(b)))
		return r;
	disconnect(here(b));
	b->at = !b->at;
	b->disk->client = here(b)->client;
	return run_guest(b, 1000000);
}

static int measure_pause(struct bench *b)
{
	int r;

	if ((r = connect_side(b, here(b))) || (r = start_guest(b)))
		return r;
	for (uint64_t i = 0; i < b->opt.moves && !r; i++)
		r = one_move(b);
	return r;
}

/* -- the data ---------------------------------------------------------- */

static int keep(struct bench *b, size_t got)
{
	size_t room = b->room ? 2 * b->room : 64u * MIB;
	uint8_t *stream;

	if (b->kept + got > b->room) {
		stream = realloc(b->stream, room);
		if (!stream)
			return ob_fail(&b->err, ENOMEM, "out of memory");
		b->stream = stream;
		b->room = room;
	}
	memcpy(b->stream + b->kept, b->buf, got);
	b->kept += got;
	return 0;
}

/* The stream once, kept for the writes; nothing is timed. */
static int fetch_stream(struct bench *b)
{
	size_t got = MIB;
	int r = set(b, here(b), OB_CLIENT_STOP_COPY);

	while (!r && got == MIB) {
		r = ob_client_mig_read(here(b)->client, b->buf, MIB, &got,
				       &b->err);
		if (!r)
			r = keep(b, got);
	}
	return r ? r : set(b, here(b), OB_CLIENT_STOP);
}

static int time_read(struct bench *b, double *rate)
{
	uint64_t start, bytes = 0;
	size_t got = MIB;
	const void *view;
	int r = set(b, here(b), OB_CLIENT_STOP_COPY);

	start = now_ns();
	while (!r && got == MIB) {
		r = ob_client_mig_read_view(here(b)->client, MIB, &view, &got,
					    &b->err);
		bytes += got;
	}
	*rate = (double)bytes * 1e9 / (double)(now_ns() - start);
	return r ? r : set(b, here(b), OB_CLIENT_STOP);
}

static int time_write(struct bench *b, double *rate)
{
	uint64_t start;
	size_t n;
	int r = set(b, there(b), OB_CLIENT_RESUMING);

	start = now_ns();
	for (size_t at = 0; at < b->kept && !r; at += n) {
		n = b->kept - at < MIB ? b->kept - at : MIB;
		r = ob_client_mig_write(there(b)->client, b->stream + at, n,
					&b->err);
	}
	*rate = (double)b->kept * 1e9 / (double)(now_ns() - start);
	return r ? r : ob_client_reset(there(b)->client, &b->err);
}

static int time_floor(struct bench *b, struct floor *floor, double *rate)
{
	uint64_t start = now_ns(), n = b->kept / MIB + 1;

	for (uint64_t i = 0; i < n; i++) {
		int r = floor_exchange(floor);

		if (r)
			return ob_fail(&b->err, -r, "the floor: %s",
				       strerror(-r));
	}
	*rate = (double)n * MIB * 1e9 / (double)(now_ns() - start);
	return 0;
}

struct series {
	double rate[MAX_ROUNDS], floor[MAX_ROUNDS], ratio[MAX_ROUNDS];
};

static int measure_rounds(struct bench *b, struct series *s, bool read)
{
	size_t request = read ? HEAD : HEAD + MIB;
	size_t reply = read ? HEAD + MIB : HEAD - 8;
	struct floor floor;
	int r = floor_start(&floor, request, reply, false,
			    read ? &here(b)->cpus : &there(b)->cpus, &b->err);

	if (r)
		return r;
	for (uint64_t i = 0; i < b->opt.rounds && !r; i++) {
		r = time_floor(b, &floor, &s->floor[i]);
		if (!r)
			r = (read ? time_read : time_write)(b, &s->rate[i]);
		s->ratio[i] = s->rate[i] / s->floor[i];
	}
	floor_stop(&floor);
	return r;
}

static int measure_data(struct bench *b, struct series series[2])
{
	int r;

	if ((r = fetch_stream(b)) || (r = connect_side(b, there(b))) ||
	    (r = measure_rounds(b, &series[0], true)))
		return r;
	return measure_rounds(b, &series[1], false);
}

/* -- report ------------------------------------------------------------ */

static json_t *spread(double *values, unsigned count, double unit)
{
	double middle = median(values, count);

	return json_pack("{s:f, s:f, s:f}", "median", middle / unit, "min",
			 values[0] / unit, "max", values[count - 1] / unit);
}

static json_t *times(const struct hist *hist)
{
	return json_pack("{s:f, s:f, s:f}", "p50",
			 (double)hist_percentile(hist, 0.5) / 1e3, "p99",
			 (double)hist_percentile(hist, 0.99) / 1e3, "max",
			 (double)hist->max / 1e3);
}

static json_t *describe_pause(const struct bench *b)
{
	return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "moves",
			 (json_int_t)b->opt.moves, "in flight",
			 (json_int_t)b->in_flight_most, "bytes",
			 (json_int_t)b->bytes, "whole us", times(&b->pause),
			 "stop us", times(&b->stop), "data us",
			 times(&b->data), "load us", times(&b->load),
			 "run us", times(&b->run));
}

static json_t *describe(struct bench *b, struct series series[2])
{
	unsigned n = (unsigned)b->opt.rounds;
	json_t *tree = json_object();

	if (b->opt.moves)
		json_object_set_new(tree, "pause", describe_pause(b));
	for (unsigned i = 0; i < 2 && n; i++)
		json_object_set_new(tree, i ? "write" : "read", json_pack(
			"{s:I, s:o, s:o, s:o}", "bytes", (json_int_t)b->kept,
			"MiB/s", spread(series[i].rate, n, MIB), "floor MiB/s",
			spread(series[i].floor, n, MIB), "ratio",
			spread(series[i].ratio, n, 1)));
	return tree;
}

static void find_cpus(struct side *side)
{
	struct server_processes server;

	server_find(side->client, &server);
	server_cpus(&server, &side->cpus);
}

static int measure(struct bench *b, struct series series[2])
{
	int r = 0;

	b->buf = malloc(MIB);
	if (!b->buf)
		return ob_fail(&b->err, ENOMEM, "out of memory");
	if (b->opt.moves)
		r = measure_pause(b);
	else
		r = connect_side(b, here(b));
	for (unsigned i = 0; i < 2; i++)
		find_cpus(&b->sides[i]);
	return r || !b->opt.rounds ? r : measure_data(b, series);
}

static int bench_move(struct bench *b)
{
	struct series *series = calloc(2, sizeof(*series));
	int r;

	if (!series)
		return TOOL_FAILED;
	r = measure(b, series);
	if (!r)
		r = report_print(stdout, describe(b, series), b->opt.json,
				 &b->err);
	nvme_user_close(r ? NULL : b->disk);
	disconnect(&b->sides[0]);
	disconnect(&b->sides[1]);
	free(b->stream);
	free(b->buf);
	free(series);
	return r ? tool_failed("bench-move", &b->err) : TOOL_OK;
}

/* -- command line ------------------------------------------------------ */

OB_ARG_FLAG(json, struct bench, opt.json)

static int set_moves(void *into, const char *value, struct ob_err *err)
{
	return tool_parse_number(value, &((struct bench *)into)->opt.moves,
				 err);
}

static int set_rounds(void *into, const char *value, struct ob_err *err)
{
	struct bench *b = into;
	int r = tool_parse_number(value, &b->opt.rounds, err);

	if (!r && b->opt.rounds > MAX_ROUNDS)
		return ob_fail(err, EINVAL, "at most %u rounds", MAX_ROUNDS);
	return r;
}

static const struct ob_arg args[] = {
	{ "moves", "N", "for the pause; 0: leave it out (500)", set_moves },
	{ "rounds", "N", "for the data; 0: leave it out (0)", set_rounds },
	{ "json", NULL, "print JSON", set_json },
	{ NULL, NULL, NULL, NULL },
};

void tool_bench_move_help(FILE *out)
{
	ob_args_help(args, out);
}

int tool_bench_move(int argc, char **argv)
{
	struct bench *b = calloc(1, sizeof(*b));
	int first, r;

	if (!b)
		return TOOL_FAILED;
	b->opt.moves = 500;
	first = ob_args_parse(args, b, argc, argv, &b->err);
	if (first >= 0 && argc - first != 2)
		first = ob_fail(&b->err, EINVAL, "two sockets are needed");
	if (first < 0) {
		r = tool_misused("bench-move", &b->err);
	} else {
		b->sides[0].path = argv[first];
		b->sides[1].path = argv[first + 1];
		r = bench_move(b);
	}
	free(b);
	return r;
}
