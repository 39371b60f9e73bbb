/* In: an operation the store has answered. Out: what chat.store gives for it, on the stack. Why: a record looks the
 * same whichever function asked for it. */
#include "lua_store_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void set_text(lua_State *L, const char *name, const char *text) {
  bind_push_stored(L, text ? text : "", text ? strlen(text) : 0);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double n) {
  lua_pushnumber(L, n);
  lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool flag) {
  lua_pushboolean(L, flag);
  lua_setfield(L, -2, name);
}

static void push_record(lua_State *L, const struct session_record *r) {
  lua_createtable(L, 0, 20);
  set_text(L, "id", r->id);
  set_text(L, "user_id", r->user_id);
  set_text(L, "name", r->name);
  set_text(L, "model_id", r->model_id);
  set_text(L, "assisting_admin_id", r->assisting_admin_id);
  set_text(L, "assisting_admin_name", r->assisting_admin_name);
  set_number(L, "start_ms", (double)r->start_ms);
  set_number(L, "last_activity_ms", (double)r->last_activity_ms);
  set_number(L, "end_ms", (double)r->end_ms);
  set_number(L, "total_tokens", (double)r->total_tokens);
  set_number(L, "max_response_ms", (double)r->max_response_ms);
  set_number(L, "avg_response_ms", (double)r->avg_response_ms);
  set_number(L, "top", (double)r->top);
  if (r->share_token) {
    set_text(L, "share_token", r->share_token);
    set_number(L, "share_expires_ms", (double)r->share_expires_ms);
  }
  set_number(L, "received", (double)r->received);
  set_number(L, "read", (double)r->read);
  set_flag(L, "help_requested", r->help_requested);
  set_flag(L, "admin_assisted", r->admin_assisted);
  if (r->name_damaged) {
    set_flag(L, "name_damaged", true);
  }
}

static void push_message(lua_State *L, const struct message_record *m) {
  lua_createtable(L, 0, 8);
  set_number(L, "seq", (double)m->seq);
  set_text(L, "id", m->id);
  set_text(L, "sender", m->sender);
  set_text(L, "type", m->type);
  set_number(L, "at_ms", (double)m->at_ms);
  bind_push_stored(L, m->content ? m->content : "", m->content_len);
  lua_setfield(L, -2, "content");
  lua_pushstring(L, m->cid);
  lua_setfield(L, -2, "cid");
  if (m->extra) {
    bind_push_stored(L, m->extra, strlen(m->extra));
    lua_setfield(L, -2, "extra");
  }
  if (m->damaged) {
    set_flag(L, "damaged", true);
  }
}

static void push_place(lua_State *L, const struct message_record *m) {
  lua_createtable(L, 0, 3);
  lua_pushstring(L, m->id);
  lua_setfield(L, -2, "id");
  lua_pushnumber(L, (double)m->seq);
  lua_setfield(L, -2, "seq");
  lua_pushnumber(L, (double)m->at_ms);
  lua_setfield(L, -2, "at_ms");
}

int store_push_ready(lua_State *L, bool ready, const char *reason) {
  lua_pushboolean(L, ready);
  if (!ready) {
    lua_pushstring(L, reason);
  }
  return ready ? 1 : 2;
}

int store_push_epoch(lua_State *L, uint64_t epoch) {
  char text[24];
  snprintf(text, sizeof text, "%08" PRIx64, epoch);
  lua_pushstring(L, text);
  return 1;
}

static int push_list(lua_State *L, const struct store_op *op) {
  lua_createtable(L, (int)op->session_count, 0);
  for (size_t i = 0; i < op->session_count; i++) {
    push_record(L, &op->sessions[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  if (op->session_count < op->limit) {
    return 1;
  }
  lua_createtable(L, 0, 5);
  lua_pushstring(L, op->after.id);
  lua_setfield(L, -2, "id");
  lua_pushstring(L, op->after_user);
  lua_setfield(L, -2, "user_id");
  set_number(L, "start_ms", (double)op->after.start_ms);
  set_number(L, "value", (double)op->filter.after_value);
  set_number(L, "now_ms", (double)op->filter.now_ms);
  return 2;
}

static int push_totals(lua_State *L, const struct store_op *op) {
  const struct store_totals *t = &op->totals;
  lua_createtable(L, 0, 7);
  set_number(L, "sessions", (double)t->sessions);
  set_number(L, "active", (double)t->active);
  set_number(L, "assisted", (double)t->assisted);
  set_number(L, "tokens", (double)t->tokens);
  set_number(L, "max_response_ms", (double)t->max_response_ms);
  set_number(L, "avg_response_ms", (double)t->avg_response_ms);
  set_number(L, "lasted_ms", t->lasted_ms);
  return 1;
}

static int push_share(lua_State *L, const struct store_op *op) {
  if (op->kind == STORE_ERASE || op->sharing.revoke) {
    return bind_result(L, 0);
  }
  lua_createtable(L, 0, 2);
  lua_pushstring(L, op->session.share_token);
  lua_setfield(L, -2, "token");
  lua_pushnumber(L, (double)op->session.share_expires_ms);
  lua_setfield(L, -2, "expires_ms");
  return 1;
}

int store_push_answer(lua_State *L, const struct store_op *op) {
  if (op->kind == STORE_PING) {
    return store_push_ready(L, op->code == 0, op->reason ? op->reason : "the database does not answer");
  }
  if (op->code) {
    return bind_result(L, op->code);
  }
  if (op->kind == STORE_EPOCH) {
    return store_push_epoch(L, op->epoch);
  }
  if (op->kind == STORE_LIST) {
    return push_list(L, op);
  }
  if (op->kind == STORE_TOTALS) {
    return push_totals(L, op);
  }
  if (op->kind == STORE_SHARE || op->kind == STORE_ERASE) {
    return push_share(L, op);
  }
  if (op->kind == STORE_SESSION || op->kind == STORE_SHARED) {
    push_record(L, &op->session);
    return 1;
  }
  if (op->kind == STORE_CID) {
    push_place(L, &op->messages[0]);
    return 1;
  }
  size_t count = op->kind == STORE_SESSIONS ? op->session_count : op->message_count;
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    if (op->kind == STORE_SESSIONS) {
      push_record(L, &op->sessions[i]);
    } else {
      push_message(L, &op->messages[i]);
    }
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}
