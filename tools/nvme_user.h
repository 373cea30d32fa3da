/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe driver in user space, over the client library.  A queue pair
 * belongs to one thread; everything else to one thread too, but where it says
 * "any thread".  A queue pair has `depth` slots; a slot is a command identifier with a buffer
 * of its own in memory that the device can reach, so that submitting an I/O
 * allocates nothing and translates nothing.
 *
 * Section numbers are those of the NVM Express base specification 1.4.
 */
#ifndef TOOLS_NVME_USER_H
#define TOOLS_NVME_USER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <outboard/client.h>

#define NVME_USER_MAX_QUEUES 64u
#define NVME_USER_MAX_DEPTH 1024u	/* 10 bits */

enum nvme_user_doorbells {
	NVME_USER_MAPPED,		/* stores into the device's page */
	NVME_USER_POSTED,		/* one-way messages */
	NVME_USER_ANSWERED,		/* messages that wait for the reply */
	NVME_USER_CALLED,		/* a call: there is no other side */
};

struct nvme_user_params {
	unsigned queues;		/* 1 to NVME_USER_MAX_QUEUES */
	unsigned depth;			/* slots of each, 1 to MAX_DEPTH */
	size_t buffer_size;		/* of each slot, rounded up to pages */
	uint32_t nsid;
	bool shadow;			/* use shadow doorbells if offered */
	bool interrupts;		/* nvme_user_wait may sleep */
};

struct nvme_user_sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved;
	uint64_t metadata;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};

struct nvme_user_cqe {
	uint32_t result, reserved;
	uint16_t sq_head, sq_id, cid, status;
};

/* Doorbell values in guest memory, and the device's wishes beside them. */
struct nvme_user_shadow {
	uint32_t *value, *event;	/* NULL: none */
};

struct nvme_user_queue {
	struct nvme_user *dev;
	struct nvme_user_sqe *sq;
	struct nvme_user_cqe *cq;
	uint64_t sq_addr, cq_addr;
	uint16_t id, entries;
	uint16_t tail, rung_tail;
	uint16_t head, rung_head;
	uint8_t phase;
	uint16_t self_head;		/* of what there is no device for */
	uint64_t doorbell_writes;	/* messages or stores */
	struct nvme_user_shadow sq_shadow, cq_shadow;
	uint8_t *buffers;
	uint64_t buffers_addr;
	uint64_t *lists;		/* a page of PRP entries per slot */
	uint64_t lists_addr;
	int eventfd;			/* -1: polled */
	/* In the upper bits of a slot's command identifiers, so that a
	   completion that comes twice is known as such. */
	uint8_t turns[NVME_USER_MAX_DEPTH];
	uint8_t apart[128];		/* from the next, another thread's */
};

struct nvme_user {
	struct ob_client *client;
	struct nvme_user_params params;
	pthread_mutex_t lock;		/* of the client, once queues have threads */
	enum nvme_user_doorbells how;
	/* Is the device, of one that has no client (nvme_user_self.c). */
	void (*self)(struct nvme_user_queue *q);
	volatile uint32_t *doorbells;	/* when mapped */
	unsigned stride;		/* words between two doorbells */
	bool shadow, enabled;
	uint64_t cap;
	uint8_t *memory;		/* all that the device may reach */
	uint64_t memory_addr;
	size_t memory_size, memory_used;
	int memory_fd;
	unsigned nr_queues;		/* I/O queues that exist */
	struct nvme_user_queue admin;
	struct nvme_user_queue queues[NVME_USER_MAX_QUEUES];

	/* what identify said */
	char serial[21], model[41], firmware[9];
	uint32_t lba_size;
	uint64_t lbas;
	size_t max_transfer;		/* bytes; 0: unlimited */
	bool write_cache;
};

/*
 * Resets the device, brings the controller up, creates the queues.  On
 * success the caller ends it with nvme_user_close; the client stays its own.
 */
int nvme_user_open(struct ob_client *client,
		   const struct nvme_user_params *params,
		   struct nvme_user **out, struct ob_err *err);
/*
 * The same without a device: whatever is rung is completed at once, untouched,
 * so that what the driver itself costs can be measured.
 */
int nvme_user_open_self(const struct nvme_user_params *params, uint64_t bytes,
			struct nvme_user **out, struct ob_err *err);
/* Shuts the controller down (7.6.2).  Accepts NULL. */
void nvme_user_close(struct nvme_user *dev);

/* One admin command, polled; *result (may be NULL) is dword 0. */
int nvme_user_admin(struct nvme_user *dev, struct nvme_user_sqe *sqe,
		    uint32_t *result, struct ob_err *err);

#define NVME_USER_VERSION 0x08u	/* a register that never changes */

enum nvme_user_opcode {
	NVME_USER_FLUSH = 0x00, NVME_USER_WRITE = 0x01, NVME_USER_READ = 0x02,
};

static inline void *nvme_user_buffer(struct nvme_user_queue *q, unsigned slot)
{
	return q->buffers + slot * q->dev->params.buffer_size;
}

/*
 * Puts a command into the queue; the slot must be free.  The device sees it
 * after nvme_user_ring, one doorbell for all since the last, and one for all
 * that nvme_user_take has taken.
 */
void nvme_user_submit(struct nvme_user_queue *q, unsigned slot, uint8_t opcode,
		      uint64_t lba, uint32_t blocks);
int nvme_user_ring(struct nvme_user_queue *q, struct ob_err *err);

struct nvme_user_done {
	uint16_t slot;
	uint16_t status;		/* 0, or SCT << 8 | SC */
	bool stale;			/* of an earlier command of the slot */
};

/* What has completed, up to max.  The device learns of it by nvme_user_ring. */
unsigned nvme_user_take(struct nvme_user_queue *q, struct nvme_user_done *done,
			unsigned max);
/* Both in one; -errno when the doorbell cannot be written. */
int nvme_user_poll(struct nvme_user_queue *q, struct nvme_user_done *done,
		   unsigned max, struct ob_err *err);
/*
 * Sleeps until a completion may be there: needs params.interrupts.  Serves
 * the server meanwhile.  0; -ETIMEDOUT; -ECONNRESET.
 */
int nvme_user_wait(struct nvme_user *dev, int timeout_ms, struct ob_err *err);
/* The same of the queues first, first + step, ... that are a thread's own. */
int nvme_user_wait_own(struct nvme_user *dev, unsigned first, unsigned step,
		       int timeout_ms, struct ob_err *err);
/* Serves the server, if it wants something; any thread. */
int nvme_user_look(struct nvme_user *dev, struct ob_err *err);

/* Parts of the driver, for one another. */
/* Nothing of it is up; NULL: no memory. */
struct nvme_user *nvme_user_new(const struct nvme_user_params *params,
				struct ob_err *err);
int nvme_user_queue_init(struct nvme_user *dev, struct nvme_user_queue *q,
			 uint16_t id, uint16_t entries, struct ob_err *err);
int nvme_user_irq_setup(struct nvme_user *dev, struct ob_err *err);
int nvme_user_memory(struct nvme_user *dev, struct ob_err *err);
int nvme_user_queues_init(struct nvme_user *dev, struct ob_err *err);
int nvme_user_check_params(struct nvme_user_params *p, struct ob_err *err);
void *nvme_user_alloc(struct nvme_user *dev, size_t size, uint64_t *addr);
/* BAR0, by message; len is 4 or 8. */
int nvme_user_get_reg(struct nvme_user *dev, uint32_t reg, uint64_t *value,
		      unsigned len, struct ob_err *err);
int nvme_user_set_reg(struct nvme_user *dev, uint32_t reg, uint64_t value,
		      unsigned len, struct ob_err *err);

#endif
