/* In: a database, and operations. Out: their replies, at once. Why: the commands that look after a database work beside
 * a server, or without one: no threads, no queue, one operation after the other on the caller's thread. A reader works
 * while a server has the database open; a writer does not (E_BUSY). */
#pragma once
#include "attr.h"
#include "store.h"

#include <stdio.h>

struct store_direct {
  const struct store_backend *backend;
  void *handle;
};

/* 0 or a negative code with one line in why[]. A reader makes no database where there is none: E_STORE. */
int store_direct_open(const struct store_options *o, bool writer, struct store_direct *out, char why[256]) NODISCARD;
/* The reply is in op, which stays the caller's; its code. */
int store_direct_run(struct store_direct *d, struct store_op *op) NODISCARD;
void store_direct_close(struct store_direct *d);

/* Writes JSON lines: one for a conversation, then one for each of its messages, by seq. All conversations of user, or
 * the one of that id; the other is NULL. At most about 2 × STORE_HISTORY_BYTES in memory. 0; E_NOT_FOUND: there is no
 * such conversation; E_STORE: the log has the reason; UV_EIO: out takes no more; UV_ENOMEM. */
struct store_exported {
  uint64_t sessions, messages, damaged; /* damaged: messages, and names, that cannot be read; written without them */
};
int store_export(struct store_direct *d, const char *user, const char *id, FILE *out,
                 struct store_exported *count) NODISCARD;
