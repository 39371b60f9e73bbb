/* In: nothing. Out: what the three files of effects know of each other: effects.c gathers, effects_commit.c stores,
 * effects_out.c sends. Each calls only the one named before it here or the next one: gather <- commit -> out. */
#pragma once
#ifndef ROOM_CHAT
#error "effects_impl.h is private to core/chat"
#endif

#include "effects.h"

/* ---- effects.c ---- */

/* Something of the record itself, beside its last activity. */
bool effects_change_fields(const struct effects *e);
/* It ends the session and stores nothing else. */
bool effects_only_close(const struct effects *e);

/* ---- effects_out.c; the session's owner, which something keeps the owner ---- */

/* Behind all that waits in the session's out queue. Holds the session until e leaves the queue. */
void effects_enqueue(struct session *s, struct effects *e);
/* Lets go what is settled at the head of the queue. */
void effects_flush(struct session *s, const struct effects_home *home);
/* e, whose turn it is: sends when its code is 0, then tells who committed it. Takes e. */
void effects_finish(struct effects *e, const struct mailbox *here);
