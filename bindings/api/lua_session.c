/* In: a session handle in a script. Out: the fields and methods of the session.
 * Why: a handle finds nothing when the session is gone; every read goes through bind_with_session and includes the
 * pending changes of the slice. Changing: lua_session_change.c; waiting: lua_session_wait.c. */
#include "lua_session_impl.h"

#include "effects.h"
#include "err.h"
#include "handle.h"
#include "suggest.h"

#include <string.h>

#define METATABLE "chat.session"
#define MEMBERS "chat.session.members" /* name -> method, or number of a field */

/* ---- reading ---- */

enum field {
  FIELD_ID = 1,
  FIELD_USER,
  FIELD_NAME,
  FIELD_MODEL,
  FIELD_ADMIN_ID,
  FIELD_ADMIN_NAME,
  FIELD_START,
  FIELD_LAST,
  FIELD_END,
  FIELD_TOKENS,
  FIELD_TOP,
  FIELD_RECEIVED,
  FIELD_READ,
  FIELD_MEMBERS,
  FIELD_HELP,
  FIELD_ASSISTED,
  FIELD_STORED,
  FIELD_NAME_DAMAGED
};

static const struct {
  const char *name;
  enum field field;
} fields[] = {{"id", FIELD_ID},
              {"user_id", FIELD_USER},
              {"name", FIELD_NAME},
              {"model_id", FIELD_MODEL},
              {"assisting_admin_id", FIELD_ADMIN_ID},
              {"assisting_admin_name", FIELD_ADMIN_NAME},
              {"start_ms", FIELD_START},
              {"last_activity_ms", FIELD_LAST},
              {"end_ms", FIELD_END},
              {"total_tokens", FIELD_TOKENS},
              {"top", FIELD_TOP},
              {"received", FIELD_RECEIVED},
              {"read", FIELD_READ},
              {"members", FIELD_MEMBERS},
              {"help_requested", FIELD_HELP},
              {"admin_assisted", FIELD_ASSISTED},
              {"stored", FIELD_STORED},
              {"name_damaged", FIELD_NAME_DAMAGED}};

struct reading {
  enum field field;
  char text[TEXT_FIELD_MAX + 1];
  double number;
  bool flag;
};

static void copy_text(struct reading *r, const char *text) {
  size_t len = text ? strnlen(text, TEXT_FIELD_MAX) : 0;
  memcpy(r->text, text ? text : "", len);
  r->text[len] = 0;
}

static void read_field(struct session *s, void *arg) REQUIRES_SHARED(*s) {
  struct reading *r = arg;
  const struct session_record *f = session_fields(s);
  switch (r->field) {
  case FIELD_ID:
    copy_text(r, f->id);
    break;
  case FIELD_USER:
    copy_text(r, f->user_id);
    break;
  case FIELD_NAME:
    copy_text(r, f->name);
    break;
  case FIELD_MODEL:
    copy_text(r, f->model_id);
    break;
  case FIELD_ADMIN_ID:
    copy_text(r, f->assisting_admin_id);
    break;
  case FIELD_ADMIN_NAME:
    copy_text(r, f->assisting_admin_name);
    break;
  case FIELD_START:
    r->number = (double)f->start_ms;
    break;
  case FIELD_LAST:
    r->number = (double)f->last_activity_ms;
    break;
  case FIELD_END:
    r->number = (double)f->end_ms;
    break;
  case FIELD_TOKENS:
    r->number = (double)f->total_tokens;
    break;
  case FIELD_TOP:
    r->number = (double)f->top;
    break;
  case FIELD_RECEIVED:
    r->number = (double)f->received;
    break;
  case FIELD_READ:
    r->number = (double)f->read;
    break;
  case FIELD_MEMBERS:
    r->number = (double)session_member_count(s);
    break;
  case FIELD_HELP:
    r->flag = f->help_requested;
    break;
  case FIELD_ASSISTED:
    r->flag = f->admin_assisted;
    break;
  case FIELD_STORED:
    r->flag = session_stored(s);
    break;
  case FIELD_NAME_DAMAGED:
    r->flag = f->name_damaged;
    break;
  }
}

/* A slice sees its own changes before anybody else does. */
static void overlay(struct reading *r, const struct effects *e) {
  static const enum effects_text texts[] = {[FIELD_NAME] = EFFECTS_NAME,
                                            [FIELD_MODEL] = EFFECTS_MODEL,
                                            [FIELD_ADMIN_ID] = EFFECTS_ADMIN_ID,
                                            [FIELD_ADMIN_NAME] = EFFECTS_ADMIN_NAME};
  if (r->field >= FIELD_NAME && r->field <= FIELD_ADMIN_NAME && e->texts[texts[r->field]]) {
    copy_text(r, e->texts[texts[r->field]]);
  } else if (r->field == FIELD_HELP && e->flags[EFFECTS_HELP] >= 0) {
    r->flag = e->flags[EFFECTS_HELP];
  } else if (r->field == FIELD_ASSISTED && e->flags[EFFECTS_ASSISTED] >= 0) {
    r->flag = e->flags[EFFECTS_ASSISTED];
  } else if (r->field == FIELD_TOKENS) {
    r->number += (double)e->tokens;
  } else if (r->field == FIELD_RECEIVED || r->field == FIELD_READ) {
    double marked = (double)(r->field == FIELD_READ ? e->read : e->received);
    r->number = marked > r->number ? marked : r->number;
  } else if (r->field == FIELD_END && e->close && r->number == 0) {
    r->number = (double)e->now_ms;
  } else if (r->field == FIELD_LAST && e->message_count) {
    r->number = (double)e->now_ms;
  } else if (r->field == FIELD_STORED) {
    r->flag |= effects_stores(e);
  }
}

static const struct effects *pending(struct vm *vm, session_handle handle) {
  for (const struct effects *e = vm->current ? vm->current->slice.effects : NULL; e; e = e->next) {
    if (session_id_handle(e->session) == handle) {
      return e;
    }
  }
  return NULL;
}

static void push_reading(lua_State *L, const struct reading *r) {
  if (r->field <= FIELD_ADMIN_NAME) {
    bind_push_stored(L, r->text, strlen(r->text));
  } else if (r->field <= FIELD_MEMBERS) {
    lua_pushnumber(L, r->number);
  } else {
    lua_pushboolean(L, r->flag);
  }
}

/* Id and user never change, so they need no lock, and no copy while the session is in memory. */
static int push_immutable(lua_State *L, struct vm *vm, session_handle handle, enum field field) {
  bool here = bind_session_here(vm, handle);
  struct session *s = here ? NULL : bind_session_ref(vm, handle);
  const struct cached *c = here || s ? handle_cached(vm, L, handle) : NULL;
  if (s) {
    session_unref(s);
  }
  if (c) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, field == FIELD_ID ? c->id_ref : c->user_ref);
  } else {
    lua_pushnil(L);
  }
  return 1;
}

/* The names are those of the table at the second upvalue. */
static int no_member(lua_State *L) {
  struct suggest s;
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : NULL;
  suggest_init(&s, name);
  suggest_keys(&s, L, lua_upvalueindex(2));
  if (!name) {
    lua_pushfstring(L, "that is a %s", luaL_typename(L, 2));
    name = lua_tostring(L, -1);
  }
  return luaL_error(L, "a session has no field or method %s%s", name, suggest_push(&s, L));
}

static int l_session_newindex(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  return luaL_error(L, "attempt to index a session to change %s: session:set { %s = … } changes what can be changed",
                    name, name);
}

/* Upvalues: the VM, the members. */
static int l_session_index(lua_State *L) {
  session_handle handle = bind_check_session(L, 1);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(2));
  struct reading r;
  r.field = (enum field)lua_tointeger(L, -1);
  if (lua_isfunction(L, -1)) {
    return 1;
  }
  if (!r.field) {
    return no_member(L);
  }
  struct vm *vm = bind_vm(L);
  if (r.field == FIELD_ID || r.field == FIELD_USER) {
    return push_immutable(L, vm, handle, r.field);
  }
  if (bind_with_session(vm, handle, BIND_READ, read_field, &r)) {
    lua_pushnil(L);
    return 1;
  }
  const struct effects *e = pending(vm, handle);
  if (e) {
    overlay(&r, e);
  }
  push_reading(L, &r);
  return 1;
}

struct times {
  double max, avg, count;
};

static void read_times(struct session *s, void *arg) REQUIRES_SHARED(*s) {
  const struct session_record *f = session_fields(s);
  *(struct times *)arg =
    (struct times){(double)f->max_response_ms, (double)f->avg_response_ms, (double)f->response_count};
}

static int l_session_times(lua_State *L) {
  struct times t;
  int code = bind_with_session(bind_vm(L), bind_check_session(L, 1), BIND_READ, read_times, &t);
  if (code) {
    return bind_result(L, code);
  }
  lua_createtable(L, 0, 3);
  lua_pushnumber(L, t.max);
  lua_setfield(L, -2, "max");
  lua_pushnumber(L, t.avg);
  lua_setfield(L, -2, "avg");
  lua_pushnumber(L, t.count);
  lua_setfield(L, -2, "count");
  return 1;
}

static int l_session_method(lua_State *L) {
  bind_text(L, 1, 100);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  struct vm *vm = bind_vm(L);
  if (!vm->current || vm->current->kind != TASK_LOAD) {
    return luaL_error(L, "methods are added while scripts load");
  }
  lua_getfield(L, LUA_REGISTRYINDEX, MEMBERS);
  lua_pushvalue(L, 1);
  lua_rawget(L, -2);
  bool taken = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (taken) {
    return luaL_error(L, "a session has a field or method %s already", lua_tostring(L, 1));
  }
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  return bind_result(L, 0);
}

static int l_session_eq(lua_State *L) {
  lua_pushboolean(L, bind_check_session(L, 1) == bind_check_session(L, 2));
  return 1;
}

static int l_session_tostring(lua_State *L) {
  struct reading r = {.field = FIELD_ID};
  if (bind_with_session(bind_vm(L), bind_check_session(L, 1), BIND_READ, read_field, &r)) {
    lua_pushliteral(L, "session (gone)");
  } else {
    lua_pushstring(L, r.text);
  }
  return 1;
}

static const struct bind_function functions[] = {
  {"session:set", l_session_set, "changes table", "true", false,
   "Changes name, model_id, help_requested, admin_assisted, assisting_admin_id or assisting_admin_name."},
  {"session:add_tokens", l_session_add_tokens, "n number", "true", false, "Adds to total_tokens."},
  {"session:add_response_time", l_session_add_response_time, "ms number", "true", false,
   "Adds to the last 100 response times."},
  {"session:mark", l_session_mark, "received number, read number", "true", false,
   "The user's devices have it up to one seq, and the user has read it up to the other: session.received and "
   "session.read. What is lower than before changes nothing; neither goes beyond top."},
  {"session:times", l_session_times, "", "table", false, "max, avg (ms) and count of the last 100 response times."},
  {"session:append", l_session_append, "message table", "string id", false,
   "Adds a message {sender, type, content, cid?, extra?, open?}; extra is JSON text. The session is stored from then "
   "on. "
   "One that is open waits for an answer: it is dealt with when this handler has ended; if it cannot end, because the "
   "server does, the next one calls unanswered(session, message)."},
  {"session:answered", l_session_answered, "", "boolean", false,
   "Whether this handler has appended anything of sender ai to its own conversation."},
  {"session:attempt", l_session_attempt, "", "true", false,
   "Of unanswered: stores that its message is about to be dealt with once more; to be followed by session:flush."},
  {"session:close", l_session_close, "", "true", false, "Ends the conversation."},
  {"session:send", l_session_send, "text string, options? table", "true", false,
   "Sends one JSON document to every member, or {to = connection}, or {except = connection}. With {event = true} it is "
   "the event of the message appended last: it goes out with its id and seq, and not if that was a duplicate. With {to "
   "= connection, "
   "receipt = true} it is its receipt: it goes out in any case, with its id, seq and duplicate. With {protocol = 1}, "
   "or "
   "2, only members hear it whose clients speak that version."},
  {"session:fresh", l_session_fresh, "cid string", "boolean?", false,
   "true: the conversation has no message with this cid; false: it may have one; nil: chat.store.message knows."},
  {"session:keep", l_session_keep, "", "true", false,
   "What this handler of a message has done so far to its conversation is stored and sent even if it fails from now "
   "on: "
   "in one write with what follows, before it waits for anything and before anything takes effect at once. If that "
   "write "
   "fails the handler ends there, and its client is told."},
  {"session:commit", l_session_commit, "", "true", false, "What was done so far takes effect now; nobody waits."},
  {"session:flush", l_session_flush, "", "table stored", true,
   "Waits until what this handler did is stored: {id, seq, cid, duplicate, open} of each message appended since the "
   "last "
   "flush (of very many only the last). open: of a duplicate that nobody has dealt with; this handler does from now "
   "on."},
  {"session:ask", l_session_ask, "options? table", "any", true,
   "Waits for the user's next message, at most {within = duration} (5m); other messages run meanwhile."},
  {"session:offer", l_session_offer, "value any", "boolean", false,
   "Gives a value to the handler that asked, if one did."},
  {"session:current", l_session_current, "", "session", true,
   "The conversation its user goes on in: the active one, this or another; a new one when all have ended."},
  {"open", l_session_open, "id string", "session", true,
   "A conversation by id, from memory or the store. Checks no owner."},
  {"method", l_session_method, "name string, fn function", "true", false,
   "Adds a method to all sessions, while loading."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
static void open_session(struct vm *vm);
const struct bind_module bind_session = {"session", "One conversation.", functions, open_session};

static void push_members(struct vm *vm, lua_State *L) {
  lua_newtable(L);
  for (const struct bind_function *f = functions; f->name; f++) {
    const char *colon = strchr(f->name, ':');
    if (colon) {
      bind_push_function(vm, L, f->fn);
      lua_setfield(L, -2, colon + 1);
    }
  }
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushinteger(L, fields[i].field);
    lua_setfield(L, -2, fields[i].name);
  }
}

static void open_session(struct vm *vm) {
  lua_State *L = vm->L;
  luaL_newmetatable(L, METATABLE); // [meta]
  lua_pushvalue(L, -1);
  vm->metatable_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushlightuserdata(L, vm); // [meta, vm]
  push_members(vm, L);          // [meta, vm, members]
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, MEMBERS);
  lua_pushcclosure(L, l_session_index, 2);
  lua_setfield(L, -2, "__index"); // [meta]
  bind_push_function(vm, L, l_session_newindex);
  lua_setfield(L, -2, "__newindex");
  bind_push_function(vm, L, l_session_eq);
  lua_setfield(L, -2, "__eq");
  bind_push_function(vm, L, l_session_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
