/* In: the bytes of an HTTP request. Out: where its head ends; the head, taken apart; or the status that refuses it.
 * Why: two programs that disagree about where a request ends let one person's bytes become another's request. So there
 * is one reading here (RFC 9112), and whatever leaves the end of a request in doubt is refused, and the connection is
 * closed behind the answer. Pure functions, any thread. Bounds: HEAD_BYTES_MAX, HEAD_FIELDS_MAX. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_BYTES_MAX 16384 /* request line and fields; beyond it 414 or 431 */
#define HEAD_FIELDS_MAX 100  /* beyond it 431 */

struct head_field {
  const char *name, *value; /* the name in lower case, the value without blanks around it */
};

/* All strings are terminated and lie in the bytes given to head_parse. */
struct head {
  const char *method; /* "" for one that is not known here */
  const char *path;   /* percent-decoded, begins with '/'; "*" for OPTIONS * */
  char *query;        /* what follows '?', still encoded (head_query_next); NULL: none */
  const char *host;   /* the target's authority if it has one, else Host; NULL: none */
  uint64_t length;    /* Content-Length; UINT64_MAX when it is larger than any number here */
  bool chunked;       /* the body is chunked; length is 0 */
  bool expects;       /* the client waits for 100 Continue */
  bool http10;
  bool keep;      /* the connection may carry another request */
  bool upgrade;   /* Connection has the token upgrade */
  bool websocket; /* Upgrade has the token websocket */
  size_t count;
  struct head_field fields[HEAD_FIELDS_MAX];
};

/* How far a head that comes in pieces has been looked at; zero-initialised is the beginning. */
struct head_search {
  size_t seen, line; /* bytes looked at; where the current line begins */
  bool started;      /* the request line has begun: empty lines before it are skipped */
};
/* bytes: all that has come so far. 0: the head is not complete; else a status that refuses it, or 200: it is complete
 * and *end bytes long. */
int head_find(struct head_search *s, const char *bytes, size_t len, size_t *end) NODISCARD;

/* bytes: a complete head, which is changed. 0, or the status that refuses it. */
int head_parse(struct head *h, char *bytes, size_t len) NODISCARD;

/* The value of the first field of that name; NULL: none. */
const char *head_value(const struct head *h, const char *name);
/* The next "name=value" of a query, decoded in place; NULL behind the last. */
char *head_query_next(char **query);
