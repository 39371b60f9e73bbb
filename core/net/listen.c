/* In: an address and a port, or a socket that is handed over. Out: sockets, one a worker. Why: see listen.h. */
#include "listen.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

/* One socket of the port; shared: with those before it. Its descriptor or a negative code. */
static int open_one(const struct sockaddr_storage *at, socklen_t at_len, const int *first) {
  int on = 1, off = 0;
  int fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return uv_translate_sys_error(errno);
  }
  bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
  if (at->ss_family == AF_INET6) {
    ok = ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0;
  }
  /* The first one binds alone, so that a port somebody else shares out is noticed. */
  if (first) {
    ok = ok && setsockopt(*first, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
    ok = ok && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
  }
  if (!ok || bind(fd, (const struct sockaddr *)at, at_len)) {
    int code = uv_translate_sys_error(errno);
    close(fd);
    return code;
  }
  return fd;
}

static int port_of(const struct sockaddr_storage *at) {
  return ntohs(at->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)at)->sin6_port
                                         : ((const struct sockaddr_in *)at)->sin_port);
}

void listen_address(int fd, char out[LISTEN_ADDRESS_MAX]) {
  struct sockaddr_storage at = {0};
  socklen_t len = sizeof at;
  int code = getsockname(fd, (struct sockaddr *)&at, &len);
  code = code ? code : getnameinfo((struct sockaddr *)&at, len, out, LISTEN_ADDRESS_MAX, NULL, 0, NI_NUMERICHOST);
  if (code) {
    snprintf(out, LISTEN_ADDRESS_MAX, "?");
  }
}

int listen_open(const char *address, int port, unsigned count, int *fds, int *bound_port, char why[256]) {
  char service[8];
  snprintf(service, sizeof service, "%d", port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
  int failed = getaddrinfo(address, service, &hints, &found);
  if (failed) {
    snprintf(why, 256, "SERVER_ADDRESS: \"%s\": %s", address, gai_strerror(failed));
    return E_INVALID;
  }
  struct sockaddr_storage at;
  socklen_t at_len = found->ai_addrlen;
  memcpy(&at, found->ai_addr, at_len);
  freeaddrinfo(found);
  int code = 0;
  unsigned opened = 0;
  for (; opened < count && code >= 0; opened += code >= 0) {
    code = fds[opened] = open_one(&at, at_len, opened ? fds : NULL);
    if (opened == 0 && code >= 0) {
      getsockname(fds[0], (struct sockaddr *)&at, &at_len); /* the real port, when it was 0 */
    }
  }
  for (unsigned i = 0; i < opened && code >= 0; i++) {
    code = listen(fds[i], 4096) ? uv_translate_sys_error(errno) : 0;
  }
  if (code < 0) {
    snprintf(why, 256, "SERVER_PORT: cannot listen on %s port %d: %s", address, port, uv_strerror(code));
    while (opened) {
      close(fds[--opened]);
    }
    return code;
  }
  *bound_port = port_of(&at);
  return 0;
}

/* ---- handed over by a service manager ---- */

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

static bool is_listening_port(int fd, struct sockaddr_storage *at) {
  int listens = 0;
  socklen_t len = sizeof listens, at_len = sizeof *at;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens &&
         getsockname(fd, (struct sockaddr *)at, &at_len) == 0 &&
         (at->ss_family == AF_INET || at->ss_family == AF_INET6);
}

static int handed_count(void) {
  const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"); // NOLINT(concurrency-mt-unsafe): no thread yet
  bool ours = pid && count && strtol(pid, NULL, 10) == getpid();
  int n = ours ? (int)strtol(count, NULL, 10) : 0;
  unsetenv("LISTEN_PID"); // NOLINT(concurrency-mt-unsafe)
  unsetenv("LISTEN_FDS"); // NOLINT(concurrency-mt-unsafe)
  return n;
}

int listen_handed_over(unsigned count, int *fds, int *bound_port, char why[256]) {
  int handed = handed_count();
  if (handed == 0) {
    return E_MISSING;
  }
  struct sockaddr_storage at = {0};
  if (handed != 1 || !is_listening_port(FIRST_FD, &at)) {
    snprintf(why, 256, "LISTEN_FDS: exactly one listening TCP socket can be handed over");
    return E_INVALID;
  }
  int code = fcntl(FIRST_FD, F_SETFL, fcntl(FIRST_FD, F_GETFL) | O_NONBLOCK) ? uv_translate_sys_error(errno) : 0;
  unsigned opened = 0;
  for (; opened < count && code == 0; opened += code == 0) {
    fds[opened] = fcntl(FIRST_FD, F_DUPFD_CLOEXEC, 0);
    code = fds[opened] < 0 ? uv_translate_sys_error(errno) : 0;
  }
  close(FIRST_FD);
  if (code) {
    snprintf(why, 256, "LISTEN_FDS: the socket cannot be used: %s", uv_strerror(code));
    while (opened) {
      close(fds[--opened]);
    }
    return code;
  }
  *bound_port = port_of(&at);
  return 0;
}
