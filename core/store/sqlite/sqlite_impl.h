/* In: nothing. Out: the inside of the SQLite backend, for the files of this room only, which are the only files that
 * know SQLite. Why: opening (store_sqlite.c), statements, writing, reading, erasing and the walks over everything are
 * read at different times. */
#pragma once
#ifndef ROOM_STORE_SQLITE
#error "sqlite_impl.h is private to core/store/sqlite"
#endif

#include "attr.h"
#include "key_use.h"
#include "sealed.h"
#include "store.h"

#include <sqlite3.h>
#include <stdatomic.h>

#define SESSION_COLUMNS                                                                                                \
  "id, uid, nm, modelId, assistingAdminId, assistingAdminName, ts, endTs, lastActivity, helpRequested, adminAssisted," \
  " totalTokens, maxRespTime, avgRespTime, respTimes, received, readTo"
#define SESSIONS_OF                                                                                                    \
  "SELECT " SESSION_COLUMNS ", top, (SELECT token FROM shares WHERE session = sessions.key),"                          \
  " (SELECT expires FROM shares WHERE session = sessions.key) FROM "
#define SESSIONS SESSIONS_OF "sessions "

/* A conversation that is being erased is gone already, to whoever asks. */
#define NOT_ERASING                                                                                                    \
  " NOT EXISTS(SELECT 1 FROM erasing e WHERE e.uid = sessions.uid AND sessions.key BETWEEN e.first AND e.last)"

#define STATEMENTS(X)                                                                                                  \
  X(BEGIN, "BEGIN IMMEDIATE")                                                                                          \
  X(COMMIT, "COMMIT")                                                                                                  \
  X(ROLLBACK, "ROLLBACK")                                                                                              \
  X(FENCE, "SAVEPOINT op")                                                                                             \
  X(FENCE_UNDO, "ROLLBACK TO op")                                                                                      \
  X(FENCE_END, "RELEASE op")                                                                                           \
  X(FIND, "SELECT key, top, uid, ts, ifnull(endTs, 0) FROM sessions WHERE id = ?1 AND" NOT_ERASING)                    \
  X(INSERT_SESSION,                                                                                                    \
    "INSERT INTO sessions(key, " SESSION_COLUMNS ") VALUES(1 + max(ifnull((SELECT max(key) FROM sessions), 0),"        \
    " ifnull((SELECT max(last) FROM erasing), 0)), ?1, ifnull(?2, ''), ?3, ?4, ?5, ?6, ?7, nullif(?8, 0), ?9,"         \
    " ?10, ?11, ?12, ?13, ?14, ?15, ?19, ?20)")                                                                        \
  X(UPDATE_SESSION,                                                                                                    \
    "UPDATE sessions SET nm = iif(?18, nm, ?3), modelId = ?4, assistingAdminId = ?5, assistingAdminName = ?6, ts = "   \
    "?7,"                                                                                                              \
    " endTs = nullif(?8, 0), lastActivity = ?9, helpRequested = ?10, adminAssisted = ?11,"                             \
    " totalTokens = ?12, maxRespTime = ?13, avgRespTime = ?14, respTimes = ?15, received = ?19, readTo = ?20,"         \
    " top = ?16 WHERE key = ?17")                                                                                      \
  X(UPDATE_COUNTS,                                                                                                     \
    "UPDATE sessions SET lastActivity = ?9, helpRequested = ?10, adminAssisted = ?11, totalTokens = ?12,"              \
    " maxRespTime = ?13, avgRespTime = ?14, respTimes = ?15, received = ?19, readTo = ?20, top = ?16, modelId = ?4, "  \
    "assistingAdminId = ?5,"                                                                                           \
    " assistingAdminName = ?6 WHERE key = ?17")                                                                        \
  X(UPDATE_TOP, "UPDATE sessions SET top = ?1, lastActivity = max(lastActivity, ?2) WHERE key = ?3")                   \
  X(INSERT_MESSAGE, "INSERT INTO messages(session, seq, id, cid, sender, type, ts, extra, content)"                    \
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")                                                     \
  X(FIND_CID, "SELECT seq, id, ts FROM messages WHERE session = ?1 AND cid = ?2")                                      \
  X(SESSION, SESSIONS "WHERE id = ?1 AND" NOT_ERASING)                                                                 \
  X(ACTIVE, SESSIONS "WHERE uid = ?1 AND endTs IS NULL AND" NOT_ERASING " ORDER BY ts DESC, id DESC LIMIT 1")          \
  X(OF_USER, SESSIONS "WHERE uid = ?1 AND (ts, id) < (?3, ?4) AND" NOT_ERASING " ORDER BY ts DESC, id DESC LIMIT ?2")  \
  X(SHARED, SESSIONS "WHERE key = (SELECT session FROM shares WHERE hash = ?1) AND" NOT_ERASING)                       \
  X(SHARE_OF, "SELECT token, expires FROM shares WHERE session = ?1")                                                  \
  X(SHARE, "INSERT OR REPLACE INTO shares(session, hash, token, ts, expires) VALUES(?1, ?2, ?3, ?4, ?5)")              \
  X(SHARE_EXPIRY, "UPDATE shares SET expires = ?2 WHERE session = ?1")                                                 \
  X(SHARE_DELETE, "DELETE FROM shares WHERE session = ?1")                                                             \
  X(TOTALS, "SELECT count(*), sum(endTs IS NULL), sum(adminAssisted), total(totalTokens), max(maxRespTime),"           \
            " avg(avgRespTime), total(max(0, min(ifnull(endTs, lastActivity), ?2) - ts)) FROM sessions"                \
            " WHERE ts BETWEEN ?1 AND ?2 AND" NOT_ERASING)                                                             \
  X(HISTORY, "SELECT seq, id, cid, sender, type, extra, content, ts FROM messages"                                     \
             " WHERE session = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3")                                            \
  X(OPEN_INSERT, "INSERT INTO unanswered(session, id, ts) VALUES(?1, ?2, ?3)")                                         \
  X(OPEN_FIND, "SELECT 1 FROM unanswered WHERE session = ?1 AND id = ?2")                                              \
  X(OPEN_BEGUN, "UPDATE unanswered SET begun = 1 WHERE session = ?1 AND id = ?2")                                      \
  X(OPEN_ATTEMPT, "UPDATE unanswered SET attempts = attempts + 1 WHERE session = ?1 AND id = ?2")                      \
  X(OPEN_DEALT, "DELETE FROM unanswered WHERE session = ?1 AND id = ?2")                                               \
  X(OPEN_DELETE, "DELETE FROM unanswered WHERE session = ?1")                                                          \
  X(OPEN_OF, "SELECT m.seq, m.id, m.cid, m.sender, m.type, m.extra, m.content, m.ts, u.begun, u.attempts"              \
             " FROM unanswered u JOIN messages m ON m.id = u.id WHERE u.session = ?1 ORDER BY m.seq LIMIT ?2")         \
  X(OPEN_SESSIONS, "SELECT DISTINCT s.id FROM unanswered u JOIN sessions s ON s.key = u.session"                       \
                   " WHERE u.ts > ?1 AND s.id > ?2 ORDER BY s.id LIMIT ?3")                                            \
  X(DATA_VERSION, "PRAGMA data_version")                                                                               \
  X(EPOCH, "PRAGMA application_id")                                                                                    \
  X(PING, "SELECT key FROM sessions LIMIT 1")                                                                          \
  X(OWNED, "SELECT max(key) FROM sessions WHERE uid = ?1 AND" NOT_ERASING " HAVING count(*) > 0")                      \
  X(IDLE, "SELECT key, id, uid, lastActivity FROM sessions WHERE (lastActivity, key) > (?1, ?2)"                       \
          " AND lastActivity < ?3 AND" NOT_ERASING " ORDER BY lastActivity, key LIMIT 1")                              \
  X(ERASURE, "INSERT INTO erasures(ts, actor, action, subject) VALUES(?1, ?2, ?3, ?4)")                                \
  X(ERASING, "INSERT INTO erasing(uid, first, last, erasure) VALUES(?1, ?2, ?3, ?4)"                                   \
             " ON CONFLICT(uid, first) DO UPDATE SET last = max(last, ?3)")                                            \
  X(ERASING_USER, "SELECT erasure FROM erasing WHERE uid = ?1 AND first = 0")                                          \
  X(ERASURE_FIRST, "SELECT min(key) FROM erasures HAVING count(*) > 0")                                                \
  X(ERASURE_READ, "SELECT ts, actor, action, subject, sessions, messages FROM erasures WHERE key = ?1")                \
  X(ERASED, "UPDATE erasures SET sessions = sessions + ?2, messages = messages + ?3 WHERE key = ?1")                   \
  X(ERASING_END, "DELETE FROM erasing WHERE erasure = ?1")                                                             \
  X(ERASURE_END, "DELETE FROM erasures WHERE key = ?1")                                                                \
  X(DOOMED, "SELECT s.key FROM erasing e CROSS JOIN sessions s ON s.uid = e.uid AND s.key BETWEEN e.first AND e.last"  \
            " WHERE e.erasure = ?1 LIMIT 1")                                                                           \
  X(SIZES, "SELECT seq, length(content) + ifnull(length(extra), 0) FROM messages WHERE session = ?1 ORDER BY seq")     \
  X(DELETE_MESSAGES, "DELETE FROM messages WHERE session = ?1 AND seq <= ?2")                                          \
  X(DELETE_SESSION, "DELETE FROM sessions WHERE key = ?1")                                                             \
  X(KEY, "SELECT sealed FROM keys WHERE id = ?1")                                                                      \
  X(KEY_RESERVE, "INSERT INTO keys(id, sealed, whole) VALUES(?1, ?2, ?3)"                                              \
                 " ON CONFLICT(id) DO UPDATE SET sealed = ?2")                                                         \
  X(INSERT_AUDIT, "INSERT INTO audit(ts, actor, action, subject, detail) VALUES(?1, ?2, ?3, ?4, ?5)")

enum statement {
#define STATEMENT_ENUM(name, sql) S_##name,
  STATEMENTS(STATEMENT_ENUM)
#undef STATEMENT_ENUM
    S_COUNT
};

/* Which file a name means; inode 0: none yet. */
struct file_place {
  uint64_t device, inode;
};

struct sqlite_handle {
  sqlite3 *db;
  const struct keyring *keys;
  sqlite3_stmt *statements[S_COUNT];
  int lock_fd;                 /* writer, else -1 */
  bool writer, failing;        /* failing: the last transaction could not be kept */
  struct file_place file, log; /* as they were first seen */
  uint64_t check_ns;           /* of who looks: when the pages are checked next */
  const char *damage;          /* what the last check has found, or NULL */
  bool unchecked;              /* a check took too long */
  struct scrub *scrub;         /* while the file is scrubbed, else NULL */
  bool broken;                 /* the running transaction cannot be kept */
  struct key_use use;          /* of a writer with keys */
  uint64_t reserving;          /* by the running transaction; 0: nothing */
  struct rows *rows;           /* writer */
};

/* ---- store_sqlite_statement.c ---- */

extern const char *const statement_sql[S_COUNT];
/* Logs why and answers E_STORE. A value that breaks a rule, or is too large, is its operation's own fault. Everything
 * else (no room, no memory, a broken disk) is no fault of the operation and ends the batch (broken), as does a
 * transaction SQLite has already given up. */
int statement_failed(struct sqlite_handle *h, int code);
int statement_no_memory(void);
/* Runs what gives no rows; SQLite's code. */
int statement_run(struct sqlite_handle *h, enum statement which) NODISCARD;
/* The same; 0 or what statement_failed makes of it. */
int statement_do(struct sqlite_handle *h, enum statement which);
/* 1: there is a row. 0: no more; negative: failed; both leave the statement ready for its next use. */
int statement_next(struct sqlite_handle *h, sqlite3_stmt *s) NODISCARD;
/* Bound bytes are borrowed until the statement is reset. A bind fails only on what is over SQLite's limit (1 GB) and
 * leaves NULL, which the columns that matter refuse. */
void statement_bind(sqlite3_stmt *s, int at, const char *text);
/* malloc'ed, with a NUL behind it; NULL for NULL. False: no memory. */
bool column_copy(sqlite3_stmt *s, int at, char **out, size_t *len) NODISCARD;
void column_id(sqlite3_stmt *s, int at, char out[STORE_ID_LEN + 1]);

/* A conversation as the running transaction sees it. */
struct session_row {
  char id[STORE_ID_LEN + 1];
  char *user_id; /* NULL: there is none */
  sqlite3_int64 key, top, start_ms, end_ms;
  uint64_t name; /* row_hash of the name that is stored; 0: not known */
};
/* 1 found, 0 not, or negative; then there is nothing to free in it. */
int place_find(struct sqlite_handle *h, const char *id, struct session_row *p) NODISCARD;
void place_deinit(struct session_row *p);

/* ---- rows.c: what the writer remembers of the conversations it writes to ---- */

#define ROWS_MAX 16384
#define ROW_NO_NAME 2
int rows_open(struct sqlite_handle *h) NODISCARD;
void rows_close(struct sqlite_handle *h);
/* In a transaction. As place_find; *out belongs to the memory, for the running operation. When it was not found it is
 * to be filled by who inserts the conversation: user_id last, which makes it be there. */
int row_find(struct sqlite_handle *h, const char *id, struct session_row **out) NODISCARD;
/* All of them: something was undone, or erased. */
void rows_forget(struct sqlite_handle *h);
/* A transaction begins: all of them if another connection has changed anything since. 0 or negative. */
int rows_check(struct sqlite_handle *h) NODISCARD;
uint64_t row_hash(const struct sqlite_handle *h, const char *text);

/* ---- keys.c: which keys the database was sealed with, and how often ---- */

/* E_KEY: it is encrypted, and o has no key though it wants texts. */
int keys_check(sqlite3 *db, const struct store_options *o, char why[256]) NODISCARD;
/* Of a writer with keys: begins counting, and says in the log what of the database cannot be read as things are. */
int keys_open(struct sqlite_handle *h) NODISCARD;
/* In the transaction that seals n texts more. 0 or negative. */
int keys_reserve(struct sqlite_handle *h, uint64_t n) NODISCARD;
/* That transaction is committed. */
void keys_sealed(struct sqlite_handle *h, uint64_t n);
/* Stores how many it really were. */
void keys_close(struct sqlite_handle *h);
/* Whether everything in it is sealed, as one of the keys vouches for; nothing plain belongs into it then. */
bool keys_whole(sqlite3 *db, const struct keyring *keys);
/* Everything is sealed with the newest key: the others are forgotten. */
int keys_whole_set(sqlite3 *db, const struct keyring *keys) NODISCARD;

/* ---- names.c: in a transaction of the caller ---- */

/* All names of a database in which they were stored as they are. 0; or a negative code and why[]. */
int names_upgrade(sqlite3 *db, const struct keyring *keys, char why[256]) NODISCARD;
/* The next names behind *after, at most limit: how many there were, or a negative code and why[]. *failed counts those
 * that cannot be read. */
int names_reseal(sqlite3 *db, const struct keyring *keys, sqlite3_int64 *after, int limit, uint64_t *failed,
                 char why[256]) NODISCARD;

/* ---- the operations ---- */

void sqlite_write(void *handle, struct store_op **ops, size_t count); /* write.c */
void sqlite_read(void *handle, struct store_op *op);                  /* read.c */
/* erase.c; within a transaction of the caller. 0 or negative. op->erasure: 0 when there was nothing to erase, else it
 * goes on with sqlite_erase_step. */
int sqlite_erase(struct sqlite_handle *h, struct store_op *op) NODISCARD;
int sqlite_expire(struct sqlite_handle *h, struct store_op *op) NODISCARD;
int sqlite_audit(struct sqlite_handle *h, const struct audit_record *a) NODISCARD;
int sqlite_erase_step(void *handle, struct store_op *op); /* see struct store_backend */

/* ---- look.c ---- */

/* Whether the files of its name are others now, or gone: what is written then nobody finds again. */
bool sqlite_moved(struct sqlite_handle *h);
const char *sqlite_look(void *handle, const atomic_bool *stop); /* see struct store_backend */

/* ---- scrub.c: overwriting what no row holds any more ---- */

/* E_MORE, or why not: E_AWAY: somebody reads an older state of the database; it is to be tried again. */
int scrub_begin(struct sqlite_handle *h) NODISCARD;
/* Some pages more. 0: at its end: whatever was deleted before it began is in no file; E_MORE; E_AWAY; E_STORE, UV_*. */
int scrub_step(struct sqlite_handle *h) NODISCARD;
void scrub_end(struct sqlite_handle *h); /* in any case, also when it was broken off */

/* columns.c: a row of SESSIONS. False: no memory. */
bool session_columns(struct unsealing *u, sqlite3_stmt *s, struct session_record *r) NODISCARD;
int sqlite_list(struct sqlite_handle *h, struct store_op *op) NODISCARD; /* list.c */
int sqlite_totals(struct sqlite_handle *h, struct store_op *op) NODISCARD;
int sqlite_share(struct sqlite_handle *h, struct store_op *op) NODISCARD; /* share.c; in a transaction of the caller */
/* As names_reseal. */
int sqlite_shares_reseal(sqlite3 *db, const struct keyring *keys, sqlite3_int64 *after, int limit, uint64_t *failed,
                         char why[256]) NODISCARD;

/* unanswered.c: which messages wait for an answer. 0 or negative. */
int sqlite_open_insert(struct sqlite_handle *h, sqlite3_int64 session, const struct message_record *m) NODISCARD;
int sqlite_open_find(struct sqlite_handle *h, sqlite3_int64 session, const char *id, bool *open) NODISCARD;
int sqlite_open_mark(struct sqlite_handle *h, sqlite3_int64 session, const struct store_mark *mark) NODISCARD;
int sqlite_open_sessions(struct sqlite_handle *h, struct store_op *op) NODISCARD;

/* ---- walks over everything; the calling thread is the only one that uses db ---- */

int sqlite_reencrypt(sqlite3 *db, const struct keyring *keys, store_progress_fn *tell, void *arg, char why[256]);
int sqlite_backup(sqlite3 *db, const char *file, char why[256]);
