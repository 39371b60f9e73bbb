/* In: what the transport says about one connection. Out: bytes, half-closes, ends. Why: see net_impl.h. A connection's
 * life, by role and, for HTTP, by what is under way:
 *
 *   accepted --> HTTP idle --first byte--> head --complete--> body --complete--> answering --written, kept--> HTTP idle
 *                 |  ^ no request under     |                  |                   |
 *                 |  | way: may be evicted  +------ doubtful, or not kept ---------+--> LINGERING
 *                 |                         `-- GET .../ws, admitted --> WEBSOCKET --close both ways--> LINGERING
 *                 |                                                      |  `- close frame sent, CLOSE_GRACE_MS
 *                 v HTTP_IDLE_TIMEOUT (idle), HANDSHAKE_TIMEOUT (head,   v WS_PONG_WAIT                 v LINGER_MS
 *               GONE <------- body), hung up, evicted ------------------ GONE ---------------------- GONE
 *
 * While a script answers, and while the kernel takes no more of an answer, nothing further is read: `held` is bounded.
 */
#include "net_impl.h"

#include "log.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>

#define KILL_AGAIN_MS 500
#define REFUSED_MS 5000 /* for a handshake and a request that get no for an answer */

struct peer *peer_new(struct net *n, const struct role *role) {
  struct peer *p = calloc(1, sizeof *p);
  if (!p) {
    return NULL;
  }
  p->net = n;
  p->role = role;
  p->idle_ms = worker_now_ms(n->worker);
  p->deadline_ms = worker_due_ms(n->worker, n->handshake_ms);
  p->mates = (struct link){&p->mates, &p->mates};
  link_put(&n->peers, &p->all);
  link_put(&n->idle, &p->idle);
  n->others++;
  return p;
}

void peer_refused(struct peer *p) {
  struct net *n = p->net;
  p->refused = true;
  p->deadline_ms = worker_due_ms(n->worker, REFUSED_MS);
  link_drop(&p->idle);
  n->others--;
  n->refusing++;
}

void peer_free(struct peer *p) {
  struct net *n = p->net;
  if (p->role->gone) {
    p->role->gone(p);
  }
  n->freed++;
  source_leave(p);
  link_drop(&p->all);
  link_drop(&p->idle);
  if (p->refused) {
    n->refusing--;
  } else if (!p->evicted) {
    n->others--;
  }
  free(p);
}

void peer_cut(struct peer *p) {
  p->doomed = true;
}

void peer_kill(struct peer *p) {
  uint64_t now = worker_now_ms(p->net->worker);
  p->doomed = true;
  link_drop(&p->idle);
  if (p->wsi && now - p->killed_ms >= KILL_AGAIN_MS) { /* it may wait for the other side to hang up, too */
    p->killed_ms = now;
    lws_set_timeout(p->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_SYNC);
  }
}

/* The first time the transport half-closes and waits for the other side, the second time it lets go; it tells us in the
 * next turn of the loop, and the place is free before. */
void peer_evict(struct peer *p) {
  struct net *n = p->net;
  size_t freed = n->freed;
  n->others -= !p->evicted;
  p->evicted = true;
  for (int i = 0; i < 2 && n->freed == freed; i++) {
    p->killed_ms = 0;
    peer_kill(p);
  }
}

bool peer_blocked(struct peer *p) {
  return lws_partial_buffered(p->wsi);
}

bool peer_write(struct peer *p, const void *bytes, size_t len) {
  if (p->doomed) {
    return false;
  }
  /* The transport changes nothing of what it is given, for it has no header of its own to add. */
  unsigned char *out = (unsigned char *)bytes;
  if (len && lws_write(p->wsi, out, len, LWS_WRITE_RAW) < (int)len) {
    peer_cut(p);
    return false;
  }
  if (peer_blocked(p)) {
    lws_callback_on_writable(p->wsi);
  }
  return true;
}

void peer_pause(struct peer *p, bool pause) {
  if (p->paused != pause && p->wsi && !p->doomed) {
    p->paused = pause;
    lws_rx_flow_control(p->wsi, !pause);
  }
}

int64_t net_now_s(const struct net *n) {
  return (int64_t)(worker_wall_ms(n->worker) / 1000);
}

/* ---- lingering ---- */

static void half_close(struct peer *p) {
  SSL *tls = lws_get_ssl(p->wsi);
  if (tls) {
    SSL_shutdown(tls);
  }
  shutdown(lws_get_socket_fd(p->wsi), SHUT_WR);
  p->half_closed = true;
  p->deadline_ms = worker_due_ms(p->net->worker, LINGER_MS);
}

static void linger_input(struct peer *p, char *bytes, size_t len) {
  (void)bytes;
  p->dropped += len;
  if (p->dropped > LINGER_MAX) {
    peer_cut(p);
  }
}

static void linger_writeable(struct peer *p) {
  if (!p->half_closed) {
    half_close(p);
  }
}

static bool linger_overdue(const struct peer *p, uint64_t now) {
  return now >= p->deadline_ms;
}

static const struct role role_lingering = {
  .input = linger_input, .writeable = linger_writeable, .overdue = linger_overdue};

void peer_linger(struct peer *p) {
  link_drop(&p->idle);
  link_put(p->net->idle.next, &p->idle); /* before all others: when there is no room, it is the first to go */
  p->role = &role_lingering;
  p->deadline_ms = worker_due_ms(p->net->worker, p->net->idle_ms); /* to read what is buffered */
  p->idle_ms = 0;
  peer_pause(p, false);
  if (!p->doomed && !peer_blocked(p)) {
    half_close(p);
  }
}
