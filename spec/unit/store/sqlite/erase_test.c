/* What core/store/sqlite/erase.c and scrub.c promise: what is erased is gone at once for whoever asks, goes in steps
 * that let other writes pass, goes on after an interruption, and is at the end in no byte of any file. */
#include "sqlite_fixture.h"

#include "store_direct.h"

#define MARKER "what nobody may ever read again"

static struct store_op *erasure(const char *user) {
  struct store_op *op = store_op_audit(STORE_ERASE, "spec", "erase", user, 77);
  op->session.user_id = strdup(user);
  return op;
}

static struct store_op *session_for(unsigned session, const char *user) {
  struct store_op *op = write_session(session, 1);
  free(op->session.user_id);
  op->session.user_id = strdup(user);
  return op;
}

static bool any_file_has(struct fixture *f, const char *text) {
  static const char *const suffixes[] = {"", "-wal"};
  bool found = false;
  for (size_t i = 0; i < 2; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s%s", f->path, suffixes[i]);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *bytes = malloc(64u << 20);
    size_t len = fread(bytes, 1, 64u << 20, file);
    assert_true(feof(file));
    found = found || memmem(bytes, len, text, strlen(text)) != NULL;
    free(bytes);
    fclose(file);
  }
  return found;
}

static long long number(struct fixture *f, const char *sql) {
  sqlite3 *db;
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  long long n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  sqlite3_close(db);
  return n;
}

static void assert_sound(struct fixture *f) {
  assert_int_equal(number(f, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
}

/* Many messages, in one operation each ten. */
static void talk(struct fixture *f, unsigned session, unsigned long long from, unsigned count, const char *text) {
  for (unsigned i = 0; i < count; i += 10) {
    struct store_op *op = caller_write(session);
    for (unsigned k = 0; k < 10; k++)
      caller_add(op, from + i + k, NULL, text, strlen(text));
    assert_int_equal(call(f, op)->code, 0);
    caller_forget(f->caller);
  }
}

static unsigned draw(unsigned *seed) {
  *seed = *seed * 1103515245u + 12345u;
  return *seed >> 16;
}

/* Two users who talk in turns, so that pages with rows of both are split again and again. */
static void mix(struct fixture *f, unsigned seed, unsigned messages) {
  char text[1500];
  for (unsigned session = 1; session <= 8; session++)
    assert_int_equal(call(f, session_for(session, session % 2 ? "victim" : "other"))->code, 0);
  for (unsigned i = 0; i < messages; i++) {
    unsigned session = 1 + draw(&seed) % 8;
    int len = snprintf(text, sizeof text, "%s %u ", session % 2 ? MARKER : "kept", i);
    memset(text + len, 'x', sizeof text - (size_t)len);
    struct store_op *op = caller_write(session);
    struct message_record *m =
      caller_add(op, (unsigned long long)draw(&seed) << 32 | i, NULL, text, (size_t)len + draw(&seed) % 700);
    m->cid = malloc(64);
    snprintf(m->cid, 64, "%s-%u-%u", session % 2 ? "victim" : "kept", draw(&seed), i);
    assert_int_equal(call(f, op)->code, 0);
    caller_forget(f->caller);
  }
}

static void what_is_erased_is_in_no_file_any_more(void **state) {
  struct fixture *f = *state;
  for (unsigned seed = 1; seed <= 20; seed++) {
    mix(f, seed, 300);
    assert_true(any_file_has(f, MARKER));
    struct store_op *op = call(f, erasure("victim"));
    assert_int_equal(op->code, 0);
    assert_int_equal(op->erased.sessions, 4);
    /* Its server runs; nothing was closed or copied. */
    assert_false(any_file_has(f, MARKER));
    assert_false(any_file_has(f, "victim-"));
    assert_sound(f);
    assert_true(any_file_has(f, "kept"));
    assert_int_equal(call(f, erasure("other"))->code, 0);
    caller_forget(f->caller);
  }
}

static void others_go_on_writing_meanwhile_and_nothing_comes_back(void **state) {
  struct fixture *f = *state;
  mix(f, 7, 600);
  assert_int_equal(caller_submit(f->caller, f->store, erasure("victim")), 0);
  struct store_op *op = NULL;
  unsigned written = 0;
  while (f->caller->replies[0] == NULL || f->caller->count == 0 || f->caller->replies[0]->kind != STORE_ERASE) {
    op = caller_write(2 + 2 * (written % 4));
    caller_add(op, 1u << 30 | written, NULL, "kept meanwhile", 14);
    op = call(f, op);
    assert_int_equal(op->code, 0);
    written++;
    for (size_t i = 0; i < f->caller->count; i++) {
      if (f->caller->replies[i]->kind == STORE_ERASE) {
        struct store_op *swap = f->caller->replies[0];
        f->caller->replies[0] = f->caller->replies[i];
        f->caller->replies[i] = swap;
      }
    }
    assert_true(written < 4000);
  }
  assert_int_equal(f->caller->replies[0]->code, 0);
  assert_false(any_file_has(f, MARKER));
  talk(f, 2, 2ull << 40, 200, "and later");
  assert_false(any_file_has(f, MARKER));
  assert_sound(f);
}

static void it_goes_in_steps_and_a_later_write_is_answered_first(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  talk(f, 1, 1, 5000, "secret");
  assert_int_equal(call(f, session_for(2, "u2"))->code, 0);
  caller_forget(f->caller);
  assert_int_equal(caller_submit(f->caller, f->store, erasure("u1")), 0);
  struct store_op *late = caller_write(2);
  caller_add(late, 9000001, NULL, "meanwhile", 9);
  assert_int_equal(caller_submit(f->caller, f->store, late), 0);
  caller_wait(f->caller, 1);
  assert_int_equal(f->caller->replies[0]->kind, STORE_WRITE);
  caller_wait(f->caller, 2);
  assert_int_equal(f->caller->replies[1]->code, 0);
  assert_int_equal(f->caller->replies[1]->erased.messages, 5000);
  assert_string_equal(f->caller->replies[1]->audit.detail, "1 conversations, 5000 messages");
}

/* As the program leaves it that ends after the first steps. */
static void begin_and_break_off(struct fixture *f, int steps) {
  void *handle;
  char why[256];
  store_close(f->store);
  f->store = NULL;
  assert_int_equal(store_sqlite.open(&(struct store_options){0}, f->path, true, &handle, why), 0);
  struct store_op *op = erasure("u1");
  store_sqlite.write(handle, &op, 1);
  assert_int_equal(op->code, E_MORE);
  for (int i = 0; i < steps; i++)
    assert_int_equal(store_sqlite.erase(handle, op), E_MORE);
  store_op_free(op);
  store_sqlite.close(handle);
}

static void one_that_was_interrupted_is_not_found_and_goes_on_at_the_next_start(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  make_session(f, 2);
  talk(f, 1, 1, 2000, MARKER);
  begin_and_break_off(f, 2);
  assert_true(number(f, "SELECT count(*) FROM messages") > 0);
  assert_int_equal(number(f, "SELECT count(*) FROM audit"), 0);
  reopen(f);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_SESSIONS, 0, "u1", 5))->session_count, 0);
  assert_int_equal(history_code(f, 1), E_NOT_FOUND);
  make_session(f, 3); /* of the same user, and later */
  say(f, 3, 99999, NULL, "a new life");
  while (number(f, "SELECT count(*) FROM audit WHERE detail = '2 conversations, 2000 messages'") == 0) {
  }
  assert_int_equal(number(f, "SELECT count(*) FROM audit"), 1);
  assert_int_equal(number(f, "SELECT count(*) FROM erasing") + number(f, "SELECT count(*) FROM erasures"), 0);
  assert_false(any_file_has(f, MARKER));
  assert_history(f, 3, "1 a new life");
}

static void asked_for_again_it_is_one_erasure_with_one_record(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  talk(f, 1, 1, 1500, "x");
  begin_and_break_off(f, 1);
  struct store_options o = {.backends = store_backends, .url = f->url};
  struct store_direct d;
  char why[256];
  assert_int_equal(store_direct_open(&o, true, &d, why), 0);
  struct store_op *op = erasure("u1"), *new = write_session(5, 1);
  caller_add(new, 77777, NULL, "later", 5);
  assert_int_equal(store_direct_run(&d, new), 0);
  assert_int_equal(store_direct_run(&d, op), 0);
  assert_string_equal(op->audit.detail, "2 conversations, 1501 messages");
  store_op_free(op);
  store_op_free(new);
  store_direct_close(&d);
  assert_int_equal(number(f, "SELECT count(*) FROM audit"), 1);
  reopen(f);
}

static void what_expires_goes_in_steps_too(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  talk(f, 1, 1, 1500, MARKER);
  struct store_op *op = store_op_audit(STORE_EXPIRE, "spec", "retention", "all", 77);
  op->before_ms = INT64_MAX;
  op->limit = 5;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  assert_int_equal(op->erased.messages, 1500);
  assert_int_equal(op->session_count, 1);
  assert_false(any_file_has(f, MARKER));
  assert_int_equal(number(f, "SELECT count(*) FROM audit WHERE detail = '1 conversations, 1500 messages'"), 1);
}

static void the_store_stops_in_the_middle_and_says_so(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  talk(f, 1, 1, 5000, "x");
  caller_forget(f->caller);
  assert_int_equal(caller_submit(f->caller, f->store, erasure("u1")), 0);
  assert_int_equal(store_drain(f->store, 10000), 0);
  caller_wait(f->caller, 1);
  assert_true(f->caller->replies[0]->code == E_STOPPING || f->caller->replies[0]->code == 0);
  reopen(f);
  while (number(f, "SELECT count(*) FROM audit") == 0) {
  }
  assert_int_equal(number(f, "SELECT count(*) FROM messages"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    STORE(what_is_erased_is_in_no_file_any_more),
    STORE(others_go_on_writing_meanwhile_and_nothing_comes_back),
    STORE(it_goes_in_steps_and_a_later_write_is_answered_first),
    STORE(one_that_was_interrupted_is_not_found_and_goes_on_at_the_next_start),
    STORE(asked_for_again_it_is_one_erasure_with_one_record),
    STORE(what_expires_goes_in_steps_too),
    STORE(the_store_stops_in_the_middle_and_says_so),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
