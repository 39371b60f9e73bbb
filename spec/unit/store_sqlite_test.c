/* What core/store_sqlite.c promises, on real files in a folder of each test's own. Where the make-up of one batch
 * matters the backend is called directly; everything else goes through the store and its threads. */
#include "../support/store_caller.h"

#include "cipher.h"
#include "err.h"
#include "metrics.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
  char folder[64], path[96], url[112];
  struct store *store;
  struct keyring *keys;
  struct caller *caller;
};

static void reopen(struct fixture *f) {
  if (f->store != NULL)
    store_close(f->store);
  f->store = NULL;
  struct store_options o = {.url = f->url, .readers = 2, .queue = 10000, .keys = f->keys};
  char why[256] = "";
  if (store_open(&o, &f->store, why) != 0)
    fail_msg("%s", why);
}

static int setup_folder(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  strcpy(f->folder, "/tmp/chatbox-store-XXXXXX");
  if (mkdtemp(f->folder) == NULL)
    return -1;
  snprintf(f->path, sizeof f->path, "%s/chat.db", f->folder);
  snprintf(f->url, sizeof f->url, "sqlite:%s", f->path);
  f->caller = caller_new();
  *state = f;
  return 0;
}

static int setup(void **state) {
  int r = setup_folder(state);
  if (r == 0)
    reopen(*state);
  return r;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  char command[128];
  if (f->store != NULL)
    store_close(f->store);
  keyring_free(f->keys);
  caller_free(f->caller);
  snprintf(command, sizeof command, "rm -r %s", f->folder);
  free(f);
  return system(command);
}

static struct store_op *call(struct fixture *f, struct store_op *op) {
  return caller_call(f->caller, f->store, op);
}

/* A conversation of that number, of user "u1", started at that time. */
static struct store_op *write_session(unsigned session, int64_t start_ms) {
  struct store_op *op = caller_write(session);
  op->has_session = true;
  op->session.user_id = strdup("u1");
  op->session.start_ms = start_ms;
  return op;
}

static struct store_op *read_of(enum store_kind kind, unsigned session, const char *user, uint32_t limit) {
  struct store_op *op = store_op_new(kind);
  caller_id(op->session.id, 0x5e55, session);
  op->session.user_id = user != NULL ? strdup(user) : NULL;
  op->limit = limit;
  return op;
}

static void make_session(struct fixture *f, unsigned session) {
  assert_int_equal(call(f, write_session(session, 1))->code, 0);
}

/* One message of its own operation; the reply's record. */
static struct message_record *say(struct fixture *f, unsigned session, unsigned long long id, const char *cid,
                                  const char *content) {
  struct store_op *op = caller_write(session);
  caller_add(op, id, cid, content, strlen(content));
  op = call(f, op);
  assert_int_equal(op->code, 0);
  return &op->messages[0];
}

static struct store_op *history(struct fixture *f, unsigned session, uint64_t before_seq, uint32_t limit) {
  struct store_op *op = read_of(STORE_HISTORY, session, NULL, limit);
  op->before_seq = before_seq;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  return op;
}

static void assert_history(struct fixture *f, unsigned session, const char *expected) {
  struct store_op *op = history(f, session, 0, 100);
  char text[256] = "";
  for (size_t i = 0; i < op->message_count; i++) {
    size_t len = strlen(text);
    snprintf(text + len, sizeof text - len, "%s%d %s", i > 0 ? ", " : "", (int)op->messages[i].seq,
             op->messages[i].content);
  }
  assert_string_equal(text, expected);
}

/* ---- conversations ---- */

static void a_conversation_comes_back_as_it_was_written(void **state) {
  struct fixture *f = *state;
  struct store_op *op = write_session(1, 1000);
  struct session_record *r = &op->session;
  r->name = strdup("Grüße");
  r->model_id = strdup("echo");
  r->assisting_admin_id = strdup("a1");
  r->assisting_admin_name = strdup("Jane");
  r->last_activity_ms = 2000;
  r->end_ms = 3000;
  r->help_requested = r->admin_assisted = true;
  r->total_tokens = INT64_MAX;
  r->max_response_ms = 77;
  r->avg_response_ms = 33;
  r->top = 99; /* not for the caller to say */
  r->response_count = 100;
  for (uint32_t i = 0; i < 100; i++)
    r->responses[i] = UINT32_MAX - i * 0x01020304u;
  assert_int_equal(call(f, op)->code, 0);
  reopen(f);
  struct store_op *got = call(f, read_of(STORE_SESSION, 1, NULL, 0));
  assert_int_equal(got->code, 0);
  assert_string_equal(got->session.id, r->id);
  assert_string_equal(got->session.user_id, "u1");
  assert_string_equal(got->session.name, "Grüße");
  assert_string_equal(got->session.model_id, "echo");
  assert_string_equal(got->session.assisting_admin_id, "a1");
  assert_string_equal(got->session.assisting_admin_name, "Jane");
  assert_int_equal(got->session.start_ms, 1000);
  assert_int_equal(got->session.last_activity_ms, 2000);
  assert_int_equal(got->session.end_ms, 3000);
  assert_true(got->session.help_requested && got->session.admin_assisted);
  assert_true(got->session.total_tokens == INT64_MAX);
  assert_int_equal(got->session.max_response_ms, 77);
  assert_int_equal(got->session.avg_response_ms, 33);
  assert_int_equal(got->session.top, 0);
  assert_int_equal(got->session.response_count, 100);
  assert_memory_equal(got->session.responses, r->responses, sizeof r->responses);
}

static void a_second_write_replaces_all_but_owner_and_top(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  say(f, 1, 1, NULL, "one");
  struct store_op *op = write_session(1, 5);
  free(op->session.user_id);
  op->session.user_id = strdup("somebody else");
  op->session.name = strdup("named");
  op->session.top = 0;
  caller_add(op, 2, NULL, "two", 3);
  assert_int_equal(call(f, op)->code, 0);
  struct session_record *r = &call(f, read_of(STORE_SESSION, 1, NULL, 0))->session;
  assert_string_equal(r->user_id, "u1");
  assert_string_equal(r->name, "named");
  assert_int_equal(r->start_ms, 5);
  assert_int_equal(r->top, 2);
  assert_int_equal(say(f, 1, 3, NULL, "three")->seq, 3);
}

static void a_message_alone_moves_the_last_activity_on(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  const int64_t times[] = {5000, 4000};
  for (int i = 0; i < 2; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, (unsigned)i, NULL, "x", 1)->at_ms = times[i];
    assert_int_equal(call(f, op)->code, 0);
    assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.last_activity_ms, 5000);
  }
}

static void the_active_conversation_is_the_newest_without_an_end(void **state) {
  struct fixture *f = *state;
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->code, E_NOT_FOUND);
  for (unsigned i = 1; i <= 4; i++) {
    struct store_op *op = write_session(i, 100 * (int64_t)(i == 4 ? 1 : i));
    op->session.end_ms = i == 3 ? 999 : 0;
    assert_int_equal(call(f, op)->code, 0);
  }
  struct store_op *got = call(f, read_of(STORE_ACTIVE, 0, "u1", 0));
  assert_int_equal(got->code, 0);
  assert_int_equal(got->session.start_ms, 200);
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u2", 0))->code, E_NOT_FOUND);
  for (unsigned i = 1; i <= 4; i++) {
    struct store_op *op = write_session(i, 100);
    op->session.end_ms = 1;
    assert_int_equal(call(f, op)->code, 0);
  }
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->code, E_NOT_FOUND);
}

static void the_list_of_a_user_is_newest_first_and_limited(void **state) {
  struct fixture *f = *state;
  const int64_t starts[] = {300, 100, 500, 200};
  for (unsigned i = 0; i < 4; i++)
    assert_int_equal(call(f, write_session(i, starts[i]))->code, 0);
  struct store_op *other = write_session(9, 900);
  strcpy(other->session.user_id, "u2");
  assert_int_equal(call(f, other)->code, 0);
  struct store_op *got = call(f, read_of(STORE_SESSIONS, 0, "u1", 3));
  assert_int_equal(got->code, 0);
  assert_int_equal(got->session_count, 3);
  assert_int_equal(got->sessions[0].start_ms, 500);
  assert_int_equal(got->sessions[1].start_ms, 300);
  assert_int_equal(got->sessions[2].start_ms, 200);
  got = call(f, read_of(STORE_SESSIONS, 0, "nobody", 3));
  assert_int_equal(got->code, 0);
  assert_int_equal(got->session_count, 0);
}

static void what_is_not_there_is_not_found(void **state) {
  struct fixture *f = *state;
  assert_int_equal(call(f, read_of(STORE_SESSION, 7, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_HISTORY, 7, NULL, 5))->code, E_NOT_FOUND);
  struct store_op *op = caller_write(7);
  caller_add(op, 1, NULL, "x", 1);
  assert_int_equal(call(f, op)->code, E_NOT_FOUND);
}

/* ---- messages ---- */

static void a_message_comes_back_as_it_was_written(void **state) {
  static const char bytes[] = "a\0b\xff\xc3"; /* NULs and broken UTF-8 are bytes like any other */
  struct fixture *f = *state;
  struct store_op *op = write_session(1, 1);
  struct message_record *m = caller_add(op, 1, "c1", bytes, sizeof bytes);
  m->extra = strdup("{\"file_id\":\"f\"}");
  m->at_ms = 1700000000123;
  caller_add(op, 2, NULL, "", 0);
  assert_int_equal(call(f, op)->code, 0);
  assert_int_equal(op->messages[1].seq, 2);
  reopen(f);
  struct message_record *got = history(f, 1, 0, 10)->messages;
  assert_int_equal(got[0].seq, 1);
  assert_string_equal(got[0].id, op->messages[0].id);
  assert_string_equal(got[0].cid, "c1");
  assert_string_equal(got[0].sender, "user");
  assert_string_equal(got[0].type, "user_message");
  assert_string_equal(got[0].extra, "{\"file_id\":\"f\"}");
  assert_true(got[0].at_ms == 1700000000123);
  assert_int_equal(got[0].content_len, sizeof bytes);
  assert_memory_equal(got[0].content, bytes, sizeof bytes);
  assert_null(got[1].cid);
  assert_null(got[1].extra);
  assert_int_equal(got[1].content_len, 0);
  assert_string_equal(got[1].content, "");
}

static void numbers_go_up_by_one_in_each_conversation_and_go_on_after_a_restart(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  make_session(f, 2);
  for (unsigned i = 0; i < 300; i++) {
    struct store_op *op = caller_write(1 + i % 2);
    caller_add(op, i, NULL, "x", 1);
    assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  }
  caller_wait(f->caller, 302);
  for (unsigned i = 0; i < 300; i++)
    assert_int_equal(f->caller->replies[2 + i]->messages[0].seq, i / 2 + 1);
  reopen(f);
  assert_int_equal(say(f, 1, 1000, NULL, "next")->seq, 151);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.top, 151);
}

static void a_cid_is_stored_once_and_answers_with_the_first(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  make_session(f, 2);
  struct message_record *first = say(f, 1, 1, "c", "first");
  assert_false(first->duplicate);
  say(f, 1, 2, NULL, "between");
  for (unsigned long long again = 3; again <= 4; again++) {
    struct message_record *m = say(f, 1, again, "c", "again");
    assert_true(m->duplicate);
    assert_int_equal(m->seq, 1);
    assert_string_equal(m->id, first->id);
    reopen(f); /* it is the database that remembers */
  }
  assert_false(say(f, 2, 5, "c", "elsewhere")->duplicate);
  assert_int_equal(say(f, 1, 6, "d", "last")->seq, 3);
  assert_history(f, 1, "1 first, 2 between, 3 last");
}

static void a_cid_twice_in_one_operation_is_stored_once(void **state) {
  struct fixture *f = *state;
  struct store_op *op = write_session(1, 1);
  caller_add(op, 1, "c", "first", 5);
  caller_add(op, 2, "c", "again", 5);
  caller_add(op, 3, "d", "other", 5);
  op = call(f, op);
  assert_int_equal(op->code, 0);
  assert_true(op->messages[1].duplicate);
  assert_int_equal(op->messages[1].seq, 1);
  assert_string_equal(op->messages[1].id, op->messages[0].id);
  assert_history(f, 1, "1 first, 2 other");
}

static void history_is_read_in_pages_from_the_end(void **state) {
  struct fixture *f = *state;
  struct store_op *op = write_session(1, 1);
  for (unsigned i = 1; i <= 10; i++)
    caller_add(op, i, NULL, "x", 1);
  assert_int_equal(call(f, op)->code, 0);
  const struct {
    uint64_t before_seq;
    uint32_t limit;
    size_t count;
    uint64_t first;
  } pages[] = {{0, 3, 3, 8}, {8, 3, 3, 5}, {3, 5, 2, 1}, {1, 5, 0, 0}, {0, 1000, 10, 1}, {UINT64_MAX, 1, 1, 10}};
  for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
    struct store_op *page = history(f, 1, pages[i].before_seq, pages[i].limit);
    assert_int_equal(page->message_count, pages[i].count);
    for (size_t k = 0; k < page->message_count; k++)
      assert_int_equal(page->messages[k].seq, pages[i].first + k);
  }
}

static void a_page_of_history_is_bounded_in_bytes(void **state) {
  struct fixture *f = *state;
  const size_t len = 1u << 20, in_a_page = STORE_HISTORY_BYTES / len;
  char *content = calloc(1, len);
  make_session(f, 1);
  for (unsigned i = 1; i <= in_a_page + 4; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, i, NULL, content, len);
    assert_int_equal(call(f, op)->code, 0);
    caller_forget(f->caller);
  }
  free(content);
  struct store_op *page = history(f, 1, 0, 1000);
  assert_int_equal(page->message_count, in_a_page);
  assert_int_equal(page->messages[0].seq, 5);
  page = history(f, 1, page->messages[0].seq, 1000);
  assert_int_equal(page->message_count, 4);
  assert_int_equal(page->messages[3].seq, 4);
}

static void a_read_sees_every_write_that_was_answered_before_it(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  for (unsigned i = 1; i <= 200; i++) {
    say(f, 1, i, NULL, "x");
    for (int reader = 0; reader < 2; reader++)
      assert_int_equal(caller_submit(f->caller, f->store, read_of(STORE_SESSION, 1, NULL, 0)), 0);
    caller_wait(f->caller, f->caller->count + 2);
    for (size_t back = 1; back <= 2; back++)
      assert_int_equal(f->caller->replies[f->caller->count - back]->session.top, i);
  }
}

static void an_empty_write_answers_after_all_writes_before_it(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  for (unsigned i = 1; i <= 50; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, i, NULL, "x", 1);
    assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  }
  struct store_op *barrier = store_op_new(STORE_WRITE);
  assert_int_equal(caller_submit(f->caller, f->store, barrier), 0);
  caller_wait(f->caller, 52);
  assert_ptr_equal(f->caller->replies[51], barrier);
  assert_int_equal(barrier->code, 0);
}

static void ping_answers(void **state) {
  assert_int_equal(call(*state, read_of(STORE_PING, 0, NULL, 0))->code, 0);
}

/* ---- with a key ---- */

#define KEY_A "the first key of 32 bytes. 1 2 3"
#define KEY_B "the second key of 32 bytes 1 2 3"

/* Closes the store and opens it with these keys. */
static void reopen_with(struct fixture *f, const char *current, const char *previous) {
  char why[256];
  store_close(f->store);
  f->store = NULL;
  keyring_free(f->keys);
  assert_int_equal(keyring_new(current, previous, false, &f->keys, why), 0);
  reopen(f);
}

static int history_code(struct fixture *f, unsigned session) {
  return call(f, read_of(STORE_HISTORY, session, NULL, 100))->code;
}

static bool file_has(struct fixture *f, const char *suffix, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s%s", f->path, suffix);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  char *bytes = malloc(1u << 20);
  size_t len = fread(bytes, 1, 1u << 20, file);
  assert_true(feof(file) && len > 0);
  bool found = memmem(bytes, len, text, strlen(text)) != NULL;
  free(bytes);
  fclose(file);
  return found;
}

static void with_a_key_no_text_is_in_the_files(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  say(f, 1, 1, NULL, "said in the open");
  assert_true(file_has(f, "-wal", "in the open"));
  reopen_with(f, KEY_A, "");
  say(f, 1, 2, NULL, "said in secret");
  assert_false(file_has(f, "", "in secret"));
  assert_false(file_has(f, "-wal", "in secret"));
  assert_history(f, 1, "1 said in the open, 2 said in secret");
}

static void a_key_may_change_and_old_text_is_read_with_the_one_before(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  reopen_with(f, KEY_A, "");
  say(f, 1, 1, NULL, "old");
  reopen_with(f, KEY_B, KEY_A);
  say(f, 1, 2, NULL, "new");
  assert_history(f, 1, "1 old, 2 new");
  reopen_with(f, KEY_B, "");
  assert_int_equal(history_code(f, 1), E_STORE);
  assert_int_equal(say(f, 1, 3, NULL, "writing goes on")->seq, 3);
}

static void without_the_key_reading_is_an_error_for_that_conversation_only(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  make_session(f, 2);
  say(f, 2, 2, NULL, "plain");
  reopen_with(f, KEY_A, "");
  say(f, 1, 1, NULL, "secret");
  reopen_with(f, "", "");
  assert_int_equal(history_code(f, 1), E_STORE);
  assert_history(f, 2, "1 plain");
  reopen_with(f, KEY_B, "");
  assert_int_equal(history_code(f, 1), E_STORE);
  assert_history(f, 2, "1 plain");
}

static void change_database(struct fixture *f, const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_true(sqlite3_total_changes(db) > 0);
  sqlite3_close(db);
}

static void what_somebody_moved_or_changed_in_the_database_is_an_error(void **state) {
  const char *const changes[] = {
    "UPDATE messages SET content = (SELECT content FROM messages WHERE seq = 2) WHERE seq = 1",
    "UPDATE messages SET session = session + 1 WHERE session = 1",
    "UPDATE messages SET content = CAST(substr(content, 1, 30) || iif(substr(content, 31, 1) = CAST('A' AS BLOB), 'B', "
    "'A')"
    " || substr(content, 32) AS BLOB) WHERE seq = 1",
  };
  struct fixture *f = *state;
  for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
    make_session(f, 1);
    make_session(f, 2);
    reopen_with(f, KEY_A, "");
    say(f, 1, 1, NULL, "one");
    say(f, 1, 2, NULL, "two");
    assert_history(f, 1, "1 one, 2 two");
    change_database(f, changes[i]);
    assert_int_equal(history_code(f, i == 1 ? 2 : 1), E_STORE);
    change_database(f, "DELETE FROM messages");
    change_database(f, "DELETE FROM sessions");
  }
}

static void a_cid_is_stored_once_whatever_the_key(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  reopen_with(f, KEY_A, "");
  say(f, 1, 1, "c", "once");
  reopen_with(f, KEY_B, KEY_A);
  assert_true(say(f, 1, 2, "c", "once")->duplicate);
  assert_history(f, 1, "1 once");
}

static void a_text_that_looks_encrypted_is_a_text(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  say(f, 1, 1, NULL, "cb1:0123abcd:AAAA");
  say(f, 1, 2, NULL, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  const char *const said = "1 cb1:0123abcd:AAAA, 2 da39a3ee5e6b4b0d3255bfef95601890afd80709";
  assert_history(f, 1, said);
  reopen_with(f, KEY_A, "");
  assert_history(f, 1, said);
}

/* ---- one batch, made by hand ---- */

static void *handle_open(struct fixture *f) {
  void *handle;
  char why[256];
  assert_int_equal(store_sqlite.open(&(struct store_options){0}, f->path, true, &handle, why), 0);
  return handle;
}

static void many_operations_are_one_commit(void **state) {
  void *handle = handle_open(*state);
  struct store_op *ops[20];
  int64_t commits = metrics_value(METRIC_STORE_COMMITS);
  for (unsigned i = 0; i < 20; i++) {
    ops[i] = write_session(i, 1);
    caller_add(ops[i], i, NULL, "x", 1);
  }
  store_sqlite.write(handle, ops, 20);
  assert_int_equal(metrics_value(METRIC_STORE_COMMITS) - commits, 1);
  for (unsigned i = 0; i < 20; i++) {
    assert_int_equal(ops[i]->code, 0);
    store_op_free(ops[i]);
  }
  struct store_op *barrier = store_op_new(STORE_WRITE);
  store_sqlite.write(handle, &barrier, 1);
  assert_int_equal(barrier->code, 0);
  assert_int_equal(metrics_value(METRIC_STORE_COMMITS) - commits, 1);
  store_op_free(barrier);
  store_sqlite.close(handle);
}

static void an_operation_that_fails_undoes_only_itself(void **state) {
  struct fixture *f = *state;
  void *handle = handle_open(f);
  struct store_op *ops[6];
  ops[0] = write_session(1, 1);
  caller_add(ops[0], 1, NULL, "one", 3);
  ops[1] = caller_write(1);
  caller_add(ops[1], 2, "c2", "lost", 4);
  caller_add(ops[1], 1, NULL, "its id is taken", 15);
  ops[2] = write_session(2, 1); /* a new conversation, too, is taken back */
  caller_add(ops[2], 1, "c3", "its id is taken", 15);
  ops[3] = caller_write(3);
  caller_add(ops[3], 4, NULL, "nowhere", 7);
  ops[4] = caller_write(1);
  caller_add(ops[4], 1, NULL, "its id is taken", 15);
  ops[5] = caller_write(1);
  caller_add(ops[5], 5, NULL, "two", 3);
  store_sqlite.write(handle, ops, 6);
  store_sqlite.close(handle);
  const int codes[] = {0, E_STORE, E_STORE, E_NOT_FOUND, E_STORE, 0};
  for (int i = 0; i < 6; i++) {
    assert_int_equal(ops[i]->code, codes[i]);
    assert_true(codes[i] == 0 || ops[i]->messages[0].seq == 0);
    store_op_free(ops[i]);
  }
  reopen(f);
  assert_history(f, 1, "1 one, 2 two");
  assert_int_equal(call(f, read_of(STORE_SESSION, 2, NULL, 0))->code, E_NOT_FOUND);
}

/* ---- a disk without room ---- */

/* No file of this process may grow beyond that: what a full disk is to SQLite, without a disk to fill. */
static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static rlim_t wal_size(struct fixture *f) {
  char path[128];
  struct stat st;
  snprintf(path, sizeof path, "%s-wal", f->path);
  assert_int_equal(stat(path, &st), 0);
  return (rlim_t)st.st_size;
}

static void a_full_disk_fails_the_whole_batch_and_nothing_of_it_is_there(void **state) {
  struct fixture *f = *state;
  signal(SIGXFSZ, SIG_IGN);
  void *handle = handle_open(f);
  struct store_op *ops[3];
  ops[0] = write_session(1, 1);
  caller_add(ops[0], 1, NULL, "one", 3);
  store_sqlite.write(handle, ops, 1);
  assert_int_equal(ops[0]->code, 0);
  store_op_free(ops[0]);

  char *big = calloc(1, 1u << 20);
  limit_files(wal_size(f) + 65536);
  ops[0] = caller_write(1);
  caller_add(ops[0], 2, "c", "small", 5);
  ops[1] = store_op_new(STORE_WRITE); /* a barrier has nothing that could fail */
  ops[2] = caller_write(1);
  caller_add(ops[2], 3, NULL, big, 1u << 20);
  store_sqlite.write(handle, ops, 3);
  limit_files(RLIM_INFINITY);
  assert_int_equal(ops[0]->code, E_STORE);
  assert_int_equal(ops[0]->messages[0].seq, 0);
  assert_int_equal(ops[1]->code, 0);
  assert_int_equal(ops[2]->code, E_STORE);
  store_sqlite.write(handle, ops, 1); /* there is room again */
  assert_int_equal(ops[0]->code, 0);
  assert_int_equal(ops[0]->messages[0].seq, 2);
  assert_false(ops[0]->messages[0].duplicate);
  store_sqlite.close(handle);
  for (int i = 0; i < 3; i++)
    store_op_free(ops[i]);
  free(big);
  reopen(f);
  assert_history(f, 1, "1 one, 2 small");
}

static void the_store_goes_on_when_there_is_room_again(void **state) {
  struct fixture *f = *state;
  signal(SIGXFSZ, SIG_IGN);
  make_session(f, 1);
  int64_t errors = metrics_value(METRIC_STORE_ERRORS);
  limit_files(wal_size(f));
  struct store_op *op = caller_write(1);
  caller_add(op, 1, "c", "one", 3);
  op = call(f, op);
  limit_files(RLIM_INFINITY);
  assert_int_equal(op->code, E_STORE);
  assert_int_equal(metrics_value(METRIC_STORE_ERRORS) - errors, 1);
  assert_int_equal(say(f, 1, 2, "c", "one")->seq, 1);
  assert_history(f, 1, "1 one");
}

static void a_broken_page_fails_its_batch_and_no_later_one(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  store_close(f->store);
  f->store = NULL;
  char junk[100];
  memset(junk, 0xff, sizeof junk);
  int fd = open(f->path, O_WRONLY);
  assert_int_equal(pwrite(fd, junk, sizeof junk, 6 * 4096), (ssize_t)sizeof junk); /* the root of messages_id */
  close(fd);
  reopen(f);
  struct store_op *op = write_session(2, 1);
  caller_add(op, 1, NULL, "one", 3);
  assert_int_equal(call(f, op)->code, E_STORE);
  make_session(f, 3);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, 0);
  assert_int_equal(call(f, read_of(STORE_SESSION, 2, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_SESSION, 3, NULL, 0))->code, 0);
}

/* ---- opening ---- */

static int open_fails(struct fixture *f, const char *url, char why[256]) {
  struct store_options o = {.url = url, .readers = 2, .queue = 10};
  why[0] = '\0';
  int r = store_open(&o, &f->store, why);
  assert_true(r < 0);
  assert_null(f->store);
  assert_null(strchr(why, '\n'));
  return r;
}

static void mode_is(const char *path, mode_t mode) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, mode);
}

static void all_files_are_the_owners_alone_and_a_missing_folder_is_made(void **state) {
  struct fixture *f = *state;
  char folder[80], path[160];
  mode_t before = umask(0);
  snprintf(folder, sizeof folder, "%s/data", f->folder);
  snprintf(f->url, sizeof f->url, "sqlite:%s/chat.db", folder);
  reopen(f);
  make_session(f, 1);
  umask(before);
  mode_is(folder, 0700);
  const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
  for (size_t i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "%s/chat.db%s", folder, suffixes[i]);
    mode_is(path, 0600);
  }
}

static void a_folder_that_cannot_be_made_is_named(void **state) {
  struct fixture *f = *state;
  char why[256], url[128], folder[96];
  snprintf(folder, sizeof folder, "%s/a/b", f->folder);
  snprintf(url, sizeof url, "sqlite:%s/chat.db", folder);
  open_fails(f, url, why);
  assert_non_null(strstr(why, folder));
}

static void a_name_that_means_something_to_sqlite_is_still_a_name(void **state) {
  struct fixture *f = *state;
  char here[PATH_MAX];
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(f->folder), 0);
  strcpy(f->url, "sqlite:file:x.db?mode=memory");
  reopen(f);
  make_session(f, 1);
  assert_int_equal(access("file:x.db?mode=memory", F_OK), 0);
  strcpy(f->url, "sqlite::memory:");
  reopen(f);
  assert_int_equal(access(":memory:", F_OK), 0);
  assert_int_equal(chdir(here), 0);
}

static void a_second_process_is_told_that_the_database_is_in_use(void **state) {
  struct fixture *f = *state;
  int go[2];
  assert_int_equal(pipe(go), 0);
  pid_t child = fork(); /* before there are threads */
  if (child == 0) {
    char byte, why[256];
    struct store_options o = {.url = f->url, .readers = 1, .queue = 10};
    bool told = read(go[0], &byte, 1) == 1 && store_open(&o, &f->store, why) == E_BUSY && strstr(why, f->path) != NULL;
    _exit(told ? 0 : 1);
  }
  reopen(f);
  assert_int_equal(write(go[1], "g", 1), 1);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  close(go[0]);
  close(go[1]);
  make_session(f, 1); /* and the first one is none the worse for it */
  reopen(f);
}

/* SQLite keeps user_version in the bytes 60 to 63 of the file. */
static void set_version(struct fixture *f, unsigned char version) {
  if (f->store != NULL)
    store_close(f->store);
  f->store = NULL;
  int fd = open(f->path, O_WRONLY);
  assert_int_equal(pwrite(fd, &version, 1, 63), 1);
  close(fd);
}

static void a_newer_schema_is_refused(void **state) {
  struct fixture *f = *state;
  char why[256];
  make_session(f, 1);
  set_version(f, 9);
  assert_int_equal(open_fails(f, f->url, why), E_SCHEMA);
  assert_non_null(strstr(why, "version 9"));
  set_version(f, 2);
  reopen(f);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, 0);
}

static void the_database_of_another_program_is_refused(void **state) {
  struct fixture *f = *state;
  char why[256];
  set_version(f, 0);
  assert_int_equal(open_fails(f, f->url, why), E_INVALID);
  assert_non_null(strstr(why, "another program"));
}

static void a_file_that_is_no_database_is_refused(void **state) {
  struct fixture *f = *state;
  char why[256];
  FILE *file = fopen(f->path, "w");
  for (int i = 0; i < 1000; i++)
    fputs("these are my notes\n", file);
  fclose(file);
  assert_int_equal(open_fails(f, f->url, why), E_STORE);
  assert_non_null(strstr(why, f->path));
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, setup_folder, teardown)
#define STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    STORE(a_conversation_comes_back_as_it_was_written),
    STORE(a_second_write_replaces_all_but_owner_and_top),
    STORE(a_message_alone_moves_the_last_activity_on),
    STORE(the_active_conversation_is_the_newest_without_an_end),
    STORE(the_list_of_a_user_is_newest_first_and_limited),
    STORE(what_is_not_there_is_not_found),
    STORE(a_message_comes_back_as_it_was_written),
    STORE(numbers_go_up_by_one_in_each_conversation_and_go_on_after_a_restart),
    STORE(a_cid_is_stored_once_and_answers_with_the_first),
    STORE(a_cid_twice_in_one_operation_is_stored_once),
    STORE(history_is_read_in_pages_from_the_end),
    STORE(a_page_of_history_is_bounded_in_bytes),
    STORE(a_read_sees_every_write_that_was_answered_before_it),
    STORE(an_empty_write_answers_after_all_writes_before_it),
    STORE(ping_answers),
    STORE(with_a_key_no_text_is_in_the_files),
    STORE(a_key_may_change_and_old_text_is_read_with_the_one_before),
    STORE(without_the_key_reading_is_an_error_for_that_conversation_only),
    STORE(what_somebody_moved_or_changed_in_the_database_is_an_error),
    STORE(a_cid_is_stored_once_whatever_the_key),
    STORE(a_text_that_looks_encrypted_is_a_text),
    FOLDER(many_operations_are_one_commit),
    FOLDER(an_operation_that_fails_undoes_only_itself),
    FOLDER(a_full_disk_fails_the_whole_batch_and_nothing_of_it_is_there),
    STORE(the_store_goes_on_when_there_is_room_again),
    STORE(a_broken_page_fails_its_batch_and_no_later_one),
    FOLDER(all_files_are_the_owners_alone_and_a_missing_folder_is_made),
    FOLDER(a_folder_that_cannot_be_made_is_named),
    FOLDER(a_name_that_means_something_to_sqlite_is_still_a_name),
    FOLDER(a_second_process_is_told_that_the_database_is_in_use),
    STORE(a_newer_schema_is_refused),
    STORE(the_database_of_another_program_is_refused),
    FOLDER(a_file_that_is_no_database_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
