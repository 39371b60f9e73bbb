/* In: states of the server. Out: datagrams. Why: see notify.h. */
#include "notify.h"

#include "err.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

/* A path, or a name in the abstract namespace, which begins with @ here and with a NUL there. The length, 0: no
 * address. */
static socklen_t address_of(const char *name, struct sockaddr_un *at) {
  size_t len = strlen(name);
  if ((name[0] != '/' && name[0] != '@') || len >= sizeof at->sun_path) {
    return 0;
  }
  *at = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(at->sun_path, name, len);
  if (name[0] == '@') {
    at->sun_path[0] = '\0';
  }
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

int notify_send(const char *state) {
  const char *name = getenv("NOTIFY_SOCKET"); // NOLINT(concurrency-mt-unsafe): nobody sets it
  struct sockaddr_un at;
  if (!name || !*name) {
    return 0;
  }
  socklen_t len = address_of(name, &at);
  int fd = len ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
  bool sent = fd >= 0 && sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&at, len) >= 0;
  int code = sent ? 0 : len ? uv_translate_sys_error(errno) : E_INVALID;
  if (fd >= 0) {
    close(fd);
  }
  if (code) {
    LOG(LOG_WARN, "server", "the service manager cannot be told", LSTR("state", state), LSTR("error", err_text(code)));
  }
  return code;
}

void notify_reloading(bool begins) {
  char text[64];
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  uint64_t us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
  snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, us);
  (void)notify_send(begins ? text : "READY=1");
}

uint64_t notify_watchdog_ms(void) {
  const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID"); // NOLINT(concurrency-mt-unsafe)
  if (!us || (pid && strtol(pid, NULL, 10) != getpid())) {
    return 0;
  }
  uint64_t ms = strtoull(us, NULL, 10) / 2000;
  return ms;
}
