/* In: a name that does not exist, and those that do. Out: the one that was probably meant.
 * Why: most names that do not exist are a slip of the fingers, and whoever reads the error finds it sooner when it
 * says which. Only errors come here. Any thread. */
#pragma once
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#define SUGGEST_MAX 48    /* bytes; what is longer is not compared */
#define SUGGEST_NAMES 256 /* keys of a table; of more nothing is suggested */

struct suggest {
  const char *given; /* borrowed */
  char best[SUGGEST_MAX + 1];
  unsigned distance;
};

/* given may be NULL: nothing is near it. */
void suggest_init(struct suggest *s, const char *given);
void suggest_try(struct suggest *s, const char *name, size_t len);
/* The same for each word of a text, and for each key of the table at index (not from the top) that is a string. A pair
 * of names takes some microseconds, and no budget is looked at meanwhile. */
void suggest_words(struct suggest *s, const char *words);
void suggest_keys(struct suggest *s, lua_State *L, int index);
/* Pushes ": did you mean x?", or "" when nothing is near enough; returns it. */
const char *suggest_push(const struct suggest *s, lua_State *L);
/* suggest(given, names table) -> text as above; for Lua that is ours. */
int l_suggest(lua_State *L);
