/* In: session:set, append, send and the like. Out: effects on the session, collected in the running slice. Why: what
 * a handler wants happens all together when its slice ends well; nothing here changes anything at once. */
#include "lua_session_impl.h"

#include "effects.h"
#include "err.h"
#include "handle.h"
#include "id.h"
#include "known_options.h"
#include "slice.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* Pending commits per handler: what it changes meanwhile takes memory. */
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
  bool full = t->commits.in_flight >= COMMITS_MAX;
  struct effects *e = full ? NULL : slice_effects(t, s);
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
  options_check(L, 2, OPTIONS_SET);
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    const char *key = lua_tostring(L, -2);
    if (name_index(text_names, EFFECTS_TEXTS, key) >= 0) {
      const char *text = bind_field(L, 2, key, TEXT_FIELD_MAX, NULL);
      bind_check_utf8(L, key, text, strlen(text));
    } else if (!lua_isboolean(L, -1)) {
      luaL_error(L, "session:set: %s is true or false", key);
    }
  }
}

int l_session_set(lua_State *L) {
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

int l_session_add_tokens(lua_State *L) {
  int code;
  double n = luaL_checknumber(L, 2);
  luaL_argcheck(L, n >= 0 && n <= 1e12, 2, "tokens are 0 or more");
  struct effects *e = effects_here(L, &code);
  if (e) {
    e->tokens += (int64_t)n;
  }
  return bind_result(L, code);
}

int l_session_add_response_time(lua_State *L) {
  int code;
  double ms = luaL_checknumber(L, 2);
  luaL_argcheck(L, ms >= 0 && ms <= 4e9, 2, "a response time is 0 ms or more");
  struct effects *e = effects_here(L, &code);
  return bind_result(L, e ? effects_response(e, (uint32_t)ms) : code);
}

struct marks {
  int64_t received, read;
};

static void bound_marks(struct session *s, void *arg) REQUIRES_SHARED(*s) {
  struct marks *m = arg;
  int64_t top = (int64_t)session_fields(s)->top;
  m->received = m->received < top ? m->received : top;
  m->read = m->read < top ? m->read : top;
}

int l_session_mark(lua_State *L) {
  double received = luaL_checknumber(L, 2), read = luaL_checknumber(L, 3);
  luaL_argcheck(L, received >= 0 && received <= 9007199254740992.0, 2, "a seq is expected");
  luaL_argcheck(L, read >= 0 && read <= 9007199254740992.0, 3, "a seq is expected");
  struct marks m = {(int64_t)received, (int64_t)read};
  int code = bind_with_session(bind_vm(L), bind_check_session(L, 1), BIND_READ, bound_marks, &m);
  struct effects *e = code ? NULL : effects_here(L, &code);
  if (e) {
    e->received = m.received > e->received ? m.received : e->received;
    e->read = m.read > e->read ? m.read : e->read;
  }
  return bind_result(L, code);
}

int l_session_close(lua_State *L) {
  int code;
  struct effects *e = effects_here(L, &code);
  if (e) {
    e->close = true;
  }
  return bind_result(L, code);
}

int l_session_attempt(lua_State *L) {
  int code;
  struct task *t = bind_task(L);
  if (!t->session || session_id_handle(t->session) != bind_check_session(L, 1) || !t->errand.stored) {
    return luaL_error(L, "session:attempt: this handler deals with no stored message of the conversation");
  }
  struct effects *e = effects_here(L, &code);
  if (e) {
    effects_mark(e, t->errand.dealing.id, STORE_ATTEMPT);
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

/* Whether the message at index 2 is to be dealt with by the handler that appends it, which there is one of. */
static bool check_open(lua_State *L) {
  const struct task *t = bind_task(L);
  lua_getfield(L, 2, "open");
  bool open = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (open && (t->kind != TASK_MESSAGE || session_id_handle(t->session) != bind_check_session(L, 1))) {
    luaL_error(L, "session:append: only the handler of a message can leave one open, in its own conversation");
  }
  if (open && t->errand.dealing.id[0]) {
    luaL_error(L, "session:append: the handler deals with another message already");
  }
  return open;
}

/* The code of the refusal, when a message of this client was refused that would have been stored, and this is not that
 * one: it would lie in front of it. A script that lets its clients know asks chat.connection.held before. */
static int out_of_turn(const struct task *t, const char *sender, const char *cid, uint64_t now_ms) {
  struct conn_refusal why;
  bool says = t->kind == TASK_MESSAGE && t->conn && strcmp(sender, "user") == 0;
  return says && conn_waits(t->conn, cid, now_ms, &why) ? why.code : 0;
}

int l_session_append(lua_State *L) {
  static const char *const senders[] = {"user", "ai", "admin", "system"};
  luaL_checktype(L, 2, LUA_TTABLE);
  options_check(L, 2, OPTIONS_APPEND);
  size_t content_len;
  const char *sender = bind_field(L, 2, "sender", 16, NULL), *type = bind_field(L, 2, "type", 64, NULL);
  const char *content = bind_field(L, 2, "content", 1u << 20, &content_len);
  const char *cid = bind_field(L, 2, "cid", STORE_CID_MAX, NULL), *extra = bind_field(L, 2, "extra", 1u << 20, NULL);
  luaL_argcheck(L, sender && name_index(senders, 4, sender) >= 0, 2, "sender is user, ai, admin or system");
  luaL_argcheck(L, type && content, 2, "type and content are needed");
  bind_check_utf8(L, "type", type, strlen(type));
  bind_check_utf8(L, "content", content, content_len);
  bind_check_utf8(L, "cid", cid, cid ? strlen(cid) : 0);
  bind_check_utf8(L, "extra", extra, extra ? strlen(extra) : 0);
  bool open = check_open(L);
  struct task *t = bind_task(L);
  int code = out_of_turn(t, sender, cid, worker_turn_ms(bind_vm(L)->worker));
  if (code) {
    return bind_result(L, code);
  }
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
                             .at_ms = (int64_t)worker_wall_ms(bind_vm(L)->worker),
                             .open = open};
  id_new_at(m.at_ms, m.id);
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
  if (open) {
    slice_take_errand(t, id, false);
  }
  t->answered |= e->session == t->session && strcmp(sender, "ai") == 0;
  lua_pushlstring(L, id, STORE_ID_LEN);
  return 1;
}

int l_session_answered(lua_State *L) {
  struct task *t = bind_task(L);
  bool own = t->session && session_id_handle(t->session) == bind_check_session(L, 1);
  lua_pushboolean(L, own && t->answered);
  return 1;
}

struct send_options {
  uint64_t to, except;
  bool event, receipt;
  int protocol; /* 0: any */
};

/* Checked strictly: a typo in the options must not send to everybody what was meant for one. */
static void send_option(lua_State *L, const char *name, struct send_options *o) {
  uint64_t *which = strcmp(name, "to") == 0 ? &o->to : &o->except;
  bool *flag = strcmp(name, "event") == 0 ? &o->event : strcmp(name, "receipt") == 0 ? &o->receipt : NULL;
  if (strcmp(name, "protocol") == 0) {
    o->protocol = lua_type(L, -1) == LUA_TNUMBER ? (int)lua_tointeger(L, -1) : 0;
    luaL_argcheck(L, o->protocol == 1 || o->protocol == 2, 3, "protocol is 1 or 2");
  } else if (flag) {
    if (!lua_isboolean(L, -1)) {
      luaL_argerror(L, 3, lua_pushfstring(L, "%s is true or false", name));
    }
    *flag = lua_toboolean(L, -1);
  } else if (lua_type(L, -1) != LUA_TNUMBER) {
    luaL_error(L, "session:send: %s is a connection", name);
  } else {
    *which = bind_check_connection(L, lua_gettop(L));
  }
}

static void send_options(lua_State *L, struct send_options *o) {
  luaL_checktype(L, 3, LUA_TTABLE);
  options_check(L, 3, OPTIONS_SEND);
  for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1)) {
    send_option(L, lua_tostring(L, -2), o);
  }
  if (!o->to && !o->except && !o->event && !o->receipt && !o->protocol) {
    luaL_error(L, "session:send: the options name a connection");
  }
  if (o->to && o->event) {
    luaL_error(L, "session:send: an event is for everybody");
  }
  if (o->protocol && (o->to || o->event || o->receipt)) {
    luaL_error(L, "session:send: protocol is for what everybody who speaks it is told");
  }
  if (o->receipt && (!o->to || o->except)) {
    luaL_error(L, "session:send: a receipt is for one connection");
  }
}

int l_session_send(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  struct send_options o = {0};
  bind_check_utf8(L, "session:send", text, len);
  if (!lua_isnoneornil(L, 3)) {
    send_options(L, &o);
  }
  int code;
  struct effects *e = effects_here(L, &code);
  if (!e) {
    return bind_result(L, code);
  }
  struct message *m = message_new(text, len);
  code = !m                     ? UV_ENOMEM
         : o.protocol           ? effects_send_protocol(e, m, o.protocol, o.except)
         : o.event || o.receipt ? effects_send_event(e, m, o.to, o.except)
                                : effects_send(e, m, o.to, o.except, 0);
  message_unref(m);
  return bind_result(L, code);
}
