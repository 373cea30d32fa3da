// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest_ram.h"

#define GARBAGE 0xa5

static int map_side(struct guest_ram *ram, unsigned side, struct ob_err *err)
{
	void *p = mmap(NULL, ram->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       ram->fds[side], 0);

	if (p == MAP_FAILED)
		return ob_fail(err, errno, "mmap: %s", strerror(errno));
	ram->sides[side] = p;
	return 0;
}

int guest_ram_init(struct guest_ram *ram, void *here, uint64_t addr, size_t size, int fd,
	     struct ob_err *err)
{
	int r;

	*ram = (struct guest_ram){
		.here = here, .addr = addr, .size = size,
		.pages = size / RAM_PAGE, .fds = { dup(fd), -1 },
	};
	ram->fds[1] = memfd_create("torture-other-side", MFD_CLOEXEC);
	ram->dirty = calloc((ram->pages + 63) / 64, sizeof(*ram->dirty));
	if (!ram->dirty)
		return ob_fail(err, ENOMEM, "out of memory");
	if (ram->fds[0] < 0 || ram->fds[1] < 0 ||
	    ftruncate(ram->fds[1], (off_t)size))
		return ob_fail(err, errno, "memfd: %s", strerror(errno));
	r = map_side(ram, 0, err);
	return r ? r : map_side(ram, 1, err);
}

void guest_ram_finish(struct guest_ram *ram)
{
	for (unsigned i = 0; i < 2; i++) {
		if (ram->sides[i])
			munmap(ram->sides[i], ram->size);
		if (ram->fds[i] >= 0)
			close(ram->fds[i]);
	}
	free(ram->dirty);
}

void guest_ram_wrote(struct guest_ram *ram, const void *at, size_t len)
{
	size_t first = (size_t)((const uint8_t *)at - ram->here);

	for (size_t p = first / RAM_PAGE; p <= (first + len - 1) / RAM_PAGE; p++)
		ram->dirty[p / 64] |= 1ull << p % 64;
}

void guest_ram_begin(struct guest_ram *ram)
{
	memset(ram->sides[!ram->side], GARBAGE, ram->size);
	guest_ram_wrote(ram, ram->here, ram->size);
}

int guest_ram_collect(struct guest_ram *ram, struct ob_client *client, struct ob_err *err)
{
	return ob_client_log_report(client, ram->addr, ram->size, RAM_PAGE,
				    ram->dirty, err);
}

size_t guest_ram_copy(struct guest_ram *ram)
{
	size_t copied = 0;

	for (size_t p = 0; p < ram->pages; p++) {
		if (!(ram->dirty[p / 64] >> p % 64 & 1))
			continue;
		ram->dirty[p / 64] &= ~(1ull << p % 64);
		memcpy(ram->sides[!ram->side] + p * RAM_PAGE,
		       ram->sides[ram->side] + p * RAM_PAGE, RAM_PAGE);
		copied++;
	}
	return copied;
}

int guest_ram_switch(struct guest_ram *ram, struct ob_err *err)
{
	unsigned to = !ram->side;
	void *p = mmap(ram->here, ram->size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_FIXED, ram->fds[to], 0);

	if (p == MAP_FAILED)
		return ob_fail(err, errno, "mmap: %s", strerror(errno));
	ram->side = to;
	return 0;
}

struct ob_client_dma guest_ram_map(const struct guest_ram *ram, unsigned side)
{
	return (struct ob_client_dma){
		.addr = ram->addr, .size = ram->size, .readable = true,
		.writable = true, .fd = ram->fds[side],
	};
}
