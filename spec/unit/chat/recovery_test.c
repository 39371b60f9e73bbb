/* What core/chat/recovery.c promises: whatever an earlier server left unanswered comes into memory, a few conversations
 * at a time, on all workers in turn; nothing else does; and a database that is away meanwhile costs nothing but time.
 * On workers by hand with a real store that can be told to fail. */
#include "stage.h"

#include "err.h"
#include "faulty_store.h"
#include "recovery.h"

#define SINCE_MS 1000

struct scene {
  struct stage *stage;
  struct mailbox *home;
  struct recovery *recovery;
  size_t given[2]; /* conversations, by worker */
};

static struct worker *turns(void *ctx, size_t number) {
  struct scene *sc = ctx;
  sc->given[number % 2]++;
  return sc->stage->workers[number % 2];
}

static int scene_open(void **state) {
  struct scene *sc = calloc(1, sizeof *sc);
  faults.fail_reads = false;
  stage_open_on((void **)&sc->stage, faulty_backends);
  sessions_free(sc->stage->sessions);
  sc->stage->sessions = sessions_new(500, 4, worker_run_session);
  for (unsigned i = 0; i < 2; i++) {
    worker_free(sc->stage->workers[i]);
    sc->stage->workers[i] = stage_worker(sc->stage, i, sc->stage->store);
  }
  sc->home = mailbox_new(client_never_woken, NULL);
  sc->recovery = recovery_new(
    &(struct recovery_world){.store = sc->stage->store, .home = sc->home, .worker = turns, .ctx = sc}, SINCE_MS);
  *state = sc;
  return 0;
}

static int scene_close(void **state) {
  struct scene *sc = *state;
  void *stage = sc->stage;
  for (int i = 0; i < 2; i++) { /* the store has answered, then the workers */
    stage_settle(sc->stage);
    mailbox_drain(sc->home);
  }
  recovery_free(sc->recovery);
  stage_close(&stage);
  mailbox_free(sc->home);
  free(sc);
  return 0;
}

/* A conversation in the store with one message, open or not. */
static void left(struct scene *sc, unsigned n, bool open, int64_t at_ms, char id[STORE_ID_LEN + 1]) {
  struct store_op *op = store_op_new(STORE_WRITE);
  snprintf(id, STORE_ID_LEN + 1, "%032x", n);
  memcpy(op->session.id, id, STORE_ID_LEN + 1);
  op->has_session = true;
  op->session.user_id = strdup("ann");
  op->session.start_ms = 1;
  op->messages = calloc(1, sizeof *op->messages);
  op->message_count = 1;
  op->messages[0] = (struct message_record){.sender = strdup("user"),
                                            .type = strdup("user_message"),
                                            .content = strdup("?"),
                                            .content_len = 1,
                                            .at_ms = at_ms,
                                            .open = open};
  id_new(op->messages[0].id);
  assert_int_equal(caller_call(sc->stage->caller, sc->stage->store, op)->code, 0);
  caller_forget(sc->stage->caller);
}

static bool in_memory(struct scene *sc, const char *id) {
  struct session *s = sessions_find(sc->stage->sessions, id);
  if (s)
    session_unref(s);
  return s != NULL;
}

/* One step, and everything that follows from it. */
static bool step(struct scene *sc) {
  bool more = recovery_step(sc->recovery);
  stage_wait(sc->stage);
  mailbox_drain(sc->home);
  stage_settle(sc->stage);
  mailbox_drain(sc->home);
  return more;
}

static size_t given(const struct scene *sc) {
  return sc->given[0] + sc->given[1];
}

static void what_was_left_unanswered_comes_into_memory_and_nothing_else(void **state) {
  struct scene *sc = *state;
  char open[STORE_ID_LEN + 1], dealt[STORE_ID_LEN + 1], old[STORE_ID_LEN + 1];
  left(sc, 1, true, SINCE_MS + 1, open);
  left(sc, 2, false, SINCE_MS + 1, dealt);
  left(sc, 3, true, SINCE_MS - 1, old);
  assert_true(step(sc));
  assert_false(recovery_step(sc->recovery));
  assert_true(in_memory(sc, open));
  assert_false(in_memory(sc, dealt));
  assert_false(in_memory(sc, old));
  assert_int_equal(given(sc), 1);
}

static void without_any_it_is_over_at_once(void **state) {
  struct scene *sc = *state;
  assert_true(step(sc));
  assert_false(recovery_step(sc->recovery));
  assert_int_equal(given(sc), 0);
}

static void a_few_at_a_time_and_each_once_by_all_workers_in_turn(void **state) {
  struct scene *sc = *state;
  char id[STORE_ID_LEN + 1];
  for (unsigned i = 0; i < RECOVERY_PAGE + 6; i++)
    left(sc, i + 1, true, SINCE_MS + 1, id);
  assert_true(step(sc));
  assert_int_equal(given(sc), RECOVERY_PAGE);
  assert_false(in_memory(sc, id));
  assert_true(step(sc));
  assert_int_equal(sc->given[0], (RECOVERY_PAGE + 6) / 2);
  assert_int_equal(sc->given[1], (RECOVERY_PAGE + 6) / 2);
  assert_true(in_memory(sc, id));
  assert_false(recovery_step(sc->recovery));
}

static void the_next_ones_wait_for_those_that_are_on_their_way(void **state) {
  struct scene *sc = *state;
  char id[STORE_ID_LEN + 1];
  for (unsigned i = 0; i < RECOVERY_PAGE + 1; i++)
    left(sc, i + 1, true, SINCE_MS + 1, id);
  for (int i = 0; i < 3; i++) /* the store has not answered, then the workers have not looked */
    assert_true(recovery_step(sc->recovery));
  stage_wait(sc->stage);
  mailbox_drain(sc->home);
  for (int i = 0; i < 3; i++)
    assert_true(recovery_step(sc->recovery));
  stage_wait(sc->stage);
  mailbox_drain(sc->home);
  assert_int_equal(given(sc), RECOVERY_PAGE);
  while (step(sc)) {
  }
  assert_int_equal(given(sc), RECOVERY_PAGE + 1);
}

static void while_the_store_fails_a_step_does_nothing_and_the_next_tries_again(void **state) {
  struct scene *sc = *state;
  char id[STORE_ID_LEN + 1];
  left(sc, 1, true, SINCE_MS + 1, id);
  faults_set(&faults.fail_reads, true);
  assert_true(step(sc));
  assert_true(step(sc));
  assert_int_equal(given(sc), 0);
  faults_set(&faults.fail_reads, false);
  assert_true(step(sc));
  assert_true(in_memory(sc, id));
  assert_false(recovery_step(sc->recovery));
}

static void what_the_store_could_not_give_is_asked_for_again(void **state) {
  struct scene *sc = *state;
  char id[STORE_ID_LEN + 1];
  left(sc, 1, true, SINCE_MS + 1, id);
  assert_true(recovery_step(sc->recovery));
  stage_wait(sc->stage);
  mailbox_drain(sc->home); /* it knows which ones there are; now the store fails */
  faults_set(&faults.fail_reads, true);
  stage_settle(sc->stage);
  mailbox_drain(sc->home);
  assert_int_equal(given(sc), 1);
  assert_false(in_memory(sc, id));
  faults_set(&faults.fail_reads, false);
  assert_true(step(sc));
  assert_true(in_memory(sc, id));
  assert_false(recovery_step(sc->recovery));
}

static void one_that_never_ended_leaves_nothing_behind(void **state) {
  struct scene *sc = *state;
  char id[STORE_ID_LEN + 1];
  left(sc, 1, true, SINCE_MS + 1, id);
  assert_true(recovery_step(sc->recovery)); /* scene_close: its answers come, and it is freed */
  recovery_free(NULL);
}

int main(void) {
#define ONE(name) cmocka_unit_test_setup_teardown(name, scene_open, scene_close)
  const struct CMUnitTest tests[] = {
    ONE(what_was_left_unanswered_comes_into_memory_and_nothing_else),
    ONE(without_any_it_is_over_at_once),
    ONE(a_few_at_a_time_and_each_once_by_all_workers_in_turn),
    ONE(the_next_ones_wait_for_those_that_are_on_their_way),
    ONE(while_the_store_fails_a_step_does_nothing_and_the_next_tries_again),
    ONE(what_the_store_could_not_give_is_asked_for_again),
    ONE(one_that_never_ended_leaves_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
