/* SPDX-License-Identifier: BSD-3-Clause */
/* A client that has the device's writes logged, in raw bytes over the rig. */
#ifndef OB_TESTS_DIRTY_CLIENT_H
#define OB_TESTS_DIRTY_CLIENT_H

#include "rig.h"

enum { START = 6, STOP = 7, REPORT = 8 };
enum { GET = 1 << 16, SET = 1 << 17, PROBE = 1 << 18 };
enum { R = 1, W = 2, RW = 3, FILE_IO = 8 };
enum { ALL = 2 };

#define PAGE 0x1000u
#define GIB (UINT64_C(1) << 30)
#define MEM_SIZE (256 * PAGE)

struct feature { uint32_t argsz, flags; };
struct range { uint64_t iova, length; };
struct start {
	struct feature feature;
	uint64_t page_size;
	uint32_t count, reserved;
	struct range ranges[8];
};
struct report {
	struct feature feature;
	uint64_t iova, length, page_size;
};

/* A memfd of MEM_SIZE bytes. */
int log_guest(void);
/* Ready, bus master on. */
struct rig *log_rig(void);
/* Errors of the replies, 0 for success. */
int log_start(struct rig *rig, uint64_t page_size, const struct range *ranges,
	      uint32_t count);
int log_stop(struct rig *rig);
/* Bits are at rig->reply + 32 then. */
int log_report(struct rig *rig, uint64_t iova, uint64_t length,
	       uint64_t page_size);
bool log_bit(const struct rig *rig, uint64_t n);
unsigned log_bits(const struct rig *rig);
/* The page at addr was dirty, and is not any more. */
bool log_dirty(struct rig *rig, uint64_t addr);
/* The device writes. */
int log_write(struct rig *rig, uint64_t addr, uint32_t len);

#endif
