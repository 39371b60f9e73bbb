/* A replica set whose primary is killed under a load of writes: what was acknowledged is there afterwards, once and in
 * order, and nobody was told of more than a delay. Three real servers; SPEC_LONG=1 kills five primaries instead of
 * one. */
#include "mongod.h"
#include "store_fixture.h"

#define MEMBERS 3
#define SESSIONS 8
#define IN_FLIGHT 200
#define BETWEEN 600 /* messages acknowledged between two failures */
#define MESSAGES_MAX 20000
#define PATIENCE_S 60 /* a secondary may take long to see that the one it copies from hangs */

static struct mongod servers[MEMBERS];

/* What was acknowledged, by seq. */
static struct {
  char id[STORE_ID_LEN + 1];
  unsigned number;
} acked[SESSIONS][MESSAGES_MAX];
static unsigned sent[SESSIONS], answered[SESSIONS];

static int start_servers(void **state) {
  (void)state;
  if (mongod_there())
    mongod_start_set(servers, "rs0");
  return 0;
}

static int stop_servers(void **state) {
  (void)state;
  for (int i = 0; i < MEMBERS && servers[i].port != 0; i++)
    mongod_remove(&servers[i]);
  return 0;
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  if (servers[0].port == 0)
    return 0;
  f->caller = caller_new();
  f->timeout_ms = 1000 * PATIENCE_S;
  mongod_url(servers, MEMBERS, "chat", f->url);
  reopen(f);
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  if (f->store != NULL)
    store_close(f->store);
  if (f->caller != NULL)
    caller_free(f->caller);
  free(f);
  return 0;
}

/* The next message of that conversation: "SESSION.NUMBER". */
static void say_next(struct fixture *f, unsigned session) {
  char text[32];
  unsigned number = ++sent[session];
  struct store_op *op = caller_write(session);
  snprintf(text, sizeof text, "%u.%u", session, number);
  caller_add(op, (unsigned long long)session << 32 | number, text, text, strlen(text));
  assert_in_range(number, 1, MESSAGES_MAX - 1);
  assert_int_equal(caller_submit(f->caller, f->store, op), 0);
}

/* All are acknowledged, each conversation's in the order they were sent. */
static void take_answers(struct fixture *f) {
  caller_wait_s(f->caller, 1, PATIENCE_S);
  for (size_t i = 0; i < f->caller->count; i++) {
    const struct store_op *op = f->caller->replies[i];
    unsigned session, number;
    assert_int_equal(op->code, 0);
    assert_int_equal(sscanf(op->messages[0].cid, "%u.%u", &session, &number), 2);
    assert_int_equal(number, ++answered[session]);
    assert_int_equal(op->messages[0].seq, number);
    assert_false(op->messages[0].duplicate);
    memcpy(acked[session][number].id, op->messages[0].id, STORE_ID_LEN + 1);
    acked[session][number].number = number;
  }
  caller_forget(f->caller);
}

static unsigned total(const unsigned counts[SESSIONS]) {
  unsigned sum = 0;
  for (int i = 0; i < SESSIONS; i++)
    sum += counts[i];
  return sum;
}

/* Keeps so many in flight until so many more are acknowledged. */
static void load(struct fixture *f, unsigned more) {
  unsigned until = total(answered) + more;
  while (total(answered) < until) {
    while (total(sent) - total(answered) < IN_FLIGHT)
      say_next(f, total(sent) % SESSIONS);
    take_answers(f);
  }
}

static void settle(struct fixture *f) {
  while (total(answered) < total(sent))
    take_answers(f);
}

static void check(struct fixture *f, unsigned session) {
  uint64_t next = sent[session];
  assert_int_equal(call(f, read_of(STORE_SESSION, session, NULL, 0))->session.top, next);
  while (next > 0) {
    struct store_op *page = history(f, session, next + 1, STORE_LIMIT_MAX);
    assert_true(page->message_count > 0);
    for (size_t i = page->message_count; i-- > 0; next--) {
      char text[32];
      snprintf(text, sizeof text, "%u.%u", session, (unsigned)next);
      assert_int_equal(page->messages[i].seq, next);
      assert_string_equal(page->messages[i].content, text);
      assert_string_equal(page->messages[i].id, acked[session][next].id);
    }
  }
  caller_forget(f->caller);
}

static void a_primary_that_is_killed_costs_a_delay_and_no_message(void **state) {
  struct fixture *f = *state;
  if (f->store == NULL)
    skip();
  unsigned kills = getenv("SPEC_LONG") != NULL ? 5 : 1;
  for (unsigned i = 0; i < SESSIONS; i++)
    make_session(f, i);
  caller_forget(f->caller);
  for (unsigned i = 0; i < kills; i++) {
    load(f, BETWEEN);
    mongod_wait_all(servers, MEMBERS);
    struct mongod *primary = &servers[mongod_wait(servers, MEMBERS)];
    mongod_kill(primary);
    load(f, BETWEEN);
    mongod_launch(primary);
  }
  settle(f);
  for (unsigned i = 0; i < SESSIONS; i++)
    check(f, i);
  print_message("%u messages, %u primaries killed\n", total(answered), kills);
}

/* It goes on as primary for a moment when it wakes up, with writes nobody has confirmed. */
static void a_primary_that_hangs_and_comes_back_leaves_nothing_twice(void **state) {
  struct fixture *f = *state;
  if (f->store == NULL)
    skip();
  strcat(f->url, "&socketTimeoutMS=2000");
  reopen(f);
  load(f, BETWEEN);
  mongod_wait_all(servers, MEMBERS);
  struct mongod *primary = &servers[mongod_wait(servers, MEMBERS)];
  kill(primary->pid, SIGSTOP);
  load(f, BETWEEN);
  kill(primary->pid, SIGCONT);
  load(f, BETWEEN);
  settle(f);
  for (unsigned i = 0; i < SESSIONS; i++)
    check(f, i);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(a_primary_that_is_killed_costs_a_delay_and_no_message, setup, teardown),
    cmocka_unit_test_setup_teardown(a_primary_that_hangs_and_comes_back_leaves_nothing_twice, setup, teardown),
  };
  return cmocka_run_group_tests(tests, start_servers, stop_servers);
}
