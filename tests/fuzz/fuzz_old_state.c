// SPDX-License-Identifier: BSD-3-Clause
/*
 * What a dead process leaves behind, read by its successor.
 *
 * Input: a byte that says of which device (bits 0 to 2), and what follows:
 *
 *	PAGES		pages of a state memory: u16 how many it has, then for
 *			each that is not zeros u16 number, 4096 bytes
 *	EVENTS		the memory of a flight recorder
 *	neither		changes to the state memory of such a device, CHANGE
 *			bytes each: u8 section (the last: header), u8 width,
 *			u16 0, u32 offset, u64 value
 *
 * A refusal says why.  What is read is within bounds and the model has its
 * say.  Nothing is written to the memory itself.
 */
#include "model_rig.h"

#include "state/old.h"
#include "state/recorder.h"
#include "state/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHANGE	16u
#define PAGE	4096u
#define PAGES_MAX 1024u
enum { WHICH = 7, PAGES = 8, EVENTS = 16 };

/* As a successor has it, before it judges. */
struct found {
	struct ob_core *core;
	void *plain, *hot;
	struct ob_dma_table *dma;
};

static void *zeros(const struct ob_table *table)
{
	void *base = table ? calloc(1, table->size) : NULL;

	REQUIRE(!table || base);
	return base;
}

static int read_one(const struct ob_old_state *old, enum ob_section which,
		    const struct ob_table *ours, void *base, struct ob_err *err)
{
	int r = ob_old_state_read(old, which, ours, base, err);

	REQUIRE(!r || err->msg[0]);
	if (!r && ours)
		REQUIRE(ob_table_check_values(ours, base, "", NULL) == 0);
	return r;
}

static int read_found(const struct ob_old_state *old,
		      const struct ob_device *dev, struct found *f,
		      struct ob_err *err)
{
	int r[] = {
		read_one(old, OB_SECTION_CORE, &ob_core_table, f->core, err),
		read_one(old, OB_SECTION_PLAIN, dev->cls->state, f->plain, err),
		read_one(old, OB_SECTION_HOT, dev->cls->hot, f->hot, err),
		read_one(old, OB_SECTION_DMA, &ob_dma_table_table, f->dma, err),
	};

	return r[0] ? r[0] : r[1] ? r[1] : r[2] ? r[2] : r[3];
}

static void judge(struct ob_device *dev, const struct found *f)
{
	struct ob_err err = { "" };
	int r = ob_mig_core_check(dev, f->core, &err);

	if (!r && dev->cls->check)
		r = dev->cls->check(dev, f->plain, f->hot, &err);
	REQUIRE(!r == !err.msg[0]);
}

static void show(const struct ob_old_state *old)
{
	const struct ob_table *table;
	unsigned i;

	for (i = 0; i < OB_NR_TABLES; i++) {
		table = ob_old_state_table(old, i);
		if (table && table->size < 1u << 16)
			json_decref(ob_table_json(table, ob_old_state_section(old, i),
						  false));
	}
}

static void succeed(struct rig *rig, int fd)
{
	struct ob_device *dev = rig->dev;
	struct ob_old_state *old = NULL;
	struct ob_err err = { "" };
	struct found f = {
		zeros(&ob_core_table), zeros(dev->cls->state),
		zeros(dev->cls->hot), zeros(&ob_dma_table_table),
	};

	if (ob_old_state_open(fd, &old, &err)) {
		REQUIRE(err.msg[0]);
	} else {
		if (!read_found(old, dev, &f, &err))
			judge(dev, &f);
		show(old);
	}
	ob_old_state_close(old);
	free(f.core);
	free(f.plain);
	free(f.hot);
	free(f.dma);
}

/* Pages */

static int from_pages(const uint8_t *data, size_t size)
{
	int fd = memfd_create("old", MFD_CLOEXEC);
	uint64_t number, pages = size < 2 ? 0 : ob_le_load(data, 2) % PAGES_MAX;

	REQUIRE(fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) == 0);
	for (data += 2; size >= 2 + 2 + PAGE; size -= 2 + PAGE, data += 2 + PAGE) {
		number = ob_le_load(data, 2) % PAGES_MAX;
		if (number < pages)
			REQUIRE(pwrite(fd, data + 2, PAGE,
				       (off_t)(number * PAGE)) == PAGE);
	}
	return fd;
}

/* Changes */

static void change(const struct ob_state_header *hdr, int fd,
		   const uint8_t *record)
{
	unsigned which = record[0] % (OB_NR_SECTIONS + 1), width = record[1] % 9;
	uint64_t at = 0, room = sizeof(*hdr), offset = ob_le_load(record + 4, 4);

	if (which < OB_NR_SECTIONS) {
		at = hdr->sections[which].offset;
		room = hdr->sections[which].size;
	}
	if (which == OB_SECTION_UNDO)
		room = offsetof(struct ob_undo, bytes);
	if (room >= 8)
		REQUIRE(pwrite(fd, record + 8, width,
			       (off_t)(at + offset % (room - 7))) == (ssize_t)width);
}

static int from_changes(const struct rig *rig, const uint8_t *data, size_t size)
{
	const struct ob_state_mem *mem = &rig->dev->mem;
	int fd = memfd_create("old", MFD_CLOEXEC);
	size_t at;

	REQUIRE(fd >= 0 && ftruncate(fd, (off_t)mem->size) == 0);
	for (at = 0; at < mem->size; at += PAGE)
		if (mem->base[at] || memcmp(mem->base + at, mem->base + at + 1, PAGE - 1))
			REQUIRE(pwrite(fd, mem->base + at, PAGE, (off_t)at) == PAGE);
	for (; size >= CHANGE; data += CHANGE, size -= CHANGE)
		change(ob_state_header(mem), fd, data);
	return fd;
}

/* Events */

static void read_events(const void *memory, size_t size)
{
	static struct ob_event_entry list[64];
	size_t room = size % 65, i, n = ob_recorder_read(memory, size, list, room);
	char text[OB_EVENT_TEXT];

	REQUIRE(n <= room);
	for (i = 0; i < n; i++) {
		REQUIRE(i == 0 || list[i].number > list[i - 1].number);
		REQUIRE(strlen(ob_event_text(&list[i], text, sizeof(text))) < sizeof(text));
	}
}

/* A successor goes on in it, whatever it is. */
static void go_on_recording(const uint8_t *data, size_t size)
{
	struct ob_event_entry last = { 0 };
	struct ob_recorder rec;
	int fd = memfd_create("old", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	REQUIRE(fd >= 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
	REQUIRE(ob_recorder_open(&rec, fd, NULL) == 0);
	ob_record(&rec, 0, OB_EVENT_RESET, 1, 2, 3);
	REQUIRE(ob_recorder_read(rec.memory, sizeof(*rec.memory), &last, 1) == 1);
	REQUIRE(last.kind == OB_EVENT_RESET && last.c == 3);
	ob_recorder_close(&rec);
}

static void events(const uint8_t *data, size_t size)
{
	uint64_t *copy = malloc(size + 8);	/* aligned */

	REQUIRE(copy);
	memcpy(copy, data, size);
	read_events(copy, size);
	free(copy);
	go_on_recording(data, size);
}

/* With something in every part. */
static struct rig *used(unsigned which)
{
	struct rig *rig = rig_get(which);

	if (rig->dev->core->config[4] & 2)
		return rig;
	write_config(rig, 4, 6, 2);
	write_bar(rig, 0x60, 1, 4);
	ob_dev_enter(rig->dev);
	ob_undo_add(&rig->dev->mem, rig->dev->core, 64);
	return rig;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rig *rig;
	int fd;

	if (!size)
		return 0;
	if (data[0] & EVENTS) {
		events(data + 1, size - 1);
		return 0;
	}
	rig = used(data[0] & WHICH);
	fd = data[0] & PAGES ? from_pages(data + 1, size - 1) :
		from_changes(rig, data + 1, size - 1);
	succeed(rig, fd);
	close(fd);
	return 0;
}
