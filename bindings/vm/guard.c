/* In: slices, ticks of the thread's CPU clock, allocations. Out: an armed hook once a limit is exceeded.
 * Why: see guard.h. The signal handler does only what a signal handler may: it reads the clock, stores plain values,
 * and calls lua_sethook, which LuaJIT allows there. Handler and slice run on the same thread, so volatile is enough
 * and no atomics are needed. */
#include "guard.h"

#include "metrics.h"

#include <errno.h>
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define TICK_NS 4000000    /* of processor time; the kernel rounds up to its own tick */
#define TICK_SIGNAL SIGURG /* ignored by default, so a late signal does no harm */
#define MARK_STEPS 16      /* above the soft mark a collection starts after every 1/16 of the limit */
#define USUAL_STEPMUL 200  /* LuaJIT's default */
#define EAGER_STEPMUL 10000
#define ALLOWANCE                                                                                                      \
  (1u << 20) /* a slice may use this much even when memory is full, so that the error can still be reported */
#define STACK_BYTES (1u << 20)
#define TEXT_MAX (16u << 20) /* bytes of a text made in one go, whatever SCRIPT_ALLOCATION_LIMIT says */
#define REPORT_BYTES 65536   /* the gauge moves in steps of this */

/* This thread's clock, shared by its VMs. */
static _Thread_local struct {
  struct guard *volatile running;
  volatile uint64_t tick_ns; /* when it last ticked */
  timer_t timer;
  unsigned users;
} here;

static uint64_t cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

struct guard *guard_running(void) {
  return here.running;
}

/* ---- ending a slice ---- */

const char *guard_kind(enum guard_end end) {
  static const char *const kinds[] = {"", "time", "time", "memory", "wait"};
  return kinds[end];
}

const char *guard_text(const struct guard *g, enum guard_end end, char *out, size_t size) {
  switch (end) {
  case GUARD_SLICE:
    snprintf(out, size, "ended: more than %llu ms of processor time without a wait (SCRIPT_SLICE_BUDGET)",
             (unsigned long long)g->slice_ns / 1000000);
    break;
  case GUARD_MESSAGE:
    snprintf(out, size, "ended: more than %llu ms of processor time for one message (SCRIPT_MESSAGE_BUDGET)",
             (unsigned long long)g->message_ns / 1000000);
    break;
  case GUARD_MEMORY:
    snprintf(out, size,
             "ended: not enough memory: at most %zu bytes (SCRIPT_MEMORY_LIMIT), %zu at once "
             "(SCRIPT_ALLOCATION_LIMIT)",
             g->limit, g->largest);
    break;
  case GUARD_WAIT:
    snprintf(out, size, "ended: it has waited longer than SCRIPT_WAIT_DEADLINE");
    break;
  default:
    snprintf(out, size, "ended");
  }
  return out;
}

void guard_place(const struct guard *g, char *out, size_t room) {
  const char *at = g->end ? strstr(g->traceback, "\tscripts/") : NULL;
  const char *line = at ? strchr(at, ':') : NULL;
  int len = line ? (int)(line - at) + (int)strspn(line + 1, "0123456789") : 0;
  snprintf(out, room, "%.*s", len, at ? at + 1 : "");
}

/* Records where the slice was first stopped; a script that catches the error is stopped again further out. */
static void note_place(struct guard *g, lua_State *L) {
  if (g->traceback[0] || !lua_checkstack(L, 8)) {
    return;
  }
  g->traceback[0] = ' '; /* only once, even if the rest fails */
  if (g->blame) {
    g->blame(g->arg, L);
  }
  luaL_traceback(L, L, NULL, 0);
  snprintf(g->traceback, sizeof g->traceback, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
}

static void end_slice(struct guard *g, lua_State *L) {
  char text[160];
  guard_count(g, false); /* reporting the error does not count against the script */
  note_place(g, L);
  lua_pushstring(L, guard_text(g, (enum guard_end)g->end, text, sizeof text));
  guard_count(g, true);
  lua_error(L);
}

static void on_hook(lua_State *L, lua_Debug *at) {
  struct guard *g = here.running;
  (void)at;
  if (g && g->end) {
    end_slice(g, L);
  }
}

/* Called again for the same end: an interrupted operation inside LuaJIT may have reset the hook. */
static void arm(struct guard *g, enum guard_end end) {
  if (!g->end) {
    g->end = end;
  }
  lua_sethook(g->L, on_hook, LUA_MASKCOUNT, 1);
}

bool guard_ending(void) {
  const struct guard *g = here.running;
  return g && g->end;
}

void guard_poll(lua_State *L) {
  if (guard_ending()) {
    end_slice(here.running, L);
  }
}

bool guard_deep(lua_State *L) {
  const struct guard *g = here.running;
  (void)L;
  return g && g->stack - (uintptr_t)__builtin_frame_address(0) > STACK_BYTES;
}

/* ---- time ---- */

static void on_tick(int number) {
  int saved = errno;
  struct guard *g = here.running;
  uint64_t now = cpu_ns();
  (void)number;
  if (g && g->seen != g->number) {
    g->since_ns = now;
    g->before_ns = here.tick_ns;
    g->seen = g->number;
  } else if (g && g->end) {
    arm(g, (enum guard_end)g->end);
  } else if (g && g->budget_ns && now - g->since_ns >= g->budget_ns) {
    arm(g, g->budget_ns == g->slice_ns ? GUARD_SLICE : GUARD_MESSAGE);
  }
  here.tick_ns = now;
  errno = saved;
}

static int open_clock(void) {
  if (here.users++) {
    return 0;
  }
  struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
  sigaction(TICK_SIGNAL, &action, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  struct itimerspec every = {.it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS};
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &here.timer)) {
    here.users = 0;
    return -errno;
  }
  here.tick_ns = cpu_ns();
  timer_settime(here.timer, 0, &every, NULL);
  return 0;
}

static void close_clock(void) {
  if (--here.users == 0) {
    timer_delete(here.timer);
  }
}

bool guard_spent(const struct guard *g, uint64_t spent_ns) {
  return g->message_ns && spent_ns >= g->message_ns;
}

void guard_verdict(struct guard *g, enum guard_end end) {
  g->end = end;
  g->cpu_ns = 0;
  g->traceback[0] = g->blamed[0] = 0;
}

void guard_enter(struct guard *g, uint64_t slice_ns, uint64_t spent_ns) {
  if (g->depth++) {
    return;
  }
  uint64_t left = g->message_ns > spent_ns ? g->message_ns - spent_ns : 1;
  g->budget_ns = slice_ns < left ? slice_ns : left;
  g->cap = g->used + ALLOWANCE > g->limit ? g->used + ALLOWANCE : g->limit;
  guard_count(g, true);
  g->stack = (uintptr_t)__builtin_frame_address(0);
  guard_verdict(g, GUARD_WELL);
  g->nesting = (struct nesting){0, 0};
  if (spent_ns) {
    g->since_ns = g->before_ns = cpu_ns();
    g->seen = g->number + 1;
  }
  g->number++;
  atomic_signal_fence(memory_order_seq_cst);
  here.running = g;
}

uint64_t guard_leave(struct guard *g, uint64_t spent_ns) {
  if (--g->depth) {
    return spent_ns;
  }
  guard_count(g, false);
  here.running = NULL;
  atomic_signal_fence(memory_order_seq_cst);
  if (g->end) {
    lua_sethook(g->L, NULL, 0, 0);
  }
  if (g->seen == g->number) {
    g->cpu_ns = cpu_ns() - g->before_ns;
  }
  return spent_ns + g->cpu_ns;
}

/* ---- memory ---- */

/* In the common case the allocator makes one comparison: nothing to do while used - floor is at most span. */
static void watch(struct guard *g) {
  size_t top = g->mark < g->cap ? g->mark : g->cap;
  g->floor = g->mark > g->soft && g->mark == top ? g->mark - 2 * (g->limit / MARK_STEPS) : 0;
  g->span = g->counting ? top - g->floor : SIZE_MAX;
}

/* Starts a large collection step now. At its own pace the collector would wait until memory has doubled, and steps
 * of 2 KB cannot keep up with strings of a megabyte. */
static void collect_eagerly(struct guard *g) {
  g->eager = true;
  g->mark = g->used + g->limit / MARK_STEPS;
  lua_gc(g->L, LUA_GCSETSTEPMUL, EAGER_STEPMUL);
  lua_gc(g->L, LUA_GCRESTART, 0);
}

/* Called when memory use leaves the watched range. When it shrank, the mark follows. */
static void check_memory(struct guard *g) {
  if (g->used > g->cap) {
    arm(g, GUARD_MEMORY);
  } else if (g->used > g->mark) {
    collect_eagerly(g);
  } else {
    size_t mark = g->used + g->limit / MARK_STEPS;
    g->mark = mark > g->soft ? mark : g->soft;
  }
  watch(g);
}

size_t guard_text_max(const struct guard *g) {
  return g && g->limit && g->largest < TEXT_MAX ? g->largest : TEXT_MAX;
}

bool guard_count(struct guard *g, bool on) {
  bool before = g->counting;
  g->counting = on && g->limit;
  watch(g);
  if (g->counting && g->used - g->floor > g->span) { /* by what was made meanwhile */
    check_memory(g);
  }
  return before;
}

/* LuaJIT finds texts by one table for all of them, which doubles with their number: no single thing of a script, and
 * refused it would be asked for again at each new text. Nothing else is made out of nothing at a power of two; its size
 * is a fraction of what the texts themselves take. */
static bool is_index(const struct guard *g, const void *block, size_t size) {
  return !block && (size & (size - 1)) == 0 && size <= g->used / 2;
}

static void *count_alloc(void *state, void *block, size_t before, size_t after) {
  struct guard *g = state;
  if (after > before && g->counting &&
      ((after > g->largest && !is_index(g, block, after)) || g->used - before + after > g->limit + g->largest)) {
    arm(g, GUARD_MEMORY);
    return NULL;
  }
  void *result = g->alloc(g->alloc_state, block, before, after);
  if (!result && after) {
    return NULL;
  }
  g->used += after - before;
  if (g->used - g->floor > g->span) {
    check_memory(g);
  }
  return result;
}

static void report(struct guard *g) {
  size_t apart = g->used > g->reported ? g->used - g->reported : g->reported - g->used;
  if (apart >= REPORT_BYTES) {
    metrics_add(METRIC_SCRIPT_MEMORY, (int64_t)g->used - (int64_t)g->reported);
    g->reported = g->used;
  }
}

bool guard_nearly_full(const struct guard *g) {
  return g->limit && g->used > g->limit / 4 * 3;
}

bool guard_collect(struct guard *g) {
  report(g);
  if (!g->limit || (!g->eager && g->end != GUARD_MEMORY)) {
    return false;
  }
  metrics_add(METRIC_SCRIPT_COLLECTIONS, 1);
  lua_gc(g->L, LUA_GCSETSTEPMUL, USUAL_STEPMUL);
  lua_gc(g->L, LUA_GCCOLLECT, 0);
  g->eager = false;
  g->end = GUARD_WELL;
  g->mark = g->soft;
  if (g->used > g->soft) {
    g->mark = g->used + g->limit / MARK_STEPS;
  }
  report(g);
  return guard_nearly_full(g);
}

/* ---- life ---- */

int guard_open(struct guard *g, lua_State *L, const struct config *config) {
  int code = open_clock();
  if (code) {
    return code;
  }
  g->L = L;
  g->slice_ns = (uint64_t)config_int(config, SETTING_SCRIPT_SLICE_BUDGET) * 1000000;
  g->message_ns = g->slice_ns ? (uint64_t)config_int(config, SETTING_SCRIPT_MESSAGE_BUDGET) * 1000000 : 0;
  g->limit = (size_t)config_int(config, SETTING_SCRIPT_MEMORY_LIMIT);
  g->largest = (size_t)config_int(config, SETTING_SCRIPT_ALLOCATION_LIMIT);
  g->soft = g->mark = g->limit / 2;
  guard_count(g, false);
  g->used = (size_t)lua_gc(L, LUA_GCCOUNT, 0) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB, 0);
  g->alloc = lua_getallocf(L, &g->alloc_state);
  if (g->limit) {
    lua_setallocf(L, count_alloc, g);
  }
  return 0;
}

void guard_close(struct guard *g) {
  if (g->L) {
    lua_setallocf(g->L, g->alloc, g->alloc_state);
    metrics_add(METRIC_SCRIPT_MEMORY, -(int64_t)g->reported);
    close_clock();
  }
}

/* ---- what this LuaJIT can do ---- */

bool guard_compiles(const struct guard *g) {
  return !g->slice_ns || guard_can_compile();
}

void guard_interpret(struct guard *g) {
  if (!guard_compiles(g)) {
    luaJIT_setmode(g->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  }
}

static void count_hook(lua_State *L, lua_Debug *at) {
  (void)at;
  lua_getfield(L, LUA_REGISTRYINDEX, "calls");
  lua_pushinteger(L, lua_tointeger(L, -1) + 1);
  lua_setfield(L, LUA_REGISTRYINDEX, "calls");
  lua_pop(L, 1);
}

/* Runs a compiled loop with a hook on every instruction. A LuaJIT that checks hooks in compiled code calls it in
 * every iteration; one that does not calls it only a few times at the start. */
static bool probe(lua_State *L) {
  static const char loop[] = "local function f(n) local x = 0 for i = 1, n do x = x + i end return x end "
                             "for _ = 1, 200 do f(1000) end return f";
  luaL_openlibs(L); /* among them the compiler */
  if (luaL_loadstring(L, loop) || lua_pcall(L, 0, 1, 0)) {
    return false;
  }
  lua_sethook(L, count_hook, LUA_MASKCOUNT, 1);
  lua_pushinteger(L, 1000);
  bool ran = lua_pcall(L, 1, 0, 0) == 0;
  lua_sethook(L, NULL, 0, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, "calls");
  return ran && lua_tointeger(L, -1) >= 1000;
}

bool guard_can_compile(void) {
  static atomic_int known = -1;
  if (atomic_load(&known) < 0) {
    lua_State *L = luaL_newstate();
    atomic_store(&known, L && probe(L));
    if (L) {
      lua_close(L);
    }
  }
  return atomic_load(&known);
}
