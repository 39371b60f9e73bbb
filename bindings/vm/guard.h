/* In: a slice of Lua about to run. Out: its end; if it used too much, an error that no script can catch.
 * Why: C cannot take a loop of Lua's by the hand, but the kernel counts the thread's processor time and says so every
 * few milliseconds of it (a timer on the thread's own clock, so an idle worker hears nothing). The signal's handler
 * sees that the same slice still runs, and when its budget is gone it arms Lua's hook for every single instruction,
 * which raises an error there; it stays armed, so that one who catches the error meets it again at his next
 * instruction, until control is back in C. Memory goes the same way: the allocation that passes the cap succeeds and
 * arms the hook. Thread: the VM's own. Bound: SCRIPT_SLICE_BUDGET and SCRIPT_MESSAGE_BUDGET plus two ticks;
 * SCRIPT_MEMORY_LIMIT plus one SCRIPT_ALLOCATION_LIMIT. Every place that can catch an error catches this one and meets
 * it again; so there are few of them inside one another (nesting.h). */
#pragma once
#include "attr.h"
#include "config.h"
#include "nesting.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum guard_end { GUARD_WELL, GUARD_SLICE, GUARD_MESSAGE, GUARD_MEMORY, GUARD_WAIT };

#define GUARD_TRACEBACK_MAX 2048
#define GUARD_NAME_MAX 63

/* One VM's. Zeroed before guard_open. */
struct guard {
  lua_State *L;
  uintptr_t stack; /* where the C stack was when the slice began */
  unsigned depth;  /* slices begun inside a slice: they are part of it */
  struct nesting nesting;
  /* time, ns of the thread's processor time */
  uint64_t slice_ns, message_ns; /* 0: no bound */
  volatile uint64_t budget_ns;
  volatile uint64_t number, seen;        /* of slices; the last one the clock has met */
  volatile uint64_t since_ns, before_ns; /* when it was met; when it certainly had not begun */
  /* memory, bytes */
  lua_Alloc alloc;
  void *alloc_state;
  size_t used, reported, limit, largest, soft, mark, cap, floor, span;
  bool counting, eager; /* the cap holds now; the soft mark was passed */
  /* how the slice ended */
  volatile int end; /* enum guard_end */
  uint64_t cpu_ns;  /* what it used at most; 0: too little to be met */
  char traceback[GUARD_TRACEBACK_MAX];
  char blamed[GUARD_NAME_MAX + 1];
  void (*blame)(void *arg, lua_State *running); /* fills `blamed`; may be NULL */
  void *arg;
};

/* Puts guards around a fresh VM: its memory is counted from here on. 0, or libuv's code: there is no timer to be had.
 */
int guard_open(struct guard *g, lua_State *L, const struct config *config) NODISCARD;
/* Before lua_close. */
void guard_close(struct guard *g);

/* After luaL_openlibs: no compiler where compiled code could not be ended. */
void guard_interpret(struct guard *g);
bool guard_compiles(const struct guard *g);

/* Around everything that runs a script's code. slice_ns: what it may use, of message_ns in all; spent_ns: what its
 * message has used before, 0 for what has not waited yet, which costs no clock call. Both 0 of a guard without budgets.
 * `end` and what belongs to it hold until the next outermost enter. */
void guard_enter(struct guard *g, uint64_t slice_ns, uint64_t spent_ns);
/* What the message has used by now: spent_ns and this slice, as far as it was met. */
uint64_t guard_leave(struct guard *g, uint64_t spent_ns);
/* Whether memory is capped from here on; what it was. Off: where an error in the middle would do harm. */
bool guard_count(struct guard *g, bool on);
/* Whose slice this thread runs; NULL: none. A signal's handler may ask. */
struct guard *guard_running(void);
/* In C that may take long: raises when the slice has to end. */
void guard_poll(lua_State *L);
/* Whether so much of the C stack is used that nothing should call deeper: its end would be the end of the server. */
bool guard_deep(lua_State *L);
/* The message that has used spent_ns may not go on. */
bool guard_spent(const struct guard *g, uint64_t spent_ns);
/* Between slices: what ends a handler that does not run now. */
void guard_verdict(struct guard *g, enum guard_end end);

/* Between slices. Collects if the soft mark was passed; whether even that left more than three quarters of the limit.
 */
bool guard_collect(struct guard *g);
/* More than three quarters of the limit are in use. */
bool guard_nearly_full(const struct guard *g);

/* "time", "memory", "wait": for metrics and logs. */
const char *guard_kind(enum guard_end end);
/* What it did, as a text that ends in how much is allowed; out is filled and returned. */
const char *guard_text(const struct guard *g, enum guard_end end, char *out, size_t size);

/* Where a slice was ended: "scripts/bots/x.lua:3"; empty: it was not, or not in a script. */
void guard_place(const struct guard *g, char *out, size_t room);

/* Whether this LuaJIT calls hooks in compiled code: only then may scripts be compiled. Asked once, then remembered. */
bool guard_can_compile(void);
