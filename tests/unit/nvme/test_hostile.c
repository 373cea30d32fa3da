// SPDX-License-Identifier: BSD-3-Clause
/* Guests that try what drivers do not. */
#include "guest.h"

#include <string.h>
#include <unistd.h>

/* -- registers --------------------------------------------------------- */

/* One read of many registers says what single reads say. */
static void test_large_register_read(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	uint8_t all[4096], odd[64], zeros[4096] = { 0 };

	(void)state;
	guest_access(g, false, 0, 0, all, sizeof(all));
	for (unsigned at = 0; at < 64; at += 4) {
		uint32_t word = guest_reg(g, at);

		assert_memory_equal(all + at, &word, 4);
	}
	assert_memory_equal(all + 64, zeros, sizeof(all) - 64);
	guest_access(g, false, 0, 0x13, odd, sizeof(odd));
	assert_memory_equal(odd, all + 0x13, sizeof(odd));
	guest_access(g, false, 0, NVME_REG_DBS, all, 4096);
	assert_memory_equal(all, zeros, 4096);
	guest_end(g);
}

/* -- R8: one turn of the loop is bounded in bytes too ------------------ */

static void test_R8_turn_is_bounded_in_bytes(void **state)
{
	struct guest *g = guest_ready("drive=mem:1M");
	struct nvme *n = ob_dev_runtime(g->dev);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024,
				       guest_alloc(g, 512 << 10));
	uint64_t before = n->st->counters.reads;

	(void)state;
	for (unsigned i = 0; i < 32; i++)
		guest_put(g, &g->io[1], &sqe);
	n->hot->sqs[1].tail = g->io[1].tail;
	nvme_work(n);
	/* Each is more than a turn's bytes. */
	assert_int_equal(n->st->counters.reads - before, 1);
	for (unsigned i = 0; i < 32; i++)
		assert_int_equal(guest_wait(g, &g->io[1]).status >> 1, 0);
	guest_end(g);
}

/* -- R18: who waits behind an aborted command -------------------------- */

/*
 * A hung drive holds nearly all of the pool; a large command waits for more
 * than is left, and a small one, which would fit, stands behind it.
 */
static void test_R18_abort_of_the_first_that_waits(void **state)
{
	struct guest *g = guest_ready("drive=delay:hang:mem:1M,"
				      "drive=null:1M");
	uint64_t data = guest_alloc(g, 512 << 10);
	struct nvme_sqe sqe = guest_rw(g, NVME_IO_READ, 0, 1024, data);
	struct nvme_cqe cqe;
	uint16_t large, small;

	(void)state;
	for (unsigned i = 0; i < 15; i++)
		guest_put(g, &g->io[1], &sqe);
	sqe = guest_rw(g, NVME_IO_COMPARE, 0, 1024, data);
	large = guest_put(g, &g->io[1], &sqe);
	sqe = guest_rw(g, NVME_IO_READ, 0, 8, data);
	sqe.nsid = 2;
	small = guest_put(g, &g->io[1], &sqe);
	guest_ring(g, &g->io[1]);
	guest_settle(g);
	assert_false(guest_take(g, &g->io[1], &cqe));
	sqe = (struct nvme_sqe){
		.opcode = NVME_ADM_ABORT, .cdw10 = (uint32_t)large << 16 | 1,
	};
	assert_int_equal(guest_admin(g, sqe), 0);
	assert_int_equal(g->result & 1, 0);
	cqe = guest_wait(g, &g->io[1]);
	assert_int_equal(cqe.cid, large);
	cqe = guest_wait(g, &g->io[1]);
	assert_int_equal(cqe.cid, small);
	assert_int_equal(cqe.status >> 1, 0);
	guest_disable(g);
	guest_end(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_large_register_read),
		cmocka_unit_test(test_R8_turn_is_bounded_in_bytes),
		cmocka_unit_test(test_R18_abort_of_the_first_that_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
