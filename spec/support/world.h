/* In: scripts, settings, what virtual clients say, time. Out: what they hear; HTTP answers.
 * Why: one worker of the real server without its sockets and without its clock: the real sessions, effects, VM and
 * store, turned by hand. What core/server/server.c does between transport and scripts is done here for clients that are
 * lists. Thread: one (the store has its own). */
#pragma once
#include "erasure.h"
#include "faulty_store.h"
#include "memory_log.h"

#include "address.h"
#include "join.h"
#include "machine.h"
#include "modules.h"
#include "scripts.h"
#include "vm.h"
#include "worker.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define WORLD_SECRET "V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!"

struct heard {
  struct heard *next;
  struct message *message;
};

struct client {
  struct client *next;
  struct world *world;
  struct conn *conn;
  struct heard *first, **last;
  int close_code;
  char close_reason[CONN_REASON_MAX + 1];
  bool stalled; /* reads nothing for now */
};

struct request {
  struct request *next;
  struct http_request http;
  char *texts; /* what http points to */
  bool answered;
  int status;
  char *body, *type, *endpoint;
  size_t body_len, header_count;
  char *headers[2 * HTTP_HEADERS_MAX];
};

struct world {
  char folder[40]; /* empty: closed */
  struct config *config;
  struct vm_world vm;
  atomic_bool stopping;
  struct sessions *sessions;
  struct shared *shared;
  struct store *store;
  struct worker *worker;
  struct mailbox *home; /* what scripts.c takes for the main thread's */
  struct scripts *scripts;
  struct client *clients;
  struct request *requests;
  bool aggressive_gc;
  bool reload_done, reload_ok;
  char reload_text[600], script_error[600];
  struct {
    struct mailbox *mailbox;
    pthread_mutex_t lock;
    pthread_cond_t rung;
    bool ringing;
    int left;
  } barrier;
};

/* ---- waiting for the store ---- */

static void barrier_ring(void *arg) {
  struct world *w = arg;
  pthread_mutex_lock(&w->barrier.lock);
  w->barrier.ringing = true;
  pthread_cond_signal(&w->barrier.rung);
  pthread_mutex_unlock(&w->barrier.lock);
}

static void barrier_passed(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  ((struct world *)op->arg)->barrier.left--;
  store_op_free(op);
}

static void barrier_ask(struct world *w, enum store_kind kind) {
  struct store_op *op = store_op_new(kind);
  op->reply_to = w->barrier.mailbox;
  op->post.run = barrier_passed;
  op->arg = w;
  if (store_submit(w->store, op)) {
    store_op_free(op); /* the store has stopped: nothing is on its way */
  } else {
    w->barrier.left++;
  }
}

/* All that was asked so far has been answered (what a spec holds back is not waited for). */
static void barrier_pass(struct world *w) {
  if (!faults.hold_reads) {
    barrier_ask(w, STORE_PING);
  }
  if (!faults.hold_writes) {
    barrier_ask(w, STORE_WRITE);
  }
  while (w->barrier.left > 0) {
    pthread_mutex_lock(&w->barrier.lock);
    while (!w->barrier.ringing) {
      pthread_cond_wait(&w->barrier.rung, &w->barrier.lock);
    }
    w->barrier.ringing = false;
    pthread_mutex_unlock(&w->barrier.lock);
    mailbox_drain(w->barrier.mailbox);
  }
}

static void world_gc(struct world *w) {
  struct vm *vm = w->aggressive_gc ? scripts_vm(w->scripts, 0) : NULL;
  if (vm) {
    lua_gc(vm->L, LUA_GCSETPAUSE, 0);
    lua_gc(vm->L, LUA_GCSETSTEPMUL, 400);
    lua_gc(vm->L, LUA_GCCOLLECT, 0);
  }
}

/* Everything that can happen without time passing has happened. */
static void world_settle(struct world *w) {
  bool moved;
  do {
    worker_settle(w->worker);
    world_gc(w);
    barrier_pass(w);
    moved = mailbox_drain(worker_mailbox(w->worker));
    moved |= mailbox_drain(w->home);
  } while (moved);
}

/* ---- clients ---- */

static void client_leave(struct client *c) {
  if (c->conn) {
    struct session *s = conn_session(c->conn);
    if (s) {
      session_leave(s, c->conn, worker_now_ms(c->world->worker));
    }
    conn_dead(c->conn);
    conn_unref(c->conn);
    c->conn = NULL;
  }
}

static void client_flush(struct client *c) {
  struct message *m;
  const char *reason;
  if (!c->conn || c->stalled) {
    return;
  }
  while ((m = conn_outbox_take(c->conn))) {
    struct heard *h = malloc(sizeof *h);
    *h = (struct heard){.message = m};
    *c->last = h;
    c->last = &h->next;
  }
  conn_clean(c->conn);
  c->close_code = conn_closing(c->conn, &reason);
  if (c->close_code) {
    snprintf(c->close_reason, sizeof c->close_reason, "%s", reason);
    client_leave(c);
  }
}

static void on_dirty(struct conn *c, void *arg) {
  (void)c;
  (void)arg; /* every client is flushed at the end of a turn */
}

struct refusal {
  struct world *world;
  struct session *session;
  struct conn *conn;
  char cid[STORE_CID_MAX + 1];
};

static void refuse_here(void *arg) {
  struct refusal *r = arg;
  scripts_refused(r->world->scripts, 0, r->session, r->conn, "FULL", r->cid);
  session_unref(r->session);
  conn_unref(r->conn);
  free(r);
}

static void put_or_refuse(struct client *c, const char *text, size_t len, struct conn_refusal behind) {
  struct world *w = c->world;
  struct session *s = conn_session(c->conn);
  struct item *item = item_new(ITEM_TEXT, c->conn, text, len);
  item->behind = behind;
  if (worker_put(w->worker, s, item)) {
    struct refusal *r = malloc(sizeof *r);
    *r = (struct refusal){.world = w, .session = session_ref(s), .conn = conn_ref(c->conn)};
    conn_put_off(c->conn, behind);
    scripts_put_off(w->scripts, 0, c->conn, text, len, E_FULL, 0, r->cid);
    item_free(item);
    worker_call(w->worker, refuse_here, r);
  }
}

static void on_conversation(void *arg, struct session *s, int code) {
  struct client *c = arg;
  if (!c->conn) { /* it has left meanwhile */
    if (s) {
      session_unref(s);
    }
    return;
  }
  if (!s) {
    conn_close(c->conn, CLOSE_TRY_LATER, err_name(code), worker_mailbox(c->world->worker));
    return;
  }
  struct item *item = item_new(ITEM_CONNECT, c->conn, NULL, 0);
  if (session_join(s, c->conn, worker_now_ms(c->world->worker))) {
    abort();
  }
  conn_bind(c->conn, s);
  if (worker_put(c->world->worker, s, item)) {
    item_free(item);
  }
  session_unref(s);
  struct message *early;
  struct conn_refusal behind;
  while ((early = conn_early_take(c->conn, &behind))) {
    put_or_refuse(c, early->text, early->len, behind);
    message_unref(early);
  }
}

static struct client *client_new(struct world *w, struct identity *who, const char *wanted) {
  struct client *c = calloc(1, sizeof *c);
  struct conn_options o = {.home = worker_mailbox(w->worker),
                           .identity = who,
                           .wanted = wanted,
                           .early_limit = 4,
                           .outbox_limit = (size_t)config_int(w->config, SETTING_OUTBOX_LIMIT),
                           .dirty = on_dirty};
  c->world = w;
  c->last = &c->first;
  c->conn = conn_new(&o);
  c->next = w->clients;
  w->clients = c;
  join_open(w->worker, who->user_id, wanted, on_conversation, c);
  world_settle(w);
  return c;
}

/* The oldest text that was heard, its reference moves out; NULL: none. */
static struct message *client_hears(struct client *c) {
  struct heard *h = c->first;
  if (!h) {
    return NULL;
  }
  if (!(c->first = h->next)) {
    c->last = &c->first;
  }
  struct message *m = h->message;
  free(h);
  return m;
}

/* ---- HTTP: takes the place of core/net/net.c ---- */

static char *text_copy(const char *text) {
  return text ? strdup(text) : NULL;
}

void http_respond(struct http_request *req, const struct http_response *res) {
  struct request *r = (struct request *)((char *)req - offsetof(struct request, http));
  if (r->answered) {
    abort(); /* exactly once */
  }
  r->answered = true;
  r->status = res->status;
  r->body = malloc(res->body_len + 1);
  memcpy(r->body, res->body, res->body_len);
  r->body_len = res->body_len;
  r->type = text_copy(res->type);
  r->endpoint = text_copy(res->endpoint);
  r->header_count = res->header_count;
  for (size_t i = 0; i < res->header_count; i++) {
    r->headers[2 * i] = strdup(res->headers[i].name);
    r->headers[2 * i + 1] = strdup(res->headers[i].value);
  }
}

static void request_free(struct request *r) {
  for (size_t i = 0; i < 2 * r->header_count; i++) {
    free(r->headers[i]);
  }
  free(r->body);
  free(r->type);
  free(r->endpoint);
  free(r->texts);
  identity_unref(r->http.identity);
  free(r);
}

/* ---- life ---- */

static int site_start(struct worker *worker, void *ctx, char why[512]) {
  struct world *w = ctx;
  return scripts_attach(w->scripts, worker, 0, why);
}

static void site_item(void *ctx, struct session *s, struct item *item) {
  scripts_item(((struct world *)ctx)->scripts, 0, s, item);
}

static void site_turn(void *ctx) {
  for (struct client *c = ((struct world *)ctx)->clients; c; c = c->next) {
    client_flush(c);
  }
}

static void site_stop(void *ctx) {
  scripts_detach(((struct world *)ctx)->scripts, 0);
}

static const struct worker_hooks site_hooks = {
  .start = site_start, .item = site_item, .turn = site_turn, .stop = site_stop};

static void no_wake(void *arg) {
  (void)arg; /* world_settle looks by itself */
}

static void note_script_error(void *arg, const char *text, const char *version) {
  (void)version;
  struct world *w = arg;
  snprintf(w->script_error, sizeof w->script_error, "%s", text);
}

/* Writes (text) or removes (NULL) a script. The path is the spec's own. */
static inline int world_file(struct world *w, const char *path, const char *text, size_t len) {
  char full[512];
  int used = snprintf(full, sizeof full, "%s/scripts/%s", w->folder, path);
  if (used < 0 || (size_t)used >= sizeof full) {
    return UV_ENAMETOOLONG;
  }
  if (!text) {
    return unlink(full) ? UV_ENOENT : 0;
  }
  for (char *slash = strchr(full + strlen(w->folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    mkdir(full, 0700);
    *slash = '/';
  }
  FILE *f = fopen(full, "wbe");
  if (!f) {
    return UV_EIO;
  }
  size_t written = fwrite(text, 1, len, f);
  return fclose(f) || written != len ? UV_EIO : 0;
}

static int open_store(struct world *w, char why[512]) {
  char url[64];
  snprintf(url, sizeof url, "sqlite:%s/chat.db", w->folder);
  struct store_options o = {.backends = faulty_backends,
                            .url = url,
                            .readers = 1,
                            .queue = (uint32_t)config_int(w->config, SETTING_STORE_QUEUE)};
  return store_open(&o, &w->store, why);
}

/* There is only this one, and it has its turn. */
static size_t each_worker(void *ctx, void (*fn)(void *arg), void *arg) {
  (void)ctx;
  fn(arg);
  return 1;
}

/* Conversations, scripts, a worker: all that a crash takes and a start makes. */
static int start_worker(struct world *w, char why[512]) {
  char scripts[60];
  const struct config *c = w->config;
  w->sessions = sessions_new((size_t)config_int(c, SETTING_MAX_SESSIONS), (size_t)config_int(c, SETTING_INBOX_LIMIT),
                             worker_run_session);
  w->vm.erasure = erasure_new(&(struct erasure_world){w->sessions, w->store, w->home, each_worker, w});
  snprintf(scripts, sizeof scripts, "%s/scripts", w->folder);
  int code = scripts_new(&w->vm, scripts, 1, w->home, &w->scripts, why);
  if (code) {
    return code;
  }
  w->vm.scripts = w->scripts;
  struct worker_options o = {.hooks = &site_hooks,
                             .ctx = w,
                             .sessions = w->sessions,
                             .store = w->store,
                             .answer_late_ms = (uint64_t)config_int(c, SETTING_ANSWER_LATE_MAX),
                             .by_hand = true};
  struct worker *worker = worker_new(&o);
  code = worker_start(worker, why);
  if (code) {
    worker_free(worker);
    return code;
  }
  w->worker = worker;
  world_gc(w);
  return 0;
}

/* The folder is there and the scripts lie in it. On failure world_close takes down what was made. */
static int world_open(struct world *w, char **settings, char why[512]) {
  char bad[64];
  int code = config_load(NULL, settings, &w->config, why);
  if (code) {
    return code;
  }
  const struct config *c = w->config;
  faults_set(&faults.fail_writes, false);
  faults_set(&faults.fail_reads, false);
  w->vm = (struct vm_world){
    .config = c, .modules = bind_modules, .stopping = &w->stopping, .script_error = note_script_error, .arg = w};
  code = token_verifier_new(&(struct token_options){.secret = WORLD_SECRET}, &w->vm.verifier, why);
  if (code) {
    return code;
  }
  w->vm.limiters = limiters_new(c);
  w->vm.shared = w->shared =
    shared_new((size_t)config_int(c, SETTING_SHARED_KEYS), (size_t)config_int(c, SETTING_SHARED_BYTES));
  w->vm.quarantine = quarantine_new((unsigned)config_int(c, SETTING_SCRIPT_KILLS_MAX),
                                    (uint64_t)config_int(c, SETTING_SCRIPT_KILLS_WINDOW));
  w->home = mailbox_new(no_wake, w);
  w->barrier.mailbox = mailbox_new(barrier_ring, w);
  pthread_mutex_init(&w->barrier.lock, NULL);
  pthread_cond_init(&w->barrier.rung, NULL);
  code = networks_new(config_string(c, SETTING_METRICS_ALLOWED_NETWORKS), &w->vm.metrics_networks, bad);
  code = code ? code : open_store(w, why);
  return code ? code : start_worker(w, why);
}

static void stop_worker(struct world *w) {
  faults_set(&faults.hold_writes, false);
  faults_set(&faults.hold_reads, false);
  for (struct client *c = w->clients; c; c = c->next) {
    client_leave(c);
  }
  world_settle(w);
  worker_join(w->worker);
  do {
    barrier_pass(w);
  } while (mailbox_drain(worker_mailbox(w->worker))); /* what the cancelled handlers left */
}

/* What was not stored is lost; time goes on. */
static inline int world_crash(struct world *w, char why[512]) {
  uint64_t now_ms = worker_now_ms(w->worker);
  atomic_store(&w->stopping, true);
  stop_worker(w);
  worker_free(w->worker);
  scripts_free(w->scripts);
  erasure_free(w->vm.erasure);
  sessions_free(w->sessions);
  w->worker = NULL;
  w->scripts = NULL;
  w->sessions = NULL;
  atomic_store(&w->stopping, false);
  int code = start_worker(w, why);
  if (!code) {
    worker_advance(w->worker, now_ms - worker_now_ms(w->worker));
  }
  return code;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  (void)type;
  (void)at;
  return remove(path);
}

static void world_close(struct world *w) {
  if (!*w->folder) {
    return;
  }
  if (w->worker) {
    stop_worker(w);
  }
  if (w->store) {
    store_close(w->store);
  }
  if (w->worker) {
    worker_free(w->worker);
  }
  if (w->scripts) {
    scripts_free(w->scripts);
  }
  if (w->config) {
    erasure_free(w->vm.erasure);
    if (w->sessions) {
      sessions_free(w->sessions);
    }
    shared_free(w->shared);
    quarantine_free(w->vm.quarantine);
    limiters_free(w->vm.limiters);
    networks_free(w->vm.metrics_networks);
    token_verifier_free(w->vm.verifier);
    mailbox_free(w->home);
    mailbox_free(w->barrier.mailbox);
    config_free(w->config);
  }
  nftw(w->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  *w->folder = 0;
}

/* After world_close. */
static void world_forget(struct world *w) {
  struct message *m;
  for (struct client *c = w->clients, *next; c; c = next) {
    next = c->next;
    while ((m = client_hears(c))) {
      message_unref(m);
    }
    free(c);
  }
  for (struct request *r = w->requests, *next; r; r = next) {
    next = r->next;
    request_free(r);
  }
  w->clients = NULL;
  w->requests = NULL;
}
