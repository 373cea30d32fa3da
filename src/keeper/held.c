// SPDX-License-Identifier: BSD-3-Clause
/*
 * A hash with chains, by index, in mappings without reserve.  Entries that
 * were never used are untouched, so an almost empty table of 65536 costs a few
 * pages.  A second hash, by the text up to the first '/', has the entries of one
 * device together: there may be a thousand.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "keeper/held.h"

#define BUCKETS 16384u

static void *reserve(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static void release(void *at, size_t size)
{
	if (at != MAP_FAILED)
		munmap(at, size);
}

static size_t entries_size(const struct ob_held *held)
{
	return (held->room + 1) * sizeof(*held->entries);
}

int ob_held_init(struct ob_held *held, uint32_t room)
{
	*held = (struct ob_held){ .room = room < OB_HELD_MAX ? room :
				  OB_HELD_MAX };
	held->entries = reserve(entries_size(held));
	if (held->entries == MAP_FAILED)
		return -ENOMEM;
	held->buckets = reserve(BUCKETS * sizeof(*held->buckets));
	held->folders = reserve(BUCKETS * sizeof(*held->folders));
	if (held->buckets != MAP_FAILED && held->folders != MAP_FAILED)
		return 0;
	release(held->folders, BUCKETS * sizeof(*held->folders));
	release(held->buckets, BUCKETS * sizeof(*held->buckets));
	release(held->entries, entries_size(held));
	return -ENOMEM;
}

void ob_held_finish(struct ob_held *held)
{
	if (!held->entries)
		return;
	for (uint32_t i = held->all.first; i;
	     i = held->entries[i].place[OB_HELD_ALL].after)
		ob_fd_close(&held->entries[i].fd);
	release(held->folders, BUCKETS * sizeof(*held->folders));
	release(held->buckets, BUCKETS * sizeof(*held->buckets));
	release(held->entries, entries_size(held));
	*held = (struct ob_held){ 0 };
}

/* FNV-1a, up to that character or the end. */
static uint32_t hash_of(const char *name, char end)
{
	uint32_t hash = 2166136261u;

	while (*name && *name != end)
		hash = (hash ^ (uint8_t)*name++) * 16777619u;
	return hash % BUCKETS;
}

static uint32_t *bucket(const struct ob_held *held, const char *name)
{
	return &held->buckets[hash_of(name, '\0')];
}

static struct ob_held_list *folder(const struct ob_held *held, const char *name)
{
	return &held->folders[hash_of(name, '/')];
}

struct ob_held_entry *ob_held_find(struct ob_held *held, const char *name)
{
	uint32_t i = *bucket(held, name);

	while (i && strcmp(held->entries[i].name, name))
		i = held->entries[i].chain;
	return i ? &held->entries[i] : NULL;
}

static uint32_t take_free(struct ob_held *held)
{
	uint32_t i = held->free;

	if (i)
		held->free = held->entries[i].chain;
	else if (held->used < held->room)
		i = ++held->used;
	return i;
}

static void append(struct ob_held_entry *all, struct ob_held_list *list,
		   enum ob_held_order order, uint32_t i)
{
	all[i].place[order].before = list->last;
	if (list->last)
		all[list->last].place[order].after = i;
	else
		list->first = i;
	list->last = i;
}

int ob_held_put(struct ob_held *held, const char *name, int fd)
{
	struct ob_held_entry *entry = ob_held_find(held, name);
	uint32_t *head, i;

	if (entry) {
		ob_fd_close(&entry->fd);
		entry->fd = fd;
		return 0;
	}
	i = take_free(held);
	if (!i)
		return -ENFILE;
	entry = &held->entries[i];
	head = bucket(held, name);
	*entry = (struct ob_held_entry){ .fd = fd, .chain = *head };
	memcpy(entry->name, name, strnlen(name, OB_KEEPER_NAME - 1));
	*head = i;
	append(held->entries, &held->all, OB_HELD_ALL, i);
	append(held->entries, folder(held, name), OB_HELD_FOLDER, i);
	held->count++;
	return 0;
}

static void leave(struct ob_held_entry *all, struct ob_held_list *list,
		  enum ob_held_order order, uint32_t i)
{
	uint32_t before = all[i].place[order].before;
	uint32_t after = all[i].place[order].after;

	if (before)
		all[before].place[order].after = after;
	else
		list->first = after;
	if (after)
		all[after].place[order].before = before;
	else
		list->last = before;
}

void ob_held_remove(struct ob_held *held, struct ob_held_entry *entry)
{
	uint32_t i = (uint32_t)(entry - held->entries);
	uint32_t *link = bucket(held, entry->name);

	while (*link != i)
		link = &held->entries[*link].chain;
	*link = entry->chain;
	leave(held->entries, &held->all, OB_HELD_ALL, i);
	leave(held->entries, folder(held, entry->name), OB_HELD_FOLDER, i);
	held->count--;
	ob_fd_close(&entry->fd);
	entry->chain = held->free;
	held->free = i;
}

struct ob_held_entry *ob_held_next(const struct ob_held *held,
				   const struct ob_held_entry *entry)
{
	uint32_t i = entry ? entry->place[OB_HELD_ALL].after : held->all.first;

	return i ? &held->entries[i] : NULL;
}

struct ob_held_entry *ob_held_below(const struct ob_held *held,
				    const char *path,
				    const struct ob_held_entry *entry)
{
	uint32_t i = entry ? entry->place[OB_HELD_FOLDER].after :
			     folder(held, path)->first;
	size_t len = strlen(path);

	while (i && strncmp(held->entries[i].name, path, len))
		i = held->entries[i].place[OB_HELD_FOLDER].after;
	return i ? &held->entries[i] : NULL;
}
