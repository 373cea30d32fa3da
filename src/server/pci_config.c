// SPDX-License-Identifier: BSD-3-Clause
/*
 * Configuration space: access, and the header's part of building it
 * (PCI Local Bus 3.0, 6.1 and 6.2; capabilities are in pci_caps.c).
 *
 * A write changes the bits that `writable` names, then clears those that
 * `w1c` names and the write has set.  BAR sizing needs nothing special: the
 * address bits below a BAR's size are not writable and read as zeros.
 */
#include <errno.h>
#include <string.h>

#include "server/device_impl.h"
#include "server/pci_build.h"

uint32_t ob_config_get(const struct ob_device *dev, uint32_t offset,
		       unsigned size)
{
	uint32_t v = 0;
	unsigned i;

	for (i = 0; i < size; i++)
		v |= (uint32_t)dev->core->config[offset + i] << (8 * i);
	return v;
}

void ob_config_set_bits(struct ob_device *dev, uint32_t offset, uint16_t bits,
			bool on)
{
	uint8_t *at = &dev->core->config[offset];
	uint32_t v = ob_config_get(dev, offset, 2);

	v = on ? v | bits : v & ~(uint32_t)bits;
	at[0] = (uint8_t)v;
	at[1] = (uint8_t)(v >> 8);
}

void ob_config_read(struct ob_device *dev, uint32_t offset, void *buf,
		    uint32_t len)
{
	memcpy(buf, dev->core->config + offset, len);
}

static void store(struct ob_device *dev, uint32_t offset, const uint8_t *buf,
		  uint32_t len)
{
	const struct ob_config_space *cfg = &dev->cfg;
	uint32_t i;

	for (i = 0; i < len && offset + i < OB_CONFIG_USED; i++) {
		uint8_t *byte = &dev->core->config[offset + i];
		uint8_t mask = cfg->writable[offset + i];

		*byte = (*byte & ~mask) | (buf[i] & mask);
		*byte &= ~(buf[i] & cfg->w1c[offset + i]);
	}
}

void ob_config_write(struct ob_device *dev, uint32_t offset, const void *buf,
		     uint32_t len)
{
	const struct ob_config_space *cfg = &dev->cfg;
	const struct ob_config_hook *hook;
	uint32_t old[OB_MAX_HOOKS];
	unsigned i;

	for (i = 0; i < cfg->nr_hooks; i++)
		old[i] = ob_config_get(dev, cfg->hooks[i].offset,
				       cfg->hooks[i].size);
	store(dev, offset, buf, len);
	for (i = 0; i < cfg->nr_hooks; i++) {
		hook = &cfg->hooks[i];
		if (offset < hook->offset + hook->size &&
		    hook->offset < offset + len)
			hook->changed(dev, old[i],
				      ob_config_get(dev, hook->offset,
						    hook->size));
	}
}

void ob_config_reset(struct ob_device *dev)
{
	uint8_t *config = dev->core->config;

	memcpy(config, dev->cfg.initial, OB_CONFIG_USED);
	memset(config + OB_CONFIG_USED, 0, OB_CONFIG_SIZE - OB_CONFIG_USED);
}

static uint64_t bar_address(const struct ob_device *dev, unsigned bar)
{
	uint32_t offset = PCI_BAR0 + 4 * bar;
	uint64_t addr = ob_config_get(dev, offset, 4) & ~0xfu;

	if (dev->pci.bars[bar].flags & OB_BAR_64)
		addr |= (uint64_t)ob_config_get(dev, offset + 4, 4) << 32;
	return addr;
}

bool ob_config_hits_bar(const struct ob_device *dev, uint64_t addr,
			uint64_t len)
{
	const struct ob_bar *bar;
	uint64_t base;
	unsigned i;

	if (len == 0 || !(ob_config_get(dev, PCI_COMMAND, 2) & PCI_CMD_MEMORY))
		return false;
	for (i = 0; i < 6; i++) {
		bar = &dev->pci.bars[i];
		if (bar->size == 0 || (bar->flags & OB_BAR_IO))
			continue;
		base = bar_address(dev, i);	/* 0: not placed yet */
		if (base && addr <= base + (bar->size - 1) && base <= addr + (len - 1))
			return true;
	}
	return false;
}

void ob_config_put(struct ob_config_space *cfg, uint32_t offset, unsigned size,
		   uint64_t value, uint64_t writable)
{
	unsigned i;

	for (i = 0; i < size; i++) {
		cfg->initial[offset + i] = (uint8_t)(value >> (8 * i));
		cfg->writable[offset + i] = (uint8_t)(writable >> (8 * i));
	}
}

void ob_config_put_w1c(struct ob_config_space *cfg, uint32_t offset,
		       uint16_t bits)
{
	cfg->w1c[offset] = (uint8_t)bits;
	cfg->w1c[offset + 1] = (uint8_t)(bits >> 8);
}

static void put_bar(struct ob_config_space *cfg, unsigned i,
		    const struct ob_bar *bar)
{
	bool io = bar->flags & OB_BAR_IO;
	uint64_t mask = ~(bar->size - 1) & (io ? ~3ull : ~0xfull);
	uint32_t value = io ? 1 : 0;

	if (bar->size == 0)
		return;
	if (bar->flags & OB_BAR_PREFETCH)
		value |= 8;
	if (bar->flags & OB_BAR_64)
		value |= 4;
	ob_config_put(cfg, PCI_BAR0 + 4 * i, 4, value, mask);
	if (bar->flags & OB_BAR_64)
		ob_config_put(cfg, PCI_BAR0 + 4 * i + 4, 4, 0, mask >> 32);
}

static uint16_t command_mask(const struct ob_pci *pci)
{
	uint16_t mask = PCI_CMD_MASTER | PCI_CMD_PARITY | PCI_CMD_SERR |
			PCI_CMD_MEMORY;
	unsigned i;

	for (i = 0; i < 6; i++)
		if (pci->bars[i].size && (pci->bars[i].flags & OB_BAR_IO))
			mask |= PCI_CMD_IO;
	return pci->intx ? mask | PCI_CMD_INTX_OFF : mask;
}

static void put_header(struct ob_config_space *cfg, const struct ob_pci *pci,
		       uint64_t rom_size)
{
	unsigned i;

	ob_config_put(cfg, 0x00, 2, pci->vendor, 0);
	ob_config_put(cfg, 0x02, 2, pci->device, 0);
	ob_config_put(cfg, PCI_COMMAND, 2, 0, command_mask(pci));
	ob_config_put_w1c(cfg, PCI_STATUS, 0xf900);
	ob_config_put(cfg, 0x08, 1, pci->revision, 0);
	ob_config_put(cfg, 0x09, 3, pci->class_code, 0);
	ob_config_put(cfg, 0x0c, 1, 0, 0xff);		/* cache line size */
	for (i = 0; i < 6; i++)
		put_bar(cfg, i, &pci->bars[i]);
	ob_config_put(cfg, 0x2c, 2, pci->subsystem_vendor, 0);
	ob_config_put(cfg, 0x2e, 2, pci->subsystem, 0);
	if (rom_size)
		ob_config_put(cfg, PCI_ROM, 4, 0, ~(rom_size - 1) | 1);
	ob_config_put(cfg, 0x3c, 1, 0, 0xff);		/* interrupt line */
	ob_config_put(cfg, 0x3d, 1, pci->intx, 0);	/* INTA */
}

int ob_config_build(struct ob_config_space *cfg, const struct ob_pci *pci,
		    uint64_t rom_size, struct ob_err *err)
{
	int r;

	memset(cfg, 0, sizeof(*cfg));
	cfg->size = pci->express ? OB_CONFIG_SIZE : 256;
	put_header(cfg, pci, rom_size);
	r = ob_config_put_caps(cfg, pci, err);
	if (r)
		return r;
	ob_config_add_hooks(cfg);
	return 0;
}
