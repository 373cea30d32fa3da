// SPDX-License-Identifier: BSD-3-Clause
/* Content that travels, on the receiving side. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "block/mem.h"
#include "rig.h"

#define PAGE 4096ull

/* The linker's --wrap puts this before the drive's mmap. */
static struct {
	unsigned fail;		/* so many calls from now on */
	bool unmap;		/* as a kernel that gives up half way */
} mmap_seam;

void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd,
		    off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd,
		    off_t offset);

void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd,
		    off_t offset)
{
	if (!mmap_seam.fail)
		return __real_mmap64(addr, len, prot, flags, fd, offset);
	mmap_seam.fail--;
	if (mmap_seam.unmap)
		munmap(addr, len);
	errno = ENOMEM;
	return MAP_FAILED;
}

static uint8_t *bytes_of(struct rig *rig)
{
	return ob_drive_bottom(rig->drive)->info.memory;
}

/* A drive of ones. */
static void start(struct rig *rig, void **state, const char *spec)
{
	rig_start(rig, state);
	rig_open(rig, spec, false);
	memset(bytes_of(rig), 1, ob_drive_info(rig->drive)->size);
}

static void put(struct rig *rig, uint64_t offset, uint8_t value,
		uint64_t length)
{
	uint8_t *data = malloc(length);

	memset(data, value, length);
	assert_int_equal(ob_drive_stage_put(rig->drive, offset, data, length),
			 0);
	free(data);
}

static void fresh_content_takes_the_place_of_the_old(void **state)
{
	uint8_t *memory, buf[PAGE];
	struct rig rig;

	start(&rig, state, "mem:1M");
	memory = bytes_of(&rig);
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 100, 2, 3 * PAGE);
	put(&rig, MIB - 1, 3, 1);
	assert_true(all_bytes_are(memory, 1, MIB));
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);

	assert_ptr_equal(bytes_of(&rig), memory);
	assert_true(all_bytes_are(memory, 0, 100));
	assert_true(all_bytes_are(memory + 100, 2, 3 * PAGE));
	assert_true(all_bytes_are(memory + 100 + 3 * PAGE, 0,
				  MIB - 101 - 3 * PAGE));
	assert_int_equal(memory[MIB - 1], 3);
	/* Requests and the mapping mean the same bytes still. */
	assert_int_equal(io_read(&rig, 0, PAGE, buf), 0);
	assert_memory_equal(buf, memory, PAGE);
	assert_int_equal(io_run(&rig, OB_BLOCK_DISCARD, 0, 0, MIB, NULL), 0);
	assert_true(all_bytes_are(memory, 0, MIB));
	rig_stop(&rig);
}

static void zeros_can_be_put_over_data(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:1M");
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 2, MIB);
	assert_int_equal(ob_drive_stage_put(rig.drive, 5, NULL, MIB - 10), 0);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	assert_true(all_bytes_are(bytes_of(&rig), 2, 5));
	assert_true(all_bytes_are(bytes_of(&rig) + 5, 0, MIB - 10));
	assert_true(all_bytes_are(bytes_of(&rig) + MIB - 5, 2, 5));
	rig_stop(&rig);
}

static void a_stage_that_is_dropped_changes_nothing(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:1M");
	ob_drive_stage_abort(rig.drive);
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 2, MIB);
	ob_drive_stage_abort(rig.drive);
	assert_true(all_bytes_are(bytes_of(&rig), 1, MIB));
	assert_int_equal(ob_drive_stage_put(rig.drive, 0, NULL, 1), -EINVAL);
	assert_int_equal(ob_drive_stage_commit(rig.drive), -EINVAL);

	/* A second beginning drops the first. */
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 2, MIB);
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 3, 1);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	assert_int_equal(bytes_of(&rig)[0], 3);
	assert_true(all_bytes_are(bytes_of(&rig) + 1, 0, MIB - 1));

	/* A drive may be closed with one. */
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	rig_stop(&rig);
}

static void what_does_not_fit_is_refused(void **state)
{
	uint8_t byte = 2;
	struct rig rig;

	start(&rig, state, "mem:1M");
	assert_int_equal(ob_drive_stage_put(rig.drive, 0, &byte, 1), -EINVAL);
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	assert_int_equal(ob_drive_stage_put(rig.drive, MIB, &byte, 1),
			 -EINVAL);
	assert_int_equal(ob_drive_stage_put(rig.drive, MIB, NULL, 1), -EINVAL);
	assert_int_equal(ob_drive_stage_put(rig.drive, 1, NULL, MIB), -EINVAL);
	assert_int_equal(ob_drive_stage_put(rig.drive, UINT64_MAX, &byte, 2),
			 -EINVAL);
	assert_int_equal(ob_drive_stage_put(rig.drive, 2, &byte, UINT64_MAX),
			 -EINVAL);
	assert_int_equal(ob_drive_stage_put(rig.drive, MIB, &byte, 0), 0);
	assert_int_equal(ob_drive_stage_put(rig.drive, MIB - 1, &byte, 1), 0);
	rig_stop(&rig);
}

static void a_commit_that_fails_leaves_the_old_content(void **state)
{
	struct rig rig;

	for (int unmap = 0; unmap < 2; unmap++) {
		start(&rig, state, "mem:1M");
		assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
		put(&rig, 0, 2, MIB);
		mmap_seam.fail = 1;
		mmap_seam.unmap = unmap;
		assert_int_equal(ob_drive_stage_commit(rig.drive), -ENOMEM);
		assert_int_equal(mmap_seam.fail, 0);
		assert_true(all_bytes_are(bytes_of(&rig), 1, MIB));
		/* The fresh one is there, too, for another try. */
		assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
		assert_true(all_bytes_are(bytes_of(&rig), 2, MIB));
		rig_stop(&rig);
	}
}

static void a_commit_waits_for_requests(void **state)
{
	uint8_t buf[512] = { 0 };
	struct rig rig;
	struct io io;

	start(&rig, state, "delay:2000:mem:1M");
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 2, MIB);
	io_start(&rig, &io, OB_BLOCK_WRITE, 0, 0, 512, buf);
	assert_int_equal(ob_drive_stage_commit(rig.drive), -EBUSY);
	assert_int_equal(io_wait(&rig, &io), 0);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	assert_true(all_bytes_are(bytes_of(&rig), 2, MIB));
	rig_stop(&rig);
}

/* A device that was received may be sent on. */
static void what_was_received_is_sent_as_a_whole(void **state)
{
	struct ob_drive_run run;
	struct rig rig;

	start(&rig, state, "mem:1M");
	assert_int_equal(ob_drive_track(rig.drive, true), 0);
	while (ob_drive_take(rig.drive, MIB, &run))
		;
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 8 * PAGE, 2, PAGE);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	assert_true(ob_drive_take(rig.drive, MIB, &run));
	assert_int_equal(run.offset, 8 * PAGE);
	assert_int_equal(run.length, PAGE);
	assert_false(ob_drive_take(rig.drive, MIB, &run));
	rig_stop(&rig);
}

/* It is not the device's yet: nobody may touch it. */
static void an_inactive_drive_receives(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	assert_int_equal(ob_drive_open(rig.loop, "fault:read=EIO:mem:1M",
				       OB_DRIVE_INCOMING, &rig.drive, NULL),
			 0);
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 2, MIB);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	assert_false(ob_drive_is_active(rig.drive));
	assert_true(all_bytes_are(bytes_of(&rig), 2, MIB));
	rig_stop(&rig);
}

static void a_large_sparse_drive_takes_no_more_than_what_was_put(void **state)
{
	struct mem_drive *mem;
	struct stat st;
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "mem:64G", false);
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 60 * 1024 * MIB, 2, PAGE);
	assert_int_equal(ob_drive_stage_put(rig.drive, 0, NULL,
					    60 * 1024 * MIB), 0);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	mem = (struct mem_drive *)rig.drive;
	assert_int_equal(fstat(mem->fd, &st), 0);
	assert_int_equal(st.st_blocks * 512, PAGE);
	assert_int_equal(bytes_of(&rig)[60 * 1024 * MIB], 2);
	rig_stop(&rig);
}

/* The VmFlags of the mapping at that address have this one. */
static bool mapping_has_flag(const void *at, const char *flag)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	bool here = false, has = false;
	uintptr_t first, end;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first,
			   &end) == 2)
			here = first <= (uintptr_t)at && (uintptr_t)at < end;
		if (here && !strncmp(line, "VmFlags:", 8))
			has = strstr(line, flag);
	}
	fclose(smaps);
	return has;
}

static void test_r32_received_content_stays_out_of_core_dumps(void **state)
{
	struct rig rig;

	start(&rig, state, "mem:1M");
	assert_true(mapping_has_flag(bytes_of(&rig), " dd"));
	assert_int_equal(ob_drive_stage_begin(rig.drive), 0);
	put(&rig, 0, 2, MIB);
	assert_int_equal(ob_drive_stage_commit(rig.drive), 0);
	assert_true(mapping_has_flag(bytes_of(&rig), " dd"));
	rig_stop(&rig);
}

static void types_that_keep_their_blocks_elsewhere_receive_none(void **state)
{
	struct rig rig;

	rig_start(&rig, state);
	rig_open(&rig, "null:1M", false);
	assert_int_equal(ob_drive_stage_begin(rig.drive), -EOPNOTSUPP);
	assert_int_equal(ob_drive_stage_put(rig.drive, 0, NULL, 1), -EINVAL);
	assert_int_equal(ob_drive_stage_commit(rig.drive), -EINVAL);
	ob_drive_stage_abort(rig.drive);
	rig_stop(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH_ENGINES(fresh_content_takes_the_place_of_the_old),
		ON_BOTH_ENGINES(zeros_can_be_put_over_data),
		ON_BOTH_ENGINES(a_stage_that_is_dropped_changes_nothing),
		ON_BOTH_ENGINES(what_does_not_fit_is_refused),
		ON_BOTH_ENGINES(a_commit_that_fails_leaves_the_old_content),
		ON_BOTH_ENGINES(a_commit_waits_for_requests),
		ON_BOTH_ENGINES(what_was_received_is_sent_as_a_whole),
		ON_BOTH_ENGINES(an_inactive_drive_receives),
		ON_BOTH_ENGINES(a_large_sparse_drive_takes_no_more_than_what_was_put),
		ON_BOTH_ENGINES(test_r32_received_content_stays_out_of_core_dumps),
		ON_BOTH_ENGINES(types_that_keep_their_blocks_elsewhere_receive_none),
	};

	return cmocka_run_group_tests_name("content of drives, received", tests,
					   NULL, NULL);
}
