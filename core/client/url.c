/* In: the address of a server as people write it. Out: its parts. Why: see url.h. */
#include "url.h"

#include "err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PREFIX "/chatbox"

static int refuse(const char **why, const char *text) {
  *why = text;
  return E_INVALID;
}

/* Past the scheme; NULL when there is none we know. */
static const char *scheme_read(const char *text, struct url *out) {
  static const struct {
    const char *name;
    bool tls;
  } schemes[] = {{"https://", true}, {"wss://", true}, {"http://", false}, {"ws://", false}};
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
    size_t len = strlen(schemes[i].name);
    if (strncasecmp(text, schemes[i].name, len) == 0) {
      out->tls = schemes[i].tls;
      return text + len;
    }
  }
  return NULL;
}

static int port_read(const char *text, size_t len, struct url *out, const char **why) {
  if (len == 0) {
    strcpy(out->port, out->tls ? "443" : "80");
    return 0;
  }
  if (len > 5 || strspn(text, "0123456789") < len || atoi(text) < 1 || atoi(text) > 65535) {
    return refuse(why, "the port is a number from 1 to 65535");
  }
  snprintf(out->port, sizeof out->port, "%.*s", (int)len, text);
  return 0;
}

/* Host and port: text[0..len). */
static int authority_read(const char *text, size_t len, struct url *out, const char **why) {
  bool bracketed = len > 0 && *text == '[';
  const char *host = bracketed ? text + 1 : text;
  const char *end = memchr(text, bracketed ? ']' : ':', len);
  if (bracketed && !end) {
    return refuse(why, "the ] behind the address is missing");
  }
  size_t host_len = end ? (size_t)(end - host) : len;
  const char *rest = bracketed ? end + 1 : host + host_len;
  size_t rest_len = (size_t)(text + len - rest);
  if (host_len == 0 || host_len > URL_HOST_MAX || memchr(host, '@', host_len)) {
    return refuse(why, "there is no host in it");
  }
  if (rest_len > 0 && *rest != ':') {
    return refuse(why, "only :PORT can follow the host");
  }
  snprintf(out->host, sizeof out->host, "%.*s", (int)host_len, host);
  return port_read(rest + (rest_len > 0), rest_len > 0 ? rest_len - 1 : 0, out, why);
}

/* The prefix of the server, whether or not somebody wrote /ws, /chat.html or a slash behind it. */
static int path_read(const char *text, struct url *out, const char **why) {
  static const char *const tails[] = {"/ws", "/chat.html", "/"};
  size_t len = strcspn(text, "?#");
  if (len > URL_PATH_MAX) {
    return refuse(why, "the path is too long");
  }
  for (size_t i = 0; i < len; i++) {
    if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 0x7f) {
      return refuse(why, "blanks and special characters of the path have to be %-encoded");
    }
  }
  for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
    size_t tail = strlen(tails[i]);
    if (len >= tail && memcmp(text + len - tail, tails[i], tail) == 0) {
      len -= tail;
      break;
    }
  }
  snprintf(out->path, sizeof out->path, "%.*s/ws", len > 0 ? (int)len : (int)strlen(PREFIX), len > 0 ? text : PREFIX);
  return 0;
}

int url_read(const char *text, struct url *out, const char **why) {
  *out = (struct url){0};
  const char *rest = scheme_read(text, out);
  if (!rest) {
    return refuse(why, "it begins with http://, https://, ws:// or wss://");
  }
  size_t len = strcspn(rest, "/?#");
  int code = authority_read(rest, len, out, why);
  return code ? code : path_read(rest + len, out, why);
}

void url_authority(const struct url *u, char *out) {
  bool six = strchr(u->host, ':');
  sprintf(out, "%s%s%s:%s", six ? "[" : "", u->host, six ? "]" : "", u->port);
}
