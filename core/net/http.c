/* In: a response. Out: its bytes. Why: one place writes headers, so that every answer carries the same ones
 * (reference, section 3.2). A header whose name or value could break out of its line is left out. */
#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
  case 426:
    return "Upgrade Required";
  case 429:
    return "Too Many Requests";
  case 500:
    return "Internal Server Error";
  case 503:
    return "Service Unavailable";
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

/* Where a body ends is said once, by us. */
static bool is_framing(const char *name) {
  return strcasecmp(name, "Content-Length") == 0 || strcasecmp(name, "Transfer-Encoding") == 0;
}

static bool header_ok(const struct http_header *h) {
  return *h->name && one_line(h->name) && !strpbrk(h->name, ": ") && one_line(h->value) && !is_framing(h->name);
}

static const char api_headers[] = "X-Frame-Options: DENY\r\n";
static const char page_headers[] = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
                                   "img-src 'self' data:; connect-src 'self' ws: wss:; media-src https:; "
                                   "base-uri 'none'; form-action 'none'\r\n";

static void write_headers(FILE *out, const struct http_response *res, const struct http_frame *frame) {
  const char *type = res->type && one_line(res->type) ? res->type : "application/json; charset=utf-8";
  fprintf(out, "HTTP/1.1 %d %s\r\n", res->status, http_reason(res->status));
  if (res->status != 204 && res->status != 304) {
    fprintf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, res->body_len);
  }
  fputs("X-Content-Type-Options: nosniff\r\nReferrer-Policy: strict-origin-when-cross-origin\r\n"
        "X-XSS-Protection: 1; mode=block\r\n",
        out);
  fputs(frame->page ? page_headers : api_headers, out);
  if (frame->cors_origin && one_line(frame->cors_origin)) {
    fprintf(out,
            "Access-Control-Allow-Origin: %s\r\nAccess-Control-Allow-Credentials: true\r\n"
            "Access-Control-Expose-Headers: Content-Length\r\nVary: Origin\r\n",
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
