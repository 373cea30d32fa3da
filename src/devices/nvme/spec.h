/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names and layouts of the NVM Express base specification, revision 1.4, as
 * far as this controller uses them.  Section numbers in comments are that
 * text's.  Structures are little-endian, as the host is required to be.
 */
#ifndef OB_NVME_SPEC_H
#define OB_NVME_SPEC_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	      "NVMe structures are used in place");

/* 3.1: registers of BAR0 */
enum nvme_reg {
	NVME_REG_CAP	= 0x00,
	NVME_REG_VS	= 0x08,
	NVME_REG_INTMS	= 0x0c,
	NVME_REG_INTMC	= 0x10,
	NVME_REG_CC	= 0x14,
	NVME_REG_CSTS	= 0x1c,
	NVME_REG_NSSR	= 0x20,
	NVME_REG_AQA	= 0x24,
	NVME_REG_ASQ	= 0x28,
	NVME_REG_ACQ	= 0x30,
	NVME_REG_CMBLOC	= 0x38,
	NVME_REG_CMBSZ	= 0x3c,
	NVME_REG_END	= 0x40,		/* from here on none of ours */
	NVME_REG_DBS	= 0x1000,
};

#define NVME_VS_1_4		0x00010400u
#define NVME_NSSR_MAGIC		0x4e564d65u	/* "NVMe" */

/* 3.1.1: CAP */
#define NVME_CAP_CQR		(1ull << 16)
#define NVME_CAP_TO(half_s)	((uint64_t)(half_s) << 24)
#define NVME_CAP_NSSRS		(1ull << 36)
#define NVME_CAP_CSS_NVM	(1ull << 37)
#define NVME_CAP_MPSMAX(n)	((uint64_t)(n) << 52)

/* 3.1.5, 3.1.6: CC and CSTS */
enum nvme_cc {
	NVME_CC_EN		= 1 << 0,
	NVME_CC_CSS_SHIFT	= 4,
	NVME_CC_CSS_MASK	= 7 << 4,
	NVME_CC_MPS_SHIFT	= 7,
	NVME_CC_MPS_MASK	= 15 << 7,
	NVME_CC_AMS_MASK	= 7 << 11,
	NVME_CC_SHN_MASK	= 3 << 14,
	NVME_CC_IOSQES_SHIFT	= 16,
	NVME_CC_IOCQES_SHIFT	= 20,
	NVME_CC_WRITABLE	= 0x00fffff1,
};

enum nvme_csts {
	NVME_CSTS_RDY		= 1 << 0,
	NVME_CSTS_CFS		= 1 << 1,
	NVME_CSTS_SHST_BUSY	= 1 << 2,
	NVME_CSTS_SHST_DONE	= 2 << 2,
	NVME_CSTS_SHST_MASK	= 3 << 2,
	NVME_CSTS_NSSRO		= 1 << 4,
};

/* 4.2: submission queue entry */
struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags;			/* FUSE 1:0, PSDT 7:6 */
	uint16_t cid;
	uint32_t nsid;
	uint32_t cdw2, cdw3;
	uint64_t mptr;
	uint8_t dptr[16];
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(struct nvme_sqe) == 64, "4.2");

#define NVME_SQE_FUSE		0x03
#define NVME_SQE_PSDT(flags)	((flags) >> 6)
#define NVME_NSID_ALL		0xffffffffu

/* 4.6: completion queue entry */
struct nvme_cqe {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head, sq_id;
	uint16_t cid;
	uint16_t status;		/* phase tag is bit 0 */
};
static_assert(sizeof(struct nvme_cqe) == 16, "4.6");

/* 4.6.1: status, here as SCT << 8 | SC; More and DNR as in the field >> 1 */
enum nvme_status {
	NVME_OK				= 0x000,
	NVME_INVALID_OPCODE		= 0x001,
	NVME_INVALID_FIELD		= 0x002,
	NVME_DATA_TRANSFER_ERROR	= 0x004,
	NVME_INTERNAL_ERROR		= 0x006,
	NVME_ABORT_REQUESTED		= 0x007,
	NVME_ABORT_SQ_DELETED		= 0x008,
	NVME_INVALID_NAMESPACE		= 0x00b,
	NVME_COMMAND_SEQUENCE_ERROR	= 0x00c,
	NVME_PRP_OFFSET_INVALID		= 0x013,
	NVME_OPERATION_DENIED		= 0x015,
	NVME_WRITE_PROTECTED		= 0x020,
	NVME_LBA_OUT_OF_RANGE		= 0x080,
	NVME_CAPACITY_EXCEEDED		= 0x081,
	NVME_NS_NOT_READY		= 0x082,
	NVME_INVALID_CQ			= 0x100,
	NVME_INVALID_QID		= 0x101,
	NVME_INVALID_QUEUE_SIZE		= 0x102,
	NVME_ABORT_LIMIT		= 0x103,
	NVME_AER_LIMIT			= 0x105,
	NVME_INVALID_VECTOR		= 0x108,
	NVME_INVALID_LOG_PAGE		= 0x109,
	NVME_INVALID_QUEUE_DELETION	= 0x10c,
	NVME_FID_NOT_SAVEABLE		= 0x10d,
	NVME_FID_NOT_CHANGEABLE		= 0x10e,
	NVME_FID_NOT_NS_SPECIFIC	= 0x10f,
	NVME_INSUFFICIENT_CAPACITY	= 0x115,
	NVME_NS_ALREADY_ATTACHED	= 0x118,
	NVME_NS_NOT_ATTACHED		= 0x11a,
	NVME_CONTROLLER_LIST_INVALID	= 0x11c,
	NVME_WRITE_FAULT		= 0x280,
	NVME_UNRECOVERED_READ		= 0x281,
	NVME_COMPARE_FAILURE		= 0x285,

	NVME_STATUS_MORE		= 1 << 13,
	NVME_STATUS_DNR			= 1 << 14,
};

/* 5: admin opcodes */
enum nvme_admin_opcode {
	NVME_ADM_DELETE_SQ	= 0x00,
	NVME_ADM_CREATE_SQ	= 0x01,
	NVME_ADM_GET_LOG	= 0x02,
	NVME_ADM_DELETE_CQ	= 0x04,
	NVME_ADM_CREATE_CQ	= 0x05,
	NVME_ADM_IDENTIFY	= 0x06,
	NVME_ADM_ABORT		= 0x08,
	NVME_ADM_SET_FEATURES	= 0x09,
	NVME_ADM_GET_FEATURES	= 0x0a,
	NVME_ADM_ASYNC_EVENT	= 0x0c,
	NVME_ADM_NS_MANAGEMENT	= 0x0d,
	NVME_ADM_NS_ATTACHMENT	= 0x15,
	NVME_ADM_KEEP_ALIVE	= 0x18,
	NVME_ADM_DBBUF_CONFIG	= 0x7c,
};

/* 6: NVM command set opcodes */
enum nvme_io_opcode {
	NVME_IO_FLUSH		= 0x00,
	NVME_IO_WRITE		= 0x01,
	NVME_IO_READ		= 0x02,
	NVME_IO_COMPARE		= 0x05,
	NVME_IO_WRITE_ZEROES	= 0x08,
	NVME_IO_DSM		= 0x09,
	NVME_IO_VERIFY		= 0x0c,
};

/* CDW12 of reads, writes and their kin */
#define NVME_RW_FUA		(1u << 30)
#define NVME_RW_PRACT		(1u << 29)
#define NVME_RW_DEAC		(1u << 25)	/* Write Zeroes */
#define NVME_DSM_AD		(1u << 2)	/* CDW11 */

/* 6.7: Dataset Management range */
struct nvme_dsm_range {
	uint32_t attributes, blocks;
	uint64_t start;
};
static_assert(sizeof(struct nvme_dsm_range) == 16, "6.7");
#define NVME_DSM_MAX_RANGES	256

/* 5.15: Identify, CNS values */
enum nvme_cns {
	NVME_CNS_NS			= 0x00,
	NVME_CNS_CTRL			= 0x01,
	NVME_CNS_ACTIVE_LIST		= 0x02,
	NVME_CNS_NS_DESCRIPTORS		= 0x03,
	NVME_CNS_CSI_NS			= 0x05,	/* from here to 08h: 2.0 */
	NVME_CNS_CSI_CTRL		= 0x06,
	NVME_CNS_CSI_ACTIVE_LIST	= 0x07,
	NVME_CNS_CSI_INDEPENDENT_NS	= 0x08,
	NVME_CNS_ALLOCATED_LIST		= 0x10,
	NVME_CNS_ALLOCATED_NS		= 0x11,
	NVME_CNS_NS_CTRL_LIST		= 0x12,
	NVME_CNS_CTRL_LIST		= 0x13,
	NVME_CNS_PRIMARY_CAPS		= 0x14,
	NVME_CNS_SECONDARY_LIST		= 0x15,
	NVME_CNS_CMD_SETS		= 0x1c,
};

struct nvme_psd {
	uint16_t mp;			/* maximum power, 0.01 W */
	uint8_t rsvd[30];
} __attribute__((packed));

/* Figure 247: Identify Controller */
struct nvme_id_ctrl {
	uint16_t vid, ssvid;
	char sn[20], mn[40], fr[8];
	uint8_t rab, ieee[3], cmic, mdts;
	uint16_t cntlid;
	uint32_t ver, rtd3r, rtd3e, oaes, ctratt;
	uint16_t rrls;
	uint8_t rsvd102[9];
	uint8_t cntrltype;
	uint8_t fguid[16];
	uint16_t crdt[3];
	uint8_t rsvd134[122];
	uint16_t oacs;
	uint8_t acl, aerl, frmw, lpa, elpe, npss, avscc, apsta;
	uint16_t wctemp, cctemp, mtfa;
	uint32_t hmpre, hmmin;
	uint64_t tnvmcap[2], unvmcap[2];
	uint32_t rpmbs;
	uint16_t edstt;
	uint8_t dsto, fwug;
	uint16_t kas, hctma, mntmt, mxtmt;
	uint32_t sanicap, hmminds;
	uint16_t hmmaxd, nsetidmax, endgidmax;
	uint8_t anatt, anacap;
	uint32_t anagrpmax, nanagrpid, pels;
	uint8_t rsvd356[156];
	uint8_t sqes, cqes;
	uint16_t maxcmd;
	uint32_t nn;
	uint16_t oncs, fuses;
	uint8_t fna, vwc;
	uint16_t awun, awupf;
	uint8_t nvscc, nwpc;
	uint16_t acwu;
	uint8_t rsvd534[2];
	uint32_t sgls, mnan;
	uint8_t rsvd544[224];
	char subnqn[256];
	uint8_t rsvd1024[1024];
	struct nvme_psd psd[32];
	uint8_t vendor[1024];
} __attribute__((packed));
static_assert(sizeof(struct nvme_id_ctrl) == 4096, "figure 247");
static_assert(offsetof(struct nvme_id_ctrl, oacs) == 256, "figure 247");
static_assert(offsetof(struct nvme_id_ctrl, sqes) == 512, "figure 247");
static_assert(offsetof(struct nvme_id_ctrl, subnqn) == 768, "figure 247");

/* Figure 245: Identify Namespace */
struct nvme_id_ns {
	uint64_t nsze, ncap, nuse;
	uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps, nmic, rescap, fpi, dlfeat;
	uint16_t nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	uint64_t nvmcap[2];
	uint16_t npwg, npwa, npdg, npda, nows;
	uint8_t rsvd74[18];
	uint32_t anagrpid;
	uint8_t rsvd96[3];
	uint8_t nsattr;
	uint16_t nvmsetid, endgid;
	uint8_t nguid[16], eui64[8];
	struct {
		uint16_t ms;
		uint8_t lbads, rp;
	} lbaf[16];
	uint8_t rsvd192[3904];
} __attribute__((packed));
static_assert(sizeof(struct nvme_id_ns) == 4096, "figure 245");
static_assert(offsetof(struct nvme_id_ns, nguid) == 104, "figure 245");

#define NVME_ID_SIZE 4096u

/* 5.14.1: log pages */
enum nvme_log {
	NVME_LOG_SUPPORTED	= 0x00,	/* 2.0 */
	NVME_LOG_ERROR		= 0x01,
	NVME_LOG_SMART		= 0x02,
	NVME_LOG_FIRMWARE	= 0x03,
	NVME_LOG_CHANGED_NS	= 0x04,
	NVME_LOG_EFFECTS	= 0x05,
};

/* 5.14.1.1 */
struct nvme_error_entry {
	uint64_t count;
	uint16_t sqid, cid, status, location;
	uint64_t lba;
	uint32_t nsid;
	uint8_t vendor, trtype, rsvd30[2];
	uint64_t specific;
	uint16_t trinfo;
	uint8_t rsvd42[22];
} __attribute__((packed));
static_assert(sizeof(struct nvme_error_entry) == 64, "5.14.1.1");

/* 5.14.1.2 */
struct nvme_smart {
	uint8_t critical_warning;
	uint16_t temperature;
	uint8_t spare, spare_threshold, used, endurance_warning;
	uint8_t rsvd7[25];
	uint64_t units_read[2], units_written[2];
	uint64_t reads[2], writes[2];
	uint64_t busy_minutes[2], power_cycles[2], power_hours[2];
	uint64_t unsafe_shutdowns[2], media_errors[2], error_entries[2];
	uint32_t warning_minutes, critical_minutes;
	uint16_t sensors[8];
	uint8_t rsvd216[296];
} __attribute__((packed));
static_assert(sizeof(struct nvme_smart) == 512, "5.14.1.2");

/* 5.14.1.3 */
struct nvme_firmware_log {
	uint8_t afi, rsvd1[7];
	char frs[7][8];
	uint8_t rsvd64[448];
};
static_assert(sizeof(struct nvme_firmware_log) == 512, "5.14.1.3");

/* 5.14.1.5 */
struct nvme_effects_log {
	uint32_t admin[256], io[256];
	uint8_t rsvd2048[2048];
};
static_assert(sizeof(struct nvme_effects_log) == 4096, "5.14.1.5");

enum nvme_effects {
	NVME_EFFECT_SUPPORTED	= 1 << 0,
	NVME_EFFECT_CONTENT	= 1 << 1,	/* logical block content */
	NVME_EFFECT_NS		= 1 << 2,	/* namespace capabilities */
	NVME_EFFECT_INVENTORY	= 1 << 3,
	NVME_EFFECT_CTRL	= 1 << 4,
};

/* 5.2: asynchronous events */
enum nvme_event_type {
	NVME_EVENT_ERROR, NVME_EVENT_SMART, NVME_EVENT_NOTICE,
	NVME_NR_EVENT_TYPES
};
#define NVME_EVENT_BAD_DB_REGISTER	0x00
#define NVME_EVENT_BAD_DB_VALUE		0x01
#define NVME_EVENT_TEMPERATURE		0x01
#define NVME_EVENT_NS_CHANGED		0x00

/* 5.21.1: features */
enum nvme_fid {
	NVME_FID_ARBITRATION	= 0x01,
	NVME_FID_POWER		= 0x02,
	NVME_FID_TEMPERATURE	= 0x04,
	NVME_FID_ERROR_RECOVERY	= 0x05,
	NVME_FID_WRITE_CACHE	= 0x06,
	NVME_FID_QUEUES		= 0x07,
	NVME_FID_COALESCING	= 0x08,
	NVME_FID_VECTOR		= 0x09,
	NVME_FID_ATOMICITY	= 0x0a,
	NVME_FID_EVENTS		= 0x0b,
	NVME_FID_TIMESTAMP	= 0x0e,
};

#endif
