/* In: the path of a database file. Out: whether it is a copy that `chatbox backup` made, and the file as a database of
 * its own. Why: SQLite would play the -wal of the database that was there before into a copy put in its place, and so
 * undo it without a word. The mark is the application_id of the file's header, because that survives every way of
 * copying; it is read and written before SQLite opens the file, so it never lies in a -wal itself. In a database that
 * was brought back, the application_id is its epoch: a number that says that what was stored after the copy is gone. */
#include "mark.h"

#include "err.h"
#include "log.h"
#include "store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define MARK 0x63426b70u /* "cBkp" */
#define APPLICATION_ID_AT 68
#define HEADER 100

static int mark_failed(const char *what, const char *path, char why[256]) {
  int code = uv_translate_sys_error(errno);
  snprintf(why, 256, "cannot %s %.180s: %s", what, path, uv_strerror(code));
  return code;
}

static bool is_marked(const unsigned char header[HEADER]) {
  const unsigned char *id = header + APPLICATION_ID_AT;
  uint32_t found = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
  return memcmp(header, "SQLite format 3", 16) == 0 && found == MARK;
}

static void id_bytes(uint32_t id, unsigned char out[4]) {
  for (int i = 0; i < 4; i++)
    out[i] = (unsigned char)(id >> (24 - 8 * i));
}

int mark_set(int fd) {
  unsigned char bytes[4];
  id_bytes(MARK, bytes);
  errno = 0;
  if (pwrite(fd, bytes, sizeof bytes, APPLICATION_ID_AT) != (ssize_t)sizeof bytes || fsync(fd) != 0)
    return errno ? uv_translate_sys_error(errno) : UV_EIO;
  return 0;
}

static uint32_t epoch_draw(void) {
  uint32_t epoch = 0;
  while (epoch == 0 || epoch == MARK) {
    if (getrandom(&epoch, sizeof epoch, 0) != (ssize_t)sizeof epoch)
      epoch = 0;
  }
  return epoch;
}

/* What belongs to another state of the database than a marked file is. */
static bool leftover_find(const char *path, char out[PATH_MAX]) {
  static const char *const suffixes[] = {"-wal", "-journal"};
  char real[PATH_MAX];
  struct stat st;
  for (size_t i = 0; i < 2; i++) {
    snprintf(out, PATH_MAX, "%.*s%s", PATH_MAX - 16, realpath(path, real) ? real : path, suffixes[i]);
    if (stat(out, &st) == 0 && st.st_size > 0)
      return true;
  }
  return false;
}

static int mark_clear(sqlite3_file *file, const char *path, char why[256]) {
  unsigned char bytes[4];
  uint32_t epoch = epoch_draw();
  id_bytes(epoch, bytes);
  if (file->pMethods->xWrite(file, bytes, sizeof bytes, APPLICATION_ID_AT) != SQLITE_OK ||
      file->pMethods->xSync(file, SQLITE_SYNC_FULL) != SQLITE_OK) {
    snprintf(why, 256, "cannot write to %.200s", path);
    return E_STORE;
  }
  LOG(LOG_INFO, "store", "a backup is the database from now on", LSTR("file", path), LINT("epoch", epoch));
  return 0;
}

int mark_look(sqlite3 *db, const char *path, bool writer, char why[256]) {
  unsigned char header[HEADER];
  char leftover[PATH_MAX];
  sqlite3_file *file = NULL;
  if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file || !file->pMethods ||
      file->pMethods->xRead(file, header, sizeof header, 0) != SQLITE_OK || !is_marked(header))
    return 0; /* what is no database at all, SQLite says better */
  if (leftover_find(path, leftover)) {
    snprintf(why, 256, "%.90s is a backup, and %.90s beside it would undo it: use `chatbox restore`", path, leftover);
    return E_CONFLICT;
  }
  return writer ? mark_clear(file, path, why) : 0;
}

/* ---- restore ---- */

static int bytes_copy(int from, int to, const char *part, char why[256]) {
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = read(from, buffer, sizeof buffer);
    if (n == 0)
      return 0;
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return mark_failed("read what is copied to", part, why);
    for (ssize_t at = 0, m; at < n; at += m) {
      m = write(to, buffer + at, (size_t)(n - at));
      if (m < 0 && errno != EINTR)
        return mark_failed("write", part, why);
      m = m < 0 ? 0 : m;
    }
  }
}

static int folder_sync(const char *path) {
  char folder[PATH_MAX];
  const char *slash = strrchr(path, '/');
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int code = fd < 0 || fsync(fd) != 0 ? uv_translate_sys_error(errno) : 0;
  if (fd >= 0)
    close(fd);
  return code;
}

/* The name first: ended in between, it is a marked file beside a -wal, which is refused, and not the old database
 * without what was last written to it. */
static int part_place(const char *part, const char *path, char why[256]) {
  static const char *const suffixes[] = {"-wal", "-journal", "-shm"};
  char beside[PATH_MAX];
  if (rename(part, path) != 0)
    return mark_failed("replace", path, why);
  int code = folder_sync(path);
  for (size_t i = 0; code == 0 && i < sizeof suffixes / sizeof *suffixes; i++) {
    snprintf(beside, sizeof beside, "%.*s%s", PATH_MAX - 16, path, suffixes[i]);
    if (unlink(beside) != 0 && errno != ENOENT)
      return mark_failed("remove", beside, why);
  }
  code = code ? code : folder_sync(path);
  if (code)
    snprintf(why, 256, "cannot finish %.180s: %s", path, err_text(code));
  return code;
}

static int part_write(int from, const char *path, mark_check *check, char why[256]) {
  char part[PATH_MAX];
  snprintf(part, sizeof part, "%.*s.restoring", PATH_MAX - 16, path);
  if (unlink(part) != 0 && errno != ENOENT) /* whoever has the lock is the only one who writes it */
    return mark_failed("remove", part, why);
  int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0)
    return mark_failed("make", part, why);
  int code = bytes_copy(from, fd, part, why);
  code = code ? code : check(part, why);
  if (code == 0 && (code = mark_set(fd)) != 0)
    snprintf(why, 256, "cannot write %.180s: %s", part, err_text(code));
  close(fd);
  code = code ? code : part_place(part, path, why);
  if (code)
    unlink(part);
  return code;
}

int mark_restore(const char *file, const char *path, mark_check *check, char why[256]) {
  char leftover[PATH_MAX], real[PATH_MAX];
  struct stat of_file, of_path;
  int lock_fd = -1;
  int from = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (from < 0 || fstat(from, &of_file) != 0)
    return mark_failed("open", file, why);
  if (!S_ISREG(of_file.st_mode)) {
    snprintf(why, 256, "%.200s is no regular file", file);
    close(from);
    return E_INVALID;
  }
  int code = store_file_claim(path, &lock_fd, why);
  if (code == 0 && stat(path, &of_path) == 0 && of_path.st_dev == of_file.st_dev && of_path.st_ino == of_file.st_ino) {
    snprintf(why, 256, "%.200s is the database itself", file);
    code = E_CONFLICT;
  }
  if (code == 0 && leftover_find(file, leftover)) {
    snprintf(why, 256, "%.90s is no backup: %.90s beside it is a part of it", file, leftover);
    code = E_CONFLICT;
  }
  code = code ? code : part_write(from, realpath(path, real) ? real : path, check, why);
  close(from);
  if (lock_fd >= 0)
    close(lock_fd);
  return code;
}
