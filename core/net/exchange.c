/* In: a request, headers first, then its body. Out: the bytes of its answer, from memory or from a script.
 * Why: an exchange is one request until its answer is written; it outlives its connection when a script still works on
 * it. Pages and redirects are answered here, all else goes to the hook. */
#include "net_impl.h"

#include "metrics.h"

#include <stdlib.h>
#include <string.h>

static void exchange_free(struct exchange *x) {
  for (size_t i = 0; i < x->string_count; i++) {
    free(x->strings[i]);
  }
  identity_unref(x->req.identity);
  free((char *)x->frame.cors_origin);
  free(x->body);
  free(x->out);
  free(x);
}

static const char *keep(struct exchange *x, char *string) {
  if (string && x->string_count < sizeof x->strings / sizeof *x->strings) {
    x->strings[x->string_count++] = string;
    return string;
  }
  free(string);
  return NULL;
}

static void add_header(struct exchange *x, const char *name, char *value) {
  struct http_request *r = &x->req;
  const char *kept = r->header_count < HTTP_HEADERS_MAX ? keep(x, value) : NULL;
  if (kept) {
    r->headers[r->header_count++] = (struct http_header){name, kept};
  }
}

static void find_client(struct exchange *x, struct lws *wsi) {
  char peer[ADDRESS_MAX] = "";
  lws_get_peer_simple(wsi, peer, sizeof peer);
  char *forwarded = net_header(wsi, WSI_TOKEN_X_FORWARDED_FOR);
  char *real = net_custom_header(wsi, "x-real-ip:"), *standard = net_custom_header(wsi, "forwarded:");
  struct gate_route route = {peer, forwarded, real, standard};
  x->req.relayed = !gate_client(x->net->o.gate, &route, x->address);
  free(forwarded);
  free(real);
  free(standard);
  x->req.address = x->address;
}

static struct exchange *exchange_new(struct peer *p, const char *path) {
  struct exchange *x = calloc(1, sizeof *x);
  if (!x) {
    return NULL;
  }
  struct lws *wsi = p->wsi;
  x->peer = p;
  x->net = p->net;
  x->req.started_ns = worker_now_ns(p->net->worker);
  x->req.method = net_method(wsi);
  x->req.path = keep(x, strdup(path));
  x->frame.head = strcmp(x->req.method, "HEAD") == 0;
  for (int i = 0; i < HTTP_QUERY_MAX; i++) {
    const char *part = keep(x, net_query_part(wsi, i));
    if (!part) {
      break;
    }
    x->req.query[x->req.query_count++] = part;
  }
  add_header(x, "host", net_header(wsi, WSI_TOKEN_HOST));
  add_header(x, "origin", net_header(wsi, WSI_TOKEN_ORIGIN));
  add_header(x, "content-type", net_header(wsi, WSI_TOKEN_HTTP_CONTENT_TYPE));
  add_header(x, "user-agent", net_header(wsi, WSI_TOKEN_HTTP_USER_AGENT));
  add_header(x, "if-none-match", net_header(wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH));
  add_header(x, "x-request-id", net_custom_header(wsi, "x-request-id:"));
  find_client(x, wsi);
  return x;
}

static void count_request(const struct http_request *req, const struct http_response *res, uint64_t now_ns) {
  char labels[256];
  const char *method = strcmp(req->method, "HEAD") == 0 ? "GET" : *req->method ? req->method : "other";
  snprintf(labels, sizeof labels, "endpoint=\"%s\",method=\"%s\"", res->endpoint ? res->endpoint : "", method);
  metrics_observe_labelled(METRIC_HTTP_SECONDS, labels, (double)(now_ns - req->started_ns) / 1e9);
}

void http_respond(struct http_request *req, const struct http_response *res) {
  struct exchange *x = (struct exchange *)req;
  count_request(req, res, worker_now_ns(x->net->worker));
  if (!x->peer) {
    exchange_free(x);
    return;
  }
  x->out = http_render(res, &x->frame, LWS_PRE, &x->out_len);
  if (x->out) {
    lws_callback_on_writable(x->peer->wsi);
  } else {
    peer_cut(x->peer);
  }
}

static void respond_text(struct exchange *x, int status, const char *type, const char *body) {
  struct http_response res = {.status = status, .type = type, .body = body, .body_len = strlen(body)};
  http_respond(&x->req, &res);
}

static const char plain[] = "text/plain; charset=utf-8";

static void respond_preflight(struct exchange *x) {
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
  http_respond(&x->req, &res);
}

static void redirect_to_chat(struct exchange *x) {
  char location[512];
  snprintf(location, sizeof location, "%s/chat.html", x->net->prefix);
  struct http_response res = {
    .status = 302, .type = plain, .body = "", .endpoint = "/", .header_count = 1, .headers = {{"Location", location}}};
  http_respond(&x->req, &res);
}

static bool reads(const struct exchange *x) {
  return strcmp(x->req.method, "GET") == 0 || x->frame.head;
}

/* The request is complete: answer it from memory or give it to the scripts. */
static void dispatch(struct exchange *x) {
  struct net *n = x->net;
  x->dispatched = true;
  const char *path = x->req.path, *below = net_below_prefix(n, path);
  bool get = reads(x);
  if (get && (strcmp(path, "/") == 0 || (below && (!*below || strcmp(below, "/") == 0)))) {
    redirect_to_chat(x);
    return;
  }
  const struct page *page = get && below && n->pages ? pages_find(n->pages, below + 1) : NULL;
  if (page) {
    respond_page(x, page);
  } else if (!below) {
    respond_text(x, 404, plain, "404 page not found\n");
  } else {
    x->req.path = below;
    x->req.body = x->body ? x->body : "";
    x->req.body_len = x->body_len;
    n->o.hooks->http(n->o.ctx, &x->req);
  }
}

/* Plain GET of the socket's path: the refusals of a handshake. */
static void refuse_plain(struct exchange *x, struct gate_headers *h) {
  struct net *n = x->net;
  struct identity *who = NULL;
  struct gate_refusal no = gate_admit(n->o.gate, &h->r, net_now_s(n), &who);
  struct http_response res = {.status = no.status,
                              .type = plain,
                              .body = no.body,
                              .body_len = strlen(no.body),
                              .endpoint = "/ws",
                              .header_count = no.version_header,
                              .headers = {{"Sec-Websocket-Version", "13"}}};
  identity_unref(who);
  http_respond(&x->req, &res);
}

/* Bytes of the body; negative when the header is not a number. */
static long long body_length(struct lws *wsi) {
  char *text = net_header(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);
  if (!text) {
    return 0;
  }
  size_t digits = strspn(text, "0123456789");
  long long length = digits && digits <= 18 && !text[digits] ? atoll(text) : -1;
  free(text);
  return length;
}

/* 0: wait for the body or the answer; -1: hang up. */
int on_http(struct peer *p) {
  struct net *n = p->net;
  char *path = net_path(p->wsi);
  struct exchange *x = path ? exchange_new(p, path) : NULL;
  free(path);
  if (!x) {
    return -1;
  }
  p->exchange = x;
  struct gate_headers h;
  gate_headers(p->wsi, &h);
  const char *cors;
  int refused = gate_cors(n->o.gate, &h.r, &cors);
  x->frame.cors_origin = cors ? strdup(cors) : NULL;
  x->req.auth = gate_identify(n->o.gate, h.r.authorization, net_now_s(n), &x->req.identity);
  long long body = body_length(p->wsi);
  const char *below = net_below_prefix(n, x->req.path);
  if (refused == 204) {
    respond_preflight(x);
  } else if (refused) {
    respond_text(x, refused, plain, "");
  } else if (body < 0) {
    respond_text(x, 400, NULL, "{\"error\":\"Invalid Content-Length\",\"code\":\"BAD_REQUEST\"}");
  } else if ((size_t)body > n->body_limit) {
    respond_text(x, 413, NULL, "{\"error\":\"The request body is too large\",\"code\":\"BAD_REQUEST\"}");
  } else if (below && strcmp(below, "/ws") == 0 && reads(x)) {
    refuse_plain(x, &h);
  } else if (body == 0) {
    dispatch(x);
  }
  gate_headers_free(&h);
  return 0;
}

int on_http_body(struct peer *p, const char *bytes, size_t len) {
  struct exchange *x = p->exchange;
  if (!x || x->out || x->dispatched) {
    return 0; /* already answered: the rest of the body is read and dropped */
  }
  if (x->body_len + len > p->net->body_limit) {
    return -1;
  }
  if (x->body_len + len + 1 > x->body_room) {
    size_t room = (x->body_len + len + 1) * 2;
    char *body = realloc(x->body, room);
    if (!body) {
      return -1;
    }
    x->body = body;
    x->body_room = room;
  }
  memcpy(x->body + x->body_len, bytes, len);
  x->body_len += len;
  x->body[x->body_len] = 0;
  return 0;
}

int on_http_writeable(struct peer *p) {
  struct exchange *x = p->exchange;
  if (!x || !x->out) {
    return 0;
  }
  int written = lws_write(p->wsi, (unsigned char *)x->out + LWS_PRE, x->out_len, LWS_WRITE_HTTP_HEADERS);
  bool failed = written < (int)x->out_len;
  exchange_free(x);
  p->exchange = NULL;
  p->deadline_ms = worker_now_ms(p->net->worker) + p->net->idle_ms;
  return failed || lws_http_transaction_completed(p->wsi) ? -1 : 0;
}

int on_http_body_end(struct peer *p) {
  /* Also called for a body of no bytes, whose request was complete with its headers. */
  if (p->exchange && !p->exchange->out && !p->exchange->dispatched) {
    dispatch(p->exchange);
  }
  return 0;
}

void exchange_abandon(struct exchange *x) {
  if (x->dispatched && !x->out) {
    x->peer = NULL; /* a script has it and will answer */
  } else {
    exchange_free(x);
  }
}
