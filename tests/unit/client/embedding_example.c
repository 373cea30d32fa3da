// SPDX-License-Identifier: BSD-3-Clause
/* Word for word in docs/embedding.md; test_embedding.c includes and runs it. */

#include <string.h>

#include <outboard/migrate.h>

struct vm {
	uint8_t *memory_here, *memory_there;	/* mapped from the memfds */
	struct ob_client_range ram;
	void (*pause)(struct vm *vm);
	void (*resume)(struct vm *vm, bool there);
	void (*get_dirty)(struct vm *vm, uint64_t *bitmap);
};

static int get_dirty(void *arg, unsigned range, uint64_t *bitmap,
		     struct ob_err *err)
{
	struct vm *vm = arg;

	vm->get_dirty(vm, bitmap);	/* ORs, and clears its own log */
	return 0;
}

static int copy_pages(void *arg, const struct ob_migrate_pages *pages,
		      struct ob_err *err)
{
	struct vm *vm = arg;
	uint64_t at = pages->iova - vm->ram.iova;

	for (uint64_t i = 0; i * pages->page < pages->length; i++)
		if (pages->bitmap[i / 64] >> i % 64 & 1)
			memcpy(vm->memory_there + at + i * pages->page,
			       vm->memory_here + at + i * pages->page,
			       pages->page);
	return 0;
}

static int stop_guest(void *arg, struct ob_err *err)
{
	struct vm *vm = arg;

	vm->pause(vm);
	return 0;
}

static int start_guest(void *arg, struct ob_err *err)
{
	struct vm *vm = arg;

	vm->resume(vm, true);
	return 0;
}

static void continue_guest(void *arg)
{
	struct vm *vm = arg;

	vm->resume(vm, false);
}

static const struct ob_migrate_ops ops = {
	.ram_dirty = get_dirty, .ram_copy = copy_pages,
	.stop_guest = stop_guest, .start_guest = start_guest,
	.continue_guest = continue_guest,
};

/* The CPUs' dirty log is on; both devices have their memory mapped. */
int move_vm(struct vm *vm, struct ob_client *here, struct ob_client *there,
	    struct ob_err *err)
{
	struct ob_migrate_params params = {
		.ops = &ops, .arg = vm, .precopy = true,
		.ram = &vm->ram, .nr_ram = 1, .downtime_ms = 50,
	};

	return ob_migrate(&here, &there, 1, &params, NULL, err);
}
