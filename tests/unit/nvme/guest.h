/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest with an NVMe driver of its own, and the device that it drives, in
 * one thread on one real loop.  What a test sees is what a guest sees:
 * registers over the socket, queues and data in shared memory, eventfds.
 */
#ifndef OB_TESTS_NVME_GUEST_H
#define OB_TESTS_NVME_GUEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "server/server.h"

#define GUEST_BASE	0x40000000ull
#define GUEST_SIZE	(64u << 20)
#define GUEST_QUEUES	8

struct queue {
	unsigned id;
	uint64_t sq, cq;		/* guest addresses */
	uint32_t entries;
	uint32_t tail, head, phase;
	uint16_t next_cid;
};

/* How the server reaches guest memory. */
enum guest_memory { GUEST_MAPPED, GUEST_MESSAGES, GUEST_FILE_IO };

struct guest {
	struct ob_loop *loop;
	struct ob_device *dev;
	char dir[64], path[96];
	int fd;				/* the client's end */
	uint16_t id;
	int memfd;
	uint8_t *mem;			/* GUEST_SIZE bytes at GUEST_BASE */
	uint64_t next;			/* bump allocator */
	enum guest_memory memory;
	int irqs[GUEST_QUEUES + 1];
	unsigned nr_dma;		/* DMA requests served */
	bool hold_dma;			/* do not answer them */
	uint8_t *in;			/* received, not taken yet */
	size_t in_len;
	struct queue admin, io[GUEST_QUEUES + 1];
	uint32_t result;		/* DW0 of the last completion */
	/* page of shadow doorbells and of event indexes, or 0 */
	uint64_t shadow, index;
	volatile uint32_t *page;	/* mapped doorbells, or NULL */
	unsigned messages;		/* doorbell writes sent */
};

/* Not NULL: runs on another thread, and guests started have it for lane 1. */
extern struct ob_loop *guest_lane;

struct guest *guest_start(const char *options);
struct guest *guest_start_as(const char *options, enum guest_memory memory);
void guest_end(struct guest *g);
/* As guest_start, then enabled with one pair of I/O queues of 64 entries. */
struct guest *guest_ready(const char *options);
void guest_connect(struct guest *g);
void guest_hang_up(struct guest *g);
void guest_turn(struct guest *g);	/* what is ready now */
void guest_settle(struct guest *g);	/* many turns */
void guest_nap(struct guest *g, unsigned us);	/* a turn at least */

uint32_t guest_reg(struct guest *g, uint64_t offset);
uint64_t guest_reg64(struct guest *g, uint64_t offset);
void guest_set_reg(struct guest *g, uint64_t offset, uint32_t value);
void guest_set_reg64(struct guest *g, uint64_t offset, uint64_t value);
void guest_access(struct guest *g, bool write, unsigned region,
		  uint64_t offset, void *buf, uint32_t len);
void guest_config(struct guest *g, uint32_t offset, uint32_t value,
		  uint32_t len);
int guest_call(struct guest *g, uint16_t cmd, const void *body, size_t len,
	       const int *fds, unsigned nr_fds, void *reply, size_t room);
void guest_unmap_all(struct guest *g);
void guest_map(struct guest *g, uint64_t addr, uint64_t size,
	       uint64_t offset, uint32_t flags);
void guest_reset(struct guest *g);
void guest_master(struct guest *g, bool on);
/* Attaches eventfds to MSI-X and unmasks. */
void guest_msix(struct guest *g);
/* Signals since last asked. */
uint64_t guest_irqs(struct guest *g, unsigned vector);

uint64_t guest_alloc(struct guest *g, size_t bytes);	/* page aligned */
void *guest_ptr(struct guest *g, uint64_t addr);

void guest_enable(struct guest *g);
void guest_disable(struct guest *g);
uint16_t guest_create_queue(struct guest *g, unsigned id, uint32_t entries);
/* Shadow doorbells from now on. */
void guest_shadow(struct guest *g);

/* Puts an entry in; cid is set.  Nothing is rung. */
uint16_t guest_put(struct guest *g, struct queue *q, struct nvme_sqe *sqe);
void guest_ring(struct guest *g, struct queue *q);
void guest_ring_head(struct guest *g, struct queue *q);
/* Takes one completion, if there is one; the head is not rung. */
bool guest_take(struct guest *g, struct queue *q, struct nvme_cqe *cqe);
/* Waits until there is one (a hang fails the test). */
void guest_wait_for(struct guest *g, struct queue *q);
/* The same, takes it and rings the head. */
struct nvme_cqe guest_wait(struct guest *g, struct queue *q);
/* One command from start to end; its status without phase, More and DNR. */
uint16_t guest_do(struct guest *g, struct queue *q, struct nvme_sqe sqe);
uint16_t guest_admin(struct guest *g, struct nvme_sqe sqe);
uint16_t guest_io(struct guest *g, struct nvme_sqe sqe);

/* A command with PRPs for len bytes at addr (page aligned). */
struct nvme_sqe guest_sqe(struct guest *g, uint8_t opcode, uint32_t nsid,
			  uint64_t addr, uint32_t len);
struct nvme_sqe guest_rw(struct guest *g, uint8_t opcode, uint64_t lba,
			 uint32_t blocks, uint64_t addr);
uint16_t guest_identify(struct guest *g, uint32_t cns, uint32_t nsid,
			void *page);
uint16_t guest_log(struct guest *g, uint8_t lid, void *buf, uint32_t len,
		   bool retain);
uint16_t guest_set_feature(struct guest *g, uint8_t fid, uint32_t value);
uint16_t guest_get_feature(struct guest *g, uint8_t fid);
void fill(void *buf, size_t len, uint32_t seed);
bool is_filled(const void *buf, size_t len, uint32_t seed);

#endif
