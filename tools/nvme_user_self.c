// SPDX-License-Identifier: BSD-3-Clause
/*
 * A driver without a device: the doorbell is a call that completes what was
 * submitted, in order, and touches nothing but the queues.  What such a run
 * takes is the driver's own cost and that of its user; the completion's four
 * stores, which a device would have done, are in it, so it is an upper bound.
 */
#include <errno.h>
#include <string.h>

#include "nvme_user.h"

#define LBA_SIZE 512u

/* Submission and completion queue are of one size, and nothing is lost: the
   entry of a command is where its completion goes. */
static void complete_all(struct nvme_user_queue *q)
{
	while (q->self_head != q->tail) {
		struct nvme_user_cqe *cqe = &q->cq[q->self_head];
		uint16_t status = !(cqe->status & 1);

		cqe->cid = q->sq[q->self_head].cid;
		cqe->sq_id = q->id;
		if (++q->self_head == q->entries)
			q->self_head = 0;
		cqe->sq_head = q->self_head;
		__atomic_store_n(&cqe->status, status, __ATOMIC_RELEASE);
	}
}

static int make_queues(struct nvme_user *dev, struct ob_err *err)
{
	int r = nvme_user_check_params(&dev->params, err);

	if (!r)
		r = nvme_user_memory(dev, err);
	if (!r)
		r = nvme_user_queues_init(dev, err);
	if (!r)
		dev->nr_queues = dev->params.queues;
	return r;
}

int nvme_user_open_self(const struct nvme_user_params *params, uint64_t bytes,
			struct nvme_user **out, struct ob_err *err)
{
	struct nvme_user *dev = nvme_user_new(params, err);
	int r;

	if (!dev)
		return -ENOMEM;
	dev->how = NVME_USER_CALLED;
	dev->self = complete_all;
	dev->lba_size = LBA_SIZE;
	dev->lbas = bytes / LBA_SIZE;
	strcpy(dev->model, "none");
	strcpy(dev->serial, "none");
	r = make_queues(dev, err);
	if (r) {
		nvme_user_close(dev);
		return r;
	}
	*out = dev;
	return 0;
}
