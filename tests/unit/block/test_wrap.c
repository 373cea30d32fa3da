// SPDX-License-Identifier: BSD-3-Clause
/* delay and fault, alone and one around the other. */
#include <errno.h>
#include <stdio.h>

#include "rig.h"

static void a_delay_holds_requests_that_long(void **state)
{
	uint8_t out[512], in[512] = { 0 };
	struct rig rig;
	uint64_t start;

	rig_start(&rig, state);
	rig_open(&rig, "delay:20000:mem:1M", false);
	rnd_fill(out, sizeof(out));
	start = ob_loop_now(rig.loop);
	assert_int_equal(io_write(&rig, 512, 512, out), 0);
	assert_true(ob_loop_now(rig.loop) - start >= 20 * 1000 * 1000);
	assert_int_equal(io_read(&rig, 512, 512, in), 0);
	assert_memory_equal(in, out, 512);
	rig_stop(&rig);
}

/* The inner drive must see a write only when its time has come. */
static void a_cancelled_delay_changes_nothing(void **state)
{
	uint8_t ones[512], in[512];
	struct rig rig;
	struct io io;

	rig_start(&rig, state);
	rig_open(&rig, "delay:3000000000:mem:1M", false);
	memset(ones, 1, sizeof(ones));
	io_start(&rig, &io, OB_BLOCK_WRITE, 0, 0, 512, ones);
	ob_drive_cancel(rig.drive, io.req);
	assert_false(io.done);
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	rig_close(&rig);

	rig_open(&rig, "delay:hang:mem:1M", false);
	io_start(&rig, &io, OB_BLOCK_READ, 0, 0, 512, in);
	for (int i = 0; i < 10; i++)
		ob_loop_turn(rig.loop, false);
	assert_false(io.done);
	ob_drive_cancel(rig.drive, io.req);
	ob_drive_cancel(rig.drive, io.req);	/* twice is harmless */
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	rig_stop(&rig);
}

static void a_cancel_reaches_the_innermost_drive(void **state)
{
	uint8_t in[512];
	struct rig rig;
	struct io io;

	rig_start(&rig, state);
	rig_open(&rig, "fault:write=EIO:delay:0:delay:hang:null:1M", false);
	io_start(&rig, &io, OB_BLOCK_READ, 0, 0, 512, in);
	for (int i = 0; i < 10; i++)
		ob_loop_turn(rig.loop, false);
	assert_false(io.done);
	ob_drive_cancel(rig.drive, io.req);
	assert_int_equal(io_wait(&rig, &io), -ECANCELED);
	rig_stop(&rig);
}

static void wrappers_hide_memory_and_keep_the_rest(void **state)
{
	const struct ob_drive_info *info;
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "delay:1:mem:3M", true);
	info = ob_drive_info(rig.drive);
	assert_null(info->memory);
	assert_int_equal(info->size, 3 * MIB);
	assert_true(info->readonly);
	assert_int_equal(info->discard_granularity, 4096);
	assert_string_equal(ob_drive_name(rig.drive), "delay:1:mem:3M");
	rig_close(&rig);
	rig_open(&rig, "null:3M", false);
	assert_true(ob_drive_info(rig.drive)->zeros);
	rig_close(&rig);
	rig_open(&rig, "fault:read=EIO:null:3M", false);
	assert_false(ob_drive_info(rig.drive)->zeros);
	rig_stop(&rig);
}

static void a_fault_hits_its_operation_only(void **state)
{
	uint8_t buf[512] = { 1 }, in[512];
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "fault:write=EIO+flush=ENOSPC:mem:1M", false);
	assert_int_equal(io_write(&rig, 0, 512, buf), -EIO);
	assert_int_equal(io_flush(&rig), -ENOSPC);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, 512, NULL),
			 0);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, 512, NULL), 0);
	assert_int_equal(io_read(&rig, 0, 512, in), 0);
	assert_true(all_bytes_are(in, 0, 512));	/* nothing got through */
	rig_close(&rig);

	rig_open(&rig, "fault:all=EOPNOTSUPP:mem:1M", false);
	for (int op = OB_BLOCK_READ; op <= OB_BLOCK_WRITE_ZEROES; op++)
		assert_int_equal(io_run(&rig, op, 0, 0,
					op == OB_BLOCK_FLUSH ? 0 : 512, in),
				 -EOPNOTSUPP);
	rig_stop(&rig);
}

static void a_fault_with_a_range_hits_what_touches_it(void **state)
{
	static const struct {
		uint64_t offset, length;
		int rc;
	} reads[] = {
		{ 0, 65536, 0 },
		{ 65536, 512, -EIO },
		{ 65024, 1024, -EIO },
		{ 0, 1048576, -EIO },
		{ 130560, 512, -EIO },
		{ 131072, 512, 0 },
	};
	uint8_t *buf = page_alloc(MIB);
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "fault:read=EIO@64K-128K:mem:1M", false);
	for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
		assert_int_equal(io_read(&rig, reads[i].offset,
					 reads[i].length, buf), reads[i].rc);
	rig_stop(&rig);
	free(buf);
}

static unsigned failures(struct rig *rig, const char *spec, unsigned of)
{
	unsigned failed = 0;
	uint8_t buf[512];

	rig_open(rig, spec, false);
	for (unsigned i = 0; i < of; i++)
		failed += io_read(rig, 0, 512, buf) == -EIO;
	rig_close(rig);
	return failed;
}

static void faults_come_as_often_as_told(void **state)
{
	struct rig rig;
	uint8_t buf[512];
	unsigned some;

	rig_start(&rig, state);
	rig_open(&rig, "fault:read=EIO/3:mem:1M", false);
	for (int i = 1; i <= 9; i++)
		assert_int_equal(io_read(&rig, 0, 512, buf), i % 3 ? 0 : -EIO);
	rig_close(&rig);

	some = failures(&rig, "fault:read=EIO%20:null:1M", 2000);
	assert_in_range(some, 300, 500);
	assert_int_equal(failures(&rig, "fault:read=EIO%20:null:1M", 2000),
			 some);
	assert_in_range(failures(&rig, "fault:read=EIO@0-1K/2%50:null:1M",
				 2000), 400, 600);
	assert_int_equal(failures(&rig, "fault:read=EIO@1K-2K:null:1M", 50),
			 0);
	rig_stop(&rig);
}

static void bad_rules_are_refused_by_name(void **state)
{
	static const struct {
		const char *rule, *complaint;
	} bad[] = {
		{ "", "bad rule \"\": expected OP=ERROR" },
		{ "read", "bad rule \"read\": expected OP=ERROR" },
		{ "write=EIO+", "bad rule \"\": expected OP=ERROR" },
		{ "write=EIO+trim=EIO", "bad rule \"trim=EIO\": "
		  "the operation is none of read, write, flush, discard, zeroes, all" },
		{ "read=ENOENT", "bad rule \"read=ENOENT\": "
		  "the error is none of EIO, ENOSPC, EROFS, EINVAL, EOPNOTSUPP, ECANCELED" },
		{ "read=", "bad rule \"read=\": the error is none of" },
		{ "read=EIO@1M", "bad rule \"read=EIO@1M\": a range is @START-END" },
		{ "read=EIO@2M-1M", "bad rule \"read=EIO@2M-1M\": a range is @START-END" },
		{ "read=EIO@1M-1M", "a range is @START-END" },
		{ "read=EIO@-1M", "a range is @START-END" },
		{ "read=EIO/0", "/N takes a number from 1" },
		{ "read=EIO/x", "/N takes a number from 1" },
		{ "read=EIO/", "/N takes a number from 1" },
		{ "read=EIO%101", "%P takes a number from 1 to 100" },
		{ "read=EIO%0", "%P takes a number from 1 to 100" },
		{ "read=EIO%5/2", "%P takes a number from 1 to 100" },
	};
	char spec[200];
	struct rig rig;

	rig_start(&rig, state);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *msg;

		snprintf(spec, sizeof(spec), "fault:%s:mem:1M", bad[i].rule);
		msg = rig_open_fails(&rig, spec, false, EINVAL);
		if (!strstr(msg, bad[i].complaint) || strncmp(msg, spec,
							       strlen(spec)))
			fail_msg("%s", msg);
	}
	rig_stop(&rig);
}

static void too_long_and_too_many_rules_are_refused(void **state)
{
	char spec[600] = "fault:";
	struct rig rig;

	rig_start(&rig, state);
	for (int i = 0; i < 17; i++)
		strcat(spec, i ? "+read=EIO" : "read=EIO");
	strcat(spec, ":mem:1M");
	assert_non_null(strstr(rig_open_fails(&rig, spec, false, EINVAL),
			       "too many terms"));
	strcpy(spec, "fault:");
	memset(spec + 6, 'r', 300);
	strcpy(spec + 306, ":mem:1M");
	assert_non_null(strstr(rig_open_fails(&rig, spec, false, EINVAL),
			       "too long"));
	rig_stop(&rig);
}

/* Every byte of the nested requests must fit where they are put. */
static void deep_nesting_keeps_data_intact(void **state)
{
	uint8_t out[4096], in[4096];
	char spec[400] = "";
	struct rig rig;

	rig_start(&rig, state);
	for (int i = 0; i < 8; i++)
		strcat(spec, i % 2 ? "delay:1:" : "fault:read=EIO/1000:");
	strcat(spec, "mem:1M");
	rig_open(&rig, spec, false);
	rnd_fill(out, sizeof(out));
	assert_int_equal(io_write(&rig, 8192, sizeof(out), out), 0);
	assert_int_equal(io_read(&rig, 8192, sizeof(in), in), 0);
	assert_memory_equal(in, out, sizeof(in));
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(a_delay_holds_requests_that_long),
		ON_BOTH_ENGINES(a_cancelled_delay_changes_nothing),
		ON_BOTH_ENGINES(a_cancel_reaches_the_innermost_drive),
		ON_BOTH_ENGINES(wrappers_hide_memory_and_keep_the_rest),
		ON_BOTH_ENGINES(a_fault_hits_its_operation_only),
		ON_BOTH_ENGINES(a_fault_with_a_range_hits_what_touches_it),
		ON_BOTH_ENGINES(faults_come_as_often_as_told),
		ON_BOTH_ENGINES(bad_rules_are_refused_by_name),
		ON_BOTH_ENGINES(too_long_and_too_many_rules_are_refused),
		ON_BOTH_ENGINES(deep_nesting_keeps_data_intact),
	};

	return cmocka_run_group_tests_name("block wrappers", tests, NULL,
					   NULL);
}
