/* What every backend of core/store/store.h promises: the same cases for each row of the table at the end. A backend is
 * open to its row as a url, and by the few things no operation can say: what the audit trail holds, and being away. */
#include "mongod.h"
#include "store_fixture.h"

#include "store_memory.h"

#include <sqlite3.h>
#include <unistd.h>

struct row {
  const char *name;
  /* Makes a new, empty database: 0; or why there can be none, and its cases are left out. */
  int (*make)(char url[256], char why[256]);
  void (*drop)(void);
  /* The audit record number `at`, oldest first, as "ACTOR ACTION SUBJECT: DETAIL"; false: there are not so many. */
  bool (*audit)(size_t at, char *out, size_t room);
  void (*away)(bool on);
  bool away_reads; /* what is away for writing can still be read */
};
static const struct row *row;

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  char why[256] = "";
  if (row->make(f->url, why))
    fail_msg("%s", why);
  f->caller = caller_new();
  *state = f;
  reopen(f);
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  if (f->store != NULL)
    store_close(f->store);
  keyring_free(f->keys);
  caller_free(f->caller);
  free(f);
  row->drop();
  return 0;
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
  r->received = 5;
  r->read = 4;
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
  assert_int_equal(got->session.received, 5);
  assert_int_equal(got->session.read, 4);
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

static void a_list_goes_on_behind_the_place_it_ended_at(void **state) {
  struct fixture *f = *state;
  const int64_t starts[] = {300, 100, 300, 300, 200}; /* equal ones go by their id */
  const unsigned order[] = {3, 2, 0, 4, 1};
  for (unsigned i = 0; i < 5; i++)
    assert_int_equal(call(f, write_session(i, starts[i]))->code, 0);
  struct store_place after = {0};
  for (unsigned at = 0; at < 6; at += 2) {
    struct store_op *op = read_of(STORE_SESSIONS, 0, "u1", 2);
    op->after = after;
    op = call(f, op);
    assert_int_equal(op->session_count, at < 4 ? 2 : 1);
    for (unsigned i = 0; i < op->session_count; i++) {
      char id[STORE_ID_LEN + 1];
      caller_id(id, 0x5e55, order[at + i]);
      assert_string_equal(op->sessions[i].id, id);
      after.start_ms = op->sessions[i].start_ms;
      memcpy(after.id, id, sizeof id);
    }
  }
  struct store_op *op = read_of(STORE_SESSIONS, 0, "u1", 2);
  op->after = after;
  assert_int_equal(call(f, op)->session_count, 0);
}

static void a_field_that_was_emptied_comes_back_empty(void **state) {
  struct fixture *f = *state;
  struct store_op *op = write_session(1, 1);
  op->session.name = strdup("named");
  op->session.assisting_admin_id = strdup("a1");
  op->session.help_requested = op->session.admin_assisted = true;
  op->session.end_ms = 5;
  op->session.response_count = 3;
  assert_int_equal(call(f, op)->code, 0);
  op = write_session(1, 1);
  op->session.name = strdup("");
  assert_int_equal(call(f, op)->code, 0);
  struct session_record *r = &call(f, read_of(STORE_SESSION, 1, NULL, 0))->session;
  assert_true(r->name == NULL || *r->name == '\0');
  assert_true(r->assisting_admin_id == NULL || *r->assisting_admin_id == '\0');
  assert_false(r->help_requested || r->admin_assisted);
  assert_int_equal(r->end_ms, 0);
  assert_int_equal(r->response_count, 0);
}

/* A database that takes a value for a part of its question would find too much, or nothing. */
static void the_name_of_a_user_is_a_value_and_nothing_else(void **state) {
  static const char *const users[] = {
    "' OR 1=1 --", "{\"$ne\": null}", "$where", "a.b.c", "Grüße \xf0\x9f\x8c\x8d", "%", "U1"};
  struct fixture *f = *state;
  make_session(f, 99);
  for (unsigned i = 0; i < sizeof users / sizeof *users; i++) {
    struct store_op *op = write_session(i, 1);
    free(op->session.user_id);
    op->session.user_id = strdup(users[i]);
    assert_int_equal(call(f, op)->code, 0);
  }
  for (unsigned i = 0; i < sizeof users / sizeof *users; i++) {
    struct store_op *op = call(f, read_of(STORE_SESSIONS, 0, users[i], 10));
    assert_int_equal(op->session_count, 1);
    assert_string_equal(op->sessions[0].user_id, users[i]);
  }
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

static struct store_op *find_cid(struct fixture *f, unsigned session, const char *cid) {
  struct store_op *op = read_of(STORE_CID, session, NULL, 0);
  op->messages = calloc(1, sizeof *op->messages);
  op->message_count = 1;
  op->messages[0].cid = strdup(cid);
  return call(f, op);
}

static void a_message_is_found_by_its_cid(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  make_session(f, 2);
  say(f, 1, 1, NULL, "without");
  char id[STORE_ID_LEN + 1];
  memcpy(id, say(f, 1, 2, "c", "with")->id, sizeof id);
  const struct store_op *op = find_cid(f, 1, "c");
  assert_int_equal(op->code, 0);
  assert_int_equal(op->messages[0].seq, 2);
  assert_string_equal(op->messages[0].id, id);
  assert_int_equal(find_cid(f, 1, "d")->code, E_NOT_FOUND);
  assert_int_equal(find_cid(f, 2, "c")->code, E_NOT_FOUND);
  assert_int_equal(find_cid(f, 3, "c")->code, E_NOT_FOUND);
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

/* Of a backup that is restored it is another one: backup_test.c, recovery_test.mjs. */
static void an_epoch_is_drawn_once(void **state) {
  struct fixture *f = *state;
  uint64_t known;
  assert_false(store_epoch(f->store, &known));
  struct store_op *op = call(f, read_of(STORE_EPOCH, 0, NULL, 0));
  assert_int_equal(op->code, 0);
  uint64_t first = op->epoch;
  assert_true(store_epoch(f->store, &known));
  assert_true(known == first);
  make_session(f, 1);
  assert_true(call(f, read_of(STORE_EPOCH, 0, NULL, 0))->epoch == first);
  reopen(f);
  assert_false(store_epoch(f->store, &known));
  assert_true(call(f, read_of(STORE_EPOCH, 0, NULL, 0))->epoch == first);
}

static void a_page_ends_with_the_message_that_fills_it(void **state) {
  struct fixture *f = *state;
  static const struct { size_t bytes, messages; } cases[] = {{0, 4}, {1, 1}, {3, 1}, {4, 2}, {12, 4}, {SIZE_MAX, 4}};
  make_session(f, 1);
  for (unsigned i = 1; i <= 4; i++)
    say(f, 1, i, NULL, "xyz");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct store_op *op = read_of(STORE_HISTORY, 1, NULL, 10);
    op->bytes = cases[i].bytes;
    op = call(f, op);
    assert_int_equal(op->message_count, cases[i].messages);
    assert_int_equal(op->messages[0].seq, 5 - cases[i].messages);
  }
}

/* ---- with a key ---- */

static void a_key_may_change_and_old_text_is_read_with_the_one_before(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  reopen_with(f, KEY_A, "");
  say(f, 1, 1, NULL, "old");
  reopen_with(f, KEY_B, KEY_A);
  say(f, 1, 2, NULL, "new");
  assert_history(f, 1, "1 old, 2 new");
  reopen_with(f, KEY_B, "");
  assert_history(f, 1, "1 DAMAGED, 2 new"); /* one that cannot be read takes no others with it */
  assert_int_equal(say(f, 1, 3, NULL, "writing goes on")->seq, 3);
}

/* A page of which nothing can be read for want of the key is a mistake of the operator, and nothing to be shown. */
static void without_the_key_reading_is_an_error_for_that_conversation_only(void **state) {
  struct fixture *f = *state;
  reopen_with(f, KEY_B, "");
  make_session(f, 1);
  make_session(f, 2);
  say(f, 2, 2, NULL, "readable");
  reopen_with(f, KEY_A, "");
  say(f, 1, 1, NULL, "secret");
  reopen_with(f, KEY_B, "");
  assert_int_equal(history_code(f, 1), E_STORE);
  assert_history(f, 2, "1 readable");
}

static void an_encrypted_database_is_not_opened_without_a_key(void **state) {
  struct fixture *f = *state;
  char why[256] = "";
  reopen_with(f, KEY_A, "");
  make_session(f, 1);
  say(f, 1, 1, NULL, "secret");
  take_keys(f, "", "");
  assert_int_equal(open_code(f, why), E_KEY);
  assert_non_null(strstr(why, "ENCRYPTION_KEY is not set"));
  reopen_with(f, KEY_A, "");
  assert_history(f, 1, "1 secret");
}

static void with_a_key_plain_text_is_damaged_unless_it_is_allowed(void **state) {
  struct fixture *f = *state;
  struct store_op *op = write_session(1, 1);
  op->session.name = strdup("a plain name");
  caller_add(op, 1, NULL, "plain", 5);
  assert_int_equal(call(f, op)->code, 0);
  reopen_with(f, KEY_A, "");
  assert_history(f, 1, "1 DAMAGED");
  struct session_record *r = &call(f, read_of(STORE_SESSION, 1, NULL, 0))->session;
  assert_true(r->name_damaged && r->name == NULL);
  assert_true(call(f, read_of(STORE_SESSIONS, 0, "u1", 5))->sessions[0].name_damaged);
  op = write_session(1, 1); /* written back as it was read: the name stays where it is */
  op->session.name_damaged = true;
  caller_add(op, 2, NULL, "sealed", 6);
  assert_int_equal(call(f, op)->code, 0);
  f->accept = CIPHER_PLAINTEXT;
  reopen_with(f, KEY_A, "");
  assert_history(f, 1, "1 plain, 2 sealed");
  assert_string_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.name, "a plain name");
}

static void a_name_is_read_again_under_its_key(void **state) {
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  struct store_op *op = write_session(1, 1);
  op->session.name = strdup("cb1:0123abcd:looks");
  assert_int_equal(call(f, op)->code, 0);
  reopen_with(f, KEY_B, "");
  assert_true(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.name_damaged);
  reopen_with(f, KEY_B, KEY_A);
  assert_string_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.name, "cb1:0123abcd:looks");
  assert_string_equal(call(f, read_of(STORE_SESSIONS, 0, "u1", 5))->sessions[0].name, "cb1:0123abcd:looks");
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
  f->accept = CIPHER_ANY_FORM;
  reopen_with(f, KEY_A, "");
  assert_history(f, 1, said);
}

/* ---- what waits for an answer ---- */

static struct store_op *question(unsigned session, unsigned long long id, const char *cid, int64_t at_ms) {
  struct store_op *op = caller_write(session);
  struct message_record *m = caller_add(op, id, cid, "question", 8);
  m->open = true;
  m->at_ms = at_ms;
  return op;
}

static struct store_op *marked(struct store_op *op, unsigned long long id, enum store_marking what) {
  caller_id(op->mark.id, 0x3e55, id);
  op->mark.what = what;
  return op;
}

static struct store_op *answer(unsigned session, unsigned long long id, unsigned long long question) {
  struct store_op *op = caller_write(session);
  caller_add(op, id, NULL, "answer", 6);
  return marked(op, question, STORE_DEALT);
}

/* "1b2" for each that is open: its number, b when begun, its attempts. */
static void assert_open(struct fixture *f, unsigned session, const char *expected) {
  struct store_op *op = read_of(STORE_SESSION, session, NULL, 0);
  op->with_open = true;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  char text[256] = "";
  for (size_t i = 0; i < op->message_count; i++) {
    const struct message_record *m = &op->messages[i];
    assert_true(m->open);
    assert_string_equal(m->content, "question");
    snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d%s%u", i > 0 ? " " : "", (int)m->seq,
             m->begun ? "b" : "-", m->attempts);
  }
  assert_string_equal(text, expected);
}

static void what_is_done_about_a_message_is_stored_with_it(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  make_session(f, 2);
  say(f, 1, 1, NULL, "not to be answered");
  assert_open(f, 1, "");
  assert_int_equal(call(f, question(1, 2, "c2", 50))->code, 0);
  assert_int_equal(call(f, question(1, 3, NULL, 60))->code, 0);
  assert_open(f, 1, "2-0 3-0");
  assert_open(f, 2, "");
  assert_int_equal(call(f, marked(caller_write(1), 2, STORE_ATTEMPT))->code, 0);
  assert_int_equal(call(f, marked(caller_write(1), 2, STORE_BEGUN))->code, 0);
  assert_int_equal(call(f, marked(caller_write(1), 2, STORE_ATTEMPT))->code, 0);
  assert_open(f, 1, "2b2 3-0");
  assert_int_equal(call(f, answer(1, 4, 2))->code, 0);
  assert_open(f, 1, "3-0");
  reopen(f);
  assert_open(f, 1, "3-0");
  assert_int_equal(call(f, marked(caller_write(1), 3, STORE_DEALT))->code, 0);
  assert_open(f, 1, "");
  assert_int_equal(call(f, marked(caller_write(1), 3, STORE_DEALT))->code, 0); /* once more changes nothing */
  assert_int_equal(call(f, marked(caller_write(3), 3, STORE_DEALT))->code, E_NOT_FOUND);
  assert_history(f, 1, "1 not to be answered, 2 question, 3 question, 4 answer");
}

static void a_part_of_an_answer_says_that_it_has_begun(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  assert_int_equal(call(f, question(1, 1, NULL, 50))->code, 0);
  struct store_op *part = caller_write(1);
  caller_add(part, 2, NULL, "one moment", 10);
  assert_int_equal(call(f, marked(part, 1, STORE_BEGUN))->code, 0);
  assert_open(f, 1, "1b0");
  assert_int_equal(call(f, answer(1, 3, 1))->code, 0);
  assert_open(f, 1, "");
}

static void a_question_and_what_is_done_first_may_be_one_write(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  struct store_op *dealt = marked(question(1, 1, "c", 50), 1, STORE_DEALT);
  caller_add(dealt, 2, NULL, "one", 3);
  caller_add(dealt, 3, NULL, "two", 3);
  assert_int_equal(call(f, dealt)->code, 0);
  assert_open(f, 1, "");
  struct store_op *begun = marked(question(1, 4, NULL, 60), 4, STORE_BEGUN);
  caller_add(begun, 5, NULL, "one moment", 10);
  assert_int_equal(call(f, begun)->code, 0);
  assert_open(f, 1, "4b0");
  assert_int_equal(call(f, marked(question(1, 6, NULL, 70), 6, STORE_DEALT))->code, 0); /* nothing was said */
  assert_open(f, 1, "4b0");
  reopen(f);
  assert_open(f, 1, "4b0");
  struct store_op *again = call(f, question(1, 7, "c", 80));
  assert_true(again->messages[0].duplicate);
  assert_false(again->messages[0].open);
  assert_history(f, 1, "1 question, 2 one, 3 two, 4 question, 5 one moment, 6 question");
}

static void a_question_and_its_answer_may_come_together(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  struct store_op *ops[] = {question(1, 1, "c", 50), answer(1, 2, 1), question(1, 3, "c", 51)};
  for (int i = 0; i < 3; i++)
    assert_int_equal(caller_submit(f->caller, f->store, ops[i]), 0);
  caller_wait(f->caller, 4);
  assert_open(f, 1, "");
  const struct message_record *again = &ops[2]->messages[0];
  assert_true(again->duplicate);
  assert_false(again->open);
}

static void a_duplicate_says_whether_the_first_still_waits(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  assert_int_equal(call(f, question(1, 1, "c", 50))->code, 0);
  const struct message_record *m = &call(f, question(1, 2, "c", 70))->messages[0];
  assert_true(m->duplicate && m->open);
  assert_int_equal(m->seq, 1);
  assert_int_equal(m->at_ms, 50);
  assert_false(say(f, 1, 3, "c", "as one that asks nothing")->open);
  assert_int_equal(call(f, answer(1, 4, 1))->code, 0);
  m = &call(f, question(1, 5, "c", 90))->messages[0];
  assert_true(m->duplicate);
  assert_false(m->open);
}

static void an_answer_that_fails_leaves_the_question_open(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  say(f, 1, 9, NULL, "its id is taken");
  assert_int_equal(call(f, question(1, 1, NULL, 50))->code, 0);
  assert_int_equal(call(f, answer(1, 9, 1))->code, E_STORE);
  assert_open(f, 1, "2-0");
}

static void conversations_with_an_open_message_are_found(void **state) {
  struct fixture *f = *state;
  for (unsigned i = 1; i <= 5; i++) {
    make_session(f, i);
    assert_int_equal(call(f, question(i, 10 + i, NULL, 100 * i))->code, 0);
  }
  assert_int_equal(call(f, answer(4, 20, 14))->code, 0);
  char after[STORE_ID_LEN + 1] = "";
  const unsigned pages[][2] = {{2, 3}, {5, 0}, {0, 0}};
  for (int page = 0; page < 3; page++) {
    struct store_op *op = read_of(STORE_OPEN, 0, NULL, 2);
    op->before_ms = 100; /* the first one is too old */
    memcpy(op->after.id, after, sizeof after);
    op = call(f, op);
    assert_int_equal(op->code, 0);
    for (size_t i = 0; i < 2; i++) {
      char expected[STORE_ID_LEN + 1];
      caller_id(expected, 0x5e55, pages[page][i]);
      assert_true(i < op->session_count ? strcmp(op->sessions[i].id, expected) == 0 : pages[page][i] == 0);
    }
    if (op->session_count > 0)
      memcpy(after, op->sessions[op->session_count - 1].id, sizeof after);
  }
}

static void what_is_erased_waits_for_nothing(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  assert_int_equal(call(f, question(1, 1, NULL, 100))->code, 0);
  struct store_op *op = store_op_audit(STORE_ERASE, "spec", "erase", "user u1", 77);
  op->session.user_id = strdup("u1");
  assert_int_equal(call(f, op)->code, 0);
  op = call(f, read_of(STORE_OPEN, 0, NULL, 10));
  assert_int_equal(op->code, 0);
  assert_int_equal(op->session_count, 0);
  make_session(f, 1);
  assert_open(f, 1, "");
}

/* ---- operations that fail ---- */

static void an_operation_that_fails_undoes_only_itself(void **state) {
  struct fixture *f = *state;
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
  for (int i = 0; i < 6; i++)
    assert_int_equal(caller_submit(f->caller, f->store, ops[i]), 0);
  caller_wait(f->caller, 6);
  const int codes[] = {0, E_STORE, E_STORE, E_NOT_FOUND, E_STORE, 0};
  for (int i = 0; i < 6; i++) {
    assert_int_equal(ops[i]->code, codes[i]);
    assert_true(codes[i] == 0 || ops[i]->messages[0].seq == 0);
  }
  reopen(f);
  assert_history(f, 1, "1 one, 2 two");
  assert_int_equal(call(f, read_of(STORE_SESSION, 2, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(say(f, 1, 6, "c2", "three")->seq, 3); /* the cid of what was undone is free */
}

/* ---- while the database is away ---- */

/* Its reply is not kept. */
static int ping(struct fixture *f) {
  struct store_op *op = call(f, read_of(STORE_PING, 0, NULL, 0));
  int code = op->code;
  assert_int_equal(op->kind, STORE_PING);
  f->caller->count--;
  store_op_free(op);
  return code;
}

static void writes_wait_while_it_is_away_and_keep_their_order(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  row->away(true);
  for (unsigned i = 1; i <= 3; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, i, i == 2 ? "c" : NULL, "x", 1);
    assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  }
  while (ping(f) == 0) { /* until the writer has noticed */
  }
  assert_int_equal(f->caller->count, 1); /* of the writes none is answered */
  row->away(false);
  caller_wait(f->caller, 4);
  for (unsigned i = 0; i < 3; i++)
    assert_int_equal(f->caller->replies[1 + i]->messages[0].seq, i + 1);
  assert_int_equal(ping(f), 0);
  assert_true(say(f, 1, 9, "c", "x")->duplicate);
}

static void what_waited_too_long_fails_with_the_rest_of_its_conversation(void **state) {
  struct fixture *f = *state;
  f->timeout_ms = 300;
  reopen(f);
  make_session(f, 1);
  row->away(true);
  for (unsigned i = 1; i <= 3; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, i, NULL, "x", 1);
    assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  }
  caller_wait(f->caller, 4);
  assert_int_equal(ping(f), E_STORE); /* it is still away, though nothing waits */
  row->away(false);
  while (ping(f) != 0) { /* until it has been found again, without anybody writing */
  }
  for (unsigned i = 1; i <= 3; i++) {
    assert_int_equal(f->caller->replies[i]->code, E_STORE);
    assert_int_equal(f->caller->replies[i]->messages[0].seq, 0);
  }
  assert_history(f, 1, "");
  assert_int_equal(say(f, 1, 4, NULL, "on")->seq, 1);
}

static void a_read_while_it_is_away_is_an_error_and_not_an_absence(void **state) {
  struct fixture *f = *state;
  row->away(true);
  static const enum store_kind kinds[] = {STORE_SESSION, STORE_ACTIVE, STORE_SESSIONS, STORE_HISTORY};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds && !row->away_reads; i++)
    assert_int_equal(call(f, read_of(kinds[i], 7, "nobody", 5))->code, E_STORE);
  row->away(false);
}

/* ---- erasing ---- */

static struct store_op *audited(enum store_kind kind, const char *action, const char *subject) {
  struct store_op *op = store_op_new(kind);
  op->audit = (struct audit_record){.at_ms = 77,
                                    .actor = strdup("spec"),
                                    .action = strdup(action),
                                    .subject = strdup(subject),
                                    .detail = strdup("as it was")};
  return op;
}

static struct store_op *erasure(const char *user) {
  struct store_op *op = audited(STORE_ERASE, "erase", user);
  op->session.user_id = strdup(user);
  return op;
}

static void assert_audit(size_t at, const char *expected) {
  char text[512];
  if (expected == NULL) {
    assert_false(row->audit(at, text, sizeof text));
    return;
  }
  assert_true(row->audit(at, text, sizeof text));
  assert_string_equal(text, expected);
}

static void erasing_a_user_takes_all_of_it_and_nothing_else(void **state) {
  struct fixture *f = *state;
  struct store_op *other = write_session(9, 1);
  strcpy(other->session.user_id, "u2");
  assert_int_equal(call(f, other)->code, 0);
  say(f, 9, 90, NULL, "mine");
  for (unsigned i = 1; i <= 3; i++) {
    make_session(f, i);
    say(f, i, i, "c", "secret");
    say(f, i, 10 + i, NULL, "secret");
  }
  struct store_op *op = call(f, erasure("u1"));
  assert_int_equal(op->code, 0);
  assert_int_equal(op->erased.sessions, 3);
  assert_int_equal(op->erased.messages, 6);
  reopen(f);
  for (unsigned i = 1; i <= 3; i++) {
    assert_int_equal(call(f, read_of(STORE_SESSION, i, NULL, 0))->code, E_NOT_FOUND);
    assert_int_equal(history_code(f, i), E_NOT_FOUND);
  }
  assert_int_equal(call(f, read_of(STORE_SESSIONS, 0, "u1", 10))->session_count, 0);
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->code, E_NOT_FOUND);
  assert_history(f, 9, "1 mine");
  assert_audit(0, "spec erase u1: 3 conversations, 6 messages");
  assert_audit(1, NULL);
}

static void erasing_nobody_is_done_and_written_down_all_the_same(void **state) {
  struct fixture *f = *state;
  struct store_op *op = call(f, erasure("nobody"));
  assert_int_equal(op->code, 0);
  assert_int_equal(op->erased.sessions + op->erased.messages, 0);
  assert_audit(0, "spec erase nobody: 0 conversations, 0 messages");
}

static void an_erasure_keeps_its_place_among_the_writes(void **state) {
  struct fixture *f = *state;
  struct store_op *ops[4];
  ops[0] = write_session(1, 1);
  caller_add(ops[0], 1, "c", "before", 6);
  ops[1] = erasure("u1");
  ops[2] = caller_write(1); /* to what is no more */
  caller_add(ops[2], 2, NULL, "late", 4);
  ops[3] = write_session(2, 1);
  caller_add(ops[3], 3, "c", "after", 5); /* an id is used once, also while its first message is being erased */
  for (int i = 0; i < 4; i++)
    assert_int_equal(caller_submit(f->caller, f->store, ops[i]), 0);
  caller_wait(f->caller, 4);
  assert_int_equal(ops[0]->code, 0);
  assert_int_equal(ops[1]->erased.messages, 1);
  assert_int_equal(ops[2]->code, E_NOT_FOUND);
  assert_int_equal(ops[3]->code, 0);
  assert_int_equal(history_code(f, 1), E_NOT_FOUND);
  assert_history(f, 2, "1 after");
}

static void make_idle(struct fixture *f, unsigned session, int64_t last_activity_ms) {
  struct store_op *op = write_session(session, 1);
  op->session.last_activity_ms = last_activity_ms;
  caller_add(op, session, NULL, "x", 1);
  assert_int_equal(call(f, op)->code, 0);
}

static struct store_op *expiry(int64_t before_ms, uint32_t limit) {
  struct store_op *op = audited(STORE_EXPIRE, "retention", "all");
  op->before_ms = before_ms;
  op->limit = limit;
  return op;
}

static bool is_there(struct fixture *f, unsigned session) {
  return call(f, read_of(STORE_SESSION, session, NULL, 0))->code == 0;
}

static void what_is_idle_expires_oldest_first_and_so_many_at_a_time(void **state) {
  struct fixture *f = *state;
  const int64_t times[] = {400, 100, 300, 500, 200}; /* of the conversations 0 to 4 */
  for (unsigned i = 0; i < 5; i++)
    make_idle(f, i, times[i]);
  struct store_op *op = call(f, expiry(500, 3));
  assert_int_equal(op->code, 0);
  assert_int_equal(op->erased.sessions, 3);
  assert_int_equal(op->erased.messages, 3);
  assert_int_equal(op->session_count, 3);
  const unsigned gone[] = {1, 4, 2};
  for (unsigned i = 0; i < 3; i++) {
    char id[STORE_ID_LEN + 1];
    caller_id(id, 0x5e55, gone[i]);
    assert_string_equal(op->sessions[i].id, id);
    assert_string_equal(op->sessions[i].user_id, "u1");
    assert_false(is_there(f, gone[i]));
  }
  assert_true(is_there(f, 0) && is_there(f, 3));
  assert_int_equal(call(f, expiry(500, 3))->erased.sessions, 1);
  assert_true(is_there(f, 3)); /* active at that very time, not before it */
  assert_int_equal(call(f, expiry(500, 3))->erased.sessions, 0);
  assert_audit(1, "spec retention all: 1 conversations, 1 messages");
  assert_audit(2, NULL); /* what erased nothing leaves no record */
}

static void what_was_spoken_in_since_does_not_expire(void **state) {
  struct fixture *f = *state;
  make_idle(f, 1, 100);
  struct store_op *op = caller_write(1);
  caller_add(op, 2, NULL, "still here", 10)->at_ms = 900;
  assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  assert_int_equal(call(f, expiry(500, 10))->erased.sessions, 0);
  assert_true(is_there(f, 1));
}

static bool second_is_in_use(void *arg, const char *id) {
  char second[STORE_ID_LEN + 1];
  (void)arg;
  caller_id(second, 0x5e55, 2);
  return strcmp(id, second) == 0;
}

static void what_is_in_use_does_not_expire(void **state) {
  struct fixture *f = *state;
  for (unsigned i = 1; i <= 3; i++)
    make_idle(f, i, i == 2 ? 1 : 10);
  struct store_op *op = expiry(500, 2);
  op->in_use = second_is_in_use;
  op = call(f, op);
  assert_int_equal(op->erased.sessions, 2); /* those behind it have their turn */
  assert_true(is_there(f, 2));
}

static void the_audit_trail_is_kept(void **state) {
  struct fixture *f = *state;
  assert_int_equal(call(f, audited(STORE_AUDIT, "export", "session 1"))->code, 0);
  reopen(f);
  assert_int_equal(call(f, audited(STORE_AUDIT, "export", "user ' u"))->code, 0);
  assert_audit(0, "spec export session 1: as it was");
  assert_audit(1, "spec export user ' u: as it was");
}

/* ---- what operators see ---- */

/* Conversations 1 to 6: of two users, some ended, some with an administrator, with ties. */
static void make_a_few(struct fixture *f) {
  static const struct {
    const char *user;
    int64_t start, end, active, tokens, messages;
    bool assisted;
  } few[] = {{"u2", 1000, 0, 9000, 5, 1, false},     {"u1", 2000, 6000, 5000, 7, 2, true},
             {"u1", 2000, 0, 4000, 5, 0, false},     {"u3", 4000, 4500, 4400, 0, 2, false},
             {"u2", 5000, 9000, 8000, 100, 3, true}, {"u1", 6000, 0, 7000, 7, 1, true}};
  for (unsigned i = 0; i < 6; i++) {
    struct store_op *op = write_session(i + 1, few[i].start);
    free(op->session.user_id);
    op->session.user_id = strdup(few[i].user);
    op->session.end_ms = few[i].end;
    op->session.last_activity_ms = few[i].active;
    op->session.total_tokens = few[i].tokens;
    op->session.admin_assisted = few[i].assisted;
    op->session.max_response_ms = 10 * (i + 1);
    op->session.avg_response_ms = i + 1;
    for (unsigned k = 0; k < (unsigned)few[i].messages; k++)
      caller_add(op, 10 * (i + 1) + k, NULL, "x", 1);
    assert_int_equal(call(f, op)->code, 0);
  }
}

static struct store_op *list_of(const char *user, uint32_t limit) {
  struct store_op *op = store_op_new(STORE_LIST);
  op->session.user_id = user != NULL ? strdup(user) : NULL;
  op->limit = limit;
  op->filter = (struct store_filter){.active = -1, .assisted = -1, .now_ms = 10000};
  return op;
}

/* Their numbers, in the order they were listed. */
static void assert_listed(const struct store_op *op, const char *expected) {
  char text[64] = "", id[STORE_ID_LEN + 1];
  assert_int_equal(op->code, 0);
  for (size_t i = 0; i < op->session_count; i++) {
    for (unsigned n = 1; n <= 6; n++) {
      caller_id(id, 0x5e55, n);
      if (strcmp(id, op->sessions[i].id) == 0)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%u", n);
    }
  }
  assert_string_equal(text, expected);
}

static void all_are_listed_in_any_order(void **state) {
  struct fixture *f = *state;
  make_a_few(f);
  for (int sort = 0; sort < STORE_SORTS; sort++) {
    for (int ascending = 0; ascending < 2; ascending++) {
      struct store_op *op = list_of(NULL, 100);
      op->filter.sort = (enum store_sort)sort;
      op->filter.ascending = ascending;
      op = call(f, op);
      assert_int_equal(op->code, 0);
      assert_int_equal(op->session_count, 6);
      for (size_t i = 1; i < 6; i++) {
        const struct session_record *a = &op->sessions[i - 1], *b = &op->sessions[i];
        int64_t order = sort == STORE_BY_USER ? strcmp(a->user_id, b->user_id)
                                              : store_sort_value(&op->filter, a) - store_sort_value(&op->filter, b);
        assert_true(ascending ? order <= 0 : order >= 0);
      }
    }
  }
}

/* Whatever the order, and however many have the same value: each once, also where the place is gone. */
static void pages_of_a_list_show_each_once(void **state) {
  struct fixture *f = *state;
  make_a_few(f);
  for (int sort = 0; sort < STORE_SORTS; sort++) {
    for (int ascending = 0; ascending < 2; ascending++) {
      struct store_op *whole = list_of(NULL, 100), *page;
      whole->filter.sort = (enum store_sort)sort;
      whole->filter.ascending = ascending;
      whole = call(f, whole);
      assert_int_equal(whole->session_count, 6);
      struct store_place after = {0};
      int64_t value = 0;
      char user[16] = "";
      for (size_t i = 0; i <= 6; i++) {
        page = list_of(NULL, 1);
        page->filter.sort = (enum store_sort)sort;
        page->filter.ascending = ascending;
        page->after = after;
        page->filter.after_value = value;
        page->after_user = strdup(user);
        page = call(f, page);
        assert_int_equal(page->code, 0);
        assert_int_equal(page->session_count, i < 6 ? 1 : 0);
        if (i < 6)
          assert_string_equal(page->sessions[0].id, whole->sessions[i].id);
        after = page->after;
        value = page->filter.after_value;
        snprintf(user, sizeof user, "%s", page->after_user);
      }
    }
  }
}

static void a_list_is_filtered(void **state) {
  struct fixture *f = *state;
  make_a_few(f);
  struct store_op *op = list_of("u1", 100);
  op->filter.ascending = true;
  op->filter.sort = STORE_BY_END;
  op->filter.active = 0;
  assert_listed(call(f, op), "2");
  op = list_of(NULL, 100);
  op->filter.active = 1;
  op->filter.sort = STORE_BY_DURATION;
  assert_listed(call(f, op), "136");
  op = list_of(NULL, 100);
  op->filter.assisted = 1;
  assert_listed(call(f, op), "652");
  op = list_of(NULL, 100);
  op->filter.assisted = 1;
  op->filter.active = 1;
  op->filter.sort = STORE_BY_TOKENS;
  assert_listed(call(f, op), "6");
  op = list_of(NULL, 100);
  op->filter.assisted = 0;
  op->filter.from_ms = 1001;
  op->filter.to_ms = 4000;
  op->filter.sort = STORE_BY_ACTIVITY;
  assert_listed(call(f, op), "43");
  op = list_of(NULL, 2);
  op->filter.offset = 3;
  op->filter.sort = STORE_BY_DURATION; /* 1: 9000, 3: 8000, then 2, 5 and 6: 4000 each, 4: 500 */
  op = call(f, op);
  assert_int_equal(op->session_count, 2);
  assert_listed(call(f, list_of("nobody", 100)), "");
}

static void sums_are_of_those_that_began_then(void **state) {
  struct fixture *f = *state;
  make_a_few(f);
  struct store_op *op = store_op_new(STORE_TOTALS);
  op->filter.from_ms = 2000;
  op->filter.to_ms = 5000;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  assert_int_equal(op->totals.sessions, 4);
  assert_int_equal(op->totals.active, 1);
  assert_int_equal(op->totals.assisted, 2);
  assert_int_equal(op->totals.tokens, 112);
  assert_int_equal(op->totals.max_response_ms, 50);
  assert_int_equal(op->totals.avg_response_ms, 3);
  assert_int_equal((int64_t)op->totals.lasted_ms, 3000 + 2000 + 500 + 0);
  op = store_op_new(STORE_TOTALS);
  op->filter.from_ms = 1;
  op->filter.to_ms = 2;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  assert_int_equal(op->totals.sessions, 0);
}

/* ---- conversations that are shown to others ---- */

#define TOKEN_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TOKEN_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct store_op *share(struct fixture *f, unsigned session, const char *user, const char *token,
                              struct store_share how) {
  struct store_op *op = read_of(STORE_SHARE, session, user, 0);
  op->session.share_token = token != NULL ? strdup(token) : NULL;
  op->sharing = how;
  return call(f, op);
}

static struct store_op *shared(struct fixture *f, const char *token) {
  struct store_op *op = store_op_new(STORE_SHARED);
  op->session.share_token = strdup(token);
  return call(f, op);
}

static void a_share_keeps_its_token_until_it_is_revoked(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  struct store_op *op = share(f, 1, "u1", TOKEN_A, (struct store_share){.now_ms = 100});
  assert_int_equal(op->code, 0);
  assert_string_equal(op->session.share_token, TOKEN_A);
  op = share(f, 1, "u1", TOKEN_B, (struct store_share){.now_ms = 200});
  assert_int_equal(op->code, 0);
  assert_string_equal(op->session.share_token, TOKEN_A);
  assert_int_equal(call(f, write_session(1, 1))->code, 0); /* which changes nothing of it */
  reopen(f);
  op = shared(f, TOKEN_A);
  assert_int_equal(op->code, 0);
  assert_string_equal(op->session.user_id, "u1");
  assert_string_equal(op->session.share_token, TOKEN_A);
  assert_int_equal(op->session.share_expires_ms, 0);
  assert_string_equal(call(f, list_of(NULL, 10))->sessions[0].share_token, TOKEN_A);
  assert_int_equal(shared(f, TOKEN_B)->code, E_NOT_FOUND);
  assert_int_equal(share(f, 1, "u1", NULL, (struct store_share){.revoke = true})->code, 0);
  assert_int_equal(shared(f, TOKEN_A)->code, E_NOT_FOUND);
  assert_null(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.share_token);
  assert_int_equal(share(f, 1, "u1", NULL, (struct store_share){.revoke = true})->code, E_NOT_FOUND);
  assert_string_equal(share(f, 1, "u1", TOKEN_B, (struct store_share){0})->session.share_token, TOKEN_B);
}

static void a_share_that_has_expired_gets_another_token(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  assert_int_equal(share(f, 1, "u1", TOKEN_A, (struct store_share){.now_ms = 100, .expires_ms = 200})->code, 0);
  struct store_op *op = share(f, 1, "u1", TOKEN_B, (struct store_share){.now_ms = 199});
  assert_string_equal(op->session.share_token, TOKEN_A);
  assert_int_equal(op->session.share_expires_ms, 200);
  op = share(f, 1, "u1", TOKEN_B, (struct store_share){.now_ms = 199, .sets_expiry = true, .expires_ms = 300});
  assert_string_equal(op->session.share_token, TOKEN_A);
  assert_int_equal(shared(f, TOKEN_A)->session.share_expires_ms, 300);
  op = share(f, 1, "u1", TOKEN_B, (struct store_share){.now_ms = 300});
  assert_string_equal(op->session.share_token, TOKEN_B);
  assert_int_equal(op->session.share_expires_ms, 0);
  assert_int_equal(shared(f, TOKEN_A)->code, E_NOT_FOUND);
  assert_int_equal(shared(f, TOKEN_B)->code, 0);
}

static void only_the_owner_shares_what_is_there(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  assert_int_equal(share(f, 1, "u2", TOKEN_A, (struct store_share){0})->code, E_NOT_FOUND);
  assert_int_equal(share(f, 2, "u1", TOKEN_A, (struct store_share){0})->code, E_NOT_FOUND);
  assert_int_equal(shared(f, TOKEN_A)->code, E_NOT_FOUND);
}

/* The token is as secret as what it shows. */
static void a_share_goes_with_the_key_and_with_the_conversation(void **state) {
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  make_session(f, 1);
  assert_int_equal(share(f, 1, "u1", TOKEN_A, (struct store_share){0})->code, 0);
  reopen_with(f, KEY_B, KEY_A);
  assert_string_equal(share(f, 1, "u1", TOKEN_B, (struct store_share){0})->session.share_token, TOKEN_A);
  reopen_with(f, KEY_B, "");
  assert_null(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.share_token);
  struct store_op *op = store_op_audit(STORE_ERASE, "test", "erase", "user u1", 77);
  op->session.user_id = strdup("u1");
  assert_int_equal(call(f, op)->code, 0);
  assert_int_equal(shared(f, TOKEN_A)->code, E_NOT_FOUND);
}

static void one_conversation_is_erased_alone(void **state) {
  struct fixture *f = *state;
  make_a_few(f);
  for (int i = 0; i < 2; i++) {
    struct store_op *op = store_op_audit(STORE_ERASE, "u1", "erase", "session 2", 77);
    op->session.user_id = strdup(i == 0 ? "u2" : "u1");
    caller_id(op->session.id, 0x5e55, 2);
    op = call(f, op);
    assert_int_equal(op->code, i == 0 ? E_NOT_FOUND : 0);
    assert_int_equal(op->erased.sessions, i);
    assert_int_equal(op->erased.messages, 2 * i);
  }
  assert_int_equal(call(f, read_of(STORE_SESSION, 2, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(history_code(f, 2), E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_SESSION, 6, NULL, 0))->code, 0);
}

/* ---- the backends ---- */

static char folder[64];

static int sqlite_make(char url[256], char why[256]) {
  strcpy(folder, "/tmp/chatbox-backend-XXXXXX");
  if (mkdtemp(folder) == NULL) {
    strcpy(why, "no folder");
    return E_STORE;
  }
  snprintf(url, 256, "sqlite:%s/chat.db", folder);
  return 0;
}

static void sqlite_drop(void) {
  char command[96];
  snprintf(command, sizeof command, "rm -r %s", folder);
  assert_int_equal(system(command), 0);
}

static bool sqlite_audit_at(size_t at, char *out, size_t room) {
  char path[96];
  sqlite3 *db;
  sqlite3_stmt *s;
  snprintf(path, sizeof path, "%s/chat.db", folder);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  static const char sql[] = "SELECT actor || ' ' || action || ' ' || subject || ': ' || detail FROM audit"
                            " WHERE ts = 77 ORDER BY key LIMIT 1 OFFSET ?1";
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  sqlite3_bind_int64(s, 1, (sqlite3_int64)at);
  bool there = sqlite3_step(s) == SQLITE_ROW;
  if (there)
    snprintf(out, room, "%s", (const char *)sqlite3_column_text(s, 0));
  sqlite3_finalize(s);
  sqlite3_close(db);
  return there;
}

/* Another process has the write lock. Reading goes on, as it should. */
static void sqlite_away(bool on) {
  static sqlite3 *other;
  char path[96];
  snprintf(path, sizeof path, "%s/chat.db", folder);
  if (on)
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, on ? "BEGIN IMMEDIATE" : "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  if (!on)
    sqlite3_close(other);
}

static int memory_make(char url[256], char why[256]) {
  (void)why;
  strcpy(url, "memory:backend_test");
  return 0;
}

static void memory_drop(void) {
  store_memory_drop("backend_test");
}

static bool memory_audit_at(size_t at, char *out, size_t room) {
  return store_memory_audit("backend_test", at, out, room) == 0;
}

static void memory_away(bool on) {
  store_memory_away("backend_test", on);
}

static struct mongod server; /* pid 0: none */
static mongoc_client_t *client;
static char database[32];

static int mongo_make(char url[256], char why[256]) {
  static unsigned last;
  if (!mongod_there()) {
    snprintf(why, 256, "see above");
    return E_UNSUPPORTED;
  }
  if (server.pid == 0) {
    mongod_start(&server, "rs0");
    client = mongod_client(&server);
  }
  snprintf(database, sizeof database, "chat%u", ++last);
  mongod_url(&server, 1, database, url);
  return 0;
}

static void mongo_drop(void) {
  mongoc_database_t *d = mongoc_client_get_database(client, database);
  assert_true(mongoc_database_drop(d, NULL));
  mongoc_database_destroy(d);
}

static bool mongo_audit_at(size_t at, char *out, size_t room) {
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, "audit");
  bson_t *filter = BCON_NEW("ts", BCON_DATE_TIME(77));
  bson_t *options = BCON_NEW("sort", "{", "_id", BCON_INT32(1), "}", "skip", BCON_INT64((int64_t)at));
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, filter, options, NULL);
  const bson_t *doc;
  const char *actor, *action, *subject, *detail;
  bool there = mongoc_cursor_next(cursor, &doc);
  if (there) {
    assert_true(BCON_EXTRACT((bson_t *)doc, "actor", BCONE_UTF8(actor), "action", BCONE_UTF8(action), "subject",
                             BCONE_UTF8(subject), "detail", BCONE_UTF8(detail)));
    snprintf(out, room, "%s %s %s: %s", actor, action, subject, detail);
  }
  mongoc_cursor_destroy(cursor);
  bson_destroy(filter);
  bson_destroy(options);
  mongoc_collection_destroy(c);
  return there;
}

/* To whom it stores for: the test itself is let in. */
static void mongo_away(bool on) {
  mongod_must(&server, on ? "{\"configureFailPoint\": \"failCommand\", \"mode\": \"alwaysOn\", \"data\": {"
                            "\"failCommands\": [\"insert\", \"update\", \"delete\", \"find\", \"aggregate\"],"
                            "\"closeConnection\": true, \"appName\": \"chatbox\"}}"
                          : "{\"configureFailPoint\": \"failCommand\", \"mode\": \"off\"}");
}

static const struct row rows[] = {
  {"sqlite", sqlite_make, sqlite_drop, sqlite_audit_at, sqlite_away, true},
  {"memory", memory_make, memory_drop, memory_audit_at, memory_away, false},
  {"mongodb", mongo_make, mongo_drop, mongo_audit_at, mongo_away, false},
};

static bool can_be_had(const struct row *r) {
  char url[256], why[256] = "";
  int code = r->make(url, why);
  if (code) {
    print_message("SKIPPED: %s: %s\n", r->name, why);
    return false;
  }
  r->drop();
  return true;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest cases[] = {
    CASE(a_conversation_comes_back_as_it_was_written),
    CASE(all_are_listed_in_any_order),
    CASE(pages_of_a_list_show_each_once),
    CASE(a_list_is_filtered),
    CASE(sums_are_of_those_that_began_then),
    CASE(a_share_keeps_its_token_until_it_is_revoked),
    CASE(a_share_that_has_expired_gets_another_token),
    CASE(only_the_owner_shares_what_is_there),
    CASE(a_share_goes_with_the_key_and_with_the_conversation),
    CASE(one_conversation_is_erased_alone),
    CASE(a_second_write_replaces_all_but_owner_and_top),
    CASE(a_message_alone_moves_the_last_activity_on),
    CASE(the_active_conversation_is_the_newest_without_an_end),
    CASE(the_list_of_a_user_is_newest_first_and_limited),
    CASE(a_list_goes_on_behind_the_place_it_ended_at),
    CASE(a_field_that_was_emptied_comes_back_empty),
    CASE(the_name_of_a_user_is_a_value_and_nothing_else),
    CASE(what_is_not_there_is_not_found),
    CASE(a_message_comes_back_as_it_was_written),
    CASE(numbers_go_up_by_one_in_each_conversation_and_go_on_after_a_restart),
    CASE(a_cid_is_stored_once_and_answers_with_the_first),
    CASE(a_message_is_found_by_its_cid),
    CASE(a_cid_twice_in_one_operation_is_stored_once),
    CASE(history_is_read_in_pages_from_the_end),
    CASE(a_page_of_history_is_bounded_in_bytes),
    CASE(a_read_sees_every_write_that_was_answered_before_it),
    CASE(an_empty_write_answers_after_all_writes_before_it),
    CASE(ping_answers),
    CASE(an_epoch_is_drawn_once),
    CASE(a_page_ends_with_the_message_that_fills_it),
    CASE(a_key_may_change_and_old_text_is_read_with_the_one_before),
    CASE(without_the_key_reading_is_an_error_for_that_conversation_only),
    CASE(an_encrypted_database_is_not_opened_without_a_key),
    CASE(with_a_key_plain_text_is_damaged_unless_it_is_allowed),
    CASE(a_name_is_read_again_under_its_key),
    CASE(a_cid_is_stored_once_whatever_the_key),
    CASE(a_text_that_looks_encrypted_is_a_text),
    CASE(what_is_done_about_a_message_is_stored_with_it),
    CASE(a_question_and_what_is_done_first_may_be_one_write),
    CASE(a_part_of_an_answer_says_that_it_has_begun),
    CASE(a_question_and_its_answer_may_come_together),
    CASE(a_duplicate_says_whether_the_first_still_waits),
    CASE(an_answer_that_fails_leaves_the_question_open),
    CASE(conversations_with_an_open_message_are_found),
    CASE(what_is_erased_waits_for_nothing),
    CASE(an_operation_that_fails_undoes_only_itself),
    CASE(writes_wait_while_it_is_away_and_keep_their_order),
    CASE(what_waited_too_long_fails_with_the_rest_of_its_conversation),
    CASE(a_read_while_it_is_away_is_an_error_and_not_an_absence),
    CASE(erasing_a_user_takes_all_of_it_and_nothing_else),
    CASE(erasing_nobody_is_done_and_written_down_all_the_same),
    CASE(an_erasure_keeps_its_place_among_the_writes),
    CASE(what_is_idle_expires_oldest_first_and_so_many_at_a_time),
    CASE(what_was_spoken_in_since_does_not_expire),
    CASE(what_is_in_use_does_not_expire),
    CASE(the_audit_trail_is_kept),
  };
  int failed = 0;
  for (row = rows; row < rows + sizeof rows / sizeof *rows; row++) {
    if (can_be_had(row))
      failed += cmocka_run_group_tests_name(row->name, cases, NULL, NULL);
  }
  if (server.pid != 0) {
    mongoc_client_destroy(client);
    mongod_remove(&server);
  }
  return failed;
}
