/* In: a database nobody else has open. Out: one that the program it was taken over from can use again.
 * Why: who tries this server has to be able to go back. No threads, no queue: a command of its own. */
#include "store.h"

#include "err.h"

#include <stdio.h>

int store_handback(const struct store_options *o, store_progress_fn *tell, void *arg, char why[256]) {
  const char *location;
  const struct store_backend *backend = store_backend_find(o, &location);
  void *handle;
  if (!backend || !backend->handback) {
    snprintf(why, 256, "not a store that was taken over from another program");
    return !backend ? E_INVALID : E_UNSUPPORTED;
  }
  int code = backend->open(o, location, true, &handle, why);
  if (code)
    return code;
  code = backend->handback(handle, tell, arg, why);
  backend->close(handle);
  return code;
}
