// SPDX-License-Identifier: BSD-3-Clause
/*
 * DMA_LOGGING_START, _STOP and _REPORT (vfio-user, DEVICE_FEATURE 6 to 8).
 *
 * They are offered whether or not the device can be migrated, and work in
 * every state of it; a reset does not end the log.  It belongs to the
 * connection and goes with it.
 *
 * The log's page is 4 KiB whatever size was hinted, and the answer says so.
 * Ranges are honoured to the page: rounded out to whole pages, those that
 * overlap count as one.  An empty range or one that wraps around is refused,
 * as is a page size that is no power of two.  There is one log at a time: a
 * second START is -EINVAL, as drivers in the kernel answer, for the first
 * one's bits must not vanish.  STOP without a log is no error, because what
 * it asks for is so.
 *
 * Only memory that we write ourselves is in the log, that is memory with an
 * fd.  What was never mapped, or not to be logged, is clean.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/dirty.h"
#include "server/feature.h"
#include "server/session.h"

bool ob_dma_is_logged(const struct ob_range *range)
{
	return range->file && (range->flags & OB_DMA_WRITE);
}

void ob_dma_log_changed(struct ob_device *dev)
{
	dev->dma.logging = dev->dma.log || dev->dma.op_log;
}

void ob_dma_log_end(struct ob_device *dev)
{
	ob_dirty_destroy(dev->dma.log);
	dev->dma.log = NULL;
	ob_dma_log_changed(dev);
	dev->ss->log_on = 0;
}

static int too_short(struct ob_session *s, size_t len)
{
	return ob_fail(&s->err, EINVAL, "%zu bytes are too short", len);
}

/* Data that stays where it is until the answer has left. */
static void answer_more(struct ob_session *s, const void *data, size_t len)
{
	struct iovec *iov = &s->dev->dma.log->reply;

	iov->iov_base = (void *)(uintptr_t)data;
	iov->iov_len = len;
	s->reply.more = iov;
	s->reply.nr_more = len ? 1 : 0;
}

/* What START asks for; the ranges as sent, and decoded. */
struct start {
	struct ob_log_start fixed;
	const uint8_t *sent;
	size_t sent_len;
	struct ob_dirty_range *ranges;
};

static int parse_range(struct ob_session *s, struct ob_reader *rd,
		       struct ob_dirty_range *range)
{
	struct ob_log_range sent;
	uint64_t last;
	int r = ob_get_log_range(rd, &sent);

	if (r)
		return r;
	if (!sent.length ||
	    __builtin_add_overflow(sent.iova, sent.length - 1, &last))
		return ob_fail(&s->err, EINVAL, "%#llx bytes at %#llx: empty, "
			       "or wraps around",
			       (unsigned long long)sent.length,
			       (unsigned long long)sent.iova);
	range->first = sent.iova & ~(OB_DIRTY_PAGE - 1);
	range->last = last | (OB_DIRTY_PAGE - 1);
	return 0;
}

static int parse_ranges(struct ob_session *s, struct ob_reader *rd,
			struct start *start)
{
	uint32_t count = start->fixed.nr_ranges;
	struct ob_reader each = *rd;
	int r = 0;

	if (count > ob_reader_left(rd) / OB_LOG_RANGE_SIZE)
		return ob_fail(&s->err, EINVAL, "%zu bytes are not %u ranges",
			       ob_reader_left(rd), count);
	start->sent_len = (size_t)count * OB_LOG_RANGE_SIZE;
	if (!count)
		return 0;
	start->ranges = calloc(count, sizeof(*start->ranges));
	if (!start->ranges)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !r; i++) {
		r = parse_range(s, &each, &start->ranges[i]);
		if (r)
			ob_err_prefix(&s->err, "range %u", i);
	}
	return r ? r : ob_get_view(rd, &start->sent, start->sent_len);
}

static int parse_start(struct ob_session *s, struct ob_reader *rd,
		       struct start *start)
{
	uint64_t page_size;
	size_t len = ob_reader_left(rd);

	if (ob_get_log_start(rd, &start->fixed))
		return too_short(s, len);
	page_size = start->fixed.page_size;
	if (!page_size || (page_size & (page_size - 1)))
		return ob_fail(&s->err, EINVAL,
			       "page size %#llx is no power of two",
			       (unsigned long long)page_size);
	return parse_ranges(s, rd, start);
}

/* Room for everything that is mapped now. */
static int cover_maps(struct ob_device *dev, struct ob_dirty *log,
		      struct ob_err *err)
{
	const struct ob_dma *dma = &dev->dma;
	const struct ob_range *range;
	int r = 0;

	for (struct ob_place p = { 0 }; !r && (range = ob_dma_at(dma, &p));
	     p.at++) {
		if (!ob_dma_is_logged(range))
			continue;
		r = ob_dirty_cover(log, range->first, range->last);
		if (r)
			ob_fail(err, -r, "%#llx..%#llx: %s",
				(unsigned long long)range->first,
				(unsigned long long)range->last,
				ob_dirty_why(r));
	}
	return r;
}

int ob_dma_log_start(struct ob_device *dev, const struct ob_dirty_range *ranges,
		     uint32_t count, struct ob_dirty **log, struct ob_err *err)
{
	struct ob_dirty *fresh;
	int r;

	if (*log)
		return ob_fail(err, EINVAL, "there is a log already");
	r = ob_dirty_create(ranges, count, &fresh);
	if (r)
		return ob_fail(err, -r, "%s", strerror(-r));
	r = cover_maps(dev, fresh, err);
	if (r) {
		ob_dirty_destroy(fresh);
		return r;
	}
	*log = fresh;
	ob_dma_log_changed(dev);
	return 0;
}

static int start_log(struct ob_session *s, const struct start *start)
{
	int r = ob_dma_log_start(s->dev, start->ranges, start->fixed.nr_ranges,
				 &s->dev->dma.log, &s->err);

	if (r == 0)
		s->dev->ss->log_on = 1;
	return r;
}

/* Nobody knows what was written before: all of it, once. */
int ob_dma_log_adopt(struct ob_device *dev, struct ob_dirty **log,
		     struct ob_err *err)
{
	const struct ob_range *range;
	int r = ob_dirty_create(NULL, 0, log);

	if (r)
		return ob_fail(err, -r, "out of memory");
	for (struct ob_place p = { 0 }; (range = ob_dma_at(&dev->dma, &p));
	     p.at++) {
		if (!ob_dma_is_logged(range))
			continue;
		if (ob_dirty_cover(*log, range->first, range->last))
			ob_dirty_blind(*log, range->first, range->last);
		else
			ob_dirty_mark(*log, range->first,
				      range->last - range->first + 1);
	}
	ob_dma_log_changed(dev);
	return 0;
}

static int set_start(struct ob_session *s, const struct ob_feature *ask,
		     struct ob_reader *rd)
{
	struct start start = { .ranges = NULL };
	int r = parse_start(s, rd, &start);

	(void)ask;
	if (!r)
		r = start_log(s, &start);
	free(start.ranges);
	if (r)
		return r;
	start.fixed.page_size = OB_DIRTY_PAGE;
	answer_more(s, start.sent, start.sent_len);
	return ob_put_log_start(&s->reply.wr, &start.fixed);
}

static int set_stop(struct ob_session *s, const struct ob_feature *ask,
		    struct ob_reader *rd)
{
	(void)ask;
	(void)rd;
	ob_dma_log_end(s->dev);
	return 0;
}

/* With no room for the bitmap the answer is its size, and nothing is taken. */
static int take(struct ob_session *s, const struct ob_feature *ask,
		const struct ob_dirty_query *query, size_t bytes)
{
	const uint64_t *bitmap = NULL;
	int r;

	if (ask->argsz >= OB_FEATURE_SIZE + OB_LOG_REPORT_SIZE + bytes) {
		r = ob_dirty_take(s->dev->dma.log, query, &bitmap);
		if (r)
			return r;
	}
	answer_more(s, bitmap, bytes);
	s->reply.lent = true;
	s->reply.fill = 0xff;	/* too much is no harm */
	return 0;
}

static int get_report(struct ob_session *s, const struct ob_feature *ask,
		      struct ob_reader *rd)
{
	size_t len = ob_reader_left(rd), bytes;
	struct ob_log_report report;
	struct ob_dirty_query query;
	int r;

	if (ob_get_log_report(rd, &report))
		return too_short(s, len);
	query = (struct ob_dirty_query){
		report.iova, report.length, report.page_size
	};
	r = ob_dirty_check(&query, &bytes, &s->err);
	if (r)
		return r;
	if (!s->dev->dma.log)
		return ob_fail(&s->err, EINVAL, "nobody has started a log");
	r = take(s, ask, &query, bytes);
	return r ? r : ob_put_log_report(&s->reply.wr, &report);
}

const struct ob_feature_row ob_feature_log_start = {
	.number = OB_FEATURE_LOG_START, .name = "DMA_LOGGING_START",
	.set = set_start,
};

const struct ob_feature_row ob_feature_log_stop = {
	.number = OB_FEATURE_LOG_STOP, .name = "DMA_LOGGING_STOP",
	.set = set_stop,
};

const struct ob_feature_row ob_feature_log_report = {
	.number = OB_FEATURE_LOG_REPORT, .name = "DMA_LOGGING_REPORT",
	.get = get_report,
};
