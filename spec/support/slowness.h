/* In: SPEC_SLOWNESS, as `./dev test` measures it (spec/support/speed.lua). Out: the factor for a promise in
 * milliseconds. Why: such a promise is about the program, not about the processor a test happens to run on. */
#pragma once
#include <stdlib.h>

/* How many times as long as the reference this processor takes; at least 1. */
static inline double slowness(void) {
  const char *text = getenv("SPEC_SLOWNESS");
  double times = text ? strtod(text, NULL) : 1;
  return times > 1 ? times : 1;
}
