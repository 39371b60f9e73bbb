/* In: the bytes of an HTTP request. Out: its head, taken apart, or the status that refuses it. Why: see head.h.
 * The references in comments are to RFC 9112 unless they name another. */
#include "head.h"

#include <string.h>
#include <strings.h>

/* ---- characters ---- */

static bool is_token_char(unsigned char c) { /* RFC 9110, section 5.6.2 */
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
    return true;
  }
  return c && strchr("!#$%&'*+-.^_`|~", c);
}

static bool is_token(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    if (!is_token_char((unsigned char)text[i])) {
      return false;
    }
  }
  return len > 0;
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  c = (char)(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- where the head ends ---- */

int head_find(struct head_search *s, const char *bytes, size_t len, size_t *end) {
  for (;;) {
    const char *lf = s->seen < len ? memchr(bytes + s->seen, '\n', len - s->seen) : NULL;
    if (!s->started && s->line < len && bytes[s->line] != '\r' && bytes[s->line] != '\n') {
      if (!is_token_char((unsigned char)bytes[s->line])) {
        return 400; /* no request begins like this: do not wait for its end */
      }
      s->started = true;
    }
    if (!lf) {
      s->seen = len;
      return len <= HEAD_BYTES_MAX ? 0 : memchr(bytes, '\n', len) ? 431 : 414;
    }
    size_t at = (size_t)(lf - bytes);
    if (at >= HEAD_BYTES_MAX) {
      return memchr(bytes, '\n', HEAD_BYTES_MAX) ? 431 : 414;
    }
    if (at == s->line || bytes[at - 1] != '\r') {
      return 400; /* a line ends with CR LF and nothing else */
    }
    bool empty = at == s->line + 1;
    if (!empty && !s->started) {
      return 400;
    }
    s->seen = s->line = at + 1;
    if (empty && s->started) {
      *end = at + 1;
      return 200;
    }
  }
}

/* ---- the target ---- */

/* Decodes in place; false for a % that is followed by no two digits, or stands for NUL. */
static bool percent_decode(char *text, bool plus) {
  char *out = text;
  for (const char *p = text; *p; p++) {
    if (*p != '%') {
      *out++ = plus && *p == '+' ? ' ' : *p;
      continue;
    }
    int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);
    if (low < 0 || (high == 0 && low == 0)) {
      return false;
    }
    *out++ = (char)(high << 4 | low);
    p += 2;
  }
  *out = 0;
  return true;
}

static bool percent_valid(const char *text) {
  for (const char *p = text; (p = strchr(p, '%')); p += 3) {
    int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);
    if (low < 0 || (high == 0 && low == 0)) {
      return false;
    }
  }
  return true;
}

char *head_query_next(char **query) {
  char *part = *query;
  if (!part) {
    return NULL;
  }
  *query = strchr(part, '&');
  if (*query) {
    *(*query)++ = 0;
  }
  (void)percent_decode(part, true); /* head_parse has looked at it */
  return part;
}

static bool is_host(const char *text) { /* uri-host [":" port], RFC 3986, section 3.2.2; may be empty */
  return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%!$&'()*+,;=:[]")] == 0;
}

/* "http://host/path?query": *target becomes the path, the host is the target's (section 3.2.2). */
static bool take_authority(struct head *h, char **target) {
  size_t scheme = strncasecmp(*target, "http://", 7) == 0 ? 7 : strncasecmp(*target, "https://", 8) == 0 ? 8 : 0;
  if (!scheme) {
    return false;
  }
  char *host = *target + scheme, *end = host + strcspn(host, "/?");
  /* Host moves to the left over the scheme, so that there is room for its end. */
  size_t len = (size_t)(end - host);
  bool path = *end == '/';
  memmove(*target, host, len);
  (*target)[len] = 0;
  h->host = *target;
  *target = end;
  if (!path && *end) { /* "http://host?query": the path is "/" */
    *--*target = '/';
  }
  return len > 0 && is_host(h->host);
}

static int parse_target(struct head *h, char *target) {
  for (const unsigned char *p = (unsigned char *)target; *p; p++) {
    if (*p <= 0x20 || *p >= 0x7f || *p == '#') {
      return 400;
    }
  }
  if (strcmp(target, "*") == 0 && strcmp(h->method, "OPTIONS") == 0) {
    h->path = target;
    return 0;
  }
  if (*target != '/' && !take_authority(h, &target)) {
    return 400;
  }
  char *query = strchr(target, '?');
  if (query) {
    *query = 0;
    h->query = query + 1;
  }
  if (!percent_decode(target, false) || (h->query && !percent_valid(h->query))) {
    return 400;
  }
  h->path = *target ? target : "/";
  return 0;
}

/* ---- the request line ---- */

static const char *known_method(const char *name) {
  static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    if (strcmp(name, methods[i]) == 0) {
      return methods[i];
    }
  }
  return "";
}

/* One line, terminated, without its end: three words with one blank between them. */
static int parse_request_line(struct head *h, char *line, char **target) {
  char *first = strchr(line, ' '), *second = first ? strchr(first + 1, ' ') : NULL;
  if (!second || second == first + 1 || !is_token(line, (size_t)(first - line))) {
    return 400;
  }
  *first = *second = 0;
  *target = first + 1;
  h->method = known_method(line);
  const char *version = second + 1;
  if (strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 || version[5] < '0' || version[5] > '9' ||
      version[6] != '.' || version[7] < '0' || version[7] > '9') {
    return 400;
  }
  if (version[5] != '1') {
    return 505;
  }
  h->http10 = version[7] == '0';
  return 0;
}

/* ---- fields ---- */

/* One line, terminated, without its end. */
static int parse_field(struct head *h, char *line) {
  char *colon = strchr(line, ':');
  if (!colon || !is_token(line, (size_t)(colon - line))) {
    return 400; /* also a folded line, and a blank before the colon (sections 5.1 and 5.2) */
  }
  if (h->count == HEAD_FIELDS_MAX) {
    return 431;
  }
  for (char *p = line; p < colon; p++) {
    *p = (char)(*p >= 'A' && *p <= 'Z' ? *p | 0x20 : *p);
  }
  *colon = 0;
  char *value = colon + 1;
  while (is_blank(*value)) {
    value++;
  }
  size_t len = strlen(value);
  while (len && is_blank(value[len - 1])) {
    len--;
  }
  value[len] = 0;
  for (const unsigned char *p = (unsigned char *)value; *p; p++) {
    if ((*p < 0x20 && *p != '\t') || *p == 0x7f) {
      return 400;
    }
  }
  h->fields[h->count++] = (struct head_field){line, value};
  return 0;
}

const char *head_value(const struct head *h, const char *name) {
  for (size_t i = 0; i < h->count; i++) {
    if (strcmp(h->fields[i].name, name) == 0) {
      return h->fields[i].value;
    }
  }
  return NULL;
}

/* The next element of a comma list, its length in *len; NULL behind the last. Empty elements are skipped. */
static const char *list_next(const char **list, size_t *len) {
  const char *p = *list + strspn(*list, ", \t");
  if (!*p) {
    return NULL;
  }
  size_t n = strcspn(p, ",");
  *list = p + n;
  while (n && is_blank(p[n - 1])) {
    n--;
  }
  *len = n;
  return p;
}

static bool equals(const char *text, size_t len, const char *word) {
  return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

/* Whether any of the fields of that name, which are comma lists, has the word. */
static bool has_word(const struct head *h, const char *name, const char *word) {
  for (size_t i = 0; i < h->count; i++) {
    const char *list = h->fields[i].value, *element;
    size_t len;
    while (strcmp(h->fields[i].name, name) == 0 && (element = list_next(&list, &len))) {
      if (equals(element, len, word)) {
        return true;
      }
    }
  }
  return false;
}

/* Fields that are said once or not at all. Two of them are one too many even when they are equal: whoever reads the
 * other one reads another request. */
static bool said_twice(const struct head *h) {
  static const char *const once[] = {"host",   "content-length",    "authorization",
                                     "origin", "sec-websocket-key", "sec-websocket-version"};
  for (size_t k = 0; k < sizeof once / sizeof *once; k++) {
    size_t found = 0;
    for (size_t i = 0; i < h->count; i++) {
      found += strcmp(h->fields[i].name, once[k]) == 0;
    }
    if (found > 1) {
      return true;
    }
  }
  return false;
}

/* ---- where the body ends (section 6.3) ---- */

static int parse_length(struct head *h, const char *text) {
  size_t digits = strspn(text, "0123456789");
  if (!digits || text[digits]) {
    return 400;
  }
  for (const char *p = text; *p; p++) {
    h->length = h->length > (UINT64_MAX - 9) / 10 ? UINT64_MAX : h->length * 10 + (uint64_t)(*p - '0');
  }
  return 0;
}

/* Only "chunked", once and last, is understood (section 6.1). */
static int parse_coding(struct head *h) {
  bool other = false;
  for (size_t i = 0; i < h->count; i++) {
    const char *list = h->fields[i].value, *element;
    size_t len;
    while (strcmp(h->fields[i].name, "transfer-encoding") == 0 && (element = list_next(&list, &len))) {
      if (h->chunked) {
        return 400; /* something was done to the chunks, or they are chunked again: nobody knows where they end */
      }
      h->chunked = equals(element, len, "chunked");
      other = other || !h->chunked;
    }
  }
  return other ? 501 : h->chunked ? 0 : 400;
}

static int parse_framing(struct head *h) {
  const char *length = head_value(h, "content-length");
  if (head_value(h, "transfer-encoding")) {
    return length || h->http10 ? 400 : parse_coding(h);
  }
  return length ? parse_length(h, length) : 0;
}

static int parse_rules(struct head *h) {
  const char *host = head_value(h, "host");
  if (said_twice(h) || (!host && !h->http10) || (host && !is_host(host))) {
    return 400;
  }
  h->host = h->host ? h->host : host;
  int status = parse_framing(h);
  if (status) {
    return status;
  }
  h->keep = !has_word(h, "connection", "close") && (!h->http10 || has_word(h, "connection", "keep-alive"));
  h->upgrade = !h->http10 && has_word(h, "connection", "upgrade");
  h->websocket = !h->http10 && has_word(h, "upgrade", "websocket");
  const char *expect = h->http10 ? NULL : head_value(h, "expect");
  h->expects = expect && strcasecmp(expect, "100-continue") == 0;
  return expect && !h->expects ? 417 : 0;
}

/* ---- all of it ---- */

/* Ends the line at *at in place and steps over its CR LF. NULL for an empty one, and for one that holds CR or NUL. */
static char *take_line(char **at, const char *end, bool *bad) {
  char *line = *at, *lf = memchr(line, '\n', (size_t)(end - line));
  if (!lf || lf == line || lf[-1] != '\r') {
    *bad = true;
    return NULL;
  }
  lf[-1] = 0;
  *at = lf + 1;
  size_t len = (size_t)(lf - 1 - line);
  *bad = memchr(line, 0, len) || memchr(line, '\r', len);
  return *bad || len == 0 ? NULL : line;
}

int head_parse(struct head *h, char *bytes, size_t len) {
  memset(h, 0, offsetof(struct head, fields));
  h->method = "";
  const char *end = bytes + len;
  bool bad = false;
  char *at = bytes, *line = NULL, *target = NULL;
  while (at < end && !line && !bad) {
    line = take_line(&at, end, &bad);
  }
  int status = line ? parse_request_line(h, line, &target) : 400;
  status = status ? status : parse_target(h, target);
  while (!status && (line = take_line(&at, end, &bad))) {
    status = parse_field(h, line);
  }
  status = bad ? 400 : status;
  return status ? status : parse_rules(h);
}
