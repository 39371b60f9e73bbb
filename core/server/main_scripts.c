/* In: the command line. Out: scripts checked without serving, or an order for the server that runs.
 * Why: see main_impl.h. An order goes over the control socket, and its outcome is the exit code: what a deployment
 * script needs to know. */
#include "main_impl.h"

#include "bundle.h"
#include "check.h"
#include "control.h"
#include "err.h"
#include "modules.h"
#include "orders.h"
#include "server.h"
#include "stall.h"
#include "vm.h"
#include "watchdog.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
  struct vm_world world = {.config = config, .modules = bind_modules};
  struct worker *w = quiet_worker();
  struct vm *vm = NULL;
  char why[512] = "out of memory";
  size_t at = 0;
  if (!w || vm_new(w, &world, b, &vm, why)) {
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
  if (w) {
    worker_free(w);
  }
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

int command_protocol(void) {
  struct config *c = load(NULL);
  if (!c) {
    return EXIT_USAGE;
  }
  struct vm_world world = {.config = c, .modules = bind_modules};
  struct worker *w = quiet_worker();
  struct bundle *b = NULL;
  struct vm *vm = NULL;
  char why[512] = "out of memory", *text = NULL;
  int code = w ? bundle_read(config_string(c, SETTING_SCRIPTS_DIR), &b, why) : E_INVALID;
  code = code ? code : vm_new(w, &world, b, &vm, why);
  if (vm) {
    text = vm_describe(vm);
    puts(text ? text : "");
    vm_free(vm);
  }
  free(text);
  bundle_unref(b);
  if (w) {
    worker_free(w);
  }
  config_free(c);
  return code ? complain(why, EXIT_FAILED) : EXIT_DONE;
}
