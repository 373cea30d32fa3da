// SPDX-License-Identifier: BSD-3-Clause
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/loop.h>

#include "block/file.h"
#include "namespace.h"
#include "rig.h"

#define NSID 7
#define MOST_HELD 256

struct namespace namespace;

bool __real_file_is_nvme(const struct stat *st);
bool __wrap_file_is_nvme(const struct stat *st);
int __wrap_file_nvme_node(const struct file_drive *file);
int __real_file_nvme_node(const struct file_drive *file);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
void __real_ob_op_nvme(struct ob_loop *loop, struct ob_op *op, int fd,
		       const struct nvme_uring_cmd *cmd);
void __wrap_ob_op_nvme(struct ob_loop *loop, struct ob_op *op, int fd,
		       const struct nvme_uring_cmd *cmd);

static struct held {
	struct ob_deferred deferred;
	struct ob_loop *loop;
	struct ob_op *op;
	struct nvme_uring_cmd cmd;
	int fd;
} held[MOST_HELD];

void namespace_reset(unsigned shift)
{
	namespace = (struct namespace){
		.shift = (uint8_t)shift, .number = NSID, .oncs = 0x0c,
		.vwc = 1, .deallocate = 9,
	};
}

bool __wrap_file_is_nvme(const struct stat *st)
{
	return namespace.is_absent ? __real_file_is_nvme(st) :
				     S_ISREG(st->st_mode);
}

int __wrap_file_nvme_node(const struct file_drive *file)
{
	if (namespace.is_absent)
		return __real_file_nvme_node(file);
	if (namespace.node_errno || !namespace.node)
		return -(namespace.node_errno ? namespace.node_errno : ENOENT);
	return open(namespace.node, O_RDONLY | O_CLOEXEC);
}

/* -- what it says ---------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void answer_namespace(int fd, uint8_t *data)
{
	unsigned index = (namespace.format & 15) |
		(namespace.formats > 15 ? namespace.format >> 1 & 0x30 : 0);
	struct stat st;

	assert(!fstat(fd, &st));
	put(data, namespace.blocks ? namespace.blocks :
	    (uint64_t)st.st_size >> namespace.shift, 8);
	data[25] = namespace.formats;
	data[26] = namespace.format;
	data[29] = namespace.protection;
	data[33] = namespace.deallocate;
	put(data + 128 + 4 * index, namespace.metadata, 2);
	data[128 + 4 * index + 2] = namespace.shift;
}

static int identify(int fd, const struct nvme_admin_cmd *cmd)
{
	uint8_t *data = (uint8_t *)(uintptr_t)cmd->addr;
	unsigned cns = cmd->cdw10, set = cmd->cdw11 >> 24;

	assert(cmd->opcode == 6 && cmd->data_len == 4096 && cns < 7);
	if (namespace.is_mad) {
		rnd_fill(data, 4096);
		return rnd() % 4 ? 0 : (int)(rnd() & 0x7ff);
	}
	if (namespace.identify[cns])
		return namespace.identify[cns];
	if (cns == 0 || cns == 5)
		assert(cmd->nsid == NSID);
	if (cns == 0)
		answer_namespace(fd, data);
	if (cns == 5 && (!namespace.set || set != (unsigned)namespace.set))
		return 0x4002;
	if (cns == 5)
		data[2816] = 1;
	if (cns == 1) {
		data[77] = namespace.mdts;
		data[520] = namespace.oncs;
		data[525] = namespace.vwc;
	}
	if (cns == 6) {
		data[1] = namespace.wzsl;
		put(data + 4, namespace.dmrsl, 4);
	}
	return 0;
}

static int result(int r)
{
	if (r >= 0)
		return r;
	errno = -r;
	return -1;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	namespace.asked += request == NVME_IOCTL_ID ||
			   request == NVME_IOCTL_ADMIN_CMD;
	if (!namespace.is_absent && request == NVME_IOCTL_ID)
		return result(namespace.number);
	if (!namespace.is_absent && request == NVME_IOCTL_ADMIN_CMD)
		return result(identify(fd, arg));
	if (!namespace.is_absent && request == NVME_IOCTL_IO64_CMD)
		return result(namespace.may_read);
	return __real_ioctl(fd, request, arg);
}

/* -- what it does ---------------------------------------------------------- */

static void zero(int fd, uint64_t at, uint64_t bytes)
{
	assert(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)at, (off_t)bytes));
}

static uint64_t size_of(int fd)
{
	struct stat st;

	assert(!fstat(fd, &st));
	return (uint64_t)st.st_size;
}

static void deallocate(int fd, const struct nvme_uring_cmd *cmd)
{
	const uint8_t *range = (const uint8_t *)(uintptr_t)cmd->addr;
	uint64_t start, bytes;
	uint32_t blocks;

	assert(cmd->data_len == 16 && cmd->cdw10 == 0 && cmd->cdw11 == 4);
	memcpy(&blocks, range + 4, 4);
	memcpy(&start, range + 8, 8);
	start <<= namespace.shift;
	bytes = (uint64_t)blocks << namespace.shift;
	assert(bytes && start + bytes <= size_of(fd));
	if (namespace.most[CMD_DSM] < bytes)
		namespace.most[CMD_DSM] = bytes;
	zero(fd, start, bytes);
}

static void carry_out(int fd, const struct nvme_uring_cmd *cmd)
{
	uint64_t at = (cmd->cdw10 | (uint64_t)cmd->cdw11 << 32) <<
		namespace.shift;
	uint64_t bytes = ((uint64_t)(cmd->cdw12 & 0xffff) + 1) <<
		namespace.shift;
	void *buf = (void *)(uintptr_t)cmd->addr;

	if (cmd->opcode == CMD_FLUSH)
		return;
	if (cmd->opcode == CMD_DSM)
		return deallocate(fd, cmd);
	assert(at + bytes <= size_of(fd));
	if (namespace.most[cmd->opcode] < bytes)
		namespace.most[cmd->opcode] = bytes;
	if (cmd->opcode == CMD_ZEROES)
		return zero(fd, at, bytes);
	assert(cmd->data_len == bytes && !(cmd->addr % 4));
	if (cmd->opcode == CMD_READ)
		assert(pread(fd, buf, bytes, (off_t)at) == (ssize_t)bytes);
	else
		assert(pwrite(fd, buf, bytes, (off_t)at) == (ssize_t)bytes);
}

static int run(int fd, const struct nvme_uring_cmd *cmd)
{
	unsigned opcode = cmd->opcode;
	int status = namespace.status[opcode];

	namespace.last = *cmd;
	namespace.count[opcode]++;
	namespace.fua += opcode == CMD_WRITE && cmd->cdw12 & 1u << 30;
	namespace.deac += opcode == CMD_ZEROES && cmd->cdw12 & 1u << 25;
	assert(cmd->nsid == NSID && !cmd->flags && !cmd->metadata);
	if (!status)
		carry_out(fd, cmd);
	if (namespace.times[opcode] && !--namespace.times[opcode])
		namespace.status[opcode] = 0;
	return status;
}

static void answer(struct ob_deferred *deferred)
{
	struct held *h = (struct held *)deferred;
	struct ob_op *op = h->op;

	h->op = NULL;
	op->done(op, run(h->fd, &h->cmd));
}

void __wrap_ob_op_nvme(struct ob_loop *loop, struct ob_op *op, int fd,
		       const struct nvme_uring_cmd *cmd)
{
	struct held *h = held;

	if (namespace.is_absent)
		return __real_ob_op_nvme(loop, op, fd, cmd);
	while (h->op)
		assert(++h < held + MOST_HELD);
	*h = (struct held){ .deferred.run = answer, .loop = loop, .op = op,
			    .cmd = *cmd, .fd = fd };
	if (!namespace.is_holding)
		ob_defer(loop, &h->deferred);
}

void namespace_release(void)
{
	namespace.is_holding = false;
	for (struct held *h = held; h < held + MOST_HELD; h++)
		if (h->op)
			ob_defer(h->loop, &h->deferred);
}
