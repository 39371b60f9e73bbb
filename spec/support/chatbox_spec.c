/* In: Lua specs. Out: `require "chatbox_spec"`: worlds (world.h) that a spec turns by hand; spec/support/scene.lua is
 * the comfortable side of it. new{ files = { ["init.lua"] = text }, settings = { RATE_LIMIT = "3" } } -> world, or nil
 * and why world:connect{ user, name, roles, wanted } -> client   client:says(text)  client:hears() -> text, or nil
 *   world:request{ method, path, query, headers, body, address, user } -> request   request:answer() -> table, or nil
 *   world:advance(ms)  world:reload{ path = text or false } -> ok, text  world:fault(name, on)  world:close()
 * Why: the specs of scripts and bindings run the real thing, in one process, without a socket and without waiting.
 * SPEC_GC=aggressive collects all garbage of the scripts at every step: a value that C forgot to anchor dies at once.
 */
#include "sandbox.h"
#include "world.h"

#include "check.h"
#include "docs.h"
#include "scripts_report.h"

#define WORLD "chatbox_spec.world"
#define CLIENT "chatbox_spec.client"
#define REQUEST "chatbox_spec.request"
#define SETTINGS_MAX 32

static struct world *check_world(lua_State *L) {
  struct world *w = luaL_checkudata(L, 1, WORLD);
  luaL_argcheck(L, *w->folder, 1, "this world is closed");
  return w;
}

/* Pushes a handle of a part of the world at index 1, which lives as long as the handle. */
static int push_part(lua_State *L, const char *metatable, void *part) {
  void **handle = lua_newuserdata(L, sizeof *handle);
  *handle = part;
  luaL_getmetatable(L, metatable);
  lua_setmetatable(L, -2);
  lua_createtable(L, 1, 0);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lua_setfenv(L, -2);
  return 1;
}

static const char *text_field(lua_State *L, int index, const char *name, const char *otherwise) {
  lua_getfield(L, index, name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1); /* the table holds it */
  return text ? text : otherwise;
}

/* ---- worlds ---- */

static void write_files(lua_State *L, int index, struct world *w) {
  luaL_checktype(L, index, LUA_TTABLE);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    size_t len = 0;
    const char *path = luaL_checkstring(L, -2), *text = lua_tolstring(L, -1, &len);
    if (world_file(w, path, text, len)) {
      luaL_error(L, "cannot write %s", path);
    }
  }
}

static void collect_settings(lua_State *L, int index, char *out[SETTINGS_MAX + 1]) {
  size_t count = 0;
  if (lua_istable(L, index)) {
    for (lua_pushnil(L); count < SETTINGS_MAX && lua_next(L, index); lua_pop(L, 1)) {
      if (asprintf(&out[count++], "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1)) < 0) {
        abort();
      }
    }
  }
  out[count] = NULL;
}

static int l_new(lua_State *L) {
  char *settings[SETTINGS_MAX + 1], why[512] = "out of memory";
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_getfield(L, 1, "files");
  lua_getfield(L, 1, "settings");
  struct world *w = lua_newuserdata(L, sizeof *w);
  *w = (struct world){.folder = "/tmp/chatbox-spec-XXXXXX"};
  if (!mkdtemp(w->folder)) {
    return luaL_error(L, "no temporary folder");
  }
  luaL_getmetatable(L, WORLD);
  lua_setmetatable(L, -2);
  const char *gc = getenv("SPEC_GC");
  w->aggressive_gc = gc && strcmp(gc, "aggressive") == 0;
  write_files(L, 2, w);
  collect_settings(L, 3, settings);
  int code = world_open(w, settings, why);
  for (size_t i = 0; settings[i]; i++) {
    free(settings[i]);
  }
  if (code) {
    world_close(w);
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
  }
  return 1;
}

static int l_world_close(lua_State *L) {
  world_close(luaL_checkudata(L, 1, WORLD));
  return 0;
}

static int l_world_gc(lua_State *L) {
  struct world *w = luaL_checkudata(L, 1, WORLD);
  world_close(w);
  world_forget(w);
  return 0;
}

static int l_world_advance(lua_State *L) {
  struct world *w = check_world(L);
  double ms = luaL_checknumber(L, 2);
  world_settle(w);
  worker_advance(w->worker, (uint64_t)ms);
  world_settle(w);
  return 0;
}

static int l_world_settle(lua_State *L) {
  world_settle(check_world(L));
  return 0;
}

static void on_reloaded(void *arg, bool ok, const char *text) {
  struct world *w = arg;
  w->reload_done = true;
  w->reload_ok = ok;
  snprintf(w->reload_text, sizeof w->reload_text, "%s", text);
}

/* Third argument: a second request comes while the first is under way; its answer is the third result. */
static int l_world_reload(lua_State *L) {
  struct world *w = check_world(L);
  char first[sizeof w->reload_text] = "";
  if (!lua_isnoneornil(L, 2)) {
    write_files(L, 2, w);
  }
  struct scripts_order order = {.verb = SCRIPTS_RELOAD, .who = "spec"};
  w->reload_done = false;
  scripts_do(w->scripts, &order, on_reloaded, w);
  if (lua_toboolean(L, 3)) { /* a second request while the first is under way */
    scripts_do(w->scripts, &order, on_reloaded, w);
    memcpy(first, w->reload_text, sizeof first);
    w->reload_done = false;
  }
  world_settle(w);
  if (!w->reload_done) {
    return luaL_error(L, "the reload was never answered");
  }
  lua_pushboolean(L, w->reload_ok);
  lua_pushstring(L, w->reload_text);
  if (!*first) {
    return 2;
  }
  lua_pushstring(L, first);
  return 3;
}

/* world:order("canary", 10, "why") -> ok, text. Nothing passes but what the order needs. */
static int l_world_order(lua_State *L) {
  static const char *const verbs[] = {"reload", "canary", "promote", "rollback", NULL};
  struct world *w = check_world(L);
  struct scripts_order order = {.verb = (enum scripts_verb)luaL_checkoption(L, 2, NULL, verbs),
                                .share = (unsigned)(luaL_optnumber(L, 3, 0) * SCRIPTS_WHOLE / 100),
                                .who = "spec",
                                .why = luaL_optstring(L, 4, NULL)};
  w->reload_done = false;
  scripts_do(w->scripts, &order, on_reloaded, w);
  world_settle(w);
  if (!w->reload_done) {
    return luaL_error(L, "the order was never answered");
  }
  lua_pushboolean(L, w->reload_ok);
  lua_pushstring(L, w->reload_text);
  return 2;
}

/* As SIGHUP does: nobody waits for the outcome. Files: they change, and it comes again, before the first is done. */
static int l_world_hang_up(lua_State *L) {
  struct world *w = check_world(L);
  scripts_reload(w->scripts, "SIGHUP");
  if (!lua_isnoneornil(L, 2)) {
    write_files(L, 2, w);
    scripts_reload(w->scripts, "SIGHUP");
    scripts_reload(w->scripts, "file change");
  }
  world_settle(w);
  return 0;
}

static int l_world_write(lua_State *L) {
  write_files(L, 2, check_world(L));
  return 0;
}

static void on_report(void *arg, struct scripts_report *report) {
  *(struct scripts_report **)arg = report;
}

/* What `chatbox scripts` prints. */
static int l_world_report(lua_State *L) {
  struct world *w = check_world(L);
  struct scripts_report *report = NULL;
  char *text = NULL;
  size_t len = 0;
  scripts_report(w->scripts, on_report, &report);
  world_settle(w);
  FILE *out = open_memstream(&text, &len);
  report_print(report, out);
  fclose(out);
  lua_pushlstring(L, text, len);
  free(text);
  free(report);
  return 1;
}

static int l_world_fault(lua_State *L) {
  static const char *const names[] = {"writes fail", "reads fail", "writes wait", "reads wait", "writes lie", NULL};
  bool *const switches[] = {&faults.fail_writes, &faults.fail_reads, &faults.hold_writes, &faults.hold_reads,
                            &faults.lie};
  struct world *w = check_world(L);
  faults_set(switches[luaL_checkoption(L, 2, NULL, names)], lua_toboolean(L, 3));
  world_settle(w);
  return 0;
}

/* As at the stop of the server: what was asked is answered, everything after is refused. */
static int l_world_stop_store(lua_State *L) {
  struct world *w = check_world(L);
  world_settle(w);
  lua_pushboolean(L, store_drain(w->store, 10000) == 0);
  return 1;
}

/* The server ends without a word to anybody; another one starts on its store. */
static int l_world_crash(lua_State *L) {
  char why[512] = "out of memory";
  if (world_crash(check_world(L), why)) {
    return luaL_error(L, "the next server does not start: %s", why);
  }
  return 0;
}

static int l_world_stopping(lua_State *L) {
  atomic_store(&check_world(L)->stopping, true);
  return 0;
}

/* What the sweep for idle conversations does after so much idle time. How many left memory. */
static int l_world_sweep(lua_State *L) {
  struct world *w = check_world(L);
  lua_pushnumber(L, (double)sessions_sweep(w->sessions, worker_now_ms(w->worker), (uint64_t)luaL_checknumber(L, 2)));
  return 1;
}

/* How many conversations are in memory. */
static int l_world_conversations(lua_State *L) {
  lua_pushnumber(L, (double)sessions_count(check_world(L)->sessions));
  return 1;
}

static int l_world_cancel(lua_State *L) {
  struct world *w = check_world(L);
  scripts_cancel(w->scripts, 0);
  world_settle(w);
  return 0;
}

/* The first step of a stop: nobody waits for an answer any more. */
static int l_world_cancel_askers(lua_State *L) {
  struct world *w = check_world(L);
  scripts_cancel_askers(w->scripts, 0);
  world_settle(w);
  return 0;
}

static int l_world_tasks(lua_State *L) {
  lua_pushnumber(L, (double)scripts_tasks(check_world(L)->scripts, 0));
  return 1;
}

/* What was in quarantine comes back: how many. */
static int l_world_enable(lua_State *L) {
  lua_pushnumber(L, (double)quarantine_enable(check_world(L)->vm.quarantine, luaL_checkstring(L, 2)));
  return 1;
}

static int l_world_version(lua_State *L) {
  lua_pushstring(L, scripts_version(check_world(L)->scripts));
  return 1;
}

static int l_world_describe(lua_State *L) {
  char *text = vm_describe(scripts_vm(check_world(L)->scripts, 0), luaL_optstring(L, 2, "protocol"));
  lua_pushstring(L, text);
  free(text);
  return 1;
}

static int l_world_memory(lua_State *L) {
  lua_State *scripts = scripts_vm(check_world(L)->scripts, 0)->L;
  lua_gc(scripts, LUA_GCCOLLECT, 0);
  lua_gc(scripts, LUA_GCCOLLECT, 0);
  lua_pushnumber(L, lua_gc(scripts, LUA_GCCOUNT, 0));
  return 1;
}

/* The names of all functions a script can come by, one a line: what the globals, cjson and a session hold, whatever
 * hides it. */
static int l_world_reachable(lua_State *L) {
  static const char walk[] =
    "local message, require, session = ...\n"
    "local seen, names = {}, {}\n"
    "local function visit(value, name)\n"
    "  if type(value) == 'function' then names[#names + 1] = name return end\n"
    "  local held = type(value) == 'userdata' and (debug.getmetatable(value) or {}).__index or value\n"
    "  if type(held) ~= 'table' or seen[held] then return end\n"
    "  seen[held] = true\n"
    "  for key, field in next, held do\n"
    "    if type(key) == 'string' then visit(field, name == '' and key or name .. (name == 'session' and ':' or '.') "
    ".. "
    "key) end\n"
    "  end\n"
    "end\n"
    "visit(debug.getmetatable(debug.getfenv(message)).__index, '')\n"
    "visit(require 'cjson', 'cjson')\n"
    "visit(select(2, debug.getupvalue(session.__index, 2)), 'session')\n"
    "table.sort(names)\n"
    "return table.concat(names, '\\n')\n";
  struct vm *vm = scripts_vm(check_world(L)->scripts, 0);
  lua_State *S = vm->L;
  if (luaL_loadstring(S, walk)) {
    return luaL_error(L, "%s", lua_tostring(S, -1));
  }
  lua_rawgeti(S, LUA_REGISTRYINDEX, vm->message_ref);
  lua_rawgeti(S, LUA_REGISTRYINDEX, vm->require_ref);
  lua_rawgeti(S, LUA_REGISTRYINDEX, vm->metatable_ref);
  int failed = lua_pcall(S, 3, 1, 0);
  lua_pushstring(L, lua_tostring(S, -1));
  lua_settop(S, 0);
  return failed ? lua_error(L) : 1;
}

static int l_world_script_error(lua_State *L) {
  lua_pushstring(L, check_world(L)->script_error);
  return 1;
}

/* ---- clients ---- */

static struct identity *identity_from(lua_State *L, int index) {
  const char *roles[8];
  size_t count = 0;
  const char *user = text_field(L, index, "user", NULL);
  luaL_argcheck(L, user, index, "user is needed");
  lua_getfield(L, index, "roles");
  for (int i = 1; lua_istable(L, -1) && i <= 8; i++) {
    lua_rawgeti(L, -1, i);
    const char *role = lua_tostring(L, -1);
    lua_pop(L, 1);
    if (!role) {
      break;
    }
    roles[count++] = role;
  }
  struct identity *who = identity_new(user, text_field(L, index, "name", user), roles, count, 0);
  lua_pop(L, 1);
  return who;
}

static int l_world_connect(lua_State *L) {
  struct world *w = check_world(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  const char *wanted = text_field(L, 2, "wanted", "");
  struct identity *who = identity_from(L, 2);
  struct client *c = client_new(w, who, wanted);
  identity_unref(who);
  return push_part(L, CLIENT, c);
}

/* { user, name, roles, ttl }: a token of that person for the ttl in seconds. */
static int l_world_token(lua_State *L) {
  struct world *w = check_world(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_getfield(L, 2, "ttl");
  int64_t ttl_s = (int64_t)lua_tonumber(L, -1), now_s = (int64_t)(worker_wall_ms(w->worker) / 1000);
  struct identity *who = identity_from(L, 2);
  char *token = token_mint(WORLD_SECRET, who->user_id, who->name, who->roles, who->role_count, now_s, ttl_s);
  identity_unref(who);
  lua_pushstring(L, token);
  free(token);
  return 1;
}

static struct client *check_client(lua_State *L) {
  struct client *c = *(struct client **)luaL_checkudata(L, 1, CLIENT);
  luaL_argcheck(L, *c->world->folder, 1, "its world is closed");
  return c;
}

static int l_client_says(lua_State *L) {
  struct client *c = check_client(L);
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  luaL_argcheck(L, c->conn, 1, "this client is not connected");
  if (conn_session(c->conn)) {
    put_or_refuse(c, text, len, conn_take_put_off(c->conn));
  } else if (conn_early_put(c->conn, text, len)) {
    return luaL_error(L, "too many messages before the conversation was found");
  }
  if (!lua_toboolean(L, 3)) { /* true: more comes before anybody looks */
    world_settle(c->world);
  }
  return 0;
}

static int l_client_hears(lua_State *L) {
  struct message *m = client_hears(check_client(L));
  if (!m) {
    return 0;
  }
  lua_pushlstring(L, m->text, m->len);
  message_unref(m);
  return 1;
}

static int l_client_stalls(lua_State *L) {
  check_client(L)->stalled = lua_toboolean(L, 2);
  world_settle(check_client(L)->world);
  return 0;
}

static int l_client_closed(lua_State *L) {
  struct client *c = check_client(L);
  if (!c->close_code) {
    return 0;
  }
  lua_pushinteger(L, c->close_code);
  lua_pushstring(L, c->close_reason);
  return 2;
}

static int l_client_leave(lua_State *L) {
  struct client *c = check_client(L);
  client_leave(c);
  world_settle(c->world);
  return 0;
}

static int l_client_id(lua_State *L) {
  struct client *c = check_client(L);
  luaL_argcheck(L, c->conn, 1, "this client is not connected");
  lua_pushnumber(L, (double)conn_id(c->conn));
  return 1;
}

/* ---- HTTP ---- */

/* Copies the table at the top, as "name=value" (query) or as pairs (headers). */
static void collect_pairs(lua_State *L, struct request *r, bool query, char **at) {
  for (lua_pushnil(L); lua_istable(L, -2) && lua_next(L, -2); lua_pop(L, 1)) {
    const char *name = luaL_checkstring(L, -2), *value = luaL_checkstring(L, -1);
    if (query && r->http.query_count < HTTP_QUERY_MAX) {
      r->http.query[r->http.query_count++] = *at;
      *at += sprintf(*at, "%s=%s", name, value) + 1;
    } else if (!query && r->http.header_count < HTTP_HEADERS_MAX) {
      struct http_header *h = &r->http.headers[r->http.header_count++];
      h->name = *at;
      *at += sprintf(*at, "%s", name) + 1;
      h->value = *at;
      *at += sprintf(*at, "%s", value) + 1;
    }
  }
}

static const char *keep(char **at, const char *text) {
  const char *kept = *at;
  *at += sprintf(*at, "%s", text) + 1;
  return kept;
}

#define REQUEST_TEXTS (1u << 20)

static int l_world_request(lua_State *L) {
  struct world *w = check_world(L);
  static const char *const auths[] = {"missing", "invalid", NULL};
  luaL_checktype(L, 2, LUA_TTABLE);
  const char *body = text_field(L, 2, "body", ""), *user = text_field(L, 2, "user", NULL);
  luaL_argcheck(L, strlen(body) < REQUEST_TEXTS / 2, 2, "the body is too long for a spec");
  struct request *r = calloc(1, sizeof *r);
  r->next = w->requests;
  w->requests = r;
  char *at = r->texts = malloc(REQUEST_TEXTS);
  r->http.method = keep(&at, text_field(L, 2, "method", "GET"));
  r->http.path = keep(&at, text_field(L, 2, "path", "/"));
  r->http.address = keep(&at, text_field(L, 2, "address", "127.0.0.1"));
  r->http.body = keep(&at, body);
  r->http.body_len = strlen(body);
  lua_getfield(L, 2, "query");
  collect_pairs(L, r, true, &at);
  lua_getfield(L, 2, "headers");
  collect_pairs(L, r, false, &at);
  r->http.identity = user ? identity_from(L, 2) : NULL;
  r->http.auth = user                                                   ? HTTP_AUTH_OK
                 : strcmp(text_field(L, 2, "auth", auths[0]), auths[0]) ? HTTP_AUTH_INVALID
                                                                        : HTTP_AUTH_MISSING;
  vm_http(scripts_vm(w->scripts, 0), &r->http);
  world_settle(w);
  return push_part(L, REQUEST, r);
}

static int l_request_answer(lua_State *L) {
  struct request *r = *(struct request **)luaL_checkudata(L, 1, REQUEST);
  if (!r->answered) {
    return 0;
  }
  lua_createtable(L, 0, 5);
  lua_pushinteger(L, r->status);
  lua_setfield(L, -2, "status");
  lua_pushlstring(L, r->body, r->body_len);
  lua_setfield(L, -2, "body");
  lua_pushstring(L, r->type);
  lua_setfield(L, -2, "type");
  lua_pushstring(L, r->endpoint);
  lua_setfield(L, -2, "endpoint");
  lua_createtable(L, 0, (int)r->header_count);
  for (size_t i = 0; i < r->header_count; i++) {
    lua_pushstring(L, r->headers[2 * i + 1]);
    lua_setfield(L, -2, r->headers[2 * i]);
  }
  lua_setfield(L, -2, "headers");
  return 1;
}

/* ---- the rest ---- */

static int l_log(lua_State *L) {
  char line[LOG_LINE_MAX];
  lua_newtable(L);
  for (int i = 1; memory_log_take(line); i++) {
    lua_pushstring(L, line);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

/* Processor time of this thread so far, in milliseconds: what runs beside it does not count. */
static int l_cpu_ms(lua_State *L) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  lua_pushnumber(L, (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6);
  return 1;
}

/* check(files) -> what can be read off them, as a list of lines; what it has to ask of a VM, likewise. */
static int l_check(lua_State *L) {
  struct world w = {.folder = "/tmp/chatbox-spec-XXXXXX"};
  char dir[60], why[512] = "";
  struct bundle *b = NULL;
  struct check *c = NULL;
  if (!mkdtemp(w.folder)) {
    return luaL_error(L, "no temporary folder");
  }
  write_files(L, 1, &w);
  snprintf(dir, sizeof dir, "%s/scripts", w.folder);
  int code = bundle_read(dir, &b, why);
  code = code ? code : check_read(b, bind_modules, &c, why);
  nftw(w.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  bundle_unref(b);
  if (code) {
    return luaL_error(L, "%s", why);
  }
  lua_newtable(L);
  for (size_t i = 0; i < c->count; i++) {
    lua_pushstring(L, c->findings[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_newtable(L);
  for (size_t i = 0; i < c->need_count; i++) {
    lua_pushfstring(L, "%s %s: %s.%s", c->needs[i].place, c->needs[i].what, c->needs[i].module, c->needs[i].field);
    lua_rawseti(L, -2, (int)i + 1);
  }
  check_free(c);
  return 2;
}

/* The reference page, or with true the editor's stubs. */
static int l_docs(lua_State *L) {
  char *text = NULL;
  size_t len = 0;
  FILE *out = open_memstream(&text, &len);
  if (lua_toboolean(L, 1)) {
    docs_stubs(bind_modules, out);
  } else {
    docs_lua(bind_modules, out);
  }
  fclose(out);
  lua_pushlstring(L, text, len);
  free(text);
  return 1;
}

static void metatable(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_register(L, NULL, methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_chatbox_spec(lua_State *L);
int luaopen_chatbox_spec(lua_State *L) {
  static const luaL_Reg world[] = {{"connect", l_world_connect},
                                   {"request", l_world_request},
                                   {"token", l_world_token},
                                   {"advance", l_world_advance},
                                   {"settle", l_world_settle},
                                   {"reload", l_world_reload},
                                   {"order", l_world_order},
                                   {"hang_up", l_world_hang_up},
                                   {"write", l_world_write},
                                   {"report", l_world_report},
                                   {"fault", l_world_fault},
                                   {"sweep", l_world_sweep},
                                   {"conversations", l_world_conversations},
                                   {"crash", l_world_crash},
                                   {"cancel", l_world_cancel},
                                   {"stop_store", l_world_stop_store},
                                   {"tasks", l_world_tasks},
                                   {"version", l_world_version},
                                   {"enable", l_world_enable},
                                   {"stopping", l_world_stopping},
                                   {"memory", l_world_memory},
                                   {"reachable", l_world_reachable},
                                   {"describe", l_world_describe},
                                   {"script_error", l_world_script_error},
                                   {"cancel_askers", l_world_cancel_askers},
                                   {"close", l_world_close},
                                   {"__gc", l_world_gc},
                                   {NULL, NULL}};
  static const luaL_Reg client[] = {{"says", l_client_says},
                                    {"hears", l_client_hears},
                                    {"closed", l_client_closed},
                                    {"stalls", l_client_stalls},
                                    {"leave", l_client_leave},
                                    {"id", l_client_id},
                                    {NULL, NULL}};
  static const luaL_Reg request[] = {{"answer", l_request_answer}, {NULL, NULL}};
  static const luaL_Reg module[] = {{"new", l_new},     {"log", l_log},       {"docs", l_docs},
                                    {"check", l_check}, {"cpu_ms", l_cpu_ms}, {NULL, NULL}};
  metatable(L, WORLD, world);
  metatable(L, CLIENT, client);
  metatable(L, REQUEST, request);
  lua_newtable(L);
  luaL_register(L, NULL, module);
  bind_push_strings(L);
  lua_setfield(L, -2, "strings");
  bind_push_json(NULL, L);
  lua_setfield(L, -2, "json");
  bind_push_tables(L);
  lua_setfield(L, -2, "tables");
  bind_push_numbers(L);
  lua_setfield(L, -2, "numbers");
#ifdef CHATBOX_SANITIZE
  lua_pushliteral(L, CHATBOX_SANITIZE);
  lua_setfield(L, -2, "sanitizer");
#endif
  return 1;
}
