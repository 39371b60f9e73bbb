/* In: a store in which an earlier server may have left messages that nobody has dealt with. Out: their conversations in
 * memory, where they are dealt with (join.h). Why: their people need not come back for that; an answer that is stored
 * is there when they do. A few at a time, so that a start after a crash under load is no second one. Thread: the one of
 * `home`. Bound: RECOVERY_PAGE conversations a step. */
#pragma once
#include "attr.h"
#include "worker.h"

#include <stdbool.h>

#define RECOVERY_PAGE 64

struct recovery;

struct recovery_world {
  struct store *store;
  struct mailbox *home;
  struct worker *(*worker)(void *ctx, size_t number); /* of any number: they take turns */
  void *ctx;
};

/* since_ms: what is older is not looked for. NULL: no memory. */
struct recovery *recovery_new(const struct recovery_world *w, int64_t since_ms) NODISCARD;
/* The next few, unless the last ones are still on their way. false: that was all; nothing is on its way. While the
 * database is away a step does nothing, and the next one tries again; what it could not give is asked for once more. */
bool recovery_step(struct recovery *r);
/* The workers have stopped, and what they and the store have posted to home has run. NULL is allowed. */
void recovery_free(struct recovery *r);
