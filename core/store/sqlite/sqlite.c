/* In: the path of a database. Out: handles for the threads of store.c, on a schema this program knows. Why this shape:
 * WAL lets readers go on while the writer commits, synchronous=FULL makes a commit survive the power plug, and what has
 * been erased is overwritten, not only unlinked (secure_delete). */
#include "sqlite_impl.h"

#include "err.h"
#include "mark.h"
#include "store_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define BUSY_TIMEOUT_MS 500

/* upgrades[n] makes a database of version n one of version n + 1. Times in ms since 1970; respTimes: u32, little
 * endian. Without a rowid the messages of a conversation lie side by side, as history reads them. */
static const char *const upgrades[] = {
  "CREATE TABLE sessions(key INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, uid TEXT NOT NULL, nm TEXT, modelId TEXT,"
  " ts INTEGER NOT NULL, endTs INTEGER, lastActivity INTEGER NOT NULL, helpRequested INTEGER NOT NULL,"
  " adminAssisted INTEGER NOT NULL, assistingAdminId TEXT, assistingAdminName TEXT, totalTokens INTEGER NOT NULL,"
  " maxRespTime INTEGER NOT NULL, avgRespTime INTEGER NOT NULL, respTimes BLOB, top INTEGER NOT NULL DEFAULT 0) STRICT;"
  "CREATE INDEX sessions_user ON sessions(uid, ts);"
  "CREATE INDEX sessions_active ON sessions(uid, ts) WHERE endTs IS NULL;"
  "CREATE TABLE messages(session INTEGER NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, cid TEXT, sender TEXT,"
  " type TEXT, ts INTEGER NOT NULL, extra TEXT, content BLOB NOT NULL, PRIMARY KEY(session, seq))"
  " STRICT, WITHOUT ROWID;"
  "CREATE UNIQUE INDEX messages_id ON messages(id);"
  "CREATE UNIQUE INDEX messages_cid ON messages(session, cid) WHERE cid IS NOT NULL;",
  /* 2: lists go on from a place, conversations expire, and it is written down who erased what */
  "DROP INDEX sessions_user; CREATE INDEX sessions_user ON sessions(uid, ts, id);"
  "DROP INDEX sessions_active; CREATE INDEX sessions_active ON sessions(uid, ts, id) WHERE endTs IS NULL;"
  "CREATE INDEX sessions_idle ON sessions(lastActivity, key);"
  "CREATE TABLE audit(key INTEGER PRIMARY KEY, ts INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,"
  " subject TEXT, detail TEXT) STRICT;",
  /* 3: names are sealed as messages are (upgrade_texts), keys are counted, and erasures go in steps. What is plain and
   * looks like the form that is new here is marked as plain. */
  "CREATE TABLE keys(id TEXT PRIMARY KEY, sealed INTEGER NOT NULL, whole TEXT)"
  " STRICT, WITHOUT ROWID;"
  "INSERT INTO keys(id, sealed) SELECT CAST(substr(content, 5, 8) AS TEXT), count(*) FROM messages"
  " WHERE substr(content, 1, 4) = CAST('cb1:' AS BLOB) GROUP BY 1;"
  "UPDATE messages SET content = CAST('plain:' || CAST(content AS TEXT) AS BLOB)"
  " WHERE substr(content, 1, 4) = CAST('cb2:' AS BLOB) OR (substr(content, 1, 6) = CAST('plain:' AS BLOB)"
  " AND replace(CAST(content AS TEXT), 'plain:', '') LIKE 'cb2:%');"
  "CREATE TABLE erasures(key INTEGER PRIMARY KEY, ts INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,"
  " subject TEXT, sessions INTEGER NOT NULL DEFAULT 0, messages INTEGER NOT NULL DEFAULT 0) STRICT;"
  "CREATE TABLE erasing(uid TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, erasure INTEGER NOT NULL,"
  " PRIMARY KEY(uid, first)) STRICT, WITHOUT ROWID;",
  /* 4: which messages wait for an answer. A table of its own, because it stays small, and what was stored before does
   * not wait; by id, because an answer knows no more of its message before that is committed */
  "CREATE TABLE unanswered(session INTEGER NOT NULL, id TEXT NOT NULL, ts INTEGER NOT NULL,"
  " begun INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(session, id))"
  " STRICT, WITHOUT ROWID;",
  /* 5: how far its user has read a conversation. What was there before nobody has to read again */
  "ALTER TABLE sessions ADD COLUMN received INTEGER NOT NULL DEFAULT 0;"
  "ALTER TABLE sessions ADD COLUMN readTo INTEGER NOT NULL DEFAULT 0;"
  "UPDATE sessions SET received = top, readTo = top;",
  /* 6: lists of all conversations in any order, and conversations that are shown to who has a token */
  "ALTER TABLE sessions ADD COLUMN ended INTEGER AS (ifnull(endTs, 0)) VIRTUAL;"
  "ALTER TABLE sessions ADD COLUMN lasted INTEGER AS (endTs - ts) VIRTUAL;"
  "CREATE INDEX sessions_start ON sessions(ts);"
  "CREATE INDEX sessions_end ON sessions(ended);"
  "CREATE INDEX sessions_lasted ON sessions(lasted) WHERE endTs IS NOT NULL;"
  "CREATE INDEX sessions_live ON sessions(ts) WHERE endTs IS NULL;"
  "CREATE INDEX sessions_assisted ON sessions(ts) WHERE adminAssisted = 1;"
  "CREATE INDEX sessions_top ON sessions(top);"
  "CREATE INDEX sessions_tokens ON sessions(totalTokens);"
  "CREATE TABLE shares(session INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, token TEXT NOT NULL,"
  " ts INTEGER NOT NULL, expires INTEGER NOT NULL) STRICT;"};
#define VERSION ((int)(sizeof upgrades / sizeof *upgrades))

static int open_failed(struct sqlite_handle *h, const char *path, char why[256]) {
  int code = sqlite3_extended_errcode(h->db);
  snprintf(why, 256, "%.140s: %.80s (SQLite code %d)", path, sqlite3_errmsg(h->db), code);
  return (code & 0xff) == SQLITE_BUSY ? E_BUSY : E_STORE;
}

/* The first column of the first row as text; SQLite's code. */
static int query(struct sqlite_handle *h, const char *sql, char out[32]) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(h->db, sql, -1, &s, NULL);
  if (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
    snprintf(out, 32, "%s", (const char *)sqlite3_column_text(s, 0));
  int last = sqlite3_finalize(s);
  return code == SQLITE_OK ? last : code;
}

/* Before anything is changed in it: it is ours, and not newer than we are. */
static int schema_check(struct sqlite_handle *h, const char *path, int *version, char why[256]) {
  char text[32] = "", tables[32] = "";
  if (query(h, "PRAGMA user_version", text) != SQLITE_OK ||
      query(h, "SELECT count(*) FROM sqlite_schema", tables) != SQLITE_OK)
    return open_failed(h, path, why);
  *version = (int)strtol(text, NULL, 10);
  if (*version == 0 && strcmp(tables, "0") != 0) {
    snprintf(why, 256, "%.160s is a database of another program", path);
    return E_INVALID;
  }
  if (*version < 0 || *version > VERSION) {
    snprintf(why, 256, "%.140s has schema version %d, this program knows versions up to %d", path, *version, VERSION);
    return E_SCHEMA;
  }
  return 0;
}

/* What SQL cannot do, in the transaction of the step to that version. */
static int upgrade_texts(struct sqlite_handle *h, const struct store_options *o, int version, char why[256]) {
  if (version != 3)
    return 0;
  int code = keys_check(h->db, o, why);
  return code ? code : names_upgrade(h->db, o->keys, why);
}

static int schema_upgrade(struct sqlite_handle *h, const struct store_options *o, const char *path, int version,
                          char why[256]) {
  for (; version < VERSION; version++) {
    char bump[64];
    snprintf(bump, sizeof bump, "PRAGMA user_version = %d; COMMIT", version + 1);
    if (sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(h->db, upgrades[version], NULL, NULL, NULL) != SQLITE_OK)
      return open_failed(h, path, why);
    int code = upgrade_texts(h, o, version + 1, why);
    if (code)
      return code; /* nothing of this step is kept */
    if (sqlite3_exec(h->db, bump, NULL, NULL, NULL) != SQLITE_OK)
      return open_failed(h, path, why);
  }
  return keys_check(h->db, o, why);
}

/* temp_store: a savepoint's copies of pages stay out of the disk. journal_size_limit: what a burst made of the WAL is
 * given back. wal_autocheckpoint: a page that is written again and again goes into the file once. */
static int writer_prepare(struct sqlite_handle *h, const struct store_options *o, const char *path, char why[256]) {
  int version = 0;
  int r = schema_check(h, path, &version, why);
  if (r < 0)
    return r;
  char mode[32] = "";
  if (query(h, "PRAGMA journal_mode = WAL", mode) != SQLITE_OK ||
      sqlite3_exec(h->db,
                   "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;"
                   "PRAGMA cache_size = -32768; PRAGMA journal_size_limit = 67108864;"
                   "PRAGMA wal_autocheckpoint = 4000; PRAGMA secure_delete = ON",
                   NULL, NULL, NULL) != SQLITE_OK)
    return open_failed(h, path, why);
  if (strcmp(mode, "wal") != 0) {
    snprintf(why, 256, "%.160s: its file system cannot do write-ahead logging", path);
    return E_STORE;
  }
  return schema_upgrade(h, o, path, version, why);
}

/* The writer upgrades; a reader that comes alone changes nothing. */
static int reader_prepare(struct sqlite_handle *h, const struct store_options *o, const char *path, char why[256]) {
  int version = 0;
  int r = schema_check(h, path, &version, why);
  if (r < 0 || version == VERSION)
    return r < 0 ? r : keys_check(h->db, o, why);
  snprintf(why, 256, "%.140s has schema version %d; a server brings it to %d when it starts", path, version, VERSION);
  return E_SCHEMA;
}

static int handle_open(struct sqlite_handle *h, const struct store_options *o, const char *path, bool writer,
                       char why[256]) {
  int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
  if (sqlite3_open_v2(path, &h->db, flags, NULL) != SQLITE_OK)
    return open_failed(h, path, why);
  sqlite3_extended_result_codes(h->db, 1);
  sqlite3_busy_timeout(h->db, BUSY_TIMEOUT_MS);
  int r = mark_look(h->db, path, writer, why);
  if (r == 0)
    r = writer ? writer_prepare(h, o, path, why) : reader_prepare(h, o, path, why);
  for (int i = 0; i < S_COUNT && r == 0; i++) {
    if (sqlite3_prepare_v3(h->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &h->statements[i], NULL) !=
        SQLITE_OK)
      r = open_failed(h, path, why);
  }
  if (writer && r == 0)
    r = rows_open(h);
  h->writer = writer && r == 0;
  if (h->writer && keys_open(h) < 0)
    r = open_failed(h, path, why);
  return r;
}

static void sqlite_close(void *handle) {
  struct sqlite_handle *h = handle;
  scrub_end(h);
  keys_close(h);
  rows_close(h);
  for (int i = 0; i < S_COUNT; i++)
    sqlite3_finalize(h->statements[i]);
  sqlite3_close(h->db);
  if (h->lock_fd >= 0)
    close(h->lock_fd);
  free(h);
}

/* "./" keeps SQLite from taking a name such as file:x or :memory: for more than a name. */
static void path_plain(const char *location, char out[PATH_MAX]) {
  snprintf(out, PATH_MAX, "%s%s", location[0] == '/' ? "" : "./", location);
}

static int sqlite_open(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  char path[PATH_MAX];
  path_plain(location, path);
  struct sqlite_handle *h = calloc(1, sizeof *h);
  if (!h) {
    snprintf(why, 256, "out of memory");
    return UV_ENOMEM;
  }
  h->keys = o->keys;
  h->lock_fd = -1;
  int r = writer ? store_file_claim(path, &h->lock_fd, why) : 0;
  if (r == 0)
    r = handle_open(h, o, path, writer, why);
  if (r < 0) {
    sqlite_close(h);
    return r;
  }
  (void)sqlite_moved(h); /* from now on it can */
  *handle = h;
  return 0;
}

static int handle_reencrypt(void *handle, store_progress_fn *tell, void *arg, char why[256]) {
  struct sqlite_handle *h = handle;
  return sqlite_reencrypt(h->db, h->keys, tell, arg, why);
}

static int handle_backup(void *handle, const char *file, char why[256]) {
  struct sqlite_handle *h = handle;
  return sqlite_backup(h->db, file, why);
}

/* A whole database of this program, of whatever version it can bring up to date. */
static int whole_check(const char *path, char why[256]) {
  struct sqlite_handle h = {.lock_fd = -1};
  int version = 0, r = 0;
  char said[32] = "";
  if (sqlite3_open_v2(path, &h.db, SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
    r = open_failed(&h, path, why);
  r = r ? r : schema_check(&h, path, &version, why);
  if (r == 0 && version == 0) {
    snprintf(why, 256, "%.160s: there is nothing in the backup", path);
    r = E_INVALID;
  }
  if (r == 0 && (query(&h, "PRAGMA quick_check(1)", said) != SQLITE_OK || strcmp(said, "ok") != 0)) {
    snprintf(why, 256, "%.160s: the backup is damaged: %.31s", path, *said ? said : sqlite3_errmsg(h.db));
    r = E_INVALID;
  }
  sqlite3_close(h.db);
  return r;
}

static int sqlite_restore(const char *location, const char *file, char why[256]) {
  char path[PATH_MAX];
  path_plain(location, path);
  return mark_restore(file, path, whole_check, why);
}

const struct store_backend store_sqlite = {
  .scheme = "sqlite",
  .open = sqlite_open,
  .close = sqlite_close,
  .write = sqlite_write,
  .read = sqlite_read,
  .erase = sqlite_erase_step,
  .look = sqlite_look,
  .reencrypt = handle_reencrypt,
  .backup = handle_backup,
  .restore = sqlite_restore,
};
