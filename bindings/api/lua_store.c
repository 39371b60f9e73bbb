/* In: chat.store calls. Out: stored data, as tables. Why: only the calling handler waits. The operation goes to the
 * threads of the store; the reply comes back through the mailbox of the worker and resumes the handler. */
#include "lua_store_impl.h"

#include "err.h"
#include "http.h"
#include "id.h"
#include "run.h"
#include "task.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define READY_LIMIT_MS 1500 /* a store that needs longer to answer a ping counts as away */

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

void store_push_record(lua_State *L, const struct session_record *r) {
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

static int push_ready(lua_State *L, bool ready, const char *reason) {
  lua_pushboolean(L, ready);
  if (!ready) {
    lua_pushstring(L, reason);
  }
  return ready ? 1 : 2;
}

static int push_epoch(lua_State *L, uint64_t epoch) {
  char text[24];
  snprintf(text, sizeof text, "%08" PRIx64, epoch);
  lua_pushstring(L, text);
  return 1;
}

static int push_answer(lua_State *L, const struct store_op *op) {
  if (op->kind == STORE_PING) {
    return push_ready(L, op->code == 0, op->reason ? op->reason : "the database does not answer");
  }
  if (op->code) {
    return bind_result(L, op->code);
  }
  if (op->kind == STORE_EPOCH) {
    return push_epoch(L, op->epoch);
  }
  if (op->kind == STORE_LIST) {
    return store_push_list(L, op);
  }
  if (op->kind == STORE_TOTALS) {
    return store_push_totals(L, op);
  }
  if (op->kind == STORE_SHARE || op->kind == STORE_ERASE) {
    return store_push_share(L, op);
  }
  if (op->kind == STORE_SESSION || op->kind == STORE_SHARED) {
    store_push_record(L, &op->session);
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
      store_push_record(L, &op->sessions[i]);
    } else {
      push_message(L, &op->messages[i]);
    }
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static void on_answer(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct task *t = task_redeem(op->arg);
  if (op->kind == STORE_ERASE) {
    store_erase_ended(op);
  }
  if (t && t->wait.timer) {
    worker_timer_stop(t->vm->worker, t->wait.timer);
    t->wait.timer = NULL;
  }
  if (t) {
    task_resume(t, push_answer(t->co, op));
  }
  store_op_free(op);
}

/* Whose part of the store's queue it takes. */
static const char *user_of(const struct task *t) {
  const struct identity *who = t->http ? t->http->identity : NULL;
  return t->session ? session_user(t->session) : who ? who->user_id : NULL;
}

void store_begin_ask(struct task *t) {
  struct store_op *op = t->wait.op;
  t->wait.op = NULL;
  op->post.run = on_answer;
  op->reply_to = worker_mailbox(t->vm->worker);
  op->arg = task_ticket(t);
  int code = op->kind == STORE_ERASE ? store_begin_erase(t, op)
                                     : store_submit_for(worker_home(t->vm->worker)->store, user_of(t), op);
  if (code) {
    op->code = code == E_FULL ? E_STORE : code;
    on_answer(&op->post);
  }
}

int store_wait_for(lua_State *L, struct store_op *op, const char *what, void (*begin)(struct task *)) {
  struct task *t = bind_task(L);
  if (!op) {
    return bind_result(L, UV_ENOMEM);
  }
  if (t->wait.op) {
    store_op_free(t->wait.op); /* left over from a wait that was refused */
  }
  t->wait.op = op;
  return task_wait(L, what, begin);
}

uint32_t store_limit_field(lua_State *L) {
  return (uint32_t)bind_number(L, 1, "limit", 100, 1, STORE_LIMIT_MAX);
}

/* What cannot be an id cannot be in the store; answered without asking. */
static int unknown(lua_State *L) {
  return bind_result(L, E_NOT_FOUND);
}

static int l_store_session(lua_State *L) {
  const char *id = bind_text(L, 1, 1000);
  bind_task(L);
  if (!id_valid(id)) {
    return unknown(L);
  }
  struct store_op *op = store_op_new(STORE_SESSION);
  if (op) {
    memcpy(op->session.id, id, STORE_ID_LEN + 1);
  }
  return store_wait_for(L, op, "chat.store.session", store_begin_ask);
}

static int l_store_sessions(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *user = bind_field(L, 1, "user_id", 1000, NULL);
  luaL_argcheck(L, user, 1, "user_id is needed");
  uint32_t limit = store_limit_field(L);
  struct store_place after = {0};
  store_after_field(L, &after);
  bind_task(L);
  struct store_op *op = store_op_new(STORE_SESSIONS);
  if (op) {
    op->limit = limit;
    op->after = after;
    op->session.user_id = strdup(user);
  }
  return store_wait_for(L, op, "chat.store.sessions", store_begin_ask);
}

static int l_store_history(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *id = bind_field(L, 1, "session_id", 1000, NULL);
  luaL_argcheck(L, id, 1, "session_id is needed");
  uint32_t limit = store_limit_field(L);
  double before = bind_number(L, 1, "before_seq", 0, 0, 9007199254740992.0);
  double bytes = bind_number(L, 1, "bytes", 0, 0, STORE_HISTORY_BYTES);
  bind_task(L);
  if (!id_valid(id)) {
    return unknown(L);
  }
  struct store_op *op = store_op_new(STORE_HISTORY);
  if (op) {
    memcpy(op->session.id, id, STORE_ID_LEN + 1);
    op->limit = limit;
    op->before_seq = (uint64_t)before;
    op->bytes = (size_t)bytes;
  }
  return store_wait_for(L, op, "chat.store.history", store_begin_ask);
}

static int l_store_message(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *id = bind_field(L, 1, "session_id", 1000, NULL), *cid = bind_field(L, 1, "cid", STORE_CID_MAX, NULL);
  luaL_argcheck(L, id && cid, 1, "session_id and cid are needed");
  bind_task(L);
  if (!id_valid(id)) {
    return unknown(L);
  }
  struct store_op *op = store_op_new(STORE_CID);
  if (op && (op->messages = calloc(1, sizeof *op->messages))) {
    memcpy(op->session.id, id, STORE_ID_LEN + 1);
    op->message_count = 1;
    op->messages[0].cid = strdup(cid);
  }
  return store_wait_for(L, op, "chat.store.message", store_begin_ask);
}

static int l_store_epoch(lua_State *L) {
  struct store *store = worker_home(bind_vm(L)->worker)->store;
  uint64_t epoch;
  bind_task(L);
  return store && store_epoch(store, &epoch)
           ? push_epoch(L, epoch)
           : store_wait_for(L, store_op_new(STORE_EPOCH), "chat.store.epoch", store_begin_ask);
}

static void on_ready_timeout(void *arg) {
  struct task *t = arg;
  t->wait.timer = NULL;
  task_resume(t, push_ready(t->co, false, "the database does not answer in time"));
}

static void begin_ready(struct task *t) {
  t->wait.timer = worker_timer(t->vm->worker, READY_LIMIT_MS, on_ready_timeout, t);
  store_begin_ask(t);
}

static int l_store_ready(lua_State *L) {
  bind_task(L);
  if (atomic_load(bind_vm(L)->world->stopping)) {
    return push_ready(L, false, "the server is stopping");
  }
  return store_wait_for(L, store_op_new(STORE_PING), "chat.store.ready", begin_ready);
}

static const struct bind_function functions[] = {
  {"session", l_store_session, "id string", "table record", true, "A stored conversation, without its messages."},
  {"sessions", l_store_sessions, "query table", "table records", true,
   "Conversations of {user_id, limit? = 100, after?}, newest first; after: the last record of the page before."},
  {"list", store_list, "query table", "table records, table? last", true,
   "Conversations of everybody, or of {user_id?}: {active?, assisted?} booleans, that began {from_ms?} to {to_ms?}, by "
   "{sort? = start_time, end_time, message_count, total_tokens, user_id, duration, last_activity}, {ascending?}, "
   "{limit? = 100}, {offset?}, behind {after?}: what the page before gave as last. No last: there is nothing behind."},
  {"totals", store_totals, "query table", "table totals", true,
   "Of all conversations that began {from_ms} to {to_ms}: sessions, active, assisted, tokens, max_response_ms, "
   "avg_response_ms, lasted_ms."},
  {"share", store_share, "query table", "table share", true,
   "Lets whoever has the token read {session_id} of {user_id} until {expires_ms?} (0: for ever): {token, expires_ms}. "
   "One that is there and holds stays, and has that expiry if one was given."},
  {"unshare", store_unshare, "query table", "true", true,
   "Nobody reads {session_id} of {user_id} by a token any more."},
  {"shared", store_shared, "token string", "table record", true,
   "The conversation with that token; it may have expired."},
  {"erase", store_erase, "query table", "true", true,
   "Erases {session_id} of {user_id}: in memory, and in the store. {actor} is written down."},
  {"history", l_store_history, "query table", "table messages", true,
   "The last {limit? = 100} messages of {session_id} before {before_seq?}, oldest first; fewer when their content is "
   "more than {bytes? = 16 MiB}. One that cannot be read, or is not genuine, has damaged = true and no content, "
   "whatever else it says."},
  {"message", l_store_message, "query table", "table message", true,
   "{id, seq, at_ms} of the message with {cid} in the conversation {session_id}."},
  {"epoch", l_store_epoch, "", "string epoch", true,
   "Another one when the database has become an older one (a backup was put in its place), whose seqs are given anew. "
   "Waits only once."},
  {"ready", l_store_ready, "", "boolean, string? reason", true,
   "Whether the store answers within 1.5 s, no write waits for it, its files are whole and where they were, the disk "
   "has room, and the server is not stopping; and if not, what it is."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_store = {"store", "What is stored.", functions, NULL};
