/* In: a GET of the socket's path. Out: an upgrade, or the refusal as the reference writes it.
 * Why: whether a connection may become a WebSocket is the gate's to say; this is what its answer looks like in bytes.
 * Of sub-protocols and extensions none is spoken, so none is named in the answer (RFC 6455, section 4.2.2). */
#include "net_impl.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void tell_user_limit(struct net *n, const struct identity *who) {
  static const char text[] =
    "{\"type\":\"notification\",\"content\":\"Connection limit reached. You have reached the maximum number of "
    "simultaneous connections. Close an existing connection to open a new one.\",\"sender\":\"system\","
    "\"timestamp\":\"%s\"}";
  char stamp[32], out[512];
  time_t now = (time_t)(worker_wall_ms(n->worker) / 1000);
  struct tm tm;
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
  int len = snprintf(out, sizeof out, text, stamp);
  struct message *m = message_new(out, (size_t)len);
  if (m) {
    sessions_notify_user(worker_home(n->worker)->sessions, who->user_id, m, n->here);
    message_unref(m);
  }
}

#define SOCKET_ENDPOINT_MAX 300

static void socket_endpoint(const struct exchange *x, char out[SOCKET_ENDPOINT_MAX]) {
  snprintf(out, SOCKET_ENDPOINT_MAX, "%s/ws", x->net->prefix);
}

static void refuse(struct exchange *x, const struct gate_refusal *no) {
  char endpoint[SOCKET_ENDPOINT_MAX];
  socket_endpoint(x, endpoint);
  struct http_response res = {.status = no->status,
                              .type = "text/plain; charset=utf-8",
                              .body = no->body,
                              .body_len = strlen(no->body),
                              .endpoint = endpoint,
                              .header_count = no->version_header,
                              .headers = {{"Sec-Websocket-Version", "13"}}};
  x->dispatched = true;
  http_respond(&x->req, &res);
}

/* RFC 6455, section 4.2.2: base64 of SHA-1 of the key and a constant. */
static void accept_key(const char *key, char out[32]) {
  char text[64];
  unsigned char digest[SHA_DIGEST_LENGTH];
  int len = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  SHA1((unsigned char *)text, (size_t)len, digest);
  EVP_EncodeBlock((unsigned char *)out, digest, sizeof digest);
}

static void upgrade(struct exchange *x, struct identity *who, const char *key, const char *wanted) {
  struct peer *p = x->peer;
  char proof[32], date[HTTP_DATE_MAX], bytes[256];
  accept_key(key, proof);
  http_date(net_now_s(x->net), date);
  int len = snprintf(bytes, sizeof bytes,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\nDate: %s\r\n\r\n",
                     proof, date);
  p->exchange = NULL;
  const struct websocket_offer offer = {who, x->address, wanted, bytes, (size_t)len};
  if (websocket_open(p, &offer) == 0) {
    char endpoint[SOCKET_ENDPOINT_MAX];
    socket_endpoint(x, endpoint);
    answer_count(x, endpoint);
    exchange_free(x);
    return;
  }
  p->exchange = x;
  gate_leave(x->net->o.gate, who);
  identity_unref(who);
  const struct gate_refusal no = {.status = 503, .body = "Out of memory\n"};
  refuse(x, &no);
}

void handshake(struct exchange *x, const struct gate_request *r, const char *wanted) {
  struct net *n = x->net;
  struct gate_refusal no = {.status = 503, .body = "The server is stopping\n"};
  struct identity *who = NULL;
  if (!n->closing) {
    no = gate_admit(n->o.gate, r, net_now_s(n), &who);
  }
  uint64_t wait_ms = no.status ? 0 : n->o.hooks->arriving(n->o.ctx, NULL, who->user_id);
  if (wait_ms) {
    gate_leave(n->o.gate, who);
    identity_unref(who);
    answer_too_many(x, wait_ms);
    return;
  }
  if (!no.status) {
    upgrade(x, who, r->key, wanted);
    return;
  }
  if (no.user_limit && who) {
    tell_user_limit(n, who);
  }
  identity_unref(who);
  x->req.auth = no.bad_token ? HTTP_AUTH_INVALID : HTTP_AUTH_MISSING;
  refuse(x, &no);
}
