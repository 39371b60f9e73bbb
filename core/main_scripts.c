/* In: the command line. Out: scripts checked without serving, or an order for the server that runs.
 * Why: see main_impl.h. An order goes over the control socket, and its outcome is the exit code: what a deployment script
 * needs to know. */
#include "main_impl.h"

#include "bundle.h"
#include "control.h"
#include "err.h"
#include "orders.h"
#include "server.h"
#include "vm.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* ---- orders ---- */

struct wish {
  const char *config, *why, *canary;
};

static bool read_wish(int argc, char **argv, struct wish *w, const char *allowed) {
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

static int give_order(int argc, char **argv, const char *allowed) {
  struct wish w = {0};
  char path[512], line[CONTROL_LINE_MAX], why[256] = "";
  if (!read_wish(argc, argv, &w, allowed)) {
    fprintf(stderr, "chatbox: see chatbox %s --help\n", argv[0]);
    return EXIT_USAGE;
  }
  if (w.canary && !orders_share(w.canary)) {
    return complain("--canary: more than 0 and less than 100 %, like 10%", EXIT_USAGE);
  }
  if (orders_line(line, argv[0], w.canary, w.why)) {
    return complain("--why: one line of at most 900 bytes", EXIT_USAGE);
  }
  struct config *c = load(w.config);
  if (!c) {
    return EXIT_USAGE;
  }
  server_control_path(c, path, sizeof path);
  config_free(c);
  int code = control_call(path, line, stdout, why);
  return code == 0 ? EXIT_DONE : complain(*why ? why : err_text(code), EXIT_FAILED);
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

int command_scripts(int argc, char **argv) {
  return give_order(argc, argv, "");
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

/* Starts the scripts as the server would, on a worker without sockets. */
static int check_bundle(const struct config *c, const char *dir, bool protocol) {
  static const struct worker_hooks hooks = {.start = no_start, .item = no_item, .turn = nothing, .stop = nothing};
  struct worker_options o = {.hooks = &hooks, .by_hand = true};
  struct vm_world world = {.config = c};
  struct bundle *bundle = NULL;
  struct vm *vm = NULL;
  char why[512] = "";
  struct worker *w = worker_new(&o);
  int code = w ? bundle_read(dir, &bundle, why) : E_INVALID;
  code = code ? code : vm_new(w, &world, bundle, &vm, why);
  if (code) {
    fprintf(stderr, "%s\n", *why ? why : err_text(code));
  } else if (protocol) {
    char *text = vm_describe(vm);
    puts(text ? text : "");
    free(text);
  } else {
    printf("ok: version %s, %zu files\n", bundle_version(bundle), bundle_count(bundle));
  }
  if (vm) {
    vm_free(vm);
  }
  bundle_unref(bundle);
  if (w) {
    worker_free(w);
  }
  return code ? EXIT_FAILED : EXIT_DONE;
}

int command_check(int argc, char **argv) {
  static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
  const char *file = NULL;
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o != 'c') {
      return EXIT_USAGE;
    }
    file = optarg;
  }
  struct config *c = load(file);
  if (!c) {
    return EXIT_USAGE;
  }
  const char *dir = optind < argc ? argv[optind] : config_string(c, SETTING_SCRIPTS_DIR);
  int code = check_bundle(c, dir, false);
  config_free(c);
  return code;
}

int command_protocol(void) {
  struct config *c = load(NULL);
  int code = c ? check_bundle(c, config_string(c, SETTING_SCRIPTS_DIR), true) : EXIT_USAGE;
  if (c) {
    config_free(c);
  }
  return code;
}
