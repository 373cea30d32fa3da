// SPDX-License-Identifier: BSD-3-Clause
/*
 * A death can only be told from one an instruction later if something that
 * outlives the process has changed between them.  These are the places where to look
 * for that; guest memory and what is merely copied (undo, boxes) are not among them.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ring.h"
#include "state/state_mem.h"
#include "watch.h"

#define SECTION_BYTES 4096u	/* of each */
#define RING_BYTES 1024u	/* of the operations' entries */

static void add_place(struct watch *watch, const uint8_t *at, size_t size,
		      const uint64_t *step)
{
	uint8_t *was = watch->nr_places < WATCH_PLACES ? malloc(size) : NULL;

	if (!was)
		return;
	memcpy(was, at, size);
	watch->places[watch->nr_places].at = at;
	watch->places[watch->nr_places].was = was;
	watch->places[watch->nr_places].step = step;
	watch->places[watch->nr_places++].size = size;
}

static const uint8_t *map(struct watch *watch, const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *base = MAP_FAILED;

	if (fd >= 0 && !fstat(fd, &st) && watch->nr_files < WATCH_FILES) {
		*size = (size_t)st.st_size;
		base = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	if (base == MAP_FAILED)
		return NULL;
	watch->files[watch->nr_files].base = base;
	watch->files[watch->nr_files++].size = *size;
	return base;
}

static void add_state(struct watch *watch, const char *path)
{
	size_t size;
	const uint8_t *base = map(watch, path, &size);
	const struct ob_state_header *hdr = (const void *)base;

	if (!base || size < sizeof(*hdr) || hdr->magic != OB_STATE_MAGIC)
		return;
	add_place(watch, base, sizeof(*hdr), NULL);
	for (unsigned i = 0; i < OB_NR_SECTIONS; i++) {
		const struct ob_state_extent *ext = &hdr->sections[i];
		size_t len = ext->size < SECTION_BYTES ? ext->size : SECTION_BYTES;

		if (!len || ext->offset > size - len || i == OB_SECTION_SCHEMA)
			continue;
		if (i == OB_SECTION_UNDO)	/* its count says it all */
			len = sizeof(uint32_t);
		add_place(watch, base + ext->offset, len,
			  i < OB_SECTION_SESSION ? &hdr->step : NULL);
	}
}

static void add_rings(struct watch *watch, const char *path)
{
	size_t size;
	const uint8_t *base = map(watch, path, &size);
	const size_t at = offsetof(struct ob_ring_journal, ops);

	if (base && size >= at + RING_BYTES)
		add_place(watch, base + at, RING_BYTES, NULL);
}

static void add_file(struct watch *watch, const char *path)
{
	char name[64] = "";

	if (readlink(path, name, sizeof(name) - 1) < 0)
		return;
	if (!strncmp(name, "/memfd:outboard-state", 21))
		add_state(watch, path);
	else if (!strncmp(name, "/memfd:rings", 12))
		add_rings(watch, path);
}

void watch_open(struct watch *watch, pid_t pid)
{
	struct dirent *entry;
	char path[300];
	DIR *dir;

	watch_close(watch);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid,
			 entry->d_name);
		add_file(watch, path);
	}
	if (dir)
		closedir(dir);
}

void watch_close(struct watch *watch)
{
	for (unsigned i = 0; i < watch->nr_files; i++)
		munmap((void *)(uintptr_t)watch->files[i].base,
		       watch->files[i].size);
	for (unsigned i = 0; i < watch->nr_places; i++)
		free(watch->places[i].was);
	watch->nr_files = watch->nr_places = 0;
}

bool watch_changed(struct watch *watch)
{
	bool changed = false;

	for (unsigned i = 0; i < watch->nr_places; i++) {
		if ((watch->places[i].step && !(*watch->places[i].step & 1)) ||
		    !memcmp(watch->places[i].was, watch->places[i].at,
			    watch->places[i].size))
			continue;
		memcpy(watch->places[i].was, watch->places[i].at,
		       watch->places[i].size);
		changed = true;
	}
	return changed;
}
