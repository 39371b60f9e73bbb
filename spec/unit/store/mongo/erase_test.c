/* What core/store/mongo/erase.c and erasing.c promise: what is erased is gone at once for whoever asks, goes in steps
 * that let other writes pass, goes on after an interruption between any two of them, and leaves one record. */
#include "mongo_fixture.h"

#include "store_direct.h"

static struct store_op *erasure(const char *user) {
  struct store_op *op = store_op_audit(STORE_ERASE, "spec", "erase", user, 77);
  op->session.user_id = strdup(user);
  return op;
}

static void talk(struct fixture *f, unsigned session, unsigned long long from, unsigned messages) {
  for (unsigned i = 0; i < messages; i += 250) {
    struct store_op *op = caller_write(session);
    for (unsigned k = i; k < i + 250 && k < messages; k++)
      caller_add(op, from + k, NULL, "secret", 6);
    assert_int_equal(call(f, op)->code, 0);
    caller_forget(f->caller);
  }
}

static int64_t left_of_erasures(void) {
  return count("chatbox_erasures", "{}") + count("chatbox_erasing", "{}");
}

/* Of a store that is at it: until the record is there. */
static void wait_for_record(const char *detail) {
  char filter[128];
  snprintf(filter, sizeof filter, "{'detail': '%s'}", detail);
  while (count("audit", filter) == 0) {
  }
  while (left_of_erasures() > 0) {
  }
  assert_int_equal(count("audit", "{}"), 1);
}

static void it_goes_in_steps_and_a_later_write_is_answered_first(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  talk(f, 1, 1, 3000);
  struct store_op *other = write_session(2, 1);
  strcpy(other->session.user_id, "u2");
  assert_int_equal(call(f, other)->code, 0);
  caller_forget(f->caller);
  assert_int_equal(caller_submit(f->caller, f->store, erasure("u1")), 0);
  struct store_op *late = caller_write(2);
  caller_add(late, 9000001, NULL, "meanwhile", 9);
  assert_int_equal(caller_submit(f->caller, f->store, late), 0);
  caller_wait(f->caller, 1);
  assert_int_equal(f->caller->replies[0]->kind, STORE_WRITE);
  caller_wait(f->caller, 2);
  assert_int_equal(f->caller->replies[1]->code, 0);
  assert_string_equal(f->caller->replies[1]->audit.detail, "1 conversations, 3000 messages");
  assert_int_equal(count("messages", "{}"), 1);
  wait_for_record("1 conversations, 3000 messages");
}

static struct store_op *begin(struct fixture *f, void **handle) {
  char why[256];
  close_store(f);
  struct store_options o = {.url = f->url, .timeout_ms = 10000};
  assert_int_equal(store_mongo.open(&o, "", true, handle, why), 0);
  struct store_op *op = erasure("u1");
  store_mongo.write(*handle, &op, 1);
  assert_int_equal(op->code, E_MORE);
  return op;
}

/* As the program leaves it that ends after so many steps. How many it has taken: fewer when it was done before. */
static int begin_and_break_off(struct fixture *f, int steps) {
  void *handle;
  struct store_op *op = begin(f, &handle);
  int taken = 0, code = E_MORE;
  for (; taken < steps && code == E_MORE; taken++)
    code = store_mongo.erase(handle, op);
  assert_true(code == E_MORE || code == 0);
  store_op_free(op);
  store_mongo.close(handle);
  return code == 0 ? taken - 1 : taken;
}

static void assert_not_found(struct fixture *f) {
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_SESSIONS, 0, "u1", 5))->session_count, 0);
  assert_int_equal(history_code(f, 1), E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_OPEN, 0, NULL, 10))->session_count, 0);
}

static void make_three(struct fixture *f) {
  reopen(f);
  for (unsigned i = 1; i <= 3; i++)
    make_session(f, i);
  talk(f, 1, 1, 1300);
  talk(f, 2, 5000, 20);
  struct store_op *op = caller_write(1);
  caller_add(op, 9000, NULL, "who answers?", 12)->open = true;
  assert_int_equal(call(f, op)->code, 0);
}

static void one_that_was_interrupted_between_any_two_steps_goes_on_at_the_next_start(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  for (int steps = 0, taken = 0; taken == steps; steps++) {
    make_three(f);
    taken = begin_and_break_off(f, steps);
    assert_int_equal(count("sessions", "{}"), 0);
    reopen(f);
    assert_not_found(f);
    make_session(f, 4); /* of the same user, and later */
    say(f, 4, 99999, NULL, "a new life");
    wait_for_record("3 conversations, 1321 messages");
    assert_int_equal(count("messages", "{}"), 1);
    assert_history(f, 4, "1 a new life");
    caller_forget(f->caller);
    struct store_op *rest = erasure("u1");
    assert_int_equal(call(f, rest)->code, 0);
    mongoc_collection_t *audit = mongoc_client_get_collection(client, database, "audit");
    assert_true(mongoc_collection_drop(audit, NULL));
    mongoc_collection_destroy(audit);
  }
}

/* The crash falls between the note and the conversation's end. */
static void what_was_noted_and_stayed_in_sight_goes_too(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_three(f);
  char *before = look("sessions", "{'_id': '0000000000005e550000000000000002'}");
  assert_non_null(before);
  (void)begin_and_break_off(f, 0);
  put("sessions", json(before));
  bson_free(before);
  reopen(f);
  wait_for_record("3 conversations, 1321 messages");
  assert_int_equal(count("sessions", "{}") + count("messages", "{}"), 0);
}

static void asked_for_again_it_is_one_erasure_with_one_record(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_three(f);
  (void)begin_and_break_off(f, 1);
  struct store_options o = {.backends = store_backends, .url = f->url, .timeout_ms = 10000};
  struct store_direct d;
  char why[256];
  assert_int_equal(store_direct_open(&o, true, &d, why), 0);
  struct store_op *op = erasure("u1"), *new = write_session(5, 1);
  caller_add(new, 77777, NULL, "later", 5);
  assert_int_equal(store_direct_run(&d, new), 0);
  assert_int_equal(store_direct_run(&d, op), 0);
  assert_string_equal(op->audit.detail, "4 conversations, 1322 messages");
  store_op_free(op);
  store_op_free(new);
  store_direct_close(&d);
  assert_int_equal(count("audit", "{}"), 1);
  assert_int_equal(count("sessions", "{}") + count("messages", "{}") + left_of_erasures(), 0);
}

static void many_conversations_leave_in_steps_and_what_came_since_stays(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  for (unsigned i = 0; i < 450; i++)
    assert_int_equal(caller_submit(f->caller, f->store, write_session(100 + i, 1)), 0);
  caller_wait(f->caller, 450);
  (void)begin_and_break_off(f, 0);
  assert_int_equal(count("sessions", "{}"), 250);
  struct store_options o = {.backends = store_backends, .url = f->url, .timeout_ms = 10000};
  struct store_direct d;
  char why[256];
  assert_int_equal(store_direct_open(&o, true, &d, why), 0);
  struct store_op *new = write_session(5, 78); /* after it was asked for */
  assert_int_equal(store_direct_run(&d, new), 0);
  store_op_free(new);
  store_direct_close(&d);
  reopen(f);
  wait_for_record("450 conversations, 0 messages");
  assert_int_equal(count("sessions", "{}"), 1);
}

static void what_expires_goes_in_steps_too(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_three(f);
  struct store_op *op = store_op_audit(STORE_EXPIRE, "spec", "retention", "all", 77);
  op->before_ms = INT64_MAX / 2;
  op->limit = 2;
  op = call(f, op);
  assert_int_equal(op->code, 0);
  assert_int_equal(op->session_count, 2);
  assert_int_equal(op->erased.sessions, 2);
  assert_int_equal(count("sessions", "{}"), 1);
  assert_int_equal(left_of_erasures(), 0);
  assert_int_equal(count("audit", "{}"), 1);
}

static void the_store_stops_in_the_middle_and_says_so(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_three(f);
  caller_forget(f->caller);
  assert_int_equal(caller_submit(f->caller, f->store, erasure("u1")), 0);
  assert_int_equal(store_drain(f->store, 10000), 0);
  caller_wait(f->caller, 1);
  assert_true(f->caller->replies[0]->code == E_STOPPING || f->caller->replies[0]->code == 0);
  reopen(f);
  wait_for_record("3 conversations, 1321 messages");
  assert_int_equal(count("messages", "{}"), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup_database, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    WITH(it_goes_in_steps_and_a_later_write_is_answered_first),
    WITH(one_that_was_interrupted_between_any_two_steps_goes_on_at_the_next_start),
    WITH(what_was_noted_and_stayed_in_sight_goes_too),
    WITH(asked_for_again_it_is_one_erasure_with_one_record),
    WITH(many_conversations_leave_in_steps_and_what_came_since_stays),
    WITH(what_expires_goes_in_steps_too),
    WITH(the_store_stops_in_the_middle_and_says_so),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
