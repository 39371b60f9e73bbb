/* In: table.insert and table.sort of a script. Out: the same result as LuaJIT's own.
 * Why: these check regularly whether the slice has to end. LuaJIT's versions never do: an insert far below the list
 * moves two billion elements, and a sort runs as long as its comparison wants, which may compare strings of many
 * megabytes or be a C function, where no hook fires. Bound: the budget of the slice; NESTING_MAX and guard_deep
 * for comparisons that sort again. */
#include "sandbox.h"

#include "bind.h"

#include <stdbool.h>

#define LOOK_EVERY 256 /* elements moved between two checks */
#define SORT_SLOTS 16  /* of Lua's stack, for one level */

enum { LIST = 1, LESS = 2 };

static int l_table_insert(lua_State *L) {
  luaL_checktype(L, LIST, LUA_TTABLE);
  int end = (int)lua_objlen(L, LIST) + 1, arguments = lua_gettop(L);
  if (arguments == 2) {
    lua_rawseti(L, LIST, end);
    return 0;
  }
  if (arguments != 3) {
    return luaL_error(L, "wrong number of arguments to 'insert'");
  }
  int at = luaL_checkint(L, 2);
  for (int i = end; i > at; i--) {
    if (i % LOOK_EVERY == 0) {
      guard_poll(L);
    }
    lua_rawgeti(L, LIST, i - 1);
    lua_rawseti(L, LIST, i);
  }
  lua_rawseti(L, LIST, at);
  return 0;
}

/* ---- sort: by exchanging, so that a list whose comparison fails half-way has lost nothing ---- */

/* a, b: indices on the stack, counted from its bottom. */
static bool less(lua_State *L, int a, int b) {
  guard_poll(L);
  if (lua_isnil(L, LESS)) {
    return lua_lessthan(L, a, b);
  }
  lua_pushvalue(L, LESS);
  lua_pushvalue(L, a);
  lua_pushvalue(L, b);
  lua_call(L, 2, 1);
  bool is_less = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is_less;
}

/* Whether element i comes before the value at stack place `value`, or, turned, behind it. */
static bool before(lua_State *L, int i, int value, bool turned) {
  lua_rawgeti(L, LIST, i);
  int element = lua_gettop(L);
  bool is_less = turned ? less(L, value, element) : less(L, element, value);
  lua_pop(L, 1);
  return is_less;
}

static void exchange(lua_State *L, int i, int j) {
  lua_rawgeti(L, LIST, i);
  lua_rawgeti(L, LIST, j);
  lua_rawseti(L, LIST, i);
  lua_rawseti(L, LIST, j);
}

static void order_pair(lua_State *L, int i, int j) {
  lua_rawgeti(L, LIST, i);
  bool wrong = before(L, j, lua_gettop(L), false);
  lua_pop(L, 1);
  if (wrong) {
    exchange(L, i, j);
  }
}

/* Splits first..last, of which first <= middle <= last holds for three of them: *left ends the lower part, *right
 * begins the upper one, and both are shorter than the whole. */
static void split(lua_State *L, int first, int last, int *left, int *right) {
  int i = first, j = last;
  lua_rawgeti(L, LIST, first + (last - first) / 2);
  int pivot = lua_gettop(L);
  for (;;) {
    while (before(L, ++i, pivot, false)) {
      if (i >= last) {
        luaL_error(L, "invalid order function for sorting");
      }
    }
    while (before(L, --j, pivot, true)) {
      if (j <= first) {
        luaL_error(L, "invalid order function for sorting");
      }
    }
    if (i >= j) {
      break;
    }
    exchange(L, i, j);
  }
  lua_pop(L, 1);
  *left = i == j ? j - 1 : j;
  *right = i == j ? i + 1 : i;
}

/* Calls itself for the shorter part only: at most 31 levels. */
static void sort(lua_State *L, int first, int last) {
  luaL_checkstack(L, SORT_SLOTS, "too many inside one another");
  while (first < last) {
    int left, right, middle = first + (last - first) / 2;
    order_pair(L, first, last);
    if (last - first == 1) {
      return;
    }
    order_pair(L, first, middle);
    order_pair(L, middle, last);
    if (last - first == 2) {
      return;
    }
    split(L, first, last, &left, &right);
    if (left - first < last - right) {
      sort(L, first, left);
      first = right;
    } else {
      sort(L, right, last);
      last = left;
    }
  }
}

static int l_table_sort(lua_State *L) {
  luaL_checktype(L, LIST, LUA_TTABLE);
  if (!lua_isnoneornil(L, LESS)) {
    luaL_checktype(L, LESS, LUA_TFUNCTION);
  }
  /* An error takes long to find its way out of much C, so one sort inside another counts like a protected call. */
  struct guard *g = guard_running();
  unsigned outer = 0;
  if (guard_deep(L) || (g && !nesting_protect(&g->nesting, &outer))) {
    return luaL_error(L, "table.sort: too many inside one another");
  }
  lua_settop(L, 2);
  sort(L, 1, (int)lua_objlen(L, LIST));
  if (g) {
    nesting_release(&g->nesting, outer);
  }
  return 0;
}

void bind_push_tables(lua_State *L) {
  static const luaL_Reg functions[] = {{"insert", l_table_insert}, {"sort", l_table_sort}, {NULL, NULL}};
  lua_newtable(L);
  luaL_register(L, NULL, functions);
}
