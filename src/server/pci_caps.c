// SPDX-License-Identifier: BSD-3-Clause
/*
 * The capability list, in the order PM, MSI, MSI-X, PCI Express, vendor, and
 * the extended one with the serial number (PCI Express base, chapter 7).
 */
#include <errno.h>
#include <string.h>

#include "server/pci_build.h"

enum {
	CAP_POINTER = 0x34, FIRST_CAP = 0x40,
	CAP_PM = 0x01, CAP_MSI = 0x05, CAP_VENDOR = 0x09, CAP_EXPRESS = 0x10,
	CAP_MSIX = 0x11, EXT_CAP_SERIAL = 0x0003,
};

/* The list under construction. */
struct caps {
	struct ob_config_space *cfg;
	uint32_t link;		/* where the next one's offset goes */
	uint32_t end;		/* first free byte */
};

/* Opens a capability of len bytes; 0: does not fit. */
static uint16_t add(struct caps *caps, uint8_t id, uint32_t len)
{
	uint32_t at = caps->end;

	if (len > 256 - at)
		return 0;
	ob_config_put(caps->cfg, caps->link, 1, at, 0);
	ob_config_put(caps->cfg, at, 1, id, 0);
	caps->link = at + 1;
	caps->end = (at + len + 3) & ~3u;
	return (uint16_t)at;
}

/* Version 3, D0 and D3hot; No_Soft_Reset is 0, so D3hot to D0 resets. */
static bool add_pm(struct caps *caps)
{
	uint16_t at = add(caps, CAP_PM, 8);

	if (!at)
		return false;
	ob_config_put(caps->cfg, at + 2, 2, 0x0003, 0);
	ob_config_put(caps->cfg, at + PCI_PM_CSR, 2, 0, 0x0003);
	caps->cfg->pm = at;
	return true;
}

static bool add_msi(struct caps *caps, unsigned vectors)
{
	unsigned log2 = (unsigned)__builtin_ctz(vectors);
	uint16_t at = add(caps, CAP_MSI, 14);

	if (!at)
		return false;
	/* 64-bit addresses; multiple message capable in bits 1 to 3 */
	ob_config_put(caps->cfg, at + PCI_MSI_CTRL, 2, 0x0080 | log2 << 1,
		      0x0071);
	ob_config_put(caps->cfg, at + 4, 4, 0, 0xfffffffc);
	ob_config_put(caps->cfg, at + 8, 4, 0, 0xffffffff);
	ob_config_put(caps->cfg, at + 12, 2, 0, 0xffff);
	caps->cfg->msi = at;
	return true;
}

static bool add_msix(struct caps *caps, const struct ob_pci *pci)
{
	uint16_t at = add(caps, CAP_MSIX, 12);

	if (!at)
		return false;
	ob_config_put(caps->cfg, at + PCI_MSIX_CTRL, 2, pci->msix_vectors - 1u,
		      PCI_MSIX_ENABLE | PCI_MSIX_MASK_ALL);
	ob_config_put(caps->cfg, at + 4, 4,
		      pci->msix_table_offset | pci->msix_table_bar, 0);
	ob_config_put(caps->cfg, at + 8, 4,
		      pci->msix_pba_offset | pci->msix_pba_bar, 0);
	caps->cfg->msix = at;
	return true;
}

/* Version 2 endpoint with function level reset, one lane at 8 GT/s. */
static bool add_express(struct caps *caps)
{
	struct ob_config_space *cfg = caps->cfg;
	uint16_t at = add(caps, CAP_EXPRESS, 0x3c);

	if (!at)
		return false;
	ob_config_put(cfg, at + 2, 2, 0x0002, 0);
	/* 256-byte payload, extended tags, role-based errors, FLR */
	ob_config_put(cfg, at + 4, 4, 0x10008021, 0);
	ob_config_put(cfg, at + PCI_EXP_DEVCTL, 2, 0x2810, 0xffff);
	ob_config_put_w1c(cfg, at + 0x0a, 0x000f);
	ob_config_put(cfg, at + 0x0c, 4, 0x00000013, 0);	/* link cap. */
	ob_config_put(cfg, at + 0x10, 2, 0, 0x00cb);		/* link control */
	ob_config_put(cfg, at + 0x12, 2, 0x0013, 0);		/* link status */
	ob_config_put(cfg, at + 0x24, 4, 0x00000010, 0);	/* timeout off */
	ob_config_put(cfg, at + 0x28, 2, 0, 0x0010);
	ob_config_put(cfg, at + 0x2c, 4, 0x0000000e, 0);	/* speeds */
	ob_config_put(cfg, at + 0x30, 2, 0x0003, 0x000f);
	cfg->express = at;
	return true;
}

static bool add_vendor(struct caps *caps, const struct ob_vendor_cap *cap)
{
	uint16_t at = add(caps, CAP_VENDOR, 3u + cap->len);

	if (!at)
		return false;
	ob_config_put(caps->cfg, at + 2, 1, 3u + cap->len, 0);
	memcpy(caps->cfg->initial + at + 3, cap->body, cap->len);
	return true;
}

static void put_serial(struct ob_config_space *cfg, uint64_t serial)
{
	ob_config_put(cfg, 0x100, 4, EXT_CAP_SERIAL | 1u << 16, 0);
	ob_config_put(cfg, 0x104, 8, serial, 0);
}

int ob_config_put_caps(struct ob_config_space *cfg, const struct ob_pci *pci,
		       struct ob_err *err)
{
	struct caps caps = { cfg, CAP_POINTER, FIRST_CAP };
	bool fits = true;
	uint32_t i;

	if (pci->pm)
		fits = fits && add_pm(&caps);
	if (pci->msi_vectors)
		fits = fits && add_msi(&caps, pci->msi_vectors);
	if (pci->msix_vectors)
		fits = fits && add_msix(&caps, pci);
	if (pci->express)
		fits = fits && add_express(&caps);
	for (i = 0; i < pci->nr_vendor_caps; i++)
		fits = fits && add_vendor(&caps, &pci->vendor_caps[i]);
	if (!fits)
		return ob_fail(err, ENOSPC, "capabilities do not fit into configuration space");
	if (caps.end != FIRST_CAP)
		ob_config_put(cfg, PCI_STATUS, 2, PCI_STS_CAPS, 0);
	if (pci->express && pci->serial_number)
		put_serial(cfg, pci->serial_number);
	return 0;
}
