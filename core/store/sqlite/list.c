/* In: which conversations an operator asks for, in which order, behind which place. Out: a page of them, or sums over
 * all. Why the SQL is put together here: seven orders, two directions and five filters make more statements than a
 * table can show, and each has an index of its own (named, so that no plan is left to chance): a page costs what it
 * holds, however many there are. Only an order asked for together with a rare filter of another kind sorts what the
 * filter leaves. Ties go by key; the conversation a page ended with may be gone by the next one, then that begins with
 * its equals. */
#include "sqlite_impl.h"

#include "err.h"
#include "sealed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQL_MAX 4096
/* Parameters of every list. */
#define P_USER "?1"
#define P_FROM "?2"
#define P_TO "?3"
#define P_VALUE "?4"
#define P_AFTER "?5"
#define P_LIMIT "?6"
#define P_OFFSET "?7"
#define P_AFTER_USER "?8"
#define P_AFTER_START "?9"
#define P_NOW "?10"

static const struct order {
  const char *columns, *index;
} orders[STORE_SORTS] = {
  [STORE_BY_START] = {"ts", "sessions_start"},
  [STORE_BY_END] = {"ended", "sessions_end"},
  [STORE_BY_MESSAGES] = {"top", "sessions_top"},
  [STORE_BY_TOKENS] = {"totalTokens", "sessions_tokens"},
  [STORE_BY_USER] = {"uid", "sessions_user"},
  [STORE_BY_DURATION] = {"lasted", "sessions_lasted"},
  [STORE_BY_ACTIVITY] = {"lastActivity", "sessions_idle"},
};

/* ---- the parts of a statement ---- */

static const char *index_of(const struct store_op *op, const char *of_order) {
  const struct store_filter *f = &op->filter;
  bool live = f->active == 1 && f->sort == STORE_BY_START;
  return op->session.user_id ? "sessions_user"
         : f->assisted == 1  ? "sessions_assisted"
         : live              ? "sessions_live"
                             : of_order;
}

static void filter_write(FILE *sql, const struct store_op *op) {
  const struct store_filter *f = &op->filter;
  fputs(NOT_ERASING, sql);
  if (op->session.user_id)
    fputs(" AND uid = " P_USER, sql);
  if (f->active >= 0)
    fprintf(sql, " AND endTs IS %sNULL", f->active ? "" : "NOT ");
  if (f->assisted >= 0)
    fprintf(sql, " AND adminAssisted = %d", f->assisted);
  if (f->from_ms != 0 || f->to_ms != 0)
    fputs(" AND ts BETWEEN " P_FROM " AND " P_TO, sql);
}

/* The key of the conversation behind which the page begins. */
static void after_key(FILE *sql, bool ascending, const char *key) {
  fprintf(sql, "ifnull((SELECT %s FROM sessions WHERE id = " P_AFTER "), %s9000000000000000000)", key,
          ascending ? "-" : "");
}

static void list_write(FILE *sql, const struct store_op *op) {
  const struct store_filter *f = &op->filter;
  const char *way = f->ascending ? "ASC" : "DESC", *behind = f->ascending ? ">" : "<";
  const char *column = orders[f->sort].columns;
  bool by_user = f->sort == STORE_BY_USER;
  fprintf(sql, SESSIONS "INDEXED BY %s WHERE", index_of(op, orders[f->sort].index));
  filter_write(sql, op);
  if (op->after.id[0] != '\0' && by_user) {
    fprintf(sql, " AND (uid, ts, id) %s (" P_AFTER_USER ", " P_AFTER_START ", " P_AFTER ")", behind);
  } else if (op->after.id[0] != '\0') {
    fprintf(sql, " AND (%s, key) %s (" P_VALUE ", ", column, behind);
    after_key(sql, f->ascending, "key");
    fputc(')', sql);
  }
  if (by_user)
    fprintf(sql, " ORDER BY uid %s, ts %s, id %s", way, way, way);
  else
    fprintf(sql, " ORDER BY %s %s, key %s", column, way, way);
  fputs(" LIMIT " P_LIMIT " OFFSET " P_OFFSET, sql);
}

/* Those that have ended by how long they lasted, the others by their start, of each as many as the page may take. Their
 * ties go by key upwards, and by key downwards (k), because only so both can be read from an index. */
static void duration_part(FILE *sql, const struct store_op *op, bool active) {
  bool upwards = active ? !op->filter.ascending : op->filter.ascending;
  const char *column = active ? "ts" : "lasted", *way = upwards ? "ASC" : "DESC";
  fprintf(sql,
          "SELECT * FROM (SELECT key AS at, %s AS v, %skey AS k FROM sessions INDEXED BY %s WHERE endTs IS %sNULL AND",
          active ? P_NOW " - ts" : "lasted", active ? "-" : "",
          index_of(op, active ? "sessions_live" : "sessions_lasted"), active ? "" : "NOT ");
  filter_write(sql, op);
  if (op->after.id[0] != '\0') {
    fprintf(sql, " AND (%s, key) %s (%s, %s", column, upwards ? ">" : "<", active ? P_NOW " - " P_VALUE : P_VALUE,
            active ? "-" : "");
    after_key(sql, op->filter.ascending, "iif(endTs IS NULL, -key, key)");
    fputc(')', sql);
  }
  fprintf(sql, " ORDER BY %s %s, key %s LIMIT " P_LIMIT " + " P_OFFSET ")", column, way, way);
}

static void durations_write(FILE *sql, const struct store_op *op) {
  const char *way = op->filter.ascending ? "ASC" : "DESC";
  bool both = op->filter.active < 0;
  fputs(SESSIONS_OF "(", sql);
  if (op->filter.active != 1)
    duration_part(sql, op, false);
  if (both)
    fputs(" UNION ALL ", sql);
  if (op->filter.active != 0)
    duration_part(sql, op, true);
  fprintf(sql, ") CROSS JOIN sessions ON sessions.key = at ORDER BY v %s, k %s LIMIT " P_LIMIT " OFFSET " P_OFFSET, way,
          way);
}

/* ---- lists ---- */

static int list_prepare(struct sqlite_handle *h, const struct store_op *op, sqlite3_stmt **s) {
  char text[SQL_MAX] = "";
  FILE *sql = fmemopen(text, sizeof text, "w");
  if (!sql)
    return statement_no_memory();
  (op->filter.sort == STORE_BY_DURATION ? durations_write : list_write)(sql, op);
  fclose(sql);
  int code = sqlite3_prepare_v2(h->db, text, -1, s, NULL);
  return code == SQLITE_OK ? 0 : statement_failed(h, code);
}

static void list_bind(sqlite3_stmt *s, const struct store_op *op) {
  const struct store_filter *f = &op->filter;
  const struct {
    const char *name;
    int64_t value;
  } numbers[] = {{P_FROM, f->from_ms}, {P_TO, f->to_ms},      {P_VALUE, f->after_value},
                 {P_LIMIT, op->limit}, {P_OFFSET, f->offset}, {P_AFTER_START, op->after.start_ms},
                 {P_NOW, f->now_ms}};
  const struct {
    const char *name, *value;
  } texts[] = {{P_USER, op->session.user_id}, {P_AFTER, op->after.id}, {P_AFTER_USER, op->after_user}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    int at = sqlite3_bind_parameter_index(s, numbers[i].name);
    if (at > 0)
      sqlite3_bind_int64(s, at, numbers[i].value);
  }
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    int at = sqlite3_bind_parameter_index(s, texts[i].name);
    if (at > 0)
      statement_bind(s, at, texts[i].value);
  }
}

int sqlite_list(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = NULL;
  struct unsealing u = {.keys = h->keys};
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return statement_no_memory();
  int r = list_prepare(h, op, &s);
  if (r < 0)
    return r;
  list_bind(s, op);
  while ((r = statement_next(h, s)) == 1) {
    if (!session_columns(&u, s, &op->sessions[op->session_count++])) {
      r = statement_no_memory();
      break;
    }
  }
  sqlite3_finalize(s);
  (void)unsealing_end(&u); /* a list without names is a list */
  return r < 0 ? r : store_list_end(op);
}

/* ---- sums ---- */

int sqlite_totals(struct sqlite_handle *h, struct store_op *op) {
  sqlite3_stmt *s = h->statements[S_TOTALS];
  sqlite3_bind_int64(s, 1, op->filter.from_ms);
  sqlite3_bind_int64(s, 2, op->filter.to_ms);
  int r = statement_next(h, s);
  if (r != 1)
    return r;
  op->totals = (struct store_totals){.sessions = (uint64_t)sqlite3_column_int64(s, 0),
                                     .active = (uint64_t)sqlite3_column_int64(s, 1),
                                     .assisted = (uint64_t)sqlite3_column_int64(s, 2),
                                     .tokens = sqlite3_column_int64(s, 3),
                                     .max_response_ms = sqlite3_column_int64(s, 4),
                                     .avg_response_ms = (int64_t)sqlite3_column_double(s, 5),
                                     .lasted_ms = sqlite3_column_double(s, 6)};
  sqlite3_reset(s);
  return 0;
}
