/* In: settings. Out: a running server, until a signal ends it. Why: see server.h. Start and stop go through the parts
 * in mirrored order; what happens in between is in site.c and command.c. */
#include "server.h"
#include "server_impl.h"
#include "shown.h"
#include "stall.h"
#include "store_backends.h"
#include "trial.h"

#include "admission.h"
#include "bye.h"
#include "cipher.h"
#include "control.h"
#include "erasure.h"
#include "err.h"
#include "gate.h"
#include "listen.h"
#include "log.h"
#include "log_share.h"
#include "modules.h"
#include "notify.h"
#include "pages.h"
#include "recovery.h"
#include "watch.h"
#include "watch_files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define STOP_STEP_MS 10
#define REQUESTS_MS 2000    /* so long a stop waits for HTTP requests that are not complete */
#define LOG_SHARES_MAX 1024 /* files of scripts whose lines are counted apart */
#define LOG_BURST_MS 10000

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

struct unfinished {
  size_t tasks, websockets, requests;
};

static struct unfinished unfinished(struct server *s) {
  struct unfinished sum = {0};
  for (size_t i = 0; i < s->started; i++) {
    sum.tasks += atomic_load(&s->sites[i].tasks);
    sum.websockets += atomic_load(&s->sites[i].websockets);
    sum.requests += atomic_load(&s->sites[i].requests);
  }
  return sum;
}

static void touch(void *arg) {
  (void)arg; /* the turn this causes counts anew */
}

static void say_bye(struct conn *c, void *arg) {
  bye_announce(c, CLOSE_GOING_AWAY, "Server shutting down", worker_wall_ms(arg), NULL);
}

/* Nothing new is taken any more. Handlers get half of the time to finish; then the store commits what is queued; then
 * the clients are told. Who has just been accepted is still answered: the next server cannot do that. */
static void stop_step(uv_timer_t *timer) {
  struct server *s = timer->data;
  uint64_t limit = stall_stop_ms(s->config);
  uint64_t gone = uv_now(&s->loop) - s->stop_started_ms;
  struct unfinished left = unfinished(s);
  bool answered = left.requests == 0 || gone >= REQUESTS_MS;
  if (s->phase == STOP_TASKS && (left.tasks == 0 || gone >= limit / 2)) {
    server_each_site(s, cancel_tasks, server_just_site, NULL);
    if (store_drain(s->store, limit > gone ? limit - gone : 0)) {
      LOG(LOG_ERROR, "store", "not everything was stored in time (SHUTDOWN_TIMEOUT)");
    }
    server_each_site(s, close_all, server_just_site, NULL);
    s->phase = STOP_CLOSE;
  } else if (s->phase == STOP_CLOSE && ((left.websockets == 0 && answered) || gone >= limit)) {
    s->phase = STOP_DONE;
    uv_timer_stop(timer);
    uv_stop(&s->loop);
    return;
  }
  server_each_site(s, touch, server_just_site, NULL);
}

static void stop(struct server *s) {
  if (s->phase != STOP_NOT) {
    return;
  }
  LOG(LOG_INFO, "server", "stopping");
  (void)notify_send("STOPPING=1");
  atomic_store(&s->stopping, true);
  for (size_t i = 0; i < s->started; i++) {
    atomic_store(&s->sites[i].tasks, 1); /* until its next turn counts them */
    atomic_store(&s->sites[i].websockets, 1);
    atomic_store(&s->sites[i].requests, 1);
  }
  s->phase = STOP_TASKS;
  stall_stopping(s);
  trial_stop(s->trial);
  s->stop_started_ms = uv_now(&s->loop);
  server_each_site(s, begin_stop, server_just_site, NULL);
  sessions_each_member(s->sessions, say_bye, s->sites[0].worker);
  uv_timer_start(&s->stop_timer, stop_step, STOP_STEP_MS, STOP_STEP_MS);
}

static const int signums[] = {SIGTERM, SIGINT, SIGHUP};

static void on_signal(uv_signal_t *handle, int signum) {
  struct server *s = handle->data;
  if (signum != SIGHUP) {
    stop(s);
  } else if (s->phase == STOP_NOT) { /* else there may be nobody left who could load anything */
    char why[512];                   /* is in the log */
    server_read_keys(s, "SIGHUP", why);
    scripts_reload(s->scripts, "SIGHUP");
  }
}

/* ---- starting ---- */

static void on_change(void *arg) {
  scripts_reload(((struct server *)arg)->scripts, "file change");
}

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

/* While starting there is nobody to say goodbye to, and a script that hangs holds nobody up. */
static void leave_at_once(int number) {
  (void)number;
  _exit(0);
}

/* What would end or stop the process by default and means nothing here. A file that may not grow (SIGXFSZ) is a full
 * disk to the store. Who needs one of these (the watchdog, the budgets of scripts) sets its handler later. */
static void ignore_signals(void) {
  static const int unused[] = {
    SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2,   SIGALRM, SIGVTALRM,
    SIGPROF, SIGPOLL, SIGPWR,  SIGSTKFLT, SIGTTIN, SIGTTOU}; /* a log on a terminal that others use stops nobody */
  for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
    signal(unused[i], SIG_IGN);
  }
  for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
    signal(number, SIG_IGN);
  }
}

static void hear_signals(struct server *s) {
  for (size_t i = 0; i < 3; i++) {
    uv_signal_start(&s->signals[i], on_signal, signums[i]);
  }
}

static void open_loop(struct server *s) {
  uv_loop_init(&s->loop);
  uv_async_init(&s->loop, &s->async, on_async);
  uv_timer_init(&s->loop, &s->stop_timer);
  s->async.data = s->stop_timer.data = s;
  upkeep_open(s);
  for (size_t i = 0; i < 3; i++) {
    uv_signal_init(&s->loop, &s->signals[i]);
    signal(signums[i], signums[i] == SIGHUP ? SIG_IGN : leave_at_once);
    s->signals[i].data = s;
  }
  s->home = mailbox_new(wake_main, s);
  s->trial = trial_new(&s->loop, s->config);
}

static int open_limits(struct server *s, char why[512]) {
  const struct config *c = s->config;
  struct vm_world *w = &s->world;
  char bad[64];
  *w = (struct vm_world){.config = c,
                         .modules = bind_modules,
                         .stopping = &s->stopping,
                         .reloading = server_reload_pages,
                         .ordered = upkeep_order,
                         .arg = s};
  w->script_error = config_bool(c, SETTING_DEVELOPMENT) ? server_script_error : NULL;
  w->limiters = limiters_new(c);
  w->log_shares = log_shares_new(&(struct bucket_rate){(uint64_t)config_int(c, SETTING_SCRIPT_LOG_RATE), LOG_BURST_MS},
                                 LOG_SHARES_MAX);
  w->shared = s->shared =
    shared_new((size_t)config_int(c, SETTING_SHARED_KEYS), (size_t)config_int(c, SETTING_SHARED_BYTES));
  if (s->shared) {
    shared_limit(s->shared, (size_t)config_int(c, SETTING_SHARED_KEYS_PER_SCRIPT),
                 (size_t)config_int(c, SETTING_SHARED_BYTES_PER_SCRIPT));
  }
  w->quarantine = quarantine_new((unsigned)config_int(c, SETTING_SCRIPT_KILLS_MAX),
                                 (uint64_t)config_int(c, SETTING_SCRIPT_KILLS_WINDOW));
  s->sessions = sessions_new((size_t)config_int(c, SETTING_MAX_SESSIONS), (size_t)config_int(c, SETTING_INBOX_LIMIT),
                             worker_run_session);
  if (!w->limiters || !w->log_shares || admission_open(s) || !s->shared || !w->quarantine || !s->sessions) {
    return UV_ENOMEM;
  }
  w->users = s->users;
  sessions_limit(s->sessions,
                 &(struct sessions_limits){.per_user = (size_t)config_int(c, SETTING_MAX_SESSIONS_PER_USER),
                                           .inbox_bytes = (size_t)config_int(c, SETTING_INBOX_BYTES)});
  int code = networks_new(config_string(c, SETTING_METRICS_ALLOWED_NETWORKS), &w->metrics_networks, bad);
  if (code) {
    snprintf(why, 512, "METRICS_ALLOWED_NETWORKS: \"%s\" is not an address or network", bad);
  }
  return code;
}

int server_keyring(const struct config *c, unsigned accept, struct keyring **out, char why[256]) {
  accept |= config_bool(c, SETTING_ENCRYPTION_ALLOW_PLAINTEXT) ? CIPHER_PLAINTEXT : 0;
  accept |= config_bool(c, SETTING_ENCRYPTION_TAKEOVER) ? CIPHER_TAKEOVER : 0;
  return keyring_new(config_string(c, SETTING_ENCRYPTION_KEY), config_string(c, SETTING_ENCRYPTION_PREVIOUS_KEYS),
                     accept, out, why);
}

static int open_keys(struct server *s, char why[512]) {
  const struct config *c = s->config;
  return server_keyring(c, 0, &s->keys, why);
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
  struct store_options store = {.backends = store_backends,
                                .url = config_string(c, SETTING_STORE_URL),
                                .readers = (uint32_t)config_int(c, SETTING_STORE_READERS),
                                .timeout_ms = (uint32_t)config_int(c, SETTING_STORE_TIMEOUT),
                                .queue = (uint32_t)config_int(c, SETTING_STORE_QUEUE),
                                .queue_per_user = (uint32_t)config_int(c, SETTING_STORE_QUEUE_PER_USER)};
  char path[512];
  server_control_path(c, path, sizeof path);
  const char *cert = config_string(c, SETTING_TLS_CERT_FILE);
  int code = server_watch_keys(s); /* first, so that later changes are seen */
  code = code ? code : gate_new(c, &s->gate, why);
  code = code || !*cert ? code : tls_new(cert, config_string(c, SETTING_TLS_KEY_FILE), &s->tls, why);
  code = code ? code : open_limits(s, why);
  code = code ? code : pages_load(config_string(c, SETTING_WEB_DIR), NULL, &s->pages, why);
  code =
    code ? code : scripts_new(&s->world, config_string(c, SETTING_SCRIPTS_DIR), s->count, s->home, &s->scripts, why);
  s->world.scripts = s->scripts;
  s->world.verifier = s->gate ? gate_verifier(s->gate) : NULL;
  code = code ? code : open_keys(s, why);
  store.keys = s->keys;
  code = code ? code : store_open(&store, &s->store, why);
  if (!code) {
    s->erasure = erasure_new(&(struct erasure_world){s->sessions, s->store, s->home, each_worker, s});
    s->world.erasure = s->erasure;
    code = s->erasure ? 0 : UV_ENOMEM;
  }
  return code ? code : control_open(&s->loop, path, server_command, s, &s->control, why);
}

/* All workers exist before the first one runs: a script that fails on one tells the admins on every other. */
static int make_workers(struct server *s) {
  for (size_t i = 0; i < s->count; i++) {
    struct site *site = &s->sites[i];
    struct worker_options o = {.index = (unsigned)i,
                               .hooks = &server_site_hooks,
                               .ctx = site,
                               .sessions = s->sessions,
                               .store = s->store,
                               .answer_late_ms = (uint64_t)config_int(s->config, SETTING_ANSWER_LATE_MAX)};
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
  code = code ? code : listen_handed_over((unsigned)s->count, fds, port, why);
  if (code == E_MISSING) {
    int wanted = (int)config_int(s->config, SETTING_SERVER_PORT);
    code = listen_open(address, wanted, (unsigned)s->count, fds, port, why);
  }
  if (code) {
    return code;
  }
  for (size_t i = 0; i < s->count; i++) {
    s->sites[i].fd = fds[i];
  }
  for (size_t i = 0; !code && i < s->count; i++) {
    stall_loading(s, i);
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
  int code = s->trial ? stall_open(s, why) : UV_ENOMEM;
  code = code ? code : open_parts(s, why);
  code = code ? code : start_workers(s, &port, why);
  code = code ? code : upkeep_start(s);
  if (code) {
    return code;
  }
  scripts_warn(s->scripts);
  stall_running(s);
  scripts_try_with(s->scripts, trial_begin, s->trial);
  if (config_bool(c, SETTING_DEVELOPMENT) || config_bool(c, SETTING_SCRIPT_WATCH)) {
    const char *folders[] = {config_string(c, SETTING_SCRIPTS_DIR), config_string(c, SETTING_WEB_DIR)};
    s->watch = watch_new(&s->loop, folders, 2, on_change, s);
  }
  if (!s->keys && !config_bool(c, SETTING_DEVELOPMENT)) {
    LOG(LOG_WARN, "server", "messages are stored without encryption: ENCRYPTION_KEY is empty");
  }
  hear_signals(s);
  shown_begin(s);
  LOG(LOG_INFO, "script", "how scripts run", LSTR("manner", vm_mode(c)));
  char address[LISTEN_ADDRESS_MAX];
  listen_address(s->sites[0].fd, address);
  LOG(LOG_INFO, "server", "listening", LSTR("address", address), LINT("port", port),
      LSTR("prefix", config_string(c, SETTING_PATH_PREFIX)), LINT("workers", s->count),
      LSTR("scripts", scripts_version(s->scripts)));
  (void)notify_send("READY=1");
  return 0;
}

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) {
    uv_close(handle, NULL);
  }
}

/* The loop hears them no more, and a second one in the last moment is no reason to end as if something had failed.
 * Every other thread blocks them anyway (thread.h). */
static void hear_no_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof signums / sizeof *signums; i++) {
    sigaddset(&set, signums[i]);
  }
  pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void take_down(struct server *s) {
  upkeep_stop(s); /* the loop runs once more below, and what it looks at is gone then */
  stall_ending(s);
  for (size_t i = 0; i < s->started; i++) {
    worker_stop(s->sites[i].worker);
  }
  for (size_t i = 0; i < s->started; i++) {
    worker_join(s->sites[i].worker);
  }
  mailbox_drain(s->home); /* the last posts of the workers */
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
  watch_files_free(s->watch_keys);
  erasure_free(s->erasure);
  recovery_free(s->recovery);
  control_close(s->control);
  uv_run(&s->loop, UV_RUN_NOWAIT);
  hear_no_signals();
  uv_walk(&s->loop, close_handle, NULL);
  uv_run(&s->loop, UV_RUN_DEFAULT);
  uv_loop_close(&s->loop);
  trial_free(s->trial);
  if (s->scripts) {
    scripts_free(s->scripts);
  }
  if (s->sessions) {
    sessions_free(s->sessions);
  }
  if (s->shared) {
    shared_free(s->shared);
  }
  quarantine_free(s->world.quarantine);
  limiters_free(s->world.limiters);
  log_shares_free(s->world.log_shares);
  admission_close(s);
  if (s->world.metrics_networks) {
    networks_free(s->world.metrics_networks);
  }
  pages_unref(s->pages);
  if (s->gate) {
    gate_free(s->gate);
  }
  tls_free(s->tls);
  mailbox_free(s->home);
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
  ignore_signals();
  int code = log_start((size_t)config_int(config, SETTING_LOG_BUFFER));
  if (code) {
    snprintf(why, 512, "no thread for the log: %s", err_text(code));
    free(s);
    return code;
  }
  raise_descriptors();
  net_setup_log();
  s->config = config;
  s->count = worker_count(config);
  open_loop(s);
  code = start(s, why);
  if (!code) {
    uv_run(&s->loop, UV_RUN_DEFAULT);
    LOG(LOG_INFO, "server", "stopped");
  }
  take_down(s);
  log_stop(stall_last_lines_ms(config));
  stall_close(s);
  free(s);
  return code;
}
