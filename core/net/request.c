/* In: bytes of a connection that speaks HTTP. Out: requests, one after the other, each when the one before is answered.
 * Why: whatever leaves the end of a request in doubt is answered and nothing behind it is ever read as a request; what
 * was sent early waits its turn. Bounds: HEAD_BYTES_MAX, MAX_BODY_SIZE, BODY_BYTES_PER_ADDRESS, and one read of
 * what waits. */
#include "net_impl.h"

#include "err.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

#define BODY_AGAIN_MS 1000 /* Retry-After when an address sends too much at once */

struct held {
  size_t len;
  char bytes[];
};

/* Adds to what waits. False when memory is out. */
static bool hold(struct peer *p, const char *bytes, size_t len) {
  size_t had = p->held ? p->held->len : 0;
  struct held *grown = realloc(p->held, sizeof *grown + had + len);
  if (!grown) {
    return false;
  }
  memcpy(grown->bytes + had, bytes, len);
  grown->len = had + len;
  p->held = grown;
  return true;
}

/* ---- the head ---- */

/* A field that is a list may come in several lines (RFC 9110, section 5.3). A new string; NULL when there is none. */
static char *join_values(const struct head *h, const char *name) {
  char *joined = NULL;
  size_t len = 0;
  for (size_t i = 0; i < h->count; i++) {
    if (strcmp(h->fields[i].name, name) != 0) {
      continue;
    }
    size_t more = strlen(h->fields[i].value);
    char *grown = realloc(joined, len + more + 3);
    if (!grown) {
      break;
    }
    joined = grown;
    len += (size_t)sprintf(joined + len, "%s%s", len ? ", " : "", h->fields[i].value);
  }
  return joined;
}

static void find_client(struct exchange *x, const struct head *h) {
  char peer[ADDRESS_MAX] = "";
  lws_get_peer_simple(x->peer->wsi, peer, sizeof peer);
  char *forwarded = join_values(h, "x-forwarded-for"), *standard = join_values(h, "forwarded");
  struct gate_route route = {peer, forwarded, head_value(h, "x-real-ip"), standard};
  x->req.relayed = !gate_client(x->net->o.gate, &route, x->address);
  x->req.address = x->address;
  free(forwarded);
  free(standard);
}

/* What scripts see of a head. */
static void fill_request(struct exchange *x, struct head *h) {
  static const char *const shown[] = {"origin", "content-type", "user-agent", "if-none-match", "x-request-id"};
  struct http_request *r = &x->req;
  r->method = h->method;
  r->path = h->path;
  for (char *part; r->query_count < HTTP_QUERY_MAX && (part = head_query_next(&h->query));) {
    r->query[r->query_count++] = part;
  }
  if (h->host) {
    r->headers[r->header_count++] = (struct http_header){"host", h->host};
  }
  for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
    const char *value = head_value(h, shown[i]);
    if (value) {
      r->headers[r->header_count++] = (struct http_header){shown[i], value};
    }
  }
}

static const char *query_value(const struct http_request *r, const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; i < r->query_count; i++) {
    if (strncmp(r->query[i], name, len) == 0 && r->query[i][len] == '=') {
      return r->query[i] + len + 1;
    }
  }
  return NULL;
}

static struct gate_request gate_view(const struct exchange *x, const struct head *h) {
  return (struct gate_request){.method = h->method,
                               .host = h->host,
                               .origin = head_value(h, "origin"),
                               .authorization = head_value(h, "authorization"),
                               .token = query_value(&x->req, "token"),
                               .upgrade = h->websocket ? "websocket" : NULL,
                               .connection = h->upgrade ? "upgrade" : NULL,
                               .version = head_value(h, "sec-websocket-version"),
                               .key = head_value(h, "sec-websocket-key")};
}

/* ---- the beginning of a request ---- */

static void say_continue(struct peer *p) {
  static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
  if (!peer_blocked(p)) {
    peer_write(p, line, sizeof line - 1);
  }
}

/* Over the rate of arriving: 0, or ms. Counted are connections, by what they ask first, and each WebSocket handshake,
 * because a token costs more to look at than a request. Whoever looks after the server is never refused. */
static uint64_t arriving(struct exchange *x, const char *below, bool socket) {
  struct peer *p = x->peer;
  struct net *n = x->net;
  if ((p->counted && !socket) || (below && (strcmp(below, "/healthz") == 0 || strcmp(below, "/readyz") == 0))) {
    return 0;
  }
  uint64_t wait_ms = n->o.hooks->arriving(n->o.ctx, x->address, NULL);
  p->counted = wait_ms == 0;
  return wait_ms;
}

/* more: bytes have come behind the head already. */
static void begin(struct exchange *x, const struct head *h, bool more) {
  struct net *n = x->net;
  struct gate_request r = gate_view(x, h);
  const char *cors;
  bool too_big = body_init(&x->framing, h->chunked, h->length, n->body_limit) != 0;
  int refused = gate_cors(n->o.gate, &r, &cors);
  x->frame.cors_origin = cors ? strdup(cors) : NULL;
  const char *below = net_below_prefix(n, x->req.path);
  bool socket = below && strcmp(below, "/ws") == 0 && (strcmp(h->method, "GET") == 0 || x->frame.head);
  uint64_t wait_ms = arriving(x, below, socket);
  if (wait_ms) {
    answer_too_many(x, wait_ms);
    return;
  }
  x->req.auth = gate_identify(n->o.gate, r.authorization, net_now_s(n), &x->req.identity);
  if (refused == 204) {
    answer_preflight(x);
  } else if (refused) {
    answer_status(x, refused, "");
  } else if (too_big) {
    answer_status(x, 413, NULL);
  } else if (socket && !body_complete(&x->framing)) {
    answer_status(x, 400, NULL); /* what follows would be frames to one reader and a body to another */
  } else if (socket) {
    handshake(x, &r, query_value(&x->req, "session_id"));
  } else if (body_complete(&x->framing)) {
    answer_request(x);
  } else if (h->expects && !more) {
    say_continue(x->peer);
  }
}

/* A request whose end is in doubt: answered, and nothing behind it is read. */
static void refuse(struct exchange *x, int status) {
  x->keep = false;
  x->dispatched = true;
  answer_status(x, status, NULL);
}

static void request_done(struct peer *p, bool keep);

static struct exchange *exchange_new(struct peer *p, const char *head, size_t len) {
  struct exchange *x = calloc(1, sizeof *x + len + 1);
  if (x) {
    memcpy(x->head, head, len);
    x->peer = p;
    x->net = p->net;
    x->answered = request_done;
    x->req.started_ns = worker_now_ns(p->net->worker);
    x->req.method = "";
    x->req.path = "/";
    p->exchange = x;
  } else {
    peer_cut(p);
  }
  return x;
}

/* Bytes taken; 0: the head is not complete. */
static size_t take_head(struct peer *p, char *bytes, size_t len) {
  size_t end = 0;
  int status = head_find(&p->search, bytes, len, &end);
  if (status == 0) {
    return 0;
  }
  p->search = (struct head_search){0};
  struct exchange *x = exchange_new(p, bytes, status == 200 ? end : 0);
  if (!x) {
    return len;
  }
  struct head h;
  if (status == 200) {
    status = head_parse(&h, x->head, end);
    x->frame.head = strcmp(h.method, "HEAD") == 0;
    x->req.method = h.method;
    status = status ? status : 200;
  }
  if (status != 200) {
    refuse(x, status);
    return len;
  }
  x->keep = h.keep;
  x->frame.keep_alive = h.http10;
  fill_request(x, &h);
  find_client(x, &h);
  begin(x, &h, end < len);
  return end;
}

/* ---- its body ---- */

/* At the bound of its address the oldest body of that address goes that is not complete: who sends one and means it is
 * not kept out by those who never finish theirs. False: there is none, or memory is out. */
static bool hold_room(struct exchange *x, size_t room) {
  struct bodies *b = &x->net->bodies;
  char address[ADDRESS_MAX];
  if (!source_group(x->net, x->address, address)) {
    return true;
  }
  int code;
  while ((code = bodies_hold(b, &x->share, address, room)) == E_FULL) {
    struct body_share *oldest = bodies_oldest(b, &x->share, address);
    metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"address_body\"", 1);
    if (!oldest) {
      break;
    }
    answer_too_many((struct exchange *)((char *)oldest - offsetof(struct exchange, share)), BODY_AGAIN_MS);
  }
  return code == 0;
}

/* 0, or the status that refuses it. */
static int add_body(struct exchange *x, const char *bytes, size_t len) {
  if (x->body_len + len + 1 > x->body_room) {
    size_t room = (x->body_len + len + 1) * 2;
    if (!hold_room(x, room)) {
      return 429;
    }
    char *body = realloc(x->body, room);
    if (!body) {
      return 503;
    }
    x->body = body;
    x->body_room = room;
  }
  memcpy(x->body + x->body_len, bytes, len);
  x->body_len += len;
  x->body[x->body_len] = 0;
  return 0;
}

static size_t take_body(struct peer *p, const char *bytes, size_t len) {
  struct exchange *x = p->exchange;
  size_t left = len;
  while (left && !body_complete(&x->framing)) {
    const char *piece;
    size_t piece_len;
    int status = body_next(&x->framing, &bytes, &left, &piece, &piece_len);
    status = status == 0 && piece_len ? add_body(x, piece, piece_len) : status;
    if (status == 429) {
      answer_too_many(x, BODY_AGAIN_MS);
      return len;
    }
    if (status) {
      refuse(x, status);
      return len;
    }
  }
  if (body_complete(&x->framing)) {
    answer_request(x);
  }
  return len - left;
}

/* ---- one after the other ---- */

/* Whether there is something to do with the next byte. */
static bool may_go_on(const struct peer *p) {
  return p->role == &role_http && !p->doomed && !p->rests_until_ms && !(p->exchange && p->exchange->dispatched);
}

/* Bytes taken. */
static size_t consume(struct peer *p, char *bytes, size_t len) {
  size_t at = 0, n = 1;
  while (n && at < len && may_go_on(p) && !peer_blocked(p)) {
    n = p->exchange ? take_body(p, bytes + at, len - at) : take_head(p, bytes + at, len - at);
    at += n;
  }
  return at;
}

/* Takes what waits, or these bytes when nothing waits; what is left waits (again). */
static void run(struct peer *p, char *bytes, size_t len) {
  struct held *held = p->held;
  p->held = NULL;
  if (held) {
    bytes = held->bytes;
    len = held->len;
  }
  p->running = true;
  size_t used = consume(p, bytes, len);
  p->running = false;
  if (p->role != &role_http) {
    if (used < len && !p->doomed) {
      p->role->input(p, bytes + used, len - used);
    }
  } else if (used < len && held && used == 0) {
    p->held = held;
    held = NULL;
  } else if (used < len && !hold(p, bytes + used, len - used)) {
    peer_cut(p);
  }
  free(held);
  if (p->role == &role_http && !p->doomed) {
    if (p->held && used) { /* the next request has begun */
      p->deadline_ms = worker_due_ms(p->net->worker, p->net->handshake_ms);
    }
    /* While an answer is worked on not even the end is read: who closes its half behind a request wants the answer. */
    peer_pause(p, !may_go_on(p) || (p->held && peer_blocked(p)));
  }
}

/* Nothing is under way, nothing waits: it may go when somebody else needs its place. */
static void rest(struct peer *p) {
  if (p->role == &role_http && !p->exchange && !p->held && !peer_blocked(p) && p->idle.next == &p->idle) {
    p->idle_ms = worker_now_ms(p->net->worker);
    link_put(&p->net->idle, &p->idle);
  }
}

static void on_input(struct peer *p, char *bytes, size_t len) {
  if (p->idle.next != &p->idle) { /* a request begins: it has to be there in time */
    link_drop(&p->idle);
    p->spoken = true;
    p->deadline_ms = worker_due_ms(p->net->worker, p->net->handshake_ms);
  }
  if (p->held && !hold(p, bytes, len)) {
    peer_cut(p);
    return;
  }
  run(p, bytes, len);
  rest(p);
}

/* Nothing is under way: what waits is next. */
static void go_on(struct peer *p) {
  if (!peer_blocked(p)) {
    run(p, NULL, 0);
    rest(p);
  }
}

static void request_done(struct peer *p, bool keep) {
  struct net *n = p->net;
  if (!keep) {
    free(p->held);
    p->held = NULL;
    peer_linger(p);
    return;
  }
  p->deadline_ms = worker_due_ms(n->worker, p->held ? n->handshake_ms : n->idle_ms);
  if (!p->running) {
    go_on(p);
  }
}

static void on_writeable(struct peer *p) {
  if (may_go_on(p)) {
    go_on(p);
  }
}

static void on_tick(struct peer *p, uint64_t now) {
  if (p->rests_until_ms && now >= p->rests_until_ms) {
    p->rests_until_ms = 0;
    go_on(p);
  }
}

static bool is_overdue(const struct peer *p, uint64_t now) {
  bool answering = p->exchange && p->exchange->dispatched;
  return !answering && now >= p->deadline_ms;
}

static void on_gone(struct peer *p) {
  struct exchange *x = p->exchange;
  free(p->held);
  p->held = NULL;
  p->exchange = NULL;
  if (x && x->dispatched) {
    x->peer = NULL; /* a script has it and will answer */
  } else if (x) {
    exchange_free(x);
  }
}

const struct role role_http = {
  .input = on_input, .writeable = on_writeable, .overdue = is_overdue, .tick = on_tick, .gone = on_gone};
