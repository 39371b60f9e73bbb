/* In: things with a date each. Out: a call for each whose date has come. Why: a timer for each of thousands of idle
 * connections is a heap that is sifted at each connect; a wheel of slots, one a second, costs two pointers to put in or
 * take out, and each turn looks at one slot. Intrusive: the thing holds the link, the wheel allocates nothing.
 * Thread: its owner's. The clock is an argument; it may be set back or forward. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define WHEEL_SLOTS 1024

struct wheel;

struct wheel_link {
  struct wheel_link *prev, *next; /* all zero: in no wheel */
  struct wheel *wheel;
  int64_t due_s;
};

struct wheel {
  int64_t turned_s; /* what was due until then has been called */
  size_t count;
  struct wheel_link slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *w, int64_t now_s);
/* Puts it in, or moves it when it is in one already. A date that is past comes with the next turn. */
void wheel_put(struct wheel *w, struct wheel_link *l, int64_t due_s);
/* Nothing when it is in none. */
void wheel_drop(struct wheel_link *l);
/* fn for each that is due (due_s <= now_s); it has been taken out before. fn may put and drop any. */
void wheel_turn(struct wheel *w, int64_t now_s, void (*fn)(struct wheel_link *l, void *arg), void *arg);
/* fn for each that is in; it may drop that one, and no other. */
void wheel_each(struct wheel *w, void (*fn)(struct wheel_link *l, void *arg), void *arg);
