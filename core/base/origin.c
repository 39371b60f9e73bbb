/* In: origins as operators write them and as browsers send them. Out: are they the same. Why: see origin.h. Each is
 * brought into the one form that RFC 6454 gives it, and then bytes are compared. */
#include "origin.h"

#include "err.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

struct origins {
  bool all;
  size_t count;
  char list[][ORIGIN_MAX + 1];
};

static void lower(char *text) {
  for (; *text; text++)
    if (*text >= 'A' && *text <= 'Z')
      *text = (char)(*text + 'a' - 'A');
}

static bool is_made_of(const char *text, const char *characters) {
  return *text && text[strspn(text, characters)] == '\0';
}

/* --- one origin --------------------------------------------------------------------------------------------------- */

/* Cuts the port off host; 0 when none is said. NULL, or what is wrong with it. */
static const char *port_take(char *host, unsigned *port) {
  char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
  *port = 0;
  if (!colon || (bracket && colon < bracket))
    return NULL;
  if (!is_made_of(colon + 1, DIGITS) || strlen(colon + 1) > 5)
    return "has something that is not a port behind the colon";
  *port = (unsigned)strtoul(colon + 1, NULL, 10);
  *colon = '\0';
  return *port >= 1 && *port <= 65535 ? NULL : "has a port that is not between 1 and 65535";
}

/* A browser writes an address in one form only; here it is given that form. */
static const char *host_check(char *host, size_t room) {
  unsigned char address[16];
  size_t len = strlen(host);
  if (*host == '[') {
    bool closed = host[len - 1] == ']';
    host[len - 1] = '\0';
    if (!closed || inet_pton(AF_INET6, host + 1, address) != 1)
      return "has something that is not an IPv6 address between the brackets";
    inet_ntop(AF_INET6, address, host + 1, (socklen_t)(room - 2));
    strcat(host, "]");
    return NULL;
  }
  if (strchr(host, '*'))
    return "has a pattern for a host; each host has to be listed";
  if (!is_made_of(host, LOWER DIGITS ".-_"))
    return *host ? "has a host with a character that browsers do not send (write a name in its form xn--...)"
                 : "has no host";
  const char *last = strrchr(host, '.') ? strrchr(host, '.') + 1 : host;
  if (is_made_of(last, DIGITS) && inet_pton(AF_INET, host, address) != 1)
    return "has a host that is neither a name nor a whole IPv4 address";
  return *host == '.' || strstr(host, "..") ? "has a host with an empty part" : NULL;
}

static bool is_default(const char *scheme, unsigned port) {
  return (port == 80 && strcmp(scheme, "http") == 0) || (port == 443 && strcmp(scheme, "https") == 0);
}

/* Apps have schemes of their own (capacitor, tauri, chrome-extension), so only what cannot be is refused. */
static const char *scheme_check(const char *scheme) {
  static const char *const never[] = {"ws", "wss", "ftp", "file", "data", "blob", "about", "javascript"};
  if (!is_made_of(scheme, LOWER DIGITS "+-.") || !strchr(LOWER, *scheme))
    return "has a scheme that is none, such as https://";
  for (size_t i = 0; i < sizeof never / sizeof *never; i++)
    if (strcmp(scheme, never[i]) == 0)
      return "has a scheme that no page comes from; it is https:// or http://";
  return NULL;
}

/* NULL and its one form in out[]; or what is wrong with it. */
static const char *origin_parse(const char *text, size_t len, char out[ORIGIN_MAX + 1]) {
  char copy[ORIGIN_MAX + 1];
  unsigned port;
  if (len + 3 > ORIGIN_MAX) /* an address may become longer in its one form */
    return "is longer than an origin can be";
  memcpy(copy, text, len);
  copy[len] = '\0';
  lower(copy);
  char *host = strstr(copy, "://");
  if (!host)
    return "has no scheme, such as https://";
  *host = '\0';
  host += 3;
  const char *wrong = scheme_check(copy);
  if (wrong)
    return wrong;
  if (strpbrk(host, "/?#"))
    return "has a path; an origin ends behind the host or its port";
  if (strchr(host, '@'))
    return "has a user; an origin is only scheme, host and port";
  wrong = port_take(host, &port);
  wrong = wrong ? wrong : host_check(host, sizeof copy - (size_t)(host - copy));
  if (wrong)
    return wrong;
  if (port && !is_default(copy, port))
    snprintf(out, ORIGIN_MAX + 1, "%s://%s:%u", copy, host, port);
  else
    snprintf(out, ORIGIN_MAX + 1, "%s://%s", copy, host);
  return NULL;
}

/* --- a list of them ----------------------------------------------------------------------------------------------- */

/* The next entry without the blanks around it; false behind the last one. */
static bool entry_next(const char **p, const char **entry, size_t *len) {
  *p += strspn(*p, ", \t");
  *entry = *p;
  *len = strcspn(*p, ",");
  *p += *len;
  while (*len > 0 && ((*entry)[*len - 1] == ' ' || (*entry)[*len - 1] == '\t'))
    (*len)--;
  return *len > 0;
}

int origins_new(const char *list, struct origins **out, char bad[64], const char **reason) {
  size_t entries = 1, len;
  const char *entry;
  for (const char *p = list; *p; p++)
    entries += *p == ',';
  struct origins *o = calloc(1, sizeof *o + entries * sizeof *o->list);
  if (!o)
    return UV_ENOMEM;
  for (const char *p = list; entry_next(&p, &entry, &len);) {
    if (len == 1 && *entry == '*') {
      o->all = true;
    } else if ((*reason = origin_parse(entry, len, o->list[o->count++]))) {
      snprintf(bad, 64, "%.*s", (int)(len < 64 ? len : 63), entry);
      origins_free(o);
      return E_INVALID;
    }
  }
  *out = o;
  return 0;
}

void origins_free(struct origins *o) {
  free(o);
}

bool origins_empty(const struct origins *o) {
  return o->count == 0 && !o->all;
}

bool origins_allow(const struct origins *o, const char *origin) {
  if (o->all)
    return true;
  for (size_t i = 0; origin && i < o->count; i++)
    if (strcmp(o->list[i], origin) == 0)
      return true;
  return false;
}

bool origin_is_host(const char *origin, const char *host) {
  char form[ORIGIN_MAX + 1], both[ORIGIN_MAX + 1], same[ORIGIN_MAX + 1];
  if (origin_parse(origin, strlen(origin), form))
    return false;
  int scheme = (int)(strstr(form, "://") - form);
  int len = snprintf(both, sizeof both, "%.*s://%s", scheme, form, host);
  return len < (int)sizeof both && !origin_parse(both, (size_t)len, same) && strcmp(form, same) == 0;
}
