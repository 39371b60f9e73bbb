/* In: every line of Lua that runs, in any VM of a coverage build. Out: at exit, a file in LUA_LINES_DIR: which lines of
 * which script have run, and a hash of each script's text. Why: the scripts run in the server, in the specs and in both
 * at once; one hook in C sees all of them, and the product has no line for it: the linker (--wrap, see CMakeLists.txt)
 * puts these functions before LuaJIT's. A hook of the server's own (guard.c) still gets its calls. Bound: FILES_MAX
 * scripts of LINES_MAX lines; what is beyond is not counted. Any thread. */
#include "lua_lines.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILES_MAX 1000
#define LINES_MAX 2000
#define NAME_MAX_BYTES 300

struct script {
  char name[NAME_MAX_BYTES];
  atomic_uint_least64_t hash; /* of its text; 0: nobody knows */
  atomic_bool several;        /* there were several texts of this name */
  atomic_bool lines[LINES_MAX];
};

static struct script *scripts[FILES_MAX];
static atomic_size_t script_count;
static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local struct script *last;
static _Thread_local lua_Hook volatile inner; /* of the VM that runs on this thread */

int __real_lua_sethook(lua_State *L, lua_Hook fn, int mask, int count);
int __real_luaL_loadbuffer(lua_State *L, const char *text, size_t len, const char *name);
int __wrap_lua_sethook(lua_State *L, lua_Hook fn, int mask, int count);
int __wrap_luaL_loadbuffer(lua_State *L, const char *text, size_t len, const char *name);

static struct script *script_look(const char *name) {
  for (size_t i = 0, n = atomic_load(&script_count); i < n; i++) {
    if (strcmp(scripts[i]->name, name) == 0) {
      return scripts[i];
    }
  }
  return NULL;
}

/* NULL: too many, or too long a name. */
static struct script *script_get(const char *name) {
  if (last && strcmp(last->name, name) == 0) {
    return last;
  }
  struct script *s = script_look(name);
  if (!s && strlen(name) < NAME_MAX_BYTES) {
    pthread_mutex_lock(&adding);
    s = script_look(name);
    size_t n = atomic_load(&script_count);
    if (!s && n < FILES_MAX && (s = calloc(1, sizeof *s))) {
      strcpy(s->name, name);
      scripts[n] = s;
      atomic_store(&script_count, n + 1);
    }
    pthread_mutex_unlock(&adding);
  }
  last = s ? s : last;
  return s;
}

static void on_event(lua_State *L, lua_Debug *at) {
  if (at->event == LUA_HOOKLINE) {
    int line = at->currentline;
    struct script *s = lua_getinfo(L, "S", at) && *at->source == '@' ? script_get(at->source + 1) : NULL;
    if (s && line > 0 && line < LINES_MAX) {
      atomic_store_explicit(&s->lines[line], true, memory_order_relaxed);
    }
    return;
  }
  lua_Hook fn = inner;
  if (fn) {
    fn(L, at);
  }
}

void lua_lines_begin(lua_State *L) {
  __real_lua_sethook(L, on_event, LUA_MASKLINE, 0);
}

/* Also called from a signal's handler. */
int __wrap_lua_sethook(lua_State *L, lua_Hook fn, int mask, int count) {
  inner = fn;
  return __real_lua_sethook(L, on_event, LUA_MASKLINE | (fn ? mask : 0), fn ? count : 0);
}

int __wrap_luaL_loadbuffer(lua_State *L, const char *text, size_t len, const char *name) {
  struct script *s = *name == '@' ? script_get(name + 1) : NULL;
  uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a, as coverage.lua computes it */
  for (size_t i = 0; i < len; i++) {
    hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
  }
  if (s) {
    uint64_t before = atomic_exchange(&s->hash, hash);
    if (before && before != hash) {
      atomic_store(&s->several, true);
    }
  }
  if (!lua_gethook(L)) {
    lua_lines_begin(L);
  }
  return __real_luaL_loadbuffer(L, text, len, name);
}

__attribute__((destructor)) static void lines_write(void) {
  const char *dir = getenv("LUA_LINES_DIR");
  char path[4200];
  size_t n = atomic_load(&script_count);
  if (!dir || !n) {
    return;
  }
  snprintf(path, sizeof path, "%.4000s/%ld-%p", dir, (long)getpid(), (void *)scripts);
  FILE *out = fopen(path, "w");
  if (!out) {
    return;
  }
  for (size_t i = 0; i < n; i++) {
    const struct script *s = scripts[i];
    if (atomic_load(&s->several)) {
      continue; /* nobody knows which of them a line is of */
    }
    fprintf(out, "%s\t%016" PRIx64, s->name, (uint64_t)atomic_load(&s->hash));
    for (int line = 1; line < LINES_MAX; line++) {
      if (atomic_load(&s->lines[line])) {
        fprintf(out, " %d", line);
      }
    }
    fputc('\n', out);
  }
  (void)fclose(out);
}
