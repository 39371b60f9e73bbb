/* In: durations in nanoseconds. Out: how many there were, and percentiles of them.
 * Why: millions of latencies have to be kept without a list of them. Buckets are log-linear: exact below 256 ns, then
 * 128 steps per power of two, so a percentile is at most 1/128 too high and never too low. Fixed size: what is longer
 * than HIST_LONGEST counts in the last bucket, and the maximum stays exact. One thread. */
#pragma once
#include <stdint.h>

#define HIST_STEPS 128
#define HIST_LONGEST ((UINT64_C(1) << 40) - 1)
#define HIST_BUCKETS (34 * HIST_STEPS)

struct hist {
  uint64_t count, max;
  double sum;
  uint64_t bucket[HIST_BUCKETS];
};

void hist_init(struct hist *h);
void hist_add(struct hist *h, uint64_t ns);
/* The value that `percent` (0..100] of all values do not exceed; 0 when there is none. */
uint64_t hist_percentile(const struct hist *h, double percent);
double hist_mean(const struct hist *h);
