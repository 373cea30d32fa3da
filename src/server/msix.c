// SPDX-License-Identifier: BSD-3-Clause
/*
 * The MSI-X table and its pending bits (PCI Express base, 7.7.2).
 *
 * Both lie in a BAR and never reach the model.  Entries are kept as written;
 * only the mask bit means something here, since the address and data of a
 * message are the client's business.  A vector is masked by its own bit or by
 * the function's; a message that comes meanwhile, or for which there is no
 * trigger, sets its pending bit.  Lanes may do so at the same time; the rest is the
 * device's own thread's.
 */
#include <string.h>

#include "base/bitmap.h"
#include "server/device_impl.h"

#define ENTRY_SIZE 16u

static bool function_masked(const struct ob_device *dev)
{
	return ob_config_get(dev, dev->cfg.msix + PCI_MSIX_CTRL, 2) &
	       PCI_MSIX_MASK_ALL;
}

static bool deliverable(const struct ob_device *dev, unsigned vector)
{
	return dev->irqs.mode == OB_IRQ_MSIX && !dev->mig.halted &&
	       !function_masked(dev) &&
	       !(dev->core->msix[vector].control & OB_MSIX_MASKED);
}

void ob_msix_raise(struct ob_device *dev, unsigned vector)
{
	if (!deliverable(dev, vector) ||
	    !ob_irq_fire(dev, OB_IRQ_INDEX_MSIX, vector))
		ob_bit_set_shared(dev->core->msix_pending, vector);
}

void ob_msix_owe(struct ob_device *dev, unsigned vector)
{
	if (deliverable(dev, vector))
		ob_irq_fire(dev, OB_IRQ_INDEX_MSIX, vector);
}

static void deliver(struct ob_device *dev, unsigned vector)
{
	if (ob_bit_test(dev->core->msix_pending, vector) &&
	    deliverable(dev, vector) &&
	    ob_irq_fire(dev, OB_IRQ_INDEX_MSIX, vector))
		ob_bit_clear(dev->core->msix_pending, vector);
}

void ob_msix_flush(struct ob_device *dev)
{
	unsigned word, v;

	if (dev->irqs.mode != OB_IRQ_MSIX || function_masked(dev))
		return;
	for (word = 0; word < OB_MSIX_MAX / 64; word++)
		for (v = 0; v < 64 && dev->core->msix_pending[word] >> v; v++)
			deliver(dev, word * 64 + v);
}

void ob_msix_mask(struct ob_device *dev, unsigned vector, bool masked)
{
	struct ob_msix_entry *entry = &dev->core->msix[vector];

	if (masked)
		entry->control |= OB_MSIX_MASKED;
	else
		entry->control &= ~OB_MSIX_MASKED;
}

/*
 * A vector that has a trigger stays live: the client keeps it across resets
 * and will not say again what it said before.
 */
void ob_msix_reset(struct ob_device *dev)
{
	struct ob_core *core = dev->core;
	unsigned v;

	memset(core->msix_pending, 0, sizeof(core->msix_pending));
	for (v = 0; v < dev->pci.msix_vectors; v++) {
		bool live = ob_irq_has_trigger(dev, OB_IRQ_INDEX_MSIX, v);

		core->msix[v] = (struct ob_msix_entry){
			.control = live ? 0 : OB_MSIX_MASKED,
		};
	}
}

static size_t table_size(const struct ob_device *dev)
{
	return dev->pci.msix_vectors * ENTRY_SIZE;
}

static size_t pba_size(const struct ob_device *dev)
{
	return OB_BITMAP_WORDS(dev->pci.msix_vectors) * 8;
}

/*
 * Does [offset, offset + *len) begin inside [start, start + size)?  If not,
 * it is cut where the other begins.
 */
static bool cut(uint64_t offset, size_t *len, uint64_t start, uint64_t size)
{
	uint64_t to = offset < start ? start : start + size;

	if (offset >= start + size)
		return false;
	if (*len > to - offset)
		*len = to - offset;
	return offset >= start;
}

enum ob_msix_part ob_msix_part(const struct ob_device *dev, unsigned bar,
			       uint64_t offset, size_t *len)
{
	const struct ob_pci *pci = &dev->pci;

	if (pci->msix_vectors == 0)
		return OB_PART_MODEL;
	if (bar == pci->msix_table_bar &&
	    cut(offset, len, pci->msix_table_offset, table_size(dev)))
		return OB_PART_TABLE;
	if (bar == pci->msix_pba_bar &&
	    cut(offset, len, pci->msix_pba_offset, pba_size(dev)))
		return OB_PART_PBA;
	return OB_PART_MODEL;
}

void ob_msix_read(struct ob_device *dev, enum ob_msix_part part,
		  uint64_t offset, void *buf, size_t len)
{
	const struct ob_pci *pci = &dev->pci;
	uint64_t pending[OB_MSIX_MAX / 64];

	if (part == OB_PART_TABLE) {
		memcpy(buf, (const uint8_t *)dev->core->msix +
			    (offset - pci->msix_table_offset), len);
		return;
	}
	for (size_t i = 0; i < pba_size(dev) / 8; i++)
		pending[i] = __atomic_load_n(&dev->core->msix_pending[i],
					     __ATOMIC_RELAXED);
	memcpy(buf, (const uint8_t *)pending + (offset - pci->msix_pba_offset),
	       len);
}

void ob_msix_write(struct ob_device *dev, enum ob_msix_part part,
		   uint64_t offset, const void *buf, size_t len)
{
	uint64_t at = offset - dev->pci.msix_table_offset;
	unsigned v;

	if (part != OB_PART_TABLE)
		return;
	memcpy((uint8_t *)dev->core->msix + at, buf, len);
	for (v = at / ENTRY_SIZE; v <= (at + len - 1) / ENTRY_SIZE; v++) {
		dev->core->msix[v].control &= OB_MSIX_MASKED;
		deliver(dev, v);
	}
	ob_irq_changed(dev);
}
