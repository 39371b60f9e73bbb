/* In: STORE_URL (mongodb://… or mongodb+srv://…). Out: handles for the threads of store.c. Why a database of its own:
 * it outlives a machine, and the reference's, which is taken over as it is (docs/storage.md). All calls into the driver
 * block, so they are made on store threads only. A database that is away when the server starts is no reason not to
 * start: readiness says so and messages wait; one that is there and refuses us, or is of a newer version, is. */
#include "mongo_impl.h"

#include "err.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

static void close_handle(void *handle) {
  struct mongo *h = handle;
  mongo_forget(h);
  mongo_close(h);
  free(h->tried);
  free(h);
}

static int open_handle(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  (void)location;
  struct mongo *h = calloc(1, sizeof *h);
  if (!h) {
    snprintf(why, 256, "out of memory");
    return UV_ENOMEM;
  }
  int code = mongo_open(o, h, why);
  h->writer = writer;
  if (code == 0 && writer)
    code = mongo_prepare(h, why);
  if (code == E_AWAY) {
    LOG(LOG_WARN, "store", "starting without the database: it is away");
    code = 0;
  }
  if (code) {
    close_handle(h);
    return code;
  }
  *handle = h;
  return 0;
}

const struct store_backend store_mongo = {
  .scheme = "mongodb",
  .srv = true,
  .open = open_handle,
  .close = close_handle,
  .write = mongo_write,
  .read = mongo_read,
  .erase = mongo_erase_step,
  .reencrypt = mongo_reencrypt,
  .handback = mongo_handback,
};
