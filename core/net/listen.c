/* In: an address and a port. Out: sockets that share them, one a worker. Why: see listen.h. */
#include "listen.h"

#include "err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

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
  for (unsigned i = 0; i < count; i++) {
    int on = 1, off = 0;
    fds[i] = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fds[i], SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at.ss_family == AF_INET6) {
      setsockopt(fds[i], IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    /* The first one binds alone, so that a port somebody else shares out is noticed. */
    if (i > 0) {
      setsockopt(fds[0], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
      setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    }
    if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&at, at_len)) {
      snprintf(why, 256, "SERVER_PORT: cannot listen on %s port %d: %s", address, port, strerror(errno));
      int code = uv_translate_sys_error(errno);
      for (unsigned k = 0; k <= i; k++) {
        close(fds[k]);
      }
      return code;
    }
    if (i == 0) {
      getsockname(fds[0], (struct sockaddr *)&at, &at_len);
    }
  }
  for (unsigned i = 0; i < count; i++) {
    listen(fds[i], 4096);
  }
  *bound_port =
    ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
  return 0;
}
