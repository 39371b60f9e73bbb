/* In: one HTTP request that is complete. Out: its response, now or later, on the same worker.
 * Why: net.c turns the transport into this, bindings/vm/vm.c gives it to scripts/api; neither knows the other.
 * Thread: the worker that accepted the request. Bound: MAX_BODY_SIZE for the body, 16 KiB for the headers. */
#pragma once
#include "attr.h"
#include "token.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_auth { HTTP_AUTH_MISSING, HTTP_AUTH_INVALID, HTTP_AUTH_OK };
#define HTTP_HEADERS_MAX 16
#define HTTP_QUERY_MAX 32

struct http_header {
  const char *name, *value;
};

/* Owned by the transport from arrival to http_respond; strings are terminated and live as long as it does. */
struct http_request {
  const char *method, *path; /* path below the prefix, percent-decoded, starts with '/' */
  size_t query_count;
  const char *query[HTTP_QUERY_MAX]; /* "name=value", percent-decoded */
  const char *body;
  size_t body_len;
  const char *address; /* the client, proxies considered */
  bool probe;          /* set by whoever admits it: it counts for nobody */
  bool relayed;        /* it is only that of a proxy nobody has named: it is inside no network */
  enum http_auth auth;
  struct identity *identity; /* when auth is HTTP_AUTH_OK */
  size_t header_count;
  struct http_header headers[HTTP_HEADERS_MAX]; /* names in lower case; never authorization or cookie */
  uint64_t started_ns;
};

struct http_response {
  int status;       /* 200..599 */
  const char *type; /* NULL: application/json; charset=utf-8 */
  const char *body; /* borrowed for the call */
  size_t body_len;
  const char *endpoint; /* route template, for the metric; NULL: "" */
  size_t header_count;
  struct http_header headers[HTTP_HEADERS_MAX]; /* names and values without control characters, or they are left out; so
                                                   are lengths and encodings */
};

/* Exactly once for each request; req is gone after it. Works when the client has hung up meanwhile. (net.c) */
void http_respond(struct http_request *req, const struct http_response *res);

/* What scripts/lib/response.lua says, too. */
#define HTTP_TOO_MANY "{\"error\":\"rate_limit_exceeded\",\"message\":\"Too many requests. Please try again later.\"}"

/* The rest of a response that depends on who asks. */
struct http_frame {
  bool head;               /* the method is HEAD: no body */
  const char *cors_origin; /* NULL: no CORS headers */
  bool page;               /* a page may be framed; an API answer may not */
  const char *ancestors;   /* of a page: by whom, FRAME_ANCESTORS; NULL or "": by all */
  bool close;              /* the connection ends behind it */
  bool keep_alive;         /* it stays, which a client of HTTP/1.0 has to be told */
  bool bad_token;          /* a 401 is because of the token, not for want of one */
  int64_t now_s;           /* since 1970; 0: no clock, no Date */
};
/* The bytes of a response, status line to body, with security headers and Content-Length. A heap block, the caller
 * frees; `room` bytes are left free in front of it. NULL when memory is out. Any thread. */
char *http_render(const struct http_response *res, const struct http_frame *frame, size_t room, size_t *len) NODISCARD;
const char *http_reason(int status);
/* "Sun, 06 Nov 1994 08:49:37 GMT" */
#define HTTP_DATE_MAX 32
void http_date(int64_t now_s, char out[HTTP_DATE_MAX]);
