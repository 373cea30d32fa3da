// SPDX-License-Identifier: BSD-3-Clause
/*
 * Every call of the client library that talks is a step (the linker puts the
 * functions below in its way), and so is every admin command and every batch
 * of I/O: `op` says which one is under way.
 *
 * What is recorded are answers.  Not recorded is what may differ by design:
 * SMART's counters, how much a dirty log reports, data of a stream.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <zlib.h>

#include "nvme_user.h"
#include "session_impl.h"

#define SPARE_ADDR 0x40000000ull
#define FAR_ADDR 0x50000000ull
#define CONNECT_TRIES 5000

struct session *current;

static void await_turn(void)
{
	struct session_turns *turns = current->turns;
	uint32_t own = current->number, other = !own;

	/* The first one begins without being told. */
	if (current->op)
		sem_post(&turns->turn[other]);
	if (!current->op && !own)
		return;
	while (!turns->gone[other] && sem_wait(&turns->turn[own]))
		;
}

static void end_turns(void)
{
	struct session_turns *turns = current->turns;

	if (!turns)
		return;
	turns->gone[current->number] = true;
	sem_post(&turns->turn[!current->number]);
}

void next_op(void)
{
	if (current->turns)
		await_turn();
	__atomic_add_fetch(&current->op, 1, __ATOMIC_RELEASE);
}

/* -- what is counted --------------------------------------------------- */

#define WRAP(name, decl, use) \
int __real_##name decl; \
int __wrap_##name decl; \
int __wrap_##name decl \
{ \
	next_op(); \
	return __real_##name use; \
}
WRAP(ob_client_read,
     (struct ob_client *c, uint32_t region, uint64_t at, void *buf, size_t len,
      struct ob_err *err), (c, region, at, buf, len, err))
WRAP(ob_client_write,
     (struct ob_client *c, uint32_t region, uint64_t at, const void *buf,
      size_t len, struct ob_err *err), (c, region, at, buf, len, err))
WRAP(ob_client_post,
     (struct ob_client *c, const struct ob_client_reg_write *w, unsigned n,
      struct ob_err *err), (c, w, n, err))
WRAP(ob_client_write_multi,
     (struct ob_client *c, const struct ob_client_reg_write *w, unsigned n,
      bool posted, uint64_t *done, struct ob_err *err),
     (c, w, n, posted, done, err))
WRAP(ob_client_device_info,
     (struct ob_client *c, struct ob_client_device *info, struct ob_err *err),
     (c, info, err))
WRAP(ob_client_region_info,
     (struct ob_client *c, uint32_t i, const struct ob_client_region **info,
      struct ob_err *err), (c, i, info, err))
WRAP(ob_client_irq_info,
     (struct ob_client *c, uint32_t i, struct ob_client_irq *info,
      struct ob_err *err), (c, i, info, err))
WRAP(ob_client_irq_attach,
     (struct ob_client *c, uint32_t i, uint32_t start, const int *fds,
      uint32_t n, struct ob_err *err), (c, i, start, fds, n, err))
WRAP(ob_client_irq_disable,
     (struct ob_client *c, uint32_t i, struct ob_err *err), (c, i, err))
WRAP(ob_client_irq_mask,
     (struct ob_client *c, uint32_t i, uint32_t start, uint32_t n,
      struct ob_err *err), (c, i, start, n, err))
WRAP(ob_client_irq_unmask,
     (struct ob_client *c, uint32_t i, uint32_t start, uint32_t n,
      struct ob_err *err), (c, i, start, n, err))
WRAP(ob_client_irq_trigger,
     (struct ob_client *c, uint32_t i, uint32_t start, uint32_t n,
      struct ob_err *err), (c, i, start, n, err))
WRAP(ob_client_dma_map,
     (struct ob_client *c, const struct ob_client_dma *map,
      struct ob_err *err), (c, map, err))
WRAP(ob_client_dma_unmap,
     (struct ob_client *c, uint64_t addr, uint64_t size, struct ob_err *err),
     (c, addr, size, err))
WRAP(ob_client_dma_unmap_all,
     (struct ob_client *c, struct ob_err *err), (c, err))
WRAP(ob_client_reset, (struct ob_client *c, struct ob_err *err), (c, err))
WRAP(ob_client_mig_info,
     (struct ob_client *c, struct ob_client_mig *info, struct ob_err *err),
     (c, info, err))
WRAP(ob_client_mig_get,
     (struct ob_client *c, enum ob_client_mig_state *state,
      struct ob_err *err), (c, state, err))
WRAP(ob_client_mig_set,
     (struct ob_client *c, enum ob_client_mig_state state,
      struct ob_err *err), (c, state, err))
WRAP(ob_client_mig_read,
     (struct ob_client *c, void *buf, size_t len, size_t *got,
      struct ob_err *err), (c, buf, len, got, err))
WRAP(ob_client_mig_write,
     (struct ob_client *c, const void *buf, size_t len, struct ob_err *err),
     (c, buf, len, err))
WRAP(ob_client_log_start,
     (struct ob_client *c, uint64_t hint, const struct ob_client_range *ranges,
      uint32_t n, uint64_t *page, struct ob_err *err),
     (c, hint, ranges, n, page, err))
WRAP(ob_client_log_report,
     (struct ob_client *c, uint64_t iova, uint64_t len, uint64_t page,
      uint64_t *bitmap, struct ob_err *err), (c, iova, len, page, bitmap, err))
WRAP(ob_client_log_stop, (struct ob_client *c, struct ob_err *err), (c, err))

/* -- what is recorded -------------------------------------------------- */

void record(const char *label, int r, const void *data, size_t len)
{
	struct session_record *rec = &current->records[current->count];

	if (current->count == SESSION_RECORDS)
		return;
	snprintf(rec->label, sizeof(rec->label), "%s", label);
	rec->crc = (uint32_t)crc32(crc32(0, (const void *)&r, sizeof(r)),
				   data, (uInt)len);
	current->count++;
}

/* -- messages ---------------------------------------------------------- */

static int describe(struct scene *s)
{
	const struct ob_client_region *region;
	struct ob_client_device device = { 0 };
	struct ob_client_irq irq = { 0 };

	TRY(ob_client_device_info(s->client, &device, &s->err));
	record("device", 0, &device, sizeof(device));
	for (uint32_t i = 0; i < device.nr_regions; i++) {
		TRY(ob_client_region_info(s->client, i, &region, &s->err));
		record("region", (int)i, &region->size, sizeof(region->size));
	}
	for (uint32_t i = 0; i < device.nr_irqs; i++) {
		TRY(ob_client_irq_info(s->client, i, &irq, &s->err));
		record("irq", (int)irq.index, &irq.count, sizeof(irq.count));
	}
	return 0;
}

static int config(struct scene *s, const char *label)
{
	for (unsigned at = 0; at < 256; at += 64)
		TRY(ob_client_read(s->client, OB_CLIENT_CONFIG, at,
				   s->buf + at, 64, &s->err));
	record(label, 0, s->buf, 256);
	return 0;
}

/* Of each region; there are none. */
static int io_fds(struct scene *s)
{
	for (uint32_t i = 0; i <= OB_CLIENT_CONFIG; i++) {
		const uint32_t ask[4] = { sizeof(ask), 0, i, 0 };
		uint8_t told[64] = { 0 };
		struct ob_client_raw call = {
			.command = 6, .request = ask, .request_len = sizeof(ask),
			.reply = told, .reply_size = sizeof(told),
		};

		next_op();
		TRY(ob_client_raw(s->client, &call, &s->err));
		record("io fds", (int)call.reply_len, told, sizeof(told));
	}
	return 0;
}

/* BAR sizing, and an access that is refused. */
static int registers(struct scene *s)
{
	uint32_t ones = 0xffffffff, was = 0, value = 0;
	int r;

	TRY(ob_client_read(s->client, OB_CLIENT_CONFIG, 0x10, &was, 4,
			   &s->err));
	TRY(ob_client_write(s->client, OB_CLIENT_CONFIG, 0x10, &ones, 4,
			    &s->err));
	TRY(ob_client_read(s->client, OB_CLIENT_CONFIG, 0x10, &value, 4,
			   &s->err));
	record("sizing", 0, &value, 4);
	TRY(ob_client_write(s->client, OB_CLIENT_CONFIG, 0x10, &was, 4,
			    &s->err));
	r = ob_client_read(s->client, OB_CLIENT_BAR0, 1 << 30, &value, 4,
			   NULL);
	record("out of bounds", r, NULL, 0);
	for (unsigned at = 0; at < 0x40; at += 4) {
		TRY(ob_client_read(s->client, OB_CLIENT_BAR0, at, &value, 4,
				   &s->err));
		record("register", (int)at, &value, 4);
	}
	return 0;
}

static int memory(struct scene *s)
{
	struct ob_client_dma map = {
		.addr = SPARE_ADDR, .size = 16 * PAGE, .readable = true,
		.writable = true, .fd = memfd_create("spare", MFD_CLOEXEC),
	};
	int r;

	if (map.fd < 0 || ftruncate(map.fd, (off_t)map.size))
		return -errno;
	TRY(ob_client_dma_map(s->client, &map, &s->err));
	r = ob_client_dma_map(s->client, &map, NULL);
	record("mapped twice", r, NULL, 0);
	TRY(ob_client_dma_unmap(s->client, map.addr, map.size, &s->err));
	r = ob_client_dma_unmap(s->client, map.addr, map.size, NULL);
	record("unmapped twice", r, NULL, 0);
	TRY(ob_client_dma_map(s->client, &map, &s->err));
	TRY(ob_client_dma_unmap_all(s->client, &s->err));
	close(map.fd);
	return 0;
}

static int await_event(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t count;

	if (poll(&p, 1, 10000) != 1)
		return -ETIMEDOUT;
	return read(fd, &count, 8) == 8 ? 0 : -errno;
}

static void drain_event(int fd)
{
	uint64_t count;

	while (read(fd, &count, 8) == 8)
		;
}

/* How often an interrupt comes is not recorded: one too many is harmless. */
static int interrupts(struct scene *s)
{
	int fds[3], r = 0;

	for (unsigned i = 0; i < 3; i++)
		if ((fds[i] = eventfd(0, EFD_CLOEXEC)) < 0)
			return -errno;
	TRY(ob_client_irq_attach(s->client, OB_CLIENT_MSIX, 0, fds, 3,
				 &s->err));
	for (unsigned i = 0; i < 3 && !r; i++) {
		TRY(ob_client_irq_trigger(s->client, OB_CLIENT_MSIX, i, 1,
					  &s->err));
		r = await_event(fds[i]);
	}
	record("triggered", r, NULL, 0);
	record("mask", ob_client_irq_mask(s->client, OB_CLIENT_INTX, 0, 1,
					  NULL), NULL, 0);
	record("unmask", ob_client_irq_unmask(s->client, OB_CLIENT_INTX, 0, 1,
					      NULL), NULL, 0);
	TRY(ob_client_irq_disable(s->client, OB_CLIENT_MSIX, &s->err));
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	return r;
}

/* -- admin commands ---------------------------------------------------- */

static int admin(struct scene *s, const char *label, struct nvme_user_sqe sqe,
		 bool tell)
{
	struct ob_err err = { 0 };
	uint32_t result = 0;
	uint8_t *page;
	int r;

	next_op();
	page = s->disk->memory + (sqe.prp1 ? sqe.prp1 - s->disk->memory_addr
					   : 0);
	if (sqe.prp1)
		memset(page, 0, PAGE);
	r = nvme_user_admin(s->disk, &sqe, &result, &err);
	if (r && r != -EIO) {
		s->err = err;
		return r;
	}
	record(label, (int)(result ^ (uint32_t)r), tell && sqe.prp1 ? page : NULL,
	       tell && sqe.prp1 ? PAGE : 0);
	record(label, r, err.msg, r ? strlen(err.msg) : 0);
	return 0;
}

static int identify(struct scene *s, uint64_t page)
{
	for (uint32_t cns = 0; cns <= 3; cns++)
		TRY(admin(s, "identify", (struct nvme_user_sqe){
			.opcode = 0x06, .nsid = cns == 1 || cns == 2 ? 0 : 1,
			.prp1 = page, .cdw10 = cns }, true));
	return 0;
}

static int features(struct scene *s, uint64_t page)
{
	static const struct {
		uint8_t id;
		uint32_t value;
	} rows[] = {
		{ 0x01, 0x00000003 }, { 0x02, 0 }, { 0x04, 0x0160 },
		{ 0x05, 0 }, { 0x06, 1 }, { 0x08, 0x0000 }, { 0x09, 0x00010001 },
		{ 0x0a, 0 }, { 0x0b, 0x00000103 },
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		TRY(admin(s, "set feature", (struct nvme_user_sqe){
			.opcode = 0x09, .cdw10 = rows[i].id,
			.cdw11 = rows[i].value }, false));
		TRY(admin(s, "get feature", (struct nvme_user_sqe){
			.opcode = 0x0a, .cdw10 = rows[i].id }, false));
	}
	/* The timestamp goes on by itself. */
	TRY(admin(s, "set timestamp", (struct nvme_user_sqe){
		.opcode = 0x09, .cdw10 = 0x0e, .prp1 = page }, false));
	return admin(s, "get timestamp", (struct nvme_user_sqe){
		.opcode = 0x0a, .cdw10 = 0x0e, .prp1 = page }, false);
}

static int logs(struct scene *s, uint64_t page)
{
	static const uint8_t ids[] = { 1, 2, 3, 4, 5, 0xbf };

	for (unsigned i = 0; i < sizeof(ids); i++)
		TRY(admin(s, "log", (struct nvme_user_sqe){
			.opcode = 0x02, .nsid = 0xffffffff, .prp1 = page,
			.cdw10 = ids[i] | 127u << 16 }, ids[i] > 2));
	return 0;
}

/* A pair of queues more, of which nobody makes use, and gone again. */
static int queues(struct scene *s)
{
	uint32_t id = s->disk->params.queues + 1;
	uint64_t cq = s->disk->queues[1].buffers_addr, sq = cq + PAGE;

	/* In buffers that nothing uses now. */
	memset(nvme_user_buffer(&s->disk->queues[1], 0), 0, 2 * PAGE);
	TRY(admin(s, "create cq", (struct nvme_user_sqe){
		.opcode = 0x05, .prp1 = cq, .cdw10 = 15u << 16 | id,
		.cdw11 = 1 }, false));
	TRY(admin(s, "create sq", (struct nvme_user_sqe){
		.opcode = 0x01, .prp1 = sq, .cdw10 = 15u << 16 | id,
		.cdw11 = id << 16 | 1 }, false));
	TRY(admin(s, "delete cq too early", (struct nvme_user_sqe){
		.opcode = 0x04, .cdw10 = id }, false));
	TRY(admin(s, "delete sq", (struct nvme_user_sqe){
		.opcode = 0x00, .cdw10 = id }, false));
	return admin(s, "delete cq", (struct nvme_user_sqe){
		.opcode = 0x04, .cdw10 = id }, false);
}

static int other_commands(struct scene *s)
{
	TRY(admin(s, "abort", (struct nvme_user_sqe){
		.opcode = 0x08, .cdw10 = 0x00070001 }, false));
	TRY(admin(s, "keep alive", (struct nvme_user_sqe){
		.opcode = 0x18 }, false));
	return admin(s, "unknown", (struct nvme_user_sqe){
		.opcode = 0x7f }, false);
}

/* -- I/O --------------------------------------------------------------- */

static void fill(uint8_t *buf, uint64_t lba, unsigned turn)
{
	for (unsigned i = 0; i < BLOCK; i += 8) {
		uint64_t word = lba * 0x9e3779b97f4a7c15ull + turn + i;

		memcpy(buf + i, &word, 8);
	}
}

static int await_all(struct scene *s, unsigned queue, unsigned count,
		     uint32_t *statuses)
{
	struct nvme_user_queue *q = &s->disk->queues[queue];
	struct nvme_user_done done[BATCH];
	unsigned got = 0;

	for (unsigned waits = 0; got < count; waits++) {
		int n = nvme_user_poll(q, done, BATCH, &s->err);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++, got++) {
			if (done[i].stale || done[i].slot >= BATCH)
				return ob_fail(&s->err, EPROTO,
					       "a completion twice");
			statuses[done[i].slot] = done[i].status;
		}
		if (n)
			continue;
		if (waits > 20000)
			return ob_fail(&s->err, ETIMEDOUT, "%u of %u complete",
				       got, count);
		n = ob_client_poll(s->client, 1, &s->err);
		if (n < 0)
			return n;
	}
	return 0;
}

/* A batch of the same on one queue; what was read is recorded. */
int batch(struct scene *s, const char *label, unsigned queue,
	  uint8_t opcode, uint64_t lba, unsigned count, unsigned turn)
{
	struct nvme_user_queue *q = &s->disk->queues[queue];
	uint32_t sectors = BLOCK / s->disk->lba_size, statuses[BATCH] = { 0 };

	next_op();
	for (unsigned i = 0; i < count; i++) {
		fill(nvme_user_buffer(q, i), lba + i, turn);
		if (opcode == NVME_USER_READ)
			memset(nvme_user_buffer(q, i), 0xee, BLOCK);
		nvme_user_submit(q, i, opcode, (lba + i) * sectors, sectors);
	}
	TRY(nvme_user_ring(q, &s->err));
	TRY(await_all(s, queue, count, statuses));
	record(label, 0, statuses, sizeof(statuses));
	for (unsigned i = 0; i < count && opcode == NVME_USER_READ; i++)
		record(label, (int)i, nvme_user_buffer(q, i), BLOCK);
	return 0;
}

/* One range to be forgotten; the block is read as zeros afterwards. */
static int trim(struct scene *s)
{
	struct nvme_user_queue *q = &s->disk->queues[0];
	uint32_t sectors = BLOCK / s->disk->lba_size, status[BATCH] = { 0 };
	uint32_t range[4] = { 0, sectors, 40 * sectors, 0 };
	struct nvme_user_sqe *sqe = &q->sq[q->tail];

	next_op();
	memcpy(nvme_user_buffer(q, 0), range, sizeof(range));
	nvme_user_submit(q, 0, 0x09, 0, 1);
	sqe->cdw10 = 0;
	sqe->cdw11 = 1 << 2;
	sqe->cdw12 = 0;
	TRY(nvme_user_ring(q, &s->err));
	TRY(await_all(s, 0, 1, status));
	record("trim", 0, status, sizeof(status));
	return 0;
}

/* -- memory that the device can only ask us for ----------------------------- */

static int far_batch(struct scene *s, uint8_t opcode, uint64_t lba,
		     unsigned page)
{
	struct nvme_user_queue *q = &s->disk->queues[0];
	uint32_t sectors = BLOCK / s->disk->lba_size, statuses[BATCH] = { 0 };

	next_op();
	for (unsigned i = 0; i < FAR_PAGES / 2; i++) {
		struct nvme_user_sqe *sqe = &q->sq[q->tail];

		nvme_user_submit(q, i, opcode, (lba + i) * sectors, sectors);
		sqe->prp1 = FAR_ADDR + (page + i) * PAGE;
	}
	TRY(nvme_user_ring(q, &s->err));
	TRY(await_all(s, 0, FAR_PAGES / 2, statuses));
	record("far", opcode, statuses, sizeof(statuses));
	return 0;
}

/* DMA_READ, then DMA_WRITE: the answers come while we wait for completions. */
static int far_memory(struct scene *s, uint64_t lba, unsigned turn)
{
	const struct ob_client_dma map = {
		.addr = FAR_ADDR, .size = sizeof(s->far), .readable = true,
		.writable = true, .fd = -1, .memory = s->far,
	};

	memset(s->far, 0, sizeof(s->far));
	for (unsigned i = 0; i < FAR_PAGES / 2; i++)
		fill(s->far + i * PAGE, lba + i, turn);
	TRY(ob_client_dma_map(s->client, &map, &s->err));
	TRY(far_batch(s, NVME_USER_WRITE, lba, 0));
	TRY(far_batch(s, NVME_USER_READ, lba, FAR_PAGES / 2));
	record("far data", 0, s->far, sizeof(s->far));
	return ob_client_dma_unmap(s->client, map.addr, map.size, &s->err);
}

static int io(struct scene *s)
{
	TRY(batch(s, "write", 0, NVME_USER_WRITE, 0, BATCH, 1));
	TRY(batch(s, "read", 0, NVME_USER_READ, 0, BATCH, 1));
	TRY(batch(s, "overwrite", 1, NVME_USER_WRITE, 4, 8, 2));
	TRY(batch(s, "read mixed", 1, NVME_USER_READ, 0, BATCH, 2));
	TRY(batch(s, "flush", 0, NVME_USER_FLUSH, 0, 1, 0));
	TRY(batch(s, "compare", 0, 0x05, 4, 8, 2));
	TRY(batch(s, "compare others", 0, 0x05, 4, 8, 3));
	TRY(batch(s, "write zeroes", 0, 0x08, 2, 1, 0));
	TRY(batch(s, "verify", 0, 0x0c, 0, 4, 0));
	TRY(batch(s, "beyond the end", 0, NVME_USER_READ, 1ull << 40, 1, 0));
	TRY(batch(s, "unknown", 0, 0x7f, 0, 1, 0));
	TRY(batch(s, "write", 0, NVME_USER_WRITE, 40, 1, 7));
	TRY(trim(s));
	return batch(s, "read trimmed", 0, NVME_USER_READ, 40, 1, 0);
}

static int writes_of_many_kinds(struct scene *s)
{
	struct ob_client_reg_write w[3] = {
		{ .offset = 0x0c, .region = OB_CLIENT_BAR0, .len = 4,
		  .value = 1 },
		{ .offset = 0x10, .region = OB_CLIENT_BAR0, .len = 4,
		  .value = 1 },
		{ .offset = 0x0c, .region = OB_CLIENT_BAR0, .len = 4,
		  .value = 2 },
	};
	uint64_t done = 0;
	uint32_t mask = 0;

	TRY(ob_client_post(s->client, w, 3, &s->err));
	TRY(ob_client_read(s->client, OB_CLIENT_BAR0, 0x0c, &mask, 4,
			   &s->err));
	record("posted", 0, &mask, 4);
	if (!ob_client_version(s->client)->write_multiple)
		return 0;
	TRY(ob_client_write_multi(s->client, w, 2, false, &done, &s->err));
	record("multi", (int)done, NULL, 0);
	return 0;
}

/* -- the pin --------------------------------------------------------------- */

/* An eventfd with which the client unmasks. */
static int give_unmask(struct scene *s, int fd)
{
	/* The kernel's: an eventfd, and what it does. */
	const uint32_t ask[5] = { sizeof(ask), 1 << 2 | 1 << 4, OB_CLIENT_INTX, 0, 1 };
	struct ob_client_raw call = {
		.command = 8, .request = ask, .request_len = sizeof(ask),
		.fds = &fd, .nr_fds = 1,
	};

	next_op();
	return ob_client_raw(s->client, &call, &s->err);
}

static int signal_event(int fd)
{
	const uint64_t one = 1;

	next_op();
	return write(fd, &one, 8) == 8 ? 0 : -errno;
}

/* As long as nobody takes the completion the pin is up: each time that it is
 * unmasked it is told again, also after the client has masked it itself. */
static int watch_pin(struct scene *s, int trigger, int unmask)
{
	struct nvme_user_queue *q = &s->disk->admin;
	struct nvme_user_done done;
	int n;

	next_op();
	q->sq[q->tail] = (struct nvme_user_sqe){ .opcode = 0x18, .cid = q->tail };
	q->tail = (uint16_t)((q->tail + 1) % q->entries);
	TRY(nvme_user_ring(q, &s->err));
	TRY(await_event(trigger));
	for (unsigned i = 0; i < 4; i++) {
		if (i % 2)
			TRY(ob_client_irq_mask(s->client, OB_CLIENT_INTX, 0, 1,
					       &s->err));
		drain_event(trigger);
		TRY(signal_event(unmask));
		TRY(await_event(trigger));
	}
	n = nvme_user_poll(q, &done, 1, &s->err);
	return n < 0 ? n : n == 1 ? 0 : -EPROTO;
}

static int pin(struct scene *s)
{
	const struct nvme_user_params params = {
		.queues = 1, .depth = 2, .buffer_size = BLOCK, .nsid = 1,
	};
	int trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int unmask = eventfd(0, EFD_CLOEXEC), r;

	if (trigger < 0 || unmask < 0)
		return -errno;
	TRY(nvme_user_open(s->client, &params, &s->disk, &s->err));
	TRY(ob_client_irq_attach(s->client, OB_CLIENT_INTX, 0, &trigger, 1,
				 &s->err));
	TRY(give_unmask(s, unmask));
	r = watch_pin(s, trigger, unmask);
	record("pin", r, NULL, 0);
	TRY(ob_client_irq_disable(s->client, OB_CLIENT_INTX, &s->err));
	next_op();
	nvme_user_close(s->disk);
	s->disk = NULL;
	close(trigger);
	close(unmask);
	return r ? ob_fail(&s->err, -r, "an interrupt of the pin is lost") : 0;
}

/* -- the whole --------------------------------------------------------- */

static void path_of(const struct scene *s, const char *name, char path[128])
{
	if (name)
		snprintf(path, 128, "%s/%s", s->folder, name);
	else
		snprintf(path, 128, "%s/disk%u", s->folder, current->number);
}

/* NULL: to the session's own disk. */
int connect_to(struct scene *s, const char *name, bool twin)
{
	const struct ob_client_params params = { .twin_socket = twin };
	const struct timespec pause = { 0, 2000000 };
	char path[128];
	int r = -ENOENT;

	path_of(s, name, path);

	next_op();
	for (unsigned i = 0; i < CONNECT_TRIES && r; i++) {
		r = ob_client_connect(path, &params, &s->client, &s->err);
		if (r && r != -ENOENT && r != -ECONNREFUSED && r != -EBUSY)
			return r;
		if (r)
			nanosleep(&pause, NULL);
	}
	if (r)
		return r;
	ob_client_set_timeout(s->client, 60000);
	return ob_client_version(s->client)->twin_socket == twin ? 0 :
		ob_fail(&s->err, EPROTO, "no twin socket");
}

/* It is told so, whoever dies. */
static int second_client(struct scene *s)
{
	struct ob_client *other = NULL;
	char path[128];
	int r;

	path_of(s, NULL, path);

	next_op();
	r = ob_client_connect(path, NULL, &other, &s->err);
	ob_client_destroy(other);
	record("second client", r, NULL, 0);
	return r == -EBUSY ? 0 : ob_fail(&s->err, EPROTO, "a second client: %d", r);
}

int bring_up(struct scene *s, bool shadow)
{
	const struct nvme_user_params params = {
		.queues = 2, .depth = BATCH, .buffer_size = 2 * BLOCK,
		.nsid = 1, .shadow = shadow, .interrupts = true,
	};

	return nvme_user_open(s->client, &params, &s->disk, &s->err);
}

static int leave(struct scene *s)
{
	next_op();
	nvme_user_close(s->disk);
	s->disk = NULL;
	TRY(ob_client_reset(s->client, &s->err));
	next_op();
	ob_client_destroy(s->client);
	s->client = NULL;
	return 0;
}

static int first_life(struct scene *s)
{
	uint64_t page;

	TRY(describe(s));
	TRY(io_fds(s));
	TRY(second_client(s));
	TRY(config(s, "config"));
	TRY(registers(s));
	TRY(memory(s));
	TRY(interrupts(s));
	TRY(pin(s));
	TRY(bring_up(s, true));
	page = s->disk->queues[0].buffers_addr;
	TRY(identify(s, page));
	if (current->is_brief)
		return leave(s);
	TRY(features(s, page));
	TRY(io(s));
	TRY(far_memory(s, 48, 3));
	TRY(logs(s, page));
	TRY(queues(s));
	TRY(other_commands(s));
	TRY(writes_of_many_kinds(s));
	TRY(dirty_log(s));
	TRY(leave_and_stay(s, false));
	TRY(leave_and_stay(s, true));
	TRY(batch(s, "read after", 0, NVME_USER_READ, 0, BATCH, 0));
	TRY(config(s, "config at the end"));
	return leave(s);
}

/* What is on the disk is what the next client finds. */
static int second_life(struct scene *s)
{
	TRY(arrive(s));
	TRY(bring_up(s, true));
	for (unsigned lba = 0; lba < 64; lba += BATCH)
		TRY(batch(s, "at the end", 0, NVME_USER_READ, lba, BATCH, 0));
	TRY(far_memory(s, 56, 4));
	TRY(registers(s));
	nvme_user_close(s->disk);
	s->disk = NULL;
	return 0;
}

static int all(struct scene *s)
{
	TRY(connect_to(s, NULL, false));
	TRY(first_life(s));
	if (current->is_brief)
		return 0;
	TRY(connect_to(s, NULL, true));
	return second_life(s);
}

static int end_session(struct scene *s, int r)
{
	if (r)
		snprintf(current->error, sizeof(current->error),
			 "step %llu: %s (%s)", (unsigned long long)current->op,
			 s->err.msg, strerror(-r));
	current->done = !r;
	end_turns();
	return r ? 1 : 0;
}

int play(struct session *session, const char *folder,
	 int (*all_of)(struct scene *s))
{
	struct scene *s = calloc(1, sizeof(*s));

	current = session;
	if (!s)
		return 1;
	s->folder = folder;
	return end_session(s, all_of(s));
}

int session_run(struct session *session, const char *folder)
{
	return play(session, folder, all);
}
