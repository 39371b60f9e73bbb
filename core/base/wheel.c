/* In: things with a date each. Out: a call for each whose date has come. Why: see wheel.h. A slot holds what is due in
 * its second, of this round or a later one; a turn passes over the latter. */
#include "wheel.h"

static struct wheel_link *slot_at(struct wheel *w, int64_t second) {
  return &w->slots[(uint64_t)second % WHEEL_SLOTS];
}

static void list_init(struct wheel_link *list) {
  list->prev = list->next = list;
}

static void list_put(struct wheel_link *list, struct wheel_link *l) {
  l->prev = list->prev;
  l->next = list;
  list->prev->next = l;
  list->prev = l;
}

static void list_take(struct wheel_link *l) {
  l->prev->next = l->next;
  l->next->prev = l->prev;
}

void wheel_init(struct wheel *w, int64_t now_s) {
  w->turned_s = now_s;
  w->count = 0;
  for (size_t i = 0; i < WHEEL_SLOTS; i++)
    list_init(&w->slots[i]);
}

void wheel_drop(struct wheel_link *l) {
  if (!l->wheel)
    return;
  list_take(l);
  l->wheel->count--;
  *l = (struct wheel_link){.due_s = l->due_s};
}

void wheel_put(struct wheel *w, struct wheel_link *l, int64_t due_s) {
  wheel_drop(l);
  l->wheel = w;
  l->due_s = due_s;
  w->count++;
  list_put(slot_at(w, due_s > w->turned_s ? due_s : w->turned_s + 1), l);
}

/* What of a slot is due, moved to a list of its own: fn may change the slot. */
static void collect(struct wheel_link *slot, int64_t now_s, struct wheel_link *due) {
  for (struct wheel_link *l = slot->next, *next; l != slot; l = next) {
    next = l->next;
    if (l->due_s <= now_s) {
      list_take(l);
      list_put(due, l);
    }
  }
}

void wheel_turn(struct wheel *w, int64_t now_s, void (*fn)(struct wheel_link *, void *), void *arg) {
  struct wheel_link due;
  list_init(&due);
  int64_t from = w->turned_s;
  w->turned_s = now_s; /* also when the clock was set back: the slots between come round once more */
  if (now_s > from + WHEEL_SLOTS)
    from = now_s - WHEEL_SLOTS; /* once round is enough */
  for (int64_t second = from + 1; second <= now_s; second++)
    collect(slot_at(w, second), now_s, &due);
  while (due.next != &due) {
    struct wheel_link *l = due.next;
    wheel_drop(l);
    fn(l, arg);
  }
}

void wheel_each(struct wheel *w, void (*fn)(struct wheel_link *, void *), void *arg) {
  for (size_t i = 0; i < WHEEL_SLOTS; i++)
    for (struct wheel_link *l = w->slots[i].next, *next; l != &w->slots[i]; l = next) {
      next = l->next;
      fn(l, arg);
    }
}
