// SPDX-License-Identifier: BSD-3-Clause
/*
 * Pages that came, kept aside until the rest of guest memory is complete
 * (docs/live-migration.md).
 *
 * The stream is hostile.  A record is looked at before its data is read, and
 * used when its sum was right.  What is kept is bounded by what the client has
 * mapped: no more pages than that, and none in a GiB of which nothing is
 * mapped.  Whether each page itself may be written is asked at the end, because
 * a guest's view of its first MiB changes while a VM comes in.
 *
 * A memfd has the content, in slots; a map says which page is in which.  The
 * pause pays for a copy and no more: pages of guest memory are faulted in before
 * (a GiB then takes 0.2 s of the CPU instead of 0.6).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "server/device_impl.h"
#include "server/operator_impl.h"
#include "server/page_map.h"
#include "server/pages.h"
#include "state/stream.h"
#include "state/wire.h"

#define APPLY_PAGES 4096u		/* of one turn: 16 MiB */
#define SLACK_PAGES 256u		/* of memory that is mapped at times */
#define GIB_SHIFT 30u

struct head {
	uint64_t iova;
	uint32_t length, kind;
};

struct ob_pages_in {
	struct ob_operator *o;
	struct ob_operation *op;
	struct ob_flow flow;
	bool ended;			/* END has come */
	bool complete;			/* ... and nothing after it */
	int fd;				/* what is kept */
	struct ob_page_map slots;	/* slot * 2 + is it dropped */
	uint64_t bytes, pages;		/* pages: that count */
	uint64_t nr_records, room;	/* room: for so many slots */
	uint32_t crc;
	struct head head;		/* of the record in hand, if it is there */
	bool has_head;
	size_t need, got;		/* of the record in hand */

	struct ob_deferred more;	/* of what is being applied */
	bool applying;
	uint64_t next;			/* page */

	uint8_t record[OB_PAGES_HEAD + OB_PAGES_MAX + OB_PAGES_SUM];
};

static void destroy(struct ob_pages_in *p)
{
	ob_flow_close(&p->flow);
	ob_defer_cancel(p->o->dev->loop, &p->more);
	ob_page_map_finish(&p->slots);
	ob_fd_close(&p->fd);
	p->o->in = NULL;
	free(p);
}

void ob_pages_in_end(struct ob_operator *o, int r, const struct ob_err *err)
{
	struct ob_operation *op = o->in ? o->in->op : NULL;

	if (!o->in)
		return;
	if (op)
		op->bytes = o->in->bytes;
	destroy(o->in);
	ob_operation_end(&op, r, err);
}

bool ob_pages_in_cancel(struct ob_operator *o, struct ob_operation *op)
{
	struct ob_pages_in *p = o->in;

	if (!p || p->op != op)
		return false;
	p->op = NULL;
	if (!p->applying)	/* half of it is no state to stay in */
		destroy(p);
	return true;
}

/* Bounds */

static uint64_t mapped_pages(const struct ob_dma *dma)
{
	const struct ob_range *range;
	uint64_t n = SLACK_PAGES;

	for (struct ob_place p = { 0 }; (range = ob_dma_at(dma, &p)); p.at++)
		if (range->file)
			n += ((range->last - range->first) >> OB_PAGE_SHIFT) + 1;
	return n;
}

/* Is anything of the same GiB mapped? */
static bool is_near(const struct ob_dma *dma, uint64_t addr)
{
	uint64_t first = addr >> GIB_SHIFT << GIB_SHIFT;
	struct ob_place place = ob_dma_place(dma, first);
	const struct ob_range *range = ob_dma_at(dma, &place);

	return range && range->first <= first + ((UINT64_C(1) << GIB_SHIFT) - 1);
}

static int check_pages(struct ob_pages_in *p, struct ob_err *err)
{
	const struct ob_dma *dma = &p->o->dev->dma;
	uint64_t iova = p->head.iova, last;
	uint32_t length = p->head.length;

	if (!length || length > OB_PAGES_MAX ||
	    (length | iova) & (OB_PAGE_SIZE - 1) ||
	    __builtin_add_overflow(iova, length - 1, &last))
		return ob_fail(err, EINVAL, "%u bytes at %#llx", length,
			       (unsigned long long)iova);
	if (p->head.kind == OB_PAGES_DROP)
		return 0;
	if (!is_near(dma, iova) || !is_near(dma, last))
		return ob_fail(err, EFAULT, "no memory is mapped about %#llx",
			       (unsigned long long)iova);
	p->room = mapped_pages(dma);
	return 0;
}

static int check_end(struct ob_pages_in *p, struct ob_err *err)
{
	if (p->head.length || p->head.iova != p->pages)
		return ob_fail(err, EINVAL, "END of %llu pages, %llu have come",
			       (unsigned long long)p->head.iova,
			       (unsigned long long)p->pages);
	return 0;
}

static int check_head(struct ob_pages_in *p, struct ob_err *err)
{
	switch (p->head.kind) {
	case OB_PAGES_DATA:
	case OB_PAGES_DROP:
		return check_pages(p, err);
	case OB_PAGES_END:
		return check_end(p, err);
	default:
		return ob_fail(err, EINVAL, "kind %u", p->head.kind);
	}
}

/* What is kept */

/* The page's slot, and that it counts; an old one or the next. */
static int get_slot(struct ob_pages_in *p, uint64_t page, uint64_t *slot,
		    struct ob_err *err)
{
	uint64_t value;
	bool known = ob_page_map_get(&p->slots, page, &value);

	if (!known && p->slots.count >= p->room)
		return ob_fail(err, ENOSPC, "more pages than are mapped");
	*slot = known ? value >> 1 : p->slots.count;
	if (ob_page_map_set(&p->slots, page, *slot << 1))
		return ob_fail(err, ENOMEM, "out of memory");
	p->pages += !known || (value & 1);
	return 0;
}

static int keep(struct ob_pages_in *p, uint64_t slot, const uint8_t *data,
		size_t len, struct ob_err *err)
{
	ssize_t n = pwrite(p->fd, data, len, (off_t)(slot << OB_PAGE_SHIFT));

	return n == (ssize_t)len ? 0 :
		ob_fail(err, n < 0 ? errno : ENOSPC, "to keep it: %s",
			n < 0 ? strerror(errno) : "no room");
}

/* Runs of slots are written together; a fresh page has the next slot. */
static int keep_data(struct ob_pages_in *p, struct ob_err *err)
{
	uint64_t page = p->head.iova >> OB_PAGE_SHIFT, first = 0, slot = 0;
	const uint8_t *data = p->record + OB_PAGES_HEAD;
	size_t pages = p->head.length >> OB_PAGE_SHIFT, run = 0, i;
	int r;

	for (i = 0; i < pages; i++) {
		if ((r = get_slot(p, page + i, &slot, err)))
			return r;
		if (run && slot == first + run) {
			run++;
			continue;
		}
		if (run && (r = keep(p, first, data + ((i - run) << OB_PAGE_SHIFT),
				     run << OB_PAGE_SHIFT, err)))
			return r;
		first = slot;
		run = 1;
	}
	return keep(p, first, data + ((pages - run) << OB_PAGE_SHIFT),
		    run << OB_PAGE_SHIFT, err);
}

static int drop_data(struct ob_pages_in *p, struct ob_err *err)
{
	uint64_t page = p->head.iova >> OB_PAGE_SHIFT, value;
	uint64_t end = page + (p->head.length >> OB_PAGE_SHIFT);

	for (; page < end; page++) {
		if (!ob_page_map_get(&p->slots, page, &value) || (value & 1))
			return ob_fail(err, EINVAL, "DROP of %#llx, which has not come",
				       (unsigned long long)page << OB_PAGE_SHIFT);
		ob_page_map_set(&p->slots, page, value | 1);
		p->pages--;
	}
	return 0;
}

/* Records */

static size_t data_len(const struct ob_pages_in *p)
{
	return p->head.kind == OB_PAGES_DATA ? p->head.length : 0;
}

static int take_head(struct ob_pages_in *p, struct ob_err *err)
{
	p->head = (struct head){
		.iova = ob_le_load(p->record, 8),
		.length = (uint32_t)ob_le_load(p->record + 8, 4),
		.kind = (uint32_t)ob_le_load(p->record + 12, 4),
	};
	p->has_head = true;
	p->need = OB_PAGES_HEAD + data_len(p) + OB_PAGES_SUM;
	return check_head(p, err);
}

static int take_record(struct ob_pages_in *p, struct ob_err *err)
{
	size_t len = p->need - OB_PAGES_SUM;

	p->crc = ob_crc32c(p->crc, p->record, len);
	if (ob_le_load(p->record + len, OB_PAGES_SUM) != p->crc)
		return ob_fail(err, EBADMSG, "wrong checksum");
	p->has_head = false;
	p->got = 0;
	p->need = OB_PAGES_HEAD;
	if (p->head.kind == OB_PAGES_DATA) {
		ob_pages_touch(p->o->dev, p->head.iova, p->head.length);
		return keep_data(p, err);
	}
	if (p->head.kind == OB_PAGES_DROP)
		return drop_data(p, err);
	p->ended = true;
	return 0;
}

/* All of what was needed next is there. */
static int take(struct ob_pages_in *p, struct ob_err *err)
{
	int r = p->has_head ? take_record(p, err) : take_head(p, err);

	if (r)
		ob_err_prefix(err, "record %llu", (unsigned long long)p->nr_records + 1);
	else if (!p->has_head)
		p->nr_records++;
	return r;
}

/* The pipe has ended: 0, or what is missing. */
static int finish(struct ob_pages_in *p, struct ob_err *err)
{
	if (!p->ended)
		return ob_fail(err, EPIPE, "the stream ended without END, after "
			       "%llu records", (unsigned long long)p->nr_records);
	p->complete = true;
	ob_flow_close(&p->flow);
	return 0;
}

/* 0: complete; -EINPROGRESS; or an error. */
static int read_some(struct ob_pages_in *p, struct ob_err *err)
{
	ssize_t n = ob_flow_read(&p->flow, p->record + p->got, p->need - p->got);
	int r;

	if (n == -EAGAIN)
		return -EINPROGRESS;
	if (n < 0)
		return ob_flow_failed(&p->flow, (int)n, err);
	if (n == 0)
		return finish(p, err);
	p->got += (size_t)n;
	p->bytes += (size_t)n;
	if (p->ended)
		return ob_fail(err, EINVAL, "bytes come after END");
	if (p->got < p->need)
		return -EINPROGRESS;
	r = take(p, err);
	return r ? r : -EINPROGRESS;
}

static void read_ready(struct ob_flow *flow, bool gone)
{
	struct ob_pages_in *p = container_of(flow, struct ob_pages_in, flow);
	struct ob_err err = { "" };
	int r = read_some(p, &err);

	(void)gone;
	if (r == -EINPROGRESS)
		return;
	if (r) {
		ob_pages_in_end(p->o, r, &err);
		return;
	}
	p->op->bytes = p->bytes;
	p->op->pages = p->pages;
	p->op->dropped = p->slots.count - p->pages;
	ob_operation_end(&p->op, 0, NULL);
}

static void apply_more(struct ob_deferred *deferred);

static int begin(struct ob_operator *o, struct ob_operation *op, int fd)
{
	struct ob_pages_in *p = calloc(1, sizeof(*p));
	int r;

	if (!p) {
		close(fd);
		return ob_fail(&op->err, ENOMEM, "out of memory");
	}
	p->o = o;
	p->need = OB_PAGES_HEAD;
	p->more.run = apply_more;
	o->in = p;
	p->fd = ob_memfd_create("outboard-pages", 0);
	r = ob_flow_open(&p->flow, o->dev->loop, fd, false, read_ready,
			 &op->err);
	if (!r && p->fd < 0)
		r = ob_fail(&op->err, -p->fd, "memory: %s", strerror(-p->fd));
	if (!r)
		r = ob_flow_start(&p->flow, &op->err);
	if (r) {
		destroy(p);
		return r;
	}
	p->op = op;
	op->dev = o->dev;
	return -EINPROGRESS;
}

int ob_operator_pages_in(struct ob_device *dev, struct ob_operation *op, int fd)
{
	struct ob_operator *o = ob_operator_get(dev);
	int r = 0;

	if (!o)
		r = ob_fail(&op->err, ENOMEM, "out of memory");
	else if (o->in && (o->in->op || o->in->applying))
		r = ob_fail(&op->err, EBUSY, "pages are coming in, or are put in place");
	else if (!dev->dma.nr)
		r = ob_fail(&op->err, EINVAL, "no guest memory is mapped");
	if (r) {
		if (fd >= 0)
			close(fd);
		return r;
	}
	if (o->in)
		destroy(o->in);
	return begin(o, op, fd);
}

/* Into guest memory */

/* May all of them be written? */
static int check_all(struct ob_pages_in *p, struct ob_err *err)
{
	uint64_t page, value;
	int r = 0;

	for (page = 0; !r && ob_page_map_next(&p->slots, &page, &value); page++)
		if (!(value & 1))
			r = ob_pages_check(p->o->dev, page << OB_PAGE_SHIFT,
					   err);
	return r;
}

/* Pages from page on that lie in slots in a row. */
static uint64_t run_from(struct ob_pages_in *p, uint64_t page, uint64_t value)
{
	uint64_t n = 1, next;

	while (n < APPLY_PAGES && ob_page_map_get(&p->slots, page + n, &next) &&
	       next == value + 2 * n)
		n++;
	return n;
}

/* 1: there is more; 0: all of it is there. */
static int apply_some(struct ob_pages_in *p, struct ob_err *err)
{
	uint64_t done = 0, value;
	int64_t n;

	while (done < APPLY_PAGES) {
		if (!ob_page_map_next(&p->slots, &p->next, &value))
			return 0;
		if (value & 1) {
			p->next++;
			continue;
		}
		n = ob_pages_put(p->o->dev, p->next << OB_PAGE_SHIFT,
				 run_from(p, p->next, value) << OB_PAGE_SHIFT,
				 p->fd, value >> 1 << OB_PAGE_SHIFT, err);
		if (n < 0)
			return (int)n;
		done += (uint64_t)n >> OB_PAGE_SHIFT;
		p->next += (uint64_t)n >> OB_PAGE_SHIFT;
	}
	return 1;
}

static void apply_more(struct ob_deferred *deferred)
{
	struct ob_pages_in *p = container_of(deferred, struct ob_pages_in, more);
	struct ob_operation *op = p->op;
	struct ob_err err = { "" };
	int r = apply_some(p, &err);

	if (r == 1) {
		ob_defer(p->o->dev->loop, &p->more);
		return;
	}
	p->applying = false;
	p->op = NULL;
	if (r == 0) {
		if (op)
			op->pages = p->pages;
		destroy(p);
	}
	ob_operation_end(&op, r, &err);
}

int ob_operator_pages_apply(struct ob_device *dev, struct ob_operation *op)
{
	struct ob_pages_in *p = dev->operator ? dev->operator->in : NULL;
	int r;

	if (!p || !p->complete || p->applying)
		return ob_fail(&op->err, ENOENT, "no pages are kept");
	if (!dev->mig.halted)
		return ob_fail(&op->err, EBUSY, "it runs, with what its memory has now");
	r = check_all(p, &op->err);
	if (r)
		return r;
	p->applying = true;
	p->next = 0;
	p->op = op;
	op->dev = dev;
	ob_defer(dev->loop, &p->more);
	return -EINPROGRESS;
}

void ob_pages_in_status(const struct ob_operator *o,
			struct ob_operator_status *out)
{
	const struct ob_pages_in *p = o->in;

	if (!p)
		return;
	out->pages = p->applying ? "apply" : p->complete ? "kept" : "in";
	out->page_bytes = p->bytes;
	out->nr_pages = p->pages;
	out->pages_left = p->complete ? p->pages : 0;
}
