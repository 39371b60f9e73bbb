/* In: chat.session calls. Out: what one conversation is, and effects on it. Why: the handle is 8 bytes and finds
 * nothing when the conversation is gone; every look goes through bind_with_session, every change into the slice's
 * effects. */
#include "bind.h"

#include "effects.h"
#include "err.h"
#include "id.h"
#include "lobby.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define METATABLE "chat.session"
#define MEMBERS "chat.session.members" /* name -> method, or number of a field */
#define TEXT_FIELD_MAX 1000
#define ASK_DEFAULT_MS (5 * 60 * 1000)

/* The only userdata a script can get hold of; the VM in it tells it from all that is not ours. */
struct handle {
  const struct vm *vm;
  session_handle value;
};

static void push_handle(struct vm *vm, lua_State *L, session_handle value) {
  struct handle *h = lua_newuserdata(L, sizeof *h);
  *h = (struct handle){vm, value};
  lua_rawgeti(L, LUA_REGISTRYINDEX, vm->metatable_ref);
  lua_setmetatable(L, -2);
}

/* Puts the value on top of the stack under *ref, again and again under the same one. */
static void keep(lua_State *L, int *ref) {
  if (*ref) {
    lua_rawseti(L, LUA_REGISTRYINDEX, *ref);
  } else {
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
}

/* NULL when the session is gone. Pushes nothing. */
static struct cached *cached(struct vm *vm, lua_State *L, session_handle handle) {
  struct cached *c = &vm->cache[handle % VM_CACHE];
  if (c->handle == handle) {
    return c;
  }
  struct session *s = bind_session_ref(vm, handle);
  if (!s) {
    return NULL;
  }
  char id[STORE_ID_LEN + 1], user[TOKEN_USER_MAX + 1]; /* copies, because a push may raise */
  size_t user_len = strnlen(session_user(s), TOKEN_USER_MAX);
  memcpy(id, session_id(s), sizeof id);
  memcpy(user, session_user(s), user_len);
  session_unref(s);
  c->handle = 0;
  push_handle(vm, L, handle);
  keep(L, &c->handle_ref);
  lua_pushlstring(L, id, STORE_ID_LEN);
  keep(L, &c->id_ref);
  lua_pushlstring(L, user, user_len);
  keep(L, &c->user_ref);
  c->handle = handle;
  return c;
}

void bind_push_session(struct vm *vm, lua_State *L, session_handle value) {
  const struct cached *c = cached(vm, L, value);
  if (c) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->handle_ref);
  } else {
    push_handle(vm, L, value);
  }
}

session_handle bind_check_session(lua_State *L, int index) {
  const struct handle *h = lua_touserdata(L, index);
  if (!h || lua_objlen(L, index) != sizeof *h || h->vm != bind_vm(L)) {
    return luaL_typerror(L, index, "session"), 0;
  }
  return h->value;
}

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
  FIELD_MEMBERS,
  FIELD_HELP,
  FIELD_ASSISTED,
  FIELD_STORED
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
              {"members", FIELD_MEMBERS},
              {"help_requested", FIELD_HELP},
              {"admin_assisted", FIELD_ASSISTED},
              {"stored", FIELD_STORED}};

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
  } else if (r->field == FIELD_END && e->close && r->number == 0) {
    r->number = (double)e->now_ms;
  } else if (r->field == FIELD_LAST && e->message_count) {
    r->number = (double)e->now_ms;
  } else if (r->field == FIELD_STORED) {
    r->flag |= effects_stores(e);
  }
}

static const struct effects *pending(struct vm *vm, session_handle handle) {
  for (const struct effects *e = vm->current ? vm->current->effects : NULL; e; e = e->next) {
    if (session_id_handle(e->session) == handle) {
      return e;
    }
  }
  return NULL;
}

static void push_reading(lua_State *L, const struct reading *r) {
  if (r->field <= FIELD_ADMIN_NAME) {
    lua_pushstring(L, r->text);
  } else if (r->field <= FIELD_MEMBERS) {
    lua_pushnumber(L, r->number);
  } else {
    lua_pushboolean(L, r->flag);
  }
}

/* Id and user never change: no lock, and while the session is in memory no copy. */
static int push_immutable(lua_State *L, struct vm *vm, session_handle handle, enum field field) {
  struct session *s = bind_session_ref(vm, handle);
  const struct cached *c = s ? cached(vm, L, handle) : NULL;
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
    return luaL_error(L, "a session has no field or method %s", lua_tostring(L, 2));
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

/* ---- changing: into the effects of the slice ---- */

/* Commits of one handler on their way to the store: what it changes meanwhile has to wait somewhere. */
#define COMMITS_MAX 16

/* The effects on the session at index 1; NULL: *code says why, to be returned as a result. */
static struct effects *effects_here(lua_State *L, int *code) {
  struct vm *vm = bind_vm(L);
  struct task *t = bind_task(L);
  struct session *s = bind_session_ref(vm, bind_check_session(L, 1));
  if (!s) {
    *code = E_GONE;
    return NULL;
  }
  bool full = t->in_flight >= COMMITS_MAX;
  struct effects *e = full ? NULL : task_effects(t, s);
  session_unref(s);
  *code = e ? 0 : full ? E_FULL : UV_ENOMEM;
  return e;
}

static const char *const text_names[EFFECTS_TEXTS] = {"name", "model_id", "assisting_admin_id", "assisting_admin_name"};
static const char *const flag_names[EFFECTS_FLAGS] = {"help_requested", "admin_assisted"};

static int name_index(const char *const *names, int count, const char *name) {
  for (int i = 0; i < count; i++) {
    if (strcmp(names[i], name) == 0) {
      return i;
    }
  }
  return -1;
}

/* Every key and value is checked before anything is changed. */
static void check_changes(lua_State *L) {
  luaL_checktype(L, 2, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (name_index(text_names, EFFECTS_TEXTS, key) >= 0) {
      bind_field(L, 2, key, TEXT_FIELD_MAX, NULL);
    } else if (name_index(flag_names, EFFECTS_FLAGS, key) < 0) {
      luaL_error(L, "session:set cannot set %s", key);
    } else if (!lua_isboolean(L, -1)) {
      luaL_error(L, "session:set: %s is true or false", key);
    }
  }
}

static int l_session_set(lua_State *L) {
  int code;
  check_changes(L);
  struct effects *e = effects_here(L, &code);
  for (lua_pushnil(L); e && !code && lua_next(L, 2); lua_pop(L, 1)) {
    const char *key = lua_tostring(L, -2);
    int text = name_index(text_names, EFFECTS_TEXTS, key);
    if (text >= 0) {
      code = effects_set_text(e, (enum effects_text)text, lua_tostring(L, -1));
    } else {
      e->flags[name_index(flag_names, EFFECTS_FLAGS, key)] = (signed char)lua_toboolean(L, -1);
    }
  }
  return bind_result(L, code);
}

static int l_session_add_tokens(lua_State *L) {
  int code;
  double n = luaL_checknumber(L, 2);
  luaL_argcheck(L, n >= 0 && n <= 1e12, 2, "tokens are 0 or more");
  struct effects *e = effects_here(L, &code);
  if (e) {
    e->tokens += (int64_t)n;
  }
  return bind_result(L, code);
}

static int l_session_add_response_time(lua_State *L) {
  int code;
  double ms = luaL_checknumber(L, 2);
  luaL_argcheck(L, ms >= 0 && ms <= 4e9, 2, "a response time is 0 ms or more");
  struct effects *e = effects_here(L, &code);
  return bind_result(L, e ? effects_response(e, (uint32_t)ms) : code);
}

static int l_session_close(lua_State *L) {
  int code;
  struct effects *e = effects_here(L, &code);
  if (e) {
    e->close = true;
  }
  return bind_result(L, code);
}

static char *copy_bytes(const char *bytes, size_t len) {
  char *copy = bytes ? malloc(len + 1) : NULL;
  if (copy) {
    memcpy(copy, bytes, len);
    copy[len] = 0;
  }
  return copy;
}

static int l_session_append(lua_State *L) {
  static const char *const senders[] = {"user", "ai", "admin", "system"};
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t content_len;
  const char *sender = bind_field(L, 2, "sender", 16, NULL), *type = bind_field(L, 2, "type", 64, NULL);
  const char *content = bind_field(L, 2, "content", 1u << 20, &content_len);
  const char *cid = bind_field(L, 2, "cid", STORE_CID_MAX, NULL), *extra = bind_field(L, 2, "extra", 1u << 20, NULL);
  luaL_argcheck(L, sender && name_index(senders, 4, sender) >= 0, 2, "sender is user, ai, admin or system");
  luaL_argcheck(L, type && content, 2, "type and content are needed");
  int code;
  struct effects *e = effects_here(L, &code);
  if (!e) {
    return bind_result(L, code);
  }
  struct message_record m = {.sender = strdup(sender),
                             .type = strdup(type),
                             .content_len = content_len,
                             .content = copy_bytes(content, content_len),
                             .cid = cid ? strdup(cid) : NULL,
                             .extra = extra ? strdup(extra) : NULL,
                             .at_ms = (int64_t)worker_wall_ms(bind_vm(L)->worker)};
  id_new(m.id);
  char id[STORE_ID_LEN + 1];
  memcpy(id, m.id, sizeof id);
  if (!m.sender || !m.type || !m.content || (cid && !m.cid) || (extra && !m.extra)) {
    message_record_deinit(&m);
    return bind_result(L, UV_ENOMEM);
  }
  code = effects_append(e, &m);
  if (code) {
    return bind_result(L, code);
  }
  lua_pushlstring(L, id, STORE_ID_LEN);
  return 1;
}

struct send_options {
  uint64_t to, except;
  bool event;
};

/* A slip in the options must not send to everybody what was meant for one. */
static void send_option(lua_State *L, const char *name, struct send_options *o) {
  uint64_t *which = strcmp(name, "to") == 0 ? &o->to : strcmp(name, "except") == 0 ? &o->except : NULL;
  if (strcmp(name, "event") == 0) {
    luaL_argcheck(L, lua_isboolean(L, -1), 3, "event is true or false");
    o->event = lua_toboolean(L, -1);
  } else if (!which) {
    luaL_error(L, "session:send: there is no option %s", name);
  } else if (lua_type(L, -1) != LUA_TNUMBER) {
    luaL_error(L, "session:send: %s is a connection", name);
  } else {
    *which = bind_check_connection(L, lua_gettop(L));
  }
}

static void send_options(lua_State *L, struct send_options *o) {
  luaL_checktype(L, 3, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
    send_option(L, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?", o);
  }
  if (!o->to && !o->except && !o->event) {
    luaL_error(L, "session:send: the options name a connection");
  }
  if (o->to && o->event) {
    luaL_error(L, "session:send: an event is for everybody");
  }
}

static int l_session_send(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  struct send_options o = {0};
  if (!lua_isnoneornil(L, 3)) {
    send_options(L, &o);
  }
  int code;
  struct effects *e = effects_here(L, &code);
  if (!e) {
    return bind_result(L, code);
  }
  struct message *m = message_new(text, len);
  code = !m ? UV_ENOMEM : o.event ? effects_send_event(e, m, o.except) : effects_send(e, m, o.to, o.except, 0);
  message_unref(m);
  return bind_result(L, code);
}

/* ---- slices ---- */

static int l_session_commit(lua_State *L) {
  bind_check_session(L, 1);
  task_commit(bind_task(L));
  return bind_result(L, 0);
}

static int l_session_flush(lua_State *L) {
  bind_check_session(L, 1);
  return task_wait(L, "session:flush", task_begin_flush);
}

/* ---- asking ---- */

static void end_ask(struct task *t) {
  t->asking = false;
  session_set_asker(t->session, NULL);
}

static void on_ask_timeout(void *arg) {
  struct task *t = arg;
  t->timer = NULL;
  end_ask(t);
  lua_pushnil(t->co);
  lua_pushliteral(t->co, "nobody answered in time");
  lua_pushliteral(t->co, "TIMEOUT");
  task_resume(t, 3);
}

static void begin_ask(struct task *t) {
  t->asking = true;
  t->due_ms = 0;
  session_set_asker(t->session, t);
  t->timer = worker_timer(t->vm->worker, t->delay_ms, on_ask_timeout, t);
  task_give_turn(t);
}

static int l_session_ask(lua_State *L) {
  struct task *t = bind_task(L);
  uint64_t within = ASK_DEFAULT_MS;
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 2, "within");
    within = lua_isnil(L, -1) ? within : bind_duration(L, lua_gettop(L));
  }
  if (!t->session || session_id_handle(t->session) != bind_check_session(L, 1)) {
    return luaL_error(L, "session:ask: only the conversation of the message that is being handled can be asked");
  }
  if (session_asker(t->session)) {
    lua_pushnil(L);
    lua_pushliteral(L, "another handler is waiting for an answer");
    lua_pushliteral(L, "CONFLICT");
    return 3;
  }
  t->delay_ms = within;
  return task_wait(L, "session:ask", begin_ask);
}

#define COPY_DEPTH 16
#define COPY_VALUES 10000

/* Plain values go from one VM to another: the asker may be of an older version of the scripts. What is deeper, or more
 * than *left, is nil there. */
static void copy_value(lua_State *from, int index, lua_State *to, int depth, int *left) {
  size_t len;
  (*left)--;
  switch (lua_type(from, index)) {
  case LUA_TSTRING: {
    const char *text = lua_tolstring(from, index, &len);
    lua_pushlstring(to, text, len);
    break;
  }
  case LUA_TNUMBER:
    lua_pushnumber(to, lua_tonumber(from, index));
    break;
  case LUA_TBOOLEAN:
    lua_pushboolean(to, lua_toboolean(from, index));
    break;
  case LUA_TTABLE:
    if (depth == 0 || *left <= 0 || !lua_checkstack(to, 4) || !lua_checkstack(from, 4)) {
      lua_pushnil(to);
      break;
    }
    lua_newtable(to);
    for (lua_pushnil(from); lua_next(from, index); lua_pop(from, 1)) {
      int top = lua_gettop(from);
      if (*left <= 0) {
        lua_pop(from, 2);
        break;
      }
      copy_value(from, top - 1, to, depth - 1, left);
      copy_value(from, top, to, depth - 1, left);
      if (lua_isnil(to, -2)) {
        lua_pop(to, 2);
      } else {
        lua_rawset(to, -3);
      }
    }
    break;
  default:
    lua_pushnil(to);
  }
}

static int l_session_offer(lua_State *L) {
  struct vm *vm = bind_vm(L);
  luaL_checkany(L, 2);
  struct task *t = bind_task(L);
  bool own = t->session && session_id_handle(t->session) == bind_check_session(L, 1);
  struct task *asker = own ? session_asker(t->session) : NULL;
  if (!asker || vm->to_resume) {
    lua_pushboolean(L, 0);
    return 1;
  }
  end_ask(asker);
  if (asker->timer) {
    worker_timer_stop(vm->worker, asker->timer);
    asker->timer = NULL;
  }
  lua_settop(L, 2);
  if (asker->vm == vm) {
    lua_xmove(L, asker->co, 1);
  } else {
    int left = COPY_VALUES;
    copy_value(L, 2, asker->co, COPY_DEPTH, &left);
  }
  vm->to_resume = asker;
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- finding ---- */

static void on_opened(void *arg, struct session *s, int code) {
  struct task_ticket *ticket = arg;
  struct task *t = task_redeem(ticket);
  if (t) {
    if (s) {
      bind_push_session(t->vm, t->co, session_id_handle(s));
      if (t->opened) {
        session_unref(t->opened);
      }
      t->opened = session_ref(s); /* a handle just given stays good until the task ends or opens another */
    }
    task_resume(t, s ? 1 : bind_result(t->co, code));
  }
  if (s) {
    session_unref(s);
  }
}

static void begin_open(struct task *t) {
  struct task_ticket *ticket = task_ticket(t);
  char *id = t->text;
  t->text = NULL;
  lobby_load(t->vm->worker, id, on_opened, ticket);
  free(id);
}

static int l_session_open(lua_State *L) {
  const char *id = bind_text(L, 1, 1000);
  struct task *t = bind_task(L);
  free(t->text);
  t->text = strdup(id);
  return task_wait(L, "chat.session.open", begin_open);
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
  {"session:times", l_session_times, "", "table", false, "max, avg (ms) and count of the last 100 response times."},
  {"session:append", l_session_append, "message table", "string id", false,
   "Adds a message {sender, type, content, cid?, extra?}; extra is JSON text. The session is stored from then on."},
  {"session:close", l_session_close, "", "true", false, "Ends the conversation."},
  {"session:send", l_session_send, "text string, options? table", "true", false,
   "Sends one JSON document to every member, or {to = connection}, or {except = connection}. With {event = true} it is "
   "the event of the message appended last: it goes out with its id and seq, and not if that was a duplicate."},
  {"session:commit", l_session_commit, "", "true", false, "What was done so far takes effect now; nobody waits."},
  {"session:flush", l_session_flush, "", "table stored", true,
   "Waits until what this handler did is stored: {id, seq, cid, duplicate} of each message appended since the last "
   "flush (of very many only the last)."},
  {"session:ask", l_session_ask, "options? table", "any", true,
   "Waits for the user's next message, at most {within = duration} (5m); other messages run meanwhile."},
  {"session:offer", l_session_offer, "value any", "boolean", false,
   "Gives a value to the handler that asked, if one did."},
  {"open", l_session_open, "id string", "session", true,
   "A conversation by id, from memory or the store. Checks no owner."},
  {"method", l_session_method, "name string, fn function", "true", false,
   "Adds a method to all sessions, while loading."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_session = {"session", "One conversation.", functions};

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

void bind_open_session(struct vm *vm) {
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
  bind_push_function(vm, L, l_session_eq);
  lua_setfield(L, -2, "__eq");
  bind_push_function(vm, L, l_session_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
