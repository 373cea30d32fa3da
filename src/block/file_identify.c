// SPDX-License-Identifier: BSD-3-Clause
/*
 * What an NVMe namespace is and can do: the Identify data structures of the NVMe
 * base specification (2.0, section 5.17.2) and of the NVM command set.
 *
 * All of it comes from a device, which may answer anything: every number that is used is
 * bounded here.  What cannot be served is refused by its name, and what only a
 * guess could serve is not guessed: a namespace of another command set (zones, keys) looks
 * much like one of blocks.
 *
 * The questions are those that the kernel lets anybody ask who may open the
 * device.  They are calls that wait: the ring takes only commands for the namespace, and
 * whoever asks while the controller is being reset waits for that, and with it all that
 * its thread has to do.  So what was answered is kept, and a successor does not ask.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/nvme_ioctl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "block/file.h"

#define ADMIN_IDENTIFY	0x06
#define OP_READ		0x02
#define DATA_SIZE	4096u

enum cns {
	CNS_NAMESPACE = 0x00,
	CNS_CONTROLLER = 0x01,
	CNS_SET_NAMESPACE = 0x05,	/* of one command set */
	CNS_SET_CONTROLLER = 0x06,
};

enum set { SET_NVM, SET_KEY_VALUE, SET_ZONED };

/* Of the namespace. */
#define NS_SIZE		0		/* blocks */
#define NS_FORMATS	25		/* how many, less one */
#define NS_FORMAT	26		/* which it has: bits 0-3, then 5-6 */
#define NS_PROTECTION	29		/* type, bits 0-2 */
#define NS_DEALLOCATE	33		/* what is read then, and whether zeroes may */
#define NS_FORMAT_LIST	128		/* of 4 bytes each */

/* Of the controller. */
#define CTRL_MDTS	77		/* log2 of pages, 0: no limit */
#define CTRL_ONCS	520
#define CTRL_VWC	525
#define ONCS_DSM	(1 << 2)
#define ONCS_ZEROES	(1 << 3)

/* Of the controller, of the NVM command set. */
#define LIMIT_WZSL	1		/* of Write Zeroes, as MDTS */
#define LIMIT_DMRSL	4		/* of a range of DSM, in blocks */

/*
 * The smallest page that a controller can have; its own is not told here, so
 * its limits are taken for what they are at least.
 */
#define PAGE_SHIFT	12
#define MIN_SHIFT	9		/* of a block */
#define MAX_SHIFT	16
/*
 * Most for one command.  Every kind of controller takes a buffer of 33 pages that
 * lie anywhere; what it takes beyond that is not told.
 */
#define MAX_TRANSFER	(128u * 1024)
#define MAX_ZERO_BLOCKS	65536u		/* the field has 16 bits */
#define MAX_RANGE	(UINT32_C(1) << 31)	/* blocks; the field has 32 */
#define NOWHERE		(-UINT64_C(0x100000))	/* no process has memory there */

struct answer {
	_Alignas(DATA_SIZE) uint8_t data[DATA_SIZE];
};

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
		(uint32_t)at[3] << 24;
}

static uint64_t get_u64(const uint8_t *at)
{
	return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

/* 0, a status, or -errno. */
static int identify(const struct file_drive *file, enum cns cns, enum set set,
		    struct answer *answer)
{
	bool of_namespace = cns == CNS_NAMESPACE || cns == CNS_SET_NAMESPACE;
	struct nvme_admin_cmd cmd = {
		.opcode = ADMIN_IDENTIFY,
		.nsid = of_namespace ? file->nvme.nsid : 0,
		.addr = (uintptr_t)answer->data,
		.data_len = DATA_SIZE,
		.cdw10 = cns,
		.cdw11 = (uint32_t)set << 24,
	};
	int r;

	memset(answer, 0, sizeof(*answer));
	r = ioctl(file->fd, NVME_IOCTL_ADMIN_CMD, &cmd);
	return r < 0 ? -errno : r;
}

static int fail(const struct file_drive *file, const char *what, int r,
		struct ob_err *err)
{
	if (r > 0)
		return ob_drive_fail(&file->drive, err, EIO,
				     "%s: the device said %#x", what,
				     (unsigned)r);
	return ob_drive_fail(&file->drive, err, -r, "%s: %s", what,
			     strerror(-r));
}

static bool is_empty(const struct answer *answer)
{
	const uint8_t *data = answer->data;

	return !data[0] && !memcmp(data, data + 1, DATA_SIZE - 1);
}

/* One that has the structure of that command set is of it. */
static int refuse_set(const struct file_drive *file, enum set set,
		      const char *name, struct answer *answer,
		      struct ob_err *err)
{
	if (identify(file, CNS_SET_NAMESPACE, set, answer) || is_empty(answer))
		return 0;
	return ob_drive_fail(&file->drive, err, EOPNOTSUPP,
			     "it is a namespace of %s, not of blocks", name);
}

static int check_set(const struct file_drive *file, struct answer *answer,
		     struct ob_err *err)
{
	int r = refuse_set(file, SET_KEY_VALUE, "keys and values", answer, err);

	return r ? r : refuse_set(file, SET_ZONED, "zones", answer, err);
}

static int ask_namespace(const struct file_drive *file, struct answer *answer,
			 struct ob_err *err)
{
	int r = identify(file, CNS_NAMESPACE, SET_NVM, answer);

	return r ? fail(file, "cannot identify the namespace", r, err) : 0;
}

/* The format that it has: the blocks' size, and what else is in them. */
static int read_format(const struct file_drive *file,
		       const struct answer *answer, unsigned *shift,
		       struct ob_err *err)
{
	const uint8_t *ns = answer->data;
	unsigned index = (ns[NS_FORMAT] & 0xfu) |
		(ns[NS_FORMATS] > 15 ? (ns[NS_FORMAT] >> 1 & 0x30u) : 0);
	const uint8_t *format = ns + NS_FORMAT_LIST + 4 * index;
	unsigned metadata = format[0] | (unsigned)format[1] << 8;

	*shift = format[2];
	if (index > ns[NS_FORMATS])
		return ob_drive_fail(&file->drive, err, EINVAL,
				     "it has format %u of %u", index,
				     ns[NS_FORMATS] + 1u);
	if (metadata)
		return ob_drive_fail(&file->drive, err, EOPNOTSUPP,
				     "its blocks have %u bytes of metadata (format %u)",
				     metadata, index);
	if (*shift < MIN_SHIFT || *shift > MAX_SHIFT)
		return ob_drive_fail(&file->drive, err, EOPNOTSUPP,
				     "its blocks are of 2^%u bytes, not of 512 to "
				     "65536 (format %u)",
				     *shift, index);
	if (ns[NS_PROTECTION] & 7)
		return ob_drive_fail(&file->drive, err, EOPNOTSUPP,
				     "it has protection information of type %u",
				     ns[NS_PROTECTION] & 7u);
	return 0;
}

static int read_size(const struct file_drive *file,
		     const struct answer *answer, unsigned shift,
		     uint64_t *size, struct ob_err *err)
{
	uint64_t blocks = get_u64(answer->data + NS_SIZE);

	if (blocks > (uint64_t)INT64_MAX >> shift)
		return ob_drive_fail(&file->drive, err, EFBIG,
				     "it says that it has %" PRIu64 " blocks",
				     blocks);
	*size = blocks << shift;
	return 0;
}

int file_nvme_size(struct file_drive *file, uint64_t *size, struct ob_err *err)
{
	struct answer answer;
	unsigned shift = 0;
	int r = ask_namespace(file, &answer, err);

	if (r || (r = read_format(file, &answer, &shift, err)))
		return r;
	if (shift != file->nvme.shift)
		return ob_drive_fail(&file->drive, err, EINVAL,
				     "it was formatted: blocks are of %u bytes instead of %u",
				     1u << shift, 1u << file->nvme.shift);
	return read_size(file, &answer, shift, size, err);
}

/* A limit in the way of MDTS, of bytes. */
static uint64_t limit(unsigned log2_pages, uint64_t otherwise)
{
	return log2_pages && log2_pages < 32 ?
		UINT64_C(1) << (PAGE_SHIFT + log2_pages) : otherwise;
}

static void note_blocks(struct file_drive *file)
{
	file->drive.info.block_size = 1u << file->nvme.shift;
	file->direct = true;
	file->offset_align = file->drive.info.block_size;
	file->mem_align = 4;
}

static void note_namespace(struct file_drive *file, const struct answer *answer)
{
	unsigned deallocate = answer->data[NS_DEALLOCATE];

	/* Only if what is deallocated reads as zeros. */
	file->nvme.deallocates = (deallocate & 7) == 1 && deallocate & 8;
	note_blocks(file);
}

static void note_controller(struct file_drive *file,
			    const struct answer *answer)
{
	struct ob_drive_info *info = &file->drive.info;
	struct file_nvme *nvme = &file->nvme;
	uint64_t most = limit(answer->data[CTRL_MDTS], 0);
	uint64_t zero = (uint64_t)MAX_ZERO_BLOCKS << nvme->shift;
	unsigned can = answer->data[CTRL_ONCS];

	/* A block that one command cannot carry is the device's mistake. */
	nvme->max_transfer = most && most < MAX_TRANSFER ? (uint32_t)most :
							   MAX_TRANSFER;
	if (nvme->max_transfer < info->block_size)
		nvme->max_transfer = info->block_size;
	/* MDTS need not hold where nothing is transferred; firmware may think so. */
	nvme->max_zero = most && most < zero ? most : zero;
	nvme->max_discard = (uint64_t)MAX_RANGE << nvme->shift;
	file->no_zero_range = !(can & ONCS_ZEROES);
	info->discard_granularity = can & ONCS_DSM && !info->readonly ?
				    info->block_size : 0;
	info->write_cache = answer->data[CTRL_VWC] & 1;
}

/* What newer controllers tell; the older ones have no such structure. */
static void note_limits(struct file_drive *file, const struct answer *answer)
{
	struct file_nvme *nvme = &file->nvme;
	uint64_t zero = limit(answer->data[LIMIT_WZSL], nvme->max_zero);
	uint64_t most = (uint64_t)MAX_ZERO_BLOCKS << nvme->shift;
	uint64_t range = get_u32(answer->data + LIMIT_DMRSL);

	nvme->max_zero = zero < most ? zero : most;
	if (nvme->max_zero < file->drive.info.block_size)
		nvme->max_zero = file->drive.info.block_size;
	if (range && range < MAX_RANGE)
		nvme->max_discard = range << nvme->shift;
}

static int ask_controller(struct file_drive *file, struct answer *answer,
			  struct ob_err *err)
{
	int r = identify(file, CNS_CONTROLLER, SET_NVM, answer);

	if (r)
		return fail(file, "cannot identify the controller", r, err);
	note_controller(file, answer);
	if (identify(file, CNS_SET_CONTROLLER, SET_NVM, answer))
		memset(answer, 0, sizeof(*answer));
	note_limits(file, answer);
	return 0;
}

static int ask_number(struct file_drive *file, struct ob_err *err)
{
	int r = ioctl(file->fd, NVME_IOCTL_ID);

	if (r <= 0)
		return fail(file, "cannot tell the namespace's number",
			    r ? -errno : -ENODEV, err);
	file->nvme.nsid = (uint32_t)r;
	return 0;
}

static int probe(struct file_drive *file, struct ob_err *err)
{
	struct answer answer;
	int r = ask_number(file, err);

	if (!r)
		r = check_set(file, &answer, err);
	if (!r)
		r = ask_namespace(file, &answer, err);
	if (!r)
		r = read_format(file, &answer, &file->nvme.shift, err);
	if (!r)
		note_namespace(file, &answer);
	return r ? r : ask_controller(file, &answer, err);
}

/* -- what is kept of it ------------------------------------------------ */

#define KNOWN_WORD	"identify"
#define KNOWN_MAGIC	0x3144494454554full	/* "OUTDID1" */

enum known_flags {
	KNOWN_DEALLOCATES = 1, KNOWN_ZEROES = 2, KNOWN_DISCARDS = 4,
	KNOWN_WRITE_CACHE = 8, KNOWN_FLAGS = 15
};

struct known {
	uint64_t magic;
	uint32_t nsid, shift, flags, max_transfer;
	uint64_t max_zero, max_discard;
	uint64_t rdev;		/* whose answers they are */
};

static bool is_limit(const struct known *known, uint64_t limit, uint64_t most)
{
	uint64_t block = UINT64_C(1) << known->shift;

	return limit >= block && limit <= most && limit % block == 0;
}

/* As hostile as all that a dead worker leaves behind. */
static bool is_sane(const struct known *known)
{
	return known->magic == KNOWN_MAGIC && known->nsid &&
	       known->shift >= MIN_SHIFT && known->shift <= MAX_SHIFT &&
	       !(known->flags & ~(uint32_t)KNOWN_FLAGS) &&
	       is_limit(known, known->max_transfer, MAX_TRANSFER) &&
	       is_limit(known, known->max_zero,
			(uint64_t)MAX_ZERO_BLOCKS << known->shift) &&
	       is_limit(known, known->max_discard,
			(uint64_t)MAX_RANGE << known->shift);
}

static void recall(struct file_drive *file, const struct known *known)
{
	struct ob_drive_info *info = &file->drive.info;
	struct file_nvme *nvme = &file->nvme;

	nvme->nsid = known->nsid;
	nvme->shift = known->shift;
	nvme->max_transfer = known->max_transfer;
	nvme->max_zero = known->max_zero;
	nvme->max_discard = known->max_discard;
	nvme->deallocates = known->flags & KNOWN_DEALLOCATES;
	note_blocks(file);
	file->no_zero_range = !(known->flags & KNOWN_ZEROES);
	info->discard_granularity = known->flags & KNOWN_DISCARDS ?
				    info->block_size : 0;
	info->write_cache = known->flags & KNOWN_WRITE_CACHE;
}

static bool is_known(struct file_drive *file)
{
	OB_CLEANUP_FD int fd = ob_drive_kept(&file->drive, KNOWN_WORD);
	struct known known;
	struct stat st;

	if (fd < 0 || pread(fd, &known, sizeof(known), 0) != sizeof(known) ||
	    !is_sane(&known) || fstat(file->fd, &st) || known.rdev != st.st_rdev)
		return false;
	recall(file, &known);
	return true;
}

/* Who cannot have it kept has a successor that asks. */
static void keep(struct file_drive *file)
{
	const struct ob_drive_info *info = &file->drive.info;
	const struct file_nvme *nvme = &file->nvme;
	struct known known = {
		.magic = KNOWN_MAGIC, .nsid = nvme->nsid, .shift = nvme->shift,
		.flags = (nvme->deallocates ? KNOWN_DEALLOCATES : 0) |
			 (file->no_zero_range ? 0 : KNOWN_ZEROES) |
			 (info->discard_granularity ? KNOWN_DISCARDS : 0) |
			 (info->write_cache ? KNOWN_WRITE_CACHE : 0),
		.max_transfer = nvme->max_transfer,
		.max_zero = nvme->max_zero, .max_discard = nvme->max_discard,
	};
	OB_CLEANUP_FD int fd = ob_memfd_create("drive-identify", 0);
	struct stat st;

	if (fd < 0 || fstat(file->fd, &st))
		return;
	known.rdev = st.st_rdev;
	if (pwrite(fd, &known, sizeof(known), 0) == sizeof(known))
		(void)ob_drive_keep(&file->drive, KNOWN_WORD, fd);
}

/*
 * The record says whether it lived: what lies there without one counts for nothing, and
 * goes before the device is asked, since what is kept then may not get there.
 */
int file_nvme_probe(struct file_drive *file, struct ob_err *err)
{
	int r;

	if (file->drive.info.size && is_known(file))
		return 0;
	ob_drive_forget(&file->drive, KNOWN_WORD);
	r = probe(file, err);
	if (!r)
		keep(file);
	return r;
}

/*
 * Without CAP_SYS_ADMIN the kernel sends only commands of which the controller says what
 * they do.  It looks at that before it looks for the buffer, so a Read to nowhere tells
 * without any that reaches the device.
 */
int file_nvme_may_read(struct file_drive *file, struct ob_err *err)
{
	struct nvme_passthru_cmd64 cmd = {
		.opcode = OP_READ,
		.nsid = file->nvme.nsid,
		.addr = NOWHERE,
		.data_len = file->drive.info.block_size,
	};

	if (ioctl(file->fd, NVME_IOCTL_IO64_CMD, &cmd) >= 0 ||
	    errno != EACCES)
		return 0;
	return ob_drive_fail(&file->drive, err, EACCES,
			     "its controller does not tell what commands do; "
			     "the kernel wants CAP_SYS_ADMIN then");
}
