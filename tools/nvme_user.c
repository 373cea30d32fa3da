// SPDX-License-Identifier: BSD-3-Clause
/*
 * Bringing a controller up and down: reset, registers, the admin queue,
 * identify, features, the I/O queues (7.6.1).
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hist.h"
#include "nvme_user.h"

#define PAGE 4096u
#define ADMIN_ENTRIES 32u
#define USUAL_ENTRIES 128u
#define GUEST_ADDR 0x100000000ull
#define ADMIN_TIMEOUT_NS 30000000000ull
#define ADMIN_SPIN_NS 1000000u	/* before it sleeps between two looks */

enum reg {
	REG_CAP = 0x00, REG_VS = 0x08, REG_CC = 0x14, REG_CSTS = 0x1c,
	REG_AQA = 0x24, REG_ASQ = 0x28, REG_ACQ = 0x30, REG_DB = 0x1000,
};

enum {
	CC_EN = 1 << 0, CC_ENTRY_SIZES = 6 << 16 | 4 << 20,
	CC_SHUTDOWN = 1 << 14,
	CSTS_RDY = 1 << 0, CSTS_CFS = 1 << 1, CSTS_SHUTDOWN_DONE = 2 << 2,
};

enum admin_opcode {
	ADMIN_CREATE_SQ = 0x01, ADMIN_CREATE_CQ = 0x05, ADMIN_IDENTIFY = 0x06,
	ADMIN_SET_FEATURES = 0x09, ADMIN_DOORBELL_BUFFER = 0x7c,
};

#define FEATURE_QUEUES 0x07u
#define OACS_DOORBELL_BUFFER (1u << 8)

/* Waits for csts & mask == want; serves the server meanwhile. */
static int wait_status(struct nvme_user *dev, uint32_t mask, uint32_t want,
		       struct ob_err *err)
{
	uint64_t units = dev->cap >> 24 & 0xff, csts;
	uint64_t end = now_ns() + (units + 2) * 500000000u;
	int r;

	for (;;) {
		r = nvme_user_get_reg(dev, REG_CSTS, &csts, 4, err);
		if (r)
			return r;
		if ((csts & mask) == want)
			return 0;
		if (csts & CSTS_CFS && want != 0)
			return ob_fail(err, EIO,
				       "the controller reports a fatal status");
		if (now_ns() > end)
			return ob_fail(err, ETIMEDOUT,
				       "the controller's status stays 0x%llx",
				       (unsigned long long)csts);
		r = ob_client_poll(dev->client, 1, err);
		if (r < 0)
			return r;
	}
}

int nvme_user_look(struct nvme_user *dev, struct ob_err *err)
{
	int r;

	if (!dev->client)
		return 0;
	pthread_mutex_lock(&dev->lock);
	r = ob_client_poll(dev->client, 0, err);
	pthread_mutex_unlock(&dev->lock);
	return r < 0 ? r : 0;
}

/* Each that is ready is read empty; -errno when one cannot be. */
static int clear_eventfds(const struct pollfd *fds, unsigned count,
			  struct ob_err *err)
{
	uint64_t value;

	for (unsigned i = 0; i < count; i++)
		if (fds[i].revents && read(fds[i].fd, &value, 8) < 0 &&
		    errno != EAGAIN)
			return ob_fail(err, errno, "eventfd: %s",
				       strerror(errno));
	return 0;
}

int nvme_user_wait_own(struct nvme_user *dev, unsigned first, unsigned step,
		       int timeout_ms, struct ob_err *err)
{
	struct pollfd fds[NVME_USER_MAX_QUEUES + 1];
	unsigned n = 0;
	int r;

	for (unsigned i = first; i < dev->nr_queues; i += step)
		fds[n++] = (struct pollfd){
			.fd = dev->queues[i].eventfd, .events = POLLIN,
		};
	fds[n] = (struct pollfd){
		.fd = ob_client_fd(dev->client), .events = POLLIN,
	};
	r = poll(fds, n + 1, timeout_ms);
	if (r < 0 && errno != EINTR)
		return ob_fail(err, errno, "poll: %s", strerror(errno));
	if (r < 0)
		return 0;
	if (r == 0)
		return ob_fail(err, ETIMEDOUT, "no completion");
	r = clear_eventfds(fds, n, err);
	return r || !fds[n].revents ? r : nvme_user_look(dev, err);
}

int nvme_user_wait(struct nvme_user *dev, int timeout_ms, struct ob_err *err)
{
	return nvme_user_wait_own(dev, 0, 1, timeout_ms, err);
}

int nvme_user_admin(struct nvme_user *dev, struct nvme_user_sqe *sqe,
		    uint32_t *result, struct ob_err *err)
{
	struct nvme_user_queue *q = &dev->admin;
	struct nvme_user_cqe *cqe = &q->cq[q->head];
	uint64_t start = now_ns(), now;
	struct nvme_user_done done;
	int r;

	sqe->cid = q->tail;
	q->sq[q->tail] = *sqe;
	q->tail = (uint16_t)((q->tail + 1) % q->entries);
	r = nvme_user_ring(q, err);
	while (!r) {
		r = nvme_user_poll(q, &done, 1, err);
		if (r)
			break;
		now = now_ns();
		if (now - start > ADMIN_TIMEOUT_NS)
			return ob_fail(err, ETIMEDOUT,
				       "admin command 0x%02x is not answered",
				       sqe->opcode);
		if (now - start < ADMIN_SPIN_NS)
			sched_yield();
		else if ((r = ob_client_poll(dev->client, 1, err)) > 0)
			r = 0;
	}
	if (r < 0)
		return r;
	if (result)
		*result = cqe->result;
	if (done.slot != sqe->cid)
		return ob_fail(err, EPROTO,
			       "a completion of command %u, not %u",
			       done.slot, sqe->cid);
	if (done.status)
		return ob_fail(err, EIO,
			       "admin command 0x%02x fails with status 0x%03x",
			       sqe->opcode, done.status);
	return 0;
}

static size_t pages(size_t bytes)
{
	return (bytes + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* As drivers do: larger than what is in flight, and one entry stays free. */
static unsigned queue_entries(const struct nvme_user *dev)
{
	unsigned most = (unsigned)(dev->cap & 0xffff) + 1;
	unsigned usual = most < USUAL_ENTRIES ? most : USUAL_ENTRIES;
	unsigned needed = dev->params.depth + 1;

	return needed > usual ? needed : usual;
}

static size_t memory_needed(const struct nvme_user *dev)
{
	const struct nvme_user_params *p = &dev->params;
	size_t entries = queue_entries(dev);
	size_t queue = pages(entries * sizeof(struct nvme_user_sqe)) +
		       pages(entries * sizeof(struct nvme_user_cqe)) +
		       p->depth * (p->buffer_size + PAGE);
	size_t admin = pages(ADMIN_ENTRIES * sizeof(struct nvme_user_sqe)) +
		       pages(ADMIN_ENTRIES * sizeof(struct nvme_user_cqe));

	/* identify, shadow doorbells, event indexes */
	return p->queues * queue + admin + 3 * PAGE;
}

int nvme_user_memory(struct nvme_user *dev, struct ob_err *err)
{
	void *p;

	dev->memory_size = memory_needed(dev);
	dev->memory_fd = memfd_create("nvme-memory", MFD_CLOEXEC);
	if (dev->memory_fd < 0 ||
	    ftruncate(dev->memory_fd, (off_t)dev->memory_size))
		return ob_fail(err, errno, "memory for %zu bytes: %s",
			       dev->memory_size, strerror(errno));
	p = mmap(NULL, dev->memory_size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, dev->memory_fd, 0);
	if (p == MAP_FAILED)
		return ob_fail(err, errno, "mmap: %s", strerror(errno));
	dev->memory = p;
	dev->memory_addr = GUEST_ADDR;
	return 0;
}

static int share_memory(struct nvme_user *dev, struct ob_err *err)
{
	struct ob_client_dma map = {
		.addr = GUEST_ADDR, .readable = true, .writable = true,
	};
	int r = nvme_user_memory(dev, err);

	map.size = dev->memory_size;
	map.fd = dev->memory_fd;
	return r ? r : ob_client_dma_map(dev->client, &map, err);
}

/* Any region that can be mapped: then other clients would wait for writes. */
static int any_mappable(struct nvme_user *dev, bool *mappable,
			struct ob_err *err)
{
	const struct ob_client_region *info;
	struct ob_client_device device;
	int r = ob_client_device_info(dev->client, &device, err);

	*mappable = false;
	for (uint32_t i = 0; !r && i < device.nr_regions && i <= 5; i++) {
		r = ob_client_region_info(dev->client, i, &info, err);
		if (!r && info->mappable)
			*mappable = true;
	}
	return r;
}

static int map_doorbells(struct nvme_user *dev, struct ob_err *err)
{
	const struct ob_client_region *info = NULL;
	size_t need = (size_t)(dev->params.queues + 1) * 2 * dev->stride * 4;
	bool mappable;
	void *p = NULL;
	int r = any_mappable(dev, &mappable, err);

	dev->how = mappable ? NVME_USER_ANSWERED : NVME_USER_POSTED;
	if (r)
		return r;
	r = ob_client_region_info(dev->client, OB_CLIENT_BAR0, &info, err);
	if (r || !info->mappable)
		return r;
	if (ob_client_region_map(dev->client, OB_CLIENT_BAR0, REG_DB,
				 pages(need), PROT_READ | PROT_WRITE, &p,
				 NULL))
		return 0;
	dev->doorbells = p;
	dev->how = NVME_USER_MAPPED;
	return 0;
}

/* Memory space and bus master on (PCI command register). */
static int enable_pci(struct nvme_user *dev, struct ob_err *err)
{
	uint16_t command = 0x0006;

	return ob_client_write(dev->client, OB_CLIENT_CONFIG, 4, &command,
			       sizeof(command), err);
}

static int enable_controller(struct nvme_user *dev, struct ob_err *err)
{
	struct nvme_user_queue *q = &dev->admin;
	uint32_t aqa = (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1);
	int r;

	if ((r = nvme_user_set_reg(dev, REG_CC, 0, 4, err)) ||
	    (r = wait_status(dev, CSTS_RDY, 0, err)) ||
	    (r = nvme_user_set_reg(dev, REG_AQA, aqa, 4, err)) ||
	    (r = nvme_user_set_reg(dev, REG_ASQ, q->sq_addr, 8, err)) ||
	    (r = nvme_user_set_reg(dev, REG_ACQ, q->cq_addr, 8, err)) ||
	    (r = nvme_user_set_reg(dev, REG_CC, CC_EN | CC_ENTRY_SIZES, 4,
				   err)))
		return r;
	dev->enabled = true;
	return wait_status(dev, CSTS_RDY, CSTS_RDY, err);
}

static void copy_text(char *dst, const uint8_t *src, size_t len)
{
	memcpy(dst, src, len);
	dst[len] = 0;
	while (len && dst[len - 1] == ' ')
		dst[--len] = 0;
}

static int identify(struct nvme_user *dev, uint32_t cns, uint32_t nsid,
		    uint64_t page_addr, struct ob_err *err)
{
	struct nvme_user_sqe sqe = {
		.opcode = ADMIN_IDENTIFY, .nsid = nsid, .prp1 = page_addr,
		.cdw10 = cns,
	};

	return nvme_user_admin(dev, &sqe, NULL, err);
}

static void take_controller(struct nvme_user *dev, const uint8_t *page)
{
	copy_text(dev->serial, page + 4, 20);
	copy_text(dev->model, page + 24, 40);
	copy_text(dev->firmware, page + 64, 8);
	dev->write_cache = page[525] & 1;
	if (page[77] && page[77] < 20)		/* MDTS, in minimum pages */
		dev->max_transfer = (size_t)PAGE << page[77];
	dev->shadow = dev->params.shadow &&
		      (page[256] | page[257] << 8) & OACS_DOORBELL_BUFFER;
}

static int take_namespace(struct nvme_user *dev, const uint8_t *page,
			  struct ob_err *err)
{
	const uint8_t *format = page + 128 + 4 * (page[26] & 15);

	memcpy(&dev->lbas, page, sizeof(dev->lbas));
	if (!dev->lbas)
		return ob_fail(err, ENXIO, "there is no namespace %u",
			       dev->params.nsid);
	if (format[2] < 9 || format[2] > 16)
		return ob_fail(err, EPROTO, "blocks of 2^%u bytes", format[2]);
	dev->lba_size = 1u << format[2];
	return 0;
}

static int identify_all(struct nvme_user *dev, struct ob_err *err)
{
	uint64_t addr;
	uint8_t *page = nvme_user_alloc(dev, PAGE, &addr);
	int r;

	if (!page)
		return ob_fail(err, ENOMEM, "no memory to identify");
	r = identify(dev, 1, 0, addr, err);
	if (r)
		return r;
	take_controller(dev, page);
	r = identify(dev, 0, dev->params.nsid, addr, err);
	return r ? r : take_namespace(dev, page, err);
}

/* A page of values, a page of event indexes, for all queues (5.7). */
static int set_shadow(struct nvme_user *dev, struct ob_err *err)
{
	struct nvme_user_sqe sqe = { .opcode = ADMIN_DOORBELL_BUFFER };
	uint32_t *values = nvme_user_alloc(dev, PAGE, &sqe.prp1);
	uint32_t *events = nvme_user_alloc(dev, PAGE, &sqe.prp2);
	int r;

	if (!values || !events)
		return ob_fail(err, ENOMEM, "no memory for doorbells");
	if (!dev->shadow)
		return 0;
	r = nvme_user_admin(dev, &sqe, NULL, err);
	for (unsigned i = 0; !r && i < dev->params.queues; i++) {
		struct nvme_user_queue *q = &dev->queues[i];
		unsigned at = 2 * (i + 1) * dev->stride;

		q->sq_shadow.value = values + at;
		q->sq_shadow.event = events + at;
		q->cq_shadow.value = values + at + dev->stride;
		q->cq_shadow.event = events + at + dev->stride;
	}
	return r;
}

static int grant_queues(struct nvme_user *dev, struct ob_err *err)
{
	uint32_t want = dev->params.queues - 1, got;
	struct nvme_user_sqe sqe = {
		.opcode = ADMIN_SET_FEATURES, .cdw10 = FEATURE_QUEUES,
		.cdw11 = want << 16 | want,
	};
	int r = nvme_user_admin(dev, &sqe, &got, err);

	if (!r && ((got & 0xffff) < want || got >> 16 < want))
		return ob_fail(err, ERANGE,
			       "the controller grants %u submission and %u "
			       "completion queues", (got & 0xffff) + 1,
			       (got >> 16) + 1);
	return r;
}

static int create_queue(struct nvme_user *dev, struct nvme_user_queue *q,
			uint16_t vector, struct ob_err *err)
{
	uint32_t size_id = (uint32_t)(q->entries - 1) << 16 | q->id;
	struct nvme_user_sqe cq = {
		.opcode = ADMIN_CREATE_CQ, .prp1 = q->cq_addr,
		.cdw10 = size_id, .cdw11 = 1,
	};
	struct nvme_user_sqe sq = {
		.opcode = ADMIN_CREATE_SQ, .prp1 = q->sq_addr,
		.cdw10 = size_id, .cdw11 = (uint32_t)q->id << 16 | 1,
	};
	int r;

	if (dev->params.interrupts)
		cq.cdw11 |= (uint32_t)vector << 16 | 2;
	r = nvme_user_admin(dev, &cq, NULL, err);
	return r ? r : nvme_user_admin(dev, &sq, NULL, err);
}

static int create_queues(struct nvme_user *dev, struct ob_err *err)
{
	int r;

	for (unsigned i = 0; i < dev->params.queues; i++) {
		struct nvme_user_queue *q = &dev->queues[i];

		r = create_queue(dev, q, q->id, err);
		if (r)
			return r;
		dev->nr_queues++;
	}
	return 0;
}

int nvme_user_queues_init(struct nvme_user *dev, struct ob_err *err)
{
	int r = nvme_user_queue_init(dev, &dev->admin, 0, ADMIN_ENTRIES, err);

	for (unsigned i = 0; !r && i < dev->params.queues; i++)
		r = nvme_user_queue_init(dev, &dev->queues[i],
					 (uint16_t)(i + 1),
					 (uint16_t)queue_entries(dev),
					 err);
	return r;
}

int nvme_user_check_params(struct nvme_user_params *p, struct ob_err *err)
{
	if (p->queues < 1 || p->queues > NVME_USER_MAX_QUEUES)
		return ob_fail(err, EINVAL, "1 to %u queues, not %u",
			       NVME_USER_MAX_QUEUES, p->queues);
	if (p->depth < 1 || p->depth > NVME_USER_MAX_DEPTH)
		return ob_fail(err, EINVAL, "a depth of 1 to %u, not %u",
			       NVME_USER_MAX_DEPTH, p->depth);
	p->buffer_size = pages(p->buffer_size ? p->buffer_size : PAGE);
	/* What one list page can name. */
	if (p->buffer_size > (PAGE / 8) * PAGE)
		return ob_fail(err, EINVAL, "buffers of at most 2 MiB");
	return 0;
}

static int check_device(struct nvme_user *dev, struct ob_err *err)
{
	uint8_t config[12];
	uint32_t class_code;
	int r = ob_client_read(dev->client, OB_CLIENT_CONFIG, 0, config,
			       sizeof(config), err);

	if (r)
		return r;
	class_code = (uint32_t)config[11] << 16 | config[10] << 8 | config[9];
	if (class_code != 0x010802)
		return ob_fail(err, ENODEV,
			       "this is no NVMe controller (class %06x)",
			       class_code);
	r = ob_client_reset(dev->client, err);
	if (!r)
		r = enable_pci(dev, err);
	if (!r)
		r = nvme_user_get_reg(dev, REG_CAP, &dev->cap, 8, err);
	dev->stride = 1u << (dev->cap >> 32 & 15);
	if (!r && dev->params.depth + 1 > (dev->cap & 0xffff) + 1)
		r = ob_fail(err, ERANGE,
			    "a queue has at most %llu entries, one of them "
			    "stays free",
			    (unsigned long long)(dev->cap & 0xffff) + 1);
	return r;
}

static int bring_up(struct nvme_user *dev, struct ob_err *err)
{
	int r;

	if ((r = check_device(dev, err)) || (r = share_memory(dev, err)) ||
	    (r = map_doorbells(dev, err)) || (r = nvme_user_queues_init(dev, err)) ||
	    (r = enable_controller(dev, err)) ||
	    (r = identify_all(dev, err)) || (r = grant_queues(dev, err)))
		return r;
	if (dev->params.interrupts && (r = nvme_user_irq_setup(dev, err)))
		return r;
	if ((r = create_queues(dev, err)))
		return r;
	return set_shadow(dev, err);
}

struct nvme_user *nvme_user_new(const struct nvme_user_params *params,
				struct ob_err *err)
{
	struct nvme_user *dev = calloc(1, sizeof(*dev));

	if (!dev) {
		ob_fail(err, ENOMEM, "out of memory");
		return NULL;
	}
	dev->params = *params;
	dev->memory_fd = -1;
	dev->admin.eventfd = -1;
	for (unsigned i = 0; i < NVME_USER_MAX_QUEUES; i++)
		dev->queues[i].eventfd = -1;
	pthread_mutex_init(&dev->lock, NULL);
	return dev;
}

int nvme_user_open(struct ob_client *client,
		   const struct nvme_user_params *params,
		   struct nvme_user **out, struct ob_err *err)
{
	struct nvme_user *dev = nvme_user_new(params, err);
	int r;

	if (!dev)
		return -ENOMEM;
	dev->client = client;
	r = nvme_user_check_params(&dev->params, err);
	if (!r)
		r = bring_up(dev, err);
	if (r) {
		nvme_user_close(dev);
		return r;
	}
	*out = dev;
	return 0;
}

static void shut_down(struct nvme_user *dev)
{
	if (!dev->enabled)
		return;
	if (nvme_user_set_reg(dev, REG_CC,
			      CC_EN | CC_ENTRY_SIZES | CC_SHUTDOWN, 4, NULL))
		return;
	if (!wait_status(dev, 3 << 2, CSTS_SHUTDOWN_DONE, NULL))
		nvme_user_set_reg(dev, REG_CC, 0, 4, NULL);
}

void nvme_user_close(struct nvme_user *dev)
{
	size_t doorbells;

	if (!dev)
		return;
	shut_down(dev);
	if (dev->memory && dev->client)
		ob_client_dma_unmap(dev->client, dev->memory_addr,
				    dev->memory_size, NULL);
	if (dev->memory)
		munmap(dev->memory, dev->memory_size);
	doorbells = pages((size_t)(dev->params.queues + 1) * 2 * dev->stride *
			  4);
	if (dev->doorbells)
		munmap((void *)dev->doorbells, doorbells);
	if (dev->memory_fd >= 0)
		close(dev->memory_fd);
	for (unsigned i = 0; i < NVME_USER_MAX_QUEUES; i++)
		if (dev->queues[i].eventfd >= 0)
			close(dev->queues[i].eventfd);
	free(dev);
}
