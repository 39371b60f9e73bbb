/* In: the database that is open, the files of its name, the disk under it. Out: whether they are still those, whole,
 * and with room. Why: open files go on working when their names are gone, and what was said into them would be lost
 * with the process; so writes ask, too. Damage is found by a connection that has nothing in its cache. It takes at most
 * a hundredth of the time, so a large database is looked through less often, and one that is larger than
 * CHECK_MAX_BYTES or takes longer than CHECK_MAX_MS not at all: a reader that stays would let the log grow. (Both,
 * because SQLite looks at the clock where it goes through rows, but not where it goes through pages.) */
#include "sqlite_impl.h"

#include "log.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uv.h>

#define ROOM_MIN 65536u   /* bytes on the disk with less of which it counts as full */
#define CHECK_SHARE 100   /* of the time between two checks, what one may take */
#define CHECK_MAX_MS 2000 /* of one check */
#define CHECK_MAX_BYTES (256ll << 20)
#define CHECK_STEPS 10000 /* of SQLite's machine between two looks at the clock */

#define MOVED "the database file was removed or replaced"
#define FULL "no room is left on the disk of the database"
#define READ_ONLY "the file system of the database is read-only"
#define DAMAGED "the database file is damaged"

static struct file_place place_of(const char *path) {
  struct stat st;
  if (!path || !*path || stat(path, &st) != 0)
    return (struct file_place){0};
  return (struct file_place){.device = st.st_dev, .inode = st.st_ino};
}

/* The log appears with the first use of the database, and stays as long as somebody has it open. */
static bool has_moved(struct file_place *known, const char *path) {
  struct file_place now = place_of(path);
  if (known->inode == 0)
    *known = now;
  return now.device != known->device || now.inode != known->inode;
}

bool sqlite_moved(struct sqlite_handle *h) {
  const char *path = sqlite3_db_filename(h->db, "main");
  return has_moved(&h->file, path) || has_moved(&h->log, sqlite3_filename_wal(path));
}

static const char *disk_judge(const char *path) {
  struct statvfs fs;
  if (statvfs(path, &fs) != 0 || fs.f_blocks == 0)
    return NULL; /* it does not say */
  if (fs.f_flag & ST_RDONLY)
    return READ_ONLY;
  uint64_t blocks = geteuid() == 0 ? fs.f_bfree : fs.f_bavail;
  return blocks * fs.f_frsize < ROOM_MIN ? FULL : NULL;
}

/* ---- its pages ---- */

struct page_check {
  uint64_t until_ns;
  const atomic_bool *stop;
};

static int on_steps(void *arg) {
  const struct page_check *c = arg;
  return atomic_load(c->stop) || uv_hrtime() > c->until_ns;
}

/* One line of text; SQLite's code, SQLITE_ROW when there is one. */
static int text_of(sqlite3 *db, const char *sql, char out[128]) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(db, sql, -1, &s, NULL);
  code = code == SQLITE_OK ? sqlite3_step(s) : code;
  snprintf(out, 128, "%s", code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db));
  for (char *p = out; *p; p++)
    *p = *p == '\n' ? ' ' : *p;
  sqlite3_finalize(s);
  return code & 0xff;
}

/* SQLITE_ROW: it is whole; what else: SQLite's code, and what it has found. A file that was emptied is whole, too, but
 * not of this program. */
static int pages_check(const char *path, struct page_check *c, char found[128]) {
  sqlite3 *db = NULL;
  int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
  snprintf(found, 128, "%s", sqlite3_errstr(code));
  if (db)
    sqlite3_progress_handler(db, CHECK_STEPS, on_steps, c);
  code = code == SQLITE_OK ? text_of(db, "PRAGMA quick_check(1)", found) : code;
  if (code == SQLITE_ROW && strcmp(found, "ok") != 0)
    code = SQLITE_CORRUPT;
  char version[128];
  if (code == SQLITE_ROW && text_of(db, "PRAGMA user_version", version) == SQLITE_ROW && strcmp(version, "0") == 0) {
    snprintf(found, 128, "it is empty");
    code = SQLITE_CORRUPT;
  }
  sqlite3_close(db);
  return code;
}

static const char *pages_judge(struct sqlite_handle *h, const char *path, const atomic_bool *stop) {
  char found[128];
  struct stat st;
  uint64_t began = uv_hrtime();
  struct page_check c = {.until_ns = began + CHECK_MAX_MS * 1000000ull, .stop = stop};
  if (began < h->check_ns)
    return h->damage;
  bool fits = stat(path, &st) == 0 && st.st_size <= CHECK_MAX_BYTES;
  int code = fits ? pages_check(path, &c, found) : SQLITE_INTERRUPT;
  uint64_t ended = uv_hrtime();
  h->check_ns = ended + (ended - began) * CHECK_SHARE;
  bool damaged = code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_IOERR;
  if (damaged && !h->damage)
    LOG(LOG_ERROR, "store", "a check of the database has found damage", LSTR("found", found));
  else if (code == SQLITE_INTERRUPT && !atomic_load(stop) && !h->unchecked)
    LOG(LOG_WARN, "store", "the database is too large to be looked through for damage while the server runs",
        LINT("limit_ms", CHECK_MAX_MS), LINT("limit_bytes", CHECK_MAX_BYTES));
  h->unchecked = h->unchecked || code == SQLITE_INTERRUPT;
  if (damaged || code == SQLITE_ROW)
    h->damage = damaged ? DAMAGED : NULL;
  return h->damage;
}

const char *sqlite_look(void *handle, const atomic_bool *stop) {
  struct sqlite_handle *h = handle;
  const char *path = sqlite3_db_filename(h->db, "main");
  if (sqlite_moved(h))
    return MOVED;
  const char *reason = disk_judge(path);
  return reason ? reason : pages_judge(h, path, stop);
}
