// SPDX-License-Identifier: BSD-3-Clause
/*
 * file: an NVMe namespace by its character device (/dev/ngXnY), which takes
 * commands of the NVM command set (its specification, 1.0, section 3.2) as
 * they are: no block layer, no file system, no page cache is between.
 *
 * A request is cut at what one command may carry, by the means that are there
 * for short transfers: a command that took the first part of what it was asked
 * is one, and file_io.c goes on from there.
 *
 * The kernel does not try such commands again, as it would its own.  So what the
 * device calls worth another try (its "do not retry" bit is clear) is tried a few
 * times, as the kernel does with its own, and so is what a reset cut short.
 *
 * Nor does it keep them until there is a way to the device again.  While a
 * controller is reset or connected anew it fails them at once: those to a namespace that
 * may have several controllers, even if it has one, with an errno, over
 * fabrics with a status.  So they wait here, for a while, and are tried from time to time.
 */
#include <endian.h>
#include <errno.h>
#include <linux/nvme_ioctl.h>

#include "block/file.h"

#define OP_FLUSH	0x00
#define OP_WRITE	0x01
#define OP_READ		0x02
#define OP_WRITE_ZEROES	0x08
#define OP_DSM		0x09		/* dataset management */

#define CDW12_FUA	(1u << 30)
#define CDW12_DEAC	(1u << 25)	/* zeroes: may be deallocated */
#define CDW11_AD	(1u << 2)	/* DSM: deallocate */

#define STATUS_DNR	0x4000		/* do not retry */
#define STATUS_CODE	0x07ff		/* type and code */
#define STATUS_TYPE	0x0700
#define TYPE_PATH	0x0300
#define INVALID_OPCODE	0x001
#define INVALID_FIELD	0x002
#define WRITE_PROTECTED	0x020
#define CAPACITY_EXCEEDED 0x081

#define TRIES		5
#define PAUSE_NS	UINT64_C(20000000)
#define PAUSES		3000u		/* a minute */

/* As the device reads it: little-endian. */
struct dsm_range {
	uint32_t attributes, blocks;
	uint64_t start;
};

/* In this place in a request of such a drive; see file_nvme_request_size. */
struct nvme_part {
	struct file_request part;
	struct nvme_uring_cmd cmd;
	struct dsm_range range;
	int moves;			/* what its success is as a result */
	unsigned tries, pauses;
	void (*then)(struct ob_op *op, int res);
};

size_t file_nvme_request_size(void)
{
	return sizeof(struct nvme_part);
}

int file_nvme_errno(int status)
{
	switch (status & STATUS_CODE) {
	case 0:
		return 0;
	case INVALID_OPCODE:
	case INVALID_FIELD:
		return -EOPNOTSUPP;
	case WRITE_PROTECTED:
		return -EROFS;
	case CAPACITY_EXCEEDED:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static void issue(struct nvme_part *nvme)
{
	struct file_drive *file = nvme->part.file;

	ob_op_nvme(file->drive.loop, &nvme->part.op, file->io_fd, &nvme->cmd);
}

static bool is_worth_another(const struct nvme_part *nvme, int res)
{
	return (res == -EINTR || (res > 0 && !(res & STATUS_DNR))) &&
		!nvme->part.cancelled && nvme->tries < TRIES;
}

/* Without a way a ring says EINVAL, which else our mistakes would get, a call EAGAIN. */
static bool is_out_of_reach(const struct nvme_part *nvme, int res)
{
	bool is_path = res > 0 && (res & STATUS_TYPE) == TYPE_PATH &&
		!(res & STATUS_DNR);

	return (is_path || res == -EINVAL || res == -EAGAIN) &&
		!nvme->part.cancelled && nvme->pauses < PAUSES;
}

/* A command may be refused by itself; read, written and flushed must be. */
static bool is_optional(const struct nvme_part *nvme)
{
	return nvme->cmd.opcode == OP_WRITE_ZEROES ||
		nvme->cmd.opcode == OP_DSM;
}

/* The status becomes what a system call would have said. */
static void tell(struct nvme_part *nvme, int res)
{
	struct ob_op *op = &nvme->part.op;

	if (res == -EACCES && is_optional(nvme))
		res = -EOPNOTSUPP;
	else if (!res)
		res = nvme->moves;
	else if (res > 0)
		res = file_nvme_errno(res);
	else if (res == -EINTR || res == -EINVAL)
		res = -EIO;	/* for others: begin again, cannot be done */
	op->done = nvme->then;
	nvme->then(op, res);
}

/* All that wait; who was cancelled meanwhile does not go on. */
static void look_again(struct ob_timer *timer)
{
	struct file_drive *file = container_of(timer, struct file_drive,
					       nvme.look);
	struct file_request *part = file->nvme.away, *next;

	file->nvme.away = NULL;
	for (; part; part = next) {
		next = part->next;
		if (part->cancelled)
			tell((struct nvme_part *)part, -ECANCELED);
		else
			issue((struct nvme_part *)part);
	}
}

static void wait_for_a_way(struct nvme_part *nvme)
{
	struct file_drive *file = nvme->part.file;

	nvme->pauses++;
	nvme->part.next = file->nvme.away;
	file->nvme.away = &nvme->part;
	file->nvme.look.fire = look_again;
	if (!nvme->part.next)
		ob_timer_arm(file->drive.loop, &file->nvme.look, PAUSE_NS);
}

static void answered(struct ob_op *op, int res)
{
	struct nvme_part *nvme = (struct nvme_part *)
		container_of(op, struct file_request, op);

	if (is_out_of_reach(nvme, res))
		return wait_for_a_way(nvme);
	if (is_worth_another(nvme, res)) {
		nvme->tries++;
		return issue(nvme);
	}
	tell(nvme, res);
}

/* part->op.done is the caller's, and gets moves, or -errno. */
static void begin(struct file_request *part, const struct nvme_uring_cmd *cmd,
		  int moves)
{
	struct nvme_part *nvme = (struct nvme_part *)part;

	nvme->cmd = *cmd;
	nvme->cmd.nsid = part->file->nvme.nsid;
	nvme->moves = moves;
	nvme->tries = nvme->pauses = 0;
	nvme->then = part->op.done;
	part->op.done = answered;
	issue(nvme);
}

/* A command to the blocks of so many bytes. */
static struct nvme_uring_cmd command(const struct file_drive *file,
				     uint8_t opcode, uint64_t at,
				     uint64_t bytes)
{
	uint64_t start = at >> file->nvme.shift;

	return (struct nvme_uring_cmd){
		.opcode = opcode,
		.cdw10 = (uint32_t)start,
		.cdw11 = (uint32_t)(start >> 32),
		.cdw12 = (uint32_t)(bytes >> file->nvme.shift) - 1,
	};
}

static uint64_t at_most(uint64_t n, uint64_t most)
{
	return n < most ? n : most;
}

static void nvme_transfer(struct file_request *part)
{
	const struct file_drive *file = part->file;
	uint64_t bytes = at_most(part->iov.iov_len, file->nvme.max_transfer);
	struct nvme_uring_cmd cmd =
		command(file, part->writing ? OP_WRITE : OP_READ, part->at,
			bytes);

	if (part->writing && file_wants_fua(part))
		cmd.cdw12 |= CDW12_FUA;
	cmd.addr = (uintptr_t)part->iov.iov_base;
	cmd.data_len = (uint32_t)bytes;
	begin(part, &cmd, (int)bytes);
}

static bool nvme_zero(struct file_request *part, uint64_t at)
{
	const struct file_drive *file = part->file;
	struct nvme_uring_cmd cmd;

	if (file->no_zero_range)
		return false;
	part->piece = at_most(part->piece, file->nvme.max_zero);
	cmd = command(file, OP_WRITE_ZEROES, at, part->piece);
	if (file->nvme.deallocates &&
	    OB_REQUEST_OF(part)->flags & OB_BLOCK_UNMAP)
		cmd.cdw12 |= CDW12_DEAC;
	begin(part, &cmd, 0);
	return true;
}

static void nvme_sync(struct file_request *part)
{
	begin(part, &(struct nvme_uring_cmd){ .opcode = OP_FLUSH }, 0);
}

static void discard_piece(struct file_request *part);

static void discarded_piece(struct ob_op *op, int res)
{
	struct file_request *part = container_of(op, struct file_request, op);
	struct nvme_part *nvme = (struct nvme_part *)part;
	uint64_t bytes = (uint64_t)le32toh(nvme->range.blocks) <<
		part->file->nvme.shift;

	part->at += bytes;
	part->piece -= bytes;
	if (res || !part->piece || part->cancelled)
		return file_discarded(op, res ? res :
				      part->piece ? -ECANCELED : 0);
	discard_piece(part);
}

static void discard_piece(struct file_request *part)
{
	const struct file_drive *file = part->file;
	struct nvme_part *nvme = (struct nvme_part *)part;
	uint64_t bytes = at_most(part->piece, file->nvme.max_discard);
	const struct nvme_uring_cmd cmd = {
		.opcode = OP_DSM,
		.addr = (uintptr_t)&nvme->range,
		.data_len = sizeof(nvme->range),
		.cdw11 = CDW11_AD,
	};

	nvme->range = (struct dsm_range){
		.blocks = htole32((uint32_t)(bytes >> file->nvme.shift)),
		.start = htole64(part->at >> file->nvme.shift),
	};
	part->op.done = discarded_piece;
	begin(part, &cmd, 0);
}

const struct file_medium file_medium_nvme = {
	.transfer = nvme_transfer,
	.zero = nvme_zero,
	.discard = discard_piece,
	.sync = nvme_sync,
};
