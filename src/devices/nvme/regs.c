// SPDX-License-Identifier: BSD-3-Clause
/*
 * The register block (3.1).  Registers are made of 32-bit words; an access of
 * any width and place is put together from them, so a guest gets sense from
 * every load and a driver may use 4 or 8 bytes.  A store changes the words
 * that it covers whole; a part of a word is merged with what is there.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static uint64_t cap(void)
{
	return (NVME_MAX_ENTRIES - 1) | NVME_CAP_CQR | NVME_CAP_TO(20) |
	       NVME_CAP_NSSRS | NVME_CAP_CSS_NVM |
	       NVME_CAP_MPSMAX(NVME_MPSMAX);
}

static uint32_t read_word(const struct nvme *n, uint64_t offset)
{
	const struct nvme_plain *st = n->st;

	switch (offset) {
	case NVME_REG_CAP:
		return cap();
	case NVME_REG_CAP + 4:
		return cap() >> 32;
	case NVME_REG_VS:
		return NVME_VS_1_4;
	case NVME_REG_INTMS:
	case NVME_REG_INTMC:
		return st->intm;
	case NVME_REG_CC:
		return st->cc;
	case NVME_REG_CSTS:
		return st->csts;
	case NVME_REG_AQA:
		return st->aqa;
	case NVME_REG_ASQ:
		return st->asq;
	case NVME_REG_ASQ + 4:
		return st->asq >> 32;
	case NVME_REG_ACQ:
		return st->acq;
	case NVME_REG_ACQ + 4:
		return st->acq >> 32;
	default:
		return 0;
	}
}

/* CAP and VS; a hot access has 8 bytes at most, and so touches nothing else. */
static bool is_read_only(uint64_t offset)
{
	return offset + 8 <= NVME_REG_INTMS;
}

/* Doorbells move a cursor by one store; the same again moves nothing. */
bool nvme_is_hot(struct ob_device *dev, unsigned bar, uint64_t offset,
		 bool write)
{
	(void)dev;
	return !write || bar != OB_BAR0 || offset >= NVME_DB_OFFSET ||
	       is_read_only(offset);
}

void nvme_region_read(struct ob_device *dev, unsigned bar, uint64_t offset,
		      void *buf, size_t len)
{
	struct nvme *n = ob_dev_runtime(dev);
	uint8_t *to = buf;

	memset(buf, 0, len);
	if (bar != OB_BAR0)
		return;
	while (len && offset < NVME_REG_END) {
		uint32_t word = read_word(n, offset & ~3ull);
		size_t from = offset % 4, part = 4 - from;

		if (part > len)
			part = len;
		memcpy(to, (uint8_t *)&word + from, part);
		to += part;
		offset += part;
		len -= part;
	}
}

static void set_low(uint64_t *reg, uint32_t word)
{
	*reg = (*reg & 0xffffffff00000000ull) | (word & 0xfffff000u);
}

static void set_high(uint64_t *reg, uint32_t word)
{
	*reg = (*reg & 0xffffffffull) | (uint64_t)word << 32;
}

/* The admin queue's place is fixed while the controller is enabled. */
static void write_admin_queue(struct nvme *n, uint64_t offset, uint32_t word)
{
	struct nvme_plain *st = n->st;

	if (st->cc & NVME_CC_EN)
		return;
	switch (offset) {
	case NVME_REG_AQA:
		st->aqa = word & 0x0fff0fff;
		break;
	case NVME_REG_ASQ:
		set_low(&st->asq, word);
		break;
	case NVME_REG_ASQ + 4:
		set_high(&st->asq, word);
		break;
	case NVME_REG_ACQ:
		set_low(&st->acq, word);
		break;
	case NVME_REG_ACQ + 4:
		set_high(&st->acq, word);
		break;
	}
}

static void write_word(struct nvme *n, uint64_t offset, uint32_t word)
{
	switch (offset) {
	case NVME_REG_INTMS:
		n->st->intm |= word;
		nvme_irq_update(n);
		break;
	case NVME_REG_INTMC:
		n->st->intm &= ~word;
		nvme_irq_unmasked(n, word);
		break;
	case NVME_REG_CC:
		nvme_ctrl_configure(n, word);
		break;
	case NVME_REG_CSTS:
		n->st->csts &= ~(word & NVME_CSTS_NSSRO);
		break;
	case NVME_REG_NSSR:
		if (word == NVME_NSSR_MAGIC)
			nvme_ctrl_subsystem_reset(n);
		break;
	default:
		if (offset >= NVME_REG_DBS)
			nvme_doorbell_write(n, offset, word);
		else
			write_admin_queue(n, offset, word);
	}
}

/* Registers whose parts can be written one by one. */
static bool holds_value(uint64_t offset)
{
	return offset == NVME_REG_CC ||
	       (offset >= NVME_REG_AQA && offset < NVME_REG_ACQ + 8);
}

static void write_part(struct nvme *n, uint64_t offset, const uint8_t *from,
		       size_t part)
{
	uint64_t base = offset & ~3ull;
	uint32_t word = 0;

	if (part < 4 && base >= NVME_REG_DBS) {
		ob_dev_log(n->dev, OB_GUEST, "doorbell write of %zu bytes",
			   part);
		return;
	}
	if (part < 4 && holds_value(base))
		word = read_word(n, base);
	memcpy((uint8_t *)&word + offset % 4, from, part);
	write_word(n, base, word);
}

void nvme_region_write(struct ob_device *dev, unsigned bar, uint64_t offset,
		       const void *buf, size_t len)
{
	struct nvme *n = ob_dev_runtime(dev);
	const uint8_t *from = buf;

	if (bar != OB_BAR0)
		return;
	while (len && offset < NVME_DB_OFFSET + NVME_DB_SIZE) {
		size_t part = 4 - offset % 4;

		if (part > len)
			part = len;
		write_part(n, offset, from, part);
		from += part;
		offset += part;
		len -= part;
	}
}

void nvme_regs_reset(struct nvme *n)
{
	n->st->cc = n->st->csts = n->st->aqa = n->st->intm = 0;
	n->st->asq = n->st->acq = 0;
}
