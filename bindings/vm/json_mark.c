/* In: tables that stand for an array, or for JSON that is encoded already. Out: the mark of each, which is its
 * metatable. Why: reading sets marks, writing looks for them, and scripts set them (lua_json.c); see json.h. */
#include "json.h"

static char marks[2]; /* their addresses are keys of the registry */

void json_marks_open(lua_State *L) {
  for (int i = 0; i < 2; i++) {
    lua_pushlightuserdata(L, &marks[i]);
    lua_newtable(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
  }
}

static void push_mark(lua_State *L, enum json_mark mark) {
  lua_pushlightuserdata(L, &marks[mark]);
  lua_rawget(L, LUA_REGISTRYINDEX);
}

void json_mark(lua_State *L, enum json_mark mark) {
  push_mark(L, mark);
  lua_setmetatable(L, -2);
}

const void *json_mark_of(lua_State *L, enum json_mark mark) {
  push_mark(L, mark);
  const void *address = lua_topointer(L, -1);
  lua_pop(L, 1);
  return address;
}
