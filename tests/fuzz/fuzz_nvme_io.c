// SPDX-License-Identifier: BSD-3-Clause
/* NVMe I/O commands; see nvme_rig.h for the input. */
#include "nvme_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void envelope(struct nvme_sqe *sqe)
{
	sqe->opcode = nvme_io_ops[sqe->opcode % nvme_nr_io_ops].opcode;
	sqe->flags &= 0x40;
	sqe->nsid = 1 + sqe->nsid % 2;
	aim(sqe->dptr);
	sqe->cdw10 %= 600;
	sqe->cdw11 &= 4;
	if (sqe->opcode != NVME_IO_DSM)
		sqe->cdw11 = 0;
	sqe->cdw12 &= 0xfe0000ff;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run_input(data, size, 1, envelope);
	return 0;
}
