/* In: Lua stacks. Out: checked arguments, results in the form the house uses, and the only way to a session.
 * Why: a Lua error is a long jump and would leave a lock held, so a function that runs under a lock never sees a
 * lua_State. A binding checks, locks, copies, unlocks, pushes; the locking part is here (bind_with_session) and
 * nowhere else. Misuse raises an error; what can happen at run time returns nil, message, code. */
#pragma once
#ifndef ROOM_BINDINGS
#error "bind.h is private to the bindings"
#endif

#include "attr.h"
#include "machine.h"

#include <stdbool.h>

/* One row for each bound function; the reference page and the stubs for the editor are made from these. */
struct bind_function {
  const char *name; /* "append", or "session:append" for a method */
  lua_CFunction fn;
  const char *arguments; /* "record table" … as LuaCATS writes them: "name type, name? type" */
  const char *returns;   /* "string id" */
  bool waits;
  const char *doc;
};
struct bind_module {
  const char *name; /* "session" */
  const char *doc;
  const struct bind_function *functions; /* ends with a NULL name */
  void (*open)(struct vm *vm);           /* before scripts load; may be NULL */
};

/* The VM of a binding function: every one is a closure over it. */
struct vm *bind_vm(lua_State *L);
struct task *bind_task(lua_State *L); /* raises while a script is loading */
void bind_push_function(struct vm *vm, lua_State *L, lua_CFunction fn);
/* Pushes a table with the module's functions (not its methods). */
void bind_push_module(struct vm *vm, lua_State *L, const struct bind_module *m);

/* Pushes true for code 0, else nil, message and the name of the code. Returns the number of results. */
int bind_result(lua_State *L, int code);
/* "5m", "250ms" or a number of ms ≥ 0; raises for anything else. */
uint64_t bind_duration(lua_State *L, int index);
/* A string without NUL bytes, so that C can use it; raises when it has one or is longer than max. */
const char *bind_text(lua_State *L, int index, size_t max);
/* The text in a field of the table at index (positive), read without metatables; NULL when it is nil; raises when it
 * is not a string or longer than max. Borrowed from the table. */
const char *bind_field(lua_State *L, int index, const char *name, size_t max, size_t *len);
/* Raises, naming what and the first wrong byte (counted from 1), when text is not UTF-8. */
void bind_check_utf8(lua_State *L, const char *what, const char *text, size_t len);
/* Pushes a text of the store. It was checked when it came, but not by earlier versions, and one that is not UTF-8 would
 * cut off every client that reads it: it is pushed with U+FFFD for what is wrong, and the first time the log says so.
 */
void bind_push_stored(lua_State *L, const char *text, size_t len);
/* The same for a number; `otherwise` when the field is nil. Raises when it is not a number from least to most. */
double bind_number(lua_State *L, int index, const char *name, double otherwise, double least, double most);
/* The id of a connection; raises for a value that cannot be one. */
uint64_t bind_check_connection(lua_State *L, int index);

/* The file of the script that called, as "scripts/bots/echo.lua"; "" when no script is on the stack. */
#define BIND_SCRIPT_MAX 127
void bind_script(lua_State *L, char out[BIND_SCRIPT_MAX + 1]);

/* ---- sessions ---- */

enum bind_lock { BIND_READ, BIND_WRITE };
/* The session of the running task if the handle refers to it, else NULL. It is kept alive by the task. Not locked. */
struct session *bind_session_here(struct vm *vm, session_handle handle);
/* The session behind a handle: a new reference, or NULL when it is gone. Not locked. */
struct session *bind_session_ref(struct vm *vm, session_handle handle);
/* Locks the session, calls fn(s, arg), unlocks. fn must not touch Lua, call out or take a lock. Returns 0 or E_GONE. */
int bind_with_session(struct vm *vm, session_handle handle, enum bind_lock how,
                      void (*fn)(struct session *s, void *arg), void *arg);
/* A connection that is a member of the session (or the current task's own): a new reference, or NULL. */
struct conn *bind_connection_ref(struct vm *vm, struct session *s, uint64_t id);

void bind_push_identity(lua_State *L, const struct identity *who);
/* NULL: nil. */
void bind_push_connection(lua_State *L, const struct conn *c);
