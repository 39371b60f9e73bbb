/* In: a slice of Lua about to run. Out: its normal end, or an error that no script can suppress because it used too
 * much.
 * Why: C code cannot interrupt a Lua loop from outside. So a timer on the thread's own CPU clock sends a signal every
 * few milliseconds of work (an idle worker gets none). The signal handler sees that the same slice is still running;
 * when its budget is used up, it arms Lua's hook for every instruction, and the hook raises an error. The hook stays
 * armed until control is back in C, so a script that catches the error gets it again at its next instruction. Memory
 * works the same way: the allocation that exceeds the cap succeeds and arms the hook.
 * Thread: the VM's own. Bound: SCRIPT_SLICE_BUDGET and SCRIPT_MESSAGE_BUDGET plus two ticks; SCRIPT_MEMORY_LIMIT
 * plus one SCRIPT_ALLOCATION_LIMIT. A script can catch the error in each protected call around it, so their nesting is
 * bounded, too (nesting.h). */
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

/* The guard of one VM. Zero it before guard_open. */
struct guard {
  lua_State *L;
  uintptr_t stack; /* where the C stack was when the slice began */
  unsigned depth;  /* slices begun inside a slice: they are part of it */
  struct nesting nesting;
  /* time, ns of the thread's processor time */
  uint64_t slice_ns, message_ns; /* 0: no bound */
  volatile uint64_t budget_ns;
  volatile uint64_t number, seen;        /* number of the slice; the last one a tick has seen */
  volatile uint64_t since_ns, before_ns; /* when that tick was; the tick before it */
  /* memory, bytes */
  lua_Alloc alloc;
  void *alloc_state;
  size_t used, reported, limit, largest, soft, mark, cap, floor, span;
  bool counting, eager; /* the cap holds now; the soft mark was passed */
  /* how the slice ended */
  volatile int end; /* enum guard_end */
  uint64_t cpu_ns;  /* upper bound of what the slice used; 0: no tick has seen it */
  char traceback[GUARD_TRACEBACK_MAX];
  char blamed[GUARD_NAME_MAX + 1];
  void (*blame)(void *arg, lua_State *running); /* fills `blamed`; may be NULL */
  void *arg;
};

/* Starts guarding a new VM; from now on its memory is counted. 0, or libuv's code when no timer can be created. */
int guard_open(struct guard *g, lua_State *L, const struct config *config) NODISCARD;
/* Before lua_close. */
void guard_close(struct guard *g);

/* Call after luaL_openlibs. Switches the compiler off where compiled code could not be interrupted. */
void guard_interpret(struct guard *g);
bool guard_compiles(const struct guard *g);

/* Call these two around everything that runs script code. slice_ns: CPU time this slice may use, at most what is
 * left of message_ns. spent_ns: CPU time the same message has used in earlier slices; 0 for its first slice, which
 * saves a clock call. A guard without budgets gets 0 for both. `end` and the fields after it stay valid until the
 * next outermost guard_enter. */
void guard_enter(struct guard *g, uint64_t slice_ns, uint64_t spent_ns);
/* Returns what the message has used so far: spent_ns plus this slice, if a tick has seen it. */
uint64_t guard_leave(struct guard *g, uint64_t spent_ns);
/* Switches the memory cap on or off and returns what it was. Off: around C code in which an error would leak. */
bool guard_count(struct guard *g, bool on);
/* Whose slice this thread runs; NULL: none. A signal's handler may ask. */
struct guard *guard_running(void);
/* In C that may take long: raises when the slice has to end. */
void guard_poll(lua_State *L);
/* The same as a question, for C that has to free something first. False where no slice runs. */
bool guard_ending(void);
/* Bytes of the longest text that C makes for a script in one go; g NULL: where nothing is guarded. */
size_t guard_text_max(const struct guard *g);
/* Whether the C stack is nearly used up: deeper calls could overflow it and crash the server. */
bool guard_deep(lua_State *L);
/* Whether a message that has used spent_ns has no time left. */
bool guard_spent(const struct guard *g, uint64_t spent_ns);
/* Between slices: records why a handler that is not running is ended. */
void guard_verdict(struct guard *g, enum guard_end end);

/* Between slices: runs a full collection if the soft mark was passed. True when even then more than three quarters
 * of the limit are in use. */
bool guard_collect(struct guard *g);
/* Whether more than three quarters of the limit are in use. */
bool guard_nearly_full(const struct guard *g);

/* "time", "memory", "wait": for metrics and logs. */
const char *guard_kind(enum guard_end end);
/* Describes the limit that was exceeded, with its value. Fills and returns out. */
const char *guard_text(const struct guard *g, enum guard_end end, char *out, size_t size);

/* Where a slice was ended: "scripts/bots/x.lua:3"; empty: it was not, or not in a script. */
void guard_place(const struct guard *g, char *out, size_t room);

/* Whether this LuaJIT calls hooks in compiled code; only then may scripts be compiled. Probed once, then cached. */
bool guard_can_compile(void);
