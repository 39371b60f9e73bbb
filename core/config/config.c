/* In: the environment, lines of a file, defaults. Out: values that passed every check of their row in the table.
 * Why: a wrong setting has to stop the start with one line an operator can act on, not surface hours later; so every
 * value, wherever it comes from, goes through config_put. Reading of files and environment: config_load.c; printing:
 * config_print.c. */
#include "config.h"

#include "config_impl.h"
#include "duration_tests.h"
#include "err.h"
#include "log.h"
#include "origin.h"
#include "secret.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WHY_MAX 512
#define SHOWN_MAX 60 /* bytes of a value in an error message */

static const struct setting_row table[SETTING_COUNT] = {
#define SETTING_ROW(id, name, type, def, min, max, secret, help)                                                       \
  [SETTING_##id] = {name, SETTING_##type, def, min, max, secret, help},
  SETTINGS(SETTING_ROW)
#undef SETTING_ROW
};

static const struct {
  const char *file, *title;
} duration_tests[SETTING_COUNT] = {
#define DURATION_TEST(id, file, title) [SETTING_##id] = {file, title},
  DURATION_TESTS(DURATION_TEST)
#undef DURATION_TEST
};

/* Names operators of the reference server were told. */
static const struct {
  const char *name;
  enum setting setting;
} aliases[] = {{"CHATBOX_ALLOWED_ORIGINS", SETTING_WS_ALLOWED_ORIGINS}};

struct value {
  char *text;
  int64_t number;
  const char *source;
};

struct config {
  struct value values[SETTING_COUNT];
};

/* --- checks ------------------------------------------------------------------------------------------------------- */

/* What of a value may stand in a message: cut between characters, on one line; of a secret nothing. */
static void value_show(enum setting s, const char *text, char out[SHOWN_MAX + 8]) {
  if (table[s].secret) {
    strcpy(out, "(hidden)");
    return;
  }
  size_t len = strnlen(text, SHOWN_MAX);
  bool cut = text[len] != '\0';
  while (cut && len > 0 && (text[len] & 0xC0) == 0x80)
    len--;
  sprintf(out, "\"%.*s%s\"", (int)len, text, cut ? "..." : "");
  for (char *p = out; *p; p++)
    if ((unsigned char)*p < ' ' || *p == 0x7F)
      *p = '?';
}

PRINTF_LIKE(4, 5) static int refuse(char why[WHY_MAX], enum setting s, const char *text, const char *reason, ...) {
  char shown[SHOWN_MAX + 8], sentence[WHY_MAX - 128];
  va_list args;
  va_start(args, reason);
  vsnprintf(sentence, sizeof sentence, reason, args);
  va_end(args);
  value_show(s, text, shown);
  snprintf(why, WHY_MAX, "%s: %s %s", table[s].name, shown, sentence);
  return E_INVALID;
}

void setting_bounds(enum setting s, char out[3 * VALUE_TEXT_MAX]) {
  const struct setting_row *row = &table[s];
  enum setting_type type = row->type == SETTING_STRING ? SETTING_INT : row->type;
  char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
  value_format(type, row->min, min);
  value_format(type, row->max, max);
  snprintf(out, 3 * VALUE_TEXT_MAX, "%s to %s%s", min, max, row->type == SETTING_STRING ? " bytes" : "");
}

/* %20 and the like, as they stand in the password of a URL. */
static void percent_decode(char *text) {
  char *to = text;
  for (const char *p = text; *p; p++) {
    unsigned byte;
    bool coded = p[0] == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2]);
    if (coded && sscanf(p + 1, "%2x", &byte) == 1) {
      *to++ = (char)byte;
      p += 2;
    } else {
      *to++ = *p;
    }
  }
  *to = '\0';
}

/* Of STORE_URL only its password is secret: the name of an example host is none. */
static const char *placeholder_find(enum setting s, const char *text) {
  const char *found = value_placeholder(text);
  if (found || !table[s].secret)
    return found;
  if (s != SETTING_STORE_URL)
    return secret_placeholder(text);
  size_t len;
  const char *password = secret_of_url(text, &len);
  char *copy = password ? strndup(password, len) : NULL;
  if (copy)
    percent_decode(copy);
  found = copy ? secret_placeholder(copy) : NULL;
  free(copy);
  return found;
}

/* Control characters would end up in headers, paths and log lines. */
static int text_check(enum setting s, const char *text, char why[WHY_MAX]) {
  for (const char *p = text; *p; p++)
    if ((unsigned char)*p < ' ' || *p == 0x7F)
      return refuse(why, s, text, "contains a control character");
  const char *placeholder = placeholder_find(s, text);
  if (!placeholder)
    return 0;
  if (!table[s].secret)
    return refuse(why, s, text, "still contains the placeholder %s", placeholder);
  return refuse(why, s, text, "still contains the placeholder %s; put the real value there, or its file into %s_FILE%s",
                placeholder, table[s].name,
                s == SETTING_JWT_SECRET || s == SETTING_ENCRYPTION_KEY ? " (make one with: openssl rand -base64 32)"
                                                                       : "");
}

static int origins_check(enum setting s, const char *list, char why[WHY_MAX]) {
  struct origins *o = NULL;
  char bad[64];
  const char *reason;
  int err = origins_new(list, &o, bad, &reason);
  origins_free(o);
  if (err != E_INVALID)
    return err;
  return refuse(why, s, list, "has an entry, %s, that %s (an origin is like https://chat.example.org, * is all)", bad,
                reason);
}

/* They go into a header, where a semicolon would begin another rule. */
static int ancestors_check(enum setting s, const char *list, char why[WHY_MAX]) {
  static const char *const words[] = {"'self'", "'none'", "*"};
  char one[64];
  for (const char *p = list + strspn(list, ", "); *p; p += strspn(p, ", ")) {
    size_t len = strcspn(p, ", ");
    bool known = strncmp(p, "https://", 8) == 0 || strncmp(p, "http://", 7) == 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
      known = known || (strlen(words[i]) == len && strncmp(p, words[i], len) == 0);
    bool plain = strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.-*'[]_") >= len;
    snprintf(one, sizeof one, "%.*s", (int)(len < sizeof one ? len : sizeof one - 1), p);
    if (!known || !plain)
      return refuse(why, s, list, "has an entry, %s, that is no origin, nor 'self', 'none' or *", one);
    p += len;
  }
  return 0;
}

/* What a row's type and bounds cannot say. */
static int shape_check(enum setting s, const char *text, char why[WHY_MAX]) {
  enum log_level level;
  size_t len = strlen(text);
  switch (s) {
  case SETTING_PATH_PREFIX:
    if (text[0] != '/' || text[len - 1] == '/' || strstr(text, "//") || strpbrk(text, " ?#"))
      return refuse(why, s, text, "has to start with a slash and end without one (no //, blank, ? or #)");
    return 0;
  case SETTING_LOG_LEVEL:
    return log_level_parse(text, &level) == 0 ? 0 : refuse(why, s, text, "is not debug, info, warn or error");
  case SETTING_LOG_FORMAT:
    return strcmp(text, "text") == 0 || strcmp(text, "json") == 0 ? 0 : refuse(why, s, text, "is not text or json");
  case SETTING_BOT:
    if (text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
      return refuse(why, s, text, "is not the name of a bot (a-z, 0-9 and _ only)");
    return 0;
  case SETTING_FRAME_ANCESTORS:
    return ancestors_check(s, text, why);
  case SETTING_WS_ALLOWED_ORIGINS:
  case SETTING_CORS_ALLOWED_ORIGINS:
    return origins_check(s, text, why);
  default:
    return 0;
  }
}

static int value_check(enum setting s, const char *text, int64_t *number, char why[WHY_MAX]) {
  const struct setting_row *row = &table[s];
  int err = text_check(s, text, why);
  if (err)
    return err;
  char bounds[3 * VALUE_TEXT_MAX];
  setting_bounds(s, bounds);
  if (!value_parse(row->type, text, number))
    return row->type == SETTING_BOOL ? refuse(why, s, text, "is not true or false")
                                     : refuse(why, s, text, "is not a %s (%s)", value_type_name(row->type), bounds);
  if (row->type != SETTING_BOOL && (*number < row->min || *number > row->max))
    return refuse(why, s, text, "is out of bounds (%s)", bounds);
  return shape_check(s, text, why);
}

int config_put(struct config *c, enum setting s, const char *text, const char *source, char why[WHY_MAX]) {
  int64_t number = 0;
  int err = value_check(s, text, &number, why);
  if (err)
    return err;
  char *copy = strdup(text);
  if (!copy) {
    snprintf(why, WHY_MAX, "%s: %s", table[s].name, err_text(UV_ENOMEM));
    return UV_ENOMEM;
  }
  free(c->values[s].text);
  c->values[s] = (struct value){.text = copy, .number = number, .source = source ? source : c->values[s].source};
  return 0;
}

int config_set(struct config *c, enum setting s, const char *value, char why[WHY_MAX]) {
  return config_put(c, s, value, NULL, why);
}

int config_check(const struct config *c, char why[WHY_MAX]) {
  const char *cert = config_string(c, SETTING_TLS_CERT_FILE), *key = config_string(c, SETTING_TLS_KEY_FILE);
  if ((*cert == '\0') != (*key == '\0'))
    return refuse(why, *cert ? SETTING_TLS_CERT_FILE : SETTING_TLS_KEY_FILE, *cert ? cert : key, "needs %s too",
                  *cert ? "TLS_KEY_FILE" : "TLS_CERT_FILE");
  if (config_int(c, SETTING_WS_PONG_WAIT) <= config_int(c, SETTING_WS_PING_PERIOD))
    return refuse(why, SETTING_WS_PONG_WAIT, c->values[SETTING_WS_PONG_WAIT].text,
                  "has to be longer than WS_PING_PERIOD (%s)", c->values[SETTING_WS_PING_PERIOD].text);
  return 0;
}

/* --- life --------------------------------------------------------------------------------------------------------- */

struct config *config_new(void) {
  struct config *c = calloc(1, sizeof *c);
  char why[WHY_MAX];
  for (int s = 0; c && s < SETTING_COUNT; s++) {
    int err = config_put(c, s, table[s].fallback, "default", why);
    if (err == E_INVALID) {
      LOG(LOG_ERROR, "config", "a default breaks its own rule", LSTR("why", why));
      abort();
    }
    if (err) {
      config_free(c);
      c = NULL;
    }
  }
  return c;
}

void config_free(struct config *c) {
  if (!c)
    return;
  for (int s = 0; s < SETTING_COUNT; s++)
    free(c->values[s].text);
  free(c);
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

static const struct value *value_of(const struct config *c, enum setting s, bool right_type) {
  if (!right_type)
    abort();
  return &c->values[s];
}

const char *config_string(const struct config *c, enum setting s) {
  return value_of(c, s, table[s].type == SETTING_STRING)->text;
}

int64_t config_int(const struct config *c, enum setting s) {
  return value_of(c, s, table[s].type != SETTING_STRING && table[s].type != SETTING_BOOL)->number;
}

bool config_bool(const struct config *c, enum setting s) {
  return value_of(c, s, table[s].type == SETTING_BOOL)->number != 0;
}

int config_find(const char *name) {
  for (int s = 0; s < SETTING_COUNT; s++)
    if (strcmp(name, table[s].name) == 0)
      return s;
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (strcmp(name, aliases[i].name) == 0)
      return (int)aliases[i].setting;
  return -1;
}

int config_find_file(const char *name) {
  static const char end[] = "_FILE";
  size_t len = strlen(name), end_len = sizeof end - 1;
  if (len <= end_len || strcmp(name + len - end_len, end) != 0)
    return -1;
  for (int s = 0; s < SETTING_COUNT; s++)
    if (table[s].secret && strlen(table[s].name) == len - end_len && memcmp(name, table[s].name, len - end_len) == 0)
      return s;
  return -1;
}

bool config_reserved(enum setting s) {
  return s >= SETTING_RESERVED_FIRST;
}

const struct setting_row *setting_row(enum setting s) {
  return &table[s];
}

const char *setting_alias(enum setting s) {
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (aliases[i].setting == s)
      return aliases[i].name;
  return NULL;
}

const char *config_name(enum setting s) {
  return table[s].name;
}
enum setting_type config_type(enum setting s) {
  return table[s].type;
}
bool config_secret(enum setting s) {
  return table[s].secret;
}
const char *config_duration_test(enum setting s, const char **title) {
  *title = duration_tests[s].title;
  return duration_tests[s].file;
}

const char *config_text(const struct config *c, enum setting s, const char **source) {
  const struct value *v = &c->values[s];
  *source = v->source;
  /* The default of a secret stands in the manual: it hides nothing. */
  return table[s].secret && strcmp(v->text, table[s].fallback) != 0 ? "(hidden)" : v->text;
}
