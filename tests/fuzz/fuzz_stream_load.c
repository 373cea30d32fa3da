// SPDX-License-Identifier: BSD-3-Clause
/*
 * A stream from anywhere into a small device.  The first byte says in what
 * pieces it arrives and whether its numbers and checksums are made right
 * first, without which no input would come further than the first section.
 * What loads is within its bounds and is the same after another journey.
 */
#include <stdlib.h>
#include <string.h>

#include "../golden/mend.h"
#include "state/load.h"
#include "state/save.h"
#include "state/table_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define DRIVE 8192u

struct queue {
	uint64_t base;
	uint16_t sqid;
	uint8_t created, reserved;
	uint32_t limit;
};

struct device {
	uint8_t name[16];
	uint32_t cc, csts;
	uint16_t halves[6];
	uint8_t reserved[4];
	struct queue queues[3];
	uint8_t log[64];
};

static const struct ob_field queue_rows[] = {
	OB_U64(1, struct queue, base, "0.1"),
	OB_U16(2, struct queue, sqid, "0.1", .max = 64),
	OB_U8(3, struct queue, created, "0.1", .max = 1),
	OB_RESERVED(struct queue, reserved),
	OB_U32(4, struct queue, limit, "0.1", .def = 7),
	OB_END
};
static const struct ob_table queue_table = {
	"queue", sizeof(struct queue), queue_rows
};

static const struct ob_field rows[] = {
	OB_BYTES(1, struct device, name, "0.1"),
	OB_U32(2, struct device, cc, "0.1"),
	OB_U32(3, struct device, csts, "0.1", .max = 0xff, .def = 1),
	OB_U16(4, struct device, halves, "0.1"),
	OB_RESERVED(struct device, reserved),
	OB_STRUCTS(5, struct device, queues, struct queue, &queue_table, "0.1"),
	OB_BYTES(6, struct device, log, "0.1", .optional = true),
	OB_END
};
static const struct ob_table table = { "device", sizeof(struct device), rows };

static void require(bool holds)
{
	if (!holds)
		abort();
}

static int put(void *arg, uint64_t offset, const void *data, uint64_t length)
{
	require(offset <= DRIVE && length && length <= DRIVE - offset);
	if (data)
		memcpy((uint8_t *)arg + offset, data, length);
	else
		memset((uint8_t *)arg + offset, 0, length);
	return 0;
}

static int load(const uint8_t *bytes, size_t len, size_t step,
		struct device *out, struct ob_err *err)
{
	static uint8_t drive[DRIVE];
	const struct ob_part part = { "plain", &table, NULL };
	const struct ob_content_sink sink = {
		{ OB_CONTENT_DRIVE, 0, DRIVE }, put, drive
	};
	const struct ob_load_plan plan = { "model", &part, 1, &sink, 1 };
	struct ob_loader *loader;
	size_t at, n;
	int r = 0;

	require(!ob_loader_create(&plan, &loader, NULL));
	for (at = 0; at < len && !r; at += n) {
		n = len - at < step ? len - at : step;
		r = ob_loader_write(loader, bytes + at, n, err);
	}
	if (!r)
		r = ob_loader_finish(loader, err);
	memcpy(out, ob_loader_part(loader, 0), sizeof(*out));
	ob_loader_destroy(loader);
	return r;
}

static bool take(void *arg, uint64_t max, struct ob_content_run *run)
{
	(void)max;
	*run = (struct ob_content_run){ 0, DRIVE, NULL };
	if (*(bool *)arg)
		return false;
	*(bool *)arg = true;
	return true;
}

static void left(void *arg, uint64_t *initial, uint64_t *dirty)
{
	*initial = *(bool *)arg ? 0 : DRIVE;
	*dirty = 0;
}

static void travel_again(struct device *dev)
{
	const struct ob_part part = { "plain", &table, dev };
	bool taken = false;
	const struct ob_content_source source = {
		.id = { OB_CONTENT_DRIVE, 0, DRIVE },
		.take = take, .left = left, .arg = &taken,
	};
	const struct ob_save_plan plan = { "model", "id", &part, 1, &source, 1 };
	static uint8_t stream[16384];
	struct iovec iov[8];
	struct ob_saver *saver;
	struct device again;
	unsigned i, count = 8;
	size_t len = 0;

	require(!ob_saver_create(&plan, &saver, NULL));
	ob_saver_stopped(saver);
	ob_saver_allow_end(saver);
	require(ob_saver_read(saver, sizeof(stream), iov, &count) < sizeof(stream));
	require(ob_saver_done(saver));
	for (i = 0; i < count; len += iov[i++].iov_len)
		memcpy(stream + len, iov[i].iov_base, iov[i].iov_len);
	ob_saver_destroy(saver);
	require(!load(stream, len, len, &again, NULL));
	require(!memcmp(dev, &again, sizeof(again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct ob_err err = { "" };
	struct device dev;
	uint8_t *copy;

	if (!len)
		return 0;
	copy = malloc(len);
	require(copy != NULL);
	memcpy(copy, bytes + 1, len - 1);
	if (bytes[0] & 1)
		mend(copy, len - 1);
	if (load(copy, len - 1, 1 + bytes[0] / 2 * 8u, &dev, &err)) {
		require(err.msg[0] && memchr(err.msg, 0, sizeof(err.msg)));
	} else {
		require(!ob_table_check_values(&table, &dev, "plain", &err));
		travel_again(&dev);
	}
	free(copy);
	return 0;
}
