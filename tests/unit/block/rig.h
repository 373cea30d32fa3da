/* SPDX-License-Identifier: BSD-3-Clause */
/* A loop, a drive on it, and requests that are waited for. */
#ifndef TEST_BLOCK_RIG_H
#define TEST_BLOCK_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <outboard/block.h>

#define KIB 1024ull
#define MIB (1024 * KIB)

struct rig {
	struct ob_loop *loop;
	struct ob_drive *drive;
	char path[128];		/* of the image, unlinked by rig_stop */
};

/* A request and its fate.  Allocated by io_start, freed by io_wait. */
struct io {
	bool done;
	int rc;
	struct ob_block_request *req;
};

/* Every test is run on both engines; the one that is refused is skipped. */
extern const enum ob_loop_engine rig_uring, rig_pool;

#define ON_BOTH_ENGINES(fn) \
	{ #fn " (uring)", fn, NULL, NULL, (void *)&rig_uring }, \
	{ #fn " (pool)", fn, NULL, NULL, (void *)&rig_pool }

void rig_start(struct rig *rig, void **state);
/* An image of zeros in a folder of its own kind: disk, or memory. */
void rig_make_image(struct rig *rig, const char *folder, uint64_t size);
const char *rig_disk(void);
void rig_open(struct rig *rig, const char *spec, bool readonly);
/* Opens file:path of the image. */
void rig_open_image(struct rig *rig, bool readonly);
void rig_close(struct rig *rig);
void rig_stop(struct rig *rig);
/* The message of an open that must fail with -errnum. */
const char *rig_open_fails(struct rig *rig, const char *spec, bool readonly,
			   int errnum);

void io_start(struct rig *rig, struct io *io, enum ob_block_op op,
	      uint32_t flags, uint64_t offset, uint64_t length, void *buf);
int io_wait(struct rig *rig, struct io *io);
int io_run(struct rig *rig, enum ob_block_op op, uint32_t flags,
	   uint64_t offset, uint64_t length, void *buf);

int io_read(struct rig *rig, uint64_t offset, uint64_t length, void *buf);
int io_write(struct rig *rig, uint64_t offset, uint64_t length, void *buf);
int io_flush(struct rig *rig);

/* Deterministic. */
uint64_t rnd(void);
void rnd_fill(void *buf, size_t len);
bool all_bytes_are(const void *buf, uint8_t value, size_t len);
void *page_alloc(size_t len);

#endif
