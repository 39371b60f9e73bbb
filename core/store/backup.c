/* In: a database, also one that a server is using, and a file that is not there yet. Out: a copy as of now; and
 * back.
 * Why without the store: a reader handle takes no lock against the server and changes nothing. */
#include "store.h"

#include "err.h"

#include <stdio.h>

static int no_such_store(const struct store_backend *backend, char why[256]) {
  snprintf(why, 256, "not a store that can do this: use the tools of its database");
  return !backend ? E_INVALID : E_UNSUPPORTED;
}

int store_backup(const struct store_options *o, const char *file, char why[256]) {
  const char *location;
  const struct store_backend *backend = store_backend_find(o, &location);
  void *handle;
  if (!backend || !backend->backup)
    return no_such_store(backend, why);
  int code = backend->open(o, location, false, &handle, why);
  if (code)
    return code;
  code = backend->backup(handle, file, why);
  backend->close(handle);
  return code;
}

int store_restore(const struct store_options *o, const char *file, char why[256]) {
  const char *location;
  const struct store_backend *backend = store_backend_find(o, &location);
  if (!backend || !backend->restore)
    return no_such_store(backend, why);
  return backend->restore(location, file, why);
}
