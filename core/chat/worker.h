/* In: ready sockets, posts of other threads, due timers. Out: calls of the hooks, one after the other.
 * Why: one thread, one loop, one of everything (transport, VM): what a worker owns needs no lock. It knows neither the
 * transport nor Lua, only the hooks that the program fills in. The clock is read here and nowhere else.
 * Thread: the worker's own, except worker_new/start/stop/free (main) and worker_mailbox, worker_tid,
 * worker_now_ms, worker_wall_ms (any). */
#pragma once
#include "attr.h"
#include "effects.h"
#include "mailbox.h"
#include "session.h"

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct timer;
struct uv_loop_s;

struct worker_hooks {
  /* On its thread, before the loop runs. 0 or a negative code, with the reason in why[] (the worker does not start). */
  int (*start)(struct worker *w, void *ctx, char why[512]);
  /* One item of a session this worker owns. Takes the item. */
  void (*item)(void *ctx, struct session *s, struct item *item);
  /* The end of each loop turn: write what has gathered. */
  void (*turn)(void *ctx);
  /* After the loop; everything of the worker's is taken down on its own thread. */
  void (*stop)(void *ctx);
};

struct worker_options {
  unsigned index;
  const struct worker_hooks *hooks;
  void *ctx;
  struct sessions *sessions;
  struct store *store;
  uint64_t answer_late_ms; /* an open message that is older is not answered any more */
  bool by_hand;            /* for specs: no thread, no sockets; time stands still but for worker_advance */
};

struct worker *worker_new(const struct worker_options *o) NODISCARD;
/* For the posts of sessions_new: brings a session onto this thread's ready list. */
void worker_run_session(struct post *post);
/* Starts the thread and waits for hooks.start; its code. */
int worker_start(struct worker *w, char why[512]) NODISCARD;
/* Asks the loop to end; join waits for it. Whoever may still post to it must have stopped before worker_free. */
void worker_stop(struct worker *w);
void worker_join(struct worker *w);
void worker_free(struct worker *w);

/* Any thread. Runs fn(arg) on the worker. */
void worker_call(struct worker *w, void (*fn)(void *arg), void *arg);
struct mailbox *worker_mailbox(struct worker *w);
const struct effects_home *worker_home(struct worker *w);
unsigned worker_index(const struct worker *w);
int worker_tid(const struct worker *w);          /* the kernel's number of its thread; 0: it has none yet */
uint64_t worker_now_ms(const struct worker *w);  /* monotonic */
uint64_t worker_now_ns(const struct worker *w);  /* monotonic */
uint64_t worker_wall_ms(const struct worker *w); /* since 1970 */
/* When worker_now_ms shows that delay_ms have passed for certain: it rounds down, this rounds up. */
uint64_t worker_due_ms(const struct worker *w, uint64_t delay_ms);
uint64_t worker_turn_ms(const struct worker *w); /* own thread: worker_now_ms as of the last turn, which
                                                    in a call-back of a socket is from before the loop slept */

/* ---- its own thread ---- */

/* Items wait for their turn. */
bool worker_has_items(const struct worker *w);
struct uv_loop_s *worker_loop(struct worker *w);
/* Puts an item into a session's inbox and brings the session to its owner. 0, E_FULL: the caller keeps the item. */
int worker_put(struct worker *w, struct session *s, struct item *item) NODISCARD;
/* A session whose *wake was set (session_set_busy). */
void worker_wake(struct worker *w, struct session *s, struct mailbox *wake);
/* fn(arg) once, after delay_ms; stop may be called until then, and not after. NULL when memory is out. */
struct timer *worker_timer(struct worker *w, uint64_t delay_ms, void (*fn)(void *arg), void *arg) NODISCARD;
void worker_timer_stop(struct worker *w, struct timer *t);

/* ---- by hand ---- */

/* Does everything that can be done without advancing the clock. */
void worker_settle(struct worker *w);
void worker_advance(struct worker *w, uint64_t ms);
