// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a write to configuration space does beyond changing bytes.
 *
 *	COMMAND		bus master, INTx disable
 *	PM CSR		in D3hot no DMA; from there to D0 is a reset
 *			(No_Soft_Reset is 0); D1 and D2 do not exist
 *	MSI control	mode, number of messages
 *	MSI-X control	mode, function mask
 *	Device Control	bit 15 is a function level reset; reads as 0
 *
 * BARs do nothing: clients decode them and send offsets.  The reset comes
 * last, because nothing of a write outlives it.
 */
#include "server/device_impl.h"

static void command_changed(struct ob_device *dev, uint32_t old, uint32_t now)
{
	if ((old ^ now) & PCI_CMD_INTX_OFF) {
		ob_irqs_update(dev);
		ob_irq_changed(dev);
	}
	ob_bus_master_update(dev);
}

static void irq_control_changed(struct ob_device *dev, uint32_t old,
				uint32_t now)
{
	if (old == now)
		return;
	ob_irqs_update(dev);
	ob_irq_changed(dev);
}

static void power_changed(struct ob_device *dev, uint32_t old, uint32_t now)
{
	uint32_t was = old & 3, is = now & 3;

	if (is == 1 || is == 2)
		ob_config_set_bits(dev, dev->cfg.pm + PCI_PM_CSR, 3, was);
	else if (was && !is)
		ob_device_reset(dev, OB_RESET_D3);
	else
		ob_bus_master_update(dev);
}

static void device_control_changed(struct ob_device *dev, uint32_t old,
				   uint32_t now)
{
	(void)old;
	if (now & PCI_EXP_DEVCTL_FLR)
		ob_device_reset(dev, OB_RESET_FLR);
}

static void hook(struct ob_config_space *cfg, uint32_t offset,
		 void (*changed)(struct ob_device *, uint32_t, uint32_t))
{
	cfg->hooks[cfg->nr_hooks++] = (struct ob_config_hook){
		.offset = (uint16_t)offset, .size = 2, .changed = changed,
	};
}

void ob_config_add_hooks(struct ob_config_space *cfg)
{
	hook(cfg, PCI_COMMAND, command_changed);
	if (cfg->msi)
		hook(cfg, cfg->msi + PCI_MSI_CTRL, irq_control_changed);
	if (cfg->msix)
		hook(cfg, cfg->msix + PCI_MSIX_CTRL, irq_control_changed);
	if (cfg->pm)
		hook(cfg, cfg->pm + PCI_PM_CSR, power_changed);
	if (cfg->express)
		hook(cfg, cfg->express + PCI_EXP_DEVCTL,
		     device_control_changed);
}
