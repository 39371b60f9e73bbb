/* In: a file of KEY=value lines and the environment. Out: a config with both in it, environment over file.
 * Why: what an operator wrote is read here and nowhere else, and every complaint says file and line. */
#include "config.h"
#include "config_impl.h"
#include "err.h"
#include "log.h"
#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define WHY_MAX 512
#define FILE_MAX ((size_t)1 << 20)
#define BLANKS " \t\r"

/* --- a secret in a file of its own -------------------------------------------------------------------------------- */

static int secret_put(struct config *c, enum setting s, const char *path, char why[WHY_MAX]) {
  char *text = NULL, reason[WHY_MAX];
  int err = secret_read(path, &text, reason);
  if (err)
    snprintf(why, WHY_MAX, "%s_FILE: %.400s", config_name(s), reason);
  else
    err = config_put(c, s, text, "file of its own", why);
  free(text);
  return err;
}

/* --- one line ----------------------------------------------------------------------------------------------------- */

static char *trim(char *text) {
  text += strspn(text, BLANKS);
  size_t len = strlen(text);
  while (len > 0 && strchr(BLANKS, text[len - 1]))
    len--;
  text[len] = '\0';
  return text;
}

/* "a b" and 'a b' are a b; whatever stands between the outer quotes is taken as it is. NULL: the last one is missing.
 */
static char *unquote(char *text) {
  if (*text != '"' && *text != '\'')
    return text;
  size_t len = strlen(text);
  if (len < 2 || text[len - 1] != *text)
    return NULL;
  text[len - 1] = '\0';
  return text + 1;
}

static int line_read(struct config *c, char *line, char why[WHY_MAX]) {
  line = trim(line);
  if (*line == '\0' || *line == '#')
    return 0;
  char *equals = strchr(line, '=');
  if (!equals) {
    snprintf(why, WHY_MAX, "a line has to be KEY=value");
    return E_INVALID;
  }
  *equals = '\0';
  char *key = trim(line), *value = unquote(trim(equals + 1));
  int setting = config_find(key), secret = config_find_file(key);
  if (setting < 0 && secret < 0) {
    for (char *p = key; *p; p++)
      if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7F)
        *p = '?';
    snprintf(why, WHY_MAX, "\"%.60s\" is not a setting", key);
    return E_INVALID;
  }
  if (!value) {
    snprintf(why, WHY_MAX, "%s: the closing quote is missing", key);
    return E_INVALID;
  }
  return setting < 0 ? secret_put(c, (enum setting)secret, value, why)
                     : config_put(c, (enum setting)setting, value, "file", why);
}

int config_parse(struct config *c, const char *text, size_t len, char why[WHY_MAX]) {
  if (len > FILE_MAX) {
    snprintf(why, WHY_MAX, "larger than 1MiB");
    return E_TOO_BIG;
  }
  char *copy = malloc(len + 1);
  int err = copy ? 0 : UV_ENOMEM;
  if (err)
    snprintf(why, WHY_MAX, "%s", err_text(err));
  else
    memcpy(copy, text, len);

  int number = 1;
  size_t mark = len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; /* some editors put it before UTF-8 */
  for (size_t at = mark; !err && at < len; number++) {
    char *line = copy + at, *end = memchr(line, '\n', len - at);
    size_t line_len = end ? (size_t)(end - line) : len - at;
    line[line_len] = '\0';
    char reason[WHY_MAX] = "contains a NUL byte";
    err = strlen(line) == line_len ? line_read(c, line, reason) : E_INVALID;
    if (err)
      snprintf(why, WHY_MAX, "line %d: %.*s", number, WHY_MAX - 32, reason);
    at += line_len + 1;
  }
  free(copy);
  return err;
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

static bool is_pipe(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* At most FILE_MAX bytes. A pipe or /dev/fd/N will do as well as a file, if somebody writes to it: a FIFO that lies
 * there forgotten would be waited for at every start. fd does not block, until it is known that somebody does. */
static int text_read(int fd, char *text, size_t *len) {
  for (*len = 0; *len <= FILE_MAX;) {
    ssize_t n = read(fd, text + *len, FILE_MAX + 1 - *len);
    if (n == 0)
      return *len == 0 && is_pipe(fd) ? E_UNSUPPORTED : 0;
    if (n < 0 && errno == EAGAIN && fcntl(fd, F_SETFL, 0) == 0)
      continue;
    if (n < 0 && errno != EINTR)
      return uv_translate_sys_error(errno);
    *len += n > 0 ? (size_t)n : 0;
  }
  return E_TOO_BIG;
}

static void exposure_warn(const struct config *c, const char *path, int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0 || (st.st_mode & (S_IRGRP | S_IROTH)) == 0)
    return;
  for (int s = 0; s < SETTING_COUNT; s++) {
    const char *source, *text = config_text(c, s, &source);
    if (config_secret(s) && *text && strcmp(source, "file") == 0)
      LOG(LOG_WARN, "config", "others may read a file with a secret in it; chmod 600", LSTR("file", path),
          LSTR("setting", config_name(s)));
  }
}

static int file_read(struct config *c, const char *path, char why[WHY_MAX]) {
  char reason[WHY_MAX] = "";
  size_t len = 0;
  char *text = malloc(FILE_MAX + 1);
  int fd = text ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
  int err = !text ? UV_ENOMEM : fd < 0 ? uv_translate_sys_error(errno) : text_read(fd, text, &len);
  if (err == E_TOO_BIG)
    snprintf(reason, sizeof reason, "larger than 1MiB");
  else if (err == E_UNSUPPORTED)
    snprintf(reason, sizeof reason, "a pipe that nobody writes to");
  else if (err)
    snprintf(reason, sizeof reason, "%s", err_text(err));
  else if (!(err = config_parse(c, text, len, reason)))
    exposure_warn(c, path, fd);
  if (err)
    snprintf(why, WHY_MAX, "%.120s: %.*s", path, WHY_MAX - 128, reason);
  if (fd >= 0)
    close(fd);
  free(text);
  return err;
}

/* --- the environment ---------------------------------------------------------------------------------------------- */

/* `docker --env-file` and many unit files hand quotes on that a shell, or our own file, would have taken off; so the
 * same line means the same in all of them. A value that only begins or only ends with one is taken as it is. */
static int environment_put(struct config *c, enum setting s, bool file, const char *text, char why[WHY_MAX]) {
  char *copy = strdup(text), *value = copy ? unquote(copy) : NULL;
  if (!copy)
    snprintf(why, WHY_MAX, "%s", err_text(UV_ENOMEM));
  const char *found = value ? value : text;
  int err = !copy ? UV_ENOMEM : file ? secret_put(c, s, found, why) : config_put(c, s, found, "environment", why);
  free(copy);
  return err;
}

/* What the environment has said of a setting so far. */
enum said { SAID_NOTHING, SAID_OTHER_NAME, SAID_FILE, SAID_NAME };

/* A setting's own name counts more than its other name, whatever order they come in. A secret and a file for it are two
 * answers to one question. */
static int environment_entry(struct config *c, const char *name, const char *text, enum said said[],
                             char why[WHY_MAX]) {
  int setting = config_find(name), secret = config_find_file(name);
  if (setting < 0 && (secret < 0 || *text == '\0'))
    return 0;
  enum setting s = (enum setting)(setting < 0 ? secret : setting);
  bool own = strcmp(name, config_name(s)) == 0 && (*text != '\0' || !config_secret(s)); /* JWT_SECRET= says nothing */
  enum said now = setting < 0 ? SAID_FILE : own ? SAID_NAME : SAID_OTHER_NAME;
  if (now + said[s] == SAID_FILE + SAID_NAME) {
    snprintf(why, WHY_MAX, "%s and %s_FILE are both set; one of them has to go", config_name(s), config_name(s));
    return E_INVALID;
  }
  if (now < said[s])
    return 0;
  said[s] = now;
  return environment_put(c, s, now == SAID_FILE, text, why);
}

static int environment_read(struct config *c, char *const *entries, char why[WHY_MAX]) {
  enum said said[SETTING_COUNT] = {SAID_NOTHING};
  for (; *entries; entries++) {
    char name[64];
    size_t len = strcspn(*entries, "=");
    if ((*entries)[len] == '\0' || len >= sizeof name)
      continue;
    snprintf(name, sizeof name, "%.*s", (int)len, *entries);
    int err = environment_entry(c, name, *entries + len + 1, said, why);
    if (err)
      return err;
  }
  return 0;
}

int config_load(const char *file, char *const *environ_entries, struct config **out, char why[WHY_MAX]) {
  *out = NULL;
  struct config *c = config_new();
  if (!c) {
    snprintf(why, WHY_MAX, "%s", err_text(UV_ENOMEM));
    return UV_ENOMEM;
  }
  int err = file ? file_read(c, file, why) : 0;
  if (!err)
    err = environment_read(c, environ_entries, why);
  if (!err)
    err = config_check(c, why);
  if (err)
    config_free(c);
  else
    *out = c;
  return err;
}
