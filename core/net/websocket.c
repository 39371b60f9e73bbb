/* In: bytes of a WebSocket; conns with full outboxes. Out: whole texts; frames, all that is ready in one write.
 * Why: replies gather per connection and leave at the end of the loop turn; an idle connection holds no buffer. */
#include "net_impl.h"

#include "bye.h"
#include "err.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

static void websocket_end(struct peer *p);

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

/* Whether more may be written now; when not, on_writeable tells when. */
static bool write_bytes(struct peer *p, const void *bytes, size_t len) {
  return peer_write(p, bytes, len) && !peer_blocked(p);
}

static bool write_large(struct peer *p, struct message *m) {
  unsigned char *bytes = malloc(FRAME_HEADER_MAX + m->len);
  if (!bytes) {
    peer_cut(p);
    return false;
  }
  size_t head = frame_header(bytes, FRAME_TEXT, m->len);
  memcpy(bytes + head, m->text, m->len);
  bool more = write_bytes(p, bytes, head + m->len);
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

/* The frame of the bye that belongs to it, unless it has been said; its length. */
static size_t bye_frame(struct peer *p, unsigned char *out, int code, const char *reason) {
  char text[BYE_TEXT_MAX];
  if (conn_bye_said(p->conn, code)) {
    return 0;
  }
  size_t len = bye_text(text, code, NULL, reason, conn_id(p->conn), worker_wall_ms(p->net->worker));
  size_t head = frame_header(out, FRAME_TEXT, len);
  memcpy(out + head, text, len);
  metrics_add(METRIC_MESSAGES_SENT, 1);
  return head + len;
}

/* code 0: a frame that says none. ours: not the answer to theirs. */
static void write_close(struct peer *p, int code, const char *reason, bool ours) {
  unsigned char out[FRAME_HEADER_MAX + BYE_TEXT_MAX + FRAME_HEADER_MAX + 2 + CONN_REASON_MAX];
  size_t reason_len = code ? strlen(reason) : 0, len = ours ? bye_frame(p, out, code, reason) : 0;
  len += frame_header(out + len, FRAME_CLOSE, code ? 2 + reason_len : 0);
  if (code) {
    out[len++] = (unsigned char)(code >> 8);
    out[len++] = (unsigned char)code;
    memcpy(out + len, reason, reason_len);
  }
  p->close_sent = true;
  peer_write(p, out, len + reason_len);
}

/* Writes the outbox as far as the socket takes it, whole frames only. */
static void flush_peer(struct peer *p) {
  size_t sent = 0;
  if (p->close_sent || p->doomed) {
    return;
  }
  bool more = !peer_blocked(p);
  while (more && (p->ping || !conn_outbox_empty(p->conn))) {
    const struct message *next = conn_outbox_peek(p->conn);
    if (!p->ping && next->len + FRAME_HEADER_MAX > TX_ROOM) {
      struct message *m = conn_outbox_take(p->conn);
      more = write_large(p, m);
      message_unref(m);
      sent++;
    } else {
      size_t len = gather(p, p->net->tx, &sent);
      more = write_bytes(p, p->net->tx, len);
    }
  }
  if (sent) {
    metrics_add(METRIC_MESSAGES_SENT, (int64_t)sent);
  }
  const char *reason;
  int code = conn_closing(p->conn, &reason);
  if (code) {
    p->closing_ms = p->closing_ms ? p->closing_ms : worker_due_ms(p->net->worker, 0);
    if (more) {
      write_close(p, code, reason, true);
      if (p->deaf) { /* its answer could not be understood */
        websocket_end(p);
      }
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

/* ---- in ---- */

static const struct {
  int code, status;
  const char *reason;
} failures[] = {{E_PROTOCOL, CLOSE_PROTOCOL, "the frames are against RFC 6455"},
                {E_UTF8, CLOSE_BAD_DATA, "not valid UTF-8"},
                {E_TOO_BIG, CLOSE_TOO_BIG, "larger than MAX_MESSAGE_SIZE"}};

/* What follows cannot be understood, or not be kept: it is dropped. */
static void fail(struct peer *p, int code) {
  int status = CLOSE_TRY_LATER;
  const char *reason = "out of memory";
  for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
    if (failures[i].code == code) {
      status = failures[i].status;
      reason = failures[i].reason;
    }
  }
  metrics_add(METRIC_MESSAGE_ERRORS, 1);
  p->deaf = true;
  if (p->close_sent) {
    websocket_end(p);
  } else {
    conn_close(p->conn, status, reason, p->net->here);
  }
}

/* Its close, or its answer to ours. Either way both have said it. */
static void on_close(struct peer *p, const char *payload, size_t len) {
  int code, bad = decoder_close_code(payload, len, &code);
  if (bad) {
    fail(p, bad);
    return;
  }
  if (!p->close_sent && !peer_blocked(p)) {
    write_close(p, code, "", false);
  }
  websocket_end(p);
}

/* Pongs gather too: pings are as small as six bytes, and a write costs as much as a hundred of them. Of those that are
 * over the rate only the last of a read is answered (RFC 6455, section 5.5.3, allows that), so who merely asks often is
 * still told that we are there. */
struct pongs {
  size_t len;
  unsigned char bytes[2048];
  bool over;
  uint8_t last_len;
  char last[DECODER_CONTROL_MAX];
};

#define FRAME_BYTES 6         /* head and mask: the least a frame takes */
#define FRAGMENTS_PER_WORK 64 /* a message in pieces costs less than so many messages */

static void pongs_flush(struct peer *p, struct pongs *out) {
  if (out->len && !p->close_sent && !peer_blocked(p)) { /* nothing for somebody who does not read */
    peer_write(p, out->bytes, out->len);
  }
  out->len = 0;
}

static void pong_add(struct peer *p, struct pongs *out, const char *payload, size_t len) {
  if (out->len + FRAME_HEADER_MAX + len > sizeof out->bytes) {
    pongs_flush(p, out);
  }
  out->len += frame_header(out->bytes + out->len, FRAME_PONG, len);
  memcpy(out->bytes + out->len, payload, len);
  out->len += len;
}

/* Counted before it is answered. A pong is counted, too: it is nothing but work. */
static void on_control(struct peer *p, struct pongs *out, bool ping, const char *payload, size_t len) {
  struct net *n = p->net;
  bool over = !n->o.hooks->frames(n->o.ctx, p->conn, 1, FRAME_BYTES + len);
  if (!ping) {
    return;
  }
  out->over = over;
  if (over) {
    out->last_len = (uint8_t)len;
    memcpy(out->last, payload, len);
  } else {
    pong_add(p, out, payload, len);
  }
}

/* Pieces of messages, of which the text itself is counted when it is whole. */
static void count_fragments(struct peer *p) {
  struct net *n = p->net;
  uint32_t count = p->decoder.fragments;
  p->decoder.fragments = 0;
  if (count && p->conn) {
    (void)n->o.hooks->frames(n->o.ctx, p->conn, count / FRAGMENTS_PER_WORK, (uint64_t)count * FRAME_BYTES);
  }
}

/* What has come of a message that is not whole is held as an inbox is: a user's connections together keep no more. */
static void hold_pieces(struct peer *p) {
  size_t now = p->decoder.text.room;
  struct account *user = conn_meter(p->conn)->user;
  if (now < p->pieces) {
    account_let_go(user, ACCOUNT_INBOX, p->pieces - now);
  } else if (now > p->pieces && account_hold(user, ACCOUNT_INBOX, now - p->pieces)) {
    p->deaf = true;
    conn_close(p->conn, CLOSE_TRY_LATER, "too much of messages that are not complete", p->net->here);
    return;
  }
  p->pieces = now;
}

static void on_text(struct peer *p, const char *text, size_t len) {
  struct net *n = p->net;
  const char *reason;
  if (!conn_closing(p->conn, &reason)) {
    n->o.hooks->text(n->o.ctx, p->conn, text, len);
  }
  decoder_rest(&p->decoder); /* an idle connection keeps nothing of what it once said */
}

/* Who goes on sending when most of it is refused is read no faster than one read a tick: refusing costs little, but not
 * nothing, and a sender the kernel holds back costs nothing at all. */
static void rest_if_over(struct peer *p) {
  uint64_t until = conn_rests_until_ms(p->conn);
  if (until && until > worker_now_ms(p->net->worker)) {
    p->rests_until_ms = until;
    peer_pause(p, true);
  }
}

static void heard(struct peer *p) {
  p->heard_ms = worker_due_ms(p->net->worker, 0);
  p->asked_ms = 0;
}

static void on_input(struct peer *p, char *bytes, size_t len) {
  heard(p);
  struct pongs pongs;
  pongs.len = 0;
  pongs.over = false;
  const char *payload;
  size_t payload_len;
  int event = DECODER_PONG;
  while (event != DECODER_MORE && !p->deaf && !p->doomed) {
    event = decoder_next(&p->decoder, &bytes, &len, p->net->message_limit, &payload, &payload_len);
    if (event == DECODER_TEXT) {
      on_text(p, payload, payload_len);
    } else if (event == DECODER_PING || event == DECODER_PONG) {
      on_control(p, &pongs, event == DECODER_PING, payload, payload_len);
    } else if (event == DECODER_CLOSE) {
      pongs_flush(p, &pongs);
      on_close(p, payload, payload_len);
      if (!p->conn) {
        return;
      }
    } else if (event < 0) {
      fail(p, event);
      if (!p->conn) {
        return;
      }
    }
  }
  if (pongs.over) {
    pong_add(p, &pongs, pongs.last, pongs.last_len);
  }
  pongs_flush(p, &pongs);
  count_fragments(p);
  hold_pieces(p);
  rest_if_over(p);
}

static void on_writeable(struct peer *p) {
  flush_peer(p);
}

/* ---- time ---- */

/* Who was pinged late has time for its answer all the same: what lies between WS_PING_PERIOD and WS_PONG_WAIT. */
static bool is_overdue(const struct peer *p, uint64_t now) {
  const struct net *n = p->net;
  bool unheard = p->asked_ms && now >= p->heard_ms + n->pong_ms && now >= p->asked_ms + n->pong_ms - n->ping_ms;
  return unheard || (p->closing_ms && now >= p->closing_ms + CLOSE_GRACE_MS);
}

static void on_tick(struct peer *p, uint64_t now) {
  if (p->rests_until_ms && now >= p->rests_until_ms) {
    p->rests_until_ms = 0;
    peer_pause(p, false);
  }
  if (p->rests_until_ms) {
    heard(p); /* it could not be */
  }
  if (now >= p->pinged_ms + p->net->ping_ms) {
    p->pinged_ms = now;
    p->asked_ms = p->asked_ms ? p->asked_ms : now;
    p->ping = true;
    flush_peer(p);
  }
}

/* ---- life ---- */

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

static void on_gone(struct peer *p) {
  struct net *n = p->net;
  metrics_add(METRIC_CONNECTIONS, -1);
  metrics_observe(METRIC_CONNECTION_SECONDS, (double)(worker_now_ms(n->worker) - conn_opened_ms(p->conn)) / 1000.0);
  n->websockets--;
  n->others++;
  forget_dirty(p);
  account_let_go(conn_meter(p->conn)->user, ACCOUNT_INBOX, p->pieces);
  p->pieces = 0;
  n->o.hooks->closed(n->o.ctx, p->conn);
  conn_dead(p->conn);
  if (conn_take_place(p->conn)) { /* or a newcomer has it */
    gate_leave(n->o.gate, p->identity);
  }
  conn_unref(p->conn);
  p->conn = NULL;
  identity_unref(p->identity);
  p->identity = NULL;
  decoder_deinit(&p->decoder);
}

/* The conversation is left and the place is free before the client can see that it is over. */
static void websocket_end(struct peer *p) {
  on_gone(p);
  peer_linger(p);
}

static const struct role role_websocket = {
  .input = on_input, .writeable = on_writeable, .overdue = is_overdue, .tick = on_tick, .gone = on_gone};

int websocket_open(struct peer *p, const struct websocket_offer *offer) {
  struct net *n = p->net;
  const struct config *c = n->o.config;
  uint64_t now = worker_due_ms(n->worker, 0);
  struct conn_options o = {.home = n->here,
                           .identity = offer->who,
                           .address = offer->address,
                           .wanted = offer->wanted,
                           .outbox_limit = (size_t)config_int(c, SETTING_OUTBOX_LIMIT),
                           .early_limit = (size_t)config_int(c, SETTING_INBOX_LIMIT),
                           .dirty = on_dirty,
                           .arg = p,
                           .opened_ms = worker_now_ms(n->worker)};
  p->conn = conn_new(&o);
  if (!p->conn) {
    return UV_ENOMEM;
  }
  link_drop(&p->idle);
  source_leave(p);
  p->rests_until_ms = 0;
  p->role = &role_websocket;
  p->identity = offer->who;
  p->heard_ms = p->pinged_ms = now;
  n->others--;
  n->websockets++;
  metrics_add(METRIC_CONNECTIONS, 1);
  peer_write(p, offer->answer, offer->answer_len);
  n->o.hooks->opened(n->o.ctx, p->conn);
  return 0;
}
