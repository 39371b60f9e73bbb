/* In: the tables of bound functions. Out: the reference page and the editor's stubs.
 * Why: what is written by hand beside a table drifts from it. */
#pragma once
#include <stdio.h>

struct bind_module;

/* docs/lua.md, in Markdown. modules: end with NULL. */
void docs_lua(const struct bind_module *const *modules, FILE *out);
/* LuaCATS annotations. */
void docs_stubs(const struct bind_module *const *modules, FILE *out);
