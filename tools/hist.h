/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Latencies in nanoseconds, kept in buckets whose width is 1/32 of their
 * value: percentiles are exact to about 3 %, recording is a few instructions,
 * size does not depend on the count.
 */
#ifndef TOOLS_HIST_H
#define TOOLS_HIST_H

#include <stdint.h>

#define HIST_SUB_BITS 5
#define HIST_SUB (1u << HIST_SUB_BITS)
#define HIST_BUCKETS ((64 - HIST_SUB_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t count, sum, max, min;
	uint64_t buckets[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t ns)
{
	unsigned shift;

	if (ns < HIST_SUB)
		return (unsigned)ns;
	shift = 63u - (unsigned)__builtin_clzll(ns) - HIST_SUB_BITS;
	return (shift + 1) * HIST_SUB + (unsigned)(ns >> shift) - HIST_SUB;
}

static inline void hist_add_many(struct hist *hist, uint64_t ns, uint64_t count)
{
	if (ns > hist->max)
		hist->max = ns;
	if (ns < hist->min || !hist->count)
		hist->min = ns;
	hist->count += count;
	hist->sum += ns * count;
	hist->buckets[hist_bucket(ns)] += count;
}

static inline void hist_add(struct hist *hist, uint64_t ns)
{
	hist_add_many(hist, ns, 1);
}

void hist_merge(struct hist *into, const struct hist *from);
/* fraction: 0.5 is the median.  0 when empty. */
uint64_t hist_percentile(const struct hist *hist, double fraction);
/* The middle of a bucket's range. */
uint64_t hist_value(unsigned bucket);
double hist_mean(const struct hist *hist);

/* Sorts values; returns the middle one. */
double median(double *values, unsigned count);

uint64_t now_ns(void);

#endif
