/* In: a database, and operations. Out: their replies, at once. Why: see store_direct.h. */
#include "store_direct.h"

#include "err.h"

#include <stdio.h>

#define ERASE_TRIES 20 /* each waits half a second for whoever has the database locked */

int store_direct_open(const struct store_options *o, bool writer, struct store_direct *out, char why[256]) {
  const char *location;
  out->backend = store_backend_find(o, &location);
  if (!out->backend) {
    snprintf(why, 256, "not a store this program knows");
    return E_INVALID;
  }
  return out->backend->open(o, location, writer, &out->handle, why);
}

int store_direct_run(struct store_direct *d, struct store_op *op) {
  op->code = 0;
  if (!store_op_ok(op))
    op->code = E_INVALID;
  else if (store_op_writes(op))
    d->backend->write(d->handle, &op, 1);
  else
    d->backend->read(d->handle, op);
  for (int tries = 0; op->code == E_MORE || (op->code == E_AWAY && op->erasure != 0 && tries < ERASE_TRIES);) {
    op->code = d->backend->erase(d->handle, op);
    tries += op->code == E_AWAY;
  }
  return op->code;
}

void store_direct_close(struct store_direct *d) {
  d->backend->close(d->handle);
}
