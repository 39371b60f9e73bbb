/* In: calls of chat.store. Out: operations for the store (lua_store_ask.c), whose answers resume the handler. Why: what
 * a script asks for is checked here, and the store is never asked for what cannot be. */
#include "lua_store_impl.h"

#include "err.h"
#include "id.h"
#include "known_options.h"
#include "run.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define READY_LIMIT_MS 1500 /* a store that needs longer to answer a ping counts as away */

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
  options_check(L, 1, OPTIONS_SESSIONS);
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
  options_check(L, 1, OPTIONS_HISTORY);
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
  options_check(L, 1, OPTIONS_MESSAGE);
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
           ? store_push_epoch(L, epoch)
           : store_wait_for(L, store_op_new(STORE_EPOCH), "chat.store.epoch", store_begin_ask);
}

static void on_ready_timeout(void *arg) {
  struct task *t = arg;
  t->wait.timer = NULL;
  task_resume(t, store_push_ready(t->co, false, "the database does not answer in time"));
}

static void begin_ready(struct task *t) {
  t->wait.timer = worker_timer(t->vm->worker, READY_LIMIT_MS, on_ready_timeout, t);
  store_begin_ask(t);
}

static int l_store_ready(lua_State *L) {
  bind_task(L);
  if (atomic_load(bind_vm(L)->world->stopping)) {
    return store_push_ready(L, false, "the server is stopping");
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
