/* In: posts from any thread. Out: all of them, in order, on the thread that owns the mailbox. Why: the lock is held
 * for three assignments only; the owner is woken once per batch, not once per post. */
#include "mailbox.h"

#include "lock.h"

#include <stdlib.h>

struct mailbox {
  struct lock lock; /* guards first and last */
  struct post *first, **last;
  void (*wake)(void *arg);
  void *arg;
};

struct mailbox *mailbox_new(void (*wake)(void *arg), void *arg) {
  struct mailbox *m = malloc(sizeof *m);
  if (!m)
    return NULL;
  lock_init(&m->lock);
  m->first = NULL;
  m->last = &m->first;
  m->wake = wake;
  m->arg = arg;
  return m;
}

void mailbox_free(struct mailbox *m) {
  if (!m)
    return;
  lock_deinit(&m->lock);
  free(m);
}

void mailbox_put(struct mailbox *m, struct post *post) {
  post->next = NULL;
  lock_acquire(&m->lock);
  bool was_empty = !m->first;
  *m->last = post;
  m->last = &post->next;
  lock_release(&m->lock);
  if (was_empty)
    m->wake(m->arg);
}

bool mailbox_drain(struct mailbox *m) {
  lock_acquire(&m->lock);
  struct post *post = m->first;
  m->first = NULL;
  m->last = &m->first;
  lock_release(&m->lock);
  if (!post)
    return false;
  while (post) {
    struct post *next = post->next; /* run may free the post */
    post->run(post);
    post = next;
  }
  return true;
}
