/* In: items of sessions, HTTP requests. Out: calls of what scripts/init.lua returned. Why: see vm.h. */
#include "vm.h"

#include "bind.h"
#include "blame.h"
#include "deadline.h"
#include "err.h"
#include "handle.h"
#include "raised.h"
#include "run.h"
#include "sandbox.h"
#include "sandbox_lua.h"
#include "slice.h"
#include "stored.h"
#include "suggest.h"
#include "task.h"

#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- the world of a script ---- */

static int l_source(lua_State *L) {
  const struct bundle_file *f = bundle_find(bind_vm(L)->bundle, luaL_checkstring(L, 1));
  if (!f) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushlstring(L, f->text, f->len);
  lua_pushstring(L, f->path);
  return 2;
}

static void push_chat(struct vm *vm) {
  lua_State *L = vm->L;
  lua_newtable(L);
  for (const struct bind_module *const *m = vm->world->modules; *m; m++) {
    if ((*m)->open) {
      (*m)->open(vm);
    }
    bind_push_module(vm, L, *m);
    lua_setfield(L, -2, (*m)->name);
  }
  lua_pushstring(L, bundle_version(vm->bundle));
  lua_setfield(L, -2, "version");
}

/* Runs protected, before anything is compiled: a literal like 1LL opens the ffi library, which no script may see.
 * Without a table of loaded modules nobody would hold it then, and lua_close would crash on what is left. */
static int open_libraries(lua_State *L) {
  struct vm *vm = lua_touserdata(L, 1);
  luaL_openlibs(L);
  guard_interpret(&vm->guard);
  return 0;
}

/* Runs protected: sets up the sandbox and loads init. Leaves its table on the stack. */
static int load(lua_State *L) {
  struct vm *vm = lua_touserdata(L, 1);
  blame_open(vm);
  if (luaL_loadbuffer(L, sandbox_lua, sandbox_lua_len, "@sandbox")) {
    return lua_error(L);
  }
  lua_createtable(L, 0, 14);
  push_chat(vm);
  lua_setfield(L, -2, "chat");
  bind_push_json(vm, L);
  lua_setfield(L, -2, "cjson");
  bind_push_strings(L);
  lua_setfield(L, -2, "strings");
  bind_push_tables(L);
  lua_setfield(L, -2, "tables");
  bind_push_numbers(L);
  lua_setfield(L, -2, "numbers");
  lua_pushinteger(L, (lua_Integer)guard_text_max(&vm->guard));
  lua_setfield(L, -2, "text_max");
  lua_pushboolean(L, guard_compiles(&vm->guard));
  lua_setfield(L, -2, "compiles");
  bind_push_describe(L);
  lua_setfield(L, -2, "describe");
  bind_push_inside(L);
  lua_setfield(L, -2, "inside");
  lua_pushcfunction(L, l_suggest);
  lua_setfield(L, -2, "suggest");
  bind_push_nesting(vm, L);
  lua_setfield(L, -2, "nesting");
  bind_push_function(vm, L, l_source);
  lua_setfield(L, -2, "source");
  bind_push_function(vm, L, l_task_settle);
  lua_setfield(L, -2, "settle");
  lua_pushlightuserdata(L, &vm->tag);
  lua_setfield(L, -2, "yield_tag");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "names");
  raised_take_names(L);
  lua_getfield(L, -1, "require");
  lua_pushvalue(L, -1);
  vm->require_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushliteral(L, "init");
  lua_call(L, 1, 1);
  lua_getfield(L, -2, "self_test");
  lua_call(L, 0, 0);
  return 1;
}

/* Compiles every script, also those that no other requires yet. */
static int compile_all(struct vm *vm, char why[512]) {
  for (size_t i = 0; i < bundle_count(vm->bundle); i++) {
    const struct bundle_file *f = bundle_at(vm->bundle, i);
    char chunk[4200];
    snprintf(chunk, sizeof chunk, "@%s", f->path);
    bool binary = f->len && f->text[0] == '\033';
    if (binary || luaL_loadbuffer(vm->L, f->text, f->len, chunk)) {
      snprintf(why, 512, "%.470s%s", binary ? f->path : lua_tostring(vm->L, -1),
               binary ? ":1: this is not a text" : "");
      return E_SCRIPT;
    }
    lua_pop(vm->L, 1);
  }
  return 0;
}

static int take_entry(struct vm *vm, const char *name, bool required, int *ref, char why[512]) {
  lua_State *L = vm->L;
  *ref = LUA_NOREF;
  lua_pushstring(L, name);
  lua_rawget(L, -2); /* raw access: a metatable could raise, and this is not protected */
  if (lua_isfunction(L, -1)) {
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
  }
  bool absent = lua_isnil(L, -1);
  lua_pop(L, 1);
  if (!absent || required) {
    snprintf(why, 512, "scripts/init.lua:1: its table needs a function %s", name);
    return E_SCRIPT;
  }
  return 0;
}

static int take_entries(struct vm *vm, char why[512]) {
  if (!lua_istable(vm->L, -1)) {
    snprintf(why, 512, "scripts/init.lua:1: it has to return a table");
    return E_SCRIPT;
  }
  const struct {
    const char *name;
    bool required;
    int *ref;
  } entries[] = {{"message", true, &vm->message_ref},   {"connect", true, &vm->connect_ref},
                 {"http", true, &vm->http_ref},         {"failed", true, &vm->failed_ref},
                 {"refused", true, &vm->refused_ref},   {"unanswered", false, &vm->unanswered_ref},
                 {"describe", false, &vm->describe_ref}};
  int code = 0;
  for (size_t i = 0; !code && i < sizeof entries / sizeof *entries; i++) {
    code = take_entry(vm, entries[i].name, entries[i].required, entries[i].ref, why);
  }
  return code;
}

static int load_scripts(struct vm *vm, char why[512]) {
  if (lua_cpcall(vm->L, open_libraries, vm)) {
    snprintf(why, 512, "%.480s", lua_tostring(vm->L, -1));
    return UV_ENOMEM;
  }
  int code = compile_all(vm, why);
  if (code) {
    return code;
  }
  struct task loading = {.vm = vm, .kind = TASK_LOAD};
  vm->current = &loading;
  lua_pushcfunction(vm->L, load);
  lua_pushlightuserdata(vm->L, vm);
  guard_enter(&vm->guard, vm->guard.message_ns, 0);
  int failed = lua_pcall(vm->L, 1, 1, 0);
  guard_leave(&vm->guard, 0);
  vm->current = NULL;
  if (failed) {
    raised_loading(vm, why);
    return failed == LUA_ERRMEM ? UV_ENOMEM : E_SCRIPT;
  }
  code = take_entries(vm, why);
  code = code ? code : stored_take(vm, why);
  lua_settop(vm->L, 0);
  return code;
}

int vm_new(struct worker *w, const struct vm_world *world, struct bundle *bundle, struct vm **out, char why[512]) {
  struct vm *vm = calloc(1, sizeof *vm);
  lua_State *L = vm ? luaL_newstate() : NULL;
  if (!L) {
    free(vm);
    snprintf(why, 512, "out of memory");
    return UV_ENOMEM;
  }
  vm->L = L;
  vm->worker = w;
  vm->world = world;
  vm->bundle = bundle_ref(bundle);
  vm->max_parked = (size_t)config_int(world->config, SETTING_SCRIPT_COROUTINES);
  vm->flight.next = vm->flight.prev = &vm->flight;
  vm->guard.blame = blame_slice;
  vm->guard.arg = vm;
  int code = guard_open(&vm->guard, L, world->config);
  if (code) {
    snprintf(why, 512, "no timer on the processor time of this thread: %s", uv_strerror(code));
  } else {
    code = load_scripts(vm, why);
  }
  if (code) {
    vm_free(vm);
    return code;
  }
  *out = vm;
  return 0;
}

void vm_free(struct vm *vm) {
  deadline_close(vm);
  guard_close(&vm->guard);
  lua_close(vm->L);
  tasks_free(vm);
  stored_free(vm);
  bundle_unref(vm->bundle);
  free(vm);
}

const char *vm_mode(const struct config *config) {
  return config_int(config, SETTING_SCRIPT_SLICE_BUDGET) == 0
           ? "compiled: SCRIPT_SLICE_BUDGET is 0, nothing ends a loop"
         : guard_can_compile() ? "compiled: this LuaJIT can end compiled loops"
                               : "interpreted: this LuaJIT cannot end compiled loops "
                                 "(README, A faster LuaJIT)";
}

void vm_cancel_askers(struct vm *vm) {
  for (struct task *t = vm->flight.next, *next; t != &vm->flight; t = next) {
    next = t->next;
    if (t->wait.asking) {
      task_cancel(t);
    }
  }
  vm_maybe_idle(vm);
}

void vm_cancel(struct vm *vm) {
  while (vm->flight.next != &vm->flight) {
    task_cancel(vm->flight.next);
  }
  vm_maybe_idle(vm);
}

void vm_replace(struct vm *vm) {
  vm->replaced = true;
  vm_cancel(vm);
}

/* ---- calls ---- */

#define RETRY_MS 1000 /* when a handler of that user may have ended */

void vm_refused(struct vm *vm, struct session *s, struct conn *c, const char *code, const char *cid) {
  task_notice(vm, vm->refused_ref, s, c, code, NULL, cid);
}

static void begin_call(struct vm *vm, struct task *t, int ref, struct session *s) {
  lua_rawgeti(t->co, LUA_REGISTRYINDEX, ref);
  bind_push_session(vm, t->co, session_id_handle(s));
}

/* What came before it may still wait: only then what comes behind it is held. */
static void run_refused(struct vm *vm, struct session *s, struct item *item) {
  if (session_busy(s)) {
    session_later(s, item);
    return;
  }
  conn_hold(item->conn, item->behind, worker_turn_ms(vm->worker));
  item_free(item);
}

/* Too many handlers of its user wait: the message is refused, as if its rate had been too high. */
static void refuse_item(struct vm *vm, struct session *s, struct task *t) {
  struct conn *c = conn_ref(t->conn);
  char cid[STORE_CID_MAX + 1], wait_ms[16];
  struct item *item = t->item;
  struct conn_refusal why = vm_refusal(vm, item->text, item->len, E_LIMITED, RETRY_MS, cid);
  t->item = NULL;
  item->kind = ITEM_REFUSED;
  item->behind = item->behind.cid ? item->behind : why;
  run_refused(vm, s, item);
  task_end(t, true);
  snprintf(wait_ms, sizeof wait_ms, "%d", RETRY_MS);
  task_notice(vm, vm->refused_ref, s, c, "LIMITED", wait_ms, cid);
  conn_unref(c);
}

static void run_text(struct vm *vm, struct session *s, struct item *item) {
  bool busy = session_busy(s);
  struct task *t = task_new(vm, TASK_MESSAGE, s, item->conn);
  if (!t) {
    item_free(item);
    return;
  }
  t->item = item;
  t->turn.was_busy = busy;
  t->turn.has = !busy;
  if (t->conn && task_charge(t, conn_meter(t->conn)->user)) {
    refuse_item(vm, s, t);
    return;
  }
  begin_call(vm, t, vm->message_ref, s);
  lua_pushlstring(t->co, item->text, item->len);
  bind_push_connection(t->co, t->conn);
  lua_pushboolean(t->co, busy);
  task_run(t, 4);
}

static void run_connect(struct vm *vm, struct session *s, struct item *item) {
  struct task *t = task_new(vm, TASK_CONNECT, s, item->conn);
  item_free(item);
  if (t) {
    begin_call(vm, t, vm->connect_ref, s);
    bind_push_connection(t->co, t->conn);
    task_run(t, 2);
  }
}

static void set_text(lua_State *L, const char *name, const char *value, size_t len) {
  if (value) {
    lua_pushlstring(L, value, len);
    lua_setfield(L, -2, name);
  }
}

static void push_message(lua_State *L, const struct message_record *m) {
  lua_createtable(L, 0, 12);
  set_text(L, "id", m->id, STORE_ID_LEN);
  set_text(L, "cid", m->cid, m->cid ? strlen(m->cid) : 0);
  set_text(L, "type", m->type, m->type ? strlen(m->type) : 0);
  set_text(L, "content", m->content, m->content_len);
  set_text(L, "extra", m->extra, m->extra ? strlen(m->extra) : 0);
  lua_pushnumber(L, (double)m->seq);
  lua_setfield(L, -2, "seq");
  lua_pushnumber(L, (double)m->at_ms);
  lua_setfield(L, -2, "at_ms");
  lua_pushnumber(L, m->attempts);
  lua_setfield(L, -2, "attempts");
  lua_pushboolean(L, m->begun);
  lua_setfield(L, -2, "begun");
}

/* One that is too old is dealt with by nobody any more. */
static void run_unanswered(struct vm *vm, struct session *s, struct item *item) {
  if (session_busy(s)) {
    session_later(s, item);
    return;
  }
  struct task *t = vm->unanswered_ref != LUA_NOREF || item->late ? task_new(vm, TASK_MESSAGE, s, NULL) : NULL;
  if (!t) {
    item_free(item);
    return;
  }
  t->item = item;
  t->turn.has = true;
  slice_take_errand(t, item->message->id, true);
  if (item->late) {
    slice_end_errand(t);
    task_end(t, true);
    return;
  }
  begin_call(vm, t, vm->unanswered_ref, s);
  push_message(t->co, item->message);
  task_run(t, 2);
}

void vm_item(struct vm *vm, struct session *s, struct item *item) {
  if (item->kind == ITEM_TEXT) {
    run_text(vm, s, item);
  } else if (item->kind == ITEM_REFUSED) {
    run_refused(vm, s, item);
  } else if (item->kind == ITEM_UNANSWERED) {
    run_unanswered(vm, s, item);
  } else {
    run_connect(vm, s, item);
  }
}

static struct account *account_of(struct vm *vm, const struct http_request *req) {
  struct accounts *users = req->probe ? NULL : vm->world->users;
  return users && req->identity ? accounts_open(users, req->identity->user_id, strlen(req->identity->user_id)) : NULL;
}

static void refuse_request(struct http_request *req) {
  static const char body[] =
    "{\"error\":\"rate_limit_exceeded\",\"message\":\"Too many requests. Please try again later.\"}";
  struct http_response res = {
    .status = 429, .body = body, .body_len = sizeof body - 1, .header_count = 1, .headers = {{"Retry-After", "1"}}};
  http_respond(req, &res);
}

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void push_pairs(lua_State *L, const struct http_request *req) {
  lua_createtable(L, 0, (int)req->query_count);
  for (size_t i = 0; i < req->query_count; i++) {
    const char *eq = strchr(req->query[i], '=');
    lua_pushlstring(L, req->query[i], eq ? (size_t)(eq - req->query[i]) : strlen(req->query[i]));
    lua_pushstring(L, eq ? eq + 1 : "");
    lua_rawset(L, -3);
  }
  lua_setfield(L, -2, "query");
  lua_createtable(L, 0, (int)req->header_count);
  for (size_t i = 0; i < req->header_count; i++) {
    set_string(L, req->headers[i].name, req->headers[i].value);
  }
  lua_setfield(L, -2, "headers");
}

void vm_http(struct vm *vm, struct http_request *req) {
  static const char *const auth[] = {
    [HTTP_AUTH_MISSING] = "missing", [HTTP_AUTH_INVALID] = "invalid", [HTTP_AUTH_OK] = "ok"};
  struct task *t = task_new(vm, TASK_HTTP, NULL, NULL);
  if (!t) {
    struct http_response res = {.status = 503, .body = "{}", .body_len = 2};
    http_respond(req, &res);
    return;
  }
  if (task_charge(t, account_of(vm, req))) {
    task_end(t, true);
    refuse_request(req);
    return;
  }
  t->http = req;
  lua_State *co = t->co;
  lua_rawgeti(co, LUA_REGISTRYINDEX, vm->http_ref);
  lua_createtable(co, 0, 9);
  set_string(co, "method", strcmp(req->method, "HEAD") == 0 ? "GET" : req->method);
  set_string(co, "path", req->path);
  set_string(co, "address", req->address);
  set_string(co, "auth", auth[req->auth]);
  lua_pushboolean(co, req->relayed);
  lua_setfield(co, -2, "relayed");
  lua_pushlstring(co, req->body, req->body_len);
  lua_setfield(co, -2, "body");
  push_pairs(co, req);
  if (req->identity) {
    bind_push_identity(co, req->identity);
    lua_setfield(co, -2, "user");
  }
  task_run(t, 1);
}

char *vm_describe(struct vm *vm, const char *which) {
  if (vm->describe_ref == LUA_NOREF) {
    return NULL;
  }
  lua_rawgeti(vm->L, LUA_REGISTRYINDEX, vm->describe_ref);
  guard_enter(&vm->guard, vm->guard.message_ns, 0);
  lua_pushstring(vm->L, which);
  int failed = lua_pcall(vm->L, 1, 1, 0);
  guard_leave(&vm->guard, 0);
  bool ok = !failed && lua_isstring(vm->L, -1);
  char *text = ok ? strdup(lua_tostring(vm->L, -1)) : NULL;
  lua_settop(vm->L, 0);
  return text;
}
