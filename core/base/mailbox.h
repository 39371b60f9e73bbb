/* In: posts from any thread. Out: all of them, in order, on the thread that owns the mailbox.
 * Why: this is the only place where threads meet. Append under the lock, unlock, wake the owner if the list was empty;
 * the owner detaches the whole list under the lock and works after it. A mailbox has no bound of its own: each kind of
 * post is bounded where it is made (inbox, outbox, store queue). */
#pragma once
#include "attr.h"

#include <stdbool.h>

struct mailbox;

/* Embedded in whatever is posted. run takes the post and what it is part of. */
struct post {
  struct post *next;
  void (*run)(struct post *);
};

/* wake(arg) is called by the posting thread, with no lock held, when the list goes from empty to non-empty. */
struct mailbox *mailbox_new(void (*wake)(void *arg), void *arg) NODISCARD;
/* Nobody may post any more; posts still inside are not run. */
void mailbox_free(struct mailbox *m);
/* Any thread. Takes the post. */
void mailbox_put(struct mailbox *m, struct post *post);
/* Owner. Runs all that was put before the call; true when anything ran. */
bool mailbox_drain(struct mailbox *m);
