/* In: a secret, or the file it lies in. Out: a judgement, or its text.
 * Why: see secret.h. The words are those that templates and manuals use, the reference's own among them. */
#include "secret.h"

#include "err.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define WHY_MAX 512
#define DIFFERENT_MIN 8 /* bytes */

/* --- placeholders ------------------------------------------------------------------------------------------------- */

struct word {
  const char *letters; /* as they are left of the text: lower case, letters and digits only */
  const char *shown;
};

static const struct word anywhere[] = {
  {"changeme", "change me"},       {"changeit", "change it"},       {"changethis", "change this"},
  {"changein", "change in"},       {"replacewith", "REPLACE_WITH"}, {"replaceme", "replace me"},
  {"replacethis", "replace this"}, {"placeholder", "placeholder"},  {"example", "example"},
  {"minioadmin", "minioadmin"},    {"insertyour", "insert your"},
};

/* What a value of plain words says at its end when it only describes what belongs there: smtp-password, llm_api_key. */
static const char *const kinds[] = {"password", "passwd", "secret", "token", "key", "here"};

/* Lower case, letters and digits only. */
static char *letters_of(const char *text) {
  char *out = malloc(strlen(text) + 1), *to = out;
  for (; out && *text; text++)
    if (isalnum((unsigned char)*text))
      *to++ = (char)tolower((unsigned char)*text);
  if (out)
    *to = '\0';
  return out;
}

/* password, or words in lower case between dashes, underscores or blanks, the last of which is a kind. */
static const char *description_find(const char *text) {
  const char *last = text;
  if (text[strspn(text, "abcdefghijklmnopqrstuvwxyz-_ ")] != '\0')
    return NULL;
  for (const char *p = text; *p; p++)
    if (strchr("-_ ", *p))
      last = p + 1;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(last, kinds[i]) == 0)
      return kinds[i];
  return NULL;
}

const char *secret_placeholder(const char *text) {
  size_t len = strlen(text);
  if (len > 1 && text[0] == '<' && text[len - 1] == '>')
    return "<...>";
  if (len > 2 && strspn(text, (const char[]){text[0], '\0'}) == len)
    return "one character only";
  static const char *const yours[] = {"your-", "your_", "your "};
  for (size_t i = 0; i < sizeof yours / sizeof *yours; i++)
    if (strcasestr(text, yours[i]))
      return yours[i];
  const char *found = description_find(text);
  char *letters = found ? NULL : letters_of(text);
  for (size_t i = 0; letters && !found && i < sizeof anywhere / sizeof *anywhere; i++)
    found = strstr(letters, anywhere[i].letters) ? anywhere[i].shown : NULL;
  free(letters);
  return found;
}

const char *secret_of_url(const char *url, size_t *len) {
  const char *authority = strstr(url, "://");
  if (!authority)
    return NULL;
  authority += 3;
  size_t size = strcspn(authority, "/?#");
  const char *at = memrchr(authority, '@', size);
  const char *colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
  if (!colon)
    return NULL;
  *len = (size_t)(at - colon - 1);
  return colon + 1;
}

/* --- strength ----------------------------------------------------------------------------------------------------- */

bool secret_repeats(const void *bytes, size_t len) {
  const unsigned char *b = bytes;
  bool seen[256] = {false};
  size_t different = 0;
  for (size_t i = 0; i < len; i++) {
    different += !seen[b[i]];
    seen[b[i]] = true;
  }
  return different < DIFFERENT_MIN;
}

bool secret_rises(const void *bytes, size_t len) {
  const unsigned char *b = bytes;
  size_t steps[256] = {0};
  for (size_t i = 1; i < len; i++)
    if (++steps[(unsigned char)(b[i] - b[i - 1])] * 2 >= len)
      return true;
  return false;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

/* A pipe nobody writes to would hold the start up, so only a regular file is read. */
static int regular_open(const char *path, int *fd, const char **reason) {
  struct stat st;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0 || fstat(*fd, &st) != 0) {
    int code = uv_translate_sys_error(errno);
    *reason = err_text(code);
    return code;
  }
  *reason = "is not a regular file";
  return S_ISREG(st.st_mode) ? 0 : E_INVALID;
}

static int text_fill(int fd, char *text, size_t *len) {
  for (*len = 0; *len <= SECRET_FILE_MAX;) {
    ssize_t n = read(fd, text + *len, SECRET_FILE_MAX + 1 - *len);
    if (n == 0)
      return 0;
    if (n < 0 && errno != EINTR)
      return uv_translate_sys_error(errno);
    *len += n > 0 ? (size_t)n : 0;
  }
  return E_TOO_BIG;
}

static int content_read(const char *path, char *text, const char **reason) {
  int fd;
  size_t len = 0;
  int code = regular_open(path, &fd, reason);
  if (code == 0) {
    code = text_fill(fd, text, &len);
    *reason = code == E_TOO_BIG ? "is larger than 64KiB" : code ? err_text(code) : NULL;
  }
  if (fd >= 0)
    close(fd);
  if (code)
    return code;
  len -= len > 0 && text[len - 1] == '\n';
  len -= len > 0 && text[len - 1] == '\r';
  text[len] = '\0';
  *reason = len == 0 ? "is empty" : strlen(text) < len ? "contains a NUL byte" : NULL;
  return *reason ? E_INVALID : 0;
}

int secret_read(const char *path, char **out, char why[WHY_MAX]) {
  const char *reason = err_text(UV_ENOMEM);
  char *text = malloc(SECRET_FILE_MAX + 2);
  int code = text ? content_read(path, text, &reason) : UV_ENOMEM;
  if (code) {
    free(text);
    snprintf(why, WHY_MAX, "%.200s: %s", path, reason);
    return code;
  }
  *out = text;
  return 0;
}
