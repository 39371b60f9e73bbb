/* In: a command. Out: what the running server answered. Why: the calling side of `chatbox reload`: one connection,
 * one line sent, one reply read, within a time limit. */
#include "control.h"
#include "err.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#define WHY_MAX 256

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

static int wait_for(int fd, short events, uint64_t deadline_ms) {
  for (;;) {
    uint64_t now = now_ms();
    struct pollfd p = {.fd = fd, .events = events};
    int ready = now < deadline_ms ? poll(&p, 1, (int)(deadline_ms - now)) : 0;
    if (ready > 0)
      return 0;
    if (ready == 0)
      return UV_ETIMEDOUT;
    if (errno != EINTR)
      return uv_translate_sys_error(errno);
  }
}

static int server_connect(const char *path, int *fd) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path)
    return UV_ENAMETOOLONG;
  strcpy(address.sun_path, path);
  *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (*fd < 0)
    return uv_translate_sys_error(errno);
  return connect(*fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : uv_translate_sys_error(errno);
}

/* A server that answers before it has read the line closes early; its answer can be read all the same. */
static int line_send(int fd, const char *line, uint64_t deadline_ms) {
  char text[CONTROL_LINE_MAX + 2];
  int len = snprintf(text, sizeof text, "%s\n", line);
  if (len >= (int)sizeof text || strchr(line, '\n'))
    return UV_EINVAL;
  for (int sent = 0; sent < len;) {
    ssize_t n = send(fd, text + sent, (size_t)(len - sent), MSG_NOSIGNAL);
    if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
      return 0;
    if (n < 0 && errno != EAGAIN && errno != EINTR)
      return uv_translate_sys_error(errno);
    sent += n > 0 ? (int)n : 0;
    int err = n < 0 ? wait_for(fd, POLLOUT, deadline_ms) : 0;
    if (err)
      return err;
  }
  return 0;
}

/* Up to the close, or as much as a reply may have. */
static int reply_read(int fd, char *text, size_t *len, uint64_t deadline_ms) {
  for (*len = 0; *len < CONTROL_REPLY_MAX;) {
    int err = wait_for(fd, POLLIN, deadline_ms);
    if (err)
      return err;
    ssize_t n = recv(fd, text + *len, CONTROL_REPLY_MAX - *len, 0);
    if (n == 0 || (n < 0 && errno == ECONNRESET))
      return 0;
    if (n < 0 && errno != EAGAIN && errno != EINTR)
      return uv_translate_sys_error(errno);
    *len += n > 0 ? (size_t)n : 0;
  }
  return 0;
}

static int reply_print(const char *text, size_t len, FILE *out) {
  bool ok = len > 3 && memcmp(text, "ok ", 3) == 0, error = len > 6 && memcmp(text, "error ", 6) == 0;
  if ((!ok && !error) || text[len - 1] != '\n')
    return E_GONE;
  size_t skip = ok ? 3 : 6;
  fwrite(text + skip, 1, len - skip, out);
  return ok ? 0 : E_INVALID;
}

int control_call_within(const char *path, const char *line, FILE *out, int limit_ms, char why[WHY_MAX]) {
  uint64_t deadline_ms = now_ms() + (uint64_t)limit_ms;
  int fd = -1;
  size_t len = 0;
  char *text = malloc(CONTROL_REPLY_MAX);
  int err = text ? server_connect(path, &fd) : UV_ENOMEM;
  if (!err)
    err = line_send(fd, line, deadline_ms);
  if (!err)
    err = reply_read(fd, text, &len, deadline_ms);
  if (!err)
    err = reply_print(text, len, out);
  if (fd >= 0)
    close(fd);
  free(text);
  if (err) {
    const char *reason = err == UV_ENOENT || err == UV_ECONNREFUSED ? "no server is running there"
                         : err == E_GONE                            ? "the server hung up without an answer"
                         : err == E_INVALID                         ? "the server answered with an error"
                                                                    : err_text(err);
    snprintf(why, WHY_MAX, "%.120s: %.100s", path, reason);
  }
  return err;
}

int control_call(const char *path, const char *line, FILE *out, char why[WHY_MAX]) {
  return control_call_within(path, line, out, CONTROL_CALL_MS, why);
}
