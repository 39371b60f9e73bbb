/* In: an address and a port. Out: sockets that share them, one a worker. Why: see listen.h. */
#include "listen.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
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
  *bound_port =
    ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
  return 0;
}
