/* In: chat.connection calls. Out: who is connected, and to which session a connection belongs.
 * Why: for scripts a connection is a number, which finds nothing once the client is gone. A script decides to move
 * one; its home worker does it. */
#include "api.h"

#include "catchup.h"
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

#define GATHERED_MAX 256 /* connections at once; who is left follows with what it says itself */

struct followers {
  struct vm *vm;
  struct session *to;
  size_t count;
  uint64_t moved[GATHERED_MAX];
};

static bool has_ended(const struct session *s) {
  session_lock_read(s);
  bool ended = session_fields(s)->end_ms != 0;
  session_unlock_read(s);
  return ended;
}

/* Not one that came to read what has ended. */
static void gather_one(struct session *from, struct conn *c, void *arg) {
  struct followers *g = arg;
  bool reads = strcmp(conn_wanted(c), session_id(from)) == 0;
  if (from != g->to && !reads && g->count < GATHERED_MAX && has_ended(from) && move(g->vm, from, g->to, c) == 0) {
    g->moved[g->count++] = conn_id(c);
  }
}

static int l_connection_gather(lua_State *L) {
  struct vm *vm = bind_vm(L);
  bind_task(L);
  struct session *s = bind_session_ref(vm, bind_check_session(L, 1));
  if (!s) {
    return bind_result(L, E_GONE);
  }
  struct followers g = {.vm = vm, .to = s};
  sessions_each_of_user(worker_home(vm->worker)->sessions, session_user(s), gather_one, &g);
  session_unref(s);
  lua_createtable(L, (int)g.count, 0);
  for (size_t i = 0; i < g.count; i++) {
    lua_pushnumber(L, (double)g.moved[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

static int l_connection_forward(lua_State *L) {
  struct vm *vm = bind_vm(L);
  size_t len;
  struct task *t = bind_task(L);
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
  if (item && t->item) {
    item->behind = t->item->behind;
    t->item->behind.cid = 0;
  }
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

/* RFC 6455, section 7.4: the others stand for something that is never in a close frame, or are for later versions. */
static bool may_be_sent(int code) {
  bool defined = code >= 1000 && code <= 1014 && (code < 1004 || code > 1006);
  return defined || (code >= 3000 && code < 5000);
}

static int l_connection_close(lua_State *L) {
  struct vm *vm = bind_vm(L);
  struct task *t = bind_task(L);
  int ws_code = (int)luaL_checkinteger(L, 3);
  const char *reason = bind_text(L, 4, CONN_REASON_MAX);
  bind_check_utf8(L, "reason", reason, strlen(reason));
  luaL_argcheck(L, may_be_sent(ws_code), 3, "a close code is 1000 to 1014 without 1004 to 1006, or 3000 to 4999");
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

/* The words of a refusal that can be sent again, as init.lua's refused has them. */
static const struct {
  const char *name;
  int code;
} refusals[] = {{"LIMITED", E_LIMITED}, {"FULL", E_FULL}, {"STORE", E_STORE}};
#define REFUSALS (sizeof refusals / sizeof *refusals)

static const char *check_cid(lua_State *L, int at) {
  size_t len = 0;
  const char *cid = luaL_optlstring(L, at, NULL, &len);
  luaL_argcheck(L, len <= STORE_CID_MAX, at, "a cid has at most 128 bytes");
  return cid;
}

/* The client whose message the handler runs for; NULL: it runs for none. */
static struct conn *speaker(lua_State *L) {
  const struct task *t = bind_task(L);
  return t->kind == TASK_MESSAGE && t->item ? t->conn : NULL;
}

static int l_connection_held(lua_State *L) {
  struct conn_refusal why;
  const char *cid = check_cid(L, 1);
  struct conn *c = speaker(L);
  uint64_t now = worker_turn_ms(bind_vm(L)->worker);
  bool waits = c && conn_waits(c, cid, now, &why);
  if (c && !waits) {
    struct item *item = bind_task(L)->item;
    conn_hold(c, item->behind, now);
    item->behind.cid = 0;
    waits = conn_waits(c, cid, now, &why);
  }
  if (!waits) {
    lua_pushboolean(L, false);
    return 1;
  }
  lua_pushstring(L, err_name(why.code));
  lua_pushnumber(L, why.wait_ms);
  return 2;
}

static int l_connection_hold(lua_State *L) {
  const char *cid = check_cid(L, 1), *name = luaL_checkstring(L, 2);
  double wait_ms = luaL_optnumber(L, 3, 0);
  struct conn *c = speaker(L);
  uint64_t now = worker_turn_ms(bind_vm(L)->worker);
  int code = 0;
  luaL_argcheck(L, cid, 1, "a cid is needed");
  luaL_argcheck(L, wait_ms >= 0 && wait_ms <= UINT32_MAX, 3, "a time is 0 ms or more");
  for (size_t i = 0; i < REFUSALS; i++) {
    code = strcmp(refusals[i].name, name) == 0 ? refusals[i].code : code;
  }
  luaL_argcheck(L, code, 2, "a refusal is LIMITED, FULL or STORE");
  if (c) {
    conn_hold(c, conn_refusal_of(cid, strlen(cid), code, (uint32_t)wait_ms, now), now);
  }
  return bind_result(L, 0);
}

static int l_connection_release(lua_State *L) {
  const char *cid = luaL_checkstring(L, 1);
  struct conn *c = speaker(L);
  if (c) {
    conn_came(c, cid);
  }
  return bind_result(L, 0);
}

/* The handler of a message may do it for whoever sent that, in the conversation it runs for: there it is the owner. */
static struct task *check_own(lua_State *L, const char *name) {
  struct task *t = bind_task(L);
  session_handle handle = bind_check_session(L, 1);
  uint64_t id = bind_check_connection(L, 2);
  if (t->kind != TASK_MESSAGE || !t->conn || session_id_handle(t->session) != handle || conn_id(t->conn) != id) {
    luaL_error(L, "chat.connection.%s is for the sender of the message that is being handled", name);
  }
  return t;
}

static int l_connection_replaceable(lua_State *L) {
  conn_set_replaceable(check_own(L, "replaceable")->conn);
  return bind_result(L, 0);
}

static int l_connection_catch_up(lua_State *L) {
  struct task *t = check_own(L, "catch_up");
  int code = catchup_begin(t->session, t->conn);
  t->catching_up |= code == 0;
  return bind_result(L, code);
}

static int l_connection_caught_up(lua_State *L) {
  struct task *t = check_own(L, "caught_up");
  double told = luaL_checknumber(L, 3);
  luaL_argcheck(L, told >= 0 && told <= 9007199254740992.0, 3, "a seq is expected");
  struct effects *e = slice_effects(t, t->session);
  return bind_result(L, e ? effects_catchup_end(e, conn_id(t->conn), (uint64_t)told) : UV_ENOMEM);
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
  {"gather", l_connection_gather, "session", "table connections", false,
   "Moves those connections of its user here that are in one of the user's conversations that has ended, and did not "
   "come to read it. Immediate; at most 256 at once."},
  {"forward", l_connection_forward, "session, connection number, other session, text string", "true", false,
   "Puts a text into the other conversation's inbox, as if it had come there. Immediate."},
  {"catch_up", l_connection_catch_up, "session, connection number", "true", false,
   "From now on what is for everybody waits for the sender of this message, until it has been told what it missed. "
   "BUSY: "
   "it is being told already. Immediate; over at the latest when the handler ends."},
  {"caught_up", l_connection_caught_up, "session, connection number, seq number", "true", false,
   "Behind what is sent so far: it has been told the events up to seq, and hears the rest of what has waited."},
  {"replaceable", l_connection_replaceable, "session, connection number", "true", false,
   "Its client knows close code 4409: at MAX_CONNECTIONS_PER_USER the oldest of those goes for a newcomer, who is "
   "refused where there is none."},
  {"close", l_connection_close, "session, connection number, code number, reason string", "true", false,
   "Closes it with a WebSocket code, behind what was sent before."},
  {"held", l_connection_held, "cid? string", "string|boolean code, number? wait_ms", false,
   "Of the message this handler is for: false, or why one that came before it was refused and has to be sent again "
   "first (LIMITED, FULL, STORE), and how long it still has to wait."},
  {"hold", l_connection_hold, "cid string, code string, wait_ms? number", "true", false,
   "The message this handler is for is refused and can be sent again: what came behind it on its connection is held "
   "until it is, or until 10 s after it could have been."},
  {"release", l_connection_release, "cid string", "true", false,
   "The message this handler is for will not come again, or need not: nothing waits for it any more."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_connection = {"connection", "One connected client.", functions, NULL};
