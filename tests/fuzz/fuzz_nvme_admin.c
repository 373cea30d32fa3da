// SPDX-License-Identifier: BSD-3-Clause
/* NVMe admin commands; see nvme_rig.h for the input. */
#include "nvme_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void envelope(struct nvme_sqe *sqe)
{
	sqe->opcode = nvme_admin_ops[sqe->opcode % nvme_nr_admin_ops].opcode;
	sqe->flags = 0;
	sqe->nsid %= 4;
	aim(sqe->dptr);
	/* What selects: feature, log, CNS, queue. */
	sqe->cdw10 &= 0x00ff07ff;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run_input(data, size, 0, envelope);
	return 0;
}
