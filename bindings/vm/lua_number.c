/* In: math.max and min, bit.band, bor and bxor, string.char of a script: all that take any number of numbers. Out: the
 * same results as LuaJIT's own. Why: a text of digits is a number, too; one of some megabytes takes milliseconds to
 * read, and LuaJIT's functions read thousands of them in one go. Between two of them these look whether the slice has
 * to end. Bound: the size of the stack. */
#include "sandbox.h"

#include "bind.h"

#include <string.h>

#define TO_INTEGER 0x1.8p52 /* added to a number, it leaves its last 32 bits as an integer at the bottom */

static double number_at(lua_State *L, int i) {
  if (lua_type(L, i) == LUA_TSTRING) {
    guard_poll(L);
  }
  return luaL_checknumber(L, i);
}

/* Of two that cannot be compared it is the second, as in LuaJIT. */
static int l_math_max(lua_State *L) {
  double most = number_at(L, 1);
  for (int i = 2, n = lua_gettop(L); i <= n; i++) {
    double next = number_at(L, i);
    most = most > next ? most : next;
  }
  lua_pushnumber(L, most);
  return 1;
}

static int l_math_min(lua_State *L) {
  double least = number_at(L, 1);
  for (int i = 2, n = lua_gettop(L); i <= n; i++) {
    double next = number_at(L, i);
    least = least < next ? least : next;
  }
  lua_pushnumber(L, least);
  return 1;
}

static uint32_t bits_at(lua_State *L, int i) {
  double n = number_at(L, i) + TO_INTEGER;
  uint64_t bits;
  memcpy(&bits, &n, sizeof bits);
  return (uint32_t)bits;
}

static int push_bits(lua_State *L, uint32_t bits) {
  lua_pushinteger(L, (int32_t)bits);
  return 1;
}

static int l_bit_band(lua_State *L) {
  uint32_t bits = bits_at(L, 1);
  for (int i = 2, n = lua_gettop(L); i <= n; i++) {
    bits &= bits_at(L, i);
  }
  return push_bits(L, bits);
}

static int l_bit_bor(lua_State *L) {
  uint32_t bits = bits_at(L, 1);
  for (int i = 2, n = lua_gettop(L); i <= n; i++) {
    bits |= bits_at(L, i);
  }
  return push_bits(L, bits);
}

static int l_bit_bxor(lua_State *L) {
  uint32_t bits = bits_at(L, 1);
  for (int i = 2, n = lua_gettop(L); i <= n; i++) {
    bits ^= bits_at(L, i);
  }
  return push_bits(L, bits);
}

static int l_string_char(lua_State *L) {
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  for (int i = 1, n = lua_gettop(L); i <= n; i++) {
    double c = number_at(L, i);
    luaL_argcheck(L, c > -1 && c < 256, i, "invalid value");
    luaL_addchar(&out, (char)(unsigned char)c);
  }
  luaL_pushresult(&out);
  return 1;
}

static void add(lua_State *L, const char *library, const luaL_Reg *functions) {
  lua_newtable(L);
  luaL_register(L, NULL, functions);
  lua_setfield(L, -2, library);
}

void bind_push_numbers(lua_State *L) {
  static const luaL_Reg math[] = {{"max", l_math_max}, {"min", l_math_min}, {NULL, NULL}};
  static const luaL_Reg bit[] = {{"band", l_bit_band}, {"bor", l_bit_bor}, {"bxor", l_bit_bxor}, {NULL, NULL}};
  static const luaL_Reg string[] = {{"char", l_string_char}, {NULL, NULL}};
  lua_newtable(L);
  add(L, "math", math);
  add(L, "bit", bit);
  add(L, "string", string);
}
