// SPDX-License-Identifier: BSD-3-Clause
/*
 * Get Log Page (5.14) and what feeds the logs.  Every page is at most 4 KiB
 * and is built whole; the guest gets the piece that it asked for, zeros
 * behind the end.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

#define LOG_MAX 4096u

/* Room for one entry per completed error; the newest is read first. */
void nvme_error_add(struct nvme *n, const struct nvme_error_entry *entry)
{
	struct nvme_error_entry e = *entry;
	uint64_t at = n->st->counters.errors++ % NVME_ERROR_ENTRIES;

	e.count = n->st->counters.errors;
	memcpy(n->st->error_log + at * sizeof(e), &e, sizeof(e));
}

void nvme_error_command(struct nvme_cmd *c, uint16_t status)
{
	const struct nvme_sqe *sqe = &c->slot->sqe;
	struct nvme_error_entry e = {
		.sqid = c->slot->sqid, .cid = sqe->cid,
		.status = status << 1, .location = 0xffff,
		.nsid = sqe->nsid,
	};

	if (c->slot->sqid)
		e.lba = nvme_start(sqe);
	if (status >> 8 == 2)
		c->n->st->counters.media_errors++;
	nvme_error_add(c->n, &e);
}

static size_t build_error(struct nvme *n, uint8_t *page)
{
	const size_t size = sizeof(struct nvme_error_entry);
	uint64_t count = n->st->counters.errors;

	for (unsigned i = 0; i < NVME_ERROR_ENTRIES && i < count; i++) {
		uint64_t at = (count - 1 - i) % NVME_ERROR_ENTRIES;

		memcpy(page + i * size, n->st->error_log + at * size, size);
	}
	return NVME_ERROR_ENTRIES * size;
}

/* Units of 1,000 times 512 bytes, rounded up. */
static uint64_t data_units(uint64_t blocks)
{
	return blocks / 1000 + (blocks % 1000 != 0);
}

/* Errors are counted at home. */
static struct nvme_counters sum_of_lanes(const struct nvme *n)
{
	struct nvme_counters sum = n->st->counters;

	for (unsigned i = 1; i < n->nr_lanes; i++) {
		const struct nvme_counters *more = n->lanes[i].counters;

		sum.blocks_read += more->blocks_read;
		sum.blocks_written += more->blocks_written;
		sum.reads += more->reads;
		sum.writes += more->writes;
	}
	return sum;
}

static size_t build_smart(struct nvme *n, uint8_t *page)
{
	const struct nvme_counters sum = sum_of_lanes(n), *counters = &sum;
	struct nvme_smart smart = {
		.critical_warning = nvme_critical_warning(n),
		.temperature = NVME_TEMPERATURE,
		.spare = 100, .spare_threshold = 10,
		.units_read = { data_units(counters->blocks_read) },
		.units_written = { data_units(counters->blocks_written) },
		.reads = { counters->reads },
		.writes = { counters->writes },
		.power_cycles = { 1 },
		.media_errors = { counters->media_errors },
		.error_entries = { counters->errors },
	};

	memcpy(page, &smart, sizeof(smart));
	return sizeof(smart);
}

static size_t build_firmware(struct nvme *n, uint8_t *page)
{
	struct nvme_firmware_log log = { .afi = 1 };

	(void)n;
	memcpy(log.frs[0], NVME_FIRMWARE, sizeof(log.frs[0]));
	memcpy(page, &log, sizeof(log));
	return sizeof(log);
}

static size_t build_changed(struct nvme *n, uint8_t *page)
{
	uint32_t nsid, count = 0;

	for (nsid = 1; nsid <= n->nr_ns; nsid++) {
		if (!(n->st->changed >> (nsid - 1) & 1))
			continue;
		memcpy(page + 4 * count++, &nsid, sizeof(nsid));
	}
	return LOG_MAX;
}

static size_t build_effects(struct nvme *n, uint8_t *page)
{
	struct nvme_effects_log log = { 0 };

	for (unsigned i = 0; i < nvme_nr_admin_ops; i++) {
		const struct nvme_op *op = &nvme_admin_ops[i];

		if ((op->flags & NVME_OP_DBBUF) &&
		    n->doorbells != NVME_DB_ADAPTIVE)
			continue;
		log.admin[op->opcode] = NVME_EFFECT_SUPPORTED | op->effects;
	}
	for (unsigned i = 0; i < nvme_nr_io_ops; i++)
		log.io[nvme_io_ops[i].opcode] =
			NVME_EFFECT_SUPPORTED | nvme_io_ops[i].effects;
	memcpy(page, &log, sizeof(log));
	return sizeof(log);
}

static size_t build_supported(struct nvme *n, uint8_t *page);

static const struct log {
	uint8_t id;
	size_t (*build)(struct nvme *n, uint8_t *page);
} logs[] = {
	{ NVME_LOG_SUPPORTED, build_supported },
	{ NVME_LOG_ERROR, build_error },
	{ NVME_LOG_SMART, build_smart },
	{ NVME_LOG_FIRMWARE, build_firmware },
	{ NVME_LOG_CHANGED_NS, build_changed },
	{ NVME_LOG_EFFECTS, build_effects },
};
#define NR_LOGS (sizeof(logs) / sizeof(logs[0]))

static size_t build_supported(struct nvme *n, uint8_t *page)
{
	(void)n;
	for (unsigned i = 0; i < NR_LOGS; i++)
		page[4 * logs[i].id] = 1;
	return 1024;
}

static const struct log *find_log(uint8_t id)
{
	for (unsigned i = 0; i < NR_LOGS; i++)
		if (logs[i].id == id)
			return &logs[i];
	return NULL;
}

int nvme_step_log_prepare(struct nvme_cmd *c)
{
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint64_t dwords = (sqe->cdw10 >> 16 |
			   (uint64_t)(sqe->cdw11 & 0xffff) << 16) + 1;

	if (!find_log(sqe->cdw10 & 0xff))
		return NVME_INVALID_LOG_PAGE;
	if (dwords * 4 > NVME_MAX_TRANSFER || sqe->cdw12 % 4 ||
	    sqe->cdw12 > LOG_MAX || sqe->cdw13)
		return NVME_INVALID_FIELD;
	c->len = dwords * 4;
	return 0;
}

int nvme_step_log(struct nvme_cmd *c)
{
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint8_t id = sqe->cdw10 & 0xff, page[LOG_MAX] = { 0 };
	size_t size = find_log(id)->build(c->n, page), part;

	if (sqe->cdw12 > size)
		return NVME_INVALID_FIELD;
	part = size - sqe->cdw12;
	if (part > c->len)
		part = c->len;
	memset(c->buf.data, 0, c->len);
	memcpy(c->buf.data, page + sqe->cdw12, part);
	c->offset = c->n->st->changed;
	return 0;
}

/* What was told is forgotten when the guest has it, not before: a command
 * that is begun again must find it (R27). */
int nvme_step_log_told(struct nvme_cmd *c)
{
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint8_t id = sqe->cdw10 & 0xff;

	if (sqe->cdw10 & 1u << 15)		/* retain asynchronous event */
		return 0;
	if (id == NVME_LOG_CHANGED_NS)
		c->n->st->changed &= ~c->offset;
	nvme_aer_log_read(c->n, id);
	return 0;
}
