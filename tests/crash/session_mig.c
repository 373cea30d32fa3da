// SPDX-License-Identifier: BSD-3-Clause
/*
 * A session's migrations: two that are called off, one that comes in.
 *
 * A stream that a death cuts short ends with an error, whichever way it goes, and
 * the device goes on; that is right, and so is the other outcome, so neither is
 * recorded.  What comes in is what an undisturbed session has sent, or hardly
 * any of the others would have a whole one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "session_impl.h"

#define CHUNK 16384u
#define BUSY_TRIES 50u

static bool is_fatal(int r)
{
	return r == -ECONNRESET || r == -ETIMEDOUT || r == -EPROTO;
}

/* One that asks while the requests of the dead are still in the kernel is told so,
 * after a while, and asks again. */
int set_state(struct scene *s, enum ob_client_mig_state state)
{
	const struct timespec pause = { 0, 20000000 };
	int r = ob_client_mig_set(s->client, state, &s->err);

	for (unsigned i = 0; r == -EBUSY && i < BUSY_TRIES; i++) {
		nanosleep(&pause, NULL);
		r = ob_client_mig_set(s->client, state, &s->err);
	}
	return r;
}

/* The first that is whole; nothing of it is kept in a session that has one. */
static void keep_stream(const uint8_t *data, size_t len, uint64_t asq)
{
	struct session_stream *stream = &current->stream;

	if (stream->is_whole || len > sizeof(stream->data) - stream->len)
		return;
	memcpy(stream->data + stream->len, data, len);
	stream->len += (uint32_t)len;
	stream->asq = asq;
}

int leave_and_stay(struct scene *s, bool pre_copy)
{
	enum ob_client_mig_state state;
	struct ob_client_mig info = { 0 };
	size_t got = sizeof(s->buf);
	int r;

	TRY(ob_client_mig_info(s->client, &info, &s->err));
	record("migration", info.stop_copy | info.pre_copy << 1, NULL, 0);
	if (pre_copy)
		TRY(set_state(s, OB_CLIENT_PRE_COPY));
	TRY(set_state(s, OB_CLIENT_STOP_COPY));
	for (r = 0; !r && got == sizeof(s->buf);) {
		r = ob_client_mig_read(s->client, s->buf, sizeof(s->buf), &got,
				       &s->err);
		if (r == -EBUSY) {	/* its drive has not ended yet */
			r = 0;
			got = sizeof(s->buf);
			continue;
		}
		if (!r)
			keep_stream(s->buf, got, s->disk->admin.sq_addr);
	}
	if (is_fatal(r))
		return r;
	current->stream.is_whole |= !r;
	TRY(ob_client_mig_get(s->client, &state, &s->err));
	record("stopped", (int)state, NULL, 0);
	TRY(set_state(s, OB_CLIENT_RUNNING));
	TRY(ob_client_mig_get(s->client, &state, &s->err));
	record("running", (int)state, NULL, 0);
	return 0;
}

/* Too much may be told, too little not: the page that was just read into. */
int dirty_log(struct scene *s)
{
	uint64_t pages = s->disk->memory_size / PAGE, at, *bitmap;
	bool told;

	bitmap = calloc((pages + 63) / 64, sizeof(*bitmap));
	if (!bitmap)
		return -ENOMEM;
	TRY(ob_client_log_start(s->client, PAGE, NULL, 0, NULL, &s->err));
	TRY(batch(s, "read logged", 0, NVME_USER_READ, 0, 4, 0));
	TRY(ob_client_log_report(s->client, s->disk->memory_addr,
				 s->disk->memory_size, PAGE, bitmap, &s->err));
	at = (s->disk->queues[0].buffers_addr - s->disk->memory_addr) / PAGE;
	told = bitmap[at / 64] >> at % 64 & 1;
	free(bitmap);
	record("dirty", told, NULL, 0);
	TRY(ob_client_log_stop(s->client, &s->err));
	return told ? 0 : ob_fail(&s->err, EILSEQ, "the log misses a page");
}

void begin_load(struct scene *s)
{
	current->load = s->loads;
}

void end_load(void)
{
	current->load = 0;
}

int load(struct scene *s, bool *loaded)
{
	const struct session_stream *stream = &current->stream;
	uint32_t at = 0, len;
	int r = 0;

	TRY(set_state(s, OB_CLIENT_STOP));
	TRY(set_state(s, OB_CLIENT_RESUMING));
	for (; !r && at < stream->len; at += len) {
		len = stream->len - at < CHUNK ? stream->len - at : CHUNK;
		r = ob_client_mig_write(s->client, stream->data + at, len,
					&s->err);
	}
	if (!r) {
		begin_load(s);
		r = ob_client_mig_set(s->client, OB_CLIENT_STOP, &s->err);
		end_load();
	}
	*loaded = !r;
	return is_fatal(r) ? r : 0;
}

int is_there(struct scene *s)
{
	uint64_t asq = 0;

	TRY(ob_client_read(s->client, OB_CLIENT_BAR0, 0x28, &asq, 8, &s->err));
	return asq == current->stream.asq ? 0 :
		ob_fail(&s->err, EILSEQ, "what has come in is lost");
}

int arrive(struct scene *s)
{
	enum ob_client_mig_state state;
	bool loaded;

	TRY(load(s, &loaded));
	current->loaded += loaded;
	if (loaded) {
		TRY(is_there(s));
		TRY(set_state(s, OB_CLIENT_RUNNING));
		TRY(is_there(s));
	}
	TRY(ob_client_reset(s->client, &s->err));
	TRY(ob_client_mig_get(s->client, &state, &s->err));
	record("after arrival", (int)state, NULL, 0);
	return 0;
}
