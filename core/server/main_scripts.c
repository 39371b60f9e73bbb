/* In: the command line. Out: scripts checked without serving, or an order for the server that runs.
 * Why: see main_impl.h. An order goes over the control socket, and its outcome is the exit code: what a deployment
 * script needs to know. */
#include "main_impl.h"

#include "address.h"
#include "bundle.h"
#include "check.h"
#include "control.h"
#include "err.h"
#include "limiters.h"
#include "modules.h"
#include "orders.h"
#include "server.h"
#include "shared.h"
#include "stall.h"
#include "vm.h"
#include "watchdog.h"

#include <getopt.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

/* ---- orders ---- */

struct order_options {
  const char *config, *why, *canary;
};

static bool read_options(int argc, char **argv, struct order_options *w, const char *allowed) {
  static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                          {"why", required_argument, NULL, 'w'},
                                          {"canary", required_argument, NULL, 'p'},
                                          {NULL, 0, NULL, 0}};
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'c') {
      w->config = optarg;
    } else if (o == 'w' && strchr(allowed, 'w')) {
      w->why = optarg;
    } else if (o == 'p' && strchr(allowed, 'p')) {
      w->canary = optarg;
    } else {
      return false;
    }
  }
  return optind == argc;
}

/* The line goes to the server; its answer to standard output. */
static int tell_server(const char *file, const char *line) {
  char path[512], why[256] = "";
  struct config *c = load(file);
  if (!c) {
    return EXIT_USAGE;
  }
  server_control_path(c, path, sizeof path);
  int limit_ms = CONTROL_CALL_MS + (int)stall_loading_ms(c); /* a reload tries the scripts first */
  config_free(c);
  int code = control_call_within(path, line, stdout, limit_ms, why);
  return code == 0 ? EXIT_DONE : complain(*why ? why : err_text(code), EXIT_FAILED);
}

static int give_order(int argc, char **argv, const char *allowed) {
  struct order_options w = {0};
  char line[CONTROL_LINE_MAX];
  if (!read_options(argc, argv, &w, allowed)) {
    fprintf(stderr, "chatbox: see chatbox %s --help\n", argv[0]);
    return EXIT_USAGE;
  }
  if (w.canary && !orders_share(w.canary)) {
    return complain("--canary: more than 0 and less than 100 %, like 10%", EXIT_USAGE);
  }
  if (orders_line(line, argv[0], w.canary, w.why)) {
    return complain("--why: one line of at most 900 bytes", EXIT_USAGE);
  }
  return tell_server(w.config, line);
}

int command_reload(int argc, char **argv) {
  return give_order(argc, argv, "wp");
}

int command_promote(int argc, char **argv) {
  return give_order(argc, argv, "w");
}

int command_rollback(int argc, char **argv) {
  return give_order(argc, argv, "w");
}

/* scripts, or scripts enable NAME */
int command_scripts(int argc, char **argv) {
  struct order_options w = {0};
  char line[CONTROL_LINE_MAX];
  if (argc < 3 || strcmp(argv[1], "enable") != 0) {
    return give_order(argc, argv, "");
  }
  const char *name = argv[2];
  if (!read_options(argc - 2, argv + 2, &w, "") || strlen(name) > 255 || strpbrk(name, "\r\n")) {
    return complain("see chatbox scripts --help", EXIT_USAGE);
  }
  snprintf(line, sizeof line, "enable %s", name);
  return tell_server(w.config, line);
}

/* ---- without a server ---- */

static void no_item(void *ctx, struct session *s, struct item *item) {
  (void)ctx, (void)s;
  item_free(item);
}

static int no_start(struct worker *w, void *ctx, char why[512]) {
  (void)w, (void)ctx, (void)why;
  return 0;
}

static void nothing(void *ctx) {
  (void)ctx;
}

/* A worker without sockets, for a VM nobody talks to. */
static struct worker *quiet_worker(void) {
  static const struct worker_hooks hooks = {.start = no_start, .item = no_item, .turn = nothing, .stop = nothing};
  struct worker_options o = {.hooks = &hooks, .by_hand = true};
  return worker_new(&o);
}

/* What a script may ask for while it loads, as in a server that has just started and that nobody talks to. */
struct quiet {
  struct vm_world world;
  struct worker *worker;
  atomic_bool stopping;
};

/* 0 or UV_ENOMEM; quiet_close either way. */
static int quiet_open(struct quiet *q, const struct config *c) {
  char bad[64];
  *q = (struct quiet){.world = {.config = c, .modules = bind_modules}, .worker = quiet_worker()};
  q->world.stopping = &q->stopping;
  q->world.limiters = limiters_new(c);
  q->world.shared = shared_new((size_t)config_int(c, SETTING_SHARED_KEYS), (size_t)config_int(c, SETTING_SHARED_BYTES));
  int code = networks_new(config_string(c, SETTING_METRICS_ALLOWED_NETWORKS), &q->world.metrics_networks, bad);
  return code || !q->worker || !q->world.limiters || !q->world.shared ? UV_ENOMEM : 0;
}

static void quiet_close(struct quiet *q) {
  networks_free(q->world.metrics_networks);
  if (q->world.shared) {
    shared_free(q->world.shared);
  }
  limiters_free(q->world.limiters);
  if (q->worker) {
    worker_free(q->worker);
  }
}

/* What is found goes to standard output, one line each, with the path as the user would open it. */
struct findings {
  const char *dir;
  size_t count;
};

/* What shows both in the text and when it is loaded is one mistake. */
static bool same_place(const char *a, const char *b) {
  const char *end = strchr(a, ':');
  end = end ? strchr(end + 1, ':') : NULL;
  return end && strncmp(a, b, (size_t)(end - a) + 1) == 0;
}

static void found(struct findings *f, const char *line) {
  static const char root[] = "scripts/";
  bool below = strncmp(line, root, sizeof root - 1) == 0;
  printf("%s%s%s\n", below ? f->dir : "", below ? "/" : "", below ? line + sizeof root - 1 : line);
  f->count++;
}

static bool known(const struct check *c, const char *line) {
  bool is_known = false;
  for (size_t i = 0; i < c->count && !is_known; i++) {
    is_known = same_place(c->findings[i], line);
  }
  return is_known;
}

/* Starts them as the server would. */
static void check_loaded(const struct config *config, struct bundle *b, const struct check *c, struct findings *f) {
  struct quiet q;
  struct vm *vm = NULL;
  char why[512] = "out of memory";
  size_t at = 0;
  if (quiet_open(&q, config) || vm_new(q.worker, &q.world, b, &vm, why)) {
    if (!known(c, why)) {
      found(f, why);
    }
  } else {
    while (check_next(c, vm, &at, why)) {
      found(f, why);
    }
    for (at = 0; check_load_next(b, vm, &at, why);) {
      if (!known(c, why)) {
        found(f, why);
      }
    }
    vm_free(vm);
  }
  quiet_close(&q);
}

static int count_problems(const struct findings *f) {
  fprintf(stderr, "%zu %s\n", f->count, f->count == 1 ? "problem" : "problems");
  return EXIT_FAILED;
}

struct overdue {
  const struct config *config;
  struct findings *findings;
  int tid;
};

/* On the watchdog's thread, while the one that checks hangs. */
static void on_overdue(void *arg) {
  struct overdue *o = arg;
  char text[512];
  stall_loading_text(o->config, o->tid, text);
  found(o->findings, text);
  fflush(stdout);
  _exit(count_problems(o->findings));
}

static int check_dir(const struct config *config, const char *dir) {
  struct findings f = {.dir = dir};
  struct overdue overdue = {config, &f, (int)gettid()};
  struct watchdog *d = watchdog_new(&(struct watchdog_options){.stall_ms = stall_loading_ms(config)});
  if (!d || watchdog_start(d)) {
    watchdog_free(d);
    return complain("no thread for the watchdog", EXIT_FAILED);
  }
  watchdog_deadline(d, stall_loading_ms(config), on_overdue, &overdue);
  struct bundle *b = NULL;
  struct check *c = NULL;
  char why[512] = "";
  int code = bundle_read(dir, &b, why);
  code = code ? code : check_read(b, bind_modules, &c, why);
  if (code) {
    found(&f, *why ? why : err_text(code));
  } else {
    for (size_t i = 0; i < c->count; i++) {
      found(&f, c->findings[i]);
    }
    f.count += c->total - c->count;
    check_loaded(config, b, c, &f);
  }
  watchdog_free(d);
  if (b && *bundle_skipped(b)) {
    fprintf(stderr, "skipped: %s\n", bundle_skipped(b));
  }
  if (f.count) {
    count_problems(&f);
  } else {
    printf("ok: version %s, %zu files\n", bundle_version(b), bundle_count(b));
  }
  check_free(c);
  bundle_unref(b);
  return f.count ? EXIT_FAILED : EXIT_DONE;
}

int command_check(int argc, char **argv) {
  struct config *c = load_from(argc, argv);
  if (!c) {
    return EXIT_USAGE;
  }
  int code = argc - optind > 1 ? complain_about(argv[0], argv[optind + 1])
                               : check_dir(c, optind < argc ? argv[optind] : config_string(c, SETTING_SCRIPTS_DIR));
  config_free(c);
  return code;
}

int command_protocol(const char *which) {
  struct config *c = load(NULL);
  if (!c) {
    return EXIT_USAGE;
  }
  struct quiet q;
  struct bundle *b = NULL;
  struct vm *vm = NULL;
  char why[512] = "out of memory", *text = NULL;
  int code = quiet_open(&q, c);
  code = code ? code : bundle_read(config_string(c, SETTING_SCRIPTS_DIR), &b, why);
  code = code ? code : vm_new(q.worker, &q.world, b, &vm, why);
  if (vm) {
    text = vm_describe(vm, which);
    puts(text ? text : "");
    vm_free(vm);
  }
  free(text);
  bundle_unref(b);
  quiet_close(&q);
  config_free(c);
  return code ? complain(why, EXIT_FAILED) : EXIT_DONE;
}
