// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session of arrivals: a disk that stands still with an event request and reads in
 * flight comes into devices that have never done anything, twice by their clients
 * and twice by the operator.
 *
 * A load that a death cuts short is tried again.  Once it has come in, it is there,
 * and what was in flight is done.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control_link.h"
#include "session_impl.h"

#define TRIES 3u
#define CONTROL_TRIES 5000
#define PATIENCE_MS 60000

static void pause_a_moment(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

/* -- what leaves, in the undisturbed session ------------------------------- */

static void ask_for_events(struct scene *s)
{
	struct nvme_user_queue *q = &s->disk->admin;

	q->sq[q->tail] = (struct nvme_user_sqe){ .opcode = 0x0c, .cid = q->tail };
	q->tail = (uint16_t)((q->tail + 1) % q->entries);
}

/* The drive does not answer them; who answers what comes after has seen them. */
static int leave_in_flight(struct scene *s)
{
	struct nvme_user_queue *q = &s->disk->queues[0];
	uint32_t sectors = BLOCK / s->disk->lba_size;
	struct nvme_user_done done;
	int n = 0;

	ask_for_events(s);
	TRY(nvme_user_ring(&s->disk->admin, &s->err));
	for (unsigned i = 0; i < SESSION_OWED; i++)
		nvme_user_submit(q, i, NVME_USER_READ, i * sectors, sectors);
	nvme_user_submit(q, SESSION_OWED, 0x7f, 0, 1);
	TRY(nvme_user_ring(q, &s->err));
	for (int i = 0; !n && i < PATIENCE_MS; i++) {
		n = nvme_user_poll(q, &done, 1, &s->err);
		if (!n)
			TRY(ob_client_poll(s->client, 1, &s->err));
	}
	return n < 0 ? n : n ? 0 : ob_fail(&s->err, ETIMEDOUT, "nothing is taken");
}

static int outgoing(struct scene *s)
{
	struct session_stream *stream = &current->stream;

	TRY(connect_to(s, "out", false));
	TRY(bring_up(s, false));
	TRY(leave_in_flight(s));
	TRY(leave_and_stay(s, false));
	stream->memory_addr = s->disk->memory_addr;
	stream->memory_size = s->disk->memory_size;
	stream->buffers_addr = s->disk->queues[0].buffers_addr;
	ob_client_destroy(s->client);
	s->client = NULL;
	s->disk = NULL;
	current->count = 0;	/* others have the stream already */
	return 0;
}

/* -- where it comes in ---------------------------------------------------- */

/* Memory where the guest has it; nothing is in it yet. */
static int give_memory(struct scene *s)
{
	struct session_stream *stream = &current->stream;
	struct ob_client_dma map = {
		.addr = stream->memory_addr, .size = stream->memory_size,
		.readable = true, .writable = true,
		.fd = memfd_create("guest", MFD_CLOEXEC),
	};
	void *memory;

	if (map.fd < 0 || ftruncate(map.fd, (off_t)map.size))
		return -errno;
	memory = mmap(NULL, map.size, PROT_READ | PROT_WRITE, MAP_SHARED, map.fd,
		      0);
	if (memory == MAP_FAILED)
		return -errno;
	s->memory = memory;
	TRY(ob_client_dma_map(s->client, &map, &s->err));
	close(map.fd);
	return 0;
}

/* Each block of the image is full of its number and one. */
static bool is_done(const struct scene *s, unsigned i)
{
	const struct session_stream *stream = &current->stream;
	const uint8_t *buf = s->memory + (stream->buffers_addr -
					  stream->memory_addr) + i * 2 * BLOCK;

	return buf[0] == i + 1 && buf[BLOCK - 1] == i + 1;
}

static int await_owed(struct scene *s)
{
	for (unsigned i = 0, waits = 0; i < SESSION_OWED; waits++) {
		i += is_done(s, i);
		if (waits > PATIENCE_MS)
			return ob_fail(&s->err, ETIMEDOUT, "what was in flight "
				       "is not done: read %u", i);
		if (i < SESSION_OWED && ob_client_poll(s->client, 1, &s->err) < 0)
			return -ECONNRESET;
	}
	return 0;
}

static int leave(struct scene *s)
{
	enum ob_client_mig_state state;

	TRY(ob_client_reset(s->client, &s->err));
	TRY(ob_client_mig_get(s->client, &state, &s->err));
	record("after arrival", (int)state, NULL, 0);
	TRY(bring_up(s, true));
	TRY(batch(s, "on arrival", 0, NVME_USER_READ, 0, BATCH, 0));
	next_op();
	nvme_user_close(s->disk);
	s->disk = NULL;
	ob_client_destroy(s->client);
	s->client = NULL;
	munmap(s->memory, current->stream.memory_size);
	return 0;
}

/* -- by the client ---------------------------------------------------------- */

static int by_client(struct scene *s, const char *name)
{
	bool loaded = false;

	s->loads++;
	TRY(connect_to(s, name, false));
	TRY(give_memory(s));
	for (unsigned i = 0; i < TRIES && !loaded; i++) {
		TRY(load(s, &loaded));
		if (!loaded)
			TRY(ob_client_reset(s->client, &s->err));
	}
	current->loaded += loaded;
	if (loaded) {
		TRY(is_there(s));
		TRY(set_state(s, OB_CLIENT_RUNNING));
		TRY(is_there(s));
		TRY(await_owed(s));
	}
	TRY(ob_client_dma_unmap_all(s->client, &s->err));
	return leave(s);
}

/* -- by the operator --------------------------------------------------------- */

static int ask(struct scene *s, const char *method, const char *device, int fd,
	       struct control_link **link)
{
	char path[128];
	int r = -ENOENT;

	snprintf(path, sizeof(path), "%s/control", s->folder);
	for (unsigned i = 0; i < CONTROL_TRIES && r; i++) {
		r = control_open(path, link, &s->err);
		if (r)
			pause_a_moment();
	}
	return r ? r : control_send(*link, method,
				    json_pack("{s:s}", "device", device), fd,
				    &s->err);
}

/* 1: it was not done, or nobody lived to say so. */
static int hear(struct scene *s, struct control_link *link)
{
	json_t *result = NULL;
	int r = control_receive(link, PATIENCE_MS, &result, &s->err);

	json_decref(result);
	control_close(link);
	return r == -ECONNRESET || r == -EREMOTEIO || r == -EPIPE ? 1 : r;
}

static void send_all(int fd)
{
	const struct session_stream *stream = &current->stream;
	ssize_t n = 0;
	int left = 1;

	for (size_t at = 0; n >= 0 && at < stream->len; at += (size_t)n)
		n = send(fd, stream->data + at, stream->len - at, MSG_NOSIGNAL);
	/* Until it has been read, or nobody is there any more. */
	for (unsigned i = 0; i < CONTROL_TRIES && n >= 0 && left; i++) {
		struct pollfd p = { .fd = fd };

		if (ioctl(fd, SIOCOUTQ, &left) ||
		    (poll(&p, 1, 0) == 1 && p.revents & POLLHUP))
			return;
		pause_a_moment();
	}
}

static int load_there(struct scene *s, const char *device, bool *loaded)
{
	struct control_link *link = NULL;
	int fds[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	next_op();
	r = ask(s, "device.load", device, fds[1], &link);
	close(fds[1]);
	if (r == -EPIPE || r == -ECONNRESET)
		r = 0;
	else if (!r)
		send_all(fds[0]);
	/* With the end of it begins what becomes of it. */
	next_op();
	begin_load(s);
	close(fds[0]);
	r = r ? r : hear(s, link);
	end_load();
	*loaded = !r;
	return r < 0 ? r : 0;
}

static int resume(struct scene *s, const char *device)
{
	struct control_link *link = NULL;
	int r = 1;

	for (unsigned i = 0; i < TRIES && r > 0; i++) {
		next_op();
		r = ask(s, "device.resume", device, -1, &link);
		r = r == -EPIPE || r == -ECONNRESET ? 1 : r ? r : hear(s, link);
	}
	return r > 0 ? ob_fail(&s->err, EILSEQ, "%s does not run again", device) :
	       r;
}

static int by_operator(struct scene *s, const char *name)
{
	bool loaded = false;

	s->loads++;
	TRY(connect_to(s, name, false));
	TRY(give_memory(s));
	for (unsigned i = 0; i < TRIES && !loaded; i++)
		TRY(load_there(s, name, &loaded));
	current->loaded += loaded;
	if (loaded)
		TRY(is_there(s));
	TRY(resume(s, name));
	if (loaded) {
		TRY(is_there(s));
		TRY(await_owed(s));
	}
	TRY(ob_client_dma_unmap_all(s->client, &s->err));
	return leave(s);
}

static int all(struct scene *s)
{
	if (!current->stream.is_whole)
		TRY(outgoing(s));
	TRY(by_client(s, "in0"));
	TRY(by_operator(s, "op0"));
	TRY(by_client(s, "in1"));
	return by_operator(s, "op1");
}

int session_arrival(struct session *session, const char *folder)
{
	return play(session, folder, all);
}
