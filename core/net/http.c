/* In: a response. Out: its bytes. Why: one place writes headers, so that every answer carries the same ones
 * (reference, section 3.2). A header whose name or value could break out of its line is left out. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

const char *http_reason(int status) {
  switch (status) {
  case 200:
    return "OK";
  case 204:
    return "No Content";
  case 301:
    return "Moved Permanently";
  case 302:
    return "Found";
  case 304:
    return "Not Modified";
  case 400:
    return "Bad Request";
  case 401:
    return "Unauthorized";
  case 403:
    return "Forbidden";
  case 404:
    return "Not Found";
  case 405:
    return "Method Not Allowed";
  case 409:
    return "Conflict";
  case 411:
    return "Length Required";
  case 413:
    return "Content Too Large";
  case 414:
    return "URI Too Long";
  case 417:
    return "Expectation Failed";
  case 426:
    return "Upgrade Required";
  case 429:
    return "Too Many Requests";
  case 431:
    return "Request Header Fields Too Large";
  case 500:
    return "Internal Server Error";
  case 501:
    return "Not Implemented";
  case 503:
    return "Service Unavailable";
  case 505:
    return "HTTP Version Not Supported";
  default:
    return status < 400 ? "OK" : "Error";
  }
}

static bool one_line(const char *text) {
  for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
    if (*p < 0x20 || *p == 0x7f) {
      return false;
    }
  }
  return true;
}

/* Where a body ends, and whether the connection stays, is said once, by us. */
static bool is_framing(const char *name) {
  static const char *const ours[] = {"Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Date",
                                     "Upgrade"};
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
    if (strcasecmp(name, ours[i]) == 0) {
      return true;
    }
  }
  return false;
}

static bool header_ok(const struct http_header *h) {
  return *h->name && one_line(h->name) && !strpbrk(h->name, ": ") && one_line(h->value) && !is_framing(h->name);
}

static const char api_headers[] = "X-Frame-Options: DENY\r\n";
static const char page_headers[] = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
                                   "img-src 'self' data:; connect-src 'self' ws: wss:; media-src https:; "
                                   "base-uri 'none'; form-action 'none'";

/* A list with commas becomes one with blanks. */
static void write_page_headers(FILE *out, const char *ancestors) {
  fputs(page_headers, out);
  if (ancestors && *ancestors && one_line(ancestors)) {
    fputs("; frame-ancestors ", out);
    for (const char *p = ancestors; *p; p++) {
      fputc(*p == ',' || *p == ';' ? ' ' : *p, out);
    }
  }
  fputs("\r\n", out);
}

void http_date(int64_t now_s, char out[HTTP_DATE_MAX]) {
  static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  time_t when = (time_t)now_s;
  struct tm t;
  gmtime_r(&when, &t); /* names of our own: those of strftime are the locale's */
  snprintf(out, HTTP_DATE_MAX, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT", days + (size_t)t.tm_wday * 3, t.tm_mday,
           months + (size_t)t.tm_mon * 3, t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static bool has_header(const struct http_response *res, const char *name) {
  for (size_t i = 0; i < res->header_count; i++) {
    if (strcasecmp(res->headers[i].name, name) == 0) {
      return true;
    }
  }
  return false;
}

static void write_connection(FILE *out, const struct http_response *res, const struct http_frame *frame) {
  if (frame->now_s) {
    char date[HTTP_DATE_MAX];
    http_date(frame->now_s, date);
    fprintf(out, "Date: %s\r\n", date);
  }
  if (frame->close) {
    fputs("Connection: close\r\n", out);
  } else if (frame->keep_alive) {
    fputs("Connection: keep-alive\r\n", out);
  }
  if (res->status == 401 && !has_header(res, "WWW-Authenticate")) { /* RFC 6750, section 3 */
    fprintf(out, "WWW-Authenticate: Bearer%s\r\n", frame->bad_token ? " error=\"invalid_token\"" : "");
  }
}

static void write_headers(FILE *out, const struct http_response *res, const struct http_frame *frame) {
  const char *type = res->type && one_line(res->type) ? res->type : "application/json; charset=utf-8";
  fprintf(out, "HTTP/1.1 %d %s\r\n", res->status, http_reason(res->status));
  if (res->status != 204 && res->status != 304) {
    fprintf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, res->body_len);
  }
  write_connection(out, res, frame);
  fputs("X-Content-Type-Options: nosniff\r\nReferrer-Policy: strict-origin-when-cross-origin\r\n"
        "X-XSS-Protection: 1; mode=block\r\n",
        out);
  if (frame->page) {
    write_page_headers(out, frame->ancestors);
  } else {
    fputs(api_headers, out);
  }
  if (frame->cors_origin && one_line(frame->cors_origin)) {
    fprintf(out,
            "Access-Control-Allow-Origin: %s\r\nAccess-Control-Allow-Credentials: true\r\n"
            "Access-Control-Expose-Headers: Content-Length,Link,Retry-After\r\nVary: Origin\r\n",
            frame->cors_origin);
  }
  for (size_t i = 0; i < res->header_count; i++) {
    if (header_ok(&res->headers[i])) {
      fprintf(out, "%s: %s\r\n", res->headers[i].name, res->headers[i].value);
    }
  }
  fputs("\r\n", out);
}

char *http_render(const struct http_response *res, const struct http_frame *frame, size_t room, size_t *len) {
  char *head = NULL;
  size_t head_len = 0;
  FILE *out = open_memstream(&head, &head_len);
  if (!out) {
    return NULL;
  }
  write_headers(out, res, frame);
  if (fclose(out)) {
    free(head);
    return NULL;
  }
  bool body = !frame->head && res->status != 204 && res->status != 304;
  *len = head_len + (body ? res->body_len : 0);
  char *bytes = malloc(room + *len);
  if (bytes) {
    memcpy(bytes + room, head, head_len);
    if (body && res->body_len) {
      memcpy(bytes + room + head_len, res->body, res->body_len);
    }
  }
  free(head);
  return bytes;
}
