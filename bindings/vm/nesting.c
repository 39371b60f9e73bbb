/* In: what begins and ends. Out: whether it may. Why: see nesting.h. */
#include "nesting.h"

#define OUTSIDE_SHIFT 16 /* both numbers are small: a slice of the server's may begin inside another, but not often */

static unsigned both(const struct nesting *n) {
  return n->outside << OUTSIDE_SHIFT | n->inside;
}

static bool fits(const struct nesting *n, unsigned more) {
  return n->outside + n->inside + more <= NESTING_MAX;
}

bool nesting_protect(struct nesting *n, unsigned *before) {
  if (!fits(n, 1)) {
    return false;
  }
  *before = n->inside++;
  return true;
}

void nesting_release(struct nesting *n, unsigned before) {
  n->inside = before;
}

unsigned nesting_enter(struct nesting *n, unsigned inside) {
  unsigned before = both(n);
  n->outside += n->inside;
  n->inside = inside;
  return before;
}

bool nesting_resume(struct nesting *n, unsigned inside, unsigned *before) {
  if (!fits(n, inside + 1)) {
    return false;
  }
  *before = nesting_enter(n, inside);
  n->outside++;
  return true;
}

unsigned nesting_back(struct nesting *n, unsigned before) {
  unsigned inside = n->inside;
  n->outside = before >> OUTSIDE_SHIFT;
  n->inside = before & ((1u << OUTSIDE_SHIFT) - 1);
  return inside;
}
