/* In: the command line. Out: one command done, and its exit code.
 * Why: the composition root: it reads the settings, completes them, and starts what the command needs.
 * Exit codes: 0 done, 1 it failed, 2 the command line or a setting is wrong, 70 a part of the server hung. */
#include "cipher.h"
#include "config.h"
#include "docs.h"
#include "err.h"
#include "log.h"
#include "main_impl.h"
#include "metrics.h"
#include "modules.h"
#include "server.h"
#include "store.h"
#include "store_backends.h"
#include "store_file.h"
#include "token.h"
#include "user_id.h"

#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- commands ---- */

/* An empty database, in development only: what is gone is gone. */
static int make_fresh(const struct config *c, char why[512]) {
  if (!config_bool(c, SETTING_DEVELOPMENT)) {
    snprintf(why, 512, "--fresh would delete the database; it is for DEVELOPMENT=true only");
    return E_INVALID;
  }
  return store_file_fresh(config_string(c, SETTING_STORE_URL), why);
}

static int run(int argc, char **argv) {
  static const struct option options[] = {
    {"config", required_argument, NULL, 'c'}, {"fresh", no_argument, NULL, 'f'}, {NULL, 0, NULL, 0}};
  const char *file = NULL;
  bool fresh = false;
  for (int o; (o = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
    if (o == '?') {
      return EXIT_USAGE;
    }
    file = o == 'c' ? optarg : file;
    fresh |= o == 'f';
  }
  if (optind < argc) {
    return complain_about(argv[0], argv[optind]);
  }
  struct config *c = load(file);
  if (!c) {
    return EXIT_USAGE;
  }
  char why[512] = "";
  int code = secrets_check(c, why);
  code = code || !fresh ? code : make_fresh(c, why);
  code = code ? code : server_run(c, why);
  config_free(c);
  return code ? complain(*why ? why : err_text(code), code == E_INVALID ? EXIT_USAGE : EXIT_FAILED) : EXIT_DONE;
}

static int config(int argc, char **argv) {
  struct config *c = load_only(argc, argv);
  if (!c) {
    return EXIT_USAGE;
  }
  config_print(c, stdout);
  config_free(c);
  return EXIT_DONE;
}

struct token_request {
  const char *user, *name, *roles[TOKEN_ROLES_MAX], *config;
  size_t role_count;
  long ttl_s;
};

/* "90", "90s", "15m", "24h", "7d" in seconds; 0 for anything else. */
static long lifetime(const char *text) {
  char *unit;
  long n = strtol(text, &unit, 10);
  long factor = !*unit || strcmp(unit, "s") == 0 ? 1
                : strcmp(unit, "m") == 0         ? 60
                : strcmp(unit, "h") == 0         ? 3600
                : strcmp(unit, "d") == 0         ? 86400
                                                 : 0;
  return n > 0 && n <= 3650 * 86400L ? n * factor : 0;
}

static bool read_options(int argc, char **argv, struct token_request *w) {
  static const struct option options[] = {
    {"user", required_argument, NULL, 'u'},   {"name", required_argument, NULL, 'n'},
    {"role", required_argument, NULL, 'r'},   {"ttl", required_argument, NULL, 't'},
    {"config", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'u') {
      w->user = optarg;
    } else if (o == 'n') {
      w->name = optarg;
    } else if (o == 't') {
      w->ttl_s = lifetime(optarg);
    } else if (o == 'c') {
      w->config = optarg;
    } else if (o == 'r' && w->role_count < TOKEN_ROLES_MAX) {
      w->roles[w->role_count++] = optarg;
    } else {
      return false;
    }
  }
  return w->user && *w->user && w->ttl_s > 0 && optind == argc;
}

static int token(int argc, char **argv) {
  struct token_request w = {.ttl_s = 3600};
  if (!read_options(argc, argv, &w)) {
    return complain("token: --user ID is needed, --ttl is like 90s, 15m, 24h, 7d", EXIT_USAGE);
  }
  struct config *c = load(w.config);
  if (!c) {
    return EXIT_USAGE;
  }
  const char *secret = config_string(c, SETTING_JWT_SECRET);
  char why[256], user_id[TOKEN_USER_MAX + 1];
  char *text = NULL;
  int code = EXIT_DONE;
  if (token_secret_check(secret, why)) {
    code = complain(why, EXIT_USAGE);
  } else if (user_id_normalise(w.user, user_id)) {
    code = complain("token: --user: is no user id (UTF-8 without control characters, at most 255 bytes)", EXIT_USAGE);
  } else if (!(text = token_sign(secret, &(struct token_statement){.user_id = user_id,
                                                                   .name = w.name ? w.name : w.user,
                                                                   .roles = w.roles,
                                                                   .role_count = w.role_count,
                                                                   .issuer = config_string(c, SETTING_JWT_ISSUER),
                                                                   .audience = config_string(c, SETTING_JWT_AUDIENCE),
                                                                   .now_s = (int64_t)time(NULL),
                                                                   .lifetime_s = w.ttl_s}))) {
    code = complain("out of memory", EXIT_FAILED);
  } else {
    puts(text);
  }
  free(text);
  config_free(c);
  return code;
}

struct progress_line {
  struct store_progress last;
  uint64_t percent;
};

/* A line for each whole percent. */
static void tell_progress(void *arg, const struct store_progress *p) {
  struct progress_line *t = arg;
  uint64_t percent = p->seen < p->total ? 100 * p->seen / p->total : 100;
  if (percent != t->percent) {
    printf("%3d %%  %llu of %llu messages, %llu written anew\n", (int)percent, (unsigned long long)p->seen,
           (unsigned long long)p->total, (unsigned long long)p->moved);
    fflush(stdout);
  }
  *t = (struct progress_line){*p, percent};
}

typedef int walk_fn(const struct store_options *o, store_progress_fn *tell, void *arg, char why[256]);

/* Over the whole store, which nothing else may use meanwhile. */
static int walk(int argc, char **argv, walk_fn *fn, bool needs_key, const char *done) {
  struct config *c = load_only(argc, argv);
  if (!c) {
    return EXIT_USAGE;
  }
  struct progress_line t = {.percent = UINT64_MAX};
  struct store_options o = {.backends = store_backends, .url = config_string(c, SETTING_STORE_URL)};
  struct keyring *keys = NULL;
  char why[256] = "ENCRYPTION_KEY: is not set; it is the key everything is encrypted with";
  int code = server_keyring(c, CIPHER_ANY_FORM, &keys, why);
  code = code ? code : needs_key && !keys ? E_INVALID : 0;
  o.keys = keys;
  code = code ? code : fn(&o, tell_progress, &t, why);
  if (t.last.plain > 0) {
    printf("%llu of them were plain text\n", (unsigned long long)t.last.plain);
  }
  if (code == 0) {
    printf("done: %llu messages, %s%s\n", (unsigned long long)t.last.seen, done, keys ? keyring_id(keys) : "none");
  }
  keyring_free(keys);
  config_free(c);
  return code ? complain(why, code == E_INVALID ? EXIT_USAGE : EXIT_FAILED) : EXIT_DONE;
}

static int reencrypt(int argc, char **argv) {
  return walk(argc, argv, store_reencrypt, true, "all encrypted with the key ");
}

static int handback(int argc, char **argv) {
  return walk(argc, argv, store_handback, false, "all where the other server looks for them, encrypted with the key ");
}

static int docs_of_commands(const char *which);

static int docs(int argc, char **argv) {
  const char *which = argc == 2 ? argv[1] : "";
  if (strcmp(which, "settings") == 0) {
    config_print(NULL, stdout);
  } else if (strcmp(which, "metrics") == 0) {
    metrics_print(stdout);
  } else if (strcmp(which, "lua") == 0) {
    docs_lua(bind_modules, stdout);
  } else if (strcmp(which, "stubs") == 0) {
    docs_stubs(bind_modules, stdout);
  } else if (strcmp(which, "protocol") == 0 || strcmp(which, "openapi") == 0 || strcmp(which, "asyncapi") == 0) {
    return command_protocol(which);
  } else {
    return docs_of_commands(which);
  }
  return EXIT_DONE;
}

static const struct command commands[] = {
  {"run", "run [--fresh] [--config FILE]", run,
   "Serves until SIGTERM or SIGINT. SIGHUP reloads the scripts and the key files. --fresh starts with an empty "
   "database (development)."},
  {"check", "check [--config FILE] [DIR]", command_check,
   "Reads and loads the scripts of DIR (SCRIPTS_DIR) as the server would, without serving, and prints what is wrong as "
   "file:line: text: syntax, undeclared globals, unknown chat functions and wrong argument counts, unreachable routes, "
   "missing handlers, failing self_tests, scripts that do not come to an end (SCRIPT_CHECK_TIMEOUT). Exits 1 when "
   "there is anything, 0 when not; a reload is refused for the "
   "same."},
  {"config", "config [--config FILE]", config,
   "Prints the settings in force and where each comes from; secrets are hidden."},
  {"check-secrets", "check-secrets FILE...", command_check_secrets,
   "Reads manifests (YAML or JSON, rendered; - is standard input) and prints as file:line: text each secret of the "
   "server that is a placeholder, is weak, or stands in the open instead of in a Secret. Exits 1 when there is any."},
  {"token", "token --user ID [--name NAME] [--role ROLE]... [--ttl 1h] [--config FILE]", token,
   "Prints a token for development, signed with JWT_SECRET. Your own backend makes them in production (README)."},
  {"reload", "reload [--canary 10%] [--why TEXT] [--config FILE]", command_reload,
   "Asks the running server to take the scripts of its folder and to read its key files again, and says what came of "
   "it. With --canary only that share "
   "of the conversations gets the new version, until promote or rollback; one that fails too often goes by itself."},
  {"promote", "promote [--why TEXT] [--config FILE]", command_promote, "Gives all conversations to the canary."},
  {"rollback", "rollback [--why TEXT] [--config FILE]", command_rollback,
   "Ends the canary; without one, brings the version before the current one back. The folder stays as it is."},
  {"scripts", "scripts [enable NAME] [--config FILE]", command_scripts,
   "Prints which versions of the scripts answer, how well, what waits in them, what was done with them, and which "
   "routes "
   "and rules of bots are put aside (SCRIPT_KILLS_MAX). enable brings one of these back, or all rules of a bot: "
   "scripts enable bot:echo."},
  {"reencrypt", "reencrypt [--config FILE]", reencrypt,
   "Encrypts every message and every name in the store with ENCRYPTION_KEY, in the newest form; the server has to be "
   "stopped. Can be broken off and resumed."},
  {"handback", "handback [--config FILE]", handback,
   "Writes what was said since a MongoDB database was taken over to where the other server looks for it, as that "
   "writes "
   "it; the server has to be stopped. Can be broken off and resumed."},
  {"backup", "backup FILE [--config FILE]", command_backup,
   "Copies the database, as it is now, to a new file; a server may be using it."},
  {"restore", "restore FILE [--config FILE]", command_restore,
   "Puts what backup wrote in the place of the database, which is gone then; the server has to be stopped. FILE stays, "
   "and nothing changes when it is damaged."},
  {"export", "export --user ID | --session ID [--config FILE]", command_export,
   "Prints all that is stored of a user, or one conversation, as JSON lines; a server may be running."},
  {"erase", "erase --user ID [--config FILE]", command_erase,
   "Erases all conversations of a user, through the running server or, when there is none, by itself."},
  {"chat", "chat --url ADDRESS [--token TOKEN] [--session ID] [--timeout 60s]", command_chat,
   "Talks to a server as a user does: a line in, a line out. The token can be CHATBOX_TOKEN in the environment, where "
   "other users of the machine do not see it. When standard input is no terminal each line is answered before the next "
   "is sent, and the exit code is 0 when all were, within --timeout each. A connection that breaks is made anew. "
   "ADDRESS is like https://chat.example.com/chatbox; of https the certificate is checked (SSL_CERT_FILE names other "
   "authorities)."},
  {"docs", "docs settings|metrics|lua|stubs|protocol|openapi|asyncapi|chatbox.1|chatbox.conf.5|completion", docs,
   "Prints a reference page: settings, metrics, the Lua functions, editor stubs, the protocol; for machines as OpenAPI "
   "and AsyncAPI; the manual pages chatbox(1) and chatbox.conf(5); the completion of bash."},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static const char closing[] =
  "Settings come from the environment, then from --config FILE (lines of KEY=value), then from the defaults.\n"
  "Exit codes: 0 done, 1 it failed, 2 the command line or a setting is wrong, 70 a part of the server hung and is to "
  "be\nstarted again; chat: 130 and 143 when it was interrupted.\n";

static int usage(FILE *out, int code) {
  fputs("Usage: chatbox COMMAND\n\n", out);
  for (size_t i = 0; i < COMMANDS; i++) {
    fprintf(out, "  chatbox %s\n      %s\n", commands[i].line, commands[i].help);
  }
  fprintf(out, "\n%s", closing);
  return code;
}

static int docs_of_commands(const char *which) {
  if (strcmp(which, "chatbox.1") == 0) {
    manual_print(commands, COMMANDS, closing, stdout);
  } else if (strcmp(which, "chatbox.conf.5") == 0) {
    config_roff(stdout);
  } else if (strcmp(which, "completion") == 0) {
    completion_print(commands, COMMANDS, stdout);
  } else {
    return complain("docs: which one? See chatbox docs --help", EXIT_USAGE);
  }
  return EXIT_DONE;
}

/* --help or -h among a command's options, and not the value of one of them. */
static bool help_asked(int argc, char **argv) {
  for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++) {
    const char *before = argv[i - 1];
    bool value = i > 2 && strncmp(before, "--", 2) == 0 && !strchr(before, '=') && strcmp(before, "--fresh") != 0;
    if (!value && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
      return true;
    }
  }
  return false;
}

static int command_run(int argc, char **argv) {
  if (argc < 2) {
    return usage(stderr, EXIT_USAGE);
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
    return usage(stdout, EXIT_DONE);
  }
  if (strcmp(argv[1], "--version") == 0) {
    puts("chatbox " CHATBOX_VERSION);
    return EXIT_DONE;
  }
  for (size_t i = 0; i < COMMANDS; i++) {
    if (strcmp(argv[1], commands[i].name) != 0) {
      continue;
    }
    if (help_asked(argc, argv)) {
      printf("Usage: chatbox %s\n\n%s\n", commands[i].line, commands[i].help);
      return EXIT_DONE;
    }
    return commands[i].run(argc - 1, argv + 1);
  }
  fprintf(stderr, "chatbox: there is no command %s\n\n", argv[1]);
  return usage(stderr, EXIT_USAGE);
}

/* A file or socket opened later must not get the number of a closed standard descriptor: what is printed would go into
 * it. Standard output is opened for reading, so writing to it fails as it would have; messages on standard error are
 * dropped. */
static bool descriptors_fill(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) != fd) {
      return false;
    }
  }
  return true;
}

/* Output that did not arrive (a full disk, a closed pipe) is a command that failed. */
static int output_end(int code) {
  bool failed = ferror(stdout) != 0;
  failed = fflush(stdout) != 0 || failed;
  return failed && code == EXIT_DONE ? complain("standard output: not everything could be written", EXIT_FAILED) : code;
}

int main(int argc, char **argv) {
  if (!descriptors_fill()) {
    return EXIT_FAILED;
  }
  signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is a full disk, not the end */
  return output_end(command_run(argc, argv));
}
