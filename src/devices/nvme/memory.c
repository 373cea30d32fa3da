// SPDX-License-Identifier: BSD-3-Clause
/*
 * Memory for what is there for every slot and every queue, of which an idle
 * device uses nothing.  The allocator would not do: what it hands out may have
 * been used before, and is then cleared, every page of it.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/nvme/nvme.h"

void *nvme_memory_get(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

void nvme_memory_put(void *at, size_t size)
{
	if (at)
		munmap(at, size);
}

void *nvme_lines_get(size_t line, size_t size)
{
	void *at = aligned_alloc(line, size);

	if (at)
		memset(at, 0, size);
	return at;
}
