/* In: durations. Out: percentiles. Why and how: hist.h. The index of a bucket is built so that the steps of one power
 * of two follow those of the one before without a gap, and the first two powers need no case of their own. */
#include "hist.h"

#include <math.h>
#include <string.h>

enum { STEP_BITS = 7 };
_Static_assert(HIST_STEPS == 1 << STEP_BITS, "one step per value of the leading bits");

void hist_init(struct hist *h) {
  memset(h, 0, sizeof *h);
}

static unsigned shift_of(uint64_t ns) {
  unsigned top = 63 - (unsigned)__builtin_clzll(ns | 1);
  return top > STEP_BITS ? top - STEP_BITS : 0;
}

static uint64_t bucket_highest(unsigned index) {
  unsigned shift = index < 2 * HIST_STEPS ? 0 : index / HIST_STEPS - 1;
  uint64_t step = index - (uint64_t)shift * HIST_STEPS;
  return ((step + 1) << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns) {
  uint64_t kept = ns > HIST_LONGEST ? HIST_LONGEST : ns;
  unsigned shift = shift_of(kept);
  h->bucket[(uint64_t)shift * HIST_STEPS + (kept >> shift)]++;
  h->count++;
  h->sum += (double)ns;
  if (ns > h->max)
    h->max = ns;
}

uint64_t hist_percentile(const struct hist *h, double percent) {
  if (h->count == 0)
    return 0;
  uint64_t wanted = (uint64_t)ceil(percent / 100 * (double)h->count), seen = 0;
  for (unsigned i = 0; i < HIST_BUCKETS; i++) {
    seen += h->bucket[i];
    if (seen >= wanted && seen > 0) {
      uint64_t highest = bucket_highest(i);
      return highest < h->max && i < HIST_BUCKETS - 1 ? highest : h->max;
    }
  }
  return h->max;
}

double hist_mean(const struct hist *h) {
  return h->count ? h->sum / (double)h->count : 0;
}
