/* In: nothing. Out: the inside of the transport, for the files of this room only, which are the only files that know
 * libwebsockets. Why: it keeps the sockets and TLS, and adopts connections raw: heads, bodies and frames are ours
 * (head.c, body.c, decoder.c), because its own parser leaves the end of a request in doubt. Read from below: link.c,
 * bodies.c, source.c, peer.c (one connection: writing, closing), websocket.c, answer.c, handshake.c, request.c (HTTP),
 * accept.c, net.c. Each knows only those before it; peer.c reaches upwards through the role a connection has. */
#pragma once
#ifndef ROOM_NET
#error "net_impl.h is private to core/net"
#endif

#include "bodies.h"
#include "body.h"
#include "decoder.h"
#include "head.h"
#include "link.h"
#include "net.h"

#include <libwebsockets.h>
#include <uthash.h>
#include <uv.h>

#define TX_ROOM 65536       /* bytes gathered for one write */
#define RX_ROOM 16384       /* bytes of one read, shared by all connections; a whole record of TLS */
#define CLOSE_GRACE_MS 5000 /* a client that does not answer its close frame is cut after so long */
#define LINGER_MS 2000      /* the last answer may be read for so long */
#define LINGER_MAX 16777216 /* bytes dropped meanwhile */

struct peer;
/* What a connection is at present: who is asked about it. */
struct role {
  void (*input)(struct peer *p, char *bytes, size_t len); /* all of it is taken, or the peer is cut */
  void (*writeable)(struct peer *p);                      /* nothing is buffered any more */
  bool (*overdue)(const struct peer *p, uint64_t now);    /* it has had its time */
  void (*tick)(struct peer *p, uint64_t now);
  void (*gone)(struct peer *p); /* hung up: gives back what is the role's */
};

struct held;   /* request.c */
struct source; /* source.c */

struct peer {
  struct link all, mates,
    idle; /* mates: of source; idle: in net->idle while it may be evicted, the first to go first; else empty */
  struct source *source; /* NULL: its address has no bound */
  struct net *net;
  struct lws *wsi;
  const struct role *role;
  uint64_t deadline_ms, idle_ms, killed_ms; /* idle_ms: since when it may be evicted */
  bool doomed, half_closed;
  bool refused; /* not one of net->others, but of net->refusing */
  bool evicted; /* no more one of net->others */
  bool spoken;  /* its first request has begun */

  /* HTTP */
  struct exchange *exchange; /* the request under way */
  struct held *held;         /* bytes that wait: half a head, or what was sent before the answer was there */
  struct head_search search;
  bool running, paused;
  bool counted;      /* as one that has arrived */
  uint32_t refusals; /* answers 429, one after the other */

  /* WebSocket */
  struct conn *conn;
  struct identity *identity; /* holds a slot of the gate */
  struct peer *next_dirty;
  struct decoder decoder;
  size_t pieces; /* bytes its user's account holds for a message that is not whole */
  uint64_t heard_ms, pinged_ms, closing_ms;
  uint64_t asked_ms;       /* when it was pinged first since it was heard; 0: not since */
  uint64_t rests_until_ms; /* nothing is read until then, because it sent more than its share; 0: it is */
  bool ping, close_sent, deaf;

  size_t dropped; /* lingering */
};

/* One HTTP request, from its head to its answer. It outlives the peer when a script answers after the hang-up. */
struct exchange {
  struct http_request req;                     /* first: http_respond gets its address */
  struct peer *peer;                           /* NULL: hung up */
  void (*answered)(struct peer *p, bool keep); /* the answer is written: what waits is next; x is freed by then */
  struct net *net;
  struct http_frame frame;
  struct body framing;
  bool dispatched; /* answered from memory or given to the scripts, which answer */
  bool keep;       /* the client would ask again */
  char *body;
  size_t body_len, body_room;
  struct body_share share; /* its room, in n->bodies */
  char address[ADDRESS_MAX];
  char head[]; /* where the strings are */
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
  bool exhausted; /* no descriptors: accepting pauses */
  int fd;
  struct timer *resume;
  uint64_t refused, refusals_said_ms;
  struct link peers, idle;
  struct peer *adopting;
  struct peer *dirty, *dirty_last;            /* to be flushed, the first that had something first */
  size_t websockets, others, refusing, freed; /* freed: of all that ever were */
  struct source *sources;                     /* of the others */
  struct bodies bodies;
  struct timer *tick;
  uint64_t tick_due_ms;
  bool tick_late; /* the one before came late, and judged nobody */
  struct pages *pages;
  const char *prefix;
  size_t prefix_len;
  const char *ancestors; /* FRAME_ANCESTORS */
  size_t message_limit, body_limit, others_limit, source_limit;
  uint64_t ping_ms, pong_ms, tick_ms, handshake_ms, idle_ms;
  unsigned char tx[TX_ROOM];
};

/* ---- source.c: connections that are no WebSockets, by address ---- */

/* As whom an address counts; false: it has no bound. */
bool source_group(const struct net *n, const char *address, char out[ADDRESS_MAX]);
/* The same of what is at the other end of a socket. */
bool source_address(const struct net *n, int fd, char out[ADDRESS_MAX]);
/* Whether that address is at its bound; then *victim is who has to go, or NULL: each of them is being answered. */
bool source_full(struct net *n, const char *address, struct peer **victim);
void source_join(struct peer *p, const char *address);
void source_leave(struct peer *p); /* one that is in none is left alone */

/* ---- peer.c ---- */

struct peer *peer_new(struct net *n, const struct role *role);
void peer_free(struct peer *p);
/* It is only here to be told that there is no room. */
void peer_refused(struct peer *p);
/* Ends a connection without another word, at the next tick: the transport must not be on the stack. */
void peer_cut(struct peer *p);
/* Now, but for the transport's own steps, which end with WSI_DESTROY; only where no call-back of the transport for this
 * peer is on the stack. */
void peer_kill(struct peer *p);
/* The same, and does not wait for the other side: somebody else needs its place. */
void peer_evict(struct peer *p);
/* What the kernel does not take is kept by the transport, so only when !peer_blocked. False: broken and cut. */
bool peer_write(struct peer *p, const void *bytes, size_t len);
bool peer_blocked(struct peer *p); /* something is kept; role->writeable tells when it is gone */
void peer_pause(struct peer *p, bool pause);
/* All is said: what is buffered goes out, then the sending half is closed; what still comes is dropped until the client
 * hangs up, so that it can read the last answer. Bounds: LINGER_MS, LINGER_MAX. */
void peer_linger(struct peer *p);
int64_t net_now_s(const struct net *n);

/* ---- websocket.c ---- */

/* Takes over from HTTP, with the bytes of the answer. 0: the identity and its slot of the gate are taken. UV_ENOMEM:
 * nothing is. */
struct websocket_offer {
  struct identity *who;
  const char *address, *wanted; /* the client's; the session id asked for, or NULL */
  const char *answer;
  size_t answer_len;
};
int websocket_open(struct peer *p, const struct websocket_offer *offer) NODISCARD;

/* ---- answer.c ---- */

/* Answers a request that is complete from memory, or gives it to the scripts. */
void answer_request(struct exchange *x);
/* endpoint: as in struct http_response. */
void answer_count(const struct exchange *x, const char *endpoint);
/* The same for a request nothing more than its status is said about. body NULL: the reason as JSON. */
void answer_status(struct exchange *x, int status, const char *body);
/* 429: not before so many ms. The connection closes. */
void answer_too_many(struct exchange *x, uint64_t wait_ms);
void answer_preflight(struct exchange *x);
void exchange_free(struct exchange *x);
/* What of a path is below the prefix ("" when it is the prefix itself); NULL when it is outside. */
const char *net_below_prefix(const struct net *n, const char *path);

/* ---- handshake.c ---- */

/* A GET of the socket's path: upgrades, or answers with the refusal. */
void handshake(struct exchange *x, const struct gate_request *r, const char *wanted);

/* ---- request.c ---- */

extern const struct role role_http;

/* ---- accept.c ---- */

void accept_start(struct net *n);
void accept_stop(struct net *n);
/* Says in the log how many were refused, once a second at most; call it now and then, for the last of them. */
void accept_tell(struct net *n);
