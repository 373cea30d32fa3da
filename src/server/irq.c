// SPDX-License-Identifier: BSD-3-Clause
/*
 * Interrupts as the model and the guest see them.
 *
 * The mode is what configuration space says: MSI-X if its enable bit is set,
 * else MSI if its is, else the pin.  Where a signal goes is the client's
 * business: one eventfd for each index and vector, given by SET_IRQS (see
 * irq_set.c) at any time, before or after the guest enables the mode.
 *
 * The pin.  The model says whether it is asserted; the client hears of it
 * once (automask) and says "unmask" when the guest has served it.  If the
 * pin is still asserted then, the client is told again; if it falls before the
 * client has read its eventfd, the signal is taken back.
 *
 *	asserted && INTx mode && !COMMAND.INTxDisable && !masked -> signal, mask
 *
 * MSI and MSI-X.  A message is an edge.  While the vector has no trigger or
 * is masked, the edge is remembered (MSI-X: in the PBA) and delivered once
 * when that ends.
 *
 * While the device stands still nothing is signalled and everything is
 * remembered, as if each vector were masked; ob_irqs_deliver makes up for it.
 *
 * Signals that coincide are one (struct ob_signal), so nothing here waits for
 * a peer, whatever it does to its eventfd.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/fd.h"
#include "server/device_impl.h"
#include "server/lane.h"

static void trigger_free(struct ob_device *dev, struct ob_signal **place)
{
	if (!*place)
		return;
	ob_signal_close(dev->loop, *place);
	close((*place)->fd);
	free(*place);
	*place = NULL;
}

int ob_irq_tie(struct ob_signal **place, int fd)
{
	*place = calloc(1, sizeof(**place));
	if (!*place)
		return -ENOMEM;
	(*place)->fd = fd;
	return 0;
}

/* It may have been raised and has not left: that is due to the next one. */
static void owe_again(struct ob_device *dev, unsigned index, unsigned vector)
{
	if (index == OB_IRQ_INDEX_MSIX)
		ob_bit_set_shared(dev->core->msix_pending, vector);
	else if (index == OB_IRQ_INDEX_MSI)
		dev->core->msi_pending |= 1u << vector;
}

int ob_irq_assign(struct ob_device *dev, unsigned index, unsigned vector,
		  int *fd)
{
	struct ob_signal **place = &dev->irqs.triggers[index][vector];
	struct ob_signal *sig = NULL;
	bool owed;
	int r = ob_irq_keep(dev, index, vector, fd ? *fd : -1);

	if (r)
		return r;
	if (fd && (r = ob_irq_tie(&sig, *fd)))
		return r;
	if (fd)
		ob_fd_take(fd);
	owed = *place && (*place)->raised;
	owed |= ob_lanes_untie(dev, index, vector);
	trigger_free(dev, place);
	*place = sig;
	if (owed)
		owe_again(dev, index, vector);
	return 0;
}

bool ob_irq_has_trigger(const struct ob_device *dev, unsigned index,
			unsigned vector)
{
	return vector < dev->irqs.count[index] &&
	       dev->irqs.triggers[index][vector];
}

bool ob_irq_fire(struct ob_device *dev, unsigned index, unsigned vector)
{
	if (!ob_irq_has_trigger(dev, index, vector) &&
	    !ob_lane_tie(dev, index, vector))
		return false;
	ob_signal_raise(dev->loop, dev->irqs.triggers[index][vector]);
	ob_dev_note(dev, OB_EVENT_INTERRUPT, (uint16_t)index, vector, 0);
	dev->irqs.fired[index]++;
	dev->irqs.unanswered++;
	return true;
}

unsigned ob_irqs_waiting(const struct ob_device *dev)
{
	const struct ob_core *core = dev->core;
	unsigned n = 0;

	if (dev->irqs.mode == OB_IRQ_MSI)
		return (unsigned)__builtin_popcount(core->msi_pending);
	if (dev->irqs.mode == OB_IRQ_INTX)
		return core->intx_level && core->intx_masked != OB_INTX_TOLD &&
		       !(ob_config_get(dev, PCI_COMMAND, 2) & PCI_CMD_INTX_OFF);
	for (unsigned word = 0; word < OB_MSIX_MAX / 64; word++)
		n += (unsigned)__builtin_popcountll(core->msix_pending[word]);
	return n;
}

int ob_irqs_init(struct ob_device *dev)
{
	struct ob_irqs *irqs = &dev->irqs;
	const uint32_t count[OB_NR_IRQ_INDEXES] = {
		[OB_IRQ_INDEX_INTX] = dev->pci.intx,
		[OB_IRQ_INDEX_MSI] = dev->pci.msi_vectors,
		[OB_IRQ_INDEX_MSIX] = dev->pci.msix_vectors,
		[OB_IRQ_INDEX_ERR] = 1,
		[OB_IRQ_INDEX_REQ] = 1,
	};
	unsigned i;

	for (i = 0; i < OB_NR_IRQ_INDEXES; i++) {
		if (count[i] == 0)
			continue;
		irqs->triggers[i] = calloc(count[i], sizeof(*irqs->triggers[i]));
		if (!irqs->triggers[i])
			return -ENOMEM;
		irqs->count[i] = count[i];
	}
	return 0;
}

static void triggers_free(struct ob_device *dev)
{
	struct ob_irqs *irqs = &dev->irqs;
	unsigned i, v;

	for (i = 0; i < OB_NR_IRQ_INDEXES; i++)
		for (v = 0; irqs->triggers[i] && v < irqs->count[i]; v++) {
			ob_lanes_untie(dev, i, v);
			trigger_free(dev, &irqs->triggers[i][v]);
		}
	ob_irq_unmask_drop(dev);
}

void ob_irqs_drop(struct ob_device *dev)
{
	struct ob_irqs *irqs = &dev->irqs;
	unsigned v;

	for (v = 0; v < irqs->count[OB_IRQ_INDEX_MSIX]; v++)
		if (ob_irq_has_trigger(dev, OB_IRQ_INDEX_MSIX, v))
			ob_msix_mask(dev, v, true);
	triggers_free(dev);
	memset(dev->ss->triggers, 0, sizeof(dev->ss->triggers));
	dev->core->intx_masked = OB_INTX_OPEN;
}

void ob_irqs_finish(struct ob_device *dev)
{
	unsigned i;

	triggers_free(dev);
	for (i = 0; i < OB_NR_IRQ_INDEXES; i++) {
		free(dev->irqs.triggers[i]);
		dev->irqs.triggers[i] = NULL;
	}
}

static enum ob_irq_mode mode_now(const struct ob_device *dev)
{
	const struct ob_config_space *cfg = &dev->cfg;

	if (cfg->msix && (ob_config_get(dev, cfg->msix + PCI_MSIX_CTRL, 2) &
			  PCI_MSIX_ENABLE))
		return OB_IRQ_MSIX;
	if (cfg->msi && (ob_config_get(dev, cfg->msi + PCI_MSI_CTRL, 2) &
			 PCI_MSI_ENABLE))
		return OB_IRQ_MSI;
	return OB_IRQ_INTX;
}

/*
 * The level fell and the client may not have taken the signal yet: take it
 * back.  A guest that polls is ahead of its VMM all the time, and one
 * interrupt for nothing each time adds up to a storm.
 */
static void intx_withdraw(struct ob_device *dev)
{
	struct ob_signal *sig = dev->irqs.triggers[OB_IRQ_INDEX_INTX][0];
	uint64_t count;
	struct iovec iov = { &count, sizeof(count) };

	if (!sig)
		return;
	if (sig->raised)
		ob_signal_withdraw(dev->loop, sig);
	else if (preadv2(sig->fd, &iov, 1, -1, RWF_NOWAIT) != sizeof(count))
		return;
	dev->core->intx_masked = OB_INTX_OPEN;
}

/* Brings Status bit 3 and the client's view of the pin up to date. */
static void intx_update(struct ob_device *dev)
{
	struct ob_core *core = dev->core;
	bool off = ob_config_get(dev, PCI_COMMAND, 2) & PCI_CMD_INTX_OFF;

	ob_config_set_bits(dev, PCI_STATUS, PCI_STS_INTX, core->intx_level);
	if (!core->intx_level && core->intx_masked == OB_INTX_TOLD)
		intx_withdraw(dev);
	if (!core->intx_level || core->intx_masked || off ||
	    dev->irqs.mode != OB_IRQ_INTX || dev->mig.halted)
		return;
	if (ob_irq_fire(dev, OB_IRQ_INDEX_INTX, 0))
		core->intx_masked = OB_INTX_TOLD;
}

void ob_intx_mask(struct ob_device *dev, bool masked)
{
	dev->core->intx_masked = masked ? OB_INTX_MASKED : OB_INTX_OPEN;
	intx_update(dev);
}

static unsigned msi_granted(const struct ob_device *dev)
{
	uint32_t ctrl = ob_config_get(dev, dev->cfg.msi + PCI_MSI_CTRL, 2);
	unsigned n = 1u << ((ctrl >> 4) & 7);

	return n < dev->pci.msi_vectors ? n : dev->pci.msi_vectors;
}

static void msi_flush(struct ob_device *dev)
{
	uint32_t left = dev->core->msi_pending;
	unsigned v;

	if (dev->irqs.mode != OB_IRQ_MSI || dev->mig.halted)
		return;
	for (v = 0; left; v++, left >>= 1)
		if ((left & 1) && ob_irq_fire(dev, OB_IRQ_INDEX_MSI, v))
			dev->core->msi_pending &= ~(1u << v);
}

void ob_irqs_deliver(struct ob_device *dev)
{
	intx_update(dev);
	msi_flush(dev);
	ob_msix_flush(dev);
}

void ob_irqs_update(struct ob_device *dev)
{
	dev->irqs.mode = mode_now(dev);
	ob_irqs_deliver(dev);
}

void ob_irqs_reset(struct ob_device *dev)
{
	dev->core->intx_level = 0;
	dev->core->intx_masked = OB_INTX_OPEN;
	dev->core->msi_pending = 0;
	ob_msix_reset(dev);
	dev->irqs.mode = mode_now(dev);
}

void ob_irq_changed(struct ob_device *dev)
{
	if (dev->cls->irq_changed)
		dev->cls->irq_changed(dev);
}

enum ob_irq_mode ob_irq_mode(const struct ob_device *dev)
{
	return dev->irqs.mode;
}

unsigned ob_irq_vectors(const struct ob_device *dev)
{
	switch (dev->irqs.mode) {
	case OB_IRQ_MSIX:
		return dev->pci.msix_vectors;
	case OB_IRQ_MSI:
		return msi_granted(dev);
	default:
		return 1;
	}
}

void ob_irq_raise(struct ob_device *dev, unsigned vector)
{
	switch (dev->irqs.mode) {
	case OB_IRQ_MSIX:
		if (vector < dev->pci.msix_vectors)
			ob_msix_raise(dev, vector);
		break;
	case OB_IRQ_MSI:
		vector %= msi_granted(dev);
		if (dev->mig.halted ||
		    !ob_irq_fire(dev, OB_IRQ_INDEX_MSI, vector))
			dev->core->msi_pending |= 1u << vector;
		break;
	default:
		break;
	}
}

void ob_irq_level(struct ob_device *dev, bool asserted)
{
	if (!dev->pci.intx || dev->core->intx_level == asserted)
		return;
	dev->core->intx_level = asserted;
	intx_update(dev);
}
