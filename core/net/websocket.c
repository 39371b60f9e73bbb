/* In: fragments of messages; conns with full outboxes. Out: whole texts; frames, all that is ready in one write.
 * Why: replies gather per connection and leave at the end of the loop turn; pings and closes are frames of our own,
 * because the transport's timers are a sorted list and its close is silent when asked for in WRITEABLE. */
#include "net_impl.h"

#include "err.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

/* ---- out ---- */

static void on_dirty(struct conn *c, void *arg) {
  struct peer *p = arg;
  (void)c;
  struct net *n = p->net;
  p->next_dirty = NULL;
  if (n->dirty_last) {
    n->dirty_last->next_dirty = p;
  } else {
    n->dirty = p;
  }
  n->dirty_last = p;
}

/* Whether more may be written now; when not, WRITEABLE is asked for. */
static bool write_bytes(struct peer *p, unsigned char *bytes, size_t len) {
  if (len && lws_write(p->wsi, bytes, len, LWS_WRITE_HTTP) < (int)len) {
    peer_cut(p);
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
    peer_cut(p);
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

/* The transport takes a close that is asked for in WRITEABLE for a broken socket and sends no frame: ours does. It then
 * hangs up when the client answers, or when CLOSE_GRACE_MS are over. */
static void write_close(struct peer *p, int code, const char *reason) {
  unsigned char bytes[LWS_PRE + FRAME_HEADER_MAX + 2 + CONN_REASON_MAX], *out = bytes + LWS_PRE;
  size_t reason_len = strlen(reason), len = frame_header(out, FRAME_CLOSE, 2 + reason_len);
  out[len++] = (unsigned char)(code >> 8);
  out[len++] = (unsigned char)code;
  memcpy(out + len, reason, reason_len);
  p->close_sent = true;
  write_bytes(p, out, len + reason_len);
}

/* Writes the outbox as far as the socket takes it. Only whole frames are handed over, because the transport may put a
 * pong of its own between two writes. */
void flush_peer(struct peer *p) {
  size_t sent = 0;
  if (p->close_sent) {
    return;
  }
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
  int code = conn_closing(p->conn, &reason);
  if (code) {
    p->closing_ms = p->closing_ms ? p->closing_ms : worker_now_ms(p->net->worker);
    if (more && !p->close_sent) {
      write_close(p, code, reason);
    }
  }
}

void net_flush(struct net *n) {
  struct peer *p = n->dirty;
  n->dirty = n->dirty_last = NULL;
  while (p) {
    struct peer *next = p->next_dirty;
    p->next_dirty = NULL;
    conn_clean(p->conn);
    flush_peer(p);
    p = next;
  }
}

int on_established(struct peer *p) {
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

int on_receive(struct peer *p, const char *bytes, size_t len) {
  struct net *n = p->net;
  p->heard_ms = worker_turn_ms(n->worker);
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

/* ---- time ---- */

/* Whether a peer has had its time. */
static bool overdue(const struct peer *p, uint64_t now) {
  const struct net *n = p->net;
  if (p->doomed) {
    return true;
  }
  if (p->conn) {
    return (p->closing_ms && now - p->closing_ms >= CLOSE_GRACE_MS) || now - p->heard_ms >= n->pong_ms;
  }
  bool answering = p->exchange && p->exchange->dispatched && !p->exchange->out;
  return !answering && now >= p->deadline_ms;
}

void net_tick(void *arg) {
  struct net *n = arg;
  uint64_t now = worker_now_ms(n->worker);
  n->tick = worker_timer(n->worker, n->tick_ms, net_tick, n);
  for (struct link *l = n->peers.next, *next; l != &n->peers; l = next) {
    struct peer *p = (struct peer *)l;
    next = l->next;
    if (p->wsi && overdue(p, now)) {
      lws_set_timeout(p->wsi, PENDING_TIMEOUT_KILLED_BY_PARENT, LWS_TO_KILL_SYNC);
    } else if (p->conn && now - p->pinged_ms >= n->ping_ms) {
      p->pinged_ms = now;
      p->ping = true;
      flush_peer(p);
    }
  }
}

static void forget_dirty(struct peer *p) {
  struct net *n = p->net;
  struct peer *before = NULL;
  for (struct peer *q = n->dirty; q; before = q, q = q->next_dirty) {
    if (q != p) {
      continue;
    }
    if (before) {
      before->next_dirty = p->next_dirty;
    } else {
      n->dirty = p->next_dirty;
    }
    n->dirty_last = n->dirty_last == p ? before : n->dirty_last;
    return;
  }
}

void on_ws_closed(struct peer *p) {
  struct net *n = p->net;
  if (!p->conn) {
    return;
  }
  metrics_add(METRIC_CONNECTIONS, -1);
  metrics_observe(METRIC_CONNECTION_SECONDS, (double)(worker_now_ms(n->worker) - conn_opened_ms(p->conn)) / 1000.0);
  n->websockets--;
  forget_dirty(p);
  n->o.hooks->closed(n->o.ctx, p->conn);
  conn_dead(p->conn);
  conn_unref(p->conn);
  p->conn = NULL;
}
