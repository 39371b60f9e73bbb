/* In: connections on a listening socket. Out: peers, until they hang up. Why: see net.h. The worker accepts by itself
 * and hands the descriptor over, because this build of the transport cannot share a port between contexts. */
#include "net_impl.h"

#include "err.h"
#include "log.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPTS_PER_TURN 64
#define TICK_MS 1000
#define HEADER_ROOM 16384
#define TRANSPORT_TIMEOUT_S 3600 /* its own are coarse; ours (net_tick) come first */

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

/* ---- life of a peer ---- */

void peer_cut(struct peer *p) {
  p->doomed = true;
}

static void peer_free(struct peer *p) {
  struct net *n = p->net;
  on_ws_closed(p);
  if (!p->upgraded) {
    n->others--;
  }
  if (p->exchange) {
    exchange_abandon(p->exchange);
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
    flush_peer(p);
    return 0;
  case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
    return p->close_sent ? -1 : 0; /* it answers ours: nothing more is to be said */
  case LWS_CALLBACK_CLOSED:
    on_ws_closed(p);
    return 0;
  case LWS_CALLBACK_HTTP:
    return on_http(p);
  case LWS_CALLBACK_HTTP_BODY:
    return on_http_body(p, in, len);
  case LWS_CALLBACK_HTTP_BODY_COMPLETION:
    return on_http_body_end(p);
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
  p->deadline_ms = worker_now_ms(n->worker) + n->handshake_ms;
  struct lws *wsi = lws_adopt_descriptor_vhost_via_info(&desc);
  if (wsi) {
    p->wsi = wsi;
  } else {
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
  {.name = "chatbox", .callback = on_event, .rx_buffer_size = RX_ROOM, .tx_packet_size = TX_ROOM}, {.name = NULL}};
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
  const struct config *c = n->o.config;
  void *loops[1] = {worker_loop(n->worker)};
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
    .max_http_header_pool =
      (unsigned short)(config_int(c, SETTING_MAX_HANDSHAKES) < 65535 ? config_int(c, SETTING_MAX_HANDSHAKES) : 65535),
    .timeout_secs = TRANSPORT_TIMEOUT_S,
    .keepalive_timeout = TRANSPORT_TIMEOUT_S,
    .retry_and_idle_policy = &no_validity,
    .alpn = "http/1.1",
    .server_string = "chatbox",
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
  n->prefix = config_string(c, SETTING_PATH_PREFIX);
  n->prefix_len = strlen(n->prefix);
  n->message_limit = (size_t)config_int(c, SETTING_MAX_MESSAGE_SIZE);
  n->body_limit = (size_t)config_int(c, SETTING_MAX_BODY_SIZE);
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
  uv_poll_init(worker_loop(w), &n->poll, n->fd);
  n->poll.data = n;
  uv_poll_start(&n->poll, UV_READABLE, on_acceptable);
  n->listening = true;
  n->tick = worker_timer(w, n->tick_ms, net_tick, n);
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
