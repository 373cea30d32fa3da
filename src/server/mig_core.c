// SPDX-License-Identifier: BSD-3-Clause
/*
 * The library's own state, come from elsewhere: would this device have got
 * into it, and how it becomes this device's.
 *
 * Configuration space must be equal to ours where neither the guest nor we
 * ourselves ever change it: identity, BAR sizes, capabilities, vector counts
 * are all there, so this is the check that both devices are the same.  What can
 * be written holds whatever the guest wrote, apart from values that a write
 * never leaves behind.
 *
 * Interrupt state is the guest's, its triggers are the connection's: a vector
 * that has one here is live here (irq_set.c), and a mask of INTx that this
 * client asked for stays.
 */
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "server/device_impl.h"

/* Registers of the header, by where they begin. */
static const struct {
	uint16_t offset;
	const char *name;
} header[] = {
	{ 0x00, "vendor" }, { 0x02, "device" }, { PCI_COMMAND, "command" },
	{ PCI_STATUS, "status" }, { 0x08, "revision" }, { 0x09, "class" },
	{ 0x0c, "header" }, { PCI_BAR0, "BAR0" }, { 0x14, "BAR1" },
	{ 0x18, "BAR2" }, { 0x1c, "BAR3" }, { 0x20, "BAR4" },
	{ 0x24, "BAR5" }, { 0x28, "CIS" }, { 0x2c, "subsystem vendor" },
	{ 0x2e, "subsystem" }, { PCI_ROM, "ROM" },
	{ 0x34, "capability pointer" }, { 0x35, "reserved" },
	{ 0x3c, "interrupt line" }, { 0x3d, "interrupt pin" },
};

static const char *capability_name(const struct ob_config_space *cfg,
				   uint32_t offset)
{
	const struct {
		uint16_t at;
		const char *name;
	} caps[] = {
		{ cfg->pm, "power management" }, { cfg->msi, "MSI" },
		{ cfg->msix, "MSI-X" }, { cfg->express, "PCI Express" },
	};
	const char *name = "capabilities";
	unsigned i, best = 0;

	if (offset >= 256)
		return "extended capabilities";
	for (i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		if (caps[i].at && caps[i].at <= offset && caps[i].at > best) {
			best = caps[i].at;
			name = caps[i].name;
		}
	return name;
}

static const char *register_name(const struct ob_device *dev, uint32_t offset)
{
	unsigned i = sizeof(header) / sizeof(header[0]);

	if (offset >= 0x40)
		return capability_name(&dev->cfg, offset);
	while (i && header[i - 1].offset > offset)
		i--;
	return header[i - 1].name;
}

/* Bits of a byte that may differ from their power-on value. */
static uint8_t changeable(const struct ob_config_space *cfg, uint32_t offset)
{
	uint8_t ours = offset == PCI_STATUS ? PCI_STS_INTX : 0;

	if (offset >= OB_CONFIG_USED)
		return 0;
	return cfg->writable[offset] | cfg->w1c[offset] | ours;
}

static uint8_t initial(const struct ob_config_space *cfg, uint32_t offset)
{
	return offset < OB_CONFIG_USED ? cfg->initial[offset] : 0;
}

static int check_config(const struct ob_device *dev, const uint8_t *config,
			struct ob_err *err)
{
	uint32_t i;

	for (i = 0; i < OB_CONFIG_SIZE; i++)
		if ((config[i] ^ initial(&dev->cfg, i)) &
		    (uint8_t)~changeable(&dev->cfg, i))
			return ob_fail(err, EINVAL, "core.config[%#x] (%s): "
				       "%#x in the stream, %#x in this device, "
				       "which has other options",
				       i, register_name(dev, i), config[i],
				       initial(&dev->cfg, i));
	return 0;
}

static uint32_t word(const uint8_t *config, uint32_t offset)
{
	return config[offset] | (uint32_t)config[offset + 1] << 8;
}

/* A write takes these back, or acts and forgets them (pci_hooks.c). */
static int check_left_behind(const struct ob_device *dev,
			     const uint8_t *config, struct ob_err *err)
{
	uint32_t at = dev->cfg.pm ? dev->cfg.pm + PCI_PM_CSR : 0;
	uint32_t power = at ? word(config, at) & 3 : 0;

	if (power == 1 || power == 2)
		return ob_fail(err, EINVAL, "core.config[%#x] (power "
			       "management): state D%u does not exist",
			       at, power);
	at = dev->cfg.express ? dev->cfg.express + PCI_EXP_DEVCTL : 0;
	if (at && (word(config, at) & PCI_EXP_DEVCTL_FLR))
		return ob_fail(err, EINVAL, "core.config[%#x] (PCI Express): "
			       "a reset under way", at);
	return 0;
}

static int check_msix(const struct ob_device *dev, const struct ob_core *core,
		      struct ob_err *err)
{
	static const struct ob_msix_entry none;
	unsigned v;

	for (v = 0; v < OB_MSIX_MAX; v++) {
		bool known = v < dev->pci.msix_vectors;

		if (known ? (core->msix[v].control & ~OB_MSIX_MASKED) :
		    memcmp(&core->msix[v], &none, sizeof(none)) != 0)
			return ob_fail(err, EINVAL, "core.msix[%u]: %s", v,
				       known ? "control has unknown bits" :
				       "this device has not so many vectors");
		if (!known && ob_bit_test(core->msix_pending, v))
			return ob_fail(err, EINVAL, "core.msix_pending: vector "
				       "%u, this device has %u", v,
				       dev->pci.msix_vectors);
	}
	return 0;
}

static int check_pins(const struct ob_device *dev, const struct ob_core *core,
		      struct ob_err *err)
{
	uint64_t msi = (1ull << dev->pci.msi_vectors) - 1;

	if (core->intx_level && !dev->pci.intx)
		return ob_fail(err, EINVAL, "core.intx_level: this device has no pin");
	if (core->msi_pending & ~msi)
		return ob_fail(err, EINVAL, "core.msi_pending: %#x, this "
			       "device has %u vectors", core->msi_pending,
			       dev->pci.msi_vectors);
	return 0;
}

int ob_mig_core_check(const struct ob_device *dev, const struct ob_core *core,
		      struct ob_err *err)
{
	int r;

	if ((r = check_config(dev, core->config, err)) ||
	    (r = check_left_behind(dev, core->config, err)) ||
	    (r = check_pins(dev, core, err)))
		return r;
	return check_msix(dev, core, err);
}

void ob_mig_core_commit(struct ob_device *dev, const struct ob_core *core,
			uint8_t intx_masked)
{
	unsigned v;

	*dev->core = *core;
	dev->core->intx_masked = intx_masked == OB_INTX_MASKED ?
		OB_INTX_MASKED : OB_INTX_OPEN;
	for (v = 0; v < dev->pci.msix_vectors; v++)
		if (ob_irq_has_trigger(dev, OB_IRQ_INDEX_MSIX, v))
			ob_msix_mask(dev, v, false);
	ob_irqs_update(dev);
	ob_bus_master_update(dev);
}
