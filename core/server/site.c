/* In: what the transport meets (connections, texts, requests), what conversations give. Out: items of conversations,
 * calls of the scripts. Why: transport and scripts do not know each other; a worker's site is where they are joined. */
#include "admission.h"
#include "server_impl.h"

#include "err.h"
#include "expiry.h"
#include "join.h"
#include "log.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

static void put_or_refuse(struct site *site, struct conn *c, const char *text, size_t len, struct conn_refusal behind);

static void turn_away(struct conn *c, int code, const struct mailbox *here) {
  static const char text[] =
    "{\"type\":\"error\",\"sender\":\"system\",\"error\":{\"code\":\"DATABASE_ERROR\",\"message\":"
    "\"Database operation failed\",\"recoverable\":true}}";
  struct message *m = message_new(text, sizeof text - 1);
  LOG(LOG_WARN, "server", "no conversation for a connection", LSTR("error", err_name(code)));
  if (m) {
    conn_send(c, m, here);
    message_unref(m);
  }
  conn_close(c, CLOSE_TRY_LATER, "try again later", here);
}

static void on_conversation(void *arg, struct session *s, int code) {
  struct conn *c = arg;
  struct site *site = NULL;
  if (!conn_is_dead(c)) {
    site = conn_site(c);
  }
  if (site && s) {
    code = session_join(s, c, worker_now_ms(site->worker));
  }
  if (site && code) {
    turn_away(c, code, worker_mailbox(site->worker));
  } else if (site) {
    conn_bind(c, s);
    struct item *item = item_new(ITEM_CONNECT, c, NULL, 0);
    if (item && worker_put(site->worker, s, item)) {
      item_free(item);
    }
    struct message *early;
    struct conn_refusal behind;
    while ((early = conn_early_take(c, &behind))) {
      put_or_refuse(site, c, early->text, early->len, behind);
      message_unref(early);
    }
  }
  if (s) {
    session_unref(s);
  }
  conn_unref(c);
}

static void on_opened(void *ctx, struct conn *c) {
  struct site *site = ctx;
  conn_set_site(c, site);
  expiry_add(site->expiry, c);
  if (admission_greet(site, c)) {
    turn_away(c, E_LIMITED, worker_mailbox(site->worker));
    return;
  }
  join_open(site->worker, conn_user(c), conn_wanted(c), on_conversation, conn_ref(c));
}

struct inbox_refusal {
  struct site *site;
  struct session *session;
  struct conn *conn;
  char cid[STORE_CID_MAX + 1];
};

static void refuse_here(void *arg) {
  struct inbox_refusal *r = arg;
  scripts_refused(r->site->server->scripts, r->site->index, r->session, r->conn, "FULL", r->cid);
  session_unref(r->session);
  conn_unref(r->conn);
  free(r);
}

/* Posted, because scripts never run inside a call-back of the transport. */
static void refuse(struct site *site, struct session *s, struct conn *c, const char cid[STORE_CID_MAX + 1]) {
  struct inbox_refusal *r = malloc(sizeof *r);
  metrics_add(METRIC_INBOX_OVERFLOWS, 1);
  if (r) {
    *r = (struct inbox_refusal){.site = site, .session = session_ref(s), .conn = conn_ref(c)};
    memcpy(r->cid, cid, sizeof r->cid);
    worker_call(site->worker, refuse_here, r);
  }
}

static void put_or_refuse(struct site *site, struct conn *c, const char *text, size_t len, struct conn_refusal behind) {
  struct session *s = conn_session(c);
  struct item *item = item_new(ITEM_TEXT, c, text, len);
  char cid[STORE_CID_MAX + 1];
  if (item) {
    item->behind = behind;
  }
  if (!item || worker_put(site->worker, s, item)) {
    conn_put_off(c, behind); /* of the two the first */
    scripts_put_off(site->server->scripts, site->index, c, text, len, E_FULL, 0, cid);
    refuse(site, s, c, cid);
    if (item) {
      item_free(item);
    }
  }
}

static void on_text(void *ctx, struct conn *c, const char *text, size_t len) {
  struct site *site = ctx;
  if (atomic_load_explicit(&site->server->stopping, memory_order_relaxed)) {
    return; /* not taken, so not acknowledged: the client, who has been told, says it again to the next server */
  }
  if (!admission_text(site, c, text, len)) {
    return;
  }
  if (conn_session(c)) {
    put_or_refuse(site, c, text, len, conn_take_put_off(c));
  } else if (conn_early_put(c, text, len)) {
    conn_close(c, CLOSE_TRY_LATER, "too many messages before the conversation was found", worker_mailbox(site->worker));
  }
}

static bool on_frames(void *ctx, struct conn *c, uint64_t work, uint64_t bytes) {
  return admission_frames(ctx, c, work, bytes);
}

static uint64_t on_arriving(void *ctx, const char *address, const char *user_id) {
  return admission_arriving(ctx, address, user_id);
}

static void on_closed(void *ctx, struct conn *c) {
  struct site *site = ctx;
  admission_bye(site, c);
  if (conn_session(c)) {
    session_leave(conn_session(c), c, worker_now_ms(site->worker));
  }
}

struct site_request {
  struct site *site;
  struct http_request *http;
};

static void run_http(void *arg) {
  struct site_request *r = arg;
  vm_http(scripts_vm(r->site->server->scripts, r->site->index), r->http);
  free(r);
}

static void on_http(void *ctx, struct http_request *http) {
  if (!admission_http(ctx, http)) {
    return;
  }
  struct site_request *r = malloc(sizeof *r);
  if (!r) {
    struct http_response res = {.status = 503, .body = ""};
    http_respond(http, &res);
    return;
  }
  *r = (struct site_request){ctx, http};
  worker_call(((struct site *)ctx)->worker, run_http, r);
}

static const struct net_hooks net_hooks = {.opened = on_opened,
                                           .text = on_text,
                                           .frames = on_frames,
                                           .closed = on_closed,
                                           .arriving = on_arriving,
                                           .http = on_http};

static int site_start(struct worker *w, void *ctx, char why[512]) {
  struct site *site = ctx;
  struct server *server = site->server;
  int code = scripts_attach(server->scripts, w, site->index, why);
  if (code) {
    return code;
  }
  struct net_options o = {.config = server->config,
                          .gate = server->gate,
                          .tls = server->tls,
                          .listen_fd = site->fd,
                          .hooks = &net_hooks,
                          .ctx = site};
  site->expiry = expiry_new(w, gate_verifier(server->gate));
  code = site->expiry ? net_open(w, &o, &site->net, why) : UV_ENOMEM;
  if (code) {
    expiry_free(site->expiry);
    scripts_detach(server->scripts, site->index);
    return code;
  }
  net_set_pages(site->net, server->pages);
  return 0;
}

static void site_item(void *ctx, struct session *s, struct item *item) {
  struct site *site = ctx;
  scripts_item(site->server->scripts, site->index, s, item);
}

static void site_turn(void *ctx) {
  struct site *site = ctx;
  net_flush(site->net);
  if (atomic_load_explicit(&site->server->stopping, memory_order_relaxed)) {
    atomic_store(&site->websockets, net_count(site->net));
    atomic_store(&site->requests, net_unanswered(site->net));
    atomic_store(&site->tasks,
                 scripts_tasks(site->server->scripts, site->index) + (size_t)worker_has_items(site->worker));
  }
}

static void site_stop(void *ctx) {
  struct site *site = ctx;
  scripts_detach(site->server->scripts, site->index);
  net_close(site->net);
  expiry_free(site->expiry);
}

const struct worker_hooks server_site_hooks = {
  .start = site_start, .item = site_item, .turn = site_turn, .stop = site_stop};
