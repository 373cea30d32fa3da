// SPDX-License-Identifier: BSD-3-Clause
/* Registers, the controller's life, and the admin commands. */
#include "guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- registers --------------------------------------------------------- */

static void test_registers(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint64_t cap = guest_reg64(g, NVME_REG_CAP);
	uint8_t bytes[8];
	uint16_t half;

	(void)state;
	assert_int_equal(cap & 0xffff, 4095);		/* MQES, 0's based */
	assert_int_equal(cap >> 16 & 1, 1);		/* contiguous queues */
	assert_true((cap >> 24 & 0xff) > 0);		/* a timeout */
	assert_int_equal(cap >> 32 & 15, 0);		/* DSTRD */
	assert_int_equal(cap >> 37 & 0xff, 1);		/* NVM command set */
	assert_int_equal(cap >> 48 & 15, 0);		/* 4 KiB */
	assert_int_equal(guest_reg(g, NVME_REG_VS), 0x10400);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), 0);
	assert_int_equal(guest_reg64(g, NVME_REG_CMBLOC), 0);
	/* Any width, any place. */
	assert_int_equal(guest_reg(g, NVME_REG_CAP + 4), cap >> 32);
	for (unsigned i = 0; i < 8; i++)
		guest_access(g, false, 0, NVME_REG_CAP + i, &bytes[i], 1);
	assert_memory_equal(bytes, &cap, 8);
	guest_access(g, false, 0, NVME_REG_VS + 1, &half, 2);
	assert_int_equal(half, 0x104);
	guest_end(g);
}

static void test_written_registers(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint8_t byte = 0x46;

	(void)state;
	guest_set_reg64(g, NVME_REG_ASQ, 0x123456789abcdfff);
	assert_int_equal(guest_reg64(g, NVME_REG_ASQ), 0x123456789abcd000);
	guest_set_reg(g, NVME_REG_ACQ + 4, 0x55);
	assert_int_equal(guest_reg64(g, NVME_REG_ACQ), 0x5500000000);
	guest_set_reg(g, NVME_REG_AQA, 0xffffffff);
	assert_int_equal(guest_reg(g, NVME_REG_AQA), 0x0fff0fff);
	guest_set_reg(g, NVME_REG_INTMS, 0x0f);
	guest_set_reg(g, NVME_REG_INTMS, 0xf0);
	assert_int_equal(guest_reg(g, NVME_REG_INTMC), 0xff);
	guest_set_reg(g, NVME_REG_INTMC, 0x3c);
	assert_int_equal(guest_reg(g, NVME_REG_INTMS), 0xc3);
	guest_access(g, true, 0, NVME_REG_CC + 2, &byte, 1);
	assert_int_equal(guest_reg(g, NVME_REG_CC), 0x460000);
	/* Read-only and reserved ones stay. */
	guest_set_reg(g, NVME_REG_CAP, 0);
	guest_set_reg(g, NVME_REG_VS, 0);
	guest_set_reg(g, 0x800, 0x1234);
	assert_int_equal(guest_reg(g, NVME_REG_VS), 0x10400);
	assert_int_equal(guest_reg(g, 0x800), 0);
	guest_end(g);
}

static void expect_failed_enable(uint32_t cc, uint32_t aqa)
{
	struct guest *g = guest_start("drive=mem:1M");

	guest_set_reg(g, NVME_REG_AQA, aqa);
	guest_set_reg64(g, NVME_REG_ASQ, GUEST_BASE);
	guest_set_reg64(g, NVME_REG_ACQ, GUEST_BASE + 4096);
	guest_set_reg(g, NVME_REG_CC, cc | NVME_CC_EN);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_CFS);
	/* A reset is the way out. */
	guest_disable(g);
	guest_enable(g);
	guest_end(g);
}

static void test_bad_configurations(void **state)
{
	(void)state;
	expect_failed_enable(1 << 4, 31 << 16 | 31);	/* command set */
	expect_failed_enable(5 << 7, 31 << 16 | 31);	/* 128 KiB pages */
	expect_failed_enable(1 << 11, 31 << 16 | 31);	/* arbitration */
	expect_failed_enable(0, 0);			/* queues of one */
}

/* Bigger pages: what must be aligned is aligned to them. */
static void test_R23_page_size(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_id_ctrl id;

	(void)state;
	guest_set_reg(g, NVME_REG_CC, 4 << 7);
	g->next = GUEST_BASE + 65536;
	g->admin = (struct queue){
		.sq = GUEST_BASE, .cq = GUEST_BASE + 65536, .entries = 32,
		.phase = 1,
	};
	g->next += 65536;
	guest_set_reg(g, NVME_REG_AQA, 31 << 16 | 31);
	guest_set_reg64(g, NVME_REG_ASQ, g->admin.sq);
	guest_set_reg64(g, NVME_REG_ACQ, g->admin.cq + 4096);
	guest_set_reg(g, NVME_REG_CC, 4 << 7 | NVME_CC_EN);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_CFS);
	guest_set_reg(g, NVME_REG_CC, 0);
	guest_set_reg64(g, NVME_REG_ACQ, g->admin.cq);
	guest_set_reg(g, NVME_REG_CC, 4 << 7 | NVME_CC_EN);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	guest_end(g);
}

static void test_shutdown(void **state)
{
	struct guest *g = guest_ready("drive=delay:2000:mem:1M");
	uint32_t cc = guest_reg(g, NVME_REG_CC);

	(void)state;
	guest_set_reg(g, NVME_REG_CC, cc | 1 << 14);
	while ((guest_reg(g, NVME_REG_CSTS) & NVME_CSTS_SHST_MASK) !=
	       NVME_CSTS_SHST_DONE)
		;
	guest_disable(g);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), 0);
	guest_enable(g);
	guest_end(g);
}

static void test_subsystem_reset(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_set_reg(g, NVME_REG_NSSR, 0x12345678);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_RDY);
	guest_set_reg(g, NVME_REG_NSSR, NVME_NSSR_MAGIC);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), NVME_CSTS_NSSRO);
	assert_int_equal(guest_reg(g, NVME_REG_CC), 0);
	assert_int_equal(guest_reg64(g, NVME_REG_ASQ), 0);
	guest_set_reg(g, NVME_REG_CSTS, NVME_CSTS_NSSRO);
	assert_int_equal(guest_reg(g, NVME_REG_CSTS), 0);
	guest_enable(g);
	guest_end(g);
}

/* What is fixed while enabled does not move under the queues. */
static void test_enabled_configuration_is_fixed(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme_id_ctrl id;

	(void)state;
	guest_set_reg(g, NVME_REG_CC, guest_reg(g, NVME_REG_CC) | 4 << 7);
	guest_set_reg(g, NVME_REG_AQA, 0);
	guest_set_reg64(g, NVME_REG_ASQ, 0);
	assert_int_equal(guest_reg(g, NVME_REG_CC) & NVME_CC_MPS_MASK, 0);
	assert_int_equal(guest_reg64(g, NVME_REG_ASQ), g->admin.sq);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	guest_end(g);
}

static void test_device_reset(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");

	(void)state;
	guest_reset(g);
	guest_reset(g);
	assert_int_equal(guest_reg(g, NVME_REG_CC), 0);
	assert_int_equal(guest_reg(g, NVME_REG_AQA), 0);
	guest_master(g, true);
	guest_enable(g);
	assert_int_equal(guest_create_queue(g, 1, 16), 0);
	guest_end(g);
}

/* -- identify ---------------------------------------------------------- */

static void test_identify_controller(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,drive=mem:2M,serial=ABC,"
				      "model=A disk");
	struct nvme_id_ctrl id;

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	assert_memory_equal(id.sn, "ABC                 ", 20);
	assert_memory_equal(id.mn, "A disk                                  ",
			    40);
	assert_int_equal(id.ver, 0x10400);
	assert_int_equal(id.mdts, 7);
	assert_int_equal(id.cntrltype, 1);
	assert_int_equal(id.nn, 2);
	assert_int_equal(id.sqes, 0x66);
	assert_int_equal(id.cqes, 0x44);
	assert_int_equal(id.tnvmcap[0], 3 << 20);
	assert_int_equal(id.oacs & 1 << 8, 1 << 8);
	assert_memory_equal(id.subnqn, "nqn.2014-08.org.nvmexpress:uuid:",
			    32);
	assert_int_equal(strlen(id.subnqn), 32 + 36);
	guest_end(g);
	/* Without a serial number of its own every disk has another one. */
	g = guest_start("drive=mem:1M,doorbells=trapped");
	guest_enable(g);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL, 0, &id), 0);
	assert_memory_equal(id.sn, "OB", 2);
	assert_int_equal(id.oacs & 1 << 8, 0);
	guest_end(g);
}

static void test_identify_namespace(void **state)
{
	struct guest *g = guest_start("drive=mem:3M");
	uint8_t page[4096];
	struct nvme_id_ns id;

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 1, &id), 0);
	assert_int_equal(id.nsze, 6144);
	assert_int_equal(id.ncap, 6144);
	assert_int_equal(id.nlbaf, 0);
	assert_int_equal(id.lbaf[0].lbads, 9);
	assert_int_equal(id.lbaf[0].ms, 0);
	assert_int_equal(id.nsattr, 0);
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 2, &id),
			 NVME_INVALID_NAMESPACE);
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 0, &id),
			 NVME_INVALID_NAMESPACE);
	assert_int_equal(guest_identify(g, NVME_CNS_NS_DESCRIPTORS, 1, page),
			 0);
	assert_memory_equal(page, "\x01\x08\0", 3);
	assert_memory_equal(page + 12, "\x02\x10\0", 3);
	assert_memory_equal(page + 32, "\x03\x10\0", 3);
	assert_int_equal(page[52], 0);
	assert_int_equal(guest_identify(g, NVME_CNS_NS_DESCRIPTORS, 2, page),
			 NVME_INVALID_NAMESPACE);
	guest_end(g);
}

static void expect_list(struct guest *g, uint32_t cns, uint32_t after,
			uint32_t first, uint32_t second)
{
	uint32_t ids[1024];

	assert_int_equal(guest_identify(g, cns, after, ids), 0);
	assert_int_equal(ids[0], first);
	assert_int_equal(ids[1], second);
}

static void test_identify_lists(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,drive=mem:1M");
	uint16_t ctrls[2048];
	uint32_t ids[1024];

	(void)state;
	guest_enable(g);
	expect_list(g, NVME_CNS_ACTIVE_LIST, 0, 1, 2);
	expect_list(g, NVME_CNS_ACTIVE_LIST, 1, 2, 0);
	expect_list(g, NVME_CNS_ACTIVE_LIST, 2, 0, 0);
	expect_list(g, NVME_CNS_ALLOCATED_LIST, 0, 1, 2);
	expect_list(g, NVME_CNS_CSI_ACTIVE_LIST, 0, 1, 2);
	assert_int_equal(guest_identify(g, NVME_CNS_ACTIVE_LIST, 0xffffffff,
					ids), NVME_INVALID_NAMESPACE);
	assert_int_equal(guest_identify(g, NVME_CNS_CTRL_LIST, 0, ctrls), 0);
	assert_int_equal(ctrls[0], 1);
	assert_int_equal(ctrls[1], 0);
	assert_int_equal(guest_identify(g, NVME_CNS_NS_CTRL_LIST, 1, ctrls),
			 0);
	assert_int_equal(ctrls[0], 1);
	guest_end(g);
}

static void test_identify_others(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint8_t page[4096];

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_identify(g, NVME_CNS_CSI_CTRL, 0, page), 0);
	assert_int_equal(guest_identify(g, NVME_CNS_CSI_NS, 1, page), 0);
	assert_int_equal(guest_identify(g, NVME_CNS_CSI_INDEPENDENT_NS, 1,
					page), 0);
	assert_int_equal(page[14], 1);
	for (uint32_t cns = 0x1d; cns < 0x100; cns++)
		assert_int_equal(guest_identify(g, cns, 1, page),
				 NVME_INVALID_FIELD);
	guest_end(g);
}

/* -- queues ------------------------------------------------------------ */

static uint16_t create(struct guest *g, uint8_t opcode, uint32_t qid,
		       uint32_t size, uint32_t cdw11, uint64_t addr)
{
	struct nvme_sqe sqe = guest_sqe(g, opcode, 0, addr, 4096);

	sqe.cdw10 = size << 16 | qid;
	sqe.cdw11 = cdw11;
	return guest_admin(g, sqe);
}

static uint16_t delete(struct guest *g, uint8_t opcode, uint32_t qid)
{
	struct nvme_sqe sqe = { .opcode = opcode, .cdw10 = qid };

	return guest_admin(g, sqe);
}

static void test_R16_create_queues(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,queues=4");
	uint64_t at = guest_alloc(g, 1 << 20);
	const uint8_t cq = NVME_ADM_CREATE_CQ, sq = NVME_ADM_CREATE_SQ;

	(void)state;
	guest_enable(g);
	assert_int_equal(create(g, cq, 0, 15, 1, at), NVME_INVALID_QID);
	assert_int_equal(create(g, cq, 5, 15, 1, at), NVME_INVALID_QID);
	assert_int_equal(create(g, cq, 65535, 15, 1, at), NVME_INVALID_QID);
	assert_int_equal(create(g, cq, 1, 0, 1, at), NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(create(g, cq, 1, 4096, 1, at),
			 NVME_INVALID_QUEUE_SIZE);
	assert_int_equal(create(g, cq, 1, 15, 0, at), NVME_INVALID_FIELD);
	assert_int_equal(create(g, cq, 1, 15, 1, at + 64),
			 NVME_PRP_OFFSET_INVALID);
	assert_int_equal(create(g, cq, 1, 15, 5 << 16 | 3, at),
			 NVME_INVALID_VECTOR);
	assert_int_equal(create(g, cq, 1, 4095, 4 << 16 | 3, at), 0);
	assert_int_equal(create(g, cq, 1, 15, 1, at), NVME_INVALID_QID);
	assert_int_equal(create(g, sq, 1, 15, 0 << 16 | 1, at),
			 NVME_INVALID_QID);
	assert_int_equal(create(g, sq, 1, 15, 2 << 16 | 1, at),
			 NVME_INVALID_CQ);
	assert_int_equal(create(g, sq, 1, 15, 5 << 16 | 1, at),
			 NVME_INVALID_QID);
	assert_int_equal(create(g, sq, 4, 4095, 1 << 16 | 1, at), 0);
	assert_int_equal(create(g, sq, 4, 15, 1 << 16 | 1, at),
			 NVME_INVALID_QID);
	assert_int_equal(delete(g, NVME_ADM_DELETE_CQ, 1),
			 NVME_INVALID_QUEUE_DELETION);
	assert_int_equal(delete(g, NVME_ADM_DELETE_SQ, 1), NVME_INVALID_QID);
	assert_int_equal(delete(g, NVME_ADM_DELETE_SQ, 0), NVME_INVALID_QID);
	assert_int_equal(delete(g, NVME_ADM_DELETE_CQ, 0), NVME_INVALID_QID);
	assert_int_equal(delete(g, NVME_ADM_DELETE_SQ, 4), 0);
	assert_int_equal(delete(g, NVME_ADM_DELETE_SQ, 4), NVME_INVALID_QID);
	assert_int_equal(delete(g, NVME_ADM_DELETE_CQ, 1), 0);
	assert_int_equal(delete(g, NVME_ADM_DELETE_CQ, 1), NVME_INVALID_QID);
	guest_end(g);
}

static void test_entry_sizes(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint64_t at = guest_alloc(g, 4096);

	(void)state;
	guest_enable(g);
	guest_set_reg(g, NVME_REG_CC, 3 << 20 | 6 << 16 | NVME_CC_EN);
	assert_int_equal(create(g, NVME_ADM_CREATE_CQ, 1, 15, 1, at),
			 NVME_INVALID_FIELD);
	guest_set_reg(g, NVME_REG_CC, 4 << 20 | 7 << 16 | NVME_CC_EN);
	assert_int_equal(create(g, NVME_ADM_CREATE_CQ, 1, 15, 1, at), 0);
	assert_int_equal(create(g, NVME_ADM_CREATE_SQ, 1, 15, 1 << 16 | 1,
				at), NVME_INVALID_FIELD);
	guest_end(g);
}

/* The phase is the device's own: many rounds, and garbage in the ring. */
static void test_R16_phase(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_sqe flush = { .opcode = NVME_IO_FLUSH, .nsid = 1 };

	(void)state;
	guest_enable(g);
	for (unsigned entries = 2; entries < 6; entries++) {
		assert_int_equal(guest_create_queue(g, 1, entries), 0);
		for (unsigned i = 0; i < 40; i++) {
			struct nvme_cqe *next = guest_ptr(g, g->io[1].cq);

			next[g->io[1].head].result = ~0u;
			assert_int_equal(guest_io(g, flush), 0);
			assert_int_equal(g->result, 0);
		}
		assert_int_equal(delete(g, NVME_ADM_DELETE_SQ, 1), 0);
		assert_int_equal(delete(g, NVME_ADM_DELETE_CQ, 1), 0);
	}
	guest_end(g);
}

/* -- features ---------------------------------------------------------- */

static uint16_t get(struct guest *g, uint32_t cdw10, uint32_t cdw11)
{
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_GET_FEATURES, .cdw10 = cdw10,
		.cdw11 = cdw11,
	};

	return guest_admin(g, sqe);
}

static void test_queue_count(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,queues=4");

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_set_feature(g, NVME_FID_QUEUES, 1023 << 16 |
					   1023), 0);
	assert_int_equal(g->result, 3 << 16 | 3);
	assert_int_equal(guest_set_feature(g, NVME_FID_QUEUES, 1 << 16 | 0),
			 0);
	assert_int_equal(g->result, 1 << 16 | 0);
	assert_int_equal(guest_get_feature(g, NVME_FID_QUEUES), 0);
	assert_int_equal(g->result, 1 << 16 | 0);
	assert_int_equal(guest_set_feature(g, NVME_FID_QUEUES, 0xffff),
			 NVME_INVALID_FIELD);
	assert_int_equal(guest_create_queue(g, 2, 16), NVME_INVALID_QID);
	assert_int_equal(guest_create_queue(g, 1, 16), 0);
	assert_int_equal(guest_set_feature(g, NVME_FID_QUEUES, 3 << 16 | 3),
			 NVME_COMMAND_SEQUENCE_ERROR);
	guest_end(g);
}

static void expect_word(struct guest *g, uint8_t fid, uint32_t good,
			uint32_t bad, uint32_t def)
{
	assert_int_equal(guest_get_feature(g, fid), 0);
	assert_int_equal(g->result, def);
	assert_int_equal(guest_set_feature(g, fid, good), 0);
	assert_int_equal(guest_get_feature(g, fid), 0);
	assert_int_equal(g->result, good);
	assert_int_equal(guest_set_feature(g, fid, bad), NVME_INVALID_FIELD);
	assert_int_equal(get(g, 1 << 8 | fid, 0), 0);	/* default */
	assert_int_equal(g->result, def);
	assert_int_equal(get(g, 3 << 8 | fid, 0), 0);	/* capabilities */
	assert_int_equal(g->result, 4);
	assert_int_equal(get(g, 4 << 8 | fid, 0), NVME_INVALID_FIELD);
}

static void test_features(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_sqe sqe = {
		.opcode = NVME_ADM_SET_FEATURES,
		.cdw10 = 1u << 31 | NVME_FID_ATOMICITY,
	};

	(void)state;
	guest_enable(g);
	expect_word(g, NVME_FID_ARBITRATION, 0x01020303, 8, 7);
	expect_word(g, NVME_FID_POWER, 0x20, 1, 0);
	expect_word(g, NVME_FID_ERROR_RECOVERY, 100, 1 << 16, 0);
	expect_word(g, NVME_FID_COALESCING, 0x0503, 1 << 16, 0);
	expect_word(g, NVME_FID_ATOMICITY, 1, 2, 0);
	expect_word(g, NVME_FID_EVENTS, 0x11f, 0x200, 0);
	assert_int_equal(guest_admin(g, sqe), NVME_FID_NOT_SAVEABLE);
	assert_int_equal(guest_get_feature(g, 0x0f), NVME_INVALID_FIELD);
	assert_int_equal(guest_set_feature(g, 0xd0, 0), NVME_INVALID_FIELD);
	assert_int_equal(guest_set_feature(g, NVME_FID_VECTOR, 1 << 16 | 3),
			 0);
	assert_int_equal(get(g, NVME_FID_VECTOR, 3), 0);
	assert_int_equal(g->result, 1 << 16 | 3);
	assert_int_equal(get(g, NVME_FID_VECTOR, 400), NVME_INVALID_FIELD);
	/* No cache, no feature. */
	assert_int_equal(guest_get_feature(g, NVME_FID_WRITE_CACHE),
			 NVME_INVALID_FIELD);
	/* A reset brings the defaults back. */
	guest_disable(g);
	guest_enable(g);
	assert_int_equal(guest_get_feature(g, NVME_FID_ATOMICITY), 0);
	assert_int_equal(g->result, 0);
	guest_end(g);
}

static void test_timestamp(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint64_t addr = guest_alloc(g, 4096), *word = guest_ptr(g, addr);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_SET_FEATURES, 0, addr,
					4096);

	(void)state;
	guest_enable(g);
	sqe.cdw10 = NVME_FID_TIMESTAMP;
	*word = 1700000000000ull;
	assert_int_equal(guest_admin(g, sqe), 0);
	guest_nap(g, 5000);
	sqe.opcode = NVME_ADM_GET_FEATURES;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(*word >> 48, 2);		/* set by the host */
	assert_true((*word & 0xffffffffffff) >= 1700000000005ull);
	guest_end(g);
}

/* -- logs -------------------------------------------------------------- */

static void test_logs(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_effects_log effects;
	struct nvme_firmware_log fw;
	struct nvme_smart smart;
	uint32_t supported[256];
	uint8_t long_log[8192];

	(void)state;
	guest_enable(g);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, 512, false), 0);
	assert_int_equal(smart.critical_warning, 0);
	assert_int_equal(smart.spare, 100);
	assert_int_equal(guest_log(g, NVME_LOG_FIRMWARE, &fw, 512, false), 0);
	assert_int_equal(fw.afi, 1);
	assert_memory_equal(fw.frs[0], "1.0     ", 8);
	assert_int_equal(guest_log(g, NVME_LOG_EFFECTS, &effects, 4096,
				   false), 0);
	assert_int_equal(effects.admin[NVME_ADM_IDENTIFY] & 1, 1);
	assert_int_equal(effects.admin[0x10] & 1, 0);
	assert_int_equal(effects.io[NVME_IO_WRITE], 3);
	assert_int_equal(effects.io[0x04], 0);
	assert_int_equal(guest_log(g, NVME_LOG_SUPPORTED, supported, 1024,
				   false), 0);
	for (unsigned i = 0; i < 256; i++)
		assert_int_equal(supported[i], i <= 5);
	/* More than there is reads as zeros behind the end. */
	assert_int_equal(guest_log(g, NVME_LOG_ERROR, long_log, 8192, false),
			 0);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(long_log[i], 0);
	for (unsigned i = 6; i < 256; i++)
		assert_int_equal(guest_log(g, i, supported, 512, false),
				 NVME_INVALID_LOG_PAGE);
	guest_end(g);
}

static void test_log_offsets(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint64_t addr = guest_alloc(g, 8192);
	uint32_t *words = guest_ptr(g, addr);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_GET_LOG, 0, addr, 4096);

	(void)state;
	guest_enable(g);
	sqe.cdw10 = 0 << 16 | NVME_LOG_EFFECTS;		/* one word */
	sqe.cdw12 = 4 * NVME_ADM_IDENTIFY;
	words[1] = 77;
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(words[0], 1);
	assert_int_equal(words[1], 77);
	sqe.cdw12 = 6;
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	sqe.cdw12 = 4100;
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	sqe.cdw12 = 0;
	sqe.cdw13 = 1;
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	sqe.cdw13 = 0;
	sqe.cdw11 = 0xffff;				/* 16 GiB */
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	guest_end(g);
}

/* -- events ------------------------------------------------------------ */

static uint16_t park_aer(struct guest *g)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADM_ASYNC_EVENT };
	uint16_t cid = guest_put(g, &g->admin, &sqe);

	guest_ring(g, &g->admin);
	guest_settle(g);
	return cid;
}

static void test_events(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	uint16_t cid;
	struct nvme_cqe cqe;
	struct nvme_error_entry errors[64];

	(void)state;
	guest_enable(g);
	cid = park_aer(g);
	assert_false(guest_take(g, &g->admin, &cqe));
	/* A doorbell of a queue that does not exist. */
	guest_set_reg(g, NVME_REG_DBS + 8, 1);
	cqe = guest_wait(g, &g->admin);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.result, NVME_LOG_ERROR << 16 |
				     NVME_EVENT_BAD_DB_REGISTER << 8 |
				     NVME_EVENT_ERROR);
	/* Kept back until the log was read, and read for good. */
	cid = park_aer(g);
	guest_set_reg(g, NVME_REG_DBS, 32);
	guest_settle(g);
	assert_false(guest_take(g, &g->admin, &cqe));
	assert_int_equal(guest_log(g, NVME_LOG_ERROR, errors, 4096, true), 0);
	guest_settle(g);
	assert_false(guest_take(g, &g->admin, &cqe));
	assert_int_equal(errors[0].count, 2);
	assert_int_equal(errors[1].count, 1);
	assert_int_equal(errors[1].sqid, 1);
	{
		struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_GET_LOG, 0,
						guest_alloc(g, 4096), 4096);

		sqe.cdw10 = 15 << 16 | NVME_LOG_ERROR;
		guest_put(g, &g->admin, &sqe);
	}
	guest_ring(g, &g->admin);
	for (unsigned i = 0, seen = 0; i < 2; i++) {
		cqe = guest_wait(g, &g->admin);
		if (cqe.cid == cid) {
			assert_int_equal(cqe.result >> 8 & 0xff,
					 NVME_EVENT_BAD_DB_VALUE);
			seen++;
		}
		assert_int_equal(i == 1 ? seen : 1, 1);
	}
	guest_end(g);
}

static void test_event_limit(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_cqe cqe;
	uint16_t cid;

	(void)state;
	guest_enable(g);
	for (unsigned i = 0; i < NVME_MAX_AERS; i++)
		park_aer(g);
	assert_false(guest_take(g, &g->admin, &cqe));
	cid = park_aer(g);
	cqe = guest_wait(g, &g->admin);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status >> 1 & 0x7ff, NVME_AER_LIMIT);
	guest_end(g);
}

static void test_temperature_event(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_smart smart;
	struct nvme_cqe cqe;
	uint16_t cid;

	(void)state;
	guest_enable(g);
	assert_int_equal(get(g, NVME_FID_TEMPERATURE, 0), 0);
	assert_int_equal(g->result, 0xffff);
	assert_int_equal(guest_set_feature(g, NVME_FID_EVENTS, 2), 0);
	cid = park_aer(g);
	guest_admin(g, (struct nvme_sqe){
		.opcode = NVME_ADM_KEEP_ALIVE });
	{
		struct nvme_sqe sqe = {
			.opcode = NVME_ADM_SET_FEATURES,
			.cdw10 = NVME_FID_TEMPERATURE, .cdw11 = 300,
		};

		guest_put(g, &g->admin, &sqe);
	}
	guest_ring(g, &g->admin);
	cqe = guest_wait(g, &g->admin);
	if (cqe.cid != cid)
		cqe = guest_wait(g, &g->admin);
	else
		guest_wait(g, &g->admin);
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.result, NVME_LOG_SMART << 16 | 1 << 8 | 1);
	assert_int_equal(guest_log(g, NVME_LOG_SMART, &smart, 512, false), 0);
	assert_int_equal(smart.critical_warning, 2);
	assert_int_equal(guest_set_feature(g, NVME_FID_TEMPERATURE,
					   3 << 16), NVME_INVALID_FIELD);
	guest_end(g);
}

/* -- namespaces -------------------------------------------------------- */

static uint16_t attach(struct guest *g, uint32_t nsid, uint32_t select,
		       uint16_t count, uint16_t id)
{
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_NS_ATTACHMENT, nsid, addr,
					4096);
	uint16_t *list = guest_ptr(g, addr);

	list[0] = count;
	list[1] = id;
	sqe.cdw10 = select;
	return guest_admin(g, sqe);
}

static void test_attachment(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M,drive=mem:1M");
	uint64_t addr = guest_alloc(g, 4096);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 8, addr);
	uint32_t changed[1024];
	struct nvme_id_ns id;

	(void)state;
	sqe.nsid = 2;
	assert_int_equal(guest_io(g, sqe), 0);
	assert_int_equal(attach(g, 2, 0, 1, 0), NVME_NS_ALREADY_ATTACHED);
	assert_int_equal(attach(g, 3, 1, 1, 0), NVME_INVALID_NAMESPACE);
	assert_int_equal(attach(g, 2, 1, 0, 0), NVME_CONTROLLER_LIST_INVALID);
	assert_int_equal(attach(g, 2, 1, 1, 7), NVME_CONTROLLER_LIST_INVALID);
	assert_int_equal(attach(g, 2, 2, 1, 0), NVME_INVALID_FIELD);
	assert_int_equal(attach(g, 2, 1, 1, 0), 0);
	assert_int_equal(attach(g, 2, 1, 1, 0), NVME_NS_NOT_ATTACHED);
	assert_int_equal(guest_io(g, sqe), NVME_INVALID_FIELD);
	expect_list(g, NVME_CNS_ACTIVE_LIST, 0, 1, 0);
	expect_list(g, NVME_CNS_ALLOCATED_LIST, 0, 1, 2);
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 2, &id), 0);
	assert_int_equal(id.nsze, 0);
	assert_int_equal(guest_identify(g, NVME_CNS_ALLOCATED_NS, 2, &id), 0);
	assert_int_equal(id.nsze, 2048);
	assert_int_equal(guest_log(g, NVME_LOG_CHANGED_NS, changed, 4096,
				   false), 0);
	assert_int_equal(changed[0], 2);
	assert_int_equal(changed[1], 0);
	assert_int_equal(guest_log(g, NVME_LOG_CHANGED_NS, changed, 4096,
				   false), 0);
	assert_int_equal(changed[0], 0);
	assert_int_equal(attach(g, 2, 0, 1, 0), 0);
	assert_int_equal(guest_io(g, sqe), 0);
	sqe = (struct nvme_sqe){ .opcode = NVME_ADM_NS_MANAGEMENT };
	assert_int_equal(guest_admin(g, sqe), NVME_INSUFFICIENT_CAPACITY);
	guest_end(g);
}

/* An image that grows is told, listed and usable. */
static void test_resize(void **state)
{
	char image[] = "/tmp/ob-nvme-grow-XXXXXX", options[80];
	int fd = mkstemp(image);
	struct ob_err err = { "" };
	uint32_t changed[1024];
	struct nvme_id_ns id;
	struct nvme_cqe cqe;
	struct nvme *n;
	struct guest *g;

	(void)state;
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	snprintf(options, sizeof(options), "drive=file:%s", image);
	g = guest_ready(options);
	assert_int_equal(guest_set_feature(g, NVME_FID_EVENTS, 1 << 8), 0);
	park_aer(g);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 2048, 1,
					      guest_alloc(g, 4096))),
			 NVME_LBA_OUT_OF_RANGE);
	assert_int_equal(ftruncate(fd, 2 << 20), 0);
	n = ob_dev_runtime(g->dev);
	assert_int_equal(ob_drive_refresh(n->ns[0].drive, &err), 0);
	cqe = guest_wait(g, &g->admin);
	assert_int_equal(cqe.result, NVME_LOG_CHANGED_NS << 16 |
				     NVME_EVENT_NOTICE);
	assert_int_equal(guest_log(g, NVME_LOG_CHANGED_NS, changed, 4096,
				   false), 0);
	assert_int_equal(changed[0], 1);
	assert_int_equal(guest_identify(g, NVME_CNS_NS, 1, &id), 0);
	assert_int_equal(id.nsze, 4096);
	assert_int_equal(guest_io(g, guest_rw(g, NVME_IO_READ, 2048, 1,
					      guest_alloc(g, 4096))), 0);
	guest_end(g);
	close(fd);
	unlink(image);
}

/* -- general ----------------------------------------------------------- */

static void test_unknown_opcodes(void **state)
{
	struct guest *g = guest_start("drive=mem:1M,doorbells=trapped");

	(void)state;
	guest_enable(g);
	for (unsigned op = 0; op < 256; op++) {
		struct nvme_sqe sqe = { .opcode = op, .flags = 1 };

		/* Known ones are refused for their fuse bits. */
		assert_int_equal(guest_admin(g, sqe),
				 nvme_op_find(nvme_admin_ops,
					      nvme_nr_admin_ops, op) &&
				 op != NVME_ADM_DBBUF_CONFIG
				 ? NVME_INVALID_FIELD : NVME_INVALID_OPCODE);
	}
	guest_end(g);
}

static void test_sgl_is_not_for_admin(void **state)
{
	struct guest *g = guest_start("drive=mem:1M");
	struct nvme_sqe sqe = guest_sqe(g, NVME_ADM_IDENTIFY, 0,
					guest_alloc(g, 4096), 4096);

	(void)state;
	guest_enable(g);
	sqe.cdw10 = NVME_CNS_CTRL;
	sqe.flags = 1 << 6;
	assert_int_equal(guest_admin(g, sqe), NVME_INVALID_FIELD);
	guest_end(g);
}

static void refuse_options(const char *text, const char *message)
{
	const struct ob_option *const tables[] = {
		ob_device_common_options, ob_nvme_class.options, NULL
	};
	struct ob_err err = { "" };
	struct ob_options *opts;
	struct ob_device *dev;
	struct ob_loop *loop;
	int rc;

	assert_int_equal(ob_loop_create(NULL, &loop, &err), 0);
	rc = ob_options_parse(text, tables, &opts, &err);
	if (!rc)
		rc = ob_device_create(loop, &ob_nvme_class, opts, &dev, &err);
	assert_true(rc < 0);
	if (!strstr(err.msg, message))
		fail_msg("'%s' is not about '%s'", err.msg, message);
	ob_loop_destroy(loop);
}

static void test_bad_options(void **state)
{
	(void)state;
	refuse_options("nvme,socket=/tmp/x", "drive");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1M,queues=65", "queues");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1M,queues=0", "queues");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1000", "multiple");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1536,lba=4096",
		       "multiple");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1M,lba=1024", "lba");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1M,"
		       "serial=123456789012345678901", "serial");
	refuse_options("nvme,socket=/tmp/x,drive=file:/nonexistent", "file");
	refuse_options("nvme,socket=/tmp/x,drive=mem:1M,colour=red",
		       "colour");
}

static void test_state_tables(void **state)
{
	struct ob_err err = { "" };

	(void)state;
	if (ob_table_check(&nvme_plain_table, &err) ||
	    ob_table_check(&nvme_hot_table, &err))
		fail_msg("%s", err.msg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_state_tables),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_written_registers),
		cmocka_unit_test(test_bad_configurations),
		cmocka_unit_test(test_R23_page_size),
		cmocka_unit_test(test_shutdown),
		cmocka_unit_test(test_subsystem_reset),
		cmocka_unit_test(test_enabled_configuration_is_fixed),
		cmocka_unit_test(test_device_reset),
		cmocka_unit_test(test_identify_controller),
		cmocka_unit_test(test_identify_namespace),
		cmocka_unit_test(test_identify_lists),
		cmocka_unit_test(test_identify_others),
		cmocka_unit_test(test_R16_create_queues),
		cmocka_unit_test(test_entry_sizes),
		cmocka_unit_test(test_R16_phase),
		cmocka_unit_test(test_queue_count),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_timestamp),
		cmocka_unit_test(test_logs),
		cmocka_unit_test(test_log_offsets),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_event_limit),
		cmocka_unit_test(test_temperature_event),
		cmocka_unit_test(test_attachment),
		cmocka_unit_test(test_resize),
		cmocka_unit_test(test_unknown_opcodes),
		cmocka_unit_test(test_sgl_is_not_for_admin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
