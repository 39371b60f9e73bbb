/* In: records. Out: datagrams to systemd's journal. Why: see journal.h. */
#include "journal.h"

#include "err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

bool journal_is(int fd) {
  const char *stream = getenv("JOURNAL_STREAM"); // NOLINT(concurrency-mt-unsafe): nobody sets it
  char *end, *last;
  struct stat st;
  if (!stream || fstat(fd, &st) != 0) {
    return false;
  }
  uintmax_t device = strtoumax(stream, &end, 10);
  if (end == stream || *end != ':') {
    return false;
  }
  uintmax_t inode = strtoumax(end + 1, &last, 10);
  return last != end + 1 && *last == '\0' && device == st.st_dev && inode == st.st_ino;
}

int journal_open(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof at.sun_path) {
    return E_INVALID;
  }
  strcpy(at.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    return uv_translate_sys_error(errno);
  }
  if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
    int code = uv_translate_sys_error(errno);
    close(fd);
    return code;
  }
  return fd;
}

int journal_send(int fd, const char *record, size_t len) {
  ssize_t n;
  do {
    n = send(fd, record, len, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (n < 0 && errno == EINTR);
  return n >= 0 ? 0 : errno == EAGAIN || errno == ENOBUFS ? UV_EAGAIN : uv_translate_sys_error(errno);
}

static char field_char(char c) {
  return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
}

void journal_field(const char *prefix, const char *key, char out[JOURNAL_FIELD_MAX + 1]) {
  size_t len = (size_t)snprintf(out, JOURNAL_FIELD_MAX + 1, "%s", prefix);
  for (; *key && len < JOURNAL_FIELD_MAX; key++) {
    out[len++] = field_char(*key);
  }
  out[len < JOURNAL_FIELD_MAX ? len : JOURNAL_FIELD_MAX] = '\0';
}
