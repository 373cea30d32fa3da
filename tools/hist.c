// SPDX-License-Identifier: BSD-3-Clause
#include <stdlib.h>
#include <time.h>

#include "hist.h"

void hist_merge(struct hist *into, const struct hist *from)
{
	if (!from->count)
		return;
	if (!into->count || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	into->sum += from->sum;
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

uint64_t hist_value(unsigned bucket)
{
	unsigned shift;

	if (bucket < HIST_SUB)
		return bucket;
	shift = bucket / HIST_SUB - 1;
	return ((uint64_t)(HIST_SUB + bucket % HIST_SUB) << shift) +
	       ((1ull << shift) >> 1);
}

uint64_t hist_percentile(const struct hist *hist, double fraction)
{
	uint64_t rank = (uint64_t)((double)hist->count * fraction), seen = 0;

	if (!hist->count)
		return 0;
	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		uint64_t value = hist_value(i);

		seen += hist->buckets[i];
		if (seen > rank || seen == hist->count)
			return value > hist->max   ? hist->max
			       : value < hist->min ? hist->min
						   : value;
	}
	return hist->max;
}

double hist_mean(const struct hist *hist)
{
	return hist->count ? (double)hist->sum / (double)hist->count : 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return count % 2 ? values[count / 2]
			 : (values[count / 2 - 1] + values[count / 2]) / 2;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
