/* In: a user, and the conversation asked for, if any. Out: the conversation the connection enters.
 * Why: memory first, then the store, then a new draft. sessions_enter decides under one lock, so two devices that
 * connect at the same instant get the same conversation. A conversation is given only to its own user; anybody else
 * gets what they would have got without asking, and learns nothing.
 * Thread: a worker's. */
#pragma once
#include "attr.h"
#include "worker.h"

/* s: a new reference, or NULL with a code: E_STORE, E_FULL (too many conversations), E_NOT_FOUND (join_load),
 * E_BUSY (the user is being erased), E_STOPPING. */
typedef void join_done(void *arg, struct session *s, int code);

/* The user's conversation `wanted` (may be ""), else the active one, else a new draft. done: once, now or later, here.
 */
void join_open(struct worker *w, const char *user_id, const char *wanted, join_done *done, void *arg);
/* The conversation of that id, whoever's it is. */
void join_load(struct worker *w, const char *id, join_done *done, void *arg);
