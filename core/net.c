/* In: connections on a listening socket. Out: conns with their texts; HTTP requests; bytes back.
 * Why: see net.h. A refused handshake and an HTTP answer are written as bytes of our own, because the transport's own
 * answers are HTTP/1.0 and its checks are lax (reference, section 1.2 says what has to be refused and how). */
#include "net.h"

#include "err.h"
#include "frame.h"
#include "log.h"
#include "metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libwebsockets.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define TX_ROOM 65536      /* bytes gathered for one write */
#define ACCEPTS_PER_TURN 64
#define CLOSE_GRACE_MS 5000 /* a client that does not read its close frame is cut after so long */
#define TICK_MS 1000
#define HEADER_ROOM 16384

/* Lists of peers: doubly linked through an embedded link. */
struct link {
  struct link *prev, *next;
};

struct peer {
  struct link all;
  struct net *net;
  struct lws *wsi;
  struct conn *conn;         /* a WebSocket */
  struct identity *identity; /* holds a slot of the gate */
  struct exchange *exchange; /* an HTTP request */
  char *wanted;              /* between handshake and upgrade */
  struct peer *next_dirty;
  struct frame frame;
  uint64_t heard_ms, pinged_ms, closing_ms;
  bool ping, upgraded;
};

/* One HTTP request, from its headers to its answer. It outlives the peer when a script answers after the hang-up. */
struct exchange {
  struct http_request req; /* first: http_respond gets its address */
  struct peer *peer;       /* NULL: hung up */
  struct net *net;
  struct http_frame frame;
  bool dispatched; /* answered from memory or given to the scripts, which answer */
  char *strings[2 + HTTP_HEADERS_MAX + HTTP_QUERY_MAX];
  size_t string_count;
  char *body;
  size_t body_len, body_room;
  char address[ADDRESS_MAX];
  char *out; /* rendered, LWS_PRE bytes of room in front */
  size_t out_len;
};

struct net {
  struct net_options o;
  struct worker *worker;
  struct mailbox *here;
  struct lws_context *context;
  struct lws_vhost *vhost;
  uv_poll_t poll;
  bool listening, closing;
  int fd;
  struct link peers;
  struct peer *dirty;
  size_t websockets, others;
  struct timer *tick;
  struct pages *pages;
  const char *prefix;
  size_t prefix_len;
  size_t message_limit, body_limit;
  uint64_t ping_ms, pong_ms, tick_ms;
  unsigned char tx[LWS_PRE + TX_ROOM];
};

static void link_put(struct link *list, struct link *l) {
  l->prev = list->prev;
  l->next = list;
  list->prev->next = l;
  list->prev = l;
}

static void link_drop(struct link *l) {
  l->prev->next = l->next;
  l->next->prev = l->prev;
}

/* ---- out ---- */

static void on_dirty(struct conn *c, void *arg) {
  struct peer *p = arg;
  (void)c;
  p->next_dirty = p->net->dirty;
  p->net->dirty = p;
}

static void cut(struct peer *p) {
  lws_set_timeout(p->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_ASYNC);
}

/* Whether more may be written now; when not, WRITEABLE is asked for. */
static bool write_bytes(struct peer *p, unsigned char *bytes, size_t len) {
  if (len && lws_write(p->wsi, bytes, len, LWS_WRITE_HTTP) < (int)len) {
    cut(p);
    return false;
  }
  if (lws_partial_buffered(p->wsi)) {
    lws_callback_on_writable(p->wsi);
    return false;
  }
  return true;
}

static bool write_large(struct peer *p, struct message *m) {
  unsigned char *bytes = malloc(LWS_PRE + FRAME_HEADER_MAX + m->len);
  if (!bytes) {
    cut(p);
    return false;
  }
  size_t head = frame_header(bytes + LWS_PRE, FRAME_TEXT, m->len);
  memcpy(bytes + LWS_PRE + head, m->text, m->len);
  bool more = write_bytes(p, bytes + LWS_PRE, head + m->len);
  free(bytes);
  return more;
}

/* Frames as many waiting messages as fit; *sent counts them. The bytes they take. */
static size_t gather(struct peer *p, unsigned char *out, size_t *sent) {
  size_t len = 0;
  if (p->ping) {
    p->ping = false;
    len += frame_header(out, FRAME_PING, 0);
  }
  const struct message *next;
  while ((next = conn_outbox_peek(p->conn)) && len + FRAME_HEADER_MAX + next->len <= TX_ROOM) {
    struct message *m = conn_outbox_take(p->conn);
    len += frame_header(out + len, FRAME_TEXT, m->len);
    memcpy(out + len, m->text, m->len);
    len += m->len;
    message_unref(m);
    (*sent)++;
  }
  return len;
}

/* Writes the outbox as far as the socket takes it. Only whole frames are handed over, because the transport may put a
 * pong of its own between two writes. */
static void flush_peer(struct peer *p) {
  size_t sent = 0;
  bool more = !lws_partial_buffered(p->wsi);
  if (!more) {
    lws_callback_on_writable(p->wsi);
  }
  while (more && (p->ping || !conn_outbox_empty(p->conn))) {
    const struct message *next = conn_outbox_peek(p->conn);
    if (!p->ping && next->len + FRAME_HEADER_MAX > TX_ROOM) {
      struct message *m = conn_outbox_take(p->conn);
      more = write_large(p, m);
      message_unref(m);
      sent++;
    } else {
      size_t len = gather(p, p->net->tx + LWS_PRE, &sent);
      more = write_bytes(p, p->net->tx + LWS_PRE, len);
    }
  }
  if (sent) {
    metrics_add(METRIC_MESSAGES_SENT, (int64_t)sent);
  }
  const char *reason;
  if (conn_closing(p->conn, &reason)) {
    p->closing_ms = p->closing_ms ? p->closing_ms : worker_now_ms(p->net->worker);
    lws_callback_on_writable(p->wsi);
  }
}

void net_flush(struct net *n) {
  struct peer *p = n->dirty;
  n->dirty = NULL;
  while (p) {
    struct peer *next = p->next_dirty;
    p->next_dirty = NULL;
    conn_clean(p->conn);
    flush_peer(p);
    p = next;
  }
}

/* -1 asks the transport to close, with the code and reason that were set. */
static int on_writeable(struct peer *p) {
  const char *reason;
  flush_peer(p);
  int code = conn_closing(p->conn, &reason);
  if (code && conn_outbox_empty(p->conn) && !lws_partial_buffered(p->wsi)) {
    lws_close_reason(p->wsi, (enum lws_close_status)code, (unsigned char *)reason, strlen(reason));
    return -1;
  }
  return 0;
}

/* ---- time ---- */

static void tick(void *arg) {
  struct net *n = arg;
  uint64_t now = worker_now_ms(n->worker);
  n->tick = worker_timer(n->worker, n->tick_ms, tick, n);
  for (struct link *l = n->peers.next, *next; l != &n->peers; l = next) {
    struct peer *p = (struct peer *)l;
    next = l->next;
    if (!p->conn) {
      continue;
    }
    if (p->closing_ms && now - p->closing_ms >= CLOSE_GRACE_MS) {
      cut(p);
    } else if (now - p->heard_ms >= n->pong_ms) {
      cut(p);
    } else if (now - p->pinged_ms >= n->ping_ms) {
      p->pinged_ms = now;
      p->ping = true;
      flush_peer(p);
    }
  }
}

/* ---- requests ---- */

/* A header's value in a new string; NULL when absent or when memory is out. */
static char *header(struct lws *wsi, enum lws_token_indexes token) {
  int len = lws_hdr_total_length(wsi, token);
  char *value = len > 0 ? malloc((size_t)len + 1) : NULL;
  if (value && lws_hdr_copy(wsi, value, len + 1, token) < 0) {
    free(value);
    value = NULL;
  }
  return value;
}

static char *custom_header(struct lws *wsi, const char *name) {
  int name_len = (int)strlen(name);
  int len = lws_hdr_custom_length(wsi, name, name_len);
  char *value = len > 0 ? malloc((size_t)len + 1) : NULL;
  if (value && lws_hdr_custom_copy(wsi, value, len + 1, name, name_len) < 0) {
    free(value);
    value = NULL;
  }
  return value;
}

/* One "name=value" of the query, percent-decoded; NULL behind the last. */
static char *query_part(struct lws *wsi, int i) {
  int len = lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i);
  char *part = len > 0 ? malloc((size_t)len + 1) : NULL;
  if (part && lws_hdr_copy_fragment(wsi, part, len + 1, WSI_TOKEN_HTTP_URI_ARGS, i) < 0) {
    free(part);
    part = NULL;
  }
  return part;
}

static char *query_value(struct lws *wsi, const char *name) {
  size_t name_len = strlen(name);
  for (int i = 0; i < HTTP_QUERY_MAX; i++) {
    char *part = query_part(wsi, i);
    if (!part) {
      return NULL;
    }
    if (strncmp(part, name, name_len) == 0 && part[name_len] == '=') {
      memmove(part, part + name_len + 1, strlen(part + name_len + 1) + 1);
      return part;
    }
    free(part);
  }
  return NULL;
}

static const char *method_of(struct lws *wsi) {
  static const struct {
    enum lws_token_indexes token;
    const char *name;
  } methods[] = {{WSI_TOKEN_GET_URI, "GET"},         {WSI_TOKEN_POST_URI, "POST"},   {WSI_TOKEN_HEAD_URI, "HEAD"},
                 {WSI_TOKEN_OPTIONS_URI, "OPTIONS"}, {WSI_TOKEN_PUT_URI, "PUT"},     {WSI_TOKEN_PATCH_URI, "PATCH"},
                 {WSI_TOKEN_DELETE_URI, "DELETE"},   {WSI_TOKEN_HTTP_COLON_METHOD, ""}};
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    if (lws_hdr_total_length(wsi, methods[i].token)) {
      return methods[i].name;
    }
  }
  return "";
}

/* The headers the gate looks at; freed with gate_headers_free. */
struct gate_headers {
  struct gate_request r;
  char *values[8];
};

static void gate_headers(struct lws *wsi, struct gate_headers *h) {
  h->values[0] = header(wsi, WSI_TOKEN_HOST);
  h->values[1] = header(wsi, WSI_TOKEN_ORIGIN);
  h->values[2] = header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION);
  h->values[3] = query_value(wsi, "token");
  h->values[4] = header(wsi, WSI_TOKEN_UPGRADE);
  h->values[5] = header(wsi, WSI_TOKEN_CONNECTION);
  h->values[6] = header(wsi, WSI_TOKEN_VERSION);
  h->values[7] = header(wsi, WSI_TOKEN_KEY);
  h->r = (struct gate_request){.method = method_of(wsi), .host = h->values[0], .origin = h->values[1],
                               .authorization = h->values[2], .token = h->values[3], .upgrade = h->values[4],
                               .connection = h->values[5], .version = h->values[6], .key = h->values[7]};
}

static void gate_headers_free(struct gate_headers *h) {
  for (size_t i = 0; i < sizeof h->values / sizeof *h->values; i++) {
    free(h->values[i]);
  }
}

/* Path below the prefix ("" when it is the prefix itself); NULL when it is outside. */
static const char *below_prefix(const struct net *n, const char *path) {
  if (strncmp(path, n->prefix, n->prefix_len) != 0) {
    return NULL;
  }
  const char *rest = path + n->prefix_len;
  return *rest == '/' || *rest == 0 ? rest : NULL;
}

static char *path_of(struct lws *wsi) {
  char *uri = NULL;
  int len = 0;
  if (lws_http_get_uri_and_method(wsi, &uri, &len) < 0 || !uri) {
    return strdup("/");
  }
  return strndup(uri, (size_t)len);
}

/* ---- HTTP ---- */

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
  char *forwarded = header(wsi, WSI_TOKEN_X_FORWARDED_FOR);
  char *real = custom_header(wsi, "x-real-ip:");
  address_client(gate_trusted(x->net->o.gate), peer, forwarded, real, x->address);
  free(forwarded);
  free(real);
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
  x->req.method = method_of(wsi);
  x->req.path = keep(x, strdup(path));
  x->frame.head = strcmp(x->req.method, "HEAD") == 0;
  for (int i = 0; i < HTTP_QUERY_MAX; i++) {
    const char *part = keep(x, query_part(wsi, i));
    if (!part) {
      break;
    }
    x->req.query[x->req.query_count++] = part;
  }
  add_header(x, "host", header(wsi, WSI_TOKEN_HOST));
  add_header(x, "origin", header(wsi, WSI_TOKEN_ORIGIN));
  add_header(x, "content-type", header(wsi, WSI_TOKEN_HTTP_CONTENT_TYPE));
  add_header(x, "user-agent", header(wsi, WSI_TOKEN_HTTP_USER_AGENT));
  add_header(x, "if-none-match", header(wsi, WSI_TOKEN_HTTP_IF_NONE_MATCH));
  add_header(x, "x-request-id", custom_header(wsi, "x-request-id:"));
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
    cut(x->peer);
  }
}

static void respond_text(struct exchange *x, int status, const char *type, const char *body) {
  struct http_response res = {.status = status, .type = type, .body = body, .body_len = strlen(body)};
  http_respond(&x->req, &res);
}

static const char plain[] = "text/plain; charset=utf-8";

static void respond_preflight(struct exchange *x) {
  struct http_response res = {
    .status = 204,
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
  const char *path = x->req.path, *below = below_prefix(n, path);
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
  struct gate_refusal no =
    gate_admit(n->o.gate, &h->r, (int64_t)(worker_wall_ms(n->worker) / 1000), &who);
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

/* 0: wait for the body or the answer; -1: hang up. */
static int on_http(struct peer *p) {
  struct net *n = p->net;
  char *path = path_of(p->wsi);
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
  x->req.auth = gate_identify(n->o.gate, h.r.authorization, (int64_t)(worker_wall_ms(n->worker) / 1000),
                              &x->req.identity);
  char *length = header(p->wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH);
  long long body = length ? atoll(length) : 0;
  free(length);
  const char *below = below_prefix(n, x->req.path);
  if (refused == 204) {
    respond_preflight(x);
  } else if (refused) {
    respond_text(x, refused, plain, "");
  } else if (body < 0 || (size_t)body > n->body_limit) {
    respond_text(x, 413, NULL, "{\"error\":\"The request body is too large\",\"code\":\"BAD_REQUEST\"}");
  } else if (below && strcmp(below, "/ws") == 0 && reads(x)) {
    refuse_plain(x, &h);
  } else if (body == 0) {
    dispatch(x);
  }
  gate_headers_free(&h);
  return 0;
}

static int on_http_body(struct peer *p, const char *bytes, size_t len) {
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

static int on_http_writeable(struct peer *p) {
  struct exchange *x = p->exchange;
  if (!x || !x->out) {
    return 0;
  }
  int written = lws_write(p->wsi, (unsigned char *)x->out + LWS_PRE, x->out_len, LWS_WRITE_HTTP_HEADERS);
  bool failed = written < (int)x->out_len;
  exchange_free(x);
  p->exchange = NULL;
  return failed || lws_http_transaction_completed(p->wsi) ? -1 : 0;
}

/* ---- the handshake ---- */

static int write_refusal(struct peer *p, const struct gate_refusal *no, const char *cors) {
  struct http_response res = {.status = no->status,
                              .type = plain,
                              .body = no->body,
                              .body_len = strlen(no->body),
                              .header_count = no->version_header,
                              .headers = {{"Sec-Websocket-Version", "13"}}};
  struct http_frame frame = {.cors_origin = cors};
  size_t len;
  char *bytes = http_render(&res, &frame, LWS_PRE, &len);
  if (!bytes) {
    return -1;
  }
  int written = lws_write(p->wsi, (unsigned char *)bytes + LWS_PRE, len, LWS_WRITE_HTTP_HEADERS);
  free(bytes);
  return written < (int)len ? -1 : 1; /* 1: answered, the connection may ask again */
}

static void tell_user_limit(struct net *n, const struct identity *who) {
  static const char text[] =
    "{\"type\":\"notification\",\"content\":\"Connection limit reached. You have reached the maximum number of "
    "simultaneous connections. Close an existing connection to open a new one.\",\"sender\":\"system\","
    "\"timestamp\":\"%s\"}";
  char stamp[32], out[512];
  time_t now = (time_t)(worker_wall_ms(n->worker) / 1000);
  struct tm tm;
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
  int len = snprintf(out, sizeof out, text, stamp);
  struct message *m = message_new(out, (size_t)len);
  if (m) {
    sessions_notify_user(worker_home(n->worker)->sessions, who->user_id, m, n->here);
    message_unref(m);
  }
}

static int on_upgrade(struct peer *p) {
  struct net *n = p->net;
  char *path = path_of(p->wsi);
  const char *below = path ? below_prefix(n, path) : NULL;
  bool here = below && strcmp(below, "/ws") == 0;
  free(path);
  struct gate_headers h;
  gate_headers(p->wsi, &h);
  const char *cors;
  struct gate_refusal no = {0};
  struct identity *who = NULL;
  if (gate_cors(n->o.gate, &h.r, &cors) == 403) {
    no = (struct gate_refusal){.status = 403, .body = ""};
  } else if (!here) {
    no = (struct gate_refusal){.status = 404, .body = "404 page not found\n"};
  } else if (n->closing) {
    no = (struct gate_refusal){.status = 503, .body = "The server is stopping\n"};
  } else {
    no = gate_admit(n->o.gate, &h.r, (int64_t)(worker_wall_ms(n->worker) / 1000), &who);
  }
  int answer = 0;
  if (no.status) {
    answer = write_refusal(p, &no, cors);
    if (no.user_limit && who) {
      tell_user_limit(n, who);
    }
    identity_unref(who);
  } else {
    p->identity = who;
    p->wanted = query_value(p->wsi, "session_id");
  }
  gate_headers_free(&h);
  return answer;
}

static int on_established(struct peer *p) {
  struct net *n = p->net;
  const struct config *c = n->o.config;
  uint64_t now = worker_now_ms(n->worker);
  struct conn_options o = {.home = n->here,
                           .identity = p->identity,
                           .wanted = p->wanted,
                           .outbox_limit = (size_t)config_int(c, SETTING_OUTBOX_LIMIT),
                           .early_limit = (size_t)config_int(c, SETTING_INBOX_LIMIT),
                           .dirty = on_dirty,
                           .arg = p,
                           .opened_ms = now};
  p->conn = conn_new(&o);
  free(p->wanted);
  p->wanted = NULL;
  if (!p->conn) {
    return -1;
  }
  p->upgraded = true;
  p->heard_ms = p->pinged_ms = now;
  n->others--;
  n->websockets++;
  metrics_add(METRIC_CONNECTIONS, 1);
  n->o.hooks->opened(n->o.ctx, p->conn);
  return 0;
}

static int on_receive(struct peer *p, const char *bytes, size_t len) {
  struct net *n = p->net;
  p->heard_ms = worker_now_ms(n->worker);
  const char *reason;
  if (conn_closing(p->conn, &reason)) {
    return 0;
  }
  bool last = lws_is_final_fragment(p->wsi) && !lws_remaining_packet_payload(p->wsi);
  const char *text;
  size_t text_len;
  int code = frame_add(&p->frame, bytes, len, last, n->message_limit, &text, &text_len);
  if (code == 1) {
    n->o.hooks->text(n->o.ctx, p->conn, text, text_len);
    frame_deinit(&p->frame); /* an idle connection keeps nothing of what it once said */
    return 0;
  }
  if (code == 0) {
    return 0;
  }
  enum lws_close_status status = code == E_UTF8 ? LWS_CLOSE_STATUS_INVALID_PAYLOAD : LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE;
  status = code == UV_ENOMEM ? (enum lws_close_status)CLOSE_TRY_LATER : status;
  metrics_add(METRIC_MESSAGE_ERRORS, 1);
  lws_close_reason(p->wsi, status, NULL, 0);
  return -1;
}

/* ---- life of a peer ---- */

static void forget_dirty(struct peer *p) {
  for (struct peer **link = &p->net->dirty; *link; link = &(*link)->next_dirty) {
    if (*link == p) {
      *link = p->next_dirty;
      return;
    }
  }
}

static void on_closed(struct peer *p) {
  struct net *n = p->net;
  if (!p->conn) {
    return;
  }
  metrics_add(METRIC_CONNECTIONS, -1);
  metrics_observe(METRIC_CONNECTION_SECONDS,
                  (double)(worker_now_ms(n->worker) - conn_opened_ms(p->conn)) / 1000.0);
  n->websockets--;
  forget_dirty(p);
  n->o.hooks->closed(n->o.ctx, p->conn);
  conn_dead(p->conn);
  conn_unref(p->conn);
  p->conn = NULL;
}

static void peer_free(struct peer *p) {
  struct net *n = p->net;
  on_closed(p);
  if (!p->upgraded) {
    n->others--;
  }
  if (p->exchange) {
    if (p->exchange->out) {
      exchange_free(p->exchange);
    } else if (p->exchange->dispatched) {
      p->exchange->peer = NULL; /* a script has it and will answer */
    } else {
      exchange_free(p->exchange); /* its body never came */
    }
  }
  if (p->identity) {
    gate_leave(n->o.gate, p->identity);
    identity_unref(p->identity);
  }
  free(p->wanted);
  frame_deinit(&p->frame);
  link_drop(&p->all);
  free(p);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
  struct peer *p = lws_get_opaque_user_data(wsi);
  (void)user;
  if (!p) {
    return 0;
  }
  p->wsi = wsi;
  switch (reason) {
  case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
    return on_upgrade(p);
  case LWS_CALLBACK_ESTABLISHED:
    return on_established(p);
  case LWS_CALLBACK_RECEIVE:
    return on_receive(p, in, len);
  case LWS_CALLBACK_RECEIVE_PONG:
    p->heard_ms = worker_now_ms(p->net->worker);
    return 0;
  case LWS_CALLBACK_SERVER_WRITEABLE:
    return on_writeable(p);
  case LWS_CALLBACK_CLOSED:
    on_closed(p);
    return 0;
  case LWS_CALLBACK_HTTP:
    return on_http(p);
  case LWS_CALLBACK_HTTP_BODY:
    return on_http_body(p, in, len);
  case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    /* Also called for a body of no bytes, whose request was complete with its headers. */
    if (p->exchange && !p->exchange->out && !p->exchange->dispatched) {
      dispatch(p->exchange);
    }
    return 0;
  case LWS_CALLBACK_HTTP_WRITEABLE:
    return on_http_writeable(p);
  case LWS_CALLBACK_WSI_DESTROY:
    lws_set_opaque_user_data(wsi, NULL);
    peer_free(p);
    return 0;
  default:
    return 0;
  }
}

/* ---- listening ---- */

static void adopt(struct net *n, int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct peer *p = n->others < (size_t)config_int(n->o.config, SETTING_MAX_HANDSHAKES) ? calloc(1, sizeof *p) : NULL;
  if (!p) {
    close(fd);
    return;
  }
  p->net = n;
  link_put(&n->peers, &p->all);
  n->others++;
  lws_sock_file_fd_type sock = {.sockfd = fd};
  struct lws_adopt_desc desc = {.vh = n->vhost,
                                .type = LWS_ADOPT_SOCKET | LWS_ADOPT_HTTP | LWS_ADOPT_ALLOW_SSL,
                                .fd = sock,
                                .vh_prot_name = NULL,
                                .opaque = p};
  struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&desc);
  if (!wsi) {
    LOG(LOG_WARN, "net", "a connection could not be adopted");
  }
}

static void on_acceptable(uv_poll_t *poll, int status, int events) {
  struct net *n = poll->data;
  (void)events;
  for (int i = 0; status == 0 && i < ACCEPTS_PER_TURN; i++) {
    int fd = accept4(n->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        LOG(LOG_WARN, "net", "accept failed", LSTR("error", strerror(errno)));
      }
      return;
    }
    adopt(n, fd);
  }
}

int net_listen(const char *address, int port, unsigned count, int *fds, int *bound_port, char why[256]) {
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
  int failed = getaddrinfo(address, service, &hints, &found);
  if (failed) {
    snprintf(why, 256, "SERVER_ADDRESS: \"%s\": %s", address, gai_strerror(failed));
    return E_INVALID;
  }
  struct sockaddr_storage at;
  socklen_t at_len = found->ai_addrlen;
  memcpy(&at, found->ai_addr, at_len);
  freeaddrinfo(found);
  for (unsigned i = 0; i < count; i++) {
    int on = 1, off = 0;
    fds[i] = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fds[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at.ss_family == AF_INET6) {
      setsockopt(fds[i], IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    /* The first one binds alone, so that a port somebody else shares out is noticed. */
    if (i > 0) {
      setsockopt(fds[0], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
      setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    }
    if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&at, at_len)) {
      snprintf(why, 256, "SERVER_PORT: cannot listen on %s port %d: %s", address, port, strerror(errno));
      int code = uv_translate_sys_error(errno);
      for (unsigned k = 0; k <= i; k++) {
        close(fds[k]);
      }
      return code;
    }
    if (i == 0) {
      getsockname(fds[0], (struct sockaddr *)&at, &at_len);
    }
  }
  for (unsigned i = 0; i < count; i++) {
    listen(fds[i], 4096);
  }
  *bound_port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                               : ((struct sockaddr_in *)&at)->sin_port);
  return 0;
}

static void lws_line(int level, const char *line) {
  char text[512];
  size_t len = strcspn(line, "\r\n");
  snprintf(text, sizeof text, "%.*s", (int)(len < 500 ? len : 500), line);
  LOG(level == LLL_ERR ? LOG_WARN : LOG_DEBUG, "transport", text);
}

void net_setup_log(void) {
  lws_set_log_level(LLL_ERR, lws_line);
}

/* ---- life of the transport ---- */

static const struct lws_protocols protocols[] = {{.name = "chatbox", .callback = on_event, .rx_buffer_size = 4096},
                                                 {.name = NULL}};
/* Pings are our own: the transport's validity timers are a sorted list, O(n) per connection. */
static const lws_retry_bo_t no_validity = {.secs_since_valid_ping = 0, .secs_since_valid_hangup = 0};

static int open_context(struct net *n, char why[512]) {
  const struct config *c = n->o.config;
  void *loops[1] = {worker_loop(n->worker)};
  const char *cert = config_string(c, SETTING_TLS_CERT_FILE);
  struct lws_context_creation_info info = {
    .port = CONTEXT_PORT_NO_LISTEN_SERVER,
    .protocols = protocols,
    .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
    .foreign_loops = loops,
    .count_threads = 1,
    .gid = (gid_t)-1,
    .uid = (uid_t)-1,
    .pt_serv_buf_size = TX_ROOM,
    .max_http_header_data = HEADER_ROOM,
    .max_http_header_pool = (unsigned short)(config_int(c, SETTING_MAX_HANDSHAKES) < 65535
                                               ? config_int(c, SETTING_MAX_HANDSHAKES)
                                               : 65535),
    .timeout_secs = (unsigned)((config_int(c, SETTING_HANDSHAKE_TIMEOUT) + 999) / 1000),
    .keepalive_timeout = (int)(config_int(c, SETTING_HTTP_IDLE_TIMEOUT) / 1000),
    .retry_and_idle_policy = &no_validity,
    .alpn = "http/1.1",
    .server_string = "chatbox",
  };
  if (*cert) {
    info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    info.ssl_cert_filepath = cert;
    info.ssl_private_key_filepath = config_string(c, SETTING_TLS_KEY_FILE);
  }
  n->context = lws_create_context(&info);
  n->vhost = n->context ? lws_create_vhost(n->context, &info) : NULL;
  if (!n->vhost) {
    snprintf(why, 512, *cert ? "TLS_CERT_FILE, TLS_KEY_FILE: they could not be used" : "the transport did not start");
    return E_INVALID;
  }
  return 0;
}

int net_open(struct worker *w, const struct net_options *o, struct net **out, char why[512]) {
  struct net *n = calloc(1, sizeof *n);
  if (!n) {
    return UV_ENOMEM;
  }
  const struct config *c = o->config;
  n->o = *o;
  n->worker = w;
  n->here = worker_mailbox(w);
  n->fd = o->listen_fd;
  n->peers = (struct link){&n->peers, &n->peers};
  n->prefix = config_string(c, SETTING_PATH_PREFIX);
  n->prefix_len = strlen(n->prefix);
  n->message_limit = (size_t)config_int(c, SETTING_MAX_MESSAGE_SIZE);
  n->body_limit = (size_t)config_int(c, SETTING_MAX_BODY_SIZE);
  n->ping_ms = (uint64_t)config_int(c, SETTING_WS_PING_PERIOD);
  n->pong_ms = (uint64_t)config_int(c, SETTING_WS_PONG_WAIT);
  n->tick_ms = n->ping_ms / 2 < TICK_MS ? n->ping_ms / 2 : TICK_MS;
  int code = open_context(n, why);
  if (code) {
    free(n);
    return code;
  }
  uv_poll_init(worker_loop(w), &n->poll, n->fd);
  n->poll.data = n;
  uv_poll_start(&n->poll, UV_READABLE, on_acceptable);
  n->listening = true;
  n->tick = worker_timer(w, n->tick_ms, tick, n);
  *out = n;
  return 0;
}

void net_set_pages(struct net *n, struct pages *p) {
  pages_unref(n->pages);
  n->pages = p ? pages_ref(p) : NULL;
}

static void on_poll_closed(uv_handle_t *handle) {
  struct net *n = handle->data;
  close(n->fd);
  n->fd = -1;
}

void net_stop_listening(struct net *n) {
  n->closing = true;
  if (n->listening) {
    n->listening = false;
    uv_poll_stop(&n->poll);
    uv_close((uv_handle_t *)&n->poll, on_poll_closed);
  }
}

void net_close_all(struct net *n, const char *reason) {
  for (struct link *l = n->peers.next; l != &n->peers; l = l->next) {
    struct peer *p = (struct peer *)l;
    if (p->conn) {
      conn_close(p->conn, CLOSE_GOING_AWAY, reason, n->here);
    }
  }
}

size_t net_count(const struct net *n) {
  return n->websockets;
}

void net_tell_admins(struct net *n, struct message *m) {
  for (struct link *l = n->peers.next; l != &n->peers; l = l->next) {
    struct peer *p = (struct peer *)l;
    if (p->conn && p->identity->admin) {
      conn_send(p->conn, m, n->here);
    }
  }
}

void net_close(struct net *n) {
  net_stop_listening(n);
  if (n->tick) {
    worker_timer_stop(n->worker, n->tick);
  }
  lws_context_destroy(n->context);
  /* The transport's handles close over several turns of the loop, and the loop has handles of the worker's that stay. */
  for (int i = 0; i < 1000 && (n->fd >= 0 || n->peers.next != &n->peers); i++) {
    uv_run(worker_loop(n->worker), UV_RUN_NOWAIT);
  }
  for (int i = 0; i < 10; i++) {
    uv_run(worker_loop(n->worker), UV_RUN_NOWAIT);
  }
  lws_context_destroy(n->context);
  pages_unref(n->pages);
  free(n);
}
