/* In: session:flush, ask, offer; chat.session.open. Out: the result, when there is one. Why: waiting for the store,
 * for the next message of the user, or for a session that is not in memory reads as if it blocked. */
#include "lua_session_impl.h"

#include "err.h"
#include "handle.h"
#include "join.h"
#include "known_options.h"
#include "run.h"
#include "slice.h"
#include "task.h"

#include <stdlib.h>
#include <string.h>

#define ASK_DEFAULT_MS (5 * 60 * 1000)

/* ---- slices ---- */

int l_session_commit(lua_State *L) {
  bind_check_session(L, 1);
  task_commit(bind_task(L));
  return bind_result(L, 0);
}

int l_session_flush(lua_State *L) {
  bind_check_session(L, 1);
  return task_wait(L, "session:flush", task_begin_flush);
}

/* ---- asking ---- */

static void end_ask(struct task *t) {
  t->wait.asking = false;
  session_set_asker(t->session, NULL);
}

static void on_ask_timeout(void *arg) {
  struct task *t = arg;
  t->wait.timer = NULL;
  end_ask(t);
  lua_pushnil(t->co);
  lua_pushliteral(t->co, "nobody answered in time");
  lua_pushliteral(t->co, "TIMEOUT");
  task_resume(t, 3);
}

static int asked_already(lua_State *L) {
  lua_pushnil(L);
  lua_pushliteral(L, "another handler is waiting for an answer");
  lua_pushliteral(L, "CONFLICT");
  return 3;
}

static void begin_ask(struct task *t) {
  if (session_asker(t->session)) { /* since it began to wait */
    t->wait.completed = asked_already(t->co);
    return;
  }
  t->wait.asking = true;
  t->wait.due_ms = 0;
  session_set_asker(t->session, t);
  t->wait.timer = worker_timer(t->vm->worker, t->wait.delay_ms, on_ask_timeout, t);
  task_give_turn(t);
}

int l_session_ask(lua_State *L) {
  struct task *t = bind_task(L);
  uint64_t within = ASK_DEFAULT_MS;
  if (!lua_isnoneornil(L, 2)) {
    luaL_checktype(L, 2, LUA_TTABLE);
    options_check(L, 2, OPTIONS_ASK);
    lua_pushliteral(L, "within");
    lua_rawget(L, 2);
    within = lua_isnil(L, -1) ? within : bind_duration(L, lua_gettop(L));
  }
  if (!t->session || session_id_handle(t->session) != bind_check_session(L, 1)) {
    return luaL_error(L, "session:ask: only the conversation of the message that is being handled can be asked");
  }
  if (session_asker(t->session)) {
    return asked_already(L);
  }
  t->wait.delay_ms = within;
  return task_wait(L, "session:ask", begin_ask);
}

#define COPY_DEPTH 16
#define COPY_VALUES 10000

/* Copies plain values from one VM to another: the asking handler may run in an older version. What is nested too
 * deeply, or exceeds *left, becomes nil. */
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

/* Gives the value at the top of L to whoever asked. */
static bool offer(struct vm *vm, lua_State *L, struct session *s) {
  struct task *asker = session_asker(s);
  if (!asker || vm->to_resume) {
    return false;
  }
  end_ask(asker);
  if (asker->wait.timer) {
    worker_timer_stop(vm->worker, asker->wait.timer);
    asker->wait.timer = NULL;
  }
  if (asker->vm == vm) {
    lua_xmove(L, asker->co, 1);
  } else {
    int left = COPY_VALUES;
    copy_value(L, lua_gettop(L), asker->co, COPY_DEPTH, &left);
  }
  vm->to_resume = asker;
  return true;
}

/* What is kept is stored now. */
static void begin_offer(struct task *t) {
  lua_rawgeti(t->co, LUA_REGISTRYINDEX, t->wait.value_ref);
  luaL_unref(t->co, LUA_REGISTRYINDEX, t->wait.value_ref);
  t->wait.value_ref = 0;
  bool given = offer(t->vm, t->co, t->session);
  lua_settop(t->co, 0);
  lua_pushboolean(t->co, given);
  t->wait.completed = 1;
}

int l_session_offer(lua_State *L) {
  struct vm *vm = bind_vm(L);
  luaL_checkany(L, 2);
  struct task *t = bind_task(L);
  bool own = t->session && session_id_handle(t->session) == bind_check_session(L, 1);
  lua_settop(L, 2);
  if (own && session_asker(t->session) && slice_unsettled(t)) {
    if (t->wait.value_ref) { /* left over from a wait that was refused */
      luaL_unref(L, LUA_REGISTRYINDEX, t->wait.value_ref);
    }
    t->wait.value_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return task_wait(L, "session:offer", begin_offer);
  }
  lua_pushboolean(L, own && offer(vm, L, t->session));
  return 1;
}

/* ---- keeping ---- */

int l_session_keep(lua_State *L) {
  struct task *t = bind_task(L);
  if (t->kind != TASK_MESSAGE || session_id_handle(t->session) != bind_check_session(L, 1)) {
    return luaL_error(L, "session:keep: only the handler of a message can, in its own conversation");
  }
  return bind_result(L, slice_keep(t));
}

/* true: the store has no message with this cid; false: it may have; nil: it is to be asked. */
int l_session_fresh(lua_State *L) {
  struct task *t = bind_task(L);
  bool own = t->session && session_id_handle(t->session) == bind_check_session(L, 1);
  const char *cid = bind_text(L, 2, STORE_CID_MAX);
  enum session_cid known = own ? session_cid_look(t->session, cid) : SESSION_CID_KNOWN;
  if (known == SESSION_CID_UNSURE) {
    lua_pushnil(L);
  } else {
    lua_pushboolean(L, known == SESSION_CID_NEW);
  }
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
      t->opened = session_ref(s); /* the new handle stays valid until the task ends or opens another session */
    }
    task_resume(t, s ? 1 : bind_result(t->co, code));
  }
  if (s) {
    session_unref(s);
  }
}

static void begin_open(struct task *t) {
  struct task_ticket *ticket = task_ticket(t);
  char *id = t->wait.text;
  t->wait.text = NULL;
  join_load(t->vm->worker, id, on_opened, ticket);
  free(id);
}

static void begin_current(struct task *t) {
  struct task_ticket *ticket = task_ticket(t);
  char *user = t->wait.text;
  t->wait.text = NULL;
  join_open(t->vm->worker, user, "", on_opened, ticket);
  free(user);
}

int l_session_current(lua_State *L) {
  struct task *t = bind_task(L);
  struct session *s = bind_session_ref(t->vm, bind_check_session(L, 1));
  if (!s) {
    return bind_result(L, E_GONE);
  }
  free(t->wait.text);
  t->wait.text = strdup(session_user(s));
  session_unref(s);
  return task_wait(L, "session:current", begin_current);
}

int l_session_open(lua_State *L) {
  const char *id = bind_text(L, 1, 1000);
  struct task *t = bind_task(L);
  free(t->wait.text);
  t->wait.text = strdup(id);
  return task_wait(L, "chat.session.open", begin_open);
}
