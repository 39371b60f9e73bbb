/* In: a path. Out: the bytes of the regular file there. Why: see regular.h. Looked at before it is opened, for the sake
 * of devices, and after, because it may have been exchanged meanwhile. */
#include "regular.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static int regular_open(const char *path, int *out) {
  struct stat st;
  if (stat(path, &st) != 0) {
    return uv_translate_sys_error(errno);
  }
  if (!S_ISREG(st.st_mode)) {
    return S_ISDIR(st.st_mode) ? UV_EISDIR : E_UNSUPPORTED;
  }
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    return uv_translate_sys_error(errno);
  }
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return E_UNSUPPORTED;
  }
  *out = fd;
  return 0;
}

/* At most size bytes. */
static int read_all(int fd, char *text, size_t size, size_t *len) {
  for (*len = 0; *len < size;) {
    ssize_t n = read(fd, text + *len, size - *len);
    if (n == 0) {
      return 0;
    }
    if (n < 0 && errno != EINTR) {
      return uv_translate_sys_error(errno);
    }
    *len += n > 0 ? (size_t)n : 0;
  }
  return 0;
}

int regular_read(const char *path, size_t max, char **text, size_t *len) {
  int fd = -1;
  int code = regular_open(path, &fd);
  if (code) {
    return code;
  }
  char *bytes = malloc(max + 2);
  code = bytes ? read_all(fd, bytes, max + 1, len) : UV_ENOMEM;
  code = code == 0 && *len > max ? E_TOO_BIG : code;
  close(fd);
  if (code) {
    free(bytes);
    return code;
  }
  char *fitted = realloc(bytes, *len + 1);
  *text = fitted ? fitted : bytes;
  (*text)[*len] = '\0';
  return 0;
}
