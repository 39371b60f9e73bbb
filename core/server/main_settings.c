/* In: the environment, the file of --config, and where the program stands. Out: the settings of a command, or a
 * complaint. Why: every command begins with the same settings as the server, so each finds the same store, socket and
 * scripts. */
#include "err.h"
#include "log.h"
#include "main_impl.h"

#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int complain(const char *text, int code) {
  fprintf(stderr, "chatbox: %s\n", text);
  return code;
}

int complain_about(const char *command, const char *argument) {
  fprintf(stderr, "chatbox: %s: unexpected argument \"%s\"; see chatbox %s --help\n", command, argument, command);
  return EXIT_USAGE;
}

/* Scripts and pages of an installed tree are found from the binary, so the tree can be moved as a whole. */
static void installed(char *out, size_t room, const char *what) {
  char binary[PATH_MAX] = "";
  ssize_t len = readlink("/proc/self/exe", binary, sizeof binary - 1);
  binary[len > 0 ? len : 0] = 0;
  snprintf(out, room, "%s/%s/%s", dirname(binary), CHATBOX_DATADIR, what);
}

static int complete(struct config *c, enum setting s, const char *what, char why[512]) {
  char path[PATH_MAX + 64];
  if (*config_string(c, s)) {
    return 0;
  }
  installed(path, sizeof path, what);
  return config_set(c, s, path, why);
}

struct config *load(const char *file) {
  struct config *c = NULL;
  char why[512] = "";
  int code = config_load(file, environ, &c, why);
  code = code ? code : complete(c, SETTING_SCRIPTS_DIR, "scripts", why);
  code = code ? code : complete(c, SETTING_WEB_DIR, "web", why);
  if (code) {
    complain(*why ? why : err_text(code), EXIT_USAGE);
    if (c) {
      config_free(c);
    }
    return NULL;
  }
  enum log_level level;
  if (log_level_parse(config_string(c, SETTING_LOG_LEVEL), &level) == 0) {
    log_setup(level, strcmp(config_string(c, SETTING_LOG_FORMAT), "json") == 0);
  }
  return c;
}

static bool config_option(int argc, char **argv, const char **file) {
  static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
  for (int o; (o = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
    if (o != 'c') {
      return false;
    }
    *file = optarg;
  }
  return true;
}

struct config *load_from(int argc, char **argv) {
  const char *file = NULL;
  return config_option(argc, argv, &file) ? load(file) : NULL;
}

struct config *load_only(int argc, char **argv) {
  const char *file = NULL;
  if (!config_option(argc, argv, &file)) {
    return NULL;
  }
  if (optind < argc) {
    complain_about(argv[0], argv[optind]);
    return NULL;
  }
  return load(file);
}
