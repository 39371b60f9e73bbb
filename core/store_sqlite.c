/* In: batches of writes and single reads from the threads of store.c, each with a handle of its own. Out: rows of one
 * SQLite database, or codes. The content of messages is sealed and opened here, on these threads (cipher.h).
 * Why this shape: WAL lets readers go on while the writer commits, synchronous=FULL makes a commit survive the power
 * plug, one transaction per batch shares the cost of that. A session row carries `top`, so that a message gets its seq
 * in the same transaction. What SQLite says is told apart by its codes; they and its text are logged, content never. */
#include "store_sqlite_impl.h"

#include "cipher.h"
#include "err.h"
#include "log.h"
#include "metrics.h"
#include "store_file.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define BUSY_TIMEOUT_MS 5000

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
  "CREATE UNIQUE INDEX messages_cid ON messages(session, cid) WHERE cid IS NOT NULL;"};
#define VERSION ((int)(sizeof upgrades / sizeof *upgrades))

#define SESSION_COLUMNS                                                                                                \
  "id, uid, nm, modelId, assistingAdminId, assistingAdminName, ts, endTs, lastActivity, helpRequested, adminAssisted," \
  " totalTokens, maxRespTime, avgRespTime, respTimes"
#define SESSIONS "SELECT " SESSION_COLUMNS ", top FROM sessions "

#define STATEMENTS(X)                                                                                                  \
  X(BEGIN, "BEGIN IMMEDIATE")                                                                                          \
  X(COMMIT, "COMMIT")                                                                                                  \
  X(ROLLBACK, "ROLLBACK")                                                                                              \
  X(FENCE, "SAVEPOINT op")                                                                                             \
  X(FENCE_UNDO, "ROLLBACK TO op")                                                                                      \
  X(FENCE_END, "RELEASE op")                                                                                           \
  X(FIND, "SELECT key, top FROM sessions WHERE id = ?1")                                                               \
  X(INSERT_SESSION,                                                                                                    \
    "INSERT INTO sessions(" SESSION_COLUMNS ") VALUES(?1, ifnull(?2, ''), ?3, ?4, ?5, ?6, ?7, nullif(?8, 0), ?9,"      \
    " ?10, ?11, ?12, ?13, ?14, ?15)")                                                                                  \
  X(UPDATE_SESSION,                                                                                                    \
    "UPDATE sessions SET nm = ?3, modelId = ?4, assistingAdminId = ?5, assistingAdminName = ?6, ts = ?7,"              \
    " endTs = nullif(?8, 0), lastActivity = ?9, helpRequested = ?10, adminAssisted = ?11,"                             \
    " totalTokens = ?12, maxRespTime = ?13, avgRespTime = ?14, respTimes = ?15, top = ?16 WHERE key = ?17")            \
  X(UPDATE_TOP, "UPDATE sessions SET top = ?1, lastActivity = max(lastActivity, ?2) WHERE key = ?3")                   \
  X(INSERT_MESSAGE, "INSERT INTO messages(session, seq, id, cid, sender, type, ts, extra, content)"                    \
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                                                     \
  X(FIND_CID, "SELECT seq, id FROM messages WHERE session = ?1 AND cid = ?2")                                          \
  X(SESSION, SESSIONS "WHERE id = ?1")                                                                                 \
  X(ACTIVE, SESSIONS "WHERE uid = ?1 AND endTs IS NULL ORDER BY ts DESC, key DESC LIMIT 1")                            \
  X(OF_USER, SESSIONS "WHERE uid = ?1 ORDER BY ts DESC, key DESC LIMIT ?2")                                            \
  X(HISTORY, "SELECT seq, id, cid, sender, type, extra, content, ts FROM messages"                                     \
             " WHERE session = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3")                                            \
  X(PING, "SELECT key FROM sessions LIMIT 1")

enum statement {
#define STATEMENT_ENUM(name, sql) S_##name,
  STATEMENTS(STATEMENT_ENUM)
#undef STATEMENT_ENUM
    S_COUNT
};

static const char *const statement_sql[] = {
#define STATEMENT_SQL(name, sql) [S_##name] = (sql),
  STATEMENTS(STATEMENT_SQL)
#undef STATEMENT_SQL
};

struct handle {
  sqlite3 *db;
  const struct keyring *keys;
  sqlite3_stmt *statements[S_COUNT];
  int lock_fd; /* writer, else -1 */
  bool broken; /* the running transaction cannot be kept */
};

/* A conversation as the running transaction sees it. */
struct place {
  const char *id; /* of the operation */
  sqlite3_int64 key, top;
};

/* ---- statements ---- */

/* A value that breaks a rule, or is too large, is its operation's own fault. Everything else (no room, no memory, a
 * broken disk) is no fault of the operation and ends the batch, as does a transaction SQLite has already given up. */
static int failed(struct handle *h, int code) {
  int primary = code & 0xff;
  bool latest = sqlite3_extended_errcode(h->db) == code; /* else its text is another one's */
  LOG(LOG_ERROR, "store", "database operation failed", LINT("code", code),
      LSTR("reason", latest ? sqlite3_errmsg(h->db) : sqlite3_errstr(code)));
  if ((primary != SQLITE_CONSTRAINT && primary != SQLITE_TOOBIG) || sqlite3_get_autocommit(h->db))
    h->broken = true;
  return E_STORE;
}

/* Runs what gives no rows; SQLite's code. */
static int run(struct handle *h, enum statement which) {
  sqlite3_step(h->statements[which]);
  return sqlite3_reset(h->statements[which]);
}

static int run_or_fail(struct handle *h, enum statement which) {
  int code = run(h, which);
  return code == SQLITE_OK ? 0 : failed(h, code);
}

/* 1: there is a row. 0: no more; negative: failed; both leave the statement ready for its next use. */
static int next_row(struct handle *h, sqlite3_stmt *s) {
  if (sqlite3_step(s) == SQLITE_ROW)
    return 1;
  int code = sqlite3_reset(s);
  return code == SQLITE_OK ? 0 : failed(h, code);
}

/* Bound bytes are borrowed until the statement is reset. A bind fails only on what is over SQLite's limit (1 GB) and
 * leaves NULL, which the columns that matter refuse. */
static void bind_text(sqlite3_stmt *s, int at, const char *text) {
  sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC);
}

/* malloc'ed, with a NUL behind it; NULL for NULL. False: no memory. */
static bool column_copy(sqlite3_stmt *s, int at, char **out, size_t *len) {
  const void *bytes = sqlite3_column_blob(s, at);
  size_t n = (size_t)sqlite3_column_bytes(s, at);
  *out = NULL;
  if (len != NULL)
    *len = n;
  if (sqlite3_column_type(s, at) == SQLITE_NULL)
    return true;
  *out = malloc(n + 1);
  if (*out == NULL)
    return false;
  if (n > 0)
    memcpy(*out, bytes, n);
  (*out)[n] = '\0';
  return true;
}

static void column_id(sqlite3_stmt *s, int at, char out[STORE_ID_LEN + 1]) {
  snprintf(out, STORE_ID_LEN + 1, "%s", (const char *)sqlite3_column_text(s, at));
}

/* ---- writing ---- */

/* 1 found, 0 not, or negative. */
static int session_find(struct handle *h, const char *id, struct place *p) {
  sqlite3_stmt *s = h->statements[S_FIND];
  bind_text(s, 1, id);
  int r = next_row(h, s);
  if (r != 1)
    return r;
  *p = (struct place){id, sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1)};
  sqlite3_reset(s);
  return 1;
}

/* Numbered as SESSION_COLUMNS, for the insert and the update. */
static void session_bind(sqlite3_stmt *s, const struct session_record *r, uint8_t *responses) {
  for (uint32_t i = 0; i < r->response_count; i++) {
    for (int byte = 0; byte < 4; byte++)
      responses[4 * i + (uint32_t)byte] = (uint8_t)(r->responses[i] >> (8 * byte));
  }
  bind_text(s, 1, r->id);
  bind_text(s, 2, r->user_id);
  bind_text(s, 3, r->name);
  bind_text(s, 4, r->model_id);
  bind_text(s, 5, r->assisting_admin_id);
  bind_text(s, 6, r->assisting_admin_name);
  sqlite3_bind_int64(s, 7, r->start_ms);
  sqlite3_bind_int64(s, 8, r->end_ms);
  sqlite3_bind_int64(s, 9, r->last_activity_ms);
  sqlite3_bind_int(s, 10, r->help_requested);
  sqlite3_bind_int(s, 11, r->admin_assisted);
  sqlite3_bind_int64(s, 12, r->total_tokens);
  sqlite3_bind_int64(s, 13, r->max_response_ms);
  sqlite3_bind_int64(s, 14, r->avg_response_ms);
  sqlite3_bind_blob(s, 15, responses, 4 * (int)r->response_count, SQLITE_STATIC);
}

static int session_insert(struct handle *h, const struct session_record *r, struct place *p) {
  uint8_t responses[sizeof r->responses];
  session_bind(h->statements[S_INSERT_SESSION], r, responses);
  int code = run_or_fail(h, S_INSERT_SESSION);
  p->key = sqlite3_last_insert_rowid(h->db);
  return code;
}

static int session_update(struct handle *h, const struct session_record *r, const struct place *p) {
  sqlite3_stmt *s = h->statements[S_UPDATE_SESSION];
  uint8_t responses[sizeof r->responses];
  session_bind(s, r, responses);
  sqlite3_bind_int64(s, 16, p->top);
  sqlite3_bind_int64(s, 17, p->key);
  return run_or_fail(h, S_UPDATE_SESSION);
}

/* 1: the cid is there, m has seq and id of the first. */
static int message_find(struct handle *h, sqlite3_int64 session, struct message_record *m) {
  sqlite3_stmt *s = h->statements[S_FIND_CID];
  sqlite3_bind_int64(s, 1, session);
  bind_text(s, 2, m->cid);
  int r = next_row(h, s);
  if (r != 1)
    return r;
  m->duplicate = true;
  m->seq = (uint64_t)sqlite3_column_int64(s, 0);
  column_id(s, 1, m->id);
  sqlite3_reset(s);
  return 1;
}

static int content_bind(struct handle *h, const struct place *p, const struct message_record *m) {
  char *stored;
  size_t len;
  int code = cipher_seal(h->keys, p->id, (uint64_t)p->top + 1, m->content_len > 0 ? m->content : "", m->content_len,
                         &stored, &len);
  if (code == 0)
    sqlite3_bind_blob64(h->statements[S_INSERT_MESSAGE], 9, stored, len, free);
  else
    LOG(LOG_ERROR, "store", "a message cannot be sealed", LSTR("session", p->id), LSTR("reason", err_text(code)));
  return code ? E_STORE : 0;
}

/* Inserts first and asks after: nearly every cid is new, and the unique index is what counts anyway. */
static int message_insert(struct handle *h, struct place *p, struct message_record *m) {
  sqlite3_stmt *s = h->statements[S_INSERT_MESSAGE];
  if (content_bind(h, p, m) != 0)
    return E_STORE;
  sqlite3_bind_int64(s, 1, p->key);
  sqlite3_bind_int64(s, 2, p->top + 1);
  bind_text(s, 3, m->id);
  bind_text(s, 4, m->cid);
  bind_text(s, 5, m->sender);
  bind_text(s, 6, m->type);
  sqlite3_bind_int64(s, 7, m->at_ms);
  bind_text(s, 8, m->extra);
  int code = run(h, S_INSERT_MESSAGE);
  if (code == SQLITE_OK) {
    m->seq = (uint64_t)++p->top;
    return 0;
  }
  if (code == SQLITE_CONSTRAINT_UNIQUE && m->cid != NULL) {
    int r = message_find(h, p->key, m);
    if (r != 0)
      return r < 0 ? r : 0;
  }
  return failed(h, code);
}

static int op_write_rows(struct handle *h, struct store_op *op, struct place *p, bool fresh) {
  int r = fresh ? session_insert(h, &op->session, p) : 0;
  sqlite3_int64 top = p->top;
  for (size_t i = 0; i < op->message_count && r == 0; i++)
    r = message_insert(h, p, &op->messages[i]);
  if (r < 0)
    return r;
  if (op->has_session && !fresh)
    return session_update(h, &op->session, p);
  if (p->top == top)
    return 0;
  sqlite3_stmt *s = h->statements[S_UPDATE_TOP];
  sqlite3_bind_int64(s, 1, p->top);
  sqlite3_bind_int64(s, 2, op->messages[op->message_count - 1].at_ms);
  sqlite3_bind_int64(s, 3, p->key);
  return run_or_fail(h, S_UPDATE_TOP);
}

static int op_write(struct handle *h, struct store_op *op) {
  struct place p = {.id = op->session.id};
  int found = session_find(h, op->session.id, &p);
  if (found < 0)
    return found;
  if (!found && !op->has_session)
    return E_NOT_FOUND;
  /* Where only the first row can break a rule there is nothing to undo, and a savepoint costs copies of pages. */
  bool fenced = (size_t)!found + op->message_count > 1;
  int r = fenced ? run_or_fail(h, S_FENCE) : 0;
  if (r < 0)
    return r;
  r = op_write_rows(h, op, &p, !found);
  if (!fenced || h->broken)
    return r;
  if (r < 0)
    (void)run_or_fail(h, S_FENCE_UNDO);
  int ended = run_or_fail(h, S_FENCE_END);
  return r < 0 ? r : ended;
}

static bool op_empty(const struct store_op *op) {
  return !op->has_session && op->message_count == 0;
}

/* A seq that is not committed does not exist. */
static void op_failed(struct store_op *op, int code) {
  op->code = code;
  for (size_t i = 0; i < op->message_count; i++) {
    op->messages[i].seq = 0;
    op->messages[i].duplicate = false;
  }
}

static void sqlite_write(void *handle, struct store_op **ops, size_t count) {
  struct handle *h = handle;
  bool begun = false;
  h->broken = false;
  for (size_t i = 0; i < count; i++)
    ops[i]->code = 0;
  for (size_t i = 0; i < count && !h->broken; i++) {
    if (op_empty(ops[i]))
      continue;
    if (!begun)
      begun = run_or_fail(h, S_BEGIN) == 0;
    int r = begun ? op_write(h, ops[i]) : E_STORE;
    if (r < 0)
      op_failed(ops[i], r);
  }
  if (begun && !h->broken && run_or_fail(h, S_COMMIT) == 0)
    metrics_add(METRIC_STORE_COMMITS, 1);
  if (!h->broken)
    return;
  if (!sqlite3_get_autocommit(h->db))
    (void)run_or_fail(h, S_ROLLBACK);
  for (size_t i = 0; i < count; i++) {
    if (!op_empty(ops[i]))
      op_failed(ops[i], E_STORE);
  }
}

/* ---- reading ---- */

static bool session_columns(sqlite3_stmt *s, struct session_record *r) {
  *r = (struct session_record){
    .start_ms = sqlite3_column_int64(s, 6),
    .end_ms = sqlite3_column_int64(s, 7),
    .last_activity_ms = sqlite3_column_int64(s, 8),
    .help_requested = sqlite3_column_int(s, 9) != 0,
    .admin_assisted = sqlite3_column_int(s, 10) != 0,
    .total_tokens = sqlite3_column_int64(s, 11),
    .max_response_ms = sqlite3_column_int64(s, 12),
    .avg_response_ms = sqlite3_column_int64(s, 13),
    .top = (uint64_t)sqlite3_column_int64(s, 15),
  };
  column_id(s, 0, r->id);
  const uint8_t *bytes = sqlite3_column_blob(s, 14);
  size_t len = (size_t)sqlite3_column_bytes(s, 14);
  for (size_t at = 0; at + 4 <= len && r->response_count < sizeof r->responses / 4; at += 4)
    r->responses[r->response_count++] =
      bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16 | (uint32_t)bytes[at + 3] << 24;
  return column_copy(s, 1, &r->user_id, NULL) && column_copy(s, 2, &r->name, NULL) &&
         column_copy(s, 3, &r->model_id, NULL) && column_copy(s, 4, &r->assisting_admin_id, NULL) &&
         column_copy(s, 5, &r->assisting_admin_name, NULL);
}

static int no_memory(void) {
  LOG(LOG_ERROR, "store", "no memory for what was read");
  return E_STORE;
}

static int message_columns(struct handle *h, sqlite3_stmt *s, const char *session_id, struct message_record *m) {
  *m = (struct message_record){.seq = (uint64_t)sqlite3_column_int64(s, 0), .at_ms = sqlite3_column_int64(s, 7)};
  column_id(s, 1, m->id);
  if (!column_copy(s, 2, &m->cid, NULL) || !column_copy(s, 3, &m->sender, NULL) || !column_copy(s, 4, &m->type, NULL) ||
      !column_copy(s, 5, &m->extra, NULL))
    return no_memory();
  const void *stored = sqlite3_column_blob(s, 6); /* NULL when there are no bytes */
  size_t len = (size_t)sqlite3_column_bytes(s, 6);
  stored = stored != NULL ? stored : "";
  int code = cipher_open(h->keys, session_id, m->seq, stored, len, &m->content, &m->content_len);
  if (code)
    cipher_log_failure(session_id, m->seq, stored, len, code);
  return code ? E_STORE : 0;
}

static int read_session(struct handle *h, enum statement which, const char *argument, struct session_record *out) {
  sqlite3_stmt *s = h->statements[which];
  bind_text(s, 1, argument);
  int r = next_row(h, s);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  struct session_record found;
  bool whole = session_columns(s, &found);
  sqlite3_reset(s);
  session_record_deinit(out); /* what was asked with */
  *out = found;
  return whole ? 0 : no_memory();
}

static int read_sessions(struct handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_OF_USER];
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (op->sessions == NULL)
    return no_memory();
  bind_text(s, 1, op->session.user_id);
  sqlite3_bind_int64(s, 2, op->limit);
  int r;
  while ((r = next_row(h, s)) == 1) {
    if (!session_columns(s, &op->sessions[op->session_count++])) {
      r = no_memory();
      break;
    }
  }
  sqlite3_reset(s);
  return r;
}

static void messages_reverse(struct message_record *m, size_t count) {
  for (size_t i = 0; i < count / 2; i++) {
    struct message_record swap = m[i];
    m[i] = m[count - 1 - i];
    m[count - 1 - i] = swap;
  }
}

static int read_history(struct handle *h, struct store_op *op) {
  struct place p;
  int r = session_find(h, op->session.id, &p);
  if (r != 1)
    return r < 0 ? r : E_NOT_FOUND;
  sqlite3_stmt *s = h->statements[S_HISTORY];
  op->messages = calloc(op->limit, sizeof *op->messages);
  if (op->messages == NULL)
    return no_memory();
  bool to_the_end = op->before_seq == 0 || op->before_seq > INT64_MAX;
  sqlite3_bind_int64(s, 1, p.key);
  sqlite3_bind_int64(s, 2, to_the_end ? INT64_MAX : (sqlite3_int64)op->before_seq);
  sqlite3_bind_int64(s, 3, op->limit);
  size_t bytes = 0;
  while (bytes < STORE_HISTORY_BYTES && (r = next_row(h, s)) == 1) {
    struct message_record *m = &op->messages[op->message_count++];
    r = message_columns(h, s, op->session.id, m);
    if (r < 0)
      break;
    bytes += m->content_len;
  }
  sqlite3_reset(s);
  messages_reverse(op->messages, op->message_count);
  return r < 0 ? r : 0;
}

static int ping(struct handle *h) {
  int r = next_row(h, h->statements[S_PING]);
  sqlite3_reset(h->statements[S_PING]);
  return r < 0 ? r : 0;
}

static void sqlite_read(void *handle, struct store_op *op) {
  struct handle *h = handle;
  switch (op->kind) {
  case STORE_SESSION:
    op->code = read_session(h, S_SESSION, op->session.id, &op->session);
    return;
  case STORE_ACTIVE:
    op->code = read_session(h, S_ACTIVE, op->session.user_id, &op->session);
    return;
  case STORE_SESSIONS:
    op->code = read_sessions(h, op);
    return;
  case STORE_HISTORY:
    op->code = read_history(h, op);
    return;
  case STORE_PING:
    op->code = ping(h);
    return;
  case STORE_WRITE:
    break;
  }
  op->code = E_INVALID;
}

/* ---- life ---- */

static int open_failed(struct handle *h, const char *path, char why[256]) {
  int code = sqlite3_extended_errcode(h->db);
  snprintf(why, 256, "%.140s: %.80s (SQLite code %d)", path, sqlite3_errmsg(h->db), code);
  return (code & 0xff) == SQLITE_BUSY ? E_BUSY : E_STORE;
}

/* The first column of the first row as text; SQLite's code. */
static int query(struct handle *h, const char *sql, char out[32]) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(h->db, sql, -1, &s, NULL);
  if (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
    snprintf(out, 32, "%s", (const char *)sqlite3_column_text(s, 0));
  int last = sqlite3_finalize(s);
  return code == SQLITE_OK ? last : code;
}

/* Before anything is changed in it: it is ours, and not newer than we are. */
static int schema_check(struct handle *h, const char *path, int *version, char why[256]) {
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

static int schema_upgrade(struct handle *h, const char *path, int version, char why[256]) {
  for (; version < VERSION; version++) {
    char bump[64];
    snprintf(bump, sizeof bump, "PRAGMA user_version = %d; COMMIT", version + 1);
    if (sqlite3_exec(h->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(h->db, upgrades[version], NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(h->db, bump, NULL, NULL, NULL) != SQLITE_OK)
      return open_failed(h, path, why);
  }
  return 0;
}

/* temp_store: a savepoint's copies of pages stay out of the disk. journal_size_limit: what a burst made of the WAL is
 * given back. */
static int writer_prepare(struct handle *h, const char *path, char why[256]) {
  int version = 0;
  int r = schema_check(h, path, &version, why);
  if (r < 0)
    return r;
  char mode[32] = "";
  if (query(h, "PRAGMA journal_mode = WAL", mode) != SQLITE_OK ||
      sqlite3_exec(h->db,
                   "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY;"
                   "PRAGMA cache_size = -32768; PRAGMA journal_size_limit = 67108864",
                   NULL, NULL, NULL) != SQLITE_OK)
    return open_failed(h, path, why);
  if (strcmp(mode, "wal") != 0) {
    snprintf(why, 256, "%.160s: its file system cannot do write-ahead logging", path);
    return E_STORE;
  }
  return schema_upgrade(h, path, version, why);
}

static int handle_open(struct handle *h, const char *path, bool writer, char why[256]) {
  int flags = SQLITE_OPEN_NOMUTEX | (writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
  if (sqlite3_open_v2(path, &h->db, flags, NULL) != SQLITE_OK)
    return open_failed(h, path, why);
  sqlite3_extended_result_codes(h->db, 1);
  sqlite3_busy_timeout(h->db, BUSY_TIMEOUT_MS);
  int r = writer ? writer_prepare(h, path, why) : 0;
  for (int i = 0; i < S_COUNT && r == 0; i++) {
    if (sqlite3_prepare_v3(h->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &h->statements[i], NULL) !=
        SQLITE_OK)
      r = open_failed(h, path, why);
  }
  return r;
}

static void sqlite_close(void *handle) {
  struct handle *h = handle;
  for (int i = 0; i < S_COUNT; i++)
    sqlite3_finalize(h->statements[i]);
  sqlite3_close(h->db);
  if (h->lock_fd >= 0)
    close(h->lock_fd);
  free(h);
}

static int sqlite_open(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  char path[PATH_MAX]; /* "./" keeps SQLite from taking a name such as file:x or :memory: for more than a name */
  snprintf(path, sizeof path, "%s%s", location[0] == '/' ? "" : "./", location);
  struct handle *h = calloc(1, sizeof *h);
  if (h == NULL) {
    snprintf(why, 256, "out of memory");
    return UV_ENOMEM;
  }
  h->keys = o->keys;
  h->lock_fd = -1;
  int r = writer ? store_file_claim(path, &h->lock_fd, why) : 0;
  if (r == 0)
    r = handle_open(h, path, writer, why);
  if (r < 0) {
    sqlite_close(h);
    return r;
  }
  *handle = h;
  return 0;
}

static int handle_reencrypt(void *handle, store_progress_fn *tell, void *arg, char why[256]) {
  struct handle *h = handle;
  return sqlite_reencrypt(h->db, h->keys, tell, arg, why);
}

const struct store_backend store_sqlite = {
  .scheme = "sqlite",
  .open = sqlite_open,
  .close = sqlite_close,
  .write = sqlite_write,
  .read = sqlite_read,
  .reencrypt = handle_reencrypt,
};
