/* In: nothing. Out: the inside of the transport, for the files of this room only, which are the only files that know
 * libwebsockets. Why: listening and life (net.c), WebSockets (net_ws.c), HTTP (net_http.c), and the handshake between
 * the two (net_handshake.c) are one thing in four readable pieces. */
#pragma once
#ifndef ROOM_NET
#error "net_impl.h is private to core/net"
#endif

#include "frame.h"
#include "net.h"

#include <libwebsockets.h>
#include <uv.h>

#define TX_ROOM 65536       /* bytes gathered for one write */
#define RX_ROOM 2048        /* bytes of one read; each idle connection holds so many */
#define CLOSE_GRACE_MS 5000 /* a client that does not read its close frame is cut after so long */

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
  uint64_t deadline_ms; /* while it is no WebSocket: its request has to be there by then */
  bool ping, upgraded, close_sent, doomed;
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
  SSL_CTX *client_tls; /* NULL without TLS */
  uv_poll_t poll;
  bool listening, closing;
  int fd;
  struct link peers;
  struct peer *dirty, *dirty_last; /* to be flushed, the first that had something first */
  size_t websockets, others;
  struct timer *tick;
  struct pages *pages;
  const char *prefix;
  size_t prefix_len;
  size_t message_limit, body_limit;
  uint64_t ping_ms, pong_ms, tick_ms, handshake_ms, idle_ms;
  unsigned char tx[LWS_PRE + TX_ROOM];
};

/* ---- net.c ---- */

/* Ends a connection without another word, at the next tick: the transport must not be on the stack. */
void peer_cut(struct peer *p);

/* ---- net_ws.c ---- */

/* 0, or -1 for the transport to hang up; so are all that begin with on_. */
int on_established(struct peer *p);
int on_receive(struct peer *p, const char *bytes, size_t len);
void on_ws_closed(struct peer *p);
void flush_peer(struct peer *p);
/* Pings who has been silent, cuts who has been for too long. */
void net_tick(void *net);

/* ---- net_http.c ---- */

int on_http(struct peer *p);
int on_http_body(struct peer *p, const char *bytes, size_t len);
int on_http_body_end(struct peer *p);
int on_http_writeable(struct peer *p);
/* The client has hung up. */
void exchange_abandon(struct exchange *x);

/* ---- net_handshake.c ---- */

/* 0: upgrade; 1: answered, the connection may ask again; -1: hang up. */
int on_upgrade(struct peer *p);
/* Values of headers and of the query in new strings; NULL when absent or when memory is out. */
char *net_header(struct lws *wsi, enum lws_token_indexes token);
char *net_custom_header(struct lws *wsi, const char *name);
char *net_query_part(struct lws *wsi, int i);
const char *net_method(struct lws *wsi);
char *net_path(struct lws *wsi);
/* What of a path is below the prefix ("" when it is the prefix itself); NULL when it is outside. */
const char *net_below_prefix(const struct net *n, const char *path);

/* The headers the gate looks at; freed with gate_headers_free. */
struct gate_headers {
  struct gate_request r;
  char *values[8];
};
void gate_headers(struct lws *wsi, struct gate_headers *h);
void gate_headers_free(struct gate_headers *h);
int64_t net_now_s(const struct net *n);
