// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mig_peer.h"

enum { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY,
       PRE_COPY_P2P };

static const char *const names[] = {
	"ERROR", "STOP", "RUNNING", "STOP_COPY", "RESUMING", "RUNNING_P2P",
	"PRE_COPY", "PRE_COPY_P2P",
};

struct mig_trace mig_trace_log;

/* One call at a time is under way, so that the order is the callers'. */
void mig_trace(const char *fmt, ...)
{
	va_list ap;

	if (mig_trace_log.count == MIG_TRACE_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(mig_trace_log.lines[mig_trace_log.count++],
		  sizeof(mig_trace_log.lines[0]), fmt, ap);
	va_end(ap);
}

int mig_find(const char *line, int from)
{
	for (int i = from < 0 ? 0 : from; i < (int)mig_trace_log.count; i++)
		if (!strcmp(mig_trace_log.lines[i], line))
			return i;
	return -1;
}

static uint32_t u32_at(const struct peer *p, size_t at)
{
	uint32_t v = 0;

	if (at + sizeof(v) <= p->len)
		memcpy(&v, p->payload + at, sizeof(v));
	return v;
}

static uint64_t u64_at(const struct peer *p, size_t at)
{
	return u32_at(p, at) | (uint64_t)u32_at(p, at + 4) << 32;
}

/* Never 0xff: that is the end. */
static uint8_t byte_at(uint64_t at)
{
	return (uint8_t)(at * 7 % 251);
}

static void refuse(struct mig_peer *m, uint32_t error)
{
	struct {
		struct peer_header hdr;
		uint8_t payload[24];
	} reply = { 0 };

	if (!(m->quirks & MIG_ERROR_PAYLOAD)) {
		peer_error(&m->peer, error);
		return;
	}
	reply.hdr = (struct peer_header){
		m->peer.hdr.id, m->peer.hdr.cmd, sizeof(reply), 1 | 32, error,
	};
	peer_send(&m->peer, &reply, sizeof(reply));
}

static void confirm(struct mig_peer *m)
{
	if (m->quirks & MIG_ECHO)
		peer_reply(&m->peer, m->peer.payload, m->peer.len);
	else
		peer_reply(&m->peer, NULL, 0);
}

static void answer(struct mig_peer *m, const void *data, size_t len)
{
	uint8_t bytes[256];

	memcpy(bytes, m->peer.payload, 8);
	memcpy(bytes + 8, data, len);
	peer_reply(&m->peer, bytes, 8 + len);
}

/* One row for each state: the states that a VMM may ask for from there. */
static bool allowed(uint32_t from, uint32_t to)
{
	static const uint8_t rows[8] = {
		[ERROR] = 0,
		[STOP] = 1 << RUNNING | 1 << STOP_COPY | 1 << RESUMING |
			 1 << RUNNING_P2P,
		[RUNNING] = 0xfe, [RUNNING_P2P] = 0xfe,
		[STOP_COPY] = 1 << STOP | 1 << RUNNING | 1 << RESUMING,
		[RESUMING] = 1 << STOP | 1 << RUNNING | 1 << STOP_COPY,
		[PRE_COPY] = 1 << RUNNING | 1 << STOP_COPY | 1 << STOP |
			     1 << PRE_COPY_P2P,
		[PRE_COPY_P2P] = 1 << RUNNING | 1 << STOP_COPY |
				 1 << RUNNING_P2P | 1 << PRE_COPY,
	};

	return from == to || rows[from] >> to & 1;
}

static bool saves(uint32_t state)
{
	return state == PRE_COPY || state == PRE_COPY_P2P ||
	       state == STOP_COPY;
}

static void enter(struct mig_peer *m, uint32_t to)
{
	if (!saves(m->state) && saves(to)) {
		m->at = 0;
		m->live_left = m->live;
		m->rest_left = m->rest;
		m->end_left = 1;
	}
	if (to == RESUMING) {
		m->arrived = 0;
		m->ended = false;
	}
	m->state = to;
}

static void set_state(struct mig_peer *m)
{
	uint32_t to = u32_at(&m->peer, 8);

	PEER_EXPECT(&m->peer, to >= 1 && to < 8);
	mig_trace("%s %s", m->name, names[to & 7]);
	if (!allowed(m->state, to) ||
	    (m->quirks & MIG_KEEP_STOPPED && to == RUNNING)) {
		refuse(m, EINVAL);
		return;
	}
	if (m->quirks & MIG_BUSY_ONCE && to == RUNNING) {
		m->quirks &= ~(unsigned)MIG_BUSY_ONCE;
		refuse(m, EBUSY);
		return;
	}
	if (m->state == RESUMING && to != RESUMING) {
		if (!m->ended || m->quirks & MIG_REFUSE_LOAD) {
			m->state = ERROR;
			refuse(m, EINVAL);
			return;
		}
		m->loaded = true;
	}
	enter(m, to);
	confirm(m);
}

static void get_state(struct mig_peer *m)
{
	uint32_t data[2] = { m->state, UINT32_MAX };

	answer(m, data, sizeof(data));
}

static void log_start(struct mig_peer *m)
{
	if (u32_at(&m->peer, 4) & 1 << 18) {	/* PROBE */
		if (m->quirks & MIG_NO_LOG)
			refuse(m, ENOTTY);
		else
			confirm(m);
		return;
	}
	mig_trace("%s log", m->name);
	PEER_EXPECT(&m->peer, !m->logging);
	PEER_EXPECT(&m->peer, m->peer.len ==
		    8 + 16 + 16 * (size_t)u32_at(&m->peer, 16));
	m->logging = true;
	confirm(m);
}

static void log_report(struct mig_peer *m)
{
	uint8_t bytes[8 + 24 + MIG_XFER] = { 0 };
	uint64_t iova = u64_at(&m->peer, 8), length = u64_at(&m->peer, 16);
	uint64_t page = u64_at(&m->peer, 24), bit;
	size_t bits = (size_t)((length / page + 63) / 64 * 8);

	mig_trace("%s report", m->name);
	PEER_EXPECT(&m->peer, m->logging);
	PEER_EXPECT(&m->peer, m->peer.len == 32);
	PEER_EXPECT(&m->peer, 32 + bits <= MIG_XFER);
	PEER_EXPECT(&m->peer, u32_at(&m->peer, 0) >= 32 + bits);
	m->reports++;
	if (m->state != STOP_COPY)
		m->live_left += m->again;
	memcpy(bytes, m->peer.payload, 32);
	bit = (m->dirty_page - iova) / page;
	if (m->dirty_page >= iova && m->dirty_page - iova < length)
		bytes[32 + bit / 8] |= (uint8_t)(1 << bit % 8);
	peer_reply(&m->peer, bytes, 32 + bits);
}

static void feature(struct mig_peer *m)
{
	uint64_t flags = 7;
	uint64_t info[2] = { m->live_left, 0 };
	uint64_t size = m->live_left + m->rest_left + m->end_left;
	char text[256] = "hot.sqs[3].head: no\nsuch";

	switch (u32_at(&m->peer, 4) & 0xffff) {
	case 1:
		flags &= ~(m->quirks & MIG_NO_PRECOPY ? 4u : 0);
		flags &= ~(m->quirks & MIG_NO_P2P ? 2u : 0);
		if (m->quirks & MIG_NO_MIGRATION)
			refuse(m, ENOTTY);
		else
			answer(m, &flags, sizeof(flags));
		return;
	case 2:
		if (u32_at(&m->peer, 4) & 1 << 17)
			set_state(m);
		else
			get_state(m);
		return;
	case 6:
		log_start(m);
		return;
	case 7:
		mig_trace("%s nolog", m->name);
		m->logging = false;
		confirm(m);
		return;
	case 8:
		log_report(m);
		return;
	case 9:
		if (m->quirks & MIG_NO_SIZE)
			refuse(m, ENOTTY);
		else
			answer(m, &size, sizeof(size));
		return;
	case 0xfb00:
		PEER_EXPECT(&m->peer, saves(m->state));
		answer(m, info, sizeof(info));
		return;
	case 0xfb01:
		answer(m, text, 200);
		return;
	}
	refuse(m, ENOTTY);
}

/* What can go early, then, once it stands still, the rest and the last byte. */
static bool next_byte(struct mig_peer *m, uint8_t *byte)
{
	*byte = byte_at(m->at);
	if (m->live_left) {
		m->live_left--;
	} else if (m->state != STOP_COPY || !m->end_left) {
		return false;
	} else if (m->rest_left) {
		m->rest_left--;
	} else {
		m->end_left--;
		*byte = 0xff;
	}
	m->at++;
	return true;
}

/* The end would be in it. */
static bool is_busy(struct mig_peer *m, uint32_t asked)
{
	if (m->state != STOP_COPY || !m->end_left || !m->busy_reads ||
	    m->live_left + m->rest_left + m->end_left > asked)
		return false;
	m->busy_reads--;
	mig_trace("%s busy", m->name);
	return true;
}

static void data_read(struct mig_peer *m)
{
	uint8_t bytes[8 + MIG_XFER] = { 0 };
	uint32_t asked = u32_at(&m->peer, 4), n = 0;

	PEER_EXPECT(&m->peer, m->peer.len == 8);
	PEER_EXPECT(&m->peer, asked <= m->xfer && saves(m->state));
	if (m->quirks & MIG_SHORT && m->state == PRE_COPY && asked > 1000)
		asked = 1000;
	if (is_busy(m, asked)) {
		refuse(m, EBUSY);
		return;
	}
	while (n < asked && next_byte(m, bytes + 8 + n))
		n++;
	memcpy(bytes, m->peer.payload, 4);
	memcpy(bytes + 4, &n, sizeof(n));
	peer_reply(&m->peer, bytes, 8 + (m->quirks & MIG_PAD ? asked : n));
}

static void data_write(struct mig_peer *m)
{
	uint32_t n = u32_at(&m->peer, 4);

	PEER_EXPECT(&m->peer, m->state == RESUMING && n <= m->xfer);
	PEER_EXPECT(&m->peer, m->peer.len == 8 + (size_t)n);
	PEER_EXPECT(&m->peer, !m->ended);
	for (uint32_t i = 0; i < n; i++, m->arrived++) {
		if (m->peer.payload[8 + i] == 0xff)
			m->ended = true;
		else
			PEER_EXPECT(&m->peer, m->peer.payload[8 + i] ==
					      byte_at(m->arrived));
	}
	peer_reply(&m->peer, NULL, 0);
}

static void reset(struct mig_peer *m)
{
	mig_trace("%s reset", m->name);
	m->resets++;
	m->state = RUNNING;
	m->loaded = false;
	peer_reply(&m->peer, NULL, 0);
}

static void serve(struct mig_peer *m)
{
	int call = m->calls++;

	if (call == m->fail_at) {
		mig_trace("%s fails", m->name);
		m->failed = true;
		refuse(m, EIO);
		return;
	}
	switch (m->peer.hdr.cmd) {
	case 13:
		reset(m);
		return;
	case 16:
		feature(m);
		return;
	case 17:
		data_read(m);
		return;
	case 18:
		data_write(m);
		return;
	}
	PEER_EXPECT(&m->peer, !"a command of migration");
	refuse(m, ENOSYS);
}

static void script(struct peer *p)
{
	struct mig_peer *m = p->arg;
	char json[256];

	snprintf(json, sizeof(json), "{\"capabilities\":{"
		 "\"max_data_xfer_size\":%u%s}}", m->xfer,
		 m->quirks & MIG_NO_EXTRAS
			 ? "" : ",\"outboard_precopy_info\":true,"
				"\"outboard_error_text\":true");
	peer_version(p, json);
	while (peer_take(p) == 0) {
		if (m->calls == m->die_at) {
			m->failed = true;
			return;
		}
		serve(m);
	}
}

void mig_peer_start(struct mig_peer *m)
{
	m->peer.arg = m;
	m->xfer = m->xfer ? m->xfer : MIG_XFER;
	if (!m->in_error)
		m->state = m->state ? m->state : RUNNING;
	peer_start(&m->peer, script);
	m->client = peer_attach(&m->peer, NULL);
}

void mig_peer_end(struct mig_peer *m)
{
	ob_client_destroy(m->client);
	peer_end(&m->peer);
}
