/* In: the path of a database file. Out: the file, made and locked.
 * Why flock: the kernel lets go of it when the process dies, however it dies, so a killed server needs no cleaning up.
 * The lock file stays: removing it would let two processes lock two files of one name. */
#include "store_file.h"

#include "err.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static int file_failed(const char *what, const char *path, char why[256]) {
  int code = uv_translate_sys_error(errno);
  snprintf(why, 256, "cannot %s %.160s: %s", what, path, uv_strerror(code));
  return code;
}

static int folder_make(const char *path, char why[256]) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  if (!slash || slash == path)
    return 0;
  snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
  if (mkdir(folder, 0700) < 0 && errno != EEXIST)
    return file_failed("make folder", folder, why);
  return 0;
}

static int file_lock(const char *path, int *lock_fd, char why[256]) {
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0)
    return file_failed("open", path, why);
  if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
    int r = E_BUSY;
    if (errno == EWOULDBLOCK)
      snprintf(why, 256, "another process uses the database: it holds %.160s", path);
    else
      r = file_failed("lock", path, why);
    close(fd);
    return r;
  }
  *lock_fd = fd;
  return 0;
}

int store_file_claim(const char *path, int *lock_fd, char why[256]) {
  char lock_path[PATH_MAX];
  if ((size_t)snprintf(lock_path, sizeof lock_path, "%s.lock", path) >= sizeof lock_path) {
    errno = ENAMETOOLONG;
    return file_failed("open", path, why);
  }
  int r = folder_make(path, why);
  if (r == 0)
    r = file_lock(lock_path, lock_fd, why);
  if (r < 0)
    return r;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* SQLite would make it with the umask's mode */
  if (fd < 0) {
    r = file_failed("open", path, why);
    close(*lock_fd);
    *lock_fd = -1;
    return r;
  }
  close(fd);
  return 0;
}

int store_file_fresh(const char *url, char why[256]) {
  static const char *const suffixes[] = {"", "-wal", "-shm"};
  char path[PATH_MAX];
  int lock_fd = -1, code;
  if (strncmp(url, "sqlite:", 7) != 0) {
    snprintf(why, 256, "only a database of sqlite: can be made anew");
    return E_UNSUPPORTED;
  }
  if ((code = store_file_claim(url + 7, &lock_fd, why)) < 0)
    return code;
  for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes && code == 0; i++) {
    snprintf(path, sizeof path, "%s%s", url + 7, suffixes[i]);
    if (unlink(path) < 0 && errno != ENOENT)
      code = file_failed("remove", path, why);
  }
  close(lock_fd);
  return code;
}
