/* What core/store/sqlite/rows.c and the writer that uses it promise: a write costs no more than it has to, and is the
 * same as if nothing were remembered. Batches are made by hand, in files of each test's own. */
#include "sqlite_fixture.h"

#include "err.h"
#include "sqlite_impl.h"

static void *handle_open(struct fixture *f) {
  void *handle;
  char why[256];
  assert_int_equal(store_sqlite.open(&(struct store_options){0}, f->path, true, &handle, why), 0);
  return handle;
}

/* Frees op; its code, and of the first message *seq. */
static int written(void *handle, struct store_op *op, uint64_t *seq) {
  store_sqlite.write(handle, &op, 1);
  int code = op->code;
  *seq = op->message_count ? op->messages[0].seq : 0;
  store_op_free(op);
  return code;
}

/* The first column of the first row. */
static int64_t number(struct fixture *f, const char *sql) {
  sqlite3 *db;
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  int64_t n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  sqlite3_close(db);
  return n;
}

static struct store_op *write_named(unsigned session, const char *name, unsigned long long id) {
  struct store_op *op = write_session(session, 1);
  free(op->session.name);
  op->session.name = strdup(name);
  caller_add(op, id, NULL, "x", 1);
  return op;
}

/* A trigger of "UPDATE OF column" runs whenever an update names it, whatever its value. */
static void an_update_names_no_indexed_column_and_no_name_that_has_not_changed(void **state) {
  struct fixture *f = *state;
  uint64_t seq;
  void *handle = handle_open(f);
  assert_int_equal(written(handle, write_named(1, "first", 1), &seq), 0);
  assert_int_equal(written(handle, write_named(2, "other", 2), &seq), 0);
  change_database(f, "CREATE TABLE named(n INTEGER); CREATE TRIGGER t AFTER UPDATE OF id, uid, ts, endTs, nm ON"
                     " sessions BEGIN INSERT INTO named VALUES(1); END; UPDATE sessions SET totalTokens = 0");
  assert_int_equal(written(handle, write_named(1, "first", 3), &seq), 0); /* once, to know what is stored */
  int64_t before = number(f, "SELECT count(*) FROM named");
  assert_int_equal(written(handle, write_named(1, "first", 4), &seq), 0);
  assert_int_equal(seq, 3);
  assert_int_equal(number(f, "SELECT count(*) FROM named"), before);
  assert_int_equal(written(handle, write_named(1, "second", 5), &seq), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM named"), before + 1);
  assert_int_equal(number(f, "SELECT count(*) FROM sessions WHERE nm = 'second' AND top = 4"), 1);
  struct store_op *ended = write_named(1, "second", 6);
  ended->session.end_ms = 77;
  assert_int_equal(written(handle, ended, &seq), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM sessions WHERE endTs = 77"), 1);
  store_sqlite.close(handle);
}

static void what_is_dealt_with_in_one_write_never_waits(void **state) {
  struct fixture *f = *state;
  uint64_t seq;
  void *handle = handle_open(f);
  struct store_op *op = write_session(1, 1);
  change_database(f, "CREATE TABLE waited(n INTEGER); CREATE TRIGGER t AFTER INSERT ON unanswered BEGIN INSERT INTO"
                     " waited VALUES(1); END; INSERT INTO waited VALUES(0)");
  struct message_record *m = caller_add(op, 1, "c", "question", 8);
  m->open = true;
  memcpy(op->mark.id, m->id, sizeof op->mark.id);
  op->mark.what = STORE_DEALT;
  caller_add(op, 2, NULL, "answer", 6);
  assert_int_equal(written(handle, op, &seq), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM unanswered"), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM waited"), 1);
  op = caller_write(1); /* it does when something else is dealt with */
  m = caller_add(op, 3, "d", "question", 8);
  m->open = true;
  caller_id(op->mark.id, 0x3e55, 4);
  op->mark.what = STORE_DEALT;
  assert_int_equal(written(handle, op, &seq), 0);
  assert_int_equal(number(f, "SELECT count(*) FROM unanswered"), 1);
  store_sqlite.close(handle);
}

static void an_operation_that_fails_half_way_leaves_nothing_and_the_others_are_kept(void **state) {
  struct fixture *f = *state;
  void *handle = handle_open(f);
  struct store_op *ops[4];
  for (unsigned i = 0; i < 4; i++) {
    ops[i] = i == 3 ? caller_write(0) : write_session(i, 1);
    caller_add(ops[i], i, i == 3 ? "c" : NULL, "x", 1);
  }
  caller_add(ops[0], 8, "c", "first", 5);
  caller_add(ops[1], 0, NULL, "the id of another message", 25); /* behind one that was inserted */
  store_sqlite.write(handle, ops, 4);
  assert_int_equal(ops[0]->code, 0);
  assert_int_equal(ops[0]->messages[0].seq, 1);
  assert_int_equal(ops[1]->code, E_STORE);
  assert_int_equal(ops[1]->messages[0].seq, 0);
  assert_int_equal(ops[2]->code, 0);
  assert_int_equal(ops[3]->code, 0);
  assert_true(ops[3]->messages[0].duplicate);
  assert_int_equal(ops[3]->messages[0].seq, 2);
  assert_int_equal(number(f, "SELECT count(*) FROM messages"), 3);
  assert_int_equal(number(f, "SELECT count(*) FROM sessions"), 2);
  for (unsigned i = 0; i < 4; i++)
    store_op_free(ops[i]);
  uint64_t seq;
  struct store_op *again = write_session(1, 1);
  caller_add(again, 9, NULL, "x", 1);
  assert_int_equal(written(handle, again, &seq), 0);
  assert_int_equal(seq, 1);
  store_sqlite.close(handle);
}

static void what_another_connection_changes_is_seen(void **state) {
  struct fixture *f = *state;
  uint64_t seq;
  void *handle = handle_open(f);
  assert_int_equal(written(handle, write_named(1, "first", 1), &seq), 0);
  change_database(f, "UPDATE sessions SET top = 41");
  struct store_op *op = caller_write(1);
  caller_add(op, 2, NULL, "x", 1);
  assert_int_equal(written(handle, op, &seq), 0);
  assert_int_equal(seq, 42);
  change_database(f, "DELETE FROM sessions");
  op = caller_write(1);
  caller_add(op, 3, NULL, "x", 1);
  assert_int_equal(written(handle, op, &seq), E_NOT_FOUND);
  store_sqlite.close(handle);
}

static void more_conversations_than_are_remembered_are_numbered_on(void **state) {
  struct fixture *f = *state;
  void *handle = handle_open(f);
  enum { BATCH = 1000, ALL = ROWS_MAX + 2 * BATCH };
  static struct store_op *ops[BATCH];
  for (unsigned round = 0; round < 2; round++) {
    for (unsigned i = 0; i < ALL; i += BATCH) {
      for (unsigned k = 0; k < BATCH && i + k < ALL; k++) {
        ops[k] = round ? caller_write(i + k) : write_session(i + k, 1);
        caller_add(ops[k], round * ALL + i + k, NULL, "x", 1);
      }
      size_t n = ALL - i < BATCH ? ALL - i : BATCH;
      store_sqlite.write(handle, ops, n);
      for (unsigned k = 0; k < n; k++) {
        assert_int_equal(ops[k]->code, 0);
        assert_int_equal(ops[k]->messages[0].seq, round + 1);
        store_op_free(ops[k]);
      }
    }
  }
  store_sqlite.close(handle);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    FOLDER(an_update_names_no_indexed_column_and_no_name_that_has_not_changed),
    FOLDER(what_is_dealt_with_in_one_write_never_waits),
    FOLDER(an_operation_that_fails_half_way_leaves_nothing_and_the_others_are_kept),
    FOLDER(what_another_connection_changes_is_seen),
    FOLDER(more_conversations_than_are_remembered_are_numbered_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
