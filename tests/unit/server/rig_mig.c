// SPDX-License-Identifier: BSD-3-Clause
#include "rig_mig.h"

#include <stdlib.h>
#include <string.h>

struct rig *rig_mig_start(const char *options)
{
	struct rig *rig = rig_start(options, NULL);

	rig_connect(rig);
	assert_int_equal(rig_version(rig, RIG_EXTENSIONS), 0);
	return rig;
}

int rig_feature(struct rig *rig, uint32_t argsz, uint32_t flags,
		const void *data, size_t len)
{
	uint8_t body[64];
	uint32_t head[2] = { argsz, flags };

	assert_true(len <= sizeof(body) - sizeof(head));
	memcpy(body, head, sizeof(head));
	memcpy(body + sizeof(head), data, len);
	return rig_call(rig, FEATURE, body, sizeof(head) + len);
}

void rig_mig_ask(struct rig *rig, uint32_t state)
{
	uint32_t body[4] = { 16, SET | 2, state, UINT32_MAX };

	rig_send(rig, FEATURE, 0, body, sizeof(body), NULL, 0);
}

int rig_mig_set(struct rig *rig, uint32_t state)
{
	uint32_t data[2] = { state, UINT32_MAX };
	int r = rig_feature(rig, 16, SET | 2, data, sizeof(data));

	if (r == 0) {
		assert_int_equal(rig->len, 16);
		assert_memory_equal(rig->reply + 8, data, sizeof(data));
	}
	return r;
}

uint32_t rig_mig_get(struct rig *rig)
{
	uint32_t answer[2];

	assert_int_equal(rig_feature(rig, 16, GET | 2, "", 0), 0);
	assert_int_equal(rig->len, 16);
	memcpy(answer, rig->reply + 8, sizeof(answer));
	assert_int_equal(answer[1], UINT32_MAX);
	return answer[0];
}

int rig_mig_read(struct rig *rig, uint32_t size, void *buf, uint32_t *got)
{
	uint32_t ask[2] = { 8 + size, size }, answer[2];
	int r = rig_call(rig, MIG_READ, ask, sizeof(ask));

	assert_true(rig->len >= 8);
	if (r)
		return r;
	memcpy(answer, rig->reply, sizeof(answer));
	assert_int_equal(answer[0], rig->len);
	assert_int_equal(answer[1] + 8, rig->len);
	assert_true(answer[1] <= size);
	if (answer[1])
		memcpy(buf, rig->reply + 8, answer[1]);
	*got = answer[1];
	return 0;
}

int rig_mig_write(struct rig *rig, const void *bytes, uint32_t len)
{
	uint32_t head[2] = { 8 + len, len };
	uint8_t *body = malloc(8 + len);
	int r;

	assert_non_null(body);
	memcpy(body, head, 8);
	memcpy(body + 8, bytes, len);
	r = rig_call(rig, MIG_WRITE, body, 8 + len);
	assert_int_equal(rig->len, 0);
	free(body);
	return r;
}

const char *rig_why(struct rig *rig)
{
	assert_int_equal(rig_feature(rig, 264, GET | 0xfb01, "", 0), 0);
	assert_int_equal(rig->len, 264);
	assert_int_equal(rig->reply[263], 0);
	return (char *)rig->reply + 8;
}

void rig_read_all(struct rig *rig, struct stream *stream, uint32_t piece)
{
	uint32_t got = 0;

	do {
		if (stream->room - stream->len < piece) {
			stream->room += piece + (1u << 20);
			stream->bytes = realloc(stream->bytes, stream->room);
			assert_non_null(stream->bytes);
		}
		assert_int_equal(rig_mig_read(rig, piece, stream->bytes +
					      stream->len, &got), 0);
		stream->len += got;
	} while (got == piece);
}

int rig_write_all(struct rig *rig, const struct stream *stream, uint32_t piece)
{
	size_t at = 0;
	int r = 0;

	for (; at < stream->len && !r; at += piece)
		r = rig_mig_write(rig, stream->bytes + at,
				  stream->len - at < piece ?
				  (uint32_t)(stream->len - at) : piece);
	return r;
}

void rig_save(struct rig *rig, struct stream *stream)
{
	assert_int_equal(rig_mig_set(rig, S_COPY), 0);
	rig_read_all(rig, stream, 1u << 20);
	assert_int_equal(rig_mig_set(rig, S_STOP), 0);
}

void rig_load(struct rig *rig, const struct stream *stream)
{
	assert_int_equal(rig_mig_set(rig, S_RESUMING), 0);
	assert_int_equal(rig_write_all(rig, stream, 1u << 20), 0);
}

void stream_free(struct stream *stream)
{
	free(stream->bytes);
	*stream = (struct stream){ 0 };
}
