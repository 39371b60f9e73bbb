/* In: nothing. Out: the inside of a VM and of a task.
 * Why: the files of this room and the functions that scripts call work on the same two structs; each part of a task
 * says which file changes it. A task is one run of a script function. It is pooled; its generation grows each time
 * it ends, so that a completion that comes too late finds nobody. */
#pragma once
#ifndef ROOM_BINDINGS
#error "machine.h is private to the bindings"
#endif

#include "guard.h"
#include "vm_state.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdint.h>

#if LUA_VERSION_NUM != 501
#error "LuaJIT (Lua 5.1) is what these bindings are written for"
#endif

struct task;
enum task_kind { TASK_MESSAGE, TASK_CONNECT, TASK_HTTP, TASK_NOTICE, TASK_LOAD };

/* Whether others of its conversation may run meanwhile: run.c, task.c. */
struct turn {
  bool was_busy; /* the message came while the session was busy: the script may answer "later" */
  bool has;      /* a queued handler: while it waits, the session is busy */
  bool held;     /* … and session_set_busy(true) has been said */
};

/* What it wants since it ran last: slice.c; collected by lua_session_change.c and lua_metrics.c. */
struct slice {
  struct effects *effects; /* of each session touched, linked by next */
  struct count {
    char *name, *labels; /* name NULL: a core metric */
    int metric;
    double n;
  } * counts;
  size_t count_used, count_room;
  bool kept; /* its effects on its own conversation are kept so far, see slice_keep */
};

/* What it waits for: run.c, but for the last group, which belongs to the function that waits (begin and what it leads
 * to). What is left there of a wait that was refused is freed by the next one, or with the task. */
struct wait {
  bool parked, in_begin;
  uint32_t number; /* how often it has waited: what a wait was begun for may come when it is over */
  int completed;   /* results on co when the wait ended inside its own begin; -1: not yet */
  const char *what;
  uint64_t since_ms;
  uint64_t due_ms;               /* it has waited too long then; 0: it has a limit of its own (deadline.c) */
  void (*begin)(struct task *t); /* called once the slice has taken effect */

  struct store_op *op;
  struct timer *timer;
  uint64_t delay_ms;
  char *text;
  struct ask *ask; /* of chat.scripts, until it is sent; a plain heap block */
  bool asking;     /* session:ask */
  int value_ref;   /* session:offer; 0: none */
};

/* Commits on their way and what came of them, for session:flush: slice.c, run.c. */
struct commits {
  unsigned in_flight;
  unsigned kept; /* of those, the ones that carry what was kept: nothing is begun before they have settled */
  bool settling; /* it waits for them, and then for what it wants */
  bool lost;     /* one was not stored, or was there already: the handler is not to go on */
  bool flushing;
  int code;
  uint32_t refused; /* the generation whose user has been told that something was not stored: once is enough */
  struct stored {
    char id[STORE_ID_LEN + 1];
    char *cid;
    uint64_t seq;
    bool duplicate, open;
  } * stored;
  size_t used, room;
};

/* The message it deals with, and what the store knows of that: slice.c. */
struct errand {
  struct dealing dealing; /* id "": none */
  bool stored;            /* it has been handed to the store */
  bool settled;           /* and is there */
  bool begun;             /* and so has a part of what is done about it */
};

struct task {
  /* task.c */
  struct vm *vm;
  struct task *next, *prev; /* of the VM's free list, or of those that are parked */
  lua_State *co;
  int co_ref;
  uint32_t generation;
  /* what it runs for: set by who makes it, vm.c or run.c */
  enum task_kind kind;
  struct session *session; /* a reference, or NULL */
  struct conn *conn;       /* a reference, or NULL */
  struct item *item;
  struct http_request *http;
  struct account *account; /* of its user, which holds one of ACCOUNT_TASKS for it, or NULL. TASK_HTTP: a reference;
                              else conn has it */
  struct session *opened;  /* by chat.session.open: stays in memory while the task lives */
  /* how it runs */
  uint64_t spent_ns; /* processor time of its slices so far; not 0 once it has waited: run.c */
  unsigned inside;   /* while it waits: protected calls on its stack: run.c */
  struct turn turn;
  struct slice slice;
  struct wait wait;
  struct commits commits;
  struct errand errand;
  bool answered;    /* it has appended an answer to its conversation: lua_session_change.c */
  bool catching_up; /* it has begun to tell conn what that missed: lua_connection.c */
};

struct idle_call {
  void (*fn)(void *);
  void *arg;
};

/* A session's handle, id and user as Lua values, so that a message makes none of them anew: handle.c. */
#define VM_CACHE 1024
struct cached {
  session_handle handle; /* 0: empty */
  int handle_ref, id_ref, user_ref;
};

struct vm {
  lua_State *L;
  struct guard guard;
  struct cached cache[VM_CACHE]; /* by handle modulo VM_CACHE */
  int metatable_ref;             /* of session handles */
  struct worker *worker;
  const struct vm_world *world;
  struct bundle *bundle;
  struct task *current;
  struct task *free;
  struct task flight; /* list head: tasks that are parked, the one that waits longest first */
  size_t parked, max_parked;
  size_t outstanding;     /* completions on their way that know this VM */
  struct task *to_resume; /* an asker that was offered something, resumed when the offering task has ended */
  int message_ref, connect_ref, http_ref, failed_ref, refused_ref, unanswered_ref, describe_ref;
  int require_ref;
  char **stored; /* types of messages: stored.c */
  size_t stored_count;
  struct idle_call when_idle, when_nearly_full;
  unsigned quarantine_changes;     /* that the scripts know of */
  struct timer *deadline;          /* the earliest, while anybody has one */
  void (*overdue)(struct task *t); /* what becomes of one that has waited too long */
  bool replaced;                   /* while it is cancelled: another one is there to go on */
  bool quarantines_none;           /* its kills quarantine nobody */
  struct vm_tally *tally;          /* NULL: nobody counts */
  char tag;                        /* its address is the first value of every yield of ours */
};
