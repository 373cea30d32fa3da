// SPDX-License-Identifier: BSD-3-Clause
/*
 * In the place of src/devices/nvme/feature.c, which is in it: the same
 * commands, which also keep the two fields that the next release has.
 */
#include "devices/nvme/nvme.h"

void reset_of_this_release(struct nvme *n);
int set_of_this_release(struct nvme_cmd *c);

#define nvme_features_reset reset_of_this_release
#define nvme_step_set_feature set_of_this_release
#include "../../src/devices/nvme/feature.c"
#undef nvme_features_reset
#undef nvme_step_set_feature

#define BURST_MASK 7u
#define BURST_OF_32 5u		/* as a power of two */

void nvme_features_reset(struct nvme *n)
{
	reset_of_this_release(n);
	n->st->features.changes = 0;
}

int nvme_step_set_feature(struct nvme_cmd *c)
{
	struct nvme_features *f = &c->n->st->features;
	int status = set_of_this_release(c);

	if (status)
		return status;
	if (f->changes != NVME_NOT_COUNTED)
		f->changes++;
	f->burst_of_32 = (f->arbitration & BURST_MASK) == BURST_OF_32;
	return 0;
}
