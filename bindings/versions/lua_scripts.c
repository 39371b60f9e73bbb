/* In: chat.scripts calls in an HTTP request of an administrator. Out: orders for the versions of the scripts, and
 * reports.
 * Why: the main thread decides what runs. So the request waits while its order goes there and the outcome comes
 * back, even when its own VM is replaced meanwhile. Other callers are refused: a bot that could replace the scripts
 * would bypass the people who are responsible for them. */
#include "bind.h"

#include "err.h"
#include "known_options.h"
#include "run.h"
#include "scripts_impl.h"
#include "scripts_report.h"
#include "task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct ask {
  struct post post; /* there, and back */
  struct host *host;
  struct task_ticket *ticket;
  bool report_wanted;
  struct scripts_order order;
  char who[HISTORY_WHO_MAX + 1], why[HISTORY_WHY_MAX + 1];
  struct scripts_report *report;
  bool ok;
  char text[512];
};

/* ---- the picture as a table ---- */

static void set_text(lua_State *L, const char *name, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double n) {
  lua_pushnumber(L, n);
  lua_setfield(L, -2, name);
}

static void set_counts(lua_State *L, uint64_t calls, uint64_t errors, uint64_t kills) {
  set_number(L, "calls", (double)calls);
  set_number(L, "errors", (double)errors);
  set_number(L, "kills", (double)kills);
}

static void push_version(lua_State *L, const struct report_version *v) {
  lua_createtable(L, 0, 8);
  set_text(L, "version", v->version);
  set_text(L, "role", v->role);
  set_number(L, "vms", v->vms);
  set_number(L, "waiting", (double)v->waiting);
  set_number(L, "memory_bytes", (double)v->memory_bytes);
  set_counts(L, v->calls, v->errors, v->kills);
}

static void push_vm(lua_State *L, const struct report_vm *vm) {
  lua_createtable(L, 0, 10);
  set_text(L, "version", vm->version);
  set_text(L, "role", vm->role);
  set_number(L, "worker", vm->worker);
  set_number(L, "waiting", (double)vm->waiting);
  set_number(L, "memory_bytes", (double)vm->memory_bytes);
  set_counts(L, vm->calls, vm->errors, vm->kills);
  lua_createtable(L, 0, (int)vm->wait_count);
  for (size_t i = 0; i < vm->wait_count; i++) {
    set_number(L, vm->waits[i].what, (double)vm->waits[i].count);
  }
  lua_setfield(L, -2, "waits");
  lua_createtable(L, (int)vm->task_count, 0);
  for (size_t i = 0; i < vm->task_count; i++) {
    lua_createtable(L, 0, 3);
    set_text(L, "session_id", vm->tasks[i].session);
    set_text(L, "waits_for", vm->tasks[i].waits_for);
    set_number(L, "waited_ms", (double)vm->tasks[i].since_ms);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "tasks");
}

static void push_entry(lua_State *L, const struct history_entry *e) {
  lua_createtable(L, 0, 8);
  set_number(L, "number", e->number);
  set_number(L, "at_ms", (double)e->at_ms);
  set_text(L, "order", e->verb);
  set_text(L, "version", e->version);
  set_text(L, "outcome", history_outcome(e->outcome));
  set_text(L, "detail", e->detail);
  set_text(L, "who", e->who);
  set_text(L, "why", e->why);
}

static void push_report(lua_State *L, const struct scripts_report *r) {
  lua_createtable(L, 0, 5);
  set_number(L, "canary_share", r->canary_share / 100.0);
  set_number(L, "kept", (double)r->kept);
  lua_createtable(L, (int)r->version_count, 0);
  for (size_t i = 0; i < r->version_count; i++) {
    push_version(L, &r->versions[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "versions");
  lua_createtable(L, (int)r->vm_count, 0);
  for (size_t i = 0; i < r->vm_count; i++) {
    push_vm(L, &r->vms[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "vms");
  lua_createtable(L, HISTORY_MAX, 0);
  const struct history_entry *e;
  for (unsigned back = 0; (e = history_at(&r->history, back)); back++) {
    push_entry(L, e);
    lua_rawseti(L, -2, (int)back + 1);
  }
  lua_setfield(L, -2, "history");
}

/* ---- back on the worker ---- */

static int push_answer(lua_State *L, const struct ask *a) {
  if (a->report_wanted && !a->report) {
    return bind_result(L, UV_ENOMEM);
  }
  if (a->report_wanted) {
    push_report(L, a->report);
    return 1;
  }
  if (a->ok) {
    lua_pushstring(L, a->text);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, a->text);
  lua_pushstring(L, err_name(E_SCRIPT));
  return 3;
}

static void on_answer(struct post *post) {
  struct ask *a = (struct ask *)post;
  a->host->asked--;
  struct task *t = task_redeem(a->ticket);
  if (t) {
    task_resume(t, push_answer(t->co, a));
  }
  free(a->report);
  free(a);
}

/* ---- on the main thread ---- */

static void send_back(struct ask *a) {
  a->post.run = on_answer;
  mailbox_put(worker_mailbox(a->host->worker), &a->post);
}

static void on_report(void *arg, struct scripts_report *report) {
  struct ask *a = arg;
  a->report = report;
  send_back(a);
}

static void on_done(void *arg, bool ok, const char *text) {
  struct ask *a = arg;
  a->ok = ok;
  snprintf(a->text, sizeof a->text, "%s", text);
  send_back(a);
}

static void on_main(struct post *post) {
  struct ask *a = (struct ask *)post;
  if (a->report_wanted) {
    scripts_report(a->host->scripts, on_report, a);
  } else {
    scripts_do(a->host->scripts, &a->order, on_done, a);
  }
}

/* ---- in the script ---- */

static void begin(struct task *t) {
  struct ask *a = t->wait.ask;
  t->wait.ask = NULL;
  a->ticket = task_ticket(t);
  a->post.run = on_main;
  a->host->asked++;
  mailbox_put(a->host->scripts->home, &a->post);
}

/* NULL: the request has none. */
static const struct identity *administrator(const struct task *t) {
  const struct identity *who = t->kind == TASK_HTTP && t->http ? t->http->identity : NULL;
  return who && who->admin ? who : NULL;
}

/* Makes an order, to be filled in and sent with task_wait(…, begin). Raises an error when it may not; the NULL is
 * for the static analyser. */
static struct ask *new_ask(lua_State *L) {
  struct vm *vm = bind_vm(L);
  struct task *t = bind_task(L);
  const struct identity *who = administrator(t);
  if (!who || !vm->world->scripts) {
    luaL_error(L, who ? "chat.scripts: there is no server here"
                      : "chat.scripts is only for the HTTP request of an administrator");
    return NULL;
  }
  free(t->wait.ask); /* left over from a wait that was refused */
  struct ask *a = t->wait.ask = calloc(1, sizeof *a);
  if (!a) {
    luaL_error(L, "not enough memory");
    return NULL;
  }
  a->host = &vm->world->scripts->hosts[worker_index(vm->worker)];
  snprintf(a->who, sizeof a->who, "admin %s", who->user_id);
  a->order.who = a->who;
  a->order.why = a->why;
  return a;
}

static const char *why_field(lua_State *L, enum options which) {
  const char *why = NULL;
  if (!lua_isnoneornil(L, 1)) {
    luaL_checktype(L, 1, LUA_TTABLE);
    options_check(L, 1, which);
    why = bind_field(L, 1, "why", HISTORY_WHY_MAX, NULL);
  }
  return why ? why : "";
}

static int order(lua_State *L, enum scripts_verb verb, unsigned share, const char *what) {
  static const enum options known[] = {[SCRIPTS_RELOAD] = OPTIONS_RELOAD,
                                       [SCRIPTS_CANARY] = OPTIONS_RELOAD,
                                       [SCRIPTS_PROMOTE] = OPTIONS_PROMOTE,
                                       [SCRIPTS_ROLLBACK] = OPTIONS_ROLLBACK};
  const char *why = why_field(L, known[verb]);
  struct ask *a = new_ask(L);
  if (!a) {
    return 0;
  }
  snprintf(a->why, sizeof a->why, "%s", why);
  a->order.verb = verb;
  a->order.share = share;
  return task_wait(L, what, begin);
}

static int l_scripts_reload(lua_State *L) {
  unsigned share = 0;
  if (lua_istable(L, 1)) {
    share = (unsigned)(bind_number(L, 1, "canary", 0, 0, 99.99) * (SCRIPTS_WHOLE / 100.0) + 0.5);
  }
  return order(L, share ? SCRIPTS_CANARY : SCRIPTS_RELOAD, share, "chat.scripts.reload");
}

static int l_scripts_promote(lua_State *L) {
  return order(L, SCRIPTS_PROMOTE, 0, "chat.scripts.promote");
}

static int l_scripts_rollback(lua_State *L) {
  return order(L, SCRIPTS_ROLLBACK, 0, "chat.scripts.rollback");
}

static int l_scripts_report(lua_State *L) {
  struct ask *a = new_ask(L);
  if (!a) {
    return 0;
  }
  a->report_wanted = true;
  return task_wait(L, "chat.scripts.report", begin);
}

static const struct bind_function functions[] = {
  {"reload", l_scripts_reload, "order? table", "string outcome", true,
   "Reads the scripts anew: {why? = text, canary? = per cent of the conversations that get the new version}."},
  {"promote", l_scripts_promote, "order? table", "string outcome", true,
   "Gives all conversations to the canary: {why?}."},
  {"rollback", l_scripts_rollback, "order? table", "string outcome", true,
   "Ends the canary; without one, goes back to the version before: {why?}."},
  {"report", l_scripts_report, "", "table report", true,
   "{versions, vms, history, canary_share, kept}: what runs, how well, what waits for what, and what was done."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_scripts = {
  "scripts", "The scripts themselves. Only in the HTTP request of an administrator; everywhere else it raises.",
  functions, NULL};
