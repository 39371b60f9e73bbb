/* What encryption promises of a SQLite database (core/store/sqlite/keys.c, names.c, core/store/sealed.c): whoever
 * changes the file with another program only damages what he touches; keys are counted; and a database of each earlier
 * version can still be used, as the files in spec/unit/store/fixtures have them. */
#include "memory_log.h"
#include "sqlite_fixture.h"

#include "metrics.h"

static bool log_said(const char *part) {
  char line[LOG_LINE_MAX];
  bool said = false;
  while (memory_log_take(line))
    said = said || strstr(line, part) != NULL;
  return said;
}

static void with_a_key_no_text_is_in_the_files(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  say(f, 1, 1, NULL, "said in the open");
  assert_true(file_has(f, "-wal", "in the open"));
  f->accept = CIPHER_PLAINTEXT;
  reopen_with(f, KEY_A, "");
  say(f, 1, 2, NULL, "said in secret");
  assert_false(file_has(f, "", "in secret"));
  assert_false(file_has(f, "-wal", "in secret"));
  assert_history(f, 1, "1 said in the open, 2 said in secret");
}

static int times(const char *history) {
  int count = 0;
  for (const char *p = history; (p = strstr(p, "DAMAGED")); p++)
    count++;
  return count;
}

/* By hand, with sqlite3, on the file: nothing of it is shown as genuine, and what was left alone still is. */
static void what_somebody_moved_or_changed_in_the_database_is_damaged(void **state) {
#define SWAP(column)                                                                                                   \
  "CREATE TEMP TABLE was AS SELECT seq, " column " AS v FROM messages WHERE session = 1; UPDATE messages SET " column  \
  " = (SELECT v FROM was WHERE was.seq = 3 - messages.seq) WHERE session = 1 AND seq < 3"
  static const struct {
    const char *change, *one, *two; /* what the two conversations are then */
  } cases[] = {
    {SWAP("content"), "1 DAMAGED, 2 DAMAGED, 3 three", "1 four"},
    {SWAP("ts"), "1 DAMAGED, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET seq = CASE seq WHEN 1 THEN -2 ELSE -1 END WHERE session = 1 AND seq < 3;"
     "UPDATE messages SET seq = -seq WHERE seq < 0",
     "1 DAMAGED, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET id = '3e550000000000000000000000000099' WHERE seq = 2", "1 one, 2 DAMAGED, 3 three",
     "1 four"},
    {"UPDATE messages SET sender = 'ai' WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET sender = NULL WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET sender = type, type = sender WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three",
     "1 four"},
    {"UPDATE messages SET type = 'file_upload' WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET cid = 'c9' WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET ts = ts + 1 WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET extra = '{\"file_url\":\"https://elsewhere\"}' WHERE session = 1 AND seq = 2",
     "1 one, 2 DAMAGED, 3 three", "1 four"},
    {"UPDATE messages SET content = CAST('forged' AS BLOB) WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three",
     "1 four"},
    {"UPDATE messages SET content = CAST('' AS BLOB) WHERE session = 1 AND seq = 2", "1 one, 2 DAMAGED, 3 three",
     "1 four"},
    {"UPDATE messages SET content = CAST(replace(CAST(content AS TEXT), 'cb2:', 'cb1:') AS BLOB) WHERE session = 1",
     "1 DAMAGED, 2 DAMAGED, 3 DAMAGED", "1 four"},
    {"UPDATE messages SET content = CAST(substr(content, 1, 30) || iif(substr(content, 31, 1) = CAST('A' AS BLOB), 'B',"
     " 'A') || substr(content, 32) AS BLOB) WHERE session = 1 AND seq = 1",
     "1 DAMAGED, 2 two, 3 three", "1 four"},
    {"UPDATE messages SET session = -session; UPDATE messages SET session = 3 + session", "1 DAMAGED",
     "1 DAMAGED, 2 DAMAGED, 3 DAMAGED"},
    {"UPDATE sessions SET id = 'x' || id; UPDATE sessions SET id = substr('0000000000005e55000000000000000', 1, 31) ||"
     " (3 - key)",
     "1 DAMAGED", "1 DAMAGED, 2 DAMAGED, 3 DAMAGED"},
    {"UPDATE sessions SET uid = 'u2' WHERE key = 1", "1 DAMAGED, 2 DAMAGED, 3 DAMAGED", "1 four"},
  };
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    make_session(f, 1);
    make_session(f, 2);
    say(f, 1, 1, "c1", "one");
    struct store_op *op = caller_write(1);
    caller_add(op, 2, NULL, "two", 3)->at_ms = 5;
    assert_int_equal(call(f, op)->code, 0);
    say(f, 1, 3, "c3", "three");
    say(f, 2, 4, "c4", "four");
    assert_history(f, 1, "1 one, 2 two, 3 three");
    change_database(f, cases[i].change);
    int64_t before = metrics_value(METRIC_DAMAGED);
    assert_history(f, 1, cases[i].one);
    assert_history(f, 2, cases[i].two);
    assert_int_equal(metrics_value(METRIC_DAMAGED) - before, times(cases[i].one) + times(cases[i].two));
    change_database(f, "DELETE FROM messages");
    change_database(f, "DELETE FROM sessions");
  }
}

static void name_session(struct fixture *f, unsigned session, const char *name) {
  struct store_op *op = write_session(session, 1);
  op->session.name = strdup(name);
  assert_int_equal(call(f, op)->code, 0);
}

static struct session_record *session_of(struct fixture *f, unsigned session) {
  return &call(f, read_of(STORE_SESSION, session, NULL, 0))->session;
}

static void a_name_is_of_its_conversation_and_user_only(void **state) {
  static const char *const changes[] = {
    ("CREATE TEMP TABLE was AS SELECT key, nm FROM sessions;"
     "UPDATE sessions SET nm = (SELECT nm FROM was WHERE was.key = 3 - sessions.key)"),
    "UPDATE sessions SET uid = 'u' || (key + 5)",
    "UPDATE sessions SET nm = 'forged'",
  };
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    name_session(f, 1, "the first words");
    name_session(f, 2, "other words");
    assert_string_equal(session_of(f, 1)->name, "the first words");
    assert_false(file_has(f, "-wal", "first words"));
    change_database(f, changes[i]);
    for (unsigned session = 1; session <= 2; session++) {
      assert_true(session_of(f, session)->name_damaged);
      assert_null(session_of(f, session)->name);
    }
    change_database(f, "DELETE FROM sessions");
  }
}

static void told(void *arg, const struct store_progress *p) {
  *(struct store_progress *)arg = *p;
}

/* ---- keys ---- */

static void key_row(struct fixture *f, const char *what, char out[128]) {
  sqlite3 *db;
  sqlite3_stmt *s;
  char sql[256];
  snprintf(sql, sizeof sql, "SELECT %s FROM keys", what);
  assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  snprintf(out, 128, "%s", (const char *)sqlite3_column_text(s, 0));
  sqlite3_finalize(s);
  sqlite3_close(db);
}

static void what_a_key_has_sealed_is_counted(void **state) {
  struct fixture *f = *state;
  char text[128];
  reopen_with(f, KEY_A, "");
  make_session(f, 1);
  for (unsigned i = 1; i <= 5; i++)
    say(f, 1, i, NULL, "x");
  key_row(f, "sealed > 5", text); /* while it runs it is ahead */
  assert_string_equal(text, "1");
  reopen(f);
  key_row(f, "sealed", text);
  assert_string_equal(text, "5");
  assert_int_equal(metrics_value(METRIC_KEY_SEALED), 5);
  name_session(f, 1, "a name is a text too");
  assert_int_equal(metrics_value(METRIC_KEY_SEALED), 6);
}

static void a_warning_asks_for_another_key_long_before_it_is_worn_out(void **state) {
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  make_session(f, 1);
  say(f, 1, 1, NULL, "x");
  store_close(f->store);
  f->store = NULL;
  change_database(f, "UPDATE keys SET sealed = 2147483647 - 1");
  reopen(f);
  say(f, 1, 2, NULL, "x");
  assert_false(log_said("2^32"));
  say(f, 1, 3, NULL, "x");
  assert_true(log_said("is to be changed before it has sealed 2^32 texts"));
  reopen(f);
  assert_true(log_said("2^32")); /* with each start */
}

/* ---- which key ---- */

static void without_its_key_an_encrypted_database_is_not_opened(void **state) {
  struct fixture *f = *state;
  char why[256];
  reopen_with(f, KEY_A, "");
  make_session(f, 1);
  say(f, 1, 1, NULL, "x");
  take_keys(f, "", "");
  assert_int_equal(open_code(f, why), E_KEY);
  assert_non_null(strstr(why, "ENCRYPTION_KEY"));
  void *reader;
  struct store_options o = {0};
  assert_int_equal(store_sqlite.open(&o, f->path, false, &reader, why), E_KEY);
  o.without_texts = true; /* for a backup, or to erase */
  assert_int_equal(store_sqlite.open(&o, f->path, false, &reader, why), 0);
  store_sqlite.close(reader);
  reopen_with(f, KEY_A, "");
  assert_history(f, 1, "1 x");
}

static void a_key_for_a_plain_database_says_what_is_left_to_do_and_nothing_is_lost(void **state) {
  struct fixture *f = *state;
  name_session(f, 1, "plain name");
  say(f, 1, 1, NULL, "plain");
  (void)log_said("");
  reopen_with(f, KEY_A, "");
  assert_true(log_said("run `chatbox reencrypt`"));
  assert_history(f, 1, "1 DAMAGED");
  assert_true(session_of(f, 1)->name_damaged);
  struct store_op *op = write_session(1, 1); /* as a server writes back what it has read */
  op->session.name_damaged = true;
  caller_add(op, 2, NULL, "sealed", 6);
  assert_int_equal(call(f, op)->code, 0);
  f->accept = CIPHER_ANY_FORM;
  take_keys(f, KEY_A, "");
  struct store_options o = {.backends = store_backends, .url = f->url, .keys = f->keys};
  char why[256];
  struct store_progress p;
  assert_int_equal(store_reencrypt(&o, told, &p, why), 0);
  assert_int_equal(p.plain, 1);
  f->accept = 0;
  (void)log_said("");
  reopen_with(f, KEY_A, "");
  assert_false(log_said("reencrypt"));
  assert_history(f, 1, "1 plain, 2 sealed");
  assert_string_equal(session_of(f, 1)->name, "plain name");
}

static void a_missing_previous_key_is_named(void **state) {
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  make_session(f, 1);
  say(f, 1, 1, NULL, "x");
  reopen_with(f, KEY_B, "");
  assert_true(log_said("what this key has sealed cannot be read"));
}

/* ---- earlier versions ---- */

static void take_fixture(struct fixture *f, const char *name) {
  char command[512];
  snprintf(command, sizeof command, SPEC_DIR "/unit/store/fixtures/%s.sql", name);
  FILE *file = fopen(command, "r");
  assert_non_null(file);
  char *sql = calloc(1, 1u << 20);
  assert_true(fread(sql, 1, (1u << 20) - 1, file) > 0);
  fclose(file);
  sqlite3 *db;
  assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
    fail_msg("%s", sqlite3_errmsg(db));
  sqlite3_close(db);
  free(sql);
}

static void assert_fixture(struct fixture *f) {
  for (unsigned session = 1; session <= 2; session++) {
    assert_history(f, session, "1 What is in the box?, 2 A cat., 3 cb1:0123abcd:AAAA");
    assert_string_equal(session_of(f, session)->name, session == 1 ? "What is in the box?" : "Grüße");
    assert_string_equal(session_of(f, session)->user_id, session == 1 ? "u1" : "u2");
    assert_int_equal(session_of(f, session)->top, 3);
    assert_int_equal(session_of(f, session)->response_count, 2);
    assert_int_equal(session_of(f, session)->read, 3); /* nobody has to read again what was there before */
    assert_int_equal(session_of(f, session)->received, 3);
  }
  assert_string_equal(history(f, 1, 0, 10)->messages[0].extra, "{\"file_id\":\"f1\",\"metadata\":{\"a\":1}}");
  assert_true(say(f, 1, 99, "c1", "again")->duplicate);
  assert_int_equal(say(f, 2, 100, NULL, "on")->seq, 4);
}

static void a_plain_database_of_each_earlier_version_can_be_used(void **state) {
  static const char *const names[] = {"sqlite-1-plain", "sqlite-2-plain", "sqlite-4-plain"};
  struct fixture *f = *state;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char why[256];
    void *alone; /* a reader changes nothing, so it cannot help */
    snprintf(f->path, sizeof f->path, "%s/%s.db", f->folder, names[i]);
    snprintf(f->url, sizeof f->url, "sqlite:%s", f->path);
    take_fixture(f, names[i]);
    assert_int_equal(store_sqlite.open(&(struct store_options){0}, f->path, false, &alone, why), E_SCHEMA);
    reopen(f);
    assert_fixture(f);
  }
}

static void use_sealed_fixture(struct fixture *f, const char *name) {
  char why[256];
  take_fixture(f, name);
  assert_int_equal(open_code(f, why), E_KEY); /* and it is as it was */
  assert_int_equal(keyring_new(KEY_A, "", 0, &f->keys, why), 0);
  reopen(f);
  assert_true(log_said("reencrypt"));
  assert_fixture(f);
  store_close(f->store);
  f->store = NULL;
  sqlite3 *db;
  assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, "VACUUM", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  assert_false(file_has(f, "", "What is in the box?"));
}

static void an_encrypted_database_of_an_earlier_version_can_be_used_and_its_names_are_sealed(void **state) {
  use_sealed_fixture(*state, "sqlite-2-sealed");
}

static void an_encrypted_database_of_version_4_can_be_used(void **state) {
  use_sealed_fixture(*state, "sqlite-4-sealed");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    STORE(with_a_key_no_text_is_in_the_files),
    STORE(what_somebody_moved_or_changed_in_the_database_is_damaged),
    STORE(a_name_is_of_its_conversation_and_user_only),
    STORE(what_a_key_has_sealed_is_counted),
    STORE(a_warning_asks_for_another_key_long_before_it_is_worn_out),
    STORE(without_its_key_an_encrypted_database_is_not_opened),
    STORE(a_key_for_a_plain_database_says_what_is_left_to_do_and_nothing_is_lost),
    STORE(a_missing_previous_key_is_named),
    FOLDER(a_plain_database_of_each_earlier_version_can_be_used),
    FOLDER(an_encrypted_database_of_an_earlier_version_can_be_used_and_its_names_are_sealed),
    FOLDER(an_encrypted_database_of_version_4_can_be_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
