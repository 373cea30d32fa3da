// SPDX-License-Identifier: BSD-3-Clause
/* The admin command set (5), as rows of steps. */
#include "devices/nvme/nvme.h"

int nvme_step_page(struct nvme_cmd *c)
{
	c->len = NVME_ID_SIZE;
	return 0;
}

/*
 * Abort (5.1).  What waits with us ends at once; what is with the drive is
 * asked to end early, which is not promised: bit 0 of the result says so.
 */
static int step_abort(struct nvme_cmd *c)
{
	uint32_t cdw10 = c->slot->sqe.cdw10;
	struct nvme_cmd *victim =
		nvme_cmd_find(c->n, cdw10 & 0xffff, cdw10 >> 16);

	c->slot->result = 1;
	if (victim)
		nvme_guard_slot(victim);
	if (victim && victim != c &&
	    nvme_cmd_hurry(victim, NVME_ABORT_REQUESTED))
		c->slot->result = 0;
	return 0;
}

static const nvme_step create_sq[] = { nvme_step_create_sq, NULL };
static const nvme_step delete_sq[] = { nvme_step_delete_sq, NULL };
static const nvme_step create_cq[] = { nvme_step_create_cq, NULL };
static const nvme_step delete_cq[] = { nvme_step_delete_cq, NULL };
static const nvme_step get_log[] = {
	nvme_step_log_prepare, nvme_step_walk, nvme_step_buffer, nvme_step_log,
	nvme_step_data_out, nvme_step_log_told, NULL
};
static const nvme_step identify[] = {
	nvme_step_page, nvme_step_walk, nvme_step_buffer, nvme_step_identify,
	nvme_step_data_out, NULL
};
static const nvme_step abort_steps[] = { step_abort, NULL };
static const nvme_step set_features[] = { nvme_step_set_feature, NULL };
static const nvme_step get_features[] = { nvme_step_get_feature, NULL };
static const nvme_step async_event[] = { nvme_step_aer, NULL };
static const nvme_step ns_management[] = { nvme_step_ns_management, NULL };
static const nvme_step ns_attachment[] = {
	nvme_step_page, nvme_step_walk, nvme_step_buffer, nvme_step_data_in,
	nvme_step_attach, NULL
};
static const nvme_step keep_alive[] = { NULL };
static const nvme_step dbbuf_config[] = { nvme_step_dbbuf, NULL };

const struct nvme_op nvme_admin_ops[] = {
	{ NVME_ADM_DELETE_SQ, 0, 0, "Delete I/O Submission Queue", delete_sq },
	{ NVME_ADM_CREATE_SQ, 0, 0, "Create I/O Submission Queue", create_sq },
	{ NVME_ADM_GET_LOG, 0, 0, "Get Log Page", get_log },
	{ NVME_ADM_DELETE_CQ, 0, 0, "Delete I/O Completion Queue", delete_cq },
	{ NVME_ADM_CREATE_CQ, 0, 0, "Create I/O Completion Queue", create_cq },
	{ NVME_ADM_IDENTIFY, 0, 0, "Identify", identify },
	{ NVME_ADM_ABORT, 0, 0, "Abort", abort_steps },
	{ NVME_ADM_SET_FEATURES, 0, 0, "Set Features", set_features },
	{ NVME_ADM_GET_FEATURES, 0, 0, "Get Features", get_features },
	{ NVME_ADM_ASYNC_EVENT, 0, 0, "Asynchronous Event Request",
	  async_event },
	{ NVME_ADM_NS_MANAGEMENT, 0, 0, "Namespace Management",
	  ns_management },
	{ NVME_ADM_NS_ATTACHMENT, 0, NVME_EFFECT_INVENTORY,
	  "Namespace Attachment", ns_attachment },
	{ NVME_ADM_KEEP_ALIVE, 0, 0, "Keep Alive", keep_alive },
	{ NVME_ADM_DBBUF_CONFIG, NVME_OP_DBBUF, 0, "Doorbell Buffer Config",
	  dbbuf_config },
};
const unsigned nvme_nr_admin_ops =
	sizeof(nvme_admin_ops) / sizeof(*nvme_admin_ops);
