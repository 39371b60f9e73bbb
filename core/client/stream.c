/* In: the address of a server. Out: bytes to and from it. Why: see stream.h. Signals are blocked but for the moment of
 * waiting (ppoll), so none comes between looking and waiting. */
#include "stream.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define WRITE_MS 10000

struct stream {
  int fd;
  SSL_CTX *context;
  SSL *tls; /* NULL: without */
};

static volatile int *noted;
static sigset_t waiting; /* the signals that are blocked while somebody waits: those of the caller */

uint64_t stream_now_ms(void) {
  return uv_hrtime() / 1000000;
}

static void on_signal(int number) {
  *noted = number;
}

void stream_signals(volatile int *stop) {
  struct sigaction action = {.sa_handler = on_signal};
  sigset_t block;
  noted = stop;
  sigemptyset(&action.sa_mask);
  sigemptyset(&block);
  sigaddset(&block, SIGINT);
  sigaddset(&block, SIGTERM);
  sigprocmask(SIG_BLOCK, &block, &waiting);
  sigdelset(&waiting, SIGINT);
  sigdelset(&waiting, SIGTERM);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
}

static int poll_until(struct pollfd *fds, nfds_t count, uint64_t deadline_ms, const volatile int *stop) {
  while (!*stop) {
    uint64_t now = stream_now_ms();
    uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / 1000), .tv_nsec = (long)(left % 1000) * 1000000};
    int ready = ppoll(fds, count, &limit, &waiting);
    if (ready >= 0) {
      return ready;
    }
    if (errno != EINTR) {
      return uv_translate_sys_error(errno);
    }
  }
  return UV_EINTR;
}

void stream_sleep(uint64_t ms, const volatile int *stop) {
  (void)!poll_until(NULL, 0, stream_now_ms() + ms, stop);
}

/* ---- connecting ---- */

static int address_try(const struct addrinfo *a, uint64_t deadline_ms, const volatile int *stop, int *out) {
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return uv_translate_sys_error(errno);
  }
  int code = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : uv_translate_sys_error(errno);
  if (code == uv_translate_sys_error(EINPROGRESS)) {
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int ready = poll_until(&p, 1, deadline_ms, stop);
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    code = ready < 0 ? ready : ready == 0 ? UV_ETIMEDOUT : error ? uv_translate_sys_error(error) : 0;
  }
  if (code) {
    close(fd);
    return code;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  *out = fd;
  return 0;
}

static int host_connect(const struct url *u, uint64_t deadline_ms, const volatile int *stop, int *fd,
                        char why[STREAM_WHY]) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV}, *list = NULL;
  char shown[URL_HOST_MAX + 10];
  url_authority(u, shown);
  int found = getaddrinfo(u->host, u->port, &hints, &list);
  if (found) {
    snprintf(why, STREAM_WHY, "%.100s: %.100s", u->host, gai_strerror(found));
    return UV_EAI_NONAME;
  }
  int code = UV_EADDRNOTAVAIL;
  for (const struct addrinfo *a = list; a && !*stop; a = a->ai_next) {
    code = address_try(a, deadline_ms, stop, fd);
    if (code == 0) {
      break;
    }
  }
  freeaddrinfo(list);
  if (code) {
    snprintf(why, STREAM_WHY, "cannot connect to %.120s: %.100s", shown, uv_strerror(code));
  }
  return *stop ? UV_EINTR : code;
}

/* ---- TLS ---- */

static void tls_why(const struct stream *s, char why[STREAM_WHY]) {
  long verdict = SSL_get_verify_result(s->tls);
  unsigned long error = ERR_peek_error();
  const char *reason = verdict != X509_V_OK ? X509_verify_cert_error_string(verdict)
                       : error              ? ERR_reason_error_string(error)
                                            : "the server hung up";
  snprintf(why, STREAM_WHY, "TLS: %.200s", reason ? reason : "it failed");
}

/* What the name in the certificate has to be. */
static bool tls_expect(SSL *tls, const char *host) {
  unsigned char ip[16];
  bool numeric = inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
  if (numeric) {
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host) == 1;
  }
  return SSL_set1_host(tls, host) == 1 && SSL_set_tlsext_host_name(tls, host) == 1;
}

static int tls_open(struct stream *s, const char *host, uint64_t deadline_ms, const volatile int *stop,
                    char why[STREAM_WHY]) {
  s->context = SSL_CTX_new(TLS_client_method());
  if (!s->context || SSL_CTX_set_default_verify_paths(s->context) != 1 ||
      SSL_CTX_set_min_proto_version(s->context, TLS1_2_VERSION) != 1) {
    return UV_ENOMEM;
  }
  SSL_CTX_set_verify(s->context, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_mode(s->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  s->tls = SSL_new(s->context);
  if (!s->tls || !tls_expect(s->tls, host) || SSL_set_fd(s->tls, s->fd) != 1) {
    return UV_ENOMEM;
  }
  for (;;) {
    ERR_clear_error();
    int done = SSL_connect(s->tls);
    int wants = SSL_get_error(s->tls, done);
    if (done == 1) {
      return 0;
    }
    if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE) {
      tls_why(s, why);
      return E_PROTOCOL;
    }
    struct pollfd p = {.fd = s->fd, .events = wants == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT};
    int ready = poll_until(&p, 1, deadline_ms, stop);
    if (ready <= 0) {
      snprintf(why, STREAM_WHY, "TLS: the server does not answer");
      return ready == 0 ? UV_ETIMEDOUT : ready;
    }
  }
}

int stream_open(struct stream **out, const struct url *u, uint64_t deadline_ms, const volatile int *stop,
                char why[STREAM_WHY]) {
  struct stream *s = calloc(1, sizeof *s);
  *out = NULL;
  if (!s) {
    return UV_ENOMEM;
  }
  s->fd = -1;
  int code = host_connect(u, deadline_ms, stop, &s->fd, why);
  if (!code && u->tls) {
    code = tls_open(s, u->host, deadline_ms, stop, why);
  }
  if (code) {
    stream_close(s);
    return code;
  }
  *out = s;
  return 0;
}

void stream_close(struct stream *s) {
  if (!s) {
    return;
  }
  SSL_free(s->tls);
  SSL_CTX_free(s->context);
  if (s->fd >= 0) {
    close(s->fd);
  }
  free(s);
}

/* ---- bytes ---- */

void stream_wait(struct stream *s, int fd, uint64_t deadline_ms, const volatile int *stop, int *server, int *other) {
  struct pollfd fds[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
  bool waits = s->tls && SSL_pending(s->tls) > 0; /* decrypted already: the socket does not tell */
  int ready = poll_until(fds, 2, waits ? 0 : deadline_ms, stop);
  *server = waits || (ready > 0 && fds[0].revents);
  *other = ready > 0 && fds[1].revents;
}

ssize_t stream_read(struct stream *s, void *out, size_t room) {
  if (!s->tls) {
    ssize_t n = recv(s->fd, out, room, 0);
    if (n > 0) {
      return n;
    }
    return n == 0 ? UV_EOF : errno == EAGAIN || errno == EINTR ? 0 : uv_translate_sys_error(errno);
  }
  ERR_clear_error();
  int n = SSL_read(s->tls, out, room > INT32_MAX ? INT32_MAX : (int)room);
  int error = SSL_get_error(s->tls, n);
  return n > 0 ? n : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : UV_EOF;
}

/* Some of them; 0: not now, *events says what to wait for. */
static ssize_t write_some(struct stream *s, const void *bytes, size_t len, short *events) {
  *events = POLLOUT;
  if (!s->tls) {
    ssize_t n = send(s->fd, bytes, len, MSG_NOSIGNAL);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : uv_translate_sys_error(errno);
  }
  ERR_clear_error();
  int n = SSL_write(s->tls, bytes, len > INT32_MAX ? INT32_MAX : (int)len);
  int error = SSL_get_error(s->tls, n);
  *events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
  return n > 0 ? n : error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : UV_EPIPE;
}

int stream_write(struct stream *s, const void *bytes, size_t len) {
  uint64_t deadline_ms = stream_now_ms() + WRITE_MS;
  for (size_t sent = 0; sent < len;) {
    short events;
    ssize_t n = write_some(s, (const char *)bytes + sent, len - sent, &events);
    if (n < 0) {
      return (int)n;
    }
    sent += (size_t)n;
    if (n == 0) {
      struct pollfd p = {.fd = s->fd, .events = events};
      int ready = poll(&p, 1, 100); /* signals are blocked here: a message is sent whole */
      if (ready < 0 && errno != EINTR) {
        return uv_translate_sys_error(errno);
      }
      if (stream_now_ms() >= deadline_ms) {
        return UV_ETIMEDOUT;
      }
    }
  }
  return 0;
}
