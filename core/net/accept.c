/* In: connections on the worker's listening socket. Out: peers; or a refusal, answered and counted.
 * Why: the worker accepts by itself and hands the descriptor over, because this build of the transport cannot share a
 * port between contexts. Nobody is kept out by connections that do nothing: at MAX_HANDSHAKES the longest idle one
 * goes. Without descriptors accepting pauses instead of spinning, and goes on by itself. */
#include "net_impl.h"

#include "log.h"
#include "metrics.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_PER_TURN 64
#define RESUME_MS 100         /* until accepting is tried again */
#define FRESH_MS 1000         /* not closed for want of descriptors: its first bytes may just not have been read yet */
#define REFUSALS_SAID_MS 1000 /* between two lines about refusals */
#define REFUSING_MAX 64       /* handshakes of TLS at a time that are made only to say no */

/* ---- at the bound ---- */

/* Ends the connection that has been idle for longest, if that is age_ms. False: there is none. */
static bool evict_idlest(struct net *n, uint64_t age_ms) {
  struct link *l = n->idle.next;
  struct peer *p = (struct peer *)((char *)l - offsetof(struct peer, idle));
  if (l == &n->idle || worker_now_ms(n->worker) - p->idle_ms < age_ms) {
    return false;
  }
  peer_evict(p);
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"idle_connection\"", 1);
  return true;
}

void accept_tell(struct net *n) {
  uint64_t now = worker_now_ms(n->worker);
  if (!n->refused || (n->refusals_said_ms && now - n->refusals_said_ms < REFUSALS_SAID_MS)) {
    return;
  }
  n->refusals_said_ms = now;
  LOG(LOG_WARN, "net", "connections refused: MAX_HANDSHAKES requests are under way, or all that an address may have",
      LINT("refused", n->refused));
  n->refused = 0;
}

static const char refusal[] = "Too many connections, please try again later\n";

/* NULL: no memory. */
static char *refusal_new(const struct net *n, size_t *len) {
  const struct http_response res = {.status = 503,
                                    .type = "text/plain; charset=utf-8",
                                    .body = refusal,
                                    .body_len = sizeof refusal - 1,
                                    .header_count = 1,
                                    .headers = {{"Retry-After", "1"}}};
  const struct http_frame frame = {.close = true, .now_s = net_now_s(n)};
  return http_render(&res, &frame, 0, len);
}

/* At once, and without a place. */
static void refuse_plain(struct net *n, int fd) {
  size_t len;
  char *bytes = refusal_new(n, &len);
  if (bytes) {
    char unread[4096];
    (void)!send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    (void)!recv(fd, unread, sizeof unread, MSG_DONTWAIT); /* what is left unread would become a reset */
    free(bytes);
  }
  close(fd);
}

/* ---- under TLS, where nothing can be said before the handshake: a place of its own, for a short time ---- */

static void refusing_input(struct peer *p, char *bytes, size_t len) {
  (void)bytes;
  char *answer = refusal_new(p->net, &len);
  if (answer) {
    peer_write(p, answer, len);
  }
  free(answer);
  peer_linger(p);
  link_drop(&p->idle); /* it holds nobody's place, so it makes no room */
}

static bool refusing_overdue(const struct peer *p, uint64_t now) {
  return now >= p->deadline_ms;
}

static void refusing_writeable(struct peer *p) {
  (void)p;
}

static const struct role role_refusing = {
  .input = refusing_input, .writeable = refusing_writeable, .overdue = refusing_overdue};

static void adopt_as(struct net *n, int fd, const struct role *role, const char *address);

static void refuse(struct net *n, int fd) {
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"handshake\"", 1);
  n->refused++;
  accept_tell(n);
  if (!n->client_tls) {
    refuse_plain(n, fd);
  } else if (n->refusing < REFUSING_MAX) {
    adopt_as(n, fd, &role_refusing, NULL);
  } else {
    close(fd); /* a flood of handshakes is not answered by as many handshakes */
  }
}

/* ---- coming in ---- */

/* At the bound of its address one of its own goes. False: each of them is being answered. */
static bool make_room(struct net *n, const char *address) {
  struct peer *victim;
  if (!source_full(n, address, &victim)) {
    return true;
  }
  metrics_add_labelled(METRIC_RATELIMIT_BLOCKED, "limiter=\"address_handshake\"", 1);
  if (victim) {
    source_leave(victim); /* whatever its end still waits for, it counts no more */
    peer_evict(victim);
  }
  return victim;
}

/* address: as one of those it counts; NULL: as none. */
static void adopt_as(struct net *n, int fd, const struct role *role, const char *address) {
  struct peer *p = peer_new(n, role);
  if (!p) {
    close(fd);
    return;
  }
  if (role == &role_refusing) {
    peer_refused(p);
  }
  if (address) {
    source_join(p, address);
  }
  struct lws_adopt_desc desc = {
    .vh = n->vhost, .type = LWS_ADOPT_SOCKET | LWS_ADOPT_ALLOW_SSL, .fd = {.sockfd = fd}, .opaque = p};
  n->adopting = p;
  struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&desc);
  bool known = n->adopting != p || p->wsi; /* the transport has told us of it, so it also tells of its end */
  if (wsi && n->adopting == p) {
    p->wsi = wsi;
  } else if (!wsi) { /* fd is closed */
    LOG(LOG_DEBUG, "net", "a connection could not be adopted", LINT("known", known));
    if (!known) {
      peer_free(p);
    }
  }
  n->adopting = NULL;
}

static void adopt(struct net *n, int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  char address[ADDRESS_MAX];
  bool bounded = source_address(n, fd, address);
  if ((bounded && !make_room(n, address)) || (n->others >= n->others_limit && !evict_idlest(n, 0))) {
    refuse(n, fd);
  } else {
    adopt_as(n, fd, &role_http, bounded ? address : NULL);
  }
}

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void resume(void *arg) {
  struct net *n = arg;
  n->resume = NULL;
  uv_poll_start(&n->poll, UV_READABLE, on_acceptable);
}

/* The socket stays readable while connections wait, so polling it would spin. Idle ones make room for those that wait.
 */
static void pause_accepting(struct net *n, int error) {
  if (!n->exhausted) {
    n->exhausted = true;
    LOG(LOG_WARN, "net", "accepting pauses: idle connections are closed, and it goes on when there is room",
        LSTR("error", strerror(error)));
  }
  for (int i = 0; i < ACCEPTS_PER_TURN && evict_idlest(n, FRESH_MS); i++) {
  }
  n->resume = worker_timer(n->worker, RESUME_MS, resume, n);
  if (n->resume) {
    uv_poll_stop(&n->poll);
  }
}

static bool out_of_room(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void on_acceptable(uv_poll_t *poll, int status, int events) {
  struct net *n = poll->data;
  (void)events;
  for (int i = 0; status == 0 && i < ACCEPTS_PER_TURN; i++) {
    int fd = accept4(n->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      adopt(n, fd);
    } else if (out_of_room(errno)) {
      pause_accepting(n, errno);
      return;
    } else if (errno == EAGAIN) {
      if (n->exhausted) { /* nobody waits any more */
        n->exhausted = false;
        LOG(LOG_INFO, "net", "accepting goes on");
      }
      return;
    } /* else that one connection is gone already: the next */
  }
}

void accept_start(struct net *n) {
  uv_poll_init(worker_loop(n->worker), &n->poll, n->fd);
  n->poll.data = n;
  uv_poll_start(&n->poll, UV_READABLE, on_acceptable);
  n->listening = true;
}

static void on_poll_closed(uv_handle_t *handle) {
  struct net *n = handle->data;
  close(n->fd);
  n->fd = -1;
}

void accept_stop(struct net *n) {
  n->closing = true;
  if (!n->listening) {
    return;
  }
  n->listening = false;
  if (n->resume) {
    worker_timer_stop(n->worker, n->resume);
    n->resume = NULL;
  }
  uv_poll_stop(&n->poll);
  uv_close((uv_handle_t *)&n->poll, on_poll_closed);
}
