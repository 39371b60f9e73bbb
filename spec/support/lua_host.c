/* In: a Lua script and its arguments, as for luajit. Out: its exit status.
 * Why: the busted specs have to run under the sanitizers too, and a sanitizer's run-time library must be part of the
 * program from its first instruction; Debian's luajit cannot be given it afterwards (with ThreadSanitizer it crashes).
 * SPEC_DEADLINE=SECONDS ends it when one spec takes longer: what the specs try to end may be what does not end any
 * more, and then nobody else would say which it was. lua_host.begin(name) starts the time anew (deadline.lua).
 * SPEC_GC=aggressive keeps the collector running all the time: a value that C forgot to anchor dies at once. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef CHATBOX_COVERAGE
#include "lua_lines.h"
#endif

static unsigned deadline_s;
static char running[256] = "(before the first spec)";

static void say(const char *text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) {
    _exit(3);
  }
}

/* Any loop may be what is running, so nothing but a signal's handler gets the word. */
static void on_alarm(int number) {
  (void)number;
  say("\nlua_host: took too long and was ended: ");
  say(running);
  say("\n");
  _exit(3);
}

static int l_begin(lua_State *L) {
  alarm(0);
  snprintf(running, sizeof running, "%s", luaL_checkstring(L, 1));
  alarm(deadline_s);
  return 0;
}

static void deadline_begin(lua_State *L) {
  const char *text = getenv("SPEC_DEADLINE");
  deadline_s = text ? (unsigned)strtoul(text, NULL, 10) : 0;
  static const luaL_Reg functions[] = {{"begin", l_begin}, {NULL, NULL}};
  luaL_register(L, "lua_host", functions);
  lua_pop(L, 1);
  if (deadline_s) {
    signal(SIGALRM, on_alarm);
    alarm(deadline_s);
  }
}

static void args_push(lua_State *L, int argc, char **argv) {
  lua_createtable(L, argc - 2, 2);
  for (int i = 0; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - 1);
  }
  lua_setglobal(L, "arg");
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s SCRIPT [ARGUMENT...]\n", argv[0]);
    return 2;
  }
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
#ifdef CHATBOX_COVERAGE
  lua_lines_begin(L);
#endif
  const char *gc = getenv("SPEC_GC");
  if (gc && strcmp(gc, "aggressive") == 0) {
    lua_gc(L, LUA_GCSETPAUSE, 0);
    lua_gc(L, LUA_GCSETSTEPMUL, 400);
  }
  args_push(L, argc, argv);
  deadline_begin(L);
  int failed = luaL_dofile(L, argv[1]);
  if (failed && lua_isstring(L, -1)) /* busted ends with an error that is no text when a spec failed */
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  return failed ? 1 : 0;
}
