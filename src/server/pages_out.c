// SPDX-License-Identifier: BSD-3-Clause
/*
 * Pages that a device wrote, on their way out (docs/live-migration.md).
 *
 *	LIVE	rounds through the log; a page that is dirty is copied, and the copy
 *		summed and sent.  Between rounds there is a pause
 *	LAST	the VM stands still: what is left of the round, and another one
 *	VERIFY	what was sent is read again; what differs from what was sent was
 *		written by somebody else, and is dropped
 *	END
 *
 * The log is taken in windows, of which the bits are ours then.  A stream gives
 * back what it took and what it sent, so that another one sends it: also one that
 * has ended, since the destination may lose what it keeps aside.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/device_impl.h"
#include "server/dirty.h"
#include "server/operator_impl.h"
#include "server/page_map.h"
#include "server/pages.h"
#include "state/stream.h"
#include "state/wire.h"

#define WINDOW_WORDS 512u
#define WINDOW_PAGES (WINDOW_WORDS * 64u)
#define RUN_PAGES 64u			/* of one record */
#define VERIFY_PAGES 4096u		/* of one turn */
#define PAUSE_NS 50000000u		/* between rounds */

enum phase { LIVE, LAST, VERIFY, END, OVER };

struct ob_pages_out {
	struct ob_operator *o;
	struct ob_operation *op;
	struct ob_flow flow;
	struct ob_timer pause;
	enum phase phase;
	struct ob_page_map sums;	/* of what was sent, by page */
	uint64_t bits[WINDOW_WORDS];	/* taken out of the log, */
	uint64_t base, word;		/* from this page on; where we are */
	uint64_t next;			/* page of the next window */
	uint64_t verified;		/* page */
	uint64_t sent, dropped, bytes, unmapped;
	uint32_t crc;			/* of the stream */
	size_t len, at;			/* of the record in hand; gone */
	uint8_t record[OB_PAGES_HEAD + RUN_PAGES * OB_PAGE_SIZE + OB_PAGES_SUM];
};

static struct ob_device *device_of(const struct ob_pages_out *p)
{
	return p->o->dev;
}

/* What was taken and what was sent is dirty again. */
static void give_back(struct ob_pages_out *p)
{
	struct ob_dirty *log = device_of(p)->dma.op_log;
	uint64_t page, sum;

	if (!log)
		return;
	for (page = 0; ob_page_map_next(&p->sums, &page, &sum); page++)
		ob_dirty_mark(log, page << OB_PAGE_SHIFT, OB_PAGE_SIZE);
	for (page = 0; page < WINDOW_PAGES; page++)
		if (p->bits[page / 64] >> (page % 64) & 1)
			ob_dirty_mark(log, (p->base + page) << OB_PAGE_SHIFT,
				      OB_PAGE_SIZE);
}

void ob_pages_out_end(struct ob_operator *o, int r, const struct ob_err *err)
{
	struct ob_pages_out *p = o->out;

	if (!p)
		return;
	o->out = NULL;
	ob_flow_close(&p->flow);
	ob_timer_cancel(o->dev->loop, &p->pause);
	give_back(p);
	if (p->op) {
		p->op->bytes = p->bytes;
		p->op->pages = p->sums.count;
		p->op->dropped = p->dropped;
	}
	ob_page_map_finish(&p->sums);
	ob_operation_end(&p->op, r, err);
	free(p);
}

bool ob_pages_out_cancel(struct ob_operator *o, struct ob_operation *op)
{
	struct ob_err why = { "nobody waits for it" };

	if (!o->out || o->out->op != op)
		return false;
	o->out->op = NULL;
	ob_pages_out_end(o, -ECANCELED, &why);
	return true;
}

/* Records */

static void put_head(struct ob_pages_out *p, uint64_t iova, uint32_t length,
		     enum ob_pages_kind kind)
{
	ob_le_store(p->record, iova, 8);
	ob_le_store(p->record + 8, length, 4);
	ob_le_store(p->record + 12, kind, 4);
	p->len = OB_PAGES_HEAD + (kind == OB_PAGES_DATA ? length : 0);
	p->crc = ob_crc32c(p->crc, p->record, p->len);
	ob_le_store(p->record + p->len, p->crc, OB_PAGES_SUM);
	p->len += OB_PAGES_SUM;
	p->at = 0;
}

/* The log, window by window */

/* The next one that the log has; false: the round is over. */
static bool find_window(struct ob_pages_out *p, const struct ob_dirty *log)
{
	const unsigned shift = OB_DIRTY_CHUNK_SHIFT - OB_PAGE_SHIFT;
	uint32_t i = ob_dirty_chunk_from(log, p->next >> shift);

	if (i == log->nr)
		return false;
	if (log->chunks[i].index > p->next >> shift)
		p->next = log->chunks[i].index << shift;
	return true;
}

/* 1: there is one; 0: the round is over. */
static int take_window(struct ob_pages_out *p, struct ob_err *err)
{
	struct ob_dirty *log = device_of(p)->dma.op_log;
	struct ob_dirty_query query = {
		.length = WINDOW_PAGES * OB_PAGE_SIZE, .page_size = OB_PAGE_SIZE,
	};
	const uint64_t *bitmap;

	if (log->is_blind)
		return ob_fail(err, ENOMEM, "the log had no room for writes to "
			       "%#llx..%#llx", (unsigned long long)log->blind.first,
			       (unsigned long long)log->blind.last);
	if (!find_window(p, log))
		return 0;
	query.iova = p->next << OB_PAGE_SHIFT;
	if (ob_dirty_take(log, &query, &bitmap))
		return ob_fail(err, ENOMEM, "out of memory");
	memcpy(p->bits, bitmap, sizeof(p->bits));
	p->base = p->next;
	p->word = 0;
	p->next += WINDOW_PAGES;
	return 1;
}

/* A run of dirty pages of the window, taken; false: there is none left. */
static bool take_run(struct ob_pages_out *p, uint64_t *first, unsigned *count)
{
	uint64_t set, n;

	while (p->word < WINDOW_WORDS && !p->bits[p->word])
		p->word++;
	if (p->word == WINDOW_WORDS)
		return false;
	set = p->bits[p->word];
	n = (uint64_t)__builtin_ctzll(set);
	*first = p->base + p->word * 64 + n;
	set = ~(set >> n);
	*count = set ? (unsigned)__builtin_ctzll(set) : 64;
	if (*count > 64 - n)
		*count = (unsigned)(64 - n);
	p->bits[p->word] &= ~((~UINT64_C(0) >> (64 - *count)) << n);
	return true;
}

/* Memory that is mapped no more cannot be read; perhaps it comes back. */
static void put_off(struct ob_pages_out *p, uint64_t page)
{
	if (p->phase == LIVE)
		ob_dirty_mark(device_of(p)->dma.op_log, page << OB_PAGE_SHIFT,
			      OB_PAGE_SIZE);
	else
		p->unmapped++;
}

/* The copies of those of the run that are mapped in a row; how many, or an error. */
static int copy_run(struct ob_pages_out *p, uint64_t first, unsigned count,
		    struct ob_err *err)
{
	uint8_t *data = p->record + OB_PAGES_HEAD;
	unsigned i;
	int r;

	for (i = 0; i < count; i++, data += OB_PAGE_SIZE) {
		r = ob_pages_read(device_of(p), (first + i) << OB_PAGE_SHIFT,
				  OB_PAGE_SIZE, data, err);
		if (r == -EFAULT)
			break;
		if (!r && ob_page_map_set(&p->sums, first + i,
					  ob_crc64(data, OB_PAGE_SIZE)))
			r = ob_fail(err, ENOMEM, "out of memory");
		if (r)
			return r;
	}
	return (int)i;
}

static void untake(struct ob_pages_out *p, uint64_t first, unsigned count)
{
	while (count--)
		p->bits[(first + count - p->base) / 64] |=
			UINT64_C(1) << ((first + count - p->base) % 64);
}

/* The record of a run.  1: made; 0: nothing of it is mapped. */
static int make_data(struct ob_pages_out *p, uint64_t first, unsigned count,
		     struct ob_err *err)
{
	int n = copy_run(p, first, count, err);

	if (n < 0) {
		untake(p, first, count);
		return n;
	}
	if ((unsigned)n < count) {
		put_off(p, first + (unsigned)n);
		untake(p, first + (unsigned)n + 1, count - (unsigned)n - 1);
	}
	if (n == 0)
		return 0;
	put_head(p, first << OB_PAGE_SHIFT, (uint32_t)n << OB_PAGE_SHIFT,
		 OB_PAGES_DATA);
	p->sent += (unsigned)n;
	return 1;
}

/* 1: a record is in hand; 0: the round is over. */
static int next_data(struct ob_pages_out *p, struct ob_err *err)
{
	uint64_t first;
	unsigned count;
	int r;

	do {
		while (take_run(p, &first, &count)) {
			r = make_data(p, first, count, err);
			if (r)
				return r;
		}
		r = take_window(p, err);
	} while (r > 0);
	return r;
}

/* Verification */

static bool is_as_sent(struct ob_pages_out *p, uint64_t page, uint64_t sum)
{
	uint8_t *copy = p->record;

	return !ob_pages_read(device_of(p), page << OB_PAGE_SHIFT, OB_PAGE_SIZE,
			      copy, NULL) &&
	       ob_crc64(copy, OB_PAGE_SIZE) == sum;
}

static void drop(struct ob_pages_out *p, uint64_t page)
{
	ob_page_map_clear(&p->sums, page);
	p->dropped++;
	put_head(p, page << OB_PAGE_SHIFT, OB_PAGE_SIZE, OB_PAGES_DROP);
}

/* 1: a record is in hand; 0: all have been looked at; -EAGAIN: go on. */
static int next_drop(struct ob_pages_out *p)
{
	uint64_t sum;
	unsigned i;

	for (i = 0; i < VERIFY_PAGES; i++) {
		if (!ob_page_map_next(&p->sums, &p->verified, &sum))
			return 0;
		if (!is_as_sent(p, p->verified, sum)) {
			drop(p, p->verified++);
			return 1;
		}
		p->verified++;
	}
	return -EAGAIN;
}

/* Phases */

static void pause_round(struct ob_pages_out *p)
{
	p->next = 0;
	ob_flow_want(&p->flow, false);
	ob_timer_arm(device_of(p)->loop, &p->pause, PAUSE_NS);
}

static void tell_unmapped(struct ob_pages_out *p)
{
	if (p->unmapped)
		ob_log(&device_of(p)->log, OB_LOG_WARN, "%llu pages that it wrote "
		       "are not mapped any more, and stay behind",
		       (unsigned long long)p->unmapped);
}

static void end_round(struct ob_pages_out *p)
{
	if (p->phase == LIVE) {
		pause_round(p);
		return;
	}
	tell_unmapped(p);
	p->phase = VERIFY;
}

/* Puts the next record in hand, or does something for it; 0 or an error. */
static int make_record(struct ob_pages_out *p, struct ob_err *err)
{
	int r = 0;

	switch (p->phase) {
	case LIVE:
	case LAST:
		r = next_data(p, err);
		if (r == 0)
			end_round(p);
		return r < 0 ? r : 0;
	case VERIFY:
		if (next_drop(p) == 0)
			p->phase = END;
		return 0;
	default:
		put_head(p, p->sums.count, 0, OB_PAGES_END);
		p->phase = OVER;
		return 0;
	}
}

/* 0: over; -EINPROGRESS; or an error. */
static int write_some(struct ob_pages_out *p, struct ob_err *err)
{
	struct iovec iov;
	ssize_t n;
	int r;

	if (p->at == p->len) {
		if (p->phase == OVER)
			return 0;
		r = make_record(p, err);
		if (r || p->at == p->len)
			return r ? r : -EINPROGRESS;
	}
	iov = (struct iovec){ p->record + p->at, p->len - p->at };
	n = ob_flow_write(&p->flow, &iov, 1);
	if (n == -EAGAIN)
		return -EINPROGRESS;
	if (n < 0)
		return ob_flow_failed(&p->flow, (int)n, err);
	p->at += (size_t)n;
	p->bytes += (size_t)n;
	return -EINPROGRESS;
}

static void write_ready(struct ob_flow *flow, bool gone)
{
	struct ob_pages_out *p = container_of(flow, struct ob_pages_out, flow);
	struct ob_err err = { "" };
	int r = gone ? ob_flow_failed(flow, -EPIPE, &err) : write_some(p, &err);

	if (r != -EINPROGRESS)
		ob_pages_out_end(p->o, r, &err);
}

static void pause_over(struct ob_timer *timer)
{
	ob_flow_want(&container_of(timer, struct ob_pages_out, pause)->flow,
		     true);
}

static int begin(struct ob_operator *o, struct ob_operation *op, int fd,
		 bool last)
{
	struct ob_pages_out *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		close(fd);
		return ob_fail(&op->err, ENOMEM, "out of memory");
	}
	p->o = o;
	p->phase = last ? LAST : LIVE;
	p->word = WINDOW_WORDS;
	p->pause.fire = pause_over;
	r = ob_flow_open(&p->flow, o->dev->loop, fd, true, write_ready,
			 &op->err);
	if (!r && (r = ob_flow_start(&p->flow, &op->err)))
		ob_flow_close(&p->flow);
	if (r) {
		free(p);
		return r;
	}
	p->op = op;
	op->dev = o->dev;
	o->out = p;
	return -EINPROGRESS;
}

/* May the last round begin? */
static int check_still(const struct ob_device *dev, struct ob_err *err)
{
	if (!dev->mig.halted || !ob_mig_is_still(dev->mig.state))
		return ob_fail(err, EBUSY, "it runs: its pages are not final");
	return 0;
}

int ob_operator_pages_out(struct ob_device *dev, struct ob_operation *op,
			  int fd, bool last)
{
	struct ob_operator *o = ob_operator_get(dev);
	int r = last ? check_still(dev, &op->err) : 0;

	if (!r && !o)
		r = ob_fail(&op->err, ENOMEM, "out of memory");
	else if (!r && !dev->dma.op_log)
		r = ob_fail(&op->err, EINVAL, "the log is off: nobody knows which pages");
	else if (!r && o->out)
		r = ob_fail(&op->err, EBUSY, "its pages are going out already");
	if (!r)
		return begin(o, op, fd, last);
	if (fd >= 0)
		close(fd);
	return r;
}

int ob_operator_pages_finish(struct ob_device *dev, struct ob_err *err)
{
	struct ob_pages_out *p = dev->operator ? dev->operator->out : NULL;
	int r;

	if (!p)
		return ob_fail(err, ENOENT, "no pages are going out");
	r = check_still(dev, err);
	if (r || p->phase != LIVE)
		return r;
	p->phase = LAST;
	p->next = 0;
	ob_timer_cancel(dev->loop, &p->pause);
	ob_flow_want(&p->flow, true);
	return 0;
}

bool ob_pages_out_is_final(const struct ob_operator *o)
{
	return o->out && o->out->phase != LIVE;
}

void ob_pages_out_status(const struct ob_operator *o,
			 struct ob_operator_status *out)
{
	const struct ob_pages_out *p = o->out;

	if (!p)
		return;
	out->pages = "out";
	out->page_bytes = p->bytes;
	out->nr_pages = p->sent;
	for (unsigned i = 0; i < WINDOW_WORDS; i++)
		out->pages_left += (unsigned)__builtin_popcountll(p->bits[i]);
}
