/* In: settings; events of the transport. Out: the transport, from its opening to its end; each event to the peer it is
 * about. Why: see net.h. */
#include "net_impl.h"

#include "err.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

#define UNREAD_MS 500 /* from when a connection is accepted until its request has surely been read */
#define TICK_MS 1000
#define TRANSPORT_TIMEOUT_S 3600 /* its own are coarse; ours (on_tick) come first */

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
  struct peer *p = lws_get_opaque_user_data(wsi);
  if (reason == LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS) {
    struct net *n = lws_context_user(lws_get_context(wsi));
    tls_attach(n->o.tls, user); /* the context of this worker's handshakes */
    return 0;
  }
  if (!p) {
    return 0;
  }
  p->wsi = wsi;
  switch (reason) {
  case LWS_CALLBACK_RAW_ADOPT:
    lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0); /* ours (on_tick) are no sorted list */
    return 0;
  case LWS_CALLBACK_RAW_RX:
    p->role->input(p, in, len);
    return p->doomed ? -1 : 0;
  case LWS_CALLBACK_RAW_WRITEABLE:
    if (peer_blocked(p)) {
      lws_callback_on_writable(wsi);
    } else {
      p->role->writeable(p);
    }
    return p->doomed ? -1 : 0;
  case LWS_CALLBACK_WSI_DESTROY:
    lws_set_opaque_user_data(wsi, NULL);
    if (p->net->adopting == p) {
      p->net->adopting = NULL;
    }
    peer_free(p);
    return 0;
  default:
    return 0;
  }
}

static void on_tick(void *arg);

static void schedule_tick(struct net *n) {
  n->tick_due_ms = worker_due_ms(n->worker, n->tick_ms);
  n->tick = worker_timer(n->worker, n->tick_ms, on_tick, n);
}

/* Pings who has been silent, ends who has been for too long. When the loop could not run, because the machine slept or
 * a script worked, what was sent meanwhile has not been read yet: then the next tick judges. */
static void on_tick(void *arg) {
  struct net *n = arg;
  uint64_t now = worker_now_ms(n->worker);
  n->tick_late = !n->tick_late && now > n->tick_due_ms + n->tick_ms;
  schedule_tick(n);
  accept_tell(n);
  for (struct link *l = n->peers.next, *next; l != &n->peers; l = next) {
    struct peer *p = (struct peer *)l;
    next = l->next;
    if (p->doomed || (!n->tick_late && p->role->overdue(p, now))) {
      peer_kill(p);
    } else if (p->role->tick) {
      p->role->tick(p, now);
    }
  }
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

static const struct lws_protocols protocols[] = {
  {.name = "chatbox", .callback = on_event, .rx_buffer_size = 0, .tx_packet_size = TX_ROOM}, {.name = NULL}};
/* Pings are our own: the transport's validity timers are a sorted list, O(n) per connection. */
static const lws_retry_bo_t no_validity = {.secs_since_valid_ping = 0, .secs_since_valid_hangup = 0};

/* The transport's handles close over several turns of the loop, and the loop has handles of the worker's that stay. */
static void close_context(struct net *n) {
  lws_context_destroy(n->context);
  for (int i = 0; i < 1000 && ((n->closing && n->fd >= 0) || n->peers.next != &n->peers); i++) {
    uv_run(worker_loop(n->worker), UV_RUN_NOWAIT);
  }
  for (int i = 0; i < 10; i++) {
    uv_run(worker_loop(n->worker), UV_RUN_NOWAIT);
  }
  lws_context_destroy(n->context);
  SSL_CTX_free(n->client_tls);
}

static int open_context(struct net *n, char why[512]) {
  void *loops[1] = {worker_loop(n->worker)};
  struct lws_context_creation_info info = {
    .port = CONTEXT_PORT_NO_LISTEN_SERVER,
    .protocols = protocols,
    .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
    .foreign_loops = loops,
    .count_threads = 1,
    .gid = (gid_t)-1,
    .uid = (uid_t)-1,
    .pt_serv_buf_size = RX_ROOM,
    .timeout_secs = TRANSPORT_TIMEOUT_S,
    .keepalive_timeout = TRANSPORT_TIMEOUT_S,
    .retry_and_idle_policy = &no_validity,
    .alpn = "http/1.1",
    .user = n,
  };
  if (n->o.tls) {
    info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
    /* The transport would make one itself, for a client that nobody is: 700 KiB of certificate authorities per worker,
     * and of several workers' only one is ever freed. */
    info.provided_client_ssl_ctx = n->client_tls = SSL_CTX_new(TLS_client_method());
  }
  n->context = lws_create_context(&info);
  n->vhost = n->context ? lws_create_vhost(n->context, &info) : NULL;
  if (!n->vhost) {
    snprintf(why, 512, "the transport did not start");
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
  n->idle = (struct link){&n->idle, &n->idle};
  n->prefix = config_string(c, SETTING_PATH_PREFIX);
  n->prefix_len = strlen(n->prefix);
  n->ancestors = config_string(c, SETTING_FRAME_ANCESTORS);
  n->message_limit = (size_t)config_int(c, SETTING_MAX_MESSAGE_SIZE);
  n->others_limit = (size_t)config_int(c, SETTING_MAX_HANDSHAKES);
  n->source_limit = (size_t)config_int(c, SETTING_MAX_HANDSHAKES_PER_ADDRESS);
  n->body_limit = (size_t)config_int(c, SETTING_MAX_BODY_SIZE);
  n->bodies.limit = (size_t)config_int(c, SETTING_BODY_BYTES_PER_ADDRESS);
  n->ping_ms = (uint64_t)config_int(c, SETTING_WS_PING_PERIOD);
  n->pong_ms = (uint64_t)config_int(c, SETTING_WS_PONG_WAIT);
  n->handshake_ms = (uint64_t)config_int(c, SETTING_HANDSHAKE_TIMEOUT);
  n->idle_ms = (uint64_t)config_int(c, SETTING_HTTP_IDLE_TIMEOUT);
  uint64_t shortest = n->ping_ms < n->handshake_ms ? n->ping_ms : n->handshake_ms;
  n->tick_ms = shortest / 2 < TICK_MS ? shortest / 2 : TICK_MS;
  int code = open_context(n, why);
  if (code) {
    close_context(n);
    free(n);
    return code;
  }
  accept_start(n);
  schedule_tick(n);
  *out = n;
  return 0;
}

void net_set_pages(struct net *n, struct pages *p) {
  pages_unref(n->pages);
  n->pages = p ? pages_ref(p) : NULL;
}

void net_stop_listening(struct net *n) {
  accept_stop(n);
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

size_t net_unanswered(const struct net *n) {
  size_t count = 0;
  uint64_t now = worker_now_ms(n->worker);
  for (struct link *l = n->peers.next; l != &n->peers; l = l->next) {
    struct peer *p = (struct peer *)l;
    bool waits = p->idle.next != &p->idle; /* for a request */
    bool fresh = waits && !p->spoken && now - p->idle_ms < UNREAD_MS;
    count += !p->doomed && ((p->role == &role_http && (fresh || !waits)) || (!p->conn && peer_blocked(p)));
  }
  return count;
}

void net_tell_admins(struct net *n, struct message *m) {
  for (struct link *l = n->peers.next; l != &n->peers; l = l->next) {
    struct peer *p = (struct peer *)l;
    struct identity *who = p->conn ? conn_identity(p->conn) : NULL;
    if (who && who->admin) {
      conn_send(p->conn, m, n->here);
    }
    identity_unref(who);
  }
}

void net_close(struct net *n) {
  net_stop_listening(n);
  if (n->tick) {
    worker_timer_stop(n->worker, n->tick);
  }
  close_context(n);
  pages_unref(n->pages);
  free(n);
}
