// SPDX-License-Identifier: BSD-3-Clause
/*
 * Watches: the table of slots, and the rule that makes readiness
 * level-triggered.  With the ring a slot is armed for one event; after its
 * callback it is armed again, and an fd that is still ready then reports at
 * once.  The new request travels with the next system call that the loop
 * makes anyway.  Watches with `edge` stay armed, which saves the kernel some
 * work on each event.
 */
#include <base/loop_private.h>

#include <errno.h>
#include <stdlib.h>

#define NO_SLOT		UINT32_MAX
#define INDEX_BITS	31	/* leaves the engine a bit of a u64 */

uint64_t ob_watch_key(const struct ob_loop *loop, uint32_t index)
{
	return (uint64_t)loop->slots[index].generation << INDEX_BITS | index;
}

/* watch->engine is the slot number plus one, so that NULL is "not added". */
static uint32_t slot_of(const struct ob_watch *watch)
{
	return (uint32_t)((uintptr_t)watch->engine - 1);
}

static int grow(struct ob_loop *loop)
{
	uint32_t count = loop->slot_count ? 2 * loop->slot_count : 16;
	struct watch_slot *slots;

	slots = realloc(loop->slots, count * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint32_t i = loop->slot_count; i < count; i++)
		slots[i] = (struct watch_slot){
			.next_free = i + 1 < count ? i + 1 : NO_SLOT,
		};
	loop->free_slot = loop->slot_count;
	loop->slots = slots;
	loop->slot_count = count;
	return 0;
}

static int arm(struct ob_loop *loop, uint32_t index)
{
	struct watch_slot *slot = &loop->slots[index];
	int r = loop->engine->watch_arm(loop, index);

	slot->armed = !r;
	loop->wanted -= slot->wanted;
	slot->wanted = r == -EAGAIN;
	loop->wanted += slot->wanted;
	return slot->wanted ? 0 : r;
}

static void disarm(struct ob_loop *loop, uint32_t index)
{
	struct watch_slot *slot = &loop->slots[index];

	if (slot->armed)
		loop->engine->watch_disarm(loop, index);
	loop->wanted -= slot->wanted;
	slot->armed = slot->wanted = false;
	slot->generation++;
}

static void release(struct ob_loop *loop, uint32_t index)
{
	loop->slots[index].watch = NULL;
	loop->slots[index].next_free = loop->free_slot;
	loop->free_slot = index;
}

int ob_watch_add(struct ob_loop *loop, struct ob_watch *watch)
{
	uint32_t index;
	int r;

	if (loop->free_slot == NO_SLOT && (r = grow(loop)))
		return r;
	index = loop->free_slot;
	loop->free_slot = loop->slots[index].next_free;
	loop->slots[index].watch = watch;
	watch->engine = (void *)((uintptr_t)index + 1);
	r = arm(loop, index);
	if (r) {
		watch->engine = NULL;
		release(loop, index);
	}
	return r;
}

int ob_watch_modify(struct ob_loop *loop, struct ob_watch *watch,
		    uint32_t events)
{
	uint32_t index = slot_of(watch);

	if (watch->events == events)
		return 0;
	watch->events = events;
	/* Inside its own callback: armed when that returns. */
	if (!loop->slots[index].armed)
		return 0;
	disarm(loop, index);
	return arm(loop, index);
}

void ob_watch_remove(struct ob_loop *loop, struct ob_watch *watch)
{
	uint32_t index = slot_of(watch);

	if (!watch->engine)
		return;
	disarm(loop, index);
	release(loop, index);
	watch->engine = NULL;
}

void ob_watch_dispatch(struct ob_loop *loop, uint64_t key, uint32_t events,
		       bool armed)
{
	uint32_t index = key & ((UINT32_C(1) << INDEX_BITS) - 1);
	struct watch_slot *slot = &loop->slots[index];

	if (!slot->watch || ob_watch_key(loop, index) != key)
		return;
	slot->armed = armed;
	slot->watch->ready(slot->watch, events);
	/* The callback may have moved the table. */
	slot = &loop->slots[index];
	if (slot->watch && ob_watch_key(loop, index) == key && !slot->armed)
		arm(loop, index);
}

void ob_watch_retry(struct ob_loop *loop)
{
	for (uint32_t i = 0; loop->wanted && i < loop->slot_count; i++)
		if (loop->slots[i].wanted)
			arm(loop, i);
}
