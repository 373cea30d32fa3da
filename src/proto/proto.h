/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user wire: pure functions from bytes to structures and back, no
 * I/O, no allocation.  Normative text: QEMU docs/interop/vfio-user.rst.
 * Integers are in host byte order.  Sizes and deviations: docs/protocol.md.
 */
#ifndef OB_PROTO_H
#define OB_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define OB_HDR_SIZE 16u

enum ob_cmd {
	OB_CMD_VERSION = 1,
	OB_CMD_DMA_MAP,
	OB_CMD_DMA_UNMAP,
	OB_CMD_DEVICE_GET_INFO,
	OB_CMD_DEVICE_GET_REGION_INFO,
	OB_CMD_DEVICE_GET_REGION_IO_FDS,
	OB_CMD_DEVICE_GET_IRQ_INFO,
	OB_CMD_DEVICE_SET_IRQS,
	OB_CMD_REGION_READ,
	OB_CMD_REGION_WRITE,
	OB_CMD_DMA_READ,		/* server to client */
	OB_CMD_DMA_WRITE,		/* server to client */
	OB_CMD_DEVICE_RESET,
	OB_CMD_DIRTY_PAGES_V1,		/* retired; the number stays taken */
	OB_CMD_REGION_WRITE_MULTI,
	OB_CMD_DEVICE_FEATURE,
	OB_CMD_MIG_DATA_READ,
	OB_CMD_MIG_DATA_WRITE,
	OB_NR_CMDS
};

enum ob_hdr_flags {
	OB_HDR_TYPE	= 0xf,
	OB_HDR_COMMAND	= 0,
	OB_HDR_REPLY	= 1,
	OB_HDR_NO_REPLY	= 1 << 4,
	OB_HDR_ERROR	= 1 << 5,
};

struct ob_hdr {
	uint16_t id;
	uint16_t cmd;
	uint32_t size;			/* whole message, header included */
	uint32_t flags;
	uint32_t error;
};

int ob_hdr_get(struct ob_reader *rd, struct ob_hdr *hdr);
int ob_hdr_put(struct ob_writer *wr, const struct ob_hdr *hdr);
const char *ob_cmd_name(unsigned cmd);

/*
 * VERSION, both directions; json is borrowed, its length without the NUL that
 * ends it on the wire.
 */
struct ob_version {
	uint16_t major, minor;
	const char *json;		/* NULL when absent */
	size_t json_len;
};

enum ob_dma_flags {
	OB_DMA_READ = 1 << 0, OB_DMA_WRITE = 1 << 1,
	OB_DMA_MMAP = 1 << 2, OB_DMA_FILE_IO = 1 << 3,
};

struct ob_dma_map {
	uint32_t argsz, flags;
	uint64_t offset, address, size;
};
#define OB_DMA_MAP_SIZE 32u

enum ob_unmap_flags { OB_UNMAP_BITMAP = 1 << 0, OB_UNMAP_ALL = 1 << 1 };

struct ob_dma_unmap {
	uint32_t argsz, flags;
	uint64_t address, size;
};
#define OB_DMA_UNMAP_SIZE 24u

enum ob_device_flags { OB_DEVICE_RESET_OK = 1 << 0, OB_DEVICE_PCI = 1 << 1 };

struct ob_device_info {
	uint32_t argsz, flags, num_regions, num_irqs;
};
#define OB_DEVICE_INFO_SIZE 16u

enum ob_region_flags {
	OB_REGION_READ = 1 << 0, OB_REGION_WRITE = 1 << 1,
	OB_REGION_MMAP = 1 << 2, OB_REGION_CAPS = 1 << 3,
};

struct ob_region_info {
	uint32_t argsz, flags, index, cap_offset;
	uint64_t size, offset;
};
#define OB_REGION_INFO_SIZE 32u
#define OB_CAP_SPARSE_MMAP 1u		/* id of the capability, version 1 */
#define OB_CAP_HEADER_SIZE 8u
#define OB_CAP_SPARSE_SIZE(n) (OB_CAP_HEADER_SIZE + 8u + 16u * (n))

struct ob_region_io_fds {
	uint32_t argsz, flags, index, count;
};
#define OB_REGION_IO_FDS_SIZE 16u
#define OB_SUB_REGION_SIZE 40u

struct ob_sub_region {
	uint64_t offset, size;
	uint32_t fd_index, type, flags, padding;
	uint64_t datamatch;
};

enum ob_irq_index {
	OB_IRQ_INDEX_INTX, OB_IRQ_INDEX_MSI, OB_IRQ_INDEX_MSIX,
	OB_IRQ_INDEX_ERR, OB_IRQ_INDEX_REQ, OB_NR_IRQ_INDEXES
};

enum ob_irq_info_flags {
	OB_IRQ_EVENTFD = 1 << 0, OB_IRQ_MASKABLE = 1 << 1,
	OB_IRQ_AUTOMASKED = 1 << 2, OB_IRQ_NORESIZE = 1 << 3,
};

struct ob_irq_info {
	uint32_t argsz, flags, index, count;
};
#define OB_IRQ_INFO_SIZE 16u

enum ob_set_irqs_flags {
	OB_IRQ_DATA_NONE = 1 << 0, OB_IRQ_DATA_BOOL = 1 << 1,
	OB_IRQ_DATA_EVENTFD = 1 << 2, OB_IRQ_DATA_MASK = 0x7,
	OB_IRQ_ACTION_MASK = 1 << 3, OB_IRQ_ACTION_UNMASK = 1 << 4,
	OB_IRQ_ACTION_TRIGGER = 1 << 5, OB_IRQ_ACTIONS = 0x38,
};

struct ob_set_irqs {
	uint32_t argsz, flags, index, start, count;
};
#define OB_SET_IRQS_SIZE 20u

struct ob_region_access {
	uint64_t offset;
	uint32_t region, count;
};
#define OB_REGION_ACCESS_SIZE 16u

struct ob_dma_access {
	uint64_t address, count;
};
#define OB_DMA_ACCESS_SIZE 16u

struct ob_write_entry {
	uint64_t offset;
	uint32_t region, len;		/* len is 1 to 8 */
	uint8_t data[8];
};
#define OB_WRITE_ENTRY_SIZE 24u

struct ob_feature {
	uint32_t argsz, flags;
};
#define OB_FEATURE_SIZE 8u
enum ob_feature_flags {
	OB_FEATURE_MASK = 0xffff, OB_FEATURE_GET = 1 << 16,
	OB_FEATURE_SET = 1 << 17, OB_FEATURE_PROBE = 1 << 18,
};

/*
 * Features (linux/vfio.h, "DEVICE_FEATURE"); those from OB_FEATURE_PRECOPY_INFO
 * on are ours, and exist only where VERSION agreed on their capability.
 */
enum ob_feature_number {
	OB_FEATURE_MIGRATION		= 1,
	OB_FEATURE_MIG_DEVICE_STATE	= 2,
	OB_FEATURE_LOG_START		= 6,
	OB_FEATURE_LOG_STOP		= 7,
	OB_FEATURE_LOG_REPORT		= 8,
	OB_FEATURE_MIG_DATA_SIZE	= 9,
	OB_FEATURE_PRECOPY_INFO		= 0xfb00,	/* outboard_precopy_info */
	OB_FEATURE_ERROR_TEXT		= 0xfb01,	/* outboard_error_text */
};

enum ob_mig_flags {
	OB_MIG_STOP_COPY = 1 << 0, OB_MIG_P2P = 1 << 1,
	OB_MIG_PRE_COPY = 1 << 2,
};
#define OB_MIG_FLAGS_SIZE 8u		/* u64 */

enum ob_mig_state {
	OB_MIG_ERROR, OB_MIG_STOP, OB_MIG_RUNNING, OB_MIG_STOPPED_COPY,
	OB_MIG_RESUMING, OB_MIG_RUNNING_P2P, OB_MIG_PRECOPY,
	OB_MIG_PRECOPY_P2P, OB_NR_MIG_STATES
};
/* data_fd is not used by vfio-user: 0 or -1 asked, -1 answered. */
struct ob_mig_device_state {
	uint32_t state;
	int32_t data_fd;
};
#define OB_MIG_DEVICE_STATE_SIZE 8u

struct ob_log_start {			/* then nr_ranges of ob_log_range */
	uint64_t page_size;		/* a hint; the answer has the real one */
	uint32_t nr_ranges, reserved;	/* 0 ranges: all that is mapped */
};
#define OB_LOG_START_SIZE 16u
struct ob_log_range {
	uint64_t iova, length;
};
#define OB_LOG_RANGE_SIZE 16u

struct ob_log_report {			/* answer: the same, then the bitmap */
	uint64_t iova, length, page_size;
};
#define OB_LOG_REPORT_SIZE 24u

/* PRECOPY_INFO, GET: as the kernel's ioctl of that name. */
struct ob_precopy_info {
	uint64_t initial_bytes, dirty_bytes;
};
#define OB_PRECOPY_INFO_SIZE 16u

/* ERROR_TEXT, GET: why the last request failed, NUL-padded. */
#define OB_ERROR_TEXT_SIZE 256u

struct ob_mig_data {
	uint32_t argsz, size;
};
#define OB_MIG_DATA_SIZE 8u

/*
 * A decoded request, client to server.  data is what follows the fixed part:
 * write data, bools of SET_IRQS, entries of WRITE_MULTI, feature payload;
 * borrowed from the message.
 */
struct ob_request {
	struct ob_hdr hdr;
	union {
		struct ob_version version;
		struct ob_dma_map map;
		struct ob_dma_unmap unmap;
		struct ob_device_info info;
		struct ob_region_info region_info;
		struct ob_region_io_fds io_fds;
		struct ob_irq_info irq_info;
		struct ob_set_irqs set_irqs;
		struct ob_region_access access;
		uint64_t write_count;	/* WRITE_MULTI */
		struct ob_feature feature;
		struct ob_mig_data mig;
	};
	const uint8_t *data;
	size_t data_len;
};

/*
 * Decodes a payload by req->hdr.cmd.  0; -EINVAL: too short, or lengths that
 * contradict each other; -ENOSYS: unknown command, or one that only a server
 * sends.  Longer payloads than needed are accepted where the format is open
 * (argsz).  Checks only what the bytes themselves say, not the device.
 */
int ob_request_get(struct ob_request *req, const void *payload, size_t len);

/*
 * Bytes of payload that a successful reply to this request has; an error
 * reply is padded with zeros to the same size, because clients read that many
 * (docs/protocol.md).  0 for unknown commands.  After ob_request_get failed
 * it counts what could be decoded.  REGION_READ: with the count asked for,
 * whatever it is; the caller bounds it.  DEVICE_FEATURE: the fixed part only.
 */
size_t ob_reply_payload_size(const struct ob_request *req);

int ob_put_version(struct ob_writer *wr, const struct ob_version *v);
int ob_put_dma_map(struct ob_writer *wr, const struct ob_dma_map *v);
int ob_put_dma_unmap(struct ob_writer *wr, const struct ob_dma_unmap *v);
int ob_put_device_info(struct ob_writer *wr, const struct ob_device_info *v);
int ob_put_region_info(struct ob_writer *wr, const struct ob_region_info *v);
/* The sparse mmap capability; next is the offset of the next one or 0. */
int ob_put_sparse_cap(struct ob_writer *wr, uint32_t next, uint32_t areas,
		      const uint64_t (*offset_size)[2]);
int ob_put_io_fds(struct ob_writer *wr, const struct ob_region_io_fds *v);
int ob_put_sub_region(struct ob_writer *wr, const struct ob_sub_region *v);
int ob_put_irq_info(struct ob_writer *wr, const struct ob_irq_info *v);
int ob_put_set_irqs(struct ob_writer *wr, const struct ob_set_irqs *v);
int ob_put_region_access(struct ob_writer *wr,
			 const struct ob_region_access *v);
int ob_put_dma_access(struct ob_writer *wr, const struct ob_dma_access *v);
int ob_put_feature(struct ob_writer *wr, const struct ob_feature *v);
int ob_put_mig_data(struct ob_writer *wr, const struct ob_mig_data *v);

/* The same structures read back: for clients, and for replies to a server. */
int ob_get_version(struct ob_reader *rd, struct ob_version *v);
int ob_get_device_info(struct ob_reader *rd, struct ob_device_info *v);
int ob_get_region_info(struct ob_reader *rd, struct ob_region_info *v);
int ob_get_sub_region(struct ob_reader *rd, struct ob_sub_region *v);
int ob_get_io_fds(struct ob_reader *rd, struct ob_region_io_fds *v);
int ob_get_irq_info(struct ob_reader *rd, struct ob_irq_info *v);
int ob_get_region_access(struct ob_reader *rd, struct ob_region_access *v);
int ob_get_dma_access(struct ob_reader *rd, struct ob_dma_access *v);
int ob_get_write_entry(struct ob_reader *rd, struct ob_write_entry *v);

/* feature.c: what follows struct ob_feature. */
int ob_put_mig_device_state(struct ob_writer *wr,
			    const struct ob_mig_device_state *v);
int ob_get_mig_device_state(struct ob_reader *rd,
			    struct ob_mig_device_state *v);
int ob_put_log_start(struct ob_writer *wr, const struct ob_log_start *v);
int ob_get_log_start(struct ob_reader *rd, struct ob_log_start *v);
int ob_put_log_range(struct ob_writer *wr, const struct ob_log_range *v);
int ob_get_log_range(struct ob_reader *rd, struct ob_log_range *v);
int ob_put_log_report(struct ob_writer *wr, const struct ob_log_report *v);
int ob_get_log_report(struct ob_reader *rd, struct ob_log_report *v);
int ob_put_precopy_info(struct ob_writer *wr, const struct ob_precopy_info *v);
int ob_get_precopy_info(struct ob_reader *rd, struct ob_precopy_info *v);
int ob_get_feature(struct ob_reader *rd, struct ob_feature *v);
int ob_get_mig_data(struct ob_reader *rd, struct ob_mig_data *v);

#endif
