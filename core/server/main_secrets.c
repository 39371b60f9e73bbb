/* In: settings; or the manifests of a deployment. Out: a judgement of the secrets in them, one line for each that is
 * wrong. Why: a template that was deployed as it is has to fail before anything runs, by the same judgement as the
 * start of the server. libyaml reads the manifests (JSON is YAML, too); whatever its kind, a document is walked as a
 * whole: a secret may stand in `stringData`, in base64 in `data`, as the value of a container's `env`, or in a line of
 * a file inside a ConfigMap. */
#include "base64url.h"
#include "cipher.h"
#include "config.h"
#include "config_value.h"
#include "err.h"
#include "log.h"
#include "main_impl.h"
#include "secret.h"
#include "token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define WHY_MAX 512

/* ---- at the start ---- */

int secrets_check(const struct config *c, char why[WHY_MAX]) {
  for (int s = SETTING_RESERVED_FIRST; s < SETTING_COUNT; s++) {
    if (*config_string(c, (enum setting)s)) {
      LOG(LOG_WARN, "config", "a secret is set that nothing uses yet", LSTR("setting", config_name((enum setting)s)));
    }
  }
  bool rises;
  int code = encryption_key_check(config_string(c, SETTING_ENCRYPTION_KEY), &rises, why);
  if (rises) {
    LOG(LOG_WARN, "config",
        "ENCRYPTION_KEY can be guessed: its bytes follow each other. Make one with `openssl rand -base64 32`, put the "
        "old one into ENCRYPTION_PREVIOUS_KEYS and run `chatbox reencrypt`");
  }
  return code;
}

/* ---- of manifests ---- */

#define DEPTH_MAX 64
#define NODES_MAX 1000000 /* an alias can stand for as much again: a document of a few lines must not take an hour */

struct manifest {
  const char *file;
  yaml_document_t document;
  struct config *scratch; /* asked how it judges a value */
  size_t nodes, found;
  bool stopped;
};

/* Where in a document a value stands. */
struct place {
  const char *kind; /* of the object around it, "" when it has none */
  bool encoded;     /* below `data` of a Secret */
  int depth;
};

static void found(struct manifest *m, size_t line, const char *text) {
  printf("%s:%zu: %s\n", m->file, line, text);
  m->found++;
}

static const char *scalar(struct manifest *m, int index) {
  yaml_node_t *n = yaml_document_get_node(&m->document, index);
  return n && n->type == YAML_SCALAR_NODE ? (const char *)n->data.scalar.value : NULL;
}

static bool is_secret_kind(const char *kind) {
  return strcmp(kind, "Secret") == 0;
}

/* What an operator of the cluster makes a Secret from: its values are ciphertexts, or names. */
static bool is_reference_kind(const char *kind) {
  return strcmp(kind, "SealedSecret") == 0 || strcmp(kind, "ExternalSecret") == 0;
}

static int value_judge(struct manifest *m, enum setting s, const char *value, char why[WHY_MAX]) {
  int code = config_set(m->scratch, s, value, why);
  code = code || s != SETTING_JWT_SECRET ? code : token_secret_check(value, why);
  bool rises = false;
  code = code || s != SETTING_ENCRYPTION_KEY ? code : encryption_key_check(value, &rises, why);
  if (rises) {
    snprintf(why, WHY_MAX,
             "ENCRYPTION_KEY: can be guessed, its bytes follow each other; make one with: openssl rand "
             "-base64 32");
  }
  return rises ? E_INVALID : code;
}

static void secret_judge(struct manifest *m, const struct place *at, enum setting s, const char *value, size_t line) {
  char why[WHY_MAX];
  size_t len;
  bool refers = strncmp(value, "${", 2) == 0 || strncmp(value, "$(", 2) == 0; /* filled in by what reads the file */
  if (*value == '\0' || refers || is_reference_kind(at->kind)) {
    return;
  }
  bool open = !is_secret_kind(at->kind) && (s != SETTING_STORE_URL || secret_of_url(value, &len));
  if (open) {
    snprintf(why, sizeof why, "%s: stands in the open in a %s; it belongs into a Secret", config_name(s),
             *at->kind ? at->kind : "file");
    found(m, line, why);
  }
  if (value_judge(m, s, value, why)) {
    found(m, line, why);
  }
}

/* A settings file as a whole may be one value: its lines are KEY=value. */
static void lines_judge(struct manifest *m, const struct place *at, const char *text, size_t line) {
  for (size_t number = line; *text; number++) {
    size_t len = strcspn(text, "\n"), name_len = strcspn(text, "=\n");
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)name_len, text);
    int s = name_len < sizeof name && name_len < len ? config_find(name) : -1;
    char *value = s >= 0 && config_secret((enum setting)s) ? strndup(text + name_len + 1, len - name_len - 1) : NULL;
    if (value) {
      secret_judge(m, at, (enum setting)s, value, number);
    }
    free(value);
    text += len + (text[len] == '\n');
  }
}

static void text_judge(struct manifest *m, const struct place *at, const char *name, const char *value, size_t line) {
  int s = config_find(name);
  const char *placeholder = value_placeholder(value);
  if (s >= 0 && config_secret((enum setting)s)) {
    secret_judge(m, at, (enum setting)s, value, line);
  } else if (strchr(value, '=')) {
    lines_judge(m, at, value, line);
  } else if (is_secret_kind(at->kind) && config_find_file(name) < 0 && placeholder) {
    char why[WHY_MAX];
    snprintf(why, sizeof why, "%.100s: still contains the placeholder %s", name, placeholder);
    found(m, line, why);
  }
}

/* base64 as Kubernetes writes it, broken into lines or not. NULL: it is none. */
static char *base64_text(const char *in) {
  size_t len = 0, bytes = 0;
  char *packed = malloc(strlen(in) + 1), *out = malloc(strlen(in) + 1);
  for (; packed && *in; in++) {
    if (!strchr("= \n\r\t", *in)) {
      packed[len++] = (char)(*in == '+' ? '-' : *in == '/' ? '_' : *in);
    }
  }
  bool ok = packed && out && base64url_decode(packed, len, (unsigned char *)out, &bytes) == 0;
  free(packed);
  if (!ok) {
    free(out);
    return NULL;
  }
  out[bytes] = '\0';
  return out;
}

static void entry_judge(struct manifest *m, const struct place *at, const char *name, int value) {
  const char *text = scalar(m, value);
  if (!text) {
    return;
  }
  size_t line = yaml_document_get_node(&m->document, value)->start_mark.line + 1;
  char *decoded = at->encoded ? base64_text(text) : NULL;
  if (at->encoded && !decoded) {
    char why[WHY_MAX];
    snprintf(why, sizeof why, "%.100s: is no base64, which `data` of a Secret has to be", name);
    found(m, line, why);
  } else {
    text_judge(m, at, name, decoded ? decoded : text, line);
  }
  free(decoded);
}

static const char *field(struct manifest *m, const yaml_node_t *map, const char *name, int *value) {
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
    const char *key = scalar(m, p->key);
    if (key && strcmp(key, name) == 0) {
      *value = p->value;
      return scalar(m, p->value);
    }
  }
  return NULL;
}

static void walk(struct manifest *m, int index, struct place at); // NOLINT(misc-no-recursion): DEPTH_MAX

// NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX
static void map_walk(struct manifest *m, const yaml_node_t *map, struct place at) {
  int value = 0;
  const char *kind = field(m, map, "kind", &value), *name = field(m, map, "name", &value);
  at.kind = kind ? kind : at.kind;
  if (name && field(m, map, "value", &value)) { /* an entry of `env` */
    entry_judge(m, &at, name, value);
  }
  for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
    const char *key = scalar(m, p->key);
    struct place below = at;
    below.encoded = kind && is_secret_kind(kind) ? key && strcmp(key, "data") == 0 : at.encoded;
    if (key) {
      entry_judge(m, &below, key, p->value);
    }
    walk(m, p->value, below);
  }
}

// NOLINTNEXTLINE(misc-no-recursion): DEPTH_MAX
static void walk(struct manifest *m, int index, struct place at) {
  const yaml_node_t *n = yaml_document_get_node(&m->document, index);
  if (!n || n->type == YAML_SCALAR_NODE || m->stopped) {
    return;
  }
  if (++at.depth > DEPTH_MAX || ++m->nodes > NODES_MAX) {
    m->stopped = true;
    found(m, n->start_mark.line + 1, "too deep or too large to be a manifest");
    return;
  }
  if (n->type == YAML_MAPPING_NODE) {
    map_walk(m, n, at);
  } else {
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
      walk(m, *i, at);
    }
  }
}

static void documents_walk(struct manifest *m, FILE *in) {
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser)) {
    found(m, 1, err_text(E_TOO_BIG));
    return;
  }
  yaml_parser_set_input_file(&parser, in);
  for (bool more = true; more;) {
    if (!yaml_parser_load(&parser, &m->document)) {
      found(m, parser.problem_mark.line + 1, parser.problem ? parser.problem : "cannot be read");
      break;
    }
    yaml_node_t *root = yaml_document_get_root_node(&m->document);
    more = root;
    if (root) {
      walk(m, 1, (struct place){.kind = ""}); /* the root is the first node */
    }
    yaml_document_delete(&m->document);
  }
  yaml_parser_delete(&parser);
}

/* Whether all is well with it. */
static int file_check(const char *name, struct config *scratch, size_t *problems) {
  bool standard = strcmp(name, "-") == 0;
  FILE *in = standard ? stdin : fopen(name, "re");
  if (!in) {
    fprintf(stderr, "chatbox: check-secrets: %s: %m\n", name);
    return EXIT_FAILED;
  }
  struct manifest m = {.file = standard ? "stdin" : name, .scratch = scratch};
  documents_walk(&m, in);
  if (!standard) {
    fclose(in);
  }
  *problems += m.found;
  return m.found ? EXIT_FAILED : EXIT_DONE;
}

int command_check_secrets(int argc, char **argv) {
  if (argc < 2) {
    return complain("check-secrets: which FILE? (- is standard input)", EXIT_USAGE);
  }
  struct config *scratch = config_new();
  if (!scratch) {
    return complain("out of memory", EXIT_FAILED);
  }
  int code = EXIT_DONE;
  size_t problems = 0;
  for (int i = 1; i < argc; i++) {
    code = file_check(argv[i], scratch, &problems) ? EXIT_FAILED : code;
  }
  config_free(scratch);
  if (problems) {
    fprintf(stderr, "chatbox: check-secrets: %zu found; docs/secrets.md says how to make real ones\n", problems);
  }
  return code;
}
