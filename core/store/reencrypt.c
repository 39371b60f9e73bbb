/* In: a database nobody else has open, and a keyring. Out: the same database under its newest key.
 * Why: after a key has been changed, or set for the first time, the old one can be dropped. No threads, no queue: this
 * is a command of its own, not a part of a running store. */
#include "store.h"

#include "err.h"

#include <stdio.h>

int store_reencrypt(const struct store_options *o, store_progress_fn *tell, void *arg, char why[256]) {
  const char *location;
  const struct store_backend *backend = store_backend_find(o, &location);
  void *handle;
  if (!backend || !backend->reencrypt || !o->keys) {
    snprintf(why, 256, "%s", !o->keys ? "there is no key to encrypt with" : "not a store that can do this");
    return !backend || !o->keys ? E_INVALID : E_UNSUPPORTED;
  }
  int code = backend->open(o, location, true, &handle, why);
  if (code)
    return code;
  code = backend->reencrypt(handle, tell, arg, why);
  backend->close(handle);
  return code;
}
