/* In: a database that is open, and time. Out: what is wrong with it, although nobody has met it yet.
 * Why: a file that was deleted still takes writes, damage shows only to who reads that page, and a full disk to who
 * writes; a server that nobody talks to would be ready all the same. Thread: one of its own, with a handle of its own.
 */
#pragma once
#include "attr.h"

struct lookout;
struct store_backend;
struct store_options;

/* Opens a handle for reading, looks for the first time and goes on about once a second. *out NULL: the backend does not
 * look. 0; or a negative code with one line in why[]. */
int lookout_new(const struct store_options *o, const struct store_backend *b, const char *location,
                struct lookout **out, char why[256]) NODISCARD;
/* Any thread. A static text, or NULL: nothing is known to be wrong. l may be NULL. */
const char *lookout_reason(struct lookout *l);
/* Waits until the look that may be under way has broken off. NULL is fine. */
void lookout_free(struct lookout *l);
