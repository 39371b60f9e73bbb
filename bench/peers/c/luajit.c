/* In: the chat protocol's envelope as JSON. Out: an ai_response with the same content, made by a handler in Lua.
 * Why: the fastest way somebody could write this job in C and Lua by hand: the loop of raw.c, lua-cjson, a compiled
 * handler, nothing else. No token, no conversation, no budget, no store. */
#include "loop.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

int luaopen_cjson(lua_State *L);

static lua_State *L;
static int answer_ref, greet_ref;

/* The string on top of the stack, which is popped. */
static size_t take(uint8_t *to) {
  size_t length;
  const char *text = lua_tolstring(L, -1, &length);
  length = text && length <= ANSWER_MAX ? length : 0;
  memcpy(to, text ? text : "", length);
  lua_settop(L, 0);
  return length;
}

static size_t answer(uint8_t *to, uint8_t *message, size_t length, uint32_t mask) {
  unmask(message, message, length, mask);
  lua_rawgeti(L, LUA_REGISTRYINDEX, answer_ref);
  lua_pushlstring(L, (char *)message, length);
  lua_pcall(L, 1, 1, 0); /* an error's text is sent as it is: the generator counts it as no answer */
  return take(to);
}

static size_t greet(uint8_t *to) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, greet_ref);
  lua_pcall(L, 0, 1, 0);
  return take(to);
}

int main(int argc, char **argv) {
  L = luaL_newstate();
  luaL_openlibs(L);
  lua_pushcfunction(L, luaopen_cjson);
  lua_call(L, 0, 1);
  lua_setglobal(L, "cjson");
  if (argc != 2 || luaL_loadfile(L, argv[1]) || lua_pcall(L, 0, 2, 0)) {
    fprintf(stderr, "luajit: %s\n", argc == 2 ? lua_tostring(L, -1) : "names its handler: luajit FILE");
    return 1;
  }
  greet_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  answer_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return loop_run(&(struct handler){.answer = answer, .greet = greet});
}
