/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration space as data: the bytes live in the state, three more images
 * of the same size say what a write may change (runtime, rebuilt from struct
 * ob_pci at every start).  What a write *does* is a short list of hooks, each
 * bound to one register.
 */
#ifndef OB_SERVER_PCI_H
#define OB_SERVER_PCI_H

#include <outboard/device.h>

#include "server/core.h"

struct ob_config_hook {
	uint16_t offset;
	uint8_t size;		/* 1, 2 or 4 */
	void (*changed)(struct ob_device *dev, uint32_t old, uint32_t now);
};

#define OB_MAX_HOOKS 8

/* Behind it there is nothing but zeros that stay so. */
#define OB_CONFIG_USED 0x110u

struct ob_config_space {
	uint32_t size;			/* 256, or 4096 with PCI Express */
	uint16_t pm, msi, msix, express;	/* capability offsets; 0: none */
	uint8_t initial[OB_CONFIG_USED];	/* power-on values */
	uint8_t writable[OB_CONFIG_USED];
	uint8_t w1c[OB_CONFIG_USED];
	unsigned nr_hooks;
	struct ob_config_hook hooks[OB_MAX_HOOKS];
};

/* Is the description consistent?  BARs, MSI-X places, vector counts. */
int ob_pci_check(const struct ob_pci *pci, struct ob_err *err);
/* rom_size is 0 or a power of two. */
int ob_config_build(struct ob_config_space *cfg, const struct ob_pci *pci,
		    uint64_t rom_size, struct ob_err *err);
void ob_config_add_hooks(struct ob_config_space *cfg);

/* Bounds are the caller's; reads beyond cfg->size are not possible. */
void ob_config_read(struct ob_device *dev, uint32_t offset, void *buf,
		    uint32_t len);
void ob_config_write(struct ob_device *dev, uint32_t offset, const void *buf,
		     uint32_t len);
/* Back to power-on values, without hooks. */
void ob_config_reset(struct ob_device *dev);

uint32_t ob_config_get(const struct ob_device *dev, uint32_t offset,
		       unsigned size);
void ob_config_set_bits(struct ob_device *dev, uint32_t offset, uint16_t bits,
			bool on);
/* Does the range touch a memory BAR where the guest has put it? (R14) */
bool ob_config_hits_bar(const struct ob_device *dev, uint64_t addr,
			uint64_t len);

/* Registers and bits that more than one file uses. */
enum {
	PCI_COMMAND = 0x04, PCI_STATUS = 0x06, PCI_BAR0 = 0x10, PCI_ROM = 0x30,
	PCI_CMD_IO = 1 << 0, PCI_CMD_MEMORY = 1 << 1, PCI_CMD_MASTER = 1 << 2,
	PCI_CMD_PARITY = 1 << 6, PCI_CMD_SERR = 1 << 8,
	PCI_CMD_INTX_OFF = 1 << 10,
	PCI_STS_INTX = 1 << 3, PCI_STS_CAPS = 1 << 4,
	PCI_PM_CSR = 4,			/* from the capability */
	PCI_MSI_CTRL = 2, PCI_MSI_ENABLE = 1 << 0,
	PCI_MSIX_CTRL = 2, PCI_MSIX_MASK_ALL = 1 << 14,
	PCI_MSIX_ENABLE = 1 << 15,
	PCI_EXP_DEVCTL = 8, PCI_EXP_DEVCTL_FLR = 1 << 15,
};

#endif
