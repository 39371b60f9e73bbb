/* In: an open database. Out: a copy of it, as of one instant, in a new file. Why VACUUM INTO: one read transaction, so
 * a server that writes meanwhile neither waits nor tears the copy, and no page of it holds what was erased before. It
 * is written beside its place and gets its name when it is whole, marked as a copy (mark.c) and on the disk. */
#include "sqlite_impl.h"

#include "err.h"
#include "mark.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static int backup_failed(const char *what, const char *file, int code, char why[256]) {
  snprintf(why, 256, "cannot %s %.160s: %s", what, file, err_text(code));
  return code;
}

/* What an ended backup left: empty, or a database whose first page is written last. */
static bool is_leftover(int fd) {
  static const char none[16] = {0};
  char start[16];
  ssize_t n = pread(fd, start, sizeof start, 0);
  return n == 0 || (n == (ssize_t)sizeof start &&
                    (memcmp(start, "SQLite format 3", 16) == 0 || memcmp(start, none, sizeof none) == 0));
}

/* A backup that runs holds a lock on its file, so the file of one that was ended can be told from it. */
static int leftover_remove(const char *part, char why[256]) {
  struct stat of_fd, of_path;
  int fd = open(part, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), code = 0;
  if (fd < 0)
    return errno == ENOENT ? 0 : backup_failed("remove", part, uv_translate_sys_error(errno), why);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    snprintf(why, 256, "another backup is writing %.200s", part);
    code = E_BUSY;
  } else if (fstat(fd, &of_fd) != 0 || !S_ISREG(of_fd.st_mode) || !is_leftover(fd)) {
    snprintf(why, 256, "%.200s is already there, and no backup left it", part);
    code = E_CONFLICT;
  } else if (lstat(part, &of_path) == 0 && of_path.st_ino == of_fd.st_ino && unlink(part) != 0) {
    code = backup_failed("remove", part, uv_translate_sys_error(errno), why);
  }
  close(fd);
  return code;
}

/* Owned by its maker before there is a byte in it: SQLite would make it with the umask's mode. A descriptor with the
 * lock, or a negative code. */
static int part_make(const char *part, char why[256]) {
  int code = leftover_remove(part, why);
  if (code)
    return code;
  int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0)
    return backup_failed("make", part, uv_translate_sys_error(errno), why);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    snprintf(why, 256, "another backup is writing %.200s", part);
    close(fd);
    return E_BUSY;
  }
  return fd;
}

static int part_fill(sqlite3 *db, const char *part, char why[256]) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(db, "VACUUM INTO ?1", -1, &s, NULL);
  if (code == SQLITE_OK) {
    sqlite3_bind_text(s, 1, part, -1, SQLITE_STATIC);
    sqlite3_step(s);
    code = sqlite3_reset(s);
  }
  if (code != SQLITE_OK)
    snprintf(why, 256, "cannot copy to %.120s: %.80s (SQLite code %d)", part, sqlite3_errmsg(db),
             sqlite3_extended_errcode(db));
  sqlite3_finalize(s);
  return code == SQLITE_OK ? 0 : E_STORE;
}

static int path_sync(const char *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC);
  int code = fd < 0 || fsync(fd) < 0 ? uv_translate_sys_error(errno) : 0;
  if (fd >= 0)
    close(fd);
  return code;
}

/* link, because unlike rename it fails when the name is taken. */
static int part_name(const char *part, const char *file, char why[256]) {
  char folder[PATH_MAX];
  const char *slash = strrchr(file, '/');
  snprintf(folder, sizeof folder, "%.*s", !slash ? 1 : (int)(slash - file) + 1, !slash ? "." : file);
  int code = path_sync(part, O_RDWR);
  if (code == 0 && link(part, file) < 0)
    code = errno == EEXIST ? E_CONFLICT : uv_translate_sys_error(errno);
  if (code == 0)
    code = path_sync(folder, O_RDONLY | O_DIRECTORY);
  return code ? backup_failed("finish", file, code, why) : 0;
}

int sqlite_backup(sqlite3 *db, const char *file, char why[256]) {
  char part[PATH_MAX];
  struct stat st;
  if ((size_t)snprintf(part, sizeof part, "%s.part", file) >= sizeof part)
    return backup_failed("make", file, UV_ENAMETOOLONG, why);
  if (lstat(file, &st) == 0) {
    snprintf(why, 256, "%.200s is already there", file);
    return E_CONFLICT;
  }
  int fd = part_make(part, why);
  if (fd < 0)
    return fd;
  int code = part_fill(db, part, why);
  if (code == 0 && (code = mark_set(fd)) != 0)
    backup_failed("write", part, code, why);
  code = code ? code : part_name(part, file, why);
  unlink(part);
  close(fd);
  return code;
}
