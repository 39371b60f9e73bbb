/* What core/store/mongo/pool.c promises, on a real server that is made to fail: what waits and what does not is told by
 * codes, what was stored without anybody knowing is not stored twice, and a server that is gone is found out fast. */
#include "mongo_fixture.h"
#include "slowness.h"

static void an_url_that_is_none_is_refused(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256];
  strcpy(f->url, "mongodb://127.0.0.1:notaport/chat");
  assert_int_equal(try_open(f, why), E_INVALID);
  assert_has(why, "STORE_URL");
}

/* ---- what a server says, by its codes ---- */

/* The next `times` of these commands of the store, or all (0), until break_no_more. */
static void break_next(const char *commands, unsigned times, const char *how) {
  char command[512], mode[32];
  snprintf(mode, sizeof mode, times > 0 ? "{\"times\": %u}" : "\"alwaysOn\"", times);
  snprintf(command, sizeof command,
           "{\"configureFailPoint\": \"failCommand\", \"mode\": %s, \"data\": {\"failCommands\": [%s],"
           " \"appName\": \"chatbox\", %s}}",
           mode, commands, how);
  mongod_must(&server, command);
}

static void break_no_more(void) {
  mongod_must(&server, "{\"configureFailPoint\": \"failCommand\", \"mode\": \"off\"}");
}

static void what_was_stored_but_not_confirmed_is_found_again_and_is_no_duplicate(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  static const char *const commands[] = {"\"insert\"", "\"update\""};
  for (unsigned i = 1; i <= 2; i++) {
    char cid[] = {'c', (char)('0' + i), '\0'};
    break_next(commands[i - 1], 1, "\"writeConcernError\": {\"code\": 64, \"errmsg\": \"not confirmed\"}");
    struct message_record *m = say(f, 1, i, cid, "x");
    assert_int_equal(m->seq, i);
    assert_false(m->duplicate);
    assert_int_equal(count("messages", "{}"), i);
  }
  break_no_more();
}

static void a_new_conversation_that_was_not_confirmed_is_made_once(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  break_next("\"insert\"", 1, "\"writeConcernError\": {\"code\": 64, \"errmsg\": \"not confirmed\"}");
  struct store_op *op = write_session(1, 5);
  op->session.name = strdup("a name");
  caller_add(op, 1, "c", "x", 1);
  op = call(f, op);
  break_no_more();
  assert_int_equal(op->code, 0);
  assert_int_equal(op->messages[0].seq, 1);
  assert_string_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.name, "a name");
  assert_int_equal(count("sessions", "{}"), 1);
}

static void who_is_no_primary_is_waited_for_and_who_refuses_is_not(void **state) {
  NEEDS_SERVER();
  static const struct {
    int code, expected;
  } cases[] = {{10107, 0}, {91, 0}, {11602, 0}, {50, 0}, {13, E_STORE}, {8, E_STORE}};
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  unsigned stored = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char how[64];
    snprintf(how, sizeof how, "\"errorCode\": %d", cases[i].code);
    break_next("\"insert\"", 3, how);
    struct store_op *op = caller_write(1);
    caller_add(op, i, NULL, "x", 1);
    op = call(f, op);
    assert_int_equal(op->code, cases[i].expected);
    if (op->code == 0)
      assert_int_equal(op->messages[0].seq, ++stored);
    break_no_more();
  }
  assert_int_equal(count("messages", "{}"), stored);
}

/* ---- a server that goes ---- */

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void while_the_server_is_down_writes_wait_and_what_is_back_goes_on(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  f->timeout_ms = 60000;
  reopen(f);
  make_session(f, 1);
  say(f, 1, 1, "c1", "before");
  mongod_kill(&server);
  int64_t began = now_ms();
  assert_int_equal(call(f, read_of(STORE_PING, 0, NULL, 0))->code, E_STORE);
  assert_in_range(now_ms() - began, 0, (int64_t)(1999 * slowness()));
  struct store_op *op = caller_write(1);
  caller_add(op, 2, "c2", "during", 6);
  size_t answered = f->caller->count;
  assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, E_STORE);
  assert_int_equal(f->caller->count, answered + 1); /* the read's; the write waits */
  mongod_again(&server);
  caller_wait(f->caller, answered + 2);
  assert_int_equal(op->code, 0);
  assert_int_equal(op->messages[0].seq, 2);
  assert_page(f, 1, 0, 10, "1 before, 2 during");
  assert_int_equal(call(f, read_of(STORE_PING, 0, NULL, 0))->code, 0);
}

static void a_server_that_hangs_is_found_out_at_once_and_what_waited_long_enough_has_failed(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  f->timeout_ms = 2000;
  reopen(f);
  make_session(f, 1);
  say(f, 1, 1, "c1", "before");
  assert_int_equal(call(f, read_of(STORE_PING, 0, NULL, 0))->code, 0);
  kill(server.pid, SIGSTOP);
  int64_t began = now_ms();
  assert_int_equal(call(f, read_of(STORE_PING, 0, NULL, 0))->code, E_STORE);
  assert_in_range(now_ms() - began, 0, (int64_t)(1999 * slowness()));
  struct store_op *op = caller_write(1);
  caller_add(op, 2, "c2", "during", 6);
  assert_int_equal(call(f, op)->code, E_STORE);
  assert_int_equal(op->messages[0].seq, 0);
  kill(server.pid, SIGCONT);
  /* Whether it was stored nobody knows; said again it is there once. */
  mongod_wait(&server, 1);
  struct message_record *m = say(f, 1, 3, "c2", "during");
  assert_int_equal(m->seq, 2);
  assert_page(f, 1, 0, 10, "1 before, 2 during");
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup_database, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    WITH(an_url_that_is_none_is_refused),
    WITH(what_was_stored_but_not_confirmed_is_found_again_and_is_no_duplicate),
    WITH(a_new_conversation_that_was_not_confirmed_is_made_once),
    WITH(who_is_no_primary_is_waited_for_and_who_refuses_is_not),
    WITH(while_the_server_is_down_writes_wait_and_what_is_back_goes_on),
    WITH(a_server_that_hangs_is_found_out_at_once_and_what_waited_long_enough_has_failed),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
