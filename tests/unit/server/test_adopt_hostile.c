// SPDX-License-Identifier: BSD-3-Clause
/* What a successor finds is damaged: refused or served, never a crash. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "life.h"
#include "state/state_mem.h"

#define MSIX 2u
#define EVENTFD_TRIGGER 0x24u

/* The n-th byte that is not zero, if there are so many: zeros are many, and
 * seldom looked at. */
static size_t telling(const uint8_t *good, size_t size, size_t n)
{
	size_t at, count = 0;

	for (at = 0; at < size; at++)
		count += good[at] != 0;
	if (!count)
		return n % size;
	n %= count;
	for (at = 0; n || !good[at]; at++)
		n -= good[at] != 0;
	return at;
}

/* One bit of one section's begin, or of what it says; the schema has tests of
 * its own. */
static void flip_one(uint8_t *bytes, const uint8_t *good)
{
	static const enum ob_section sections[] = {
		OB_SECTION_CORE, OB_SECTION_PLAIN, OB_SECTION_HOT,
		OB_SECTION_DMA, OB_SECTION_SESSION, OB_SECTION_SESSION,
	};
	const struct ob_state_header *hdr = (const void *)good;
	const struct ob_state_extent *ext =
		&hdr->sections[sections[(unsigned)rand() % 6]];
	size_t at = (size_t)rand();

	at = rand() % 4 ? telling(good + ext->offset, ext->size, at) :
	     at % (ext->size < 512 ? ext->size : 512);
	bytes[ext->offset + at] ^= (uint8_t)(1u << rand() % 8);
}

static void flip(uint8_t *bytes, const uint8_t *good)
{
	for (unsigned n = 1 + (unsigned)rand() % 3; n; n--)
		flip_one(bytes, good);
}

static void put_state(struct life *life, const uint8_t *good, size_t size)
{
	int fd = memfd_create("state", MFD_CLOEXEC);
	uint8_t *bytes;

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(bytes != MAP_FAILED);
	memcpy(bytes, good, size);
	flip(bytes, good);
	munmap(bytes, size);
	assert_int_equal(life->keep.keep.put(&life->keep.keep, "dev/state", fd),
			 0);
	close(fd);
}

/* State of a dead process with bits flipped: refused or served, no crash. */
static void test_hostile_state(void **unused)
{
	struct life *life = life_start(&life_class);
	int fd = memfd_create("guest", MFD_CLOEXEC), state;
	int efd = eventfd(0, EFD_CLOEXEC);
	uint8_t *good;
	size_t size;

	(void)unused;
	srand(7);
	assert_int_equal(ftruncate(fd, 0x1000), 0);
	life_begin(life);
	assert_int_equal(rig_version(&life->rig, NULL), 0);
	assert_int_equal(rig_map(&life->rig, 0x10000, 0x1000, 0, 3, fd), 0);
	assert_int_equal(rig_set_irqs(&life->rig, EVENTFD_TRIGGER, MSIX, 1, 1,
				      &efd, 1), 0);
	life_kill(life);
	state = life->keep.keep.get(&life->keep.keep, "dev/state");
	assert_true(state >= 0);
	size = (size_t)lseek(state, 0, SEEK_END);
	good = malloc(size);
	assert_non_null(good);
	assert_int_equal(pread(state, good, size, 0), size);
	close(state);
	for (unsigned i = 0; i < 40; i++) {
		put_state(life, good, size);
		life_begin(life);
		life_judge(life);
	}
	free(good);
	close(fd);
	close(efd);
	life_end(life);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_state),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
