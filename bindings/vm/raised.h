/* In: whatever a script has raised, and the stack it was raised on. Out: one text for people: where, and what.
 * Why: an error need not be a text, and need not say where it was. A table shows its message, what its __tostring makes
 * of it, or its fields; what says no place gets that of the innermost line of a script.
 * Thread: the VM's own. Bound: a text is as long as it is, everything else RAISED_MAX bytes; __tostring has the budget
 * of a slice, and what is left of the message's. */
#pragma once
#include "machine.h"

#define RAISED_MAX 512

/* Of the value at the top of co, which is not running. spent_ns: what its message has used; it grows. A heap string,
 * the caller frees; NULL: out of memory. */
char *raised_text(struct vm *vm, lua_State *co, uint64_t *spent_ns);
/* "scripts/bots/x.lua:3": the innermost line of a script on the stack of co; false: there is none, out is empty. */
bool raised_place(lua_State *co, char *out, size_t room);
/* The text with the place before it, unless it names one; as raised_text. */
char *raised_join(const char *place, const char *text);

/* The same for scripts that have not loaded: what require has raised says its place itself, what the guard has ended
 * does not. The value stays at the top of the VM's stack. */
void raised_loading(struct vm *vm, char why[RAISED_MAX]);

/* Why nobody can wait where L is: "table.sort (scripts/bots/x.lua:3)" in out; false: one can. */
bool raised_inside(lua_State *L, char out[RAISED_MAX]);
/* Once the sandbox is there: pops its table of C functions and their names, for raised_inside. */
void raised_take_names(lua_State *L);

/* For the sandbox: describe(value) -> text without a place; inside() -> text or nil, as raised_inside. */
void bind_push_describe(lua_State *L);
void bind_push_inside(lua_State *L);
