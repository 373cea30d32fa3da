// SPDX-License-Identifier: BSD-3-Clause
/* Drives by name; the checks that all have in common; mem and null. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <outboard/block_backend.h>

#include "rig.h"

static void bad_specs_are_refused_by_name(void **state)
{
	static const struct {
		const char *spec;
		int errnum;
		const char *message;
	} bad[] = {
		{ "", EINVAL, "a drive must be named: TYPE:ARGUMENT or a path" },
		{ "tape:/dev/st0", EINVAL,
		  "no drive type \"tape\" (known: file, mem, null, delay, fault); "
		  "a path with a colon is written file:PATH" },
		{ "mem", EINVAL, "mem needs an argument: mem:SIZE" },
		{ "delay", EINVAL,
		  "delay needs an argument: delay:MICROSECONDS|hang:DRIVE" },
		{ "mem:0", EINVAL, "mem:0: the size is 0" },
		{ "null:0", EINVAL, "null:0: the size is 0" },
		{ "null:1000", EINVAL,
		  "null:1000: the size, 1000 bytes, is no multiple of 512" },
		{ "/nonexistent/disk", ENOENT,
		  "file:/nonexistent/disk: No such file or directory" },
		{ "file:/nonexistent/disk", ENOENT,
		  "file:/nonexistent/disk: No such file or directory" },
		{ "file:/tmp", EINVAL,
		  "file:/tmp: it is a directory; "
		  "a drive is a file, a block device or an NVMe namespace" },
		{ "file:/dev/null", EINVAL,
		  "file:/dev/null: it is a character device; "
		  "a drive is a file, a block device or an NVMe namespace" },
		{ "delay:5", EINVAL,
		  "delay:5: no inner drive; the form is delay:MICROSECONDS|hang:DRIVE" },
		{ "delay:-5:mem:1M", EINVAL,
		  "delay:-5:mem:1M: bad delay \"-5\": "
		  "expected 0 to 3600000000 microseconds, or hang" },
		{ "delay::mem:1M", EINVAL,
		  "delay::mem:1M: bad delay \"\": "
		  "expected 0 to 3600000000 microseconds, or hang" },
		{ "delay:3600000001:mem:1M", EINVAL,
		  "delay:3600000001:mem:1M: bad delay \"3600000001\": "
		  "expected 0 to 3600000000 microseconds, or hang" },
		{ "delay:1:fault:all=EIO:null:7", EINVAL,
		  "null:7: the size, 7 bytes, is no multiple of 512" },
	};
	struct rig rig;

	rig_start(&rig, state);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(rig_open_fails(&rig, bad[i].spec, false,
						   bad[i].errnum),
				    bad[i].message);
	rig_stop(&rig);
}

static void sizes_beyond_reason_are_refused(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	assert_non_null(strstr(rig_open_fails(&rig, "null:9223372036854775808",
					      false, ERANGE),
			       "null:9223372036854775808: "));
	assert_non_null(strstr(rig_open_fails(&rig, "mem:12cakes", false,
					      EINVAL), "mem:12cakes: "));
	rig_stop(&rig);
}

/*
 * The path is the operator's, links included; what it leads to must still be
 * something that has blocks, and opening must not wait (the FIFO).
 */
static void test_r36_only_images_are_opened(void **state)
{
	static const struct {
		const char *target, *complaint;
	} links[] = {
		{ "/", "it is a directory" },
		{ "/dev/zero", "it is a character device" },
		{ "/proc/self/mem", "the image is empty" },
	};
	char path[64];
	struct rig rig;

	rig_start(&rig, state);
	snprintf(path, sizeof(path), "/tmp/outboard-test-%d", getpid());
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_non_null(strstr(rig_open_fails(&rig, path, true, EINVAL),
			       "it is a FIFO"));
	unlink(path);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		assert_int_equal(symlink(links[i].target, path), 0);
		assert_non_null(strstr(rig_open_fails(&rig, path, true,
						      EINVAL),
				       links[i].complaint));
		unlink(path);
	}
	rig_make_image(&rig, "/tmp", MIB);
	assert_int_equal(symlink(rig.path, path), 0);
	rig_open(&rig, path, false);
	unlink(path);
	rig_stop(&rig);
}

static void long_names_leave_room_for_the_reason(void **state)
{
	char spec[700] = "file:/";
	struct rig rig;
	const char *msg;

	rig_start(&rig, state);
	for (int i = 0; i < 3; i++) {
		memset(spec + strlen(spec), 'a' + i, 200);
		strcat(spec, "/");
	}
	strcat(spec, "disk.raw");
	msg = rig_open_fails(&rig, spec, false, ENOENT);
	assert_non_null(strstr(msg, "disk.raw: No such file or directory"));
	rig_stop(&rig);
}

static void every_type_describes_itself(void **state)
{
	(void)state;
	for (size_t i = 0; ob_drive_types[i]; i++) {
		const struct ob_drive_type *type = ob_drive_types[i];

		assert_int_equal(type->size, sizeof(*type));
		assert_int_equal(type->abi, OB_DRIVE_ABI);
		assert_true(type->instance_size >= sizeof(struct ob_drive));
		assert_int_equal(strncmp(type->syntax, type->name,
					 strlen(type->name)), 0);
		assert_true(strlen(type->summary) > 0);
		assert_non_null(type->open);
		assert_non_null(type->close);
		assert_non_null(type->submit);
	}
}

/* The same for every drive, so here on two of them. */
static void ranges_are_checked_on(struct rig *rig, const char *spec)
{
	uint8_t buf[1024];

	rig_open(rig, spec, false);
	assert_int_equal(ob_drive_info(rig->drive)->size, MIB);
	assert_int_equal(io_read(rig, MIB - 512, 512, buf), 0);
	assert_int_equal(io_read(rig, MIB - 512, 1024, buf), -EINVAL);
	assert_int_equal(io_read(rig, MIB, 512, buf), -EINVAL);
	assert_int_equal(io_write(rig, UINT64_MAX - 511, 512, buf), -EINVAL);
	assert_int_equal(io_write(rig, 512, UINT64_MAX - 511, buf), -EINVAL);
	assert_int_equal(io_run(rig, OB_BLOCK_DISCARD, 0, 512, MIB, NULL),
			 -EINVAL);
	assert_int_equal(io_run(rig, OB_BLOCK_WRITE_ZEROES, 0, MIB, 1, NULL),
			 -EINVAL);
	assert_int_equal(io_read(rig, MIB, 0, NULL), 0);
	assert_int_equal(io_run(rig, (enum ob_block_op)99, 0, 0, 512, buf),
			 -EOPNOTSUPP);
	rig_close(rig);
}

static void requests_beyond_the_end_are_refused(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	ranges_are_checked_on(&rig, "mem:1M");
	ranges_are_checked_on(&rig, "null:1M");
	rig_stop(&rig);
}

static void read_only_drives_refuse_changes(void **state)
{
	uint8_t buf[512];
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "mem:1M", true);
	assert_true(ob_drive_info(rig.drive)->readonly);
	assert_int_equal(io_write(&rig, 0, 512, buf), -EROFS);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, 4096, NULL),
			 -EROFS);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 0, 512, NULL),
			 -EROFS);
	assert_int_equal(io_read(&rig, 0, 512, buf), 0);
	assert_int_equal(io_flush(&rig), 0);
	rig_stop(&rig);
}

static void null_reads_as_zeros(void **state)
{
	uint8_t buf[4096];
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "null:8388607T", true);
	rig_stop(&rig);

	rig_start(&rig, state);
	rig_open(&rig, "null:1T", false);
	assert_null(ob_drive_info(rig.drive)->memory);
	memset(buf, 1, sizeof(buf));
	assert_int_equal(io_write(&rig, 4096, sizeof(buf), buf), 0);
	assert_int_equal(io_read(&rig, 4096, sizeof(buf), buf), 0);
	assert_true(all_bytes_are(buf, 0, sizeof(buf)));
	rig_stop(&rig);
}

static void mem_is_the_same_by_request_and_in_place(void **state)
{
	uint8_t out[4096], in[4096], *memory;
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "mem:1M", false);
	memory = ob_drive_info(rig.drive)->memory;
	assert_non_null(memory);
	assert_true(all_bytes_are(memory, 0, MIB));
	rnd_fill(out, sizeof(out));
	assert_int_equal(io_write(&rig, 1536, sizeof(out), out), 0);
	assert_memory_equal(memory + 1536, out, sizeof(out));
	memory[1536] ^= 1;
	out[0] ^= 1;
	assert_int_equal(io_read(&rig, 1536, sizeof(in), in), 0);
	assert_memory_equal(in, out, sizeof(in));
	rig_stop(&rig);
}

static void mem_zeroes_exactly_what_it_is_told(void **state)
{
	struct rig rig;
	uint8_t *memory;

	rig_start(&rig, state);
	rig_open(&rig, "mem:1M", false);
	memory = ob_drive_info(rig.drive)->memory;
	memset(memory, 7, MIB);
	assert_int_equal(io_run(&rig, OB_BLOCK_WRITE_ZEROES, 0, 512, 20480,
				NULL), 0);
	assert_true(all_bytes_are(memory, 7, 512));
	assert_true(all_bytes_are(memory + 512, 0, 20480));
	assert_true(all_bytes_are(memory + 20992, 7, MIB - 20992));
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 65536, 65536,
				NULL), 0);
	assert_true(all_bytes_are(memory + 65536, 0, 65536));
	assert_true(all_bytes_are(memory + 131072, 7, MIB - 131072));
	rig_stop(&rig);
}

/* The VmFlags line of the mapping that starts at addr. */
static bool mapping_has_flag(const void *addr, const char *flag)
{
	char start[32], line[512];
	bool inside = false;
	FILE *smaps = fopen("/proc/self/smaps", "r");

	assert_non_null(smaps);
	snprintf(start, sizeof(start), "%lx-", (unsigned long)addr);
	while (fgets(line, sizeof(line), smaps)) {
		if (!strncmp(line, start, strlen(start)))
			inside = true;
		else if (inside && !strncmp(line, "VmFlags:", 8))
			break;
	}
	fclose(smaps);
	assert_true(inside);
	return strstr(line, flag);
}

static void test_r32_memory_stays_out_of_core_dumps(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "mem:1M", false);
	assert_true(mapping_has_flag(ob_drive_info(rig.drive)->memory,
				     " dd"));
	rig_stop(&rig);
}

/* A chain of requests, each submitted by the one before, must not recurse. */
struct chain {
	struct rig *rig;
	unsigned left, depth, deepest;
	struct ob_block_request *req;
};

static struct chain chain;

static void chain_done(struct ob_block_request *req, int rc)
{
	assert_int_equal(rc, 0);
	chain.depth++;
	if (chain.depth > chain.deepest)
		chain.deepest = chain.depth;
	if (--chain.left)
		ob_drive_submit(chain.rig->drive, req);
	chain.depth--;
}

static void completions_never_nest(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "null:1M", false);
	chain = (struct chain){ .rig = &rig, .left = 100000 };
	chain.req = calloc(1, ob_drive_request_size(rig.drive));
	chain.req->op = OB_BLOCK_FLUSH;
	chain.req->done = chain_done;
	ob_drive_submit(rig.drive, chain.req);
	while (chain.left)
		ob_loop_turn(rig.loop, true);
	assert_int_equal(chain.deepest, 1);
	free(chain.req);
	rig_stop(&rig);
}

static void close_from_done(struct ob_block_request *req, int rc)
{
	(void)req;
	assert_int_equal(rc, 0);
	rig_close(chain.rig);
	chain.left = 0;
}

static void the_last_done_may_close_the_drive(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "delay:0:null:1M", false);
	chain = (struct chain){ .rig = &rig, .left = 1 };
	chain.req = calloc(1, ob_drive_request_size(rig.drive));
	chain.req->op = OB_BLOCK_FLUSH;
	chain.req->done = close_from_done;
	ob_drive_submit(rig.drive, chain.req);
	while (chain.left)
		ob_loop_turn(rig.loop, true);
	free(chain.req);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(bad_specs_are_refused_by_name),
		ON_BOTH_ENGINES(sizes_beyond_reason_are_refused),
		ON_BOTH_ENGINES(test_r36_only_images_are_opened),
		ON_BOTH_ENGINES(long_names_leave_room_for_the_reason),
		cmocka_unit_test(every_type_describes_itself),
		ON_BOTH_ENGINES(requests_beyond_the_end_are_refused),
		ON_BOTH_ENGINES(read_only_drives_refuse_changes),
		ON_BOTH_ENGINES(null_reads_as_zeros),
		ON_BOTH_ENGINES(mem_is_the_same_by_request_and_in_place),
		ON_BOTH_ENGINES(mem_zeroes_exactly_what_it_is_told),
		ON_BOTH_ENGINES(test_r32_memory_stays_out_of_core_dumps),
		ON_BOTH_ENGINES(completions_never_nest),
		ON_BOTH_ENGINES(the_last_done_may_close_the_drive),
	};

	return cmocka_run_group_tests_name("block front", tests, NULL, NULL);
}
