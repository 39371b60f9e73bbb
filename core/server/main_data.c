/* In: chatbox backup, export or erase. Out: the copy, the data or the erasure, and an exit code.
 * Why: people have a right to their data and to its erasure, and operators need copies, also while the server runs.
 * Exports and erasures are recorded in the database, before or together with what they do. */
#include "main_impl.h"

#include "cipher.h"
#include "control.h"
#include "err.h"
#include "server.h"
#include "store_backends.h"
#include "store_direct.h"
#include "subject.h"
#include "user_id.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define ID_MAX 1000
#define SUBJECT_MAX 1010 /* behind the longest command, in a line of the control socket */
#define ERASE_LIMIT_MS 600000

struct data_options {
  const char *settings; /* the file of --config */
  struct config *config;
  const char *kind, *id; /* "user" or "session", and which */
  const char *file;
  char socket[512];
};

/* Takes --user ID, --session ID and --config FILE, and one FILE. */
static bool options_read(int argc, char **argv, struct data_options *w) {
  static const struct option options[] = {{"user", required_argument, NULL, 'u'},
                                          {"session", required_argument, NULL, 's'},
                                          {"config", required_argument, NULL, 'c'},
                                          {NULL, 0, NULL, 0}};
  *w = (struct data_options){0};
  for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    if (o == 'c') {
      w->settings = optarg;
    } else if (o == '?' || w->id) {
      return false;
    } else {
      w->kind = o == 'u' ? "user" : "session";
      w->id = optarg;
    }
  }
  w->file = argv[optind];
  return optind + !!w->file == argc && (!w->file || *w->file) && (!w->id || (*w->id && strlen(w->id) <= ID_MAX));
}

/* False: complained. */
static bool options_begin(struct data_options *w) {
  w->config = load(w->settings);
  if (w->config) {
    server_control_path(w->config, w->socket, sizeof w->socket);
  }
  return w->config;
}

static int options_end(struct data_options *w, int code, const char *why) {
  config_free(w->config);
  return code ? complain(*why ? why : err_text(code), code == E_INVALID ? EXIT_USAGE : EXIT_FAILED) : EXIT_DONE;
}

static bool no_server(int code) {
  return code == UV_ENOENT || code == UV_ECONNREFUSED;
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The answer of the server, as one line in said[]. */
static int ask(const struct data_options *w, const char *word, char said[256], char why[256]) {
  char line[CONTROL_LINE_MAX + 1], subject[SUBJECT_MAX];
  int code = subject_write(w->kind, w->id, subject, sizeof subject);
  if (code) {
    snprintf(why, 256, "--%s: is too long for a command to the server", w->kind);
    return code;
  }
  FILE *out = fmemopen(said, 256, "w");
  if (!out) {
    return UV_ENOMEM;
  }
  snprintf(line, sizeof line, "%s %s", word, subject);
  code = control_call_within(w->socket, line, out, ERASE_LIMIT_MS, why);
  fclose(out);
  said[strcspn(said, "\n")] = '\0';
  if (code == 0) {
    why[0] = '\0'; /* what was tried before it */
  }
  if (code == E_INVALID) {
    snprintf(why, 256, "the server says: %.200s", said);
    return E_STORE;
  }
  return code;
}

/* Carries out op without a server. */
static int act(const struct data_options *w, struct store_op *op, char said[256], char why[256]) {
  struct store_options o = {
    .backends = store_backends, .url = config_string(w->config, SETTING_STORE_URL), .without_texts = true};
  struct store_direct d;
  int code = store_direct_open(&o, false, &d, why);
  if (code) {
    return code; /* a writer would make a database where there is none */
  }
  store_direct_close(&d);
  code = store_direct_open(&o, true, &d, why);
  if (code) {
    return code;
  }
  code = store_direct_run(&d, op);
  snprintf(said, 256, "%s", op->audit.detail ? op->audit.detail : "");
  store_direct_close(&d);
  return code;
}

/* A server has its database file to itself: if the file is in use, the running server is the one for this database.
 * A database reached over a network may have a server here or not. */
static int ask_or_act(const struct data_options *w, const char *word, struct store_op *op, char said[256],
                      char why[256]) {
  bool file = strncmp(config_string(w->config, SETTING_STORE_URL), "sqlite:", 7) == 0;
  int code = !op ? UV_ENOMEM : file ? act(w, op, said, why) : ask(w, word, said, why);
  if (file && code == E_BUSY) {
    return ask(w, word, said, why);
  }
  return !file && no_server(code) ? act(w, op, said, why) : code;
}

/* ---- commands ---- */

int command_backup(int argc, char **argv) {
  struct data_options w;
  char why[256] = "";
  if (!options_read(argc, argv, &w) || !w.file || w.id) {
    return complain("backup: FILE is needed, and must not be there yet", EXIT_USAGE);
  }
  if (!options_begin(&w)) {
    return EXIT_USAGE;
  }
  struct store_options o = {
    .backends = store_backends, .url = config_string(w.config, SETTING_STORE_URL), .without_texts = true};
  int code = store_backup(&o, w.file, why);
  if (code == 0) {
    printf("done: %s\n", w.file);
  }
  return options_end(&w, code, why);
}

int command_restore(int argc, char **argv) {
  struct data_options w;
  char why[256] = "";
  if (!options_read(argc, argv, &w) || !w.file || w.id) {
    return complain("restore: FILE is needed: what `chatbox backup` wrote", EXIT_USAGE);
  }
  if (!options_begin(&w)) {
    return EXIT_USAGE;
  }
  struct store_options o = {.backends = store_backends, .url = config_string(w.config, SETTING_STORE_URL)};
  int code = store_restore(&o, w.file, why);
  if (code == 0) {
    printf("done: %s is %s\n", o.url, w.file);
  }
  code = options_end(&w, code, why);
  return code == EXIT_USAGE ? EXIT_FAILED : code; /* a bad file is no bad command line */
}

static bool of_this_server_only(const struct data_options *w, char why[256]) {
  bool alone = strncmp(config_string(w->config, SETTING_STORE_URL), "memory:", 7) == 0;
  if (alone) {
    snprintf(why, 256, "what a server keeps in memory can be read in that server only");
  }
  return alone;
}

static int export_to(const struct data_options *w, const struct keyring *keys, FILE *out, char why[256]) {
  struct store_options o = {
    .backends = store_backends, .url = config_string(w->config, SETTING_STORE_URL), .keys = keys};
  struct store_exported count;
  struct store_direct d;
  char said[256] = "", subject[SUBJECT_MAX];
  if (of_this_server_only(w, why)) {
    return E_UNSUPPORTED;
  }
  if (subject_write(w->kind, w->id, subject, sizeof subject)) {
    snprintf(why, 256, "--%s: is too long", w->kind);
    return E_TOO_BIG;
  }
  struct store_op *op = store_op_audit(STORE_AUDIT, "command line", "export", subject, now_ms());
  int code = ask_or_act(w, "export", op, said, why);
  store_op_free(op);
  code = code ? code : store_direct_open(&o, false, &d, why);
  if (code) {
    return code;
  }
  bool user = strcmp(w->kind, "user") == 0;
  code = store_export(&d, user ? w->id : NULL, user ? NULL : w->id, out, &count);
  store_direct_close(&d);
  fprintf(stderr, "%llu conversations, %llu messages\n", (unsigned long long)count.sessions,
          (unsigned long long)count.messages);
  if (code == 0 && count.damaged > 0) {
    snprintf(why, 256, "%llu of them are damaged: without content, the log has the reason",
             (unsigned long long)count.damaged);
    code = E_CIPHER;
  }
  return code;
}

/* A user is known by the one spelling of the id (user_id.h), but what was stored before that rule is stored as it was
 * stated: a command about a user is about both. True: w is now about the other one, in spelled[]. */
static bool other_spelling(struct data_options *w, char spelled[TOKEN_USER_MAX + 1]) {
  if (strcmp(w->kind, "user") != 0 || user_id_normalise(w->id, spelled) != 0 || strcmp(spelled, w->id) == 0) {
    return false;
  }
  w->id = spelled;
  return true;
}

int command_export(int argc, char **argv) {
  struct data_options w;
  struct keyring *keys = NULL;
  char why[256] = "", spelled[TOKEN_USER_MAX + 1];
  if (!options_read(argc, argv, &w) || !w.id || w.file) {
    return complain("export: --user ID or --session ID is needed", EXIT_USAGE);
  }
  if (!options_begin(&w)) {
    return EXIT_USAGE;
  }
  int code = server_keyring(w.config, 0, &keys, why);
  code = code ? code : export_to(&w, keys, stdout, why);
  if (code == 0 && other_spelling(&w, spelled)) {
    code = export_to(&w, keys, stdout, why);
  }
  keyring_free(keys);
  return options_end(&w, code, why);
}

/* An id that no user can have today is a mistake on the command line, unless something is stored under it. */
static bool names_nobody(const char *id, int code, const char *said) {
  char spelled[TOKEN_USER_MAX + 1];
  bool found = code == 0 && strncmp(said, "0 conversations, 0 messages", 27) != 0;
  return !found && user_id_normalise(id, spelled) == E_INVALID;
}

static int erase_one(const struct data_options *w, char said[256], char why[256]) {
  char subject[SUBJECT_MAX];
  struct store_op *op = subject_write("user", w->id, subject, sizeof subject)
                          ? NULL
                          : store_op_audit(STORE_ERASE, "command line", "erase", subject, now_ms());
  if (op) {
    op->session.user_id = strdup(w->id);
  }
  int code = ask_or_act(w, "erase", op, said, why);
  store_op_free(op);
  return code;
}

int command_erase(int argc, char **argv) {
  struct data_options w;
  char why[256] = "", said[256] = "", spelled[TOKEN_USER_MAX + 1];
  if (!options_read(argc, argv, &w) || !w.id || w.file || strcmp(w.kind, "user") != 0) {
    return complain("erase: --user ID is needed", EXIT_USAGE);
  }
  if (!options_begin(&w)) {
    return EXIT_USAGE;
  }
  int code = erase_one(&w, said, why);
  if (names_nobody(w.id, code, said)) {
    config_free(w.config);
    return complain(code ? why : "erase: --user: nobody can have this id, and nothing is stored under it", EXIT_USAGE);
  }
  if (code == 0) {
    printf("erased: %s\n", said);
  }
  if (code == 0 && other_spelling(&w, spelled)) {
    code = erase_one(&w, said, why);
    if (code == 0) {
      printf("erased, in the other spelling of the id: %s\n", said);
    }
  }
  return options_end(&w, code, why);
}
