/* In: a Lua script and its arguments, as for luajit. Out: its exit status.
 * Why: the busted specs have to run under the sanitizers too, and a sanitizer's run-time library must be part of the
 * program from its first instruction; Debian's luajit cannot be given it afterwards (with ThreadSanitizer it crashes).
 * SPEC_GC=aggressive keeps the collector running all the time: a value that C forgot to anchor dies at once. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
  const char *gc = getenv("SPEC_GC");
  if (gc && strcmp(gc, "aggressive") == 0) {
    lua_gc(L, LUA_GCSETPAUSE, 0);
    lua_gc(L, LUA_GCSETSTEPMUL, 400);
  }
  args_push(L, argc, argv);
  int failed = luaL_dofile(L, argv[1]);
  if (failed && lua_isstring(L, -1)) /* busted ends with an error that is no text when a spec failed */
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  return failed ? 1 : 0;
}
