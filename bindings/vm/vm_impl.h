/* In: nothing. Out: the inside of a VM and of a task, for bindings/ only.
 * Why: a task is one run of a script function: a coroutine, what it runs for, what it has asked for and not yet done.
 * It is pooled; its generation grows each time it ends, so that a completion which comes too late finds nobody. */
#pragma once
#include "guard.h"
#include "vm.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#if LUA_VERSION_NUM != 501
#error "LuaJIT (Lua 5.1) is what these bindings are written for"
#endif

enum task_kind { TASK_MESSAGE, TASK_CONNECT, TASK_HTTP, TASK_NOTICE, TASK_LOAD };

struct task {
  struct vm *vm;
  struct task *next, *prev; /* of the VM's free list, or of those in flight */
  lua_State *co;
  int co_ref;
  uint32_t generation;
  uint32_t refused; /* the generation whose user has been told that something was not stored: once is enough */
  uint32_t waits;   /* how often it has waited: what a wait was begun for may come when it is over */
  enum task_kind kind;
  struct session *session; /* a reference, or NULL */
  struct conn *conn;       /* a reference, or NULL */
  struct item *item;
  struct http_request *http;
  bool was_busy;  /* the message came while the session was busy: the script may answer "later" */
  bool has_turn;  /* a queued handler: while it waits, the session is busy */
  bool turn_held; /* … and session_set_busy(true) has been said */
  bool parked, in_begin, asking;
  int completed; /* results on co when the wait ended inside its own begin; -1: not yet */
  const char *waits_for;
  uint64_t spent_ns;  /* processor time of its slices so far; not 0 once it has waited */
  uint64_t due_ms;    /* it has waited too long then; 0: it has a limit of its own */
  uint64_t parked_ms; /* since when */
  /* the slice */
  struct effects *effects; /* of each session touched, linked by next */
  struct count {
    char *name, *labels; /* name NULL: a core metric */
    int metric;
    double n;
  } * counts;
  size_t count_used, count_room;
  /* what it waits for */
  void (*begin)(struct task *t); /* called once the slice has taken effect */
  struct store_op *op;
  struct timer *timer;
  uint64_t delay_ms;
  char *text;
  struct ask *ask;        /* of chat.scripts, until it is sent; a plain heap block */
  struct session *opened; /* by chat.session.open: stays in memory while the task lives */
  /* commits on their way, for session:flush */
  unsigned in_flight;
  bool flushing;
  int commit_code;
  struct stored {
    char id[STORE_ID_LEN + 1];
    char *cid;
    uint64_t seq;
    bool duplicate;
  } * stored;
  size_t stored_used, stored_room;
};

struct idle_call {
  void (*fn)(void *);
  void *arg;
};

/* A session's handle, id and user as Lua values, so that a message makes none of them anew. */
#define VM_CACHE 1024
struct cached {
  session_handle handle; /* 0: empty */
  int handle_ref, id_ref, user_ref;
};

struct vm {
  lua_State *L;
  struct guard guard;
  struct cached cache[VM_CACHE]; /* by handle modulo VM_CACHE */
  int metatable_ref;
  struct worker *worker;
  const struct vm_world *world;
  struct bundle *bundle;
  struct task *current;
  struct task *free;
  struct task flight; /* list head: tasks that are parked */
  size_t parked, max_parked;
  size_t outstanding;     /* completions on their way that know this VM */
  struct task *to_resume; /* an asker that was offered something, resumed when the offering task has ended */
  int message_ref, connect_ref, http_ref, failed_ref, refused_ref, describe_ref;
  int require_ref;
  struct idle_call when_idle, when_nearly_full;
  unsigned quarantine_changes; /* that the scripts know of */
  struct timer *deadline;      /* the earliest, while anybody has one */
  bool quarantines_none;       /* its kills quarantine nobody */
  struct vm_tally *tally;      /* NULL: nobody counts */
  char tag;                    /* its address is the first value of every yield of ours */
};

/* ---- tasks (task.c) ---- */

struct task *task_new(struct vm *vm, enum task_kind kind, struct session *s, struct conn *c) NODISCARD;
/* Runs the function and its arguments that lie on t->co. The task may be over when it returns. */
void task_run(struct task *t, int arguments);
/* The wait of t is over: the results lie on t->co. */
void task_resume(struct task *t, int results);
/* What a completion from elsewhere carries, so that it finds its task only while that still waits. Redeemed exactly
 * once; NULL: it waits no longer. The VM lives until then. Dies when memory is out. */
struct task_ticket;
struct task_ticket *task_ticket(struct task *t);
struct task *task_redeem(struct task_ticket *ticket);
/* Lets the session's next queued message run. */
void task_give_turn(struct task *t);
void task_cancel(struct task *t);
/* What it waits for will not come any more. */
void task_stop_waiting(struct task *t);
void vm_destroy_tasks(struct vm *vm);
/* The end of every binding function that waits: parks the current task, calls begin(t) after its slice took effect.
 * Raises where nobody may wait. */
int task_wait(lua_State *L, const char *waits_for, void (*begin)(struct task *t));
void task_end(struct task *t, bool reusable);
/* One call more of the version: it failed, it was killed. */
void task_tally(const struct task *t, bool failed, bool killed);

/* ---- the slice of a task (task_slice.c) ---- */

/* The pending effects on s of the running slice; NULL: none yet, or no memory for them. */
struct effects *task_pending(const struct task *t, const struct session *s);
struct effects *task_effects(struct task *t, struct session *s) NODISCARD;
/* Takes the effects into force, without a wait. */
void task_commit(struct task *t);
/* None of them takes effect. */
void task_discard(struct task *t);
/* The wait of session:flush: until all commits on their way have settled. */
void task_begin_flush(struct task *t);
/* What was stored and nobody asked for. */
void task_forget_stored(struct task *t);

/* ---- deadlines (deadline.c) ---- */

/* t begins to wait. session:ask, which has a limit of its own, clears t->due_ms. */
void deadline_set(struct task *t);
void deadline_close(struct vm *vm);

/* ---- who is to blame, who is in quarantine (lua_guard.c) ---- */

/* Before scripts load. */
void guard_open_names(struct vm *vm);
/* The name of the innermost watched function on the stack of co; out has GUARD_NAME_MAX + 1 bytes. */
bool guard_blame(struct vm *vm, lua_State *co, char *out);
/* The same for a slice that runs, as guard.blame. */
void guard_blame_slice(void *vm, lua_State *running);
void guard_note_kill(struct task *t, const char *name);
void guard_refresh(struct vm *vm);

/* ---- failures (failure.c) ---- */

/* The coroutine of t has failed, or `end` says what it did too much of: log, metrics, an answer, its end. */
void failure(struct task *t, enum guard_end end);
void failure_respond(struct http_request *req, int status);

/* ---- the sandbox (lua_string.c, lua_table.c, lua_json.c) ---- */

/* Push what the sandbox gives in place of the originals: string and table functions that can be ended, cjson that
 * counts, and a function that says whether too much of the C stack is in use to call deeper. */
void bind_push_strings(lua_State *L);
void bind_push_tables(lua_State *L);
void bind_push_json(struct vm *vm, lua_State *L);
void bind_push_deep(lua_State *L);

/* ---- calls (vm.c) ---- */

/* Runs a function that may not wait: it happens between two messages. */
void vm_notice(struct vm *vm, int ref, struct session *s, struct conn *c, const char *first, const char *second);
void vm_maybe_idle(struct vm *vm);
/* Between slices: memory is looked after. */
void vm_collect(struct vm *vm);
