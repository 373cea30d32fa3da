// SPDX-License-Identifier: BSD-3-Clause
/*
 * Set Features and Get Features (5.21, 5.13).  Most features are a word that
 * is kept; a row says which bits count and what they are at first.  Nothing
 * is saved over a reset.
 */
#include <string.h>
#include <time.h>

#include "devices/nvme/nvme.h"

enum { SELECT_CURRENT, SELECT_DEFAULT, SELECT_SAVED, SELECT_CAPABILITIES };
enum { CAP_NS_SPECIFIC = 1 << 1, CAP_CHANGEABLE = 1 << 2 };

struct feature {
	uint8_t fid;
	bool fixed;
	uint32_t mask;			/* of CDW11: bits that may be set */
	uint32_t def;
	size_t word;			/* in struct nvme_features, if plain */
	int (*get)(struct nvme_cmd *c, bool def);
	int (*set)(struct nvme_cmd *c);
};

#define WORD(member) .word = offsetof(struct nvme_features, member)
#define NO_LIMIT 0xffffu

static uint32_t value(const struct nvme_cmd *c)
{
	return c->slot->sqe.cdw11;
}

/* -- temperature threshold --------------------------------------------- */

/* TMPSEL 0 is the composite, 15 all; THSEL over and under. */
static int check_threshold(const struct nvme_cmd *c)
{
	uint32_t sensor = value(c) >> 16 & 15, type = value(c) >> 20 & 3;

	return (sensor && sensor != 15) || type > 1 ? NVME_INVALID_FIELD : 0;
}

static bool is_under(const struct nvme_cmd *c)
{
	return value(c) >> 20 & 1;
}

static int get_temperature(struct nvme_cmd *c, bool def)
{
	const struct nvme_features *f = &c->n->st->features;
	int status = check_threshold(c);

	if (status)
		return status;
	if (def)
		c->slot->result = is_under(c) ? 0 : NO_LIMIT;
	else
		c->slot->result = is_under(c) ? f->temp_under : f->temp_over;
	return 0;
}

uint8_t nvme_critical_warning(const struct nvme *n)
{
	const struct nvme_features *f = &n->st->features;

	return NVME_TEMPERATURE >= f->temp_over ||
	       NVME_TEMPERATURE <= f->temp_under ? 1 << 1 : 0;
}

static int set_temperature(struct nvme_cmd *c)
{
	struct nvme_features *f = &c->n->st->features;
	uint16_t kelvin = (uint16_t)value(c);
	int status = check_threshold(c);

	if (status)
		return status;
	if (is_under(c))
		f->temp_under = kelvin;
	else
		f->temp_over = kelvin;
	if (nvme_critical_warning(c->n) & f->events)
		nvme_aer_event(c->n, NVME_EVENT_SMART, NVME_EVENT_TEMPERATURE,
			       NVME_LOG_SMART);
	return 0;
}

/* -- write cache ------------------------------------------------------- */

static int get_write_cache(struct nvme_cmd *c, bool def)
{
	if (!nvme_has_write_cache(c->n))
		return NVME_INVALID_FIELD;
	c->slot->result = def ? 1 : c->n->st->features.write_cache;
	return 0;
}

static int set_write_cache(struct nvme_cmd *c)
{
	if (!nvme_has_write_cache(c->n))
		return NVME_INVALID_FIELD;
	c->n->st->features.write_cache = value(c) & 1;
	return 0;
}

/* -- number of queues, 0's based --------------------------------------- */

static int get_queues(struct nvme_cmd *c, bool def)
{
	const struct nvme_features *f = &c->n->st->features;
	uint32_t max = c->n->max_queues - 1;

	c->slot->result = def ? max | max << 16
			      : (f->nr_sqs - 1) | (f->nr_cqs - 1) << 16;
	return 0;
}

static bool has_io_queues(const struct nvme *n)
{
	for (unsigned i = 1; i < NVME_QIDS; i++)
		if (n->st->sqs[i].created || n->st->cqs[i].created)
			return true;
	return false;
}

static uint32_t at_most(uint32_t asked, uint32_t limit)
{
	return asked < limit ? asked : limit;
}

static int set_queues(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	uint32_t sqs = value(c) & 0xffff, cqs = value(c) >> 16;

	if (has_io_queues(n))
		return NVME_COMMAND_SEQUENCE_ERROR;
	if (sqs == 0xffff || cqs == 0xffff)
		return NVME_INVALID_FIELD;
	n->st->features.nr_sqs = at_most(sqs + 1, n->max_queues);
	n->st->features.nr_cqs = at_most(cqs + 1, n->max_queues);
	return get_queues(c, false);
}

/* -- interrupt vector configuration ------------------------------------ */

static int get_vector(struct nvme_cmd *c, bool def)
{
	const uint64_t *off = c->n->st->features.no_coalescing;
	uint32_t vector = value(c) & 0xffff;

	if (vector >= c->n->vectors)
		return NVME_INVALID_FIELD;
	c->slot->result = vector;
	/* The admin queue's is never coalesced. */
	if (!def && (vector == 0 || (off[vector / 64] >> (vector % 64) & 1)))
		c->slot->result |= 1u << 16;
	return 0;
}

static int set_vector(struct nvme_cmd *c)
{
	uint64_t *off = c->n->st->features.no_coalescing;
	uint32_t vector = value(c) & 0xffff;

	if (vector >= c->n->vectors)
		return NVME_INVALID_FIELD;
	off[vector / 64] &= ~(1ull << (vector % 64));
	if (value(c) & 1u << 16)
		off[vector / 64] |= 1ull << (vector % 64);
	return 0;
}

/* -- timestamp (5.21.1.14): data of 8 bytes ---------------------------- */

static uint64_t now_ms(const struct nvme *n)
{
	const struct nvme_features *f = &n->st->features;
	uint64_t passed = ob_loop_now(n->loop) - f->timestamp_ns;

	return f->timestamp_ms + passed / 1000000;
}

void nvme_timestamp_rebase(struct nvme *n)
{
	nvme_guard(n, NULL, 0);
	n->st->features.timestamp_ms = now_ms(n);
	n->st->features.timestamp_ns = ob_loop_now(n->loop);
	n->st->features.timestamp_live = 0;
	nvme_unguard(n);
}

static int step_timestamp_out(struct nvme_cmd *c)
{
	uint64_t word = now_ms(c->n) & 0xffffffffffffull;

	word |= (uint64_t)c->n->st->features.timestamp_origin << 49;
	memcpy(c->buf.data, &word, sizeof(word));
	return 0;
}

static int step_timestamp_in(struct nvme_cmd *c)
{
	struct nvme_features *f = &c->n->st->features;
	uint64_t word;

	memcpy(&word, c->buf.data, sizeof(word));
	f->timestamp_ms = word & 0xffffffffffffull;
	f->timestamp_ns = ob_loop_now(c->n->loop);
	f->timestamp_origin = 1;
	return 0;
}

static int get_timestamp(struct nvme_cmd *c, bool def)
{
	static const nvme_step steps[] = {
		nvme_step_walk, nvme_step_buffer, step_timestamp_out,
		nvme_step_data_out, NULL
	};

	(void)def;
	c->len = sizeof(uint64_t);
	c->steps = steps;
	c->slot->step = 0;
	return 0;
}

static int set_timestamp(struct nvme_cmd *c)
{
	static const nvme_step steps[] = {
		nvme_step_walk, nvme_step_buffer, nvme_step_data_in,
		step_timestamp_in, NULL
	};

	c->len = sizeof(uint64_t);
	c->steps = steps;
	c->slot->step = 0;
	return 0;
}

/* -- the table --------------------------------------------------------- */

static const struct feature features[] = {
	{ NVME_FID_ARBITRATION, .mask = 0xffffff07, .def = 7,
	  WORD(arbitration) },
	{ NVME_FID_POWER, .mask = 0xe0, WORD(power) },
	{ NVME_FID_TEMPERATURE, .get = get_temperature,
	  .set = set_temperature },
	{ NVME_FID_ERROR_RECOVERY, .mask = 0xffff, WORD(error_recovery) },
	{ NVME_FID_WRITE_CACHE, .get = get_write_cache,
	  .set = set_write_cache },
	{ NVME_FID_QUEUES, .get = get_queues, .set = set_queues },
	{ NVME_FID_COALESCING, .mask = 0xffff, WORD(coalescing) },
	{ NVME_FID_VECTOR, .get = get_vector, .set = set_vector },
	{ NVME_FID_ATOMICITY, .mask = 1, WORD(atomicity) },
	{ NVME_FID_EVENTS, .mask = 0x11f, WORD(events) },
	{ NVME_FID_TIMESTAMP, .get = get_timestamp, .set = set_timestamp },
};
#define NR_FEATURES (sizeof(features) / sizeof(features[0]))

static const struct feature *find_feature(uint8_t fid)
{
	for (unsigned i = 0; i < NR_FEATURES; i++)
		if (features[i].fid == fid)
			return &features[i];
	return NULL;
}

uint32_t nvme_feature_mask(uint8_t fid)
{
	return find_feature(fid)->mask;
}

static uint32_t *word_of(struct nvme *n, const struct feature *f)
{
	return (uint32_t *)((char *)&n->st->features + f->word);
}

int nvme_step_get_feature(struct nvme_cmd *c)
{
	uint32_t cdw10 = c->slot->sqe.cdw10, select = cdw10 >> 8 & 7;
	const struct feature *f = find_feature(cdw10 & 0xff);
	/* Nothing is saved, so what is saved is the default. */
	bool def = select == SELECT_DEFAULT || select == SELECT_SAVED;

	if (!f || select > SELECT_CAPABILITIES)
		return NVME_INVALID_FIELD;
	if (select == SELECT_CAPABILITIES) {
		c->slot->result = CAP_CHANGEABLE;
		return 0;
	}
	if (f->get)
		return f->get(c, def);
	c->slot->result = def ? f->def : *word_of(c->n, f);
	return 0;
}

int nvme_step_set_feature(struct nvme_cmd *c)
{
	uint32_t cdw10 = c->slot->sqe.cdw10;
	const struct feature *f = find_feature(cdw10 & 0xff);

	if (!f)
		return NVME_INVALID_FIELD;
	if (cdw10 >> 31)
		return NVME_FID_NOT_SAVEABLE;
	if (f->set)
		return f->set(c);
	if (value(c) & ~f->mask)
		return NVME_INVALID_FIELD;
	*word_of(c->n, f) = value(c);
	return 0;
}

void nvme_features_reset(struct nvme *n)
{
	struct nvme_features *st = &n->st->features;

	*st = (struct nvme_features){
		.write_cache = 1,
		.nr_sqs = n->max_queues, .nr_cqs = n->max_queues,
		.temp_over = NO_LIMIT,
		.timestamp_ns = ob_loop_now(n->loop),
	};
	for (unsigned i = 0; i < NR_FEATURES; i++)
		if (!features[i].get)
			*word_of(n, &features[i]) = features[i].def;
}
