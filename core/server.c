/* In: settings. Out: a running server, until a signal ends it. Why: see server.h. Each worker has a site: what it needs
 * of everything. Start and stop go through the parts in mirrored order. */
#include "server.h"

#include "cipher.h"
#include "control.h"
#include "erasure.h"
#include "err.h"
#include "gate.h"
#include "listen.h"
#include "lobby.h"
#include "log.h"
#include "metrics.h"
#include "net.h"
#include "orders.h"
#include "pages.h"
#include "scripts.h"
#include "store.h"
#include "watch.h"
#include "worker.h"

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#define WORKERS_MAX 256
#define STOP_STEP_MS 10
#define RETENTION_EVERY_MS 3600000
#define DAY_MS 86400000ll

struct server;

struct site {
  struct server *server;
  struct worker *worker;
  struct net *net;
  size_t index;
  int fd;
  _Atomic size_t websockets, tasks; /* of its last turn, for the stop */
};

enum stop_phase { STOP_NOT, STOP_TASKS, STOP_CLOSE, STOP_DONE };

struct server {
  const struct config *config;
  uv_loop_t loop;
  uv_async_t async;
  uv_signal_t signals[3];
  uv_timer_t sessions_timer, limits_timer, retention_timer, stop_timer;
  struct mailbox *home;
  struct gate *gate;
  struct sessions *sessions;
  struct keyring *keys;
  struct store *store;
  struct shared *shared;
  struct scripts *scripts;
  struct pages *pages;
  struct control *control;
  struct erasure *erasure;
  struct watch *watch;
  struct vm_world world;
  atomic_bool stopping;
  enum stop_phase phase;
  uint64_t stop_started_ms;
  size_t count, started;
  struct site sites[WORKERS_MAX];
};

/* ---- a worker's site: transport on one side, scripts on the other ---- */

static void put_or_refuse(struct site *site, struct conn *c, const char *text, size_t len);

static void turn_away(struct conn *c, int code, const struct mailbox *here) {
  static const char text[] =
    "{\"type\":\"error\",\"sender\":\"system\",\"error\":{\"code\":\"DATABASE_ERROR\",\"message\":"
    "\"Database operation failed\",\"recoverable\":true}}";
  struct message *m = message_new(text, sizeof text - 1);
  LOG(LOG_WARN, "server", "no conversation for a connection", LSTR("error", err_name(code)));
  if (m) {
    conn_send(c, m, here);
    message_unref(m);
  }
  conn_close(c, CLOSE_TRY_LATER, "try again later", here);
}

static void on_conversation(void *arg, struct session *s, int code) {
  struct conn *c = arg;
  struct site *site = NULL;
  if (!conn_is_dead(c)) {
    site = conn_site(c);
  }
  if (site && s) {
    code = session_join(s, c, worker_now_ms(site->worker));
  }
  if (site && code) {
    turn_away(c, code, worker_mailbox(site->worker));
  } else if (site) {
    conn_bind(c, s);
    struct item *item = item_new(ITEM_CONNECT, c, NULL, 0);
    if (item && worker_put(site->worker, s, item)) {
      item_free(item);
    }
    struct message *early;
    while ((early = conn_early_take(c))) {
      put_or_refuse(site, c, early->text, early->len);
      message_unref(early);
    }
  }
  if (s) {
    session_unref(s);
  }
  conn_unref(c);
}

static void on_opened(void *ctx, struct conn *c) {
  struct site *site = ctx;
  conn_set_site(c, site);
  lobby_open(site->worker, conn_identity(c)->user_id, conn_wanted(c), on_conversation, conn_ref(c));
}

struct refusal {
  struct site *site;
  struct session *session;
  struct conn *conn;
};

static void refuse_here(void *arg) {
  struct refusal *r = arg;
  scripts_refused(r->site->server->scripts, r->site->index, r->session, r->conn, "FULL");
  session_unref(r->session);
  conn_unref(r->conn);
  free(r);
}

/* By post, because scripts never run inside a call-back of the transport. */
static void refuse(struct site *site, struct session *s, struct conn *c) {
  struct refusal *r = malloc(sizeof *r);
  metrics_add(METRIC_INBOX_OVERFLOWS, 1);
  if (r) {
    *r = (struct refusal){site, session_ref(s), conn_ref(c)};
    worker_call(site->worker, refuse_here, r);
  }
}

static void put_or_refuse(struct site *site, struct conn *c, const char *text, size_t len) {
  struct session *s = conn_session(c);
  struct item *item = item_new(ITEM_TEXT, c, text, len);
  if (item && worker_put(site->worker, s, item)) {
    item_free(item);
    refuse(site, s, c);
  }
}

static void on_text(void *ctx, struct conn *c, const char *text, size_t len) {
  struct site *site = ctx;
  if (conn_session(c)) {
    put_or_refuse(site, c, text, len);
  } else if (conn_early_put(c, text, len)) {
    conn_close(c, CLOSE_TRY_LATER, "too many messages before the conversation was found", worker_mailbox(site->worker));
  }
}

static void on_closed(void *ctx, struct conn *c) {
  struct site *site = ctx;
  if (conn_session(c)) {
    session_leave(conn_session(c), c, worker_now_ms(site->worker));
  }
}

struct request {
  struct site *site;
  struct http_request *http;
};

static void run_http(void *arg) {
  struct request *r = arg;
  vm_http(scripts_vm(r->site->server->scripts, r->site->index), r->http);
  free(r);
}

static void on_http(void *ctx, struct http_request *http) {
  struct request *r = malloc(sizeof *r);
  if (!r) {
    struct http_response res = {.status = 503, .body = ""};
    http_respond(http, &res);
    return;
  }
  *r = (struct request){ctx, http};
  worker_call(((struct site *)ctx)->worker, run_http, r);
}

static const struct net_hooks net_hooks = {.opened = on_opened, .text = on_text, .closed = on_closed, .http = on_http};

static int site_start(struct worker *w, void *ctx, char why[512]) {
  struct site *site = ctx;
  struct server *server = site->server;
  int code = scripts_attach(server->scripts, w, site->index, why);
  if (code) {
    return code;
  }
  struct net_options o = {
    .config = server->config, .gate = server->gate, .listen_fd = site->fd, .hooks = &net_hooks, .ctx = site};
  code = net_open(w, &o, &site->net, why);
  if (code) {
    scripts_detach(server->scripts, site->index);
    return code;
  }
  net_set_pages(site->net, server->pages);
  return 0;
}

static void site_item(void *ctx, struct session *s, struct item *item) {
  struct site *site = ctx;
  scripts_item(site->server->scripts, site->index, s, item);
}

static void site_turn(void *ctx) {
  struct site *site = ctx;
  net_flush(site->net);
  if (atomic_load_explicit(&site->server->stopping, memory_order_relaxed)) {
    atomic_store(&site->websockets, net_count(site->net));
    atomic_store(&site->tasks, scripts_tasks(site->server->scripts, site->index));
  }
}

static void site_stop(void *ctx) {
  struct site *site = ctx;
  scripts_detach(site->server->scripts, site->index);
  net_close(site->net);
}

static const struct worker_hooks worker_hooks = {
  .start = site_start, .item = site_item, .turn = site_turn, .stop = site_stop};

/* ---- messages to everybody ---- */

static void each_site(struct server *s, void (*fn)(void *), void *(*arg)(struct site *, void *), void *with) {
  for (size_t i = 0; i < s->count; i++) {
    worker_call(s->sites[i].worker, fn, arg(&s->sites[i], with));
  }
}

static void *just_site(struct site *site, void *with) {
  (void)with;
  return site;
}

struct telling {
  struct site *site;
  struct message *message;
};

static void *new_telling(struct site *site, void *message) {
  struct telling *t = malloc(sizeof *t);
  if (!t) {
    abort();
  }
  *t = (struct telling){site, message_ref(message)};
  return t;
}

static void tell_here(void *arg) {
  struct telling *t = arg;
  net_tell_admins(t->site->net, t->message);
  message_unref(t->message);
  free(t);
}

/* In development the people who run the server see script errors in the console of the page. Any thread. */
static void script_error(void *arg, const char *text, const char *version) {
  struct server *s = arg;
  json_t *document = json_pack("{s:s, s:s, s:s}", "type", "script_error", "text", text, "version", version);
  char *line = document ? json_dumps(document, JSON_COMPACT) : NULL;
  json_decref(document);
  struct message *m = line ? message_new(line, strlen(line)) : NULL;
  free(line);
  if (m) {
    each_site(s, tell_here, new_telling, m);
    message_unref(m);
  }
}

/* ---- reload ---- */

static void *new_pages(struct site *site, void *pages) {
  struct telling *t = malloc(sizeof *t);
  if (!t) {
    abort();
  }
  *t = (struct telling){site, (void *)pages_ref(pages)};
  return t;
}

static void pages_here(void *arg) {
  struct telling *t = arg;
  struct pages *pages = (struct pages *)t->message;
  net_set_pages(t->site->net, pages);
  pages_unref(pages);
  free(t);
}

/* The pages go with the scripts. */
static void reload_pages(void *arg) {
  struct server *s = arg;
  struct pages *fresh;
  char why[512];
  if (pages_load(config_string(s->config, SETTING_WEB_DIR), &fresh, why)) {
    LOG(LOG_WARN, "server", "the pages were not read again", LSTR("error", why));
    return;
  }
  each_site(s, pages_here, new_pages, fresh);
  pages_unref(s->pages);
  s->pages = fresh;
}

static void on_change(void *arg) {
  scripts_reload(((struct server *)arg)->scripts, "file change");
}

static void on_erased(void *arg, int code, const struct store_erased *erased) {
  char text[128];
  snprintf(text, sizeof text, "%llu conversations, %llu messages", (unsigned long long)erased->sessions,
           (unsigned long long)erased->messages);
  control_reply(arg, code == 0, code ? err_text(code) : text);
}

static void on_erase(struct server *s, struct control_client *who, const char *user) {
  int64_t now_ms = (int64_t)worker_wall_ms(s->sites[0].worker);
  int code = *user ? erasure_user(s->erasure, user, "command line", now_ms, on_erased, who) : E_INVALID;
  if (code) {
    control_reply(who, false, code == E_BUSY ? "another erasure is running" : err_text(code));
  }
}

static void on_audited(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  control_reply(op->arg, op->code == 0, op->code ? err_text(op->code) : "written down");
  store_op_free(op);
}

/* Somebody reads what is stored: that is written down where it is kept, first. */
static void on_export(struct server *s, struct control_client *who, const char *subject) {
  struct store_op *op =
    store_op_audit(STORE_AUDIT, "command line", "export", subject, (int64_t)worker_wall_ms(s->sites[0].worker));
  int code = op ? 0 : UV_ENOMEM;
  if (op) {
    op->reply_to = s->home;
    op->post.run = on_audited;
    op->arg = who;
    code = store_submit(s->store, op);
  }
  if (code) {
    store_op_free(op);
    control_reply(who, false, err_text(code));
  }
}

static void on_command(void *arg, struct control_client *who, const char *line) {
  static const struct {
    const char *word;
    void (*run)(struct server *s, struct control_client *who, const char *rest);
  } commands[] = {{"erase user ", on_erase}, {"export ", on_export}};
  if (orders_take(((struct server *)arg)->scripts, who, line)) {
    return;
  }
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    size_t len = strlen(commands[i].word);
    if (strncmp(line, commands[i].word, len) == 0) {
      commands[i].run(arg, who, line + len);
      return;
    }
  }
  control_reply(who, false, "unknown command");
}

/* ---- stopping ---- */

static void begin_stop(void *arg) {
  struct site *site = arg;
  net_stop_listening(site->net);
  scripts_cancel_askers(site->server->scripts, site->index);
}

static void close_all(void *arg) {
  net_close_all(((struct site *)arg)->net, "Server shutting down");
}

static void cancel_tasks(void *arg) {
  struct site *site = arg;
  scripts_cancel(site->server->scripts, site->index);
}

static size_t total(struct server *s, bool tasks) {
  size_t sum = 0;
  for (size_t i = 0; i < s->started; i++) {
    sum += atomic_load(tasks ? &s->sites[i].tasks : &s->sites[i].websockets);
  }
  return sum;
}

static void touch(void *arg) {
  (void)arg; /* the turn it causes counts afresh */
}

/* Handlers get half of the time to finish; then the store commits what is queued; then the clients are told. */
static void stop_step(uv_timer_t *timer) {
  struct server *s = timer->data;
  uint64_t limit = (uint64_t)config_int(s->config, SETTING_SHUTDOWN_TIMEOUT);
  uint64_t gone = uv_now(&s->loop) - s->stop_started_ms;
  if (s->phase == STOP_TASKS && (total(s, true) == 0 || gone >= limit / 2)) {
    each_site(s, cancel_tasks, just_site, NULL);
    if (store_drain(s->store, limit > gone ? limit - gone : 0)) {
      LOG(LOG_ERROR, "store", "not everything was stored in time (SHUTDOWN_TIMEOUT)");
    }
    each_site(s, close_all, just_site, NULL);
    s->phase = STOP_CLOSE;
  } else if (s->phase == STOP_CLOSE && (total(s, false) == 0 || gone >= limit)) {
    s->phase = STOP_DONE;
    uv_timer_stop(timer);
    uv_stop(&s->loop);
    return;
  }
  each_site(s, touch, just_site, NULL);
}

static void stop(struct server *s) {
  if (s->phase != STOP_NOT) {
    return;
  }
  LOG(LOG_INFO, "server", "stopping");
  atomic_store(&s->stopping, true);
  for (size_t i = 0; i < s->started; i++) {
    atomic_store(&s->sites[i].tasks, 1); /* until its next turn says better */
    atomic_store(&s->sites[i].websockets, 1);
  }
  s->phase = STOP_TASKS;
  s->stop_started_ms = uv_now(&s->loop);
  each_site(s, begin_stop, just_site, NULL);
  uv_timer_start(&s->stop_timer, stop_step, STOP_STEP_MS, STOP_STEP_MS);
}

static void on_signal(uv_signal_t *handle, int signum) {
  if (signum == SIGHUP) {
    scripts_reload(((struct server *)handle->data)->scripts, "SIGHUP");
  } else {
    stop(handle->data);
  }
}

/* ---- upkeep ---- */

static void sweep_sessions(uv_timer_t *timer) {
  struct server *s = timer->data;
  struct worker *any = s->sites[0].worker;
  size_t gone = sessions_sweep(s->sessions, worker_now_ms(any), (uint64_t)config_int(s->config, SETTING_SESSION_TTL));
  if (gone) {
    LOG(LOG_INFO, "server", "idle conversations have left memory", LINT("count", gone),
        LINT("left", sessions_count(s->sessions)));
  }
}

static void sweep_old(uv_timer_t *timer) {
  struct server *s = timer->data;
  int64_t now_ms = (int64_t)worker_wall_ms(s->sites[0].worker);
  erasure_idle(s->erasure, now_ms - config_int(s->config, SETTING_RETENTION_DAYS) * DAY_MS, now_ms);
}

static void sweep_limits(uv_timer_t *timer) {
  struct server *s = timer->data;
  uint64_t now = worker_now_ms(s->sites[0].worker);
  ratelimit_sweep(s->world.messages, now);
  ratelimit_sweep(s->world.public_requests, now);
  shared_sweep(s->shared, now);
}

/* ---- starting ---- */

static void raise_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0) {
      LOG(LOG_INFO, "server", "descriptor limit raised", LINT("from", before), LINT("to", limit.rlim_cur));
    }
  }
}

static void wake_main(void *arg) {
  uv_async_send(&((struct server *)arg)->async);
}

static void on_async(uv_async_t *async) {
  mailbox_drain(((struct server *)async->data)->home);
}

static void open_loop(struct server *s) {
  uv_loop_init(&s->loop);
  uv_async_init(&s->loop, &s->async, on_async);
  uv_timer_init(&s->loop, &s->sessions_timer);
  uv_timer_init(&s->loop, &s->limits_timer);
  uv_timer_init(&s->loop, &s->retention_timer);
  uv_timer_init(&s->loop, &s->stop_timer);
  s->async.data = s->sessions_timer.data = s->limits_timer.data = s->retention_timer.data = s->stop_timer.data = s;
  const int signums[] = {SIGTERM, SIGINT, SIGHUP};
  for (size_t i = 0; i < 3; i++) {
    uv_signal_init(&s->loop, &s->signals[i]);
    s->signals[i].data = s;
    uv_signal_start(&s->signals[i], on_signal, signums[i]);
  }
  s->home = mailbox_new(wake_main, s);
}

static int open_limits(struct server *s, char why[512]) {
  const struct config *c = s->config;
  size_t keys = (size_t)config_int(c, SETTING_RATE_LIMIT_KEYS);
  struct vm_world *w = &s->world;
  char bad[64];
  *w = (struct vm_world){.config = c, .stopping = &s->stopping, .reloading = reload_pages, .arg = s};
  w->script_error = config_bool(c, SETTING_DEVELOPMENT) ? script_error : NULL;
  w->messages =
    ratelimit_new((uint32_t)config_int(c, SETTING_RATE_LIMIT), (uint64_t)config_int(c, SETTING_RATE_WINDOW), keys);
  w->public_requests = ratelimit_new((uint32_t)config_int(c, SETTING_PUBLIC_RATE_LIMIT), 60000, keys);
  w->shared = s->shared =
    shared_new((size_t)config_int(c, SETTING_SHARED_KEYS), (size_t)config_int(c, SETTING_SHARED_BYTES));
  w->aside =
    aside_new((unsigned)config_int(c, SETTING_SCRIPT_KILLS_MAX), (uint64_t)config_int(c, SETTING_SCRIPT_KILLS_WINDOW));
  s->sessions = sessions_new((size_t)config_int(c, SETTING_MAX_SESSIONS), (size_t)config_int(c, SETTING_INBOX_LIMIT),
                             worker_run_session);
  if (!w->messages || !w->public_requests || !s->shared || !w->aside || !s->sessions) {
    return UV_ENOMEM;
  }
  int code = networks_new(config_string(c, SETTING_METRICS_ALLOWED_NETWORKS), &w->metrics_networks, bad);
  if (code) {
    snprintf(why, 512, "METRICS_ALLOWED_NETWORKS: \"%s\" is not an address or network", bad);
  }
  return code;
}

static int open_keys(struct server *s, char why[512]) {
  const struct config *c = s->config;
  return keyring_new(config_string(c, SETTING_ENCRYPTION_KEY), config_string(c, SETTING_ENCRYPTION_PREVIOUS_KEYS),
                     config_bool(c, SETTING_ENCRYPTION_ALLOW_PLAINTEXT), &s->keys, why);
}

static size_t each_worker(void *ctx, void (*fn)(void *), void *arg) {
  struct server *s = ctx;
  for (size_t i = 0; i < s->started; i++) {
    worker_call(s->sites[i].worker, fn, arg);
  }
  return s->started;
}

static int open_parts(struct server *s, char why[512]) {
  const struct config *c = s->config;
  struct store_options store = {.url = config_string(c, SETTING_STORE_URL),
                                .readers = (uint32_t)config_int(c, SETTING_STORE_READERS),
                                .timeout_ms = (uint32_t)config_int(c, SETTING_STORE_TIMEOUT),
                                .queue = (uint32_t)config_int(c, SETTING_STORE_QUEUE)};
  char path[512];
  server_control_path(c, path, sizeof path);
  int code = gate_new(c, &s->gate, why);
  code = code ? code : open_limits(s, why);
  code = code ? code : pages_load(config_string(c, SETTING_WEB_DIR), &s->pages, why);
  code =
    code ? code : scripts_new(&s->world, config_string(c, SETTING_SCRIPTS_DIR), s->count, s->home, &s->scripts, why);
  s->world.scripts = s->scripts;
  code = code ? code : open_keys(s, why);
  store.keys = s->keys;
  code = code ? code : store_open(&store, &s->store, why);
  if (!code) {
    s->erasure = erasure_new(&(struct erasure_world){s->sessions, s->store, s->home, each_worker, s});
    code = s->erasure ? 0 : UV_ENOMEM;
  }
  return code ? code : control_open(&s->loop, path, on_command, s, &s->control, why);
}

/* All workers exist before the first one runs: a script that fails on one tells the admins on every other. */
static int make_workers(struct server *s) {
  for (size_t i = 0; i < s->count; i++) {
    struct site *site = &s->sites[i];
    struct worker_options o = {
      .index = (unsigned)i, .hooks = &worker_hooks, .ctx = site, .sessions = s->sessions, .store = s->store};
    *site = (struct site){.server = s, .index = i, .worker = worker_new(&o)};
    if (!site->worker) {
      return UV_ENOMEM;
    }
  }
  return 0;
}

static int start_workers(struct server *s, int *port, char why[512]) {
  int fds[WORKERS_MAX];
  const char *address = config_string(s->config, SETTING_SERVER_ADDRESS);
  int code = make_workers(s);
  code = code
           ? code
           : listen_open(address, (int)config_int(s->config, SETTING_SERVER_PORT), (unsigned)s->count, fds, port, why);
  if (code) {
    return code;
  }
  for (size_t i = 0; i < s->count; i++) {
    s->sites[i].fd = fds[i];
  }
  for (size_t i = 0; !code && i < s->count; i++) {
    code = worker_start(s->sites[i].worker, why);
    s->started += !code;
  }
  for (size_t i = s->started; i < s->count; i++) {
    close(fds[i]); /* of those that did not start */
  }
  return code;
}

static int start(struct server *s, char why[512]) {
  const struct config *c = s->config;
  int port = 0;
  snprintf(why, 512, "out of memory");
  int code = open_parts(s, why);
  code = code ? code : start_workers(s, &port, why);
  if (code) {
    return code;
  }
  scripts_warn(s->scripts);
  if (config_bool(c, SETTING_DEVELOPMENT) || config_bool(c, SETTING_SCRIPT_WATCH)) {
    const char *folders[] = {config_string(c, SETTING_SCRIPTS_DIR), config_string(c, SETTING_WEB_DIR)};
    s->watch = watch_new(&s->loop, folders, 2, on_change, s);
  }
  uint64_t sessions_ms = (uint64_t)config_int(c, SETTING_SESSION_CLEANUP_INTERVAL);
  uint64_t limits_ms = (uint64_t)config_int(c, SETTING_RATE_LIMIT_CLEANUP_INTERVAL);
  uv_timer_start(&s->sessions_timer, sweep_sessions, sessions_ms, sessions_ms);
  uv_timer_start(&s->limits_timer, sweep_limits, limits_ms, limits_ms);
  if (config_int(c, SETTING_RETENTION_DAYS)) {
    uv_timer_start(&s->retention_timer, sweep_old, 0, RETENTION_EVERY_MS);
  }
  if (!s->keys && !config_bool(c, SETTING_DEVELOPMENT)) {
    LOG(LOG_WARN, "server", "messages are stored without encryption: ENCRYPTION_KEY is empty");
  }
  LOG(LOG_INFO, "script", "how scripts run", LSTR("manner", vm_manner(c)));
  LOG(LOG_INFO, "server", "listening", LSTR("address", config_string(c, SETTING_SERVER_ADDRESS)), LINT("port", port),
      LSTR("prefix", config_string(c, SETTING_PATH_PREFIX)), LINT("workers", s->count),
      LSTR("scripts", scripts_version(s->scripts)));
  return 0;
}

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) {
    uv_close(handle, NULL);
  }
}

static void take_down(struct server *s) {
  uv_timer_stop(&s->sessions_timer); /* the loop runs once more below, and what they look at is gone then */
  uv_timer_stop(&s->limits_timer);
  uv_timer_stop(&s->retention_timer);
  for (size_t i = 0; i < s->started; i++) {
    worker_stop(s->sites[i].worker);
  }
  for (size_t i = 0; i < s->started; i++) {
    worker_join(s->sites[i].worker);
  }
  mailbox_drain(s->home); /* what the workers had still to say */
  if (s->erasure) {
    erasure_stop(s->erasure);
  }
  if (s->store) {
    store_close(s->store);
  }
  mailbox_drain(s->home); /* and the store */
  keyring_free(s->keys);
  for (size_t i = 0; i < s->count; i++) {
    if (s->sites[i].worker) {
      worker_free(s->sites[i].worker);
    }
  }
  watch_free(s->watch);
  erasure_free(s->erasure);
  control_close(s->control);
  uv_run(&s->loop, UV_RUN_NOWAIT);
  uv_walk(&s->loop, close_handle, NULL);
  uv_run(&s->loop, UV_RUN_DEFAULT);
  uv_loop_close(&s->loop);
  if (s->scripts) {
    scripts_free(s->scripts);
  }
  if (s->sessions) {
    sessions_free(s->sessions);
  }
  if (s->shared) {
    shared_free(s->shared);
  }
  aside_free(s->world.aside);
  if (s->world.messages) {
    ratelimit_free(s->world.messages);
  }
  if (s->world.public_requests) {
    ratelimit_free(s->world.public_requests);
  }
  if (s->world.metrics_networks) {
    networks_free(s->world.metrics_networks);
  }
  pages_unref(s->pages);
  if (s->gate) {
    gate_free(s->gate);
  }
  mailbox_free(s->home);
  free(s);
}

static size_t worker_count(const struct config *c) {
  long n = (long)config_int(c, SETTING_WORKERS);
  n = n ? n : sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (size_t)n;
}

void server_control_path(const struct config *c, char *out, size_t room) {
  const char *path = config_string(c, SETTING_CONTROL_SOCKET), *url = config_string(c, SETTING_STORE_URL);
  const char *file = strchr(url, ':') ? strchr(url, ':') + 1 : url;
  const char *slash = strncmp(file, "//", 2) == 0 ? NULL : strrchr(file, '/'); /* // is a server, not a folder */
  if (*path) {
    snprintf(out, room, "%s", path);
  } else {
    snprintf(out, room, "%.*schatbox.sock", slash ? (int)(slash - file + 1) : 0, file);
  }
}

int server_run(const struct config *config, char why[512]) {
  struct server *s = calloc(1, sizeof *s);
  if (!s) {
    return UV_ENOMEM;
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk to the store, not the end */
  raise_descriptors();
  net_setup_log();
  s->config = config;
  s->count = worker_count(config);
  open_loop(s);
  int code = start(s, why);
  if (!code) {
    uv_run(&s->loop, UV_RUN_DEFAULT);
    LOG(LOG_INFO, "server", "stopped");
  }
  take_down(s);
  return code;
}
