// SPDX-License-Identifier: BSD-3-Clause
#include "dirty_model.h"

#include "rig.h"

#define PAGE 4096u
#define GIB (UINT64_C(1) << 30)
#define MAX_BITS 1500u

/* First page of each stretch, in this list and in the address space. */
static const struct { unsigned page; uint64_t address; } stretches[] = {
	{ 0, 0 }, { 90, GIB - 40 * PAGE }, { 170, 0 - (uint64_t)(30 * PAGE) },
	{ MODEL_PAGES, 0 },
};

uint64_t model_random(struct model *m, uint64_t below)
{
	m->seed ^= m->seed >> 12;	/* xorshift64* */
	m->seed ^= m->seed << 25;
	m->seed ^= m->seed >> 27;
	return (m->seed * UINT64_C(2685821657736338717)) % below;
}

static unsigned stretch_of(unsigned page)
{
	unsigned s = 0;

	while (page >= stretches[s + 1].page)
		s++;
	return s;
}

uint64_t model_address(unsigned page)
{
	unsigned s = stretch_of(page);

	return stretches[s].address + (uint64_t)(page - stretches[s].page) * PAGE;
}

/* Pages from page that follow each other in the address space. */
static unsigned room(unsigned page)
{
	return stretches[stretch_of(page) + 1].page - page;
}

bool model_map(struct model *m, unsigned kind, uint64_t *addr, uint64_t *len)
{
	unsigned first = (unsigned)model_random(m, MODEL_PAGES), slot = 0;
	unsigned count = 1 + (unsigned)model_random(m, room(first));

	while (slot < MODEL_MAPS && m->maps[slot].count)
		slot++;
	if (slot == MODEL_MAPS)
		return false;
	for (unsigned i = first; i < first + count; i++)
		if (m->map[i])
			return false;
	for (unsigned i = first; i < first + count; i++) {
		m->map[i] = (uint8_t)(slot + 1);
		m->kind[i] = (uint8_t)kind;
	}
	m->maps[slot].first = first;
	m->maps[slot].count = count;
	*addr = model_address(first);
	*len = (uint64_t)count * PAGE;
	return true;
}

bool model_unmap(struct model *m, uint64_t *addr, uint64_t *len)
{
	unsigned slot = (unsigned)model_random(m, MODEL_MAPS);

	if (!m->maps[slot].count)
		return false;
	*addr = model_address(m->maps[slot].first);
	*len = (uint64_t)m->maps[slot].count * PAGE;
	for (unsigned i = 0; i < MODEL_PAGES; i++)
		if (m->map[i] == slot + 1)
			m->map[i] = 0;
	m->maps[slot].count = 0;
	return true;
}

static bool is_asked_for(const struct model *m, unsigned page)
{
	uint64_t first = model_address(page), last = first + (PAGE - 1);

	for (unsigned i = 0; i < m->nr_ranges; i++)
		if (m->ranges[i][0] <= last &&
		    m->ranges[i][0] + (m->ranges[i][1] - 1) >= first)
			return true;
	return !m->nr_ranges;
}

/* It ends at the first page that we cannot write. */
void model_write(struct model *m, uint64_t *addr, uint64_t *len)
{
	unsigned page = (unsigned)model_random(m, MODEL_PAGES), last;
	uint64_t from = model_random(m, PAGE), most;

	most = (uint64_t)room(page) * PAGE - from;
	*len = 1 + model_random(m, model_random(m, 2) || most < 64 ? most : 64);
	*addr = model_address(page) + from;
	last = page + (unsigned)((from + *len - 1) / PAGE);
	for (; page <= last; page++) {
		if (!m->map[page] || m->kind[page] == MODEL_READ_ONLY ||
		    m->kind[page] == MODEL_BY_MESSAGE)
			return;
		if (m->on && is_asked_for(m, page))
			m->dirty[page] = true;
	}
}

void model_start(struct model *m)
{
	m->on = true;
	for (unsigned i = 0; i < MODEL_PAGES; i++)
		m->dirty[i] = false;
	m->nr_ranges = (unsigned)model_random(m, 2) ? 0 :
		       1 + (unsigned)model_random(m, 8);
	for (unsigned i = 0; i < m->nr_ranges; i++) {
		unsigned page = (unsigned)model_random(m, MODEL_PAGES);
		uint64_t from = model_random(m, PAGE);

		m->ranges[i][0] = model_address(page) + from;
		m->ranges[i][1] = 1 + model_random(m, room(page) * PAGE - from);
	}
}

/* Some ask about more than there is, none for too many bits. */
void model_query(struct model *m, struct query *q)
{
	unsigned page = (unsigned)model_random(m, MODEL_PAGES);
	unsigned shift = (unsigned)model_random(m, 64);
	uint64_t most;

	if (model_random(m, 2))
		shift = 12;
	q->page_size = UINT64_C(1) << shift;
	q->iova = model_address(page);
	if (model_random(m, 2))
		q->iova += model_random(m, PAGE);
	most = UINT64_MAX - q->iova;
	if (most / MAX_BITS / q->page_size)
		most = MAX_BITS * q->page_size;
	q->length = 1 + model_random(m, most ? most : 1);
	if (model_random(m, 2) && q->length > PAGE)
		q->length &= ~(uint64_t)(PAGE - 1);
}

static bool any_dirty(const struct model *m, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < MODEL_PAGES; i++)
		if (m->dirty[i] && model_address(i) <= last &&
		    model_address(i) + (PAGE - 1) >= first)
			return true;
	return false;
}

void model_check(struct model *m, const struct query *q,
		 const uint8_t *bitmap, size_t len)
{
	uint64_t last = q->iova + (q->length - 1);
	uint64_t pages = (q->length - 1) / q->page_size + 1;

	assert_int_equal(len, (pages + 63) / 64 * 8);
	for (uint64_t n = 0; n < len * 8; n++) {
		uint64_t first = q->iova + n * q->page_size;
		uint64_t end = last - first < q->page_size - 1 ? last :
			       first + (q->page_size - 1);
		bool want = n < pages && any_dirty(m, first, end);

		if ((bitmap[n / 8] >> (n % 8) & 1) != want)
			fail_msg("bit %llu of %#llx, %#llx bytes in pages of "
				 "%#llx is not %d", (unsigned long long)n,
				 (unsigned long long)q->iova,
				 (unsigned long long)q->length,
				 (unsigned long long)q->page_size, want);
		m->bits_told += want;
	}
	for (unsigned i = 0; i < MODEL_PAGES; i++)
		if (model_address(i) >= q->iova &&
		    model_address(i) + (PAGE - 1) <= last)
			m->dirty[i] = false;
}
