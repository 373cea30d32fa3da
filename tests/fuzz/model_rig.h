/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of every model without a client, for fuzz_model_load: what a server
 * does at each arc of a move is done by hand, in the order of mig.c.
 */
#ifndef OB_FUZZ_MODEL_RIG_H
#define OB_FUZZ_MODEL_RIG_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop_private.h"
#include "devices/registry.h"
#include "server/device_impl.h"
#include "server/server.h"
#include "server/session.h"
#include "state/save.h"
#include "state/table_io.h"

#define MEM_SIZE	(256u << 10)	/* of guest memory, at 0 */
#define MAX_TURNS	100000
#define STREAM_MAX	(1u << 20)
#define BARS		6u

#define REQUIRE(condition) do { if (!(condition)) abort(); } while (0)

/* In the order of make_seeds.py; as tests/golden has them. */
static const char *const models[] = {
	"null",
	"edu",
	"nvme,serial=GOLDEN,queues=4,drive=mem:1M",
	"nvme,serial=GOLDEN,queues=4,drive=mem:1M,doorbells=mapped",
	"nvme,serial=GOLDEN,queues=4,lba=512,drive=mem:64K,drive=mem:1M,msi=off",
};
#define NR_MODELS (sizeof(models) / sizeof(models[0]))

struct rig {
	struct ob_loop *loop;
	struct ob_device *dev;
	uint8_t *mem;
	struct ob_part parts[OB_PARTS_MAX];
	void *copies[OB_PARTS_MAX];
	unsigned nr_parts;
	struct ob_content_source contents[64 + BARS];
	unsigned nr_contents;
};

static inline void map_memory(struct rig *rig)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct ob_dma_map map = {
		.argsz = OB_DMA_MAP_SIZE, .size = MEM_SIZE,
		.flags = OB_DMA_READ | OB_DMA_WRITE,
	};
	struct ob_err err = { "" };

	REQUIRE(fd >= 0 && ftruncate(fd, MEM_SIZE) == 0);
	rig->mem = mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			0);
	REQUIRE(rig->mem != MAP_FAILED);
	REQUIRE(ob_dma_map(rig->dev, &map, &fd, &err) == 0);
}

/* Content is named, so that it may be left out: it is zeros then. */
static inline bool take_nothing(void *arg, uint64_t max, struct ob_content_run *run)
{
	(void)arg;
	(void)max;
	(void)run;
	return false;
}

static inline void nothing_left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	(void)arg;
	*initial = *dirty = 0;
}

static inline void add_content(struct rig *rig, uint32_t kind, uint32_t index,
			uint64_t size)
{
	rig->contents[rig->nr_contents++] = (struct ob_content_source){
		.id = { kind, index, size }, .take = take_nothing,
		.left = nothing_left,
	};
}

static inline void find_state(struct rig *rig)
{
	struct ob_device *dev = rig->dev;
	void *const bases[] = { dev->core, dev->plain, dev->hot };
	unsigned i;

	rig->nr_parts = ob_device_class_parts(dev->cls, rig->parts);
	for (i = 0; i < rig->nr_parts; i++) {
		rig->parts[i].base = bases[i];
		rig->copies[i] = malloc(rig->parts[i].table->size);
		REQUIRE(rig->copies[i]);
	}
	for (i = 0; i < dev->mig.nr_drives; i++)
		if (ob_drive_has_content(ob_mig_drive(dev, i)))
			add_content(rig, OB_CONTENT_DRIVE, i,
				    ob_drive_info(ob_mig_drive(dev, i))->size);
	for (i = 0; i < BARS; i++)
		if (dev->bars[i].base)
			add_content(rig, OB_CONTENT_BAR, i,
				    dev->pci.bars[i].size);
}

static inline void create(struct rig *rig, const char *words)
{
	const struct ob_option *tables[3] = { ob_device_common_options };
	const struct ob_device_class *cls;
	struct ob_registry known;
	struct ob_err err = { "" };
	struct ob_options *opts;
	char name[16], whole[256];

	ob_log_set_level(OB_LOG_ERROR);
	ob_registry_init(&known);
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(words, ","), words);
	snprintf(whole, sizeof(whole), "%s,socket=/nowhere", words);
	cls = ob_registry_find(&known, name, &err);
	REQUIRE(cls && ob_loop_create(NULL, &rig->loop, &err) == 0);
	tables[1] = cls->options;
	REQUIRE(ob_options_parse(whole, tables, &opts, &err) == 0);
	REQUIRE(ob_device_create(rig->loop, cls, opts, &rig->dev, &err) == 0);
	map_memory(rig);
	find_state(rig);
}

static inline struct rig *rig_get(unsigned which)
{
	static struct rig rigs[NR_MODELS];
	struct rig *rig = &rigs[which % NR_MODELS];

	if (!rig->dev)
		create(rig, models[which % NR_MODELS]);
	return rig;
}

static inline void turn(struct rig *rig)
{
	if (rig->dev->poll_on && !rig->dev->mig.halted)
		rig->dev->cls->poll(rig->dev);
	REQUIRE(ob_loop_turn(rig->loop, false) == 0);
}

static inline bool is_idle(const struct rig *rig)
{
	const struct ob_device *dev = rig->dev;

	return !ob_mig_in_flight(dev) &&
	       !(dev->cls->in_flight && dev->cls->in_flight(rig->dev));
}

/* What a drive has thrown away is with the kernel, for as long as it likes. */
static inline void settle(struct rig *rig)
{
	for (unsigned i = 0; !is_idle(rig); i++) {
		REQUIRE(i < MAX_TURNS);
		turn(rig);
	}
	while (rig->loop->in_flight)
		REQUIRE(ob_loop_turn(rig->loop, true) == 0);
}

static inline void stand_still(struct rig *rig)
{
	struct ob_device *dev = rig->dev;
	struct ob_mig *mig = &dev->mig;

	mig->stopping = true;
	if (dev->cls->stop)
		dev->cls->stop(dev);
	else
		mig->stopped = true;
	for (unsigned i = 0; i < 8 && !mig->stopped; i++)
		turn(rig);
	if (dev->cls->halt)
		dev->cls->halt(dev);
	mig->halted = true;
	settle(rig);
}

/* To RUNNING, as every end of a session and of a standstill. */
static inline void go_on(struct rig *rig)
{
	ob_mig_reset(rig->dev);
}

static inline void reset(struct rig *rig)
{
	ob_device_reset(rig->dev, OB_RESET_DEVICE);
	settle(rig);
	memset(rig->mem, 0, MEM_SIZE);
}

static inline void write_bar(struct rig *rig, uint64_t offset, uint64_t value,
		      uint32_t size)
{
	const struct ob_region_access access = { offset, 0, size };

	if (ob_region_check(rig->dev, &access, true) == 0)
		ob_region_write(rig->dev, &access, &value);
}

static inline void read_bar(struct rig *rig, uint64_t offset, uint32_t size)
{
	const struct ob_region_access access = { offset, 0, size };
	uint64_t value;

	if (ob_region_check(rig->dev, &access, false) == 0)
		ob_region_read(rig->dev, &access, &value);
}

static inline void write_config(struct rig *rig, uint64_t offset, uint32_t value,
			 uint32_t size)
{
	const struct ob_region_access access = { offset, OB_CONFIG, size };

	if (ob_region_check(rig->dev, &access, true) == 0)
		ob_region_write(rig->dev, &access, &value);
}

/* Its state, or what is given instead of it, as a stream. */
static inline size_t save(struct rig *rig, void *const *bases, uint8_t *out)
{
	struct ob_part parts[OB_PARTS_MAX];
	const struct ob_save_plan plan = {
		rig->dev->cls->name, "id", parts, rig->nr_parts,
		rig->contents, rig->nr_contents
	};
	struct ob_saver *saver;
	struct iovec iov[64];
	size_t len = 0;
	unsigned i, count = 64;

	for (i = 0; i < rig->nr_parts; i++) {
		parts[i] = rig->parts[i];
		if (bases)
			parts[i].base = bases[i];
	}
	REQUIRE(ob_saver_create(&plan, &saver, NULL) == 0);
	ob_saver_stopped(saver);
	ob_saver_allow_end(saver);
	REQUIRE(ob_saver_read(saver, STREAM_MAX, iov, &count) < STREAM_MAX);
	REQUIRE(ob_saver_done(saver));
	for (i = 0; i < count; len += iov[i++].iov_len)
		memcpy(out + len, iov[i].iov_base, iov[i].iov_len);
	ob_saver_destroy(saver);
	return len;
}

/* What arrives in MIG_DATA_WRITE, then RESUMING -> STOP. */
static inline int load(struct rig *rig, const uint8_t *bytes, size_t len, size_t step,
		struct ob_err *err)
{
	static struct ob_session session;
	struct ob_request req = { 0 };
	size_t at, n;
	int r;

	session.dev = rig->dev;
	session.caps.max_data_xfer_size = STREAM_MAX;
	session.err.msg[0] = 0;
	REQUIRE(ob_mig_load_begin(rig->dev, err) == 0);
	for (at = 0, r = 0; at < len && !r; at += n) {
		n = len - at < step ? len - at : step;
		req.mig.size = (uint32_t)n;
		req.data = bytes + at;
		req.data_len = n;
		r = ob_do_mig_write(&session, &req, NULL);
	}
	if (r)
		*err = session.err;
	else
		r = ob_mig_load_commit(rig->dev, err);
	ob_mig_load_end(rig->dev);
	return r;
}

static inline void remember(struct rig *rig)
{
	for (unsigned i = 0; i < rig->nr_parts; i++)
		memcpy(rig->copies[i], rig->parts[i].base,
		       rig->parts[i].table->size);
}

static inline bool is_unchanged(const struct rig *rig)
{
	for (unsigned i = 0; i < rig->nr_parts; i++)
		if (memcmp(rig->copies[i], rig->parts[i].base,
			   rig->parts[i].table->size))
			return false;
	return true;
}

/* Everything that the code relies on. */
static inline void require_sound(struct rig *rig)
{
	struct ob_device *dev = rig->dev;
	struct ob_err err = { "" };
	int r = ob_mig_core_check(dev, dev->core, &err);

	for (unsigned i = 0; i < rig->nr_parts && !r; i++)
		r = ob_table_check_values(rig->parts[i].table,
					  rig->parts[i].base, "", &err);
	if (r == 0 && dev->cls->check)
		r = dev->cls->check(dev, dev->plain, dev->hot, &err);
	if (r)
		dprintf(2, "not sound: %s\n", err.msg);
	REQUIRE(r == 0);
}

#endif
