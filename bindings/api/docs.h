/* In: the tables of bound functions. Out: the reference page and the stubs for the editor. Why: a page written by
 * hand soon differs from the code. */
#pragma once
#include <stdio.h>

struct bind_module;

/* docs/lua.md, in Markdown. modules: end with NULL. */
void docs_lua(const struct bind_module *const *modules, FILE *out);
/* LuaCATS annotations. */
void docs_stubs(const struct bind_module *const *modules, FILE *out);
