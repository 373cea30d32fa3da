/* SPDX-License-Identifier: BSD-3-Clause */
/* In a loop that waits for another core's store: the core's other thread goes on. */
#ifndef OB_BASE_RELAX_H
#define OB_BASE_RELAX_H

static inline void ob_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
