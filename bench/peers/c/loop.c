/* In: sockets, and a function that answers one message. Out: a WebSocket server: all answers of one read in one write.
 * Why: what raw.c and luajit.c have in common. Frames above READ_MAX end the connection. One thread; a leftover of a
 * read or write is kept per connection. */
#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 512, HEAD_MAX = 4 };

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

struct peer {
  int fd;
  bool upgraded;
  uint8_t *kept; /* unread: the start of a frame; unsent: answers */
  size_t unread, unsent;
};

static uint8_t in[READ_MAX], out[OUT_MAX];
static int loop;
static const struct handler *handler;

static void peer_free(struct peer *p) {
  close(p->fd);
  free(p->kept);
  free(p);
}

void unmask(uint8_t *to, const uint8_t *from, size_t length, uint32_t mask) {
  uint64_t wide = (uint64_t)mask << 32 | mask;
  size_t i = 0;
  for (; i + 8 <= length; i += 8) {
    uint64_t word;
    memcpy(&word, from + i, 8);
    word ^= wide;
    memcpy(to + i, &word, 8);
  }
  for (; i < length; i++)
    to[i] = from[i] ^ ((uint8_t *)&mask)[i % 4];
}

/* Puts a frame around the payload that lies HEAD_MAX bytes behind to; the frame's length. */
static size_t frame_close(uint8_t *to, uint8_t opcode, size_t payload) {
  size_t head = payload < 126 ? 2 : HEAD_MAX;
  if (head < HEAD_MAX)
    memmove(to + head, to + HEAD_MAX, payload);
  to[0] = 0x80 | opcode;
  to[1] = (uint8_t)(head == 2 ? payload : 126);
  if (head == HEAD_MAX) {
    to[2] = (uint8_t)(payload >> 8);
    to[3] = (uint8_t)payload;
  }
  return head + payload;
}

/* Answers the frames in bytes[] as far as there is room; the bytes used, or a negative errno. */
static ssize_t frames_answer(uint8_t *bytes, size_t length, size_t *answered) {
  size_t used = 0;
  *answered = 0;
  while (length - used >= 2) {
    const uint8_t *head = bytes + used;
    size_t payload = head[1] & 0x7f, header = 2;
    if (!(head[1] & 0x80) || payload == 127 || (head[0] & 0x0f) == 8)
      return -EPROTO;
    if (payload == 126) {
      header = 4;
      if (length - used < header)
        break;
      payload = (size_t)head[2] << 8 | head[3];
    }
    if (length - used < header + 4 + payload || OUT_MAX - *answered < HEAD_MAX + ANSWER_MAX)
      break;
    uint32_t mask;
    memcpy(&mask, head + header, sizeof mask);
    uint8_t *to = out + *answered;
    size_t n = handler->answer(to + HEAD_MAX, bytes + used + header + 4, payload, mask);
    *answered += frame_close(to, head[0] & 0x0f, n);
    used += header + 4 + payload;
  }
  return (ssize_t)used;
}

/* Answers the upgrade request in bytes[]; its length, 0 when it is not whole yet, or a negative errno. */
static ssize_t upgrade(struct peer *p, const char *bytes, size_t length) {
  static const char name[] = "Sec-WebSocket-Key: ";
  char text[256], accept[64];
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned digest_length;
  const char *end = memmem(bytes, length, "\r\n\r\n", 4), *key = memmem(bytes, length, name, sizeof name - 1);
  if (!end)
    return 0;
  if (!key || key + sizeof name - 1 + 24 > end)
    return -EPROTO;
  int n = snprintf(text, sizeof text, "%.24s%s", key + sizeof name - 1, guid);
  EVP_Digest(text, (size_t)n, digest, &digest_length, EVP_sha1(), NULL);
  EVP_EncodeBlock((uint8_t *)accept, digest, (int)digest_length);
  n = snprintf(text, sizeof text,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n\r\n",
               accept);
  p->upgraded = true;
  size_t greeting = handler->greet ? frame_close(out, 1, handler->greet(out + HEAD_MAX)) : 0;
  if (send(p->fd, text, (size_t)n, MSG_NOSIGNAL) != n || send(p->fd, out, greeting, MSG_NOSIGNAL) != (ssize_t)greeting)
    return -EPIPE;
  return end + 4 - bytes;
}

/* Keeps at most READ_MAX bytes for the next turn. */
static int peer_keep(struct peer *p, const uint8_t *bytes, size_t length) {
  free(p->kept);
  p->kept = length ? malloc(length) : NULL;
  if (length && !p->kept)
    return -ENOMEM;
  if (length)
    memcpy(p->kept, bytes, length);
  return 0;
}

static int peer_watch(struct peer *p, int operation, uint32_t events) {
  return epoll_ctl(loop, operation, p->fd, &(struct epoll_event){.events = events, .data.ptr = p}) ? -errno : 0;
}

static int peer_send(struct peer *p, const uint8_t *bytes, size_t length) {
  ssize_t n = send(p->fd, bytes, length, MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN)
    return -errno;
  return n < 0 ? 0 : (int)n;
}

static int peer_write(struct peer *p) {
  int n = peer_send(p, p->kept, p->unsent);
  if (n < 0)
    return n;
  p->unsent -= (size_t)n;
  if (p->unsent) {
    memmove(p->kept, p->kept + n, p->unsent);
    return 0;
  }
  return peer_watch(p, EPOLL_CTL_MOD, EPOLLIN);
}

/* Reads only while nothing waits to be written, so one leftover is enough. */
static int peer_read(struct peer *p) {
  size_t had = p->unread;
  if (had)
    memcpy(in, p->kept, had);
  ssize_t n = recv(p->fd, in + had, sizeof in - had, 0), used = 0;
  if (n <= 0)
    return n < 0 && errno == EAGAIN ? 0 : -EPIPE;
  size_t length = had + (size_t)n, answered = 0;
  if (!p->upgraded)
    used = upgrade(p, (const char *)in, length);
  else if ((used = frames_answer(in, length, &answered)) >= 0 && answered) {
    int sent = peer_send(p, out, answered);
    if (sent < 0)
      return sent;
    if ((size_t)sent < answered) {
      if ((size_t)used < length)
        return -EPROTO; /* a client that neither reads nor ends its frame */
      p->unread = 0;
      p->unsent = answered - (size_t)sent;
      int failed = peer_keep(p, out + sent, p->unsent);
      return failed ? failed : peer_watch(p, EPOLL_CTL_MOD, EPOLLOUT);
    }
  }
  if (used < 0 || (used == 0 && length == sizeof in))
    return -EPROTO;
  p->unread = length - (size_t)used;
  return had || p->unread ? peer_keep(p, in + used, p->unread) : 0;
}

static void accept_all(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
    struct peer *p = calloc(1, sizeof *p);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (!p) {
      close(fd);
      continue;
    }
    p->fd = fd;
    if (peer_watch(p, EPOLL_CTL_ADD, EPOLLIN))
      peer_free(p);
  }
}

int loop_run(const struct handler *with) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct rlimit files;
  socklen_t size = sizeof address;
  handler = with;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  loop = epoll_create1(EPOLL_CLOEXEC);
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024) ||
      getsockname(listener, (struct sockaddr *)&address, &size) ||
      epoll_ctl(loop, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN})) {
    perror("loop");
    return 1;
  }
  fprintf(stderr, "{\"msg\":\"listening\",\"port\":%d}\n", ntohs(address.sin_port));
  for (struct epoll_event events[EVENTS];;) {
    int n = epoll_wait(loop, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      struct peer *p = events[i].data.ptr;
      if (!p)
        accept_all(listener);
      else if ((p->unsent ? peer_write(p) : peer_read(p)) < 0)
        peer_free(p);
    }
  }
}
