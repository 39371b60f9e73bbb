/* In: chat.connection calls. Out: who is connected, and to which session a connection belongs.
 * Why: for scripts a connection is a number, which finds nothing once the client is gone. A script decides to move
 * one; its home worker does it. */
#include "api.h"

#include "effects.h"
#include "err.h"
#include "handle.h"
#include "slice.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define YEAR_10000_S 253402300800

/* The session at index 1 and the connection at index 2, both referenced. 0 or a code with nothing referenced. */
static int both(lua_State *L, struct session **s, struct conn **c) {
  struct vm *vm = bind_vm(L);
  session_handle handle = bind_check_session(L, 1);
  uint64_t id = bind_check_connection(L, 2);
  *s = bind_session_ref(vm, handle);
  *c = *s ? bind_connection_ref(vm, *s, id) : NULL;
  if (*c) {
    return 0;
  }
  if (*s) {
    session_unref(*s);
  }
  return E_GONE;
}

static void let_go(struct session *s, struct conn *c) {
  session_unref(s);
  conn_unref(c);
}

static int l_connection_user(lua_State *L) {
  struct session *s;
  struct conn *c;
  int code = both(L, &s, &c);
  if (code) {
    return bind_result(L, code);
  }
  struct identity *who = conn_identity(c);
  let_go(s, c);
  bind_push_identity(L, who);
  identity_unref(who);
  return 1;
}

static int l_connection_wanted(lua_State *L) {
  struct session *s;
  struct conn *c;
  int code = both(L, &s, &c);
  if (code) {
    return bind_result(L, code);
  }
  char wanted[CONN_WANTED_MAX + 1];
  strncpy(wanted, conn_wanted(c), sizeof wanted - 1);
  wanted[sizeof wanted - 1] = 0;
  let_go(s, c);
  lua_pushstring(L, wanted);
  return 1;
}

static int l_connection_refresh(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  const char *token = luaL_checklstring(L, 3, &len);
  struct session *s;
  struct conn *c;
  int code = both(L, &s, &c);
  if (code) {
    return bind_result(L, code);
  }
  struct token_verifier *verifier = vm->world->verifier;
  struct identity *fresh = NULL;
  uint64_t wait_ms;
  code = conn_may_renew(c, worker_now_ms(vm->worker), &wait_ms);
  code = code       ? code
         : verifier ? token_verify(verifier, token, len, (int64_t)(worker_wall_ms(vm->worker) / 1000), &fresh)
                    : E_UNSUPPORTED;
  if (!code && strcmp(fresh->user_id, conn_user(c)) != 0) {
    code = E_FORBIDDEN;
  }
  int64_t expires_s = code ? 0 : fresh->expires_s;
  if (!code) {
    conn_renew(c, fresh, worker_mailbox(vm->worker));
  }
  identity_unref(fresh);
  let_go(s, c);
  int count = bind_result(L, code);
  if (code == E_LIMITED) {
    lua_pushnumber(L, (double)wait_ms);
    return count + 1;
  }
  if (!code && expires_s && expires_s < YEAR_10000_S) { /* later is as good as never, and no date a script can write */
    lua_pushnumber(L, (double)expires_s * 1000);
    return count + 1;
  }
  return count;
}

struct rebind {
  struct post post;
  struct conn *conn;
  struct session *session;
};

/* At home, where it is known which conversation the connection is in: a script elsewhere, with messages of before an
 * earlier move, does not know. Whatever moves crossed on the way, it is a member of the last one alone. */
static void do_rebind(struct post *post) {
  struct rebind *r = (struct rebind *)post;
  struct session *old = conn_session(r->conn);
  if (conn_is_dead(r->conn)) {
    session_leave(r->session, r->conn, 0); /* it died on the way and had left only its old session */
  } else if (old != r->session) {
    int code = session_join(r->session, r->conn, 0); /* again: a move that crossed this one may have left it */
    if (old) {
      session_leave(old, r->conn, 0);
    }
    conn_bind(r->conn, r->session);
    if (code && code != E_DUPLICATE) { /* erased meanwhile: it joins anew */
      conn_close(r->conn, CLOSE_TRY_LATER, "the conversation is gone", conn_home(r->conn));
    }
  }
  let_go(r->session, r->conn);
  free(r);
}

static int move(struct vm *vm, struct session *from, struct session *to, struct conn *c) {
  uint64_t now = worker_now_ms(vm->worker);
  conn_want_nothing(c);
  struct rebind *r = malloc(sizeof *r);
  int code = r ? session_join(to, c, now) : UV_ENOMEM;
  if (code && code != E_DUPLICATE) {
    free(r);
    return code;
  }
  if (from != to) {
    session_leave(from, c, now);
  }
  *r = (struct rebind){.post.run = do_rebind, .conn = conn_ref(c), .session = session_ref(to)};
  if (conn_home(c) == worker_mailbox(vm->worker)) {
    do_rebind(&r->post);
  } else {
    mailbox_put(conn_home(c), &r->post);
  }
  return 0;
}

static int l_connection_move(lua_State *L) {
  struct vm *vm = bind_vm(L);
  bind_task(L);
  session_handle handle = bind_check_session(L, 3);
  struct session *s;
  struct conn *c;
  int code = both(L, &s, &c);
  if (code) {
    return bind_result(L, code);
  }
  struct session *to = bind_session_ref(vm, handle);
  code = to ? move(vm, s, to, c) : E_GONE;
  if (to) {
    session_unref(to);
  }
  let_go(s, c);
  return bind_result(L, code);
}

static int l_connection_forward(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  bind_task(L);
  session_handle handle = bind_check_session(L, 3);
  const char *text = luaL_checklstring(L, 4, &len);
  struct session *s;
  struct conn *c;
  int code = both(L, &s, &c);
  if (code) {
    return bind_result(L, code);
  }
  struct session *to = bind_session_ref(vm, handle);
  struct item *item = to ? item_new(ITEM_TEXT, c, text, len) : NULL;
  code = !to ? E_GONE : !item ? UV_ENOMEM : worker_put(vm->worker, to, item);
  if (code && item) {
    item_free(item);
  }
  if (to) {
    session_unref(to);
  }
  let_go(s, c);
  return bind_result(L, code);
}

static int l_connection_close(lua_State *L) {
  struct vm *vm = bind_vm(L);
  struct task *t = bind_task(L);
  int ws_code = (int)luaL_checkinteger(L, 3);
  const char *reason = bind_text(L, 4, CONN_REASON_MAX);
  bind_check_utf8(L, "reason", reason, strlen(reason));
  luaL_argcheck(L, ws_code >= 1000 && ws_code < 5000, 3, "a WebSocket close code is 1000 to 4999");
  uint64_t id = bind_check_connection(L, 2);
  struct session *s = bind_session_ref(vm, bind_check_session(L, 1));
  struct effects *e = s ? slice_effects(t, s) : NULL;
  struct message *m = message_new(reason, strlen(reason) + 1);
  int code = !s ? E_GONE : !e || !m ? UV_ENOMEM : effects_send(e, m, id, 0, ws_code);
  message_unref(m);
  if (s) {
    session_unref(s);
  }
  return bind_result(L, code);
}

static const struct bind_function functions[] = {
  {"user", l_connection_user, "session, connection number", "table user", false,
   "Who it is: {id, name, roles, admin}."},
  {"wanted", l_connection_wanted, "session, connection number", "string id", false,
   "The session id of the URL, or an empty text; also once it was moved."},
  {"refresh", l_connection_refresh, "session, connection number, token string", "true, number? expires_ms", false,
   "Takes a new token of the same user: its name, roles and expiry count from now on. EXPIRED, INVALID or TOO_BIG when "
   "it "
   "is no good, FORBIDDEN when it is another user's, LIMITED and in how many ms to try again: the connection keeps the "
   "token it has."},
  {"move", l_connection_move, "session, connection number, other session", "true", false,
   "Makes it a member of the other conversation; its later messages go there. Immediate."},
  {"forward", l_connection_forward, "session, connection number, other session, text string", "true", false,
   "Puts a text into the other conversation's inbox, as if it had come there. Immediate."},
  {"close", l_connection_close, "session, connection number, code number, reason string", "true", false,
   "Closes it with a WebSocket code, behind what was sent before."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_connection = {"connection", "One connected client.", functions, NULL};
