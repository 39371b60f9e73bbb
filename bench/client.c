/* In: epoll events. Out: frames written, answers counted. Why: client.h. A connection goes
 *   new -> connecting -> upgrading -> (greeting: waits for its session_id) -> ready -> lost
 * and the only way to lost is client_fail, which keeps the first reason for the report. */
#include "client.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Ephemeral ports run out at 28,000 per source address: IPv4 clients come from 127.0.0.1, .2, .3, … */
enum { CLIENTS_PER_ADDRESS = 20000 };

uint64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t client_intended(const struct load *l, const struct client *c, uint64_t n) {
  const struct options *o = l->options;
  if (o->mode == MODE_CLOSED)
    return c->sent_at[n % o->inflight];
  uint64_t whole = n * o->connections + (uint64_t)(c - l->clients);
  return l->start_ns + (uint64_t)((double)whole * 1e9 / (double)o->rate);
}

void client_close(struct client *c) {
  if (c->state != CLIENT_NEW && c->state != CLIENT_LOST)
    close(c->fd);
  free(c->in);
  free(c->out);
  free(c->sent_at);
  *c = (struct client){.state = CLIENT_LOST};
}

static void client_fail_with(struct load *l, struct client *c, const char *doing, const void *why, size_t length) {
  if (!l->lost)
    snprintf(l->odd, sizeof l->odd, "connection %zu, %s: %.*s", (size_t)(c - l->clients), doing, (int)length,
             (const char *)why);
  l->ready -= c->state == CLIENT_READY;
  l->lost++;
  client_close(c);
}

static void client_fail(struct load *l, struct client *c, const char *doing, const char *why) {
  client_fail_with(l, c, doing, why, strlen(why));
}

static void client_watch(struct load *l, struct client *c, int operation, bool blocked) {
  struct epoll_event e = {.events = EPOLLIN | (blocked ? EPOLLOUT : 0), .data.ptr = c};
  c->blocked = blocked;
  if (epoll_ctl(l->epoll, operation, c->fd, &e))
    client_fail(l, c, "epoll", strerror(errno));
}

static int address_set(const struct load *l, const struct client *c, struct sockaddr_storage *to, socklen_t *length,
                       int fd) {
  const struct options *o = l->options;
  in_port_t port = htons((uint16_t)o->port);
  if (strchr(o->host, ':')) {
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
    *six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port, .sin6_addr = in6addr_loopback};
    *length = sizeof *six;
    return 0;
  }
  struct sockaddr_in *four = (struct sockaddr_in *)to, from = {.sin_family = AF_INET};
  *four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  *length = sizeof *four;
  from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)((size_t)(c - l->clients) / CLIENTS_PER_ADDRESS));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
  return bind(fd, (struct sockaddr *)&from, sizeof from) ? -errno : 0;
}

int client_open(struct load *l, struct client *c) {
  struct sockaddr_storage to;
  socklen_t length;
  l->opened++;
  *c = (struct client){
    .fd = socket(strchr(l->options->host, ':') ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  if (c->fd < 0) {
    client_fail(l, c, "socket", strerror(errno));
    return E_INVALID;
  }
  c->state = CLIENT_CONNECTING;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  if (address_set(l, c, &to, &length, c->fd) ||
      (connect(c->fd, (struct sockaddr *)&to, length) && errno != EINPROGRESS)) {
    client_fail(l, c, "connect", strerror(errno));
    return E_INVALID;
  }
  if (l->options->mode == MODE_CLOSED && !(c->sent_at = calloc(l->options->inflight, sizeof *c->sent_at))) {
    client_fail(l, c, "memory", strerror(ENOMEM));
    return -ENOMEM;
  }
  client_watch(l, c, EPOLL_CTL_ADD, true);
  return c->state == CLIENT_LOST ? E_INVALID : 0;
}

static void client_upgrade(struct load *l, struct client *c) {
  const struct options *o = l->options;
  const char *token = o->token_count ? o->tokens[(size_t)(c - l->clients) % o->token_count] : NULL;
  int failed = 0;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failed, &(socklen_t){sizeof failed});
  if (failed) {
    client_fail(l, c, "connect", strerror(failed));
    return;
  }
  int length = ws_request((char *)l->out, sizeof l->out, o->host, (unsigned)o->port, o->path, token);
  if (length < 0 || send(c->fd, l->out, (size_t)length, MSG_NOSIGNAL) != length) {
    client_fail(l, c, "upgrade", "the request could not be sent whole");
    return;
  }
  c->state = CLIENT_UPGRADING;
  client_watch(l, c, EPOLL_CTL_MOD, false);
}

/* Sends bytes of l->out, and keeps what the socket does not take. False: the client is blocked or lost. */
static bool client_send(struct load *l, struct client *c, const uint8_t *bytes, size_t length) {
  ssize_t n = send(c->fd, bytes, length, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN) {
    client_fail(l, c, "send", strerror(errno));
    return false;
  }
  size_t taken = n < 0 ? 0 : (size_t)n;
  if (taken == length)
    return true;
  uint8_t *rest = malloc(length - taken);
  if (!rest) {
    client_fail(l, c, "memory", strerror(ENOMEM));
    return false;
  }
  memcpy(rest, bytes + taken, length - taken);
  free(c->out);
  c->out = rest;
  c->out_length = length - taken;
  if (!c->blocked)
    client_watch(l, c, EPOLL_CTL_MOD, true);
  return false;
}

static bool client_send_rest(struct load *l, struct client *c) {
  if (!c->out_length)
    return true;
  uint8_t *bytes = c->out;
  size_t length = c->out_length;
  c->out = NULL;
  c->out_length = 0;
  bool sent = client_send(l, c, bytes, length);
  free(bytes);
  if (sent)
    client_watch(l, c, EPOLL_CTL_MOD, false);
  return sent && c->state != CLIENT_LOST;
}

static size_t frame_render(struct load *l, struct client *c, uint8_t *out) {
  /* A mask has to look random to the server, and to nobody else. */
  uint32_t mask = (uint32_t)((c->sent + 1) * UINT64_C(0x9E3779B97F4A7C15) >> 32) ^ (uint32_t)c->fd;
  uint8_t text[TEXT_MAX];
  size_t length = text_render(&l->message, (char *)text, c->sent, c->session);
  size_t header = ws_header(out, WS_TEXT, length, mask);
  memcpy(out + header, text, length);
  ws_mask(out + header, length, mask);
  return header + length;
}

void client_write(struct load *l, struct client *c) {
  if (c->state != CLIENT_READY || c->out_length)
    return;
  while (c->sent < c->due) {
    size_t length = 0;
    uint64_t now = c->sent_at ? clock_ns() : 0;
    for (; c->sent < c->due && length + WS_HEADER_MAX + TEXT_MAX <= sizeof l->out; c->sent++) {
      length += frame_render(l, c, l->out + length);
      if (c->sent_at)
        c->sent_at[c->sent % l->options->inflight] = now;
    }
    if (!client_send(l, c, l->out, length))
      return;
  }
}

/* Where the server says which conversation this is: "session_id":"…" of its first text. */
static bool session_take(struct client *c, const struct ws_frame *f) {
  static const char key[] = "\"session_id\":\"";
  const char *end = (const char *)f->payload + f->length;
  const char *at = memmem(f->payload, f->length, key, sizeof key - 1);
  const char *start = at ? at + sizeof key - 1 : NULL;
  const char *stop = start ? memchr(start, '"', (size_t)(end - start)) : NULL;
  if (!stop || stop == start || stop - start > TEXT_SESSION_MAX)
    return false;
  memcpy(c->session, start, (size_t)(stop - start));
  return true;
}

static bool is_answer(struct load *l, const struct client *c, const struct ws_frame *f) {
  char wanted[TEXT_MAX];
  size_t length = text_render(&l->answer, wanted, c->answered, c->session);
  if (l->answer_at + length <= f->length && memcmp(f->payload + l->answer_at, wanted, length) == 0)
    return true;
  const uint8_t *at = memmem(f->payload, f->length, wanted, length);
  if (at)
    l->answer_at = (size_t)(at - f->payload);
  return at != NULL;
}

static void client_text(struct load *l, struct client *c, const struct ws_frame *f, uint64_t now) {
  if (c->state == CLIENT_GREETING && session_take(c, f)) {
    c->state = CLIENT_READY;
    l->ready++;
  } else if (c->state == CLIENT_READY && c->answered < c->sent && is_answer(l, c, f)) {
    uint64_t intended = client_intended(l, c, c->answered++);
    if (now >= l->from_ns && now < l->to_ns)
      l->answered++;
    if (intended >= l->from_ns && intended < l->to_ns)
      hist_add(&l->latency, now > intended ? now - intended : 0);
    if (l->running && c->sent_at)
      c->due++;
  } else {
    if (l->other++ == 0 && !l->odd[0])
      snprintf(l->odd, sizeof l->odd, "%.*s", (int)(f->length < 200 ? f->length : 200), (const char *)f->payload);
  }
}

static void client_pong(struct load *l, struct client *c, const struct ws_frame *f) {
  uint8_t out[WS_HEADER_MAX + 125];
  if (c->out_length)
    return; /* the server hears from us anyway */
  size_t header = ws_header(out, WS_PONG, f->length, 0);
  memcpy(out + header, f->payload, f->length);
  client_send(l, c, out, header + f->length);
}

/* The bytes of `length` that were used, or a negative code. The client may be lost after it. */
static int client_parse(struct load *l, struct client *c, const uint8_t *bytes, size_t length, uint64_t now) {
  size_t used = 0;
  if (c->state == CLIENT_UPGRADING) {
    int response = ws_response((const char *)bytes, length);
    if (response <= 0)
      return response;
    used = (size_t)response;
    c->state = l->message.needs_session ? CLIENT_GREETING : CLIENT_READY;
    l->ready += c->state == CLIENT_READY;
  }
  while (c->state != CLIENT_LOST) {
    struct ws_frame frame;
    int size = ws_parse(bytes + used, length - used, &frame);
    if (size <= 0)
      return size < 0 ? size : (int)used;
    used += (size_t)size;
    if (frame.opcode == WS_TEXT)
      client_text(l, c, &frame, now);
    else if (frame.opcode == WS_PING)
      client_pong(l, c, &frame);
    else if (frame.opcode == WS_CLOSE)
      client_fail_with(l, c, "closed by the server", frame.payload + 2, frame.length > 2 ? frame.length - 2 : 0);
  }
  return (int)used;
}

static void client_keep(struct load *l, struct client *c, const uint8_t *bytes, size_t length) {
  free(c->in);
  c->in = length ? malloc(length) : NULL;
  c->in_length = length;
  if (length && !c->in)
    client_fail(l, c, "memory", strerror(ENOMEM));
  else if (length)
    memcpy(c->in, bytes, length);
}

static size_t first_line(const uint8_t *bytes, size_t length) {
  size_t n = 0;
  while (n < length && n < 100 && bytes[n] >= ' ')
    n++;
  return n;
}

static void client_read(struct load *l, struct client *c) {
  size_t kept = c->in_length;
  if (kept)
    memcpy(l->in, c->in, kept);
  ssize_t n = recv(c->fd, l->in + kept, sizeof l->in - kept, 0);
  if (n < 0 && errno == EAGAIN)
    return;
  if (n <= 0) {
    client_fail(l, c, "read", n ? strerror(errno) : "the server hung up");
    return;
  }
  size_t length = kept + (size_t)n;
  int used = client_parse(l, c, l->in, length, clock_ns());
  if (used < 0 && c->state == CLIENT_UPGRADING)
    client_fail_with(l, c, "upgrade refused", l->in, first_line(l->in, length));
  else if (used < 0)
    client_fail(l, c, "read", "a frame that a server may not send");
  else if (c->state != CLIENT_LOST && (kept || (size_t)used < length))
    client_keep(l, c, l->in + used, length - (size_t)used);
}

void client_turn(struct load *l, struct client *c, uint32_t events) {
  if (c->state == CLIENT_CONNECTING) {
    client_upgrade(l, c);
    return;
  }
  if (events & EPOLLOUT && !client_send_rest(l, c))
    return;
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
    client_read(l, c);
  client_write(l, c);
}
