// SPDX-License-Identifier: BSD-3-Clause
/*
 * The controller's life (7.3, 7.6): enable, reset, shutdown.
 *
 *	      CC.EN 0->1             CC.SHN            drives flushed
 *	stopped -----> ready -----------> shutting down -----> shut down
 *	   ^             |  CFS on a broken queue   |              |
 *	   +-------------+--------------------------+--------------+
 *		CC.EN 1->0, NSSR, function or device reset
 *
 * A reset never waits.  Commands in flight are disowned and cannot touch
 * guest memory any more, so RDY falls at once; writes of the old life that
 * are still in the kernel hold up new commands to the same namespace only
 * (ns.c), so that they cannot overtake them.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

#define CC_FIXED (NVME_CC_CSS_MASK | NVME_CC_MPS_MASK | NVME_CC_AMS_MASK)

/*
 * A reset may have found the drives handed over to another process, and this
 * guest may be the wrong one to use them (R31).  A device that stands still asks
 * when it runs.
 */
bool nvme_ctrl_has_drives(struct nvme *n)
{
	struct ob_err err = { 0 };

	if (n->halted || !ob_dev_acquire_drives(n->dev, &err))
		return true;
	nvme_fatal(n, err.msg);
	return false;
}

static void enable(struct nvme *n, uint32_t cc)
{
	uint32_t mps = (cc & NVME_CC_MPS_MASK) >> NVME_CC_MPS_SHIFT;

	n->st->cc = cc;
	n->st->csts &= ~NVME_CSTS_SHST_MASK;
	if ((cc & NVME_CC_CSS_MASK) || (cc & NVME_CC_AMS_MASK) ||
	    mps > NVME_MPSMAX) {
		n->st->cc &= ~NVME_CC_MPS_MASK;
		nvme_fatal(n, "enabled with an unsupported configuration");
		return;
	}
	if (!nvme_ctrl_has_drives(n))
		return;
	if (nvme_queue_admin(n)) {
		nvme_fatal(n, "enabled with a bad admin queue");
		return;
	}
	n->st->csts |= NVME_CSTS_RDY;
	ob_dev_log(n->dev, OB_DEBUG, "controller enabled");
	if (n->doorbells == NVME_DB_MAPPED && !n->halted)
		nvme_set_polling(n, true, true);
	nvme_spread_update(n);
}

/* All or nothing: the state as it was, or as after the reset. */
void nvme_ctrl_stop(struct nvme *n)
{
	nvme_gather(n);
	nvme_protect_all(n);
	n->st->generation++;
	nvme_cqs_forget(n);
	nvme_data_forget_waiting(n);
	nvme_owed_forget(n);
	nvme_cmds_disown(n);
	ob_dma_cancel_all(n->dev);
	for (unsigned i = 0; i < NVME_QIDS; i++) {
		nvme_sq_reset(n, i);
		nvme_cq_reset(n, i);
	}
	nvme_queues_note(n);
	nvme_doorbells_reset(n);
	nvme_irq_reset(n);
	nvme_aer_reset(n);
	nvme_features_reset(n);
	n->st->csts &= NVME_CSTS_NSSRO;	/* until the host clears it */
	n->st->intm = 0;
	n->frozen = false;	/* only a client can ask for this */
	n->failing = false;
	if (n->draining)
		nvme_kick(n->admin);	/* to stop may wait for nothing now */
}

/* By one store. */
static void set_shutdown(struct nvme *n, uint32_t shst)
{
	uint32_t csts = (n->st->csts & ~NVME_CSTS_SHST_MASK) | shst;

	__atomic_store_n(&n->st->csts, csts, __ATOMIC_RELEASE);
}

static void start_shutdown(struct nvme *n)
{
	set_shutdown(n, NVME_CSTS_SHST_BUSY);
	if (n->halted)
		return;		/* run begins it */
	nvme_ns_flush_all(n);
	nvme_ctrl_shutdown_step(n);
}

/* Called whenever a drive has finished a flush, and by run. */
void nvme_ctrl_shutdown_step(struct nvme *n)
{
	if ((n->st->csts & NVME_CSTS_SHST_MASK) != NVME_CSTS_SHST_BUSY ||
	    nvme_ns_flushing(n) || n->halted)
		return;
	set_shutdown(n, NVME_CSTS_SHST_DONE);
}

void nvme_ctrl_configure(struct nvme *n, uint32_t cc)
{
	uint32_t old = n->st->cc;

	cc &= NVME_CC_WRITABLE;
	/* Fixed while enabled: page size, command set, arbitration. */
	if ((cc & NVME_CC_EN) && (old & NVME_CC_EN))
		cc = (cc & ~CC_FIXED) | (old & CC_FIXED);
	if (!(cc & NVME_CC_EN) && (old & NVME_CC_EN))
		nvme_ctrl_stop(n);
	n->st->cc = cc;
	if ((cc & NVME_CC_EN) && !(old & NVME_CC_EN))
		enable(n, cc);
	if ((cc & NVME_CC_SHN_MASK) && !(old & NVME_CC_SHN_MASK))
		start_shutdown(n);
}

void nvme_ctrl_subsystem_reset(struct nvme *n)
{
	nvme_ctrl_stop(n);
	nvme_regs_reset(n);
	n->st->csts = NVME_CSTS_NSSRO;
}
