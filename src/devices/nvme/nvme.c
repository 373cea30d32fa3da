// SPDX-License-Identifier: BSD-3-Clause
/* The model: identity, options and life. */
#include <string.h>

#include "devices/nvme/nvme.h"

static const struct ob_option nvme_options[] = {
	{ .name = "drive", .type = OB_OPT_STRING, .list = true,
	  .required = true, .help = "the blocks of a namespace" },
	{ .name = "serial", .type = OB_OPT_STRING, .min = 1, .max = 20,
	  .help = "serial number; default: follows from socket and drives" },
	{ .name = "model", .type = OB_OPT_STRING, .def = NVME_DEFAULT_MODEL,
	  .min = 1, .max = 40, .help = "model number" },
	{ .name = "doorbells", .type = OB_OPT_CHOICE, .def = "adaptive",
	  .choices = "adaptive|trapped|mapped",
	  .help = "how the guest tells of new commands" },
	{ .name = "queues", .type = OB_OPT_UINT, .def = "16", .min = 1,
	  .max = NVME_MAX_QUEUES, .help = "pairs of I/O queues" },
	{ .name = "lba", .type = OB_OPT_CHOICE, .def = "512",
	  .choices = "512|4096", .help = "bytes of a logical block" },
	{ .name = "readonly", .type = OB_OPT_BOOL, .def = "off",
	  .help = "refuse writes" },
	{ 0 }
};

static const struct ob_pci nvme_pci = {
	.vendor = NVME_PCI_VENDOR, .device = NVME_PCI_DEVICE,
	.subsystem_vendor = NVME_PCI_VENDOR, .subsystem = NVME_PCI_DEVICE,
	.class_code = 0x010802,
	.bars = { { .size = NVME_BAR_SIZE, .flags = OB_BAR_64 } },
	.intx = true,
	.pm = true,
	.express = true,
	.msi_vectors = 32,
	.msix_vectors = NVME_QIDS,
	.msix_table_bar = OB_BAR0, .msix_table_offset = NVME_MSIX_OFFSET,
	.msix_pba_bar = OB_BAR0, .msix_pba_offset = NVME_PBA_OFFSET,
};

void nvme_fatal(struct nvme *n, const char *why)
{
	n->failing = false;
	if (n->st->csts & NVME_CSTS_CFS)
		return;
	ob_dev_log(n->dev, OB_GUEST, "controller failed: %s", why);
	n->st->csts |= NVME_CSTS_CFS;
	nvme_set_polling(n, false, false);
}

/* A mapped page has the admin queue's doorbells, too. */
static bool poll_lane(struct ob_device *dev, unsigned number)
{
	struct nvme *n = ob_dev_runtime(dev);
	bool found = !number && n->doorbells == NVME_DB_MAPPED &&
		     nvme_doorbells_poll(n->admin);

	if (found)
		nvme_kick(n->admin);
	return nvme_lane_poll(&n->lanes[number]) || found;
}

static bool sleep_lane(struct ob_device *dev, unsigned number)
{
	struct nvme *n = ob_dev_runtime(dev);

	return nvme_doorbells_arm(&n->lanes[number]);
}

static bool nvme_poll(struct ob_device *dev)
{
	return poll_lane(dev, 0);
}

static bool nvme_sleep(struct ob_device *dev)
{
	return sleep_lane(dev, 0);
}

/* In a control step.  A lane without queues has nothing to look at. */
void nvme_set_polling(struct nvme *n, bool on, bool busy)
{
	n->polls = on;
	n->polls_busy = busy;
	for (unsigned i = 0; i < n->nr_lanes; i++) {
		bool has = on && (!i || n->lanes[i].nr_sqs);

		ob_dev_poll(n->lanes[i].step, has, has && busy);
	}
}

/* -- life -------------------------------------------------------------- */

static void read_options(struct nvme *n)
{
	const struct ob_options *opts = ob_dev_options(n->dev);
	const char *serial = ob_options_str(opts, "serial");
	uint8_t uuid[16];

	n->doorbells = ob_options_choice(opts, "doorbells");
	n->max_queues = ob_options_u64(opts, "queues");
	n->lba_shift = ob_options_choice(opts, "lba") ? 12 : 9;
	if (serial)
		strncpy(n->serial, serial, sizeof(n->serial) - 1);
	else
		nvme_identity_default_serial(n);
	strncpy(n->model, ob_options_str(opts, "model"),
		sizeof(n->model) - 1);
	nvme_identity_uuid(n, 0, uuid);
	nvme_identity_format(uuid, n->uuid);
}

static void adjust_pci(struct nvme *n, struct ob_pci *pci)
{
	n->vectors = n->max_queues + 1;
	pci->msix_vectors = n->vectors;
	if (n->doorbells == NVME_DB_MAPPED) {
		pci->bars[0].nr_areas = 1;
		pci->bars[0].areas[0] = (struct ob_area){
			NVME_DB_OFFSET, NVME_DB_SIZE
		};
	}
}

static int nvme_init(struct ob_device *dev, struct ob_pci *pci,
		     struct ob_err *err)
{
	struct nvme *n = ob_dev_runtime(dev);
	int rc;

	n->dev = dev;
	n->loop = ob_dev_loop(dev);
	n->st = ob_dev_state(dev);
	n->hot = ob_dev_hot(dev);
	read_options(n);
	adjust_pci(n, pci);
	rc = nvme_ns_open_all(n, err);
	if (!rc)
		rc = nvme_lanes_init(n, err);
	return rc ? rc : nvme_cmds_init(n, err);
}

static void nvme_finish(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	if (!n->dev)
		return;
	nvme_lanes_finish(n);
	nvme_cmds_finish(n);
	nvme_ns_close_all(n);
}

static void nvme_reset(struct ob_device *dev, enum ob_reset kind)
{
	struct nvme *n = ob_dev_runtime(dev);

	if (kind == OB_RESET_INIT) {
		n->st->attached = n->nr_ns == 64 ? UINT64_MAX
						 : (1ull << n->nr_ns) - 1;
		nvme_ns_shape(n, &n->st->shape);
		nvme_identity_store(n);
	}
	nvme_ctrl_stop(n);
	nvme_regs_reset(n);
}

static void nvme_memory_changed(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	/* The message has woken this thread only, and who slept without the
	 * doorbells' pages, or with others, has asked nobody to wake him (R18). */
	if (n->st->dbbuf)
		nvme_kick_others(n);
	if (!n->frozen || !nvme_queues_mapped(n))
		return;
	n->frozen = false;
	nvme_cqs_revive(n);
	nvme_kick_all(n);
	nvme_spread_update(n);
}

/*
 * What was under way waits for the next client to bring the memory back.
 * There may be none, so what this one wrote goes to the medium.
 */
static void nvme_disconnected(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->frozen = true;
	nvme_spread_update(n);
	nvme_ns_flush_all(n);
}

static void nvme_irq_changed(struct ob_device *dev)
{
	nvme_irq_update(ob_dev_runtime(dev));
}

static void nvme_bus_master(struct ob_device *dev, bool on)
{
	struct nvme *n = ob_dev_runtime(dev);

	n->master = on;
	nvme_spread_update(n);
	if (!on)
		return;
	nvme_memory_changed(dev);	/* it could not be looked at before */
	nvme_cqs_revive(n);
	nvme_kick_all(n);
}

/* What was in flight is not begun again; a reset is the way out. */
static void nvme_fail(struct ob_device *dev)
{
	nvme_fatal(ob_dev_runtime(dev), "its process died of it repeatedly");
}

static unsigned nvme_in_flight(struct ob_device *dev)
{
	struct nvme *n = ob_dev_runtime(dev);
	unsigned count = n->nr_busy_flush;

	nvme_for_each_lane(n, lane)
		count += lane->nr_busy_drive + lane->nr_busy_dma;
	return count;
}

const struct ob_device_class ob_nvme_class = {
	.size = sizeof(struct ob_device_class),
	.abi = OB_DEVICE_ABI,
	.name = "nvme",
	.summary = "an NVMe disk, one namespace for each drive",
	.pci = &nvme_pci,
	.options = nvme_options,
	.state = &nvme_plain_table,
	.hot = &nvme_hot_table,
	.runtime_size = sizeof(struct nvme),
	.init = nvme_init,
	.finish = nvme_finish,
	.region_read = nvme_region_read,
	.region_write = nvme_region_write,
	.is_hot = nvme_is_hot,
	.reset = nvme_reset,
	.poll = nvme_poll,
	.sleep = nvme_sleep,
	.lane_poll = poll_lane,
	.lane_sleep = sleep_lane,
	.spread_changed = nvme_spread_changed,
	.memory_changed = nvme_memory_changed,
	.disconnected = nvme_disconnected,
	.irq_changed = nvme_irq_changed,
	.bus_master = nvme_bus_master,
	.in_flight = nvme_in_flight,
	.stop = nvme_move_stop,
	.halt = nvme_move_halt,
	.run = nvme_move_run,
	.check = nvme_check,
	.loaded = nvme_move_loaded,
	.drive = nvme_move_drive,
	.refresh = nvme_ns_refresh_all,
	.fail = nvme_fail,
	.inflight = nvme_inflight,
};
