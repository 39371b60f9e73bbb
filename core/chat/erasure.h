/* In: a user, or a time. Out: their conversations gone, from memory, with their connections, and from the store.
 * Why: what is in memory would write back what was erased. So it leaves memory first and takes no more writes; then
 * each worker has had its turn, so that what was on its way is in the store's queue; then the erasure goes in behind
 * it.
 * Thread: the owner of `home`, alone, but for erasure_session. One erasure of a user and one expiry at a time. */
#pragma once
#include "attr.h"
#include "session.h"
#include "store.h"
#include "worker.h"

#define EXPIRE_STEP 50 /* conversations in one transaction, so that messages do not wait long behind it */

struct erasure;
struct erasure_world {
  struct sessions *sessions;
  struct store *store;
  struct mailbox *home;
  /* Runs fn(arg) once on each worker; how many there are. */
  size_t (*each_worker)(void *ctx, void (*fn)(void *arg), void *arg);
  void *ctx;
};

/* code: 0, or E_STORE, E_STOPPING, UV_ENOMEM: then some of it may be left, and it can be asked for again. */
typedef void erasure_done(void *arg, int code, const struct store_erased *erased);

struct erasure *erasure_new(const struct erasure_world *w) NODISCARD;
/* Submits nothing any more: the store closes. */
void erasure_stop(struct erasure *e);
/* The done of what was running is not called. NULL is allowed. */
void erasure_free(struct erasure *e);
/* done: once, later. 0; E_BUSY: one is running; E_STORE, UV_ENOMEM: done is not called. */
int erasure_user(struct erasure *e, const char *user_id, const char *actor, int64_t now_ms, erasure_done *done,
                 void *arg) NODISCARD;
/* One conversation, of any worker's thread. op: STORE_ERASE of session.id, with its reply_to and post.run; taken, and
 * answered as by store_submit. Whoever gets the answer calls erasure_session_ended. 0; E_STOPPING, UV_ENOMEM: the
 * caller keeps op. here: the caller's mailbox. */
int erasure_session(struct erasure *e, struct store_op *op, const struct mailbox *here, int64_t now_ms) NODISCARD;
/* It is in the store no more: who has opened it meanwhile is sent away, too. */
void erasure_session_ended(struct erasure *e, const char *id, const struct mailbox *here, int64_t now_ms);
/* Conversations that are not in memory and were last active before before_ms, step by step until there are no more.
 * Does nothing while it is at it. */
void erasure_idle(struct erasure *e, int64_t before_ms, int64_t now_ms);
