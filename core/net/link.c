/* In: links embedded in peers. Out: lists, oldest first. Why: a peer is in several at once and leaves each without a
 * search. */
#include "link.h"

void link_put(struct link *list, struct link *l) {
  l->prev = list->prev;
  l->next = list;
  list->prev->next = l;
  list->prev = l;
}

void link_drop(struct link *l) {
  l->prev->next = l->next;
  l->next->prev = l->prev;
  *l = (struct link){l, l};
}
