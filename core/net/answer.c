/* In: a request that is complete, and its answer. Out: the bytes of the answer, on its connection if that is still
 * there. Why: an exchange is one request until its answer is written; it outlives its connection when a script still
 * works on it. Pages and redirects are answered here, all else goes to the hook. */
#include "net_impl.h"

#include "metrics.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void exchange_free(struct exchange *x) {
  identity_unref(x->req.identity);
  free((char *)x->frame.cors_origin);
  bodies_let_go(&x->net->bodies, &x->share);
  free(x->body);
  free(x);
}

void answer_count(const struct exchange *x, const char *endpoint) {
  const struct http_request *req = &x->req;
  char labels[512];
  const char *method = strcmp(req->method, "HEAD") == 0 ? "GET" : *req->method ? req->method : "other";
  snprintf(labels, sizeof labels, "endpoint=\"%s\",method=\"%s\"", endpoint ? endpoint : "", method);
  uint64_t now_ns = worker_now_ns(x->net->worker);
  metrics_observe_labelled(METRIC_HTTP_SECONDS, labels, (double)(now_ns - req->started_ns) / 1e9);
}

void http_respond(struct http_request *req, const struct http_response *res) {
  struct exchange *x = (struct exchange *)req;
  struct peer *p = x->peer;
  struct net *n = x->net;
  answer_count(x, res->endpoint);
  if (!p) {
    exchange_free(x);
    return;
  }
  /* What has not been read of a request would be taken for the next one. */
  bool keep = x->keep && body_complete(&x->framing) && !n->closing;
  x->frame.close = !keep;
  x->frame.keep_alive = x->frame.keep_alive && keep;
  x->frame.now_s = net_now_s(n);
  x->frame.bad_token = x->req.auth == HTTP_AUTH_INVALID;
  size_t len;
  char *bytes = http_render(res, &x->frame, 0, &len);
  if (bytes) {
    peer_write(p, bytes, len);
  } else {
    peer_cut(p);
  }
  free(bytes);
  p->refusals = res->status == 429 ? p->refusals + 1 : 0;
  if (p->refusals >= CONN_REFUSED_MAX) { /* as a WebSocket: whoever goes on all the same is read once a tick */
    p->rests_until_ms = worker_now_ms(n->worker) + CONN_REST_MS;
  }
  p->exchange = NULL;
  void (*answered)(struct peer *, bool) = x->answered;
  exchange_free(x);
  answered(p, keep);
}

static const char plain[] = "text/plain; charset=utf-8";

static void respond_text(struct exchange *x, int status, const char *type, const char *body) {
  struct http_response res = {.status = status, .type = type, .body = body, .body_len = strlen(body)};
  http_respond(&x->req, &res);
}

void answer_status(struct exchange *x, int status, const char *body) {
  char json[128];
  if (!body) {
    snprintf(json, sizeof json, "{\"error\":\"%s\",\"code\":\"BAD_REQUEST\"}", http_reason(status));
  }
  respond_text(x, status, body ? plain : NULL, body ? body : json);
}

void answer_too_many(struct exchange *x, uint64_t wait_ms) {
  char seconds[24];
  snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)(wait_ms + 999) / 1000);
  x->keep = false; /* whoever comes too often is not also given a place to stay */
  x->dispatched = true;
  struct http_response res = {.status = 429,
                              .body = HTTP_TOO_MANY,
                              .body_len = sizeof HTTP_TOO_MANY - 1,
                              .header_count = 1,
                              .headers = {{"Retry-After", seconds}}};
  http_respond(&x->req, &res);
}

void answer_preflight(struct exchange *x) {
  struct http_response res = {.status = 204,
                              .header_count = 3,
                              .headers = {{"Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,OPTIONS"},
                                          {"Access-Control-Allow-Headers", "Origin,Content-Type,Accept,Authorization"},
                                          {"Access-Control-Max-Age", "43200"}}};
  http_respond(&x->req, &res);
}

static void respond_page(struct exchange *x, const struct page *page) {
  struct http_response res = {.status = 200,
                              .type = page->type,
                              .body = page->bytes,
                              .body_len = page->len,
                              .endpoint = "page",
                              .header_count = 2,
                              .headers = {{"ETag", page->etag}, {"Cache-Control", "no-cache"}}};
  for (size_t i = 0; i < x->req.header_count; i++) {
    if (strcmp(x->req.headers[i].name, "if-none-match") == 0 && strstr(x->req.headers[i].value, page->etag)) {
      res.status = 304;
    }
  }
  x->frame.page = true;
  x->frame.ancestors = x->net->ancestors;
  http_respond(&x->req, &res);
}

/* Writes one "name=value" of a query as it may stand in a URL; the end of it. */
static char *query_write(char *to, const char *part) {
  static const char digits[] = "0123456789ABCDEF";
  bool in_name = true;
  for (; *part; part++) {
    unsigned char c = (unsigned char)*part;
    if (isalnum(c) || strchr("-._~", c) || (in_name && c == '=')) {
      in_name = in_name && c != '=';
      *to++ = (char)c;
    } else {
      *to++ = '%';
      *to++ = digits[c >> 4];
      *to++ = digits[c & 15];
    }
  }
  return to;
}

/* Relative to what was asked for, and with its query: a proxy in front may show all of this under a path of its own. */
static void redirect_to_chat(struct exchange *x, const char *below) {
  const struct http_request *r = &x->req;
  const char *prefix = x->net->prefix, *last = strrchr(prefix, '/');
  size_t room = strlen(prefix) + sizeof "/chat.html";
  for (size_t i = 0; i < r->query_count; i++) {
    room += 3 * strlen(r->query[i]) + 1;
  }
  char *location = malloc(room);
  if (!location) {
    answer_status(x, 503, NULL);
    return;
  }
  const char *base = !below ? prefix + 1 : *below ? "" : last + 1; /* of "/", of the prefix with a slash, without */
  char *end = location + sprintf(location, "%s%schat.html", base, *base ? "/" : "");
  for (size_t i = 0; i < r->query_count; i++) {
    *end++ = i == 0 ? '?' : '&';
    end = query_write(end, r->query[i]);
  }
  *end = '\0';
  struct http_response res = {
    .status = 302, .type = plain, .body = "", .endpoint = "/", .header_count = 1, .headers = {{"Location", location}}};
  http_respond(&x->req, &res);
  free(location);
}

const char *net_below_prefix(const struct net *n, const char *path) {
  if (strncmp(path, n->prefix, n->prefix_len) != 0) {
    return NULL;
  }
  const char *rest = path + n->prefix_len;
  return *rest == '/' || *rest == 0 ? rest : NULL;
}

void answer_request(struct exchange *x) {
  struct net *n = x->net;
  x->dispatched = true;
  bodies_complete(&x->share);
  const char *path = x->req.path, *below = net_below_prefix(n, path);
  bool get = strcmp(x->req.method, "GET") == 0 || x->frame.head;
  if (get && (strcmp(path, "/") == 0 || (below && (!*below || strcmp(below, "/") == 0)))) {
    redirect_to_chat(x, strcmp(path, "/") == 0 ? NULL : below);
    return;
  }
  const struct page *page = get && below && n->pages ? pages_find(n->pages, below + 1) : NULL;
  if (page) {
    respond_page(x, page);
  } else if (!*x->req.method) {
    answer_status(x, 501, NULL);
  } else if (!below) {
    respond_text(x, 404, plain, "404 page not found\n");
  } else {
    x->req.path = below;
    x->req.body = x->body ? x->body : "";
    x->req.body_len = x->body_len;
    n->o.hooks->http(n->o.ctx, &x->req);
  }
}
