// SPDX-License-Identifier: BSD-3-Clause
/* What an operator may know of a device: its migration, its configuration. */
#include <string.h>

#include "server/device_impl.h"
#include "server/dirty.h"
#include "server/operator_impl.h"

static const char *const owners[] = {
	[OB_MIG_NOBODY] = "nobody", [OB_MIG_CLIENT] = "client",
	[OB_MIG_OPERATOR] = "operator",
};

void ob_operator_status(struct ob_device *dev, struct ob_operator_status *out)
{
	const struct ob_operator *o = dev->operator;

	*out = (struct ob_operator_status){
		.state = ob_mig_state_name(dev->mig.state),
		.owner = owners[ob_mig_owner(dev)],
		.stream = "none", .pages = "none",
		.log = dev->dma.op_log,
		.loaded = dev->ss->operator & OB_OPERATOR_LOADED,
		.given = dev->mig.given,
		.alarm = dev->arrival.alarm,
	};
	if (dev->dma.op_log)
		out->pages_left = ob_dirty_count(dev->dma.op_log);
	if (!o)
		return;
	out->bytes = o->state.bytes;
	if (o->state.under_way)
		out->stream = o->state.out ? "out" : "in";
	if (o->state.under_way && o->state.out)
		out->left = ob_mig_save_size(dev);
	ob_pages_out_status(o, out);
	ob_pages_in_status(o, out);
}

void ob_operator_config(struct ob_device *dev, struct ob_operator_config *out)
{
	*out = (struct ob_operator_config){
		.pm = (uint8_t)dev->cfg.pm, .msi = (uint8_t)dev->cfg.msi,
		.msix = (uint8_t)dev->cfg.msix,
		.express = (uint8_t)dev->cfg.express,
		.vectors = dev->pci.msix_vectors,
		.table_bar = dev->pci.msix_table_bar,
		.table_offset = (uint32_t)dev->pci.msix_table_offset,
	};
	memcpy(out->config, dev->core->config, sizeof(out->config));
	for (unsigned i = 0; i < 6; i++) {
		const struct ob_bar *bar = &dev->pci.bars[i];

		out->bars[i].size = bar->size;
		out->bars[i].is_64 = bar->flags & OB_BAR_64;
		out->bars[i].is_io = bar->flags & OB_BAR_IO;
		out->bars[i].prefetch = bar->flags & OB_BAR_PREFETCH;
	}
}

void ob_operator_msix_entry(struct ob_device *dev, unsigned i,
			    uint64_t *address, uint32_t *data,
			    uint32_t *control)
{
	const struct ob_msix_entry *entry = &dev->core->msix[i];

	*address = entry->address;
	*data = entry->data;
	*control = entry->control;
}
