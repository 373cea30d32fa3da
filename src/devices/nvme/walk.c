// SPDX-License-Identifier: BSD-3-Clause
/*
 * The PRP and SGL walker.
 *
 * Both kinds of list end in add_piece, the one place that bounds the number
 * of pieces, refuses addresses that wrap, and merges neighbours.  Progress is
 * forced in two ways: `left` only falls, and every read of a list is counted,
 * as is every SGL descriptor, because these may describe no byte at all and
 * may lead back to themselves.  The walk is over as soon as all of the data
 * is described; what a list says beyond that is not looked at.
 *
 * A PRP or SGL whose address is beyond the end of the address space is
 * treated as memory that is not there: Data Transfer Error.  The offset rules
 * are strict where the specification lets the controller choose (bits 1:0 of
 * PRP1), and a zero PRP is refused though it is a possible address: drivers
 * leave unused entries zero, so it is a list that is too short (R15).
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "devices/nvme/walk.h"

enum {
	SC_INVALID_FIELD	= 0x02,
	SC_DATA_TRANSFER	= 0x04,
	SC_SGL_SEGMENT		= 0x0d,
	SC_SGL_COUNT		= 0x0e,
	SC_SGL_LENGTH		= 0x0f,
	SC_SGL_TYPE		= 0x11,
	SC_PRP_OFFSET		= 0x13,
};

enum { PSDT_PRP = 0, PSDT_SGL = 1 };

static uint64_t get_le64(const uint8_t *bytes)
{
	uint64_t v;

	memcpy(&v, bytes, sizeof(v));
	return le64toh(v);
}

static uint32_t get_le32(const uint8_t *bytes)
{
	uint32_t v;

	memcpy(&v, bytes, sizeof(v));
	return le32toh(v);
}

static bool wraps(uint64_t addr, uint32_t len)
{
	return addr + len < addr;
}

/* Describes the next len bytes of the data; len is not 0. */
static int add_piece(struct nvme_walk *w, uint64_t addr, uint32_t len)
{
	struct ob_seg *seg = w->count ? &w->segs[w->count - 1] : NULL;

	if (wraps(addr, len))
		return SC_DATA_TRANSFER;
	w->left -= len;
	/* Lengths cannot overflow: their sum is the command's length. */
	if (seg && seg->addr + seg->len == addr) {
		seg->len += len;
		return 0;
	}
	if (w->count == NVME_WALK_SEGS)
		return w->sgl ? SC_SGL_COUNT : SC_INVALID_FIELD;
	w->segs[w->count++] = (struct ob_seg){ .addr = addr, .len = len };
	return 0;
}

/* Asks for the next len bytes of the list page or segment in w->rest. */
static int ask(struct nvme_walk *w, uint32_t len)
{
	if (w->reads++ == NVME_WALK_READS)
		return w->sgl ? SC_SGL_COUNT : SC_INVALID_FIELD;
	if (len > NVME_WALK_LIST)
		len = NVME_WALK_LIST;
	w->need = (struct ob_seg){ .addr = w->rest.addr, .len = len };
	w->rest.addr += len;
	w->rest.len -= len;
	return -EAGAIN;
}

/* PRP */

static uint32_t prp_entries_left(const struct nvme_walk *w)
{
	/* Not (left + size - 1) / size, which can overflow. */
	return w->left / w->page_size + !!(w->left % w->page_size);
}

/* One entry that is not the command's first: a whole page, or the rest. */
static int prp_page(struct nvme_walk *w, uint64_t prp)
{
	if (!prp)
		return SC_INVALID_FIELD;
	if (prp & (w->page_size - 1))
		return SC_PRP_OFFSET;
	return add_piece(w, prp, w->left < w->page_size ? w->left
							: w->page_size);
}

/* A list lies inside one page, so it cannot wrap. */
static int prp_list(struct nvme_walk *w, uint64_t prp)
{
	uint64_t entries = prp_entries_left(w);

	w->rest.addr = prp;
	w->rest.len = w->page_size - (prp & (w->page_size - 1));
	if (entries * 8 < w->rest.len)
		w->rest.len = entries * 8;
	return ask(w, w->rest.len);
}

static int prp_start(struct nvme_walk *w, uint64_t prp1, uint64_t prp2)
{
	uint32_t room = w->page_size - (prp1 & (w->page_size - 1));
	int rc;

	if (!prp1)
		return SC_INVALID_FIELD;
	if (prp1 & 3)
		return SC_PRP_OFFSET;
	rc = add_piece(w, prp1, w->left < room ? w->left : room);
	if (rc || !w->left)
		return rc;
	if (w->left <= w->page_size)
		return prp_page(w, prp2);
	if (!prp2)
		return SC_INVALID_FIELD;
	if (prp2 & 7)
		return SC_PRP_OFFSET;
	return prp_list(w, prp2);
}

/* The last entry of a list page, when it does not hold the last of the data. */
static int prp_chain(struct nvme_walk *w, uint64_t prp)
{
	if (!prp)
		return SC_INVALID_FIELD;
	if (prp & (w->page_size - 1))
		return SC_PRP_OFFSET;
	return prp_list(w, prp);
}

static int prp_next(struct nvme_walk *w)
{
	uint32_t at;
	int rc;

	for (at = 0; at < w->need.len; at += 8) {
		uint64_t prp = get_le64(w->list + at);
		bool page_ends = at + 8 == w->need.len && !w->rest.len;

		if (page_ends && prp_entries_left(w) > 1)
			return prp_chain(w, prp);
		rc = prp_page(w, prp);
		if (rc || !w->left)
			return rc;
	}
	return ask(w, w->rest.len);
}

/* SGL */

enum sgl_type {		/* type << 4 | subtype; subtype 0 is "address" */
	SGL_DATA_BLOCK		= 0x00,
	SGL_SEGMENT		= 0x20,
	SGL_LAST_SEGMENT	= 0x30,
};

struct sgl_descriptor {
	uint64_t addr;
	uint32_t len;
	uint8_t type;
};

static struct sgl_descriptor sgl_decode(const uint8_t *bytes)
{
	return (struct sgl_descriptor){
		.addr = get_le64(bytes),
		.len = get_le32(bytes + 8),
		.type = bytes[15],
	};
}

static int sgl_data(struct nvme_walk *w, const struct sgl_descriptor *d)
{
	uint32_t len = d->len < w->left ? d->len : w->left;

	if (wraps(d->addr, d->len))
		return SC_DATA_TRANSFER;
	return len ? add_piece(w, d->addr, len) : 0;
}

static int sgl_segment(struct nvme_walk *w, const struct sgl_descriptor *d)
{
	if (w->last || !d->len || d->len % 16 || d->addr % 8)
		return SC_SGL_SEGMENT;
	if (wraps(d->addr, d->len))
		return SC_DATA_TRANSFER;
	w->last = d->type == SGL_LAST_SEGMENT;
	w->rest = (struct ob_seg){ .addr = d->addr, .len = d->len };
	return ask(w, w->rest.len);
}

/* ends: nothing follows this descriptor in its segment. */
static int sgl_one(struct nvme_walk *w, const uint8_t *bytes, bool ends)
{
	struct sgl_descriptor d = sgl_decode(bytes);

	if (w->descriptors++ == NVME_WALK_DESCRIPTORS)
		return SC_SGL_COUNT;
	switch (d.type) {
	case SGL_DATA_BLOCK:
		return sgl_data(w, &d);
	case SGL_SEGMENT:
	case SGL_LAST_SEGMENT:
		return ends ? sgl_segment(w, &d) : SC_SGL_COUNT;
	default:
		return SC_SGL_TYPE;
	}
}

static int sgl_start(struct nvme_walk *w, const uint8_t *descriptor)
{
	int rc = sgl_one(w, descriptor, true);

	if (rc || !w->left)
		return rc;
	return SC_SGL_LENGTH;
}

static int sgl_next(struct nvme_walk *w)
{
	uint32_t at;
	int rc;

	for (at = 0; at < w->need.len; at += 16) {
		bool ends = at + 16 == w->need.len && !w->rest.len;

		rc = sgl_one(w, w->list + at, ends);
		if (rc || !w->left)
			return rc;
	}
	if (!w->rest.len)
		return SC_SGL_LENGTH;
	return ask(w, w->rest.len);
}

int nvme_walk_start(struct nvme_walk *w, const uint8_t dptr[16],
		    unsigned psdt, uint32_t length, uint32_t page_size)
{
	w->count = 0;
	w->left = length;
	w->page_size = page_size;
	w->reads = 0;
	w->descriptors = 0;
	w->sgl = psdt == PSDT_SGL;
	w->last = false;
	w->rest = w->need = (struct ob_seg){ 0 };
	if (psdt > PSDT_SGL)
		return SC_INVALID_FIELD;
	if (!length)
		return 0;
	if (w->sgl)
		return sgl_start(w, dptr);
	return prp_start(w, get_le64(dptr), get_le64(dptr + 8));
}

int nvme_walk_next(struct nvme_walk *w)
{
	return w->sgl ? sgl_next(w) : prp_next(w);
}
