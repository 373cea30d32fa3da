// SPDX-License-Identifier: BSD-3-Clause
/*
 * The NVM command set (6), as rows of steps.
 *
 * A drive that lives in memory is copied to and from directly, at once: the
 * command has ended when its steps return.  So has a read of one that holds
 * nothing but zeros.  Others get a request, whose buffer is a run of pages of
 * the pool.
 *
 * Memory that is larger than the caches is waited for, line by line, unless it
 * was asked for before.  The entries behind a command are known when it
 * begins, so the next one's block is asked for then.  All of it would be too
 * much: the core has room for some twenty lines that are on their way, and
 * those of the present command would queue behind them.  The first lines are
 * enough for the core's own prefetcher to see where it goes on.
 *
 * Before there can be a line its address must be translated, by tables that are
 * as cold.  The core does several such walks at once, but no instruction behind
 * an address that waits for one can end, so it sees only a few hundred ahead, and
 * with a command in between each is waited for alone.  So one line of each block
 * of a batch is asked for in a row, when it has been fetched.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

/* A command's request of the drive; the rest is the drive's private part. */
struct io_request {
	struct nvme_cmd *c;
	max_align_t align[];
};

#define REQUEST_HEAD \
	((sizeof(struct io_request) + _Alignof(max_align_t) - 1) & \
	 ~(_Alignof(max_align_t) - 1))
#define VERIFY_CHUNK (256u << 10)
#define LINE 64u
#define AHEAD_LINES 8u

static size_t request_stride(const struct nvme *n)
{
	size_t size = 0;

	for (unsigned i = 0; i < n->nr_ns; i++)
		if (ob_drive_request_size(n->ns[i].drive) > size)
			size = ob_drive_request_size(n->ns[i].drive);
	return (REQUEST_HEAD + size + 63) & ~(size_t)63;
}

int nvme_io_init(struct nvme *n, struct ob_err *err)
{
	n->request_stride = request_stride(n);
	n->requests = nvme_memory_get(NVME_IO_SLOTS * n->request_stride);
	if (!n->requests)
		return ob_fail(err, ENOMEM, "no memory for requests");
	return 0;
}

struct ob_block_request *nvme_io_request(struct nvme *n, unsigned slot)
{
	char *head;

	if (slot < NVME_ADMIN_SLOTS)
		return NULL;
	head = n->requests +
	       (slot - NVME_ADMIN_SLOTS) * n->request_stride;
	((struct io_request *)head)->c = &n->cmds[slot];
	return (struct ob_block_request *)(head + REQUEST_HEAD);
}

static struct nvme_cmd *cmd_of(struct ob_block_request *req)
{
	return ((struct io_request *)((char *)req - REQUEST_HEAD))->c;
}

static int drive_status(const struct ob_block_request *req, int rc)
{
	switch (-rc) {
	case 0:
		return 0;
	case ENOSPC:
	case EDQUOT:
		return NVME_CAPACITY_EXCEEDED;
	case EROFS:
		return NVME_WRITE_PROTECTED;
	case EOPNOTSUPP:
		return NVME_INVALID_OPCODE;
	case ECANCELED:
		return NVME_ABORT_REQUESTED;
	case ENOMEM:
		return NVME_INTERNAL_ERROR;
	case ESHUTDOWN:		/* another process has it (R31) */
		return NVME_NS_NOT_READY;
	case EINVAL:
		return NVME_LBA_OUT_OF_RANGE;
	default:
		return req->op == OB_BLOCK_READ ? NVME_UNRECOVERED_READ
						: NVME_WRITE_FAULT;
	}
}

static const char *const op_names[] = {
	[OB_BLOCK_READ] = "read", [OB_BLOCK_WRITE] = "write",
	[OB_BLOCK_FLUSH] = "flush", [OB_BLOCK_DISCARD] = "discard",
	[OB_BLOCK_WRITE_ZEROES] = "write zeroes",
};

/* In a step of the command's lane. */
void nvme_io_drive_ended(struct nvme_cmd *c, int rc)
{
	struct ob_block_request *req = c->req;
	struct nvme_lane *lane = c->lane;
	struct nvme *n = c->n;
	int status = drive_status(req, rc);

	c->via->nr_busy_drive--;
	ob_dev_trace(lane->dev, OB_TRACE_DRIVE_DONE, nvme_slot_index(c), -rc,
		     0);
	if (rc && rc != -ECANCELED)
		ob_dev_log(lane->dev, OB_GUEST,
			   "%s: %s of %llu bytes at %llu: %s",
			   ob_drive_name(c->drive), op_names[req->op],
			   (unsigned long long)req->length,
			   (unsigned long long)req->offset, strerror(-rc));
	if (rc == -ECANCELED && c->hurried && !c->disowned)
		nvme_cmd_put_off(c);
	else
		nvme_cmd_resume(c, status);
	/* Drives finish in bursts: the guest goes on while we copy the next. */
	if (!lane->working && !n->halted)
		nvme_cqs_flush(lane);
	if (n->draining)
		nvme_drained(n);
}

/* On the thread that asked for it; meanwhile it may have become lane 0's. */
static void drive_done(struct ob_block_request *req, int rc)
{
	struct nvme_cmd *c = cmd_of(req);
	struct ob_device *step = c->via->step;

	ob_dev_enter(step);
	if (c->cancelled)
		nvme_list_remove(&c->via->cancels, c);
	c->cancelled = false;
	c->drive_rc = rc;
	if (c->lane == c->via) {
		nvme_io_drive_ended(c, rc);
	} else {
		c->is_drive = false;	/* nothing to cancel any more */
		nvme_hand_over(c, c->lane, NVME_DRIVE_ENDED);
	}
	ob_dev_leave(step);
}

/* In a control step: asks for an early end, on the thread that asked for it. */
void nvme_io_cancel(struct nvme_cmd *c)
{
	if (!nvme_is_away(c->via)) {
		ob_drive_cancel(c->drive, c->req);
	} else if (!c->cancelled) {
		c->cancelled = true;
		nvme_list_push(&c->via->cancels, c);
		ob_loop_post(c->via->loop, &c->via->arrive);
	}
}

static int submit(struct nvme_cmd *c, enum ob_block_op op, uint32_t flags,
		  uint64_t offset, uint64_t length, void *buf)
{
	struct ob_block_request *req = c->req;

	req->op = op;
	req->flags = flags;
	req->offset = offset;
	req->length = length;
	req->buf = buf;
	req->done = drive_done;
	c->busy = c->is_drive = true;
	c->via = c->lane;
	c->drive = c->lane->drives[c->ns->nsid - 1];
	c->lane->nr_busy_drive++;
	nvme_cmd_tell(c);
	ob_dev_trace(c->lane->dev, OB_TRACE_DRIVE, nvme_slot_index(c),
		     (uint32_t)c->slot->sqid << 16 | c->slot->sqe.cid, offset);
	ob_drive_submit(c->drive, req);
	return -EINPROGRESS;
}

/* -- checks ------------------------------------------------------------ */

static int check_blocks(struct nvme_cmd *c, uint64_t start, uint64_t count)
{
	return nvme_ns_has(c->ns, start, count) ? 0 : NVME_LBA_OUT_OF_RANGE;
}

/* Start and number of blocks, the latter 0's based, as most commands say. */
static int step_range(struct nvme_cmd *c)
{
	const struct nvme_sqe *sqe = &c->slot->sqe;
	uint64_t start = nvme_start(sqe);
	uint64_t count = (sqe->cdw12 & 0xffff) + 1;
	int rc = check_blocks(c, start, count);

	c->offset = start << c->n->lba_shift;
	c->span = count << c->n->lba_shift;
	return rc;
}

static int step_transfer(struct nvme_cmd *c)
{
	int rc = step_range(c);

	if (c->span > NVME_MAX_TRANSFER)
		return NVME_INVALID_FIELD;
	c->len = c->span;
	return rc;
}

static void go(struct nvme_cmd *c, const nvme_step *steps)
{
	c->steps = steps;
	c->slot->step = 0;
}

/* -- read and write ---------------------------------------------------- */

/* SMART counts what Compare and Verify read, too (5.14.1.2). */
static int step_count_read(struct nvme_cmd *c)
{
	c->lane->counters->reads++;
	c->lane->counters->blocks_read += c->span >> 9;
	return 0;
}

static int step_count_write(struct nvme_cmd *c)
{
	c->lane->counters->writes++;
	c->lane->counters->blocks_written += c->span >> 9;
	return 0;
}

static uint8_t *memory_of(const struct nvme_cmd *c)
{
	return (uint8_t *)c->ns->info->memory + c->offset;
}

static int step_memory_out(struct nvme_cmd *c)
{
	return nvme_data_write(c, memory_of(c));
}

static int step_memory_wrote(struct nvme_cmd *c)
{
	ob_drive_wrote(c->ns->drive, c->offset, c->len);
	return 0;
}

/* One that fails, or goes on later, may have written a part. */
static int step_memory_in(struct nvme_cmd *c)
{
	int rc = nvme_data_read(c, memory_of(c));

	if (rc && rc != NVME_GONE)
		step_memory_wrote(c);
	return rc;
}

/* Never written: all of it is the kernel's one page of zeros. */
static uint8_t zeros[NVME_MAX_TRANSFER];

static int step_zeros_out(struct nvme_cmd *c)
{
	return nvme_data_write(c, zeros);
}

static const nvme_step write_memory[] = {
	nvme_step_walk, step_memory_in, step_memory_wrote, step_count_write,
	NULL
};

/* By message, straight into the drive; all of it, or a part. */
void nvme_io_data_moved(struct nvme_cmd *c)
{
	if (c->steps == write_memory)
		step_memory_wrote(c);
}

static int step_drive_read(struct nvme_cmd *c)
{
	return submit(c, OB_BLOCK_READ, 0, c->offset, c->span, c->buf.data);
}

/* Without a write cache every write must be on the medium when it ends. */
static uint32_t fua(const struct nvme_cmd *c)
{
	if (!c->ns->info->write_cache)
		return 0;
	if (c->slot->sqe.cdw12 & NVME_RW_FUA)
		return OB_BLOCK_FUA;
	return c->n->st->features.write_cache & 1 ? 0 : OB_BLOCK_FUA;
}

static int step_drive_write(struct nvme_cmd *c)
{
	return submit(c, OB_BLOCK_WRITE, fua(c), c->offset, c->span,
		      c->buf.data);
}

static const nvme_step read_drive[] = {
	nvme_step_walk, nvme_step_buffer, step_drive_read, nvme_step_data_out,
	step_count_read, NULL
};
static const nvme_step read_memory[] = {
	nvme_step_walk, step_memory_out, step_count_read, NULL
};
static const nvme_step read_zeros[] = {
	nvme_step_walk, step_zeros_out, step_count_read, NULL
};
static const nvme_step write_drive[] = {
	nvme_step_walk, nvme_step_buffer, nvme_step_data_in, step_drive_write,
	step_count_write, NULL
};

static int step_read(struct nvme_cmd *c)
{
	const struct ob_drive_info *info = c->ns->info;

	go(c, info->memory ? read_memory : info->zeros ? read_zeros
						       : read_drive);
	return 0;
}

static int step_write(struct nvme_cmd *c)
{
	go(c, c->ns->info->memory ? write_memory : write_drive);
	return 0;
}

bool nvme_io_is_in_place(const struct nvme_cmd *c)
{
	return c->steps == read_memory || c->steps == write_memory;
}

/* -- ahead ------------------------------------------------------------- */

/* Where a command will read or write a drive in memory, or NULL.  It is judged
 * when it begins; this asks for nothing outside of the drive. */
static const uint8_t *place_of(const struct nvme *n, const struct nvme_sqe *sqe)
{
	uint64_t block = nvme_start(sqe);
	const struct nvme_ns *ns;

	if (sqe->nsid - 1 >= n->nr_ns ||
	    (sqe->opcode != NVME_IO_READ && sqe->opcode != NVME_IO_WRITE))
		return NULL;
	ns = &n->ns[sqe->nsid - 1];
	if (!ns->info->memory || block >= ns->blocks)
		return NULL;
	return (const uint8_t *)ns->info->memory + (block << n->lba_shift);
}

/* A function that does nothing else can be taken for one that does nothing. */
static inline __attribute__((always_inline))
void ask_for(const uint8_t *place, unsigned lines)
{
	for (unsigned i = 0; place && i < lines; i++)
		__builtin_prefetch(place + i * LINE);
}

void nvme_io_ahead(const struct nvme *n, const struct nvme_sqe *next)
{
	ask_for(place_of(n, next), AHEAD_LINES);
}

void nvme_io_fetched(const struct nvme *n, const struct nvme_sqe *batch,
		     unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		ask_for(place_of(n, &batch[i]), 1);
	nvme_io_ahead(n, batch);
}

/* -- compare ----------------------------------------------------------- */

/* The drive's bytes first, then the guest's. */
static int step_compare_buffer(struct nvme_cmd *c)
{
	return nvme_buffer_get(c, 2 * c->len);
}

static int step_compare_in(struct nvme_cmd *c)
{
	return nvme_data_read(c, c->buf.data + c->len);
}

static int step_compare_drive(struct nvme_cmd *c)
{
	if (!c->ns->info->memory)
		return step_drive_read(c);
	nvme_cells_read(c->ns, c->offset, c->buf.data, c->len);
	return 0;
}

static int step_compare(struct nvme_cmd *c)
{
	return memcmp(c->buf.data, c->buf.data + c->len, c->len)
		       ? NVME_COMPARE_FAILURE : 0;
}

/* -- flush, zeroes, deallocate, verify --------------------------------- */

/* One drive after the other when all namespaces are meant. */
static int step_flush(struct nvme_cmd *c)
{
	struct nvme *n = c->n;
	uint32_t nsid = c->slot->sqe.nsid;

	while (c->at < n->nr_ns) {
		struct nvme_ns *ns = &n->ns[c->at++];

		if (nsid != NVME_NSID_ALL && nsid != ns->nsid)
			continue;
		if (!nvme_ns_active(n, ns->nsid) || !ns->info->write_cache)
			continue;
		c->ns = ns;
		nvme_cmd_again(c);
		return submit(c, OB_BLOCK_FLUSH, 0, 0, 0, NULL);
	}
	return 0;
}

static int step_zero(struct nvme_cmd *c)
{
	uint32_t flags = fua(c);

	if (c->slot->sqe.cdw12 & NVME_RW_DEAC)
		flags |= OB_BLOCK_UNMAP;
	return submit(c, OB_BLOCK_WRITE_ZEROES, flags, c->offset, c->span,
		      NULL);
}

static const nvme_step dsm_deallocate[];

/* Only the attribute Deallocate does anything; the rest are hints. */
static int step_dsm(struct nvme_cmd *c)
{
	static const nvme_step nothing[] = { NULL };
	const struct nvme_sqe *sqe = &c->slot->sqe;

	c->count = (sqe->cdw10 & 0xff) + 1;
	c->len = c->count * sizeof(struct nvme_dsm_range);
	go(c, sqe->cdw11 & NVME_DSM_AD ? dsm_deallocate : nothing);
	return 0;
}

static struct nvme_dsm_range dsm_range(const struct nvme_cmd *c, unsigned i)
{
	struct nvme_dsm_range range;

	memcpy(&range, c->buf.data + i * sizeof(range), sizeof(range));
	return range;
}

/* All are judged before the first is done. */
static int step_dsm_check(struct nvme_cmd *c)
{
	for (unsigned i = 0; i < c->count; i++) {
		struct nvme_dsm_range range = dsm_range(c, i);
		int rc = check_blocks(c, range.start, range.blocks);

		if (rc)
			return rc;
	}
	return 0;
}

static int step_dsm_next(struct nvme_cmd *c)
{
	unsigned shift = c->n->lba_shift;

	if (!c->ns->info->discard_granularity)
		return 0;
	while (c->at < c->count) {
		struct nvme_dsm_range range = dsm_range(c, c->at++);

		if (!range.blocks)
			continue;
		nvme_cmd_again(c);
		return submit(c, OB_BLOCK_DISCARD, 0, range.start << shift,
			      (uint64_t)range.blocks << shift, NULL);
	}
	return 0;
}

static const nvme_step dsm_deallocate[] = {
	nvme_step_walk, nvme_step_buffer, nvme_step_data_in, step_dsm_check,
	step_dsm_next, NULL
};

static int step_verify_buffer(struct nvme_cmd *c)
{
	if (c->ns->info->memory)
		c->span = 0;
	return nvme_buffer_get(c, c->span < VERIFY_CHUNK ? c->span
							 : VERIFY_CHUNK);
}

static int step_verify(struct nvme_cmd *c)
{
	uint64_t offset = c->offset, part = c->span;

	if (!part)
		return 0;
	if (part > VERIFY_CHUNK)
		part = VERIFY_CHUNK;
	c->offset += part;
	c->span -= part;
	nvme_cmd_again(c);
	return submit(c, OB_BLOCK_READ, 0, offset, part, c->buf.data);
}

/* The span has shrunk to nothing. */
static int step_count_verify(struct nvme_cmd *c)
{
	uint64_t blocks = (c->slot->sqe.cdw12 & 0xffff) + 1;

	c->span = blocks << c->n->lba_shift;
	return step_count_read(c);
}

static const nvme_step flush_steps[] = { step_flush, NULL };
static const nvme_step write_steps[] = {
	nvme_step_settled, step_transfer, step_write, NULL
};
static const nvme_step read_steps[] = {
	nvme_step_settled, step_transfer, step_read, NULL
};
static const nvme_step compare_steps[] = {
	nvme_step_settled, step_transfer, nvme_step_walk, step_compare_buffer,
	step_compare_in, step_compare_drive, step_count_read, step_compare,
	NULL
};
static const nvme_step zeroes_steps[] = {
	nvme_step_settled, step_range, step_zero, NULL
};
static const nvme_step dsm_steps[] = {
	nvme_step_settled, step_dsm, NULL
};
static const nvme_step verify_steps[] = {
	nvme_step_settled, step_range, step_verify_buffer, step_verify,
	step_count_verify, NULL
};

const struct nvme_op nvme_io_ops[] = {
	{ NVME_IO_READ, NVME_OP_NSID | NVME_OP_AWAY, 0, "Read", read_steps },
	{ NVME_IO_WRITE, NVME_OP_NSID | NVME_OP_WRITE | NVME_OP_AWAY,
	  NVME_EFFECT_CONTENT, "Write", write_steps },
	{ NVME_IO_FLUSH, NVME_OP_NSID_ALL, 0, "Flush", flush_steps },
	{ NVME_IO_DSM, NVME_OP_NSID | NVME_OP_WRITE, NVME_EFFECT_CONTENT,
	  "Dataset Management", dsm_steps },
	{ NVME_IO_WRITE_ZEROES, NVME_OP_NSID | NVME_OP_WRITE,
	  NVME_EFFECT_CONTENT, "Write Zeroes", zeroes_steps },
	{ NVME_IO_COMPARE, NVME_OP_NSID, 0, "Compare", compare_steps },
	{ NVME_IO_VERIFY, NVME_OP_NSID, 0, "Verify", verify_steps },
};
const unsigned nvme_nr_io_ops = sizeof(nvme_io_ops) / sizeof(*nvme_io_ops);
