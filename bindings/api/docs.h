/* In: the tables of bound functions. Out: the reference page and the editor's stubs.
 * Why: what is written by hand beside a table drifts from it. */
#pragma once
#include <stdio.h>

/* docs/lua.md, in Markdown. */
void docs_lua(FILE *out);
/* LuaCATS annotations. */
void docs_stubs(FILE *out);
