/* What core/chat/effects.c promises of the snapshot it stores: it is a state the conversation really had, however many
 * threads change it meanwhile. Each change sets every field from one number under one lock; a record whose fields speak
 * of two numbers was never true. Under ThreadSanitizer the same test shows that nobody reads what another one writes.
 */
#include "stage.h"

#include "err.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define CHANGERS 3
#define COMMITS 300

struct scene {
  struct stage *st;
  struct session *s;
  atomic_int number;
  atomic_bool over;
};

/* Everything but help_requested, which the commits themselves change. */
static void change(struct scene *sc) {
  char text[64];
  session_lock_write(sc->s);
  int n = atomic_fetch_add(&sc->number, 1);
  struct session_record *r = session_edit(sc->s);
  snprintf(text, sizeof text, "%d and a text too long for any small buffer", n);
  char **texts[] = {&r->name, &r->model_id, &r->assisting_admin_id, &r->assisting_admin_name};
  for (int i = 0; i < 4; i++) {
    if (session_set_text(sc->s, texts[i], text) != 0)
      abort();
  }
  r->admin_assisted = n % 2;
  r->total_tokens = r->max_response_ms = r->avg_response_ms = r->end_ms = n;
  for (int i = 0; i < 100; i++)
    session_add_response(sc->s, (uint32_t)n);
  r->total_tokens = r->max_response_ms = r->avg_response_ms = n; /* adding a response counts these, too */
  session_unlock_write(sc->s);
}

static void *changes(void *arg) {
  struct scene *sc = arg;
  while (!atomic_load(&sc->over))
    change(sc);
  return NULL;
}

static int number_of(const char *text) {
  return text != NULL ? atoi(text) : -1;
}

static void assert_was_true(const struct session_record *r) {
  int n = number_of(r->name);
  assert_int_equal(number_of(r->model_id), n);
  assert_int_equal(number_of(r->assisting_admin_id), n);
  assert_int_equal(number_of(r->assisting_admin_name), n);
  assert_int_equal(r->admin_assisted, n % 2);
  assert_int_equal(r->total_tokens, n);
  assert_int_equal(r->max_response_ms, n);
  assert_int_equal(r->avg_response_ms, n);
  assert_int_equal(r->end_ms, n);
  assert_int_equal(r->response_count, 100);
  for (uint32_t i = 0; i < 100; i++)
    assert_int_equal(r->responses[i], n);
}

static void commit(struct scene *sc, bool help) {
  struct effects *e = effects_new(sc->s, NULL, 1);
  e->flags[EFFECTS_HELP] = help;
  effects_commit(e, worker_home(sc->st->workers[0]));
}

static const struct session_record *stored(struct scene *sc) {
  struct store_op *op = store_op_new(STORE_SESSION);
  strcpy(op->session.id, session_id(sc->s));
  op = caller_call(sc->st->caller, sc->st->store, op);
  assert_int_equal(op->code, 0);
  return &op->session;
}

static void what_is_stored_is_a_state_that_was(void **state) {
  struct scene sc = {.st = *state, .s = stage_draft(*state, "ann", 0)};
  pthread_t threads[CHANGERS];
  change(&sc);
  for (int i = 0; i < CHANGERS; i++)
    pthread_create(&threads[i], NULL, changes, &sc);
  for (int i = 0; i < COMMITS; i++) {
    for (int n = atomic_load(&sc.number); atomic_load(&sc.number) == n;) /* they are at it */
      sched_yield();
    commit(&sc, i % 2);
    stage_settle(sc.st);
    const struct session_record *r = stored(&sc);
    assert_was_true(r);
    assert_int_equal(r->help_requested, i % 2);
    caller_forget(sc.st->caller);
  }
  atomic_store(&sc.over, true);
  for (int i = 0; i < CHANGERS; i++)
    pthread_join(threads[i], NULL);
  session_unref(sc.s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(what_is_stored_is_a_state_that_was, stage_open, stage_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
