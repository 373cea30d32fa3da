/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words that the guest reads and writes while we do: doorbells, their shadows
 * and event indexes.  All accesses to them are here, and the one fence on which
 * "no wake-up is lost" rests, so that a test can put a machine of its own
 * underneath (tests/unit/nvme/test_handshake.c).
 */
#ifndef OB_DEVICES_NVME_SHARED_H
#define OB_DEVICES_NVME_SHARED_H

#include <stdatomic.h>
#include <stdint.h>

/* What lies behind the word is at least as new as its value. */
static inline uint32_t nvme_shared_load(const uint32_t *at)
{
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

static inline void nvme_shared_store(uint32_t *at, uint32_t value)
{
	__atomic_store_n(at, value, __ATOMIC_RELEASE);
}

/* Between a store and a load of another word. */
static inline void nvme_shared_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

#endif
