// SPDX-License-Identifier: BSD-3-Clause
/*
 * State from anywhere, loaded into real devices that then run.
 *
 * Input: a byte that says which device (bits 0 to 2), what follows (PATCHES),
 * whether its checksums are made right (MEND), and in what pieces it arrives
 * (the rest); a byte of how many actions follow (at most 31), these, ACTION
 * bytes each; then a stream.  With PATCHES it is not a stream but a list of
 * changes, RECORD bytes each, to the state of such a device that has been in
 * use; they are written as a stream by our own saver.  That way inputs reach
 * what lies behind the parser.
 *
 * Whatever it is: a refusal says why and has changed nothing; what was loaded
 * is sound, runs, is still sound after everything that was done to it, and
 * loads again.
 */
#include "model_rig.h"

#include "../golden/mend.h"
#include "devices/nvme/nvme.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ACTION	12u
#define RECORD	72u
enum { WHICH = 7, PATCHES = 8, MEND = 16 };

/* The state of a device in use. */

#define SQ(i)	(0x1000u + 0x2000u * (i))
#define CQ(i)	(0x2000u + 0x2000u * (i))
#define ENTRIES	32u

static void submit(struct rig *rig, unsigned qid, unsigned at,
		   const struct nvme_sqe *sqe)
{
	memcpy(rig->mem + SQ(qid) + at * sizeof(*sqe), sqe, sizeof(*sqe));
	write_bar(rig, NVME_REG_DBS + 8 * qid, at + 1, 4);
	for (unsigned i = 0; i < 4; i++)
		turn(rig);
}

static void use_nvme(struct rig *rig)
{
	struct nvme_sqe sqe = { .opcode = NVME_ADM_CREATE_CQ };
	const uint64_t cq = CQ(1), sq = SQ(1);

	write_bar(rig, NVME_REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1), 4);
	write_bar(rig, NVME_REG_ASQ, SQ(0), 8);
	write_bar(rig, NVME_REG_ACQ, CQ(0), 8);
	write_bar(rig, NVME_REG_CC, 4 << 20 | 6 << 16 | NVME_CC_EN, 4);
	sqe.cdw10 = (ENTRIES - 1) << 16 | 1;
	sqe.cdw11 = 1 << 16 | 3;
	memcpy(sqe.dptr, &cq, 8);
	submit(rig, 0, 0, &sqe);
	sqe.opcode = NVME_ADM_CREATE_SQ;
	sqe.cdw11 = 1 << 16 | 1;
	memcpy(sqe.dptr, &sq, 8);
	submit(rig, 0, 1, &sqe);
	memset(&sqe, 0, sizeof(sqe));
	sqe.opcode = NVME_ADM_ASYNC_EVENT;
	submit(rig, 0, 2, &sqe);
}

static void be_in_use(struct rig *rig)
{
	write_config(rig, 4, 6, 2);
	if (rig->dev->cls == &ob_nvme_class)
		use_nvme(rig);
	else
		write_bar(rig, 0x60, 1, 4);
}

/* Changes to it */

static void patch_bytes(const struct ob_part *part, uint8_t *base,
			const uint8_t *record)
{
	uint64_t offset = ob_le_load(record + 2, 4);
	uint32_t room = part->table->size, n = 1 + record[6] % 64;

	/* Most of what can be wrong lies near the beginning. */
	if (record[1] & 1 && room > 4096)
		room = 4096;
	offset %= room;
	if (n > room - offset)
		n = room - offset;
	memcpy(base + offset, record + 8, n);
}

static unsigned count_rows(const struct ob_table *table)
{
	unsigned n = 0;

	while (table->fields[n].type != OB_FIELD_END)
		n++;
	return n;
}

/* One integer, found by rows and elements; most often of the first ones. */
static void patch_field(const struct ob_table *table, uint8_t *base,
			const uint8_t *record)
{
	const uint8_t *way = record + 16;	/* row, element, row, ... */
	const struct ob_field *f;
	uint64_t value = ob_le_load(record + 8, 8);

	for (;; way += 2, table = f->sub) {
		f = &table->fields[way[0] % count_rows(table)];
		base += f->offset + (size_t)f->size * (way[1] % f->count);
		if (f->type != OB_FIELD_STRUCT)
			break;
	}
	if (record[6] & 1)
		value = ob_le_load(base, f->size) + (record[6] & 2 ? 1 : -1);
	else if (record[6] & 2)
		value = record[8] % 66;
	ob_le_store(base, value, f->size);
}

/* A command that was under way: its entry was never in the guest's memory. */
static void patch_slot(struct rig *rig, struct nvme_hot *hot,
		       const uint8_t *record)
{
	const struct nvme_plain *st = rig->dev->plain;
	struct nvme_slot *slot = &hot->slots[record[2] % 64];

	memcpy(&slot->sqe, record + 8, sizeof(slot->sqe));
	slot->order = record[3];
	slot->sqid = record[2] % 64 >= NVME_ADMIN_SLOTS;
	slot->generation = st->generation;
	slot->stage = record[4] % 3;
	slot->status = record[5];
	slot->step = record[6];
}

static size_t make_stream(struct rig *rig, const uint8_t *data, size_t size,
			  uint8_t *out)
{
	void *bases[OB_PARTS_MAX];
	unsigned i;

	for (i = 0; i < rig->nr_parts; i++) {
		bases[i] = malloc(rig->parts[i].table->size);
		REQUIRE(bases[i]);
		memcpy(bases[i], rig->parts[i].base, rig->parts[i].table->size);
	}
	for (; size >= RECORD; data += RECORD, size -= RECORD) {
		i = data[0] % rig->nr_parts;
		if (data[1] & 2 && rig->dev->cls == &ob_nvme_class)
			patch_slot(rig, bases[rig->nr_parts - 1], data);
		else if (data[1] & 4)
			patch_field(rig->parts[i].table, bases[i], data);
		else
			patch_bytes(&rig->parts[i], bases[i], data);
	}
	size = save(rig, bases, out);
	for (i = 0; i < rig->nr_parts; i++)
		free(bases[i]);
	return size;
}

/* What a guest does with the device that has come */

static void act(struct rig *rig, const uint8_t *action)
{
	uint64_t offset = ob_le_load(action + 2, 2);
	uint64_t value = ob_le_load(action + 4, 8);

	switch (action[0] % 8) {
	case 0: case 1:
		write_bar(rig, offset, value, action[1] & 1 ? 8 : 4);
		break;
	case 2:
		read_bar(rig, offset, action[1] & 1 ? 8 : 4);
		break;
	case 3:		/* a doorbell, not far off */
		write_bar(rig, NVME_REG_DBS + offset % 10 * 4, value % ENTRIES,
			  4);
		break;
	case 4:
		memcpy(rig->mem + (offset * 8) % (MEM_SIZE - 8), &value, 8);
		break;
	case 5:
		write_config(rig, offset % 4096, value, 1 << action[1] % 3);
		break;
	case 6:
		stand_still(rig);
		require_sound(rig);
		go_on(rig);
		break;
	default:
		for (unsigned i = 0; i < action[1]; i++)
			turn(rig);
	}
	turn(rig);
}

static void load_again(struct rig *rig, uint8_t *room)
{
	struct ob_err err = { "" };
	size_t len;

	stand_still(rig);
	require_sound(rig);
	len = save(rig, NULL, room);
	if (load(rig, room, len, len, &err)) {
		dprintf(2, "does not load again: %s\n", err.msg);
		abort();
	}
	require_sound(rig);
	go_on(rig);
}

static void use(struct rig *rig, const uint8_t *actions, unsigned count,
		uint8_t *room)
{
	require_sound(rig);
	go_on(rig);
	for (unsigned i = 0; i < 4; i++)
		turn(rig);
	for (unsigned i = 0; i < count; i++)
		act(rig, actions + ACTION * i);
	for (unsigned i = 0; i < 64; i++)
		turn(rig);
	load_again(rig, room);
}

static void run(struct rig *rig, const uint8_t *data, size_t size,
		uint8_t *room)
{
	unsigned control = data[0], count = data[1] & 31;
	const uint8_t *actions = data + 2;
	struct ob_err err = { "" };

	size -= 2;
	count = count * ACTION > size ? size / ACTION : count;
	data = actions + count * ACTION;
	size -= count * ACTION;
	be_in_use(rig);
	stand_still(rig);
	if (control & PATCHES) {
		size = make_stream(rig, data, size, room);
	} else {
		size = size < STREAM_MAX ? size : STREAM_MAX;
		memcpy(room, data, size);
		if (control & MEND)
			mend(room, size);
	}
	remember(rig);
	if (load(rig, room, size, control >> 5 ? 1 + (control >> 5) * 100 :
		 STREAM_MAX, &err)) {
		REQUIRE(err.msg[0] && memchr(err.msg, 0, sizeof(err.msg)));
		REQUIRE(is_unchanged(rig));
		go_on(rig);
	} else {
		use(rig, actions, count, room);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t room[STREAM_MAX];
	struct rig *rig;

	if (size < 2)
		return 0;
	rig = rig_get(data[0] & WHICH);
	run(rig, data, size, room);
	reset(rig);
	return 0;
}
