/* What core/chat/erasure.c promises: nothing that is in memory, on its way, or just being read writes the erased back;
 * who is in an old conversation keeps it. Two workers by hand and a real store; the test is the main thread. */
#include "stage.h"

#include "erasure.h"
#include "err.h"
#include "join.h"

struct house {
  struct stage *st;
  struct mailbox *home;
  struct erasure *erasure;
  int times, code;
  struct store_erased erased;
};

static size_t each_worker(void *ctx, void (*fn)(void *arg), void *arg) {
  struct stage *st = ((struct house *)ctx)->st;
  for (int i = 0; i < 2; i++)
    worker_call(st->workers[i], fn, arg);
  return 2;
}

static int house_open(void **state) {
  struct house *h = calloc(1, sizeof *h);
  assert_int_equal(stage_open((void **)&h->st), 0);
  h->home = mailbox_new(client_never_woken, NULL);
  h->erasure = erasure_new(&(struct erasure_world){h->st->sessions, h->st->store, h->home, each_worker, h});
  *state = h;
  return 0;
}

static int house_close(void **state) {
  struct house *h = *state;
  mailbox_drain(h->home);
  erasure_stop(h->erasure);
  stage_close((void **)&h->st);
  mailbox_drain(h->home);
  erasure_free(h->erasure);
  mailbox_free(h->home);
  free(h);
  return 0;
}

static void done(void *arg, int code, const struct store_erased *erased) {
  struct house *h = arg;
  h->times++;
  h->code = code;
  h->erased = *erased;
}

static int erase(struct house *h, const char *user) {
  return erasure_user(h->erasure, user, "spec", 1, done, h);
}

/* Until nothing is left to do anywhere. */
static void settle(struct house *h) {
  for (int i = 0; i < 4; i++) {
    stage_settle(h->st);
    mailbox_drain(h->home);
  }
}

static struct effects *saying(struct session *s, const char *text) {
  struct effects *e = effects_new(s, NULL, 1000);
  struct message_record m = {.sender = strdup("user"),
                             .type = strdup("user_message"),
                             .content = strdup(text),
                             .content_len = strlen(text),
                             .at_ms = 1000};
  id_new(m.id);
  assert_int_equal(effects_append(e, &m), 0);
  return e;
}

static void on_outcome(struct effects *e, void *arg) {
  *(int *)arg = e->code;
  effects_free(e);
}

static void commit(struct house *h, int worker, struct effects *e, int *code) {
  *code = 1; /* not yet */
  e->done = on_outcome;
  e->arg = code;
  effects_commit(e, worker_home(h->st->workers[worker]));
}

static size_t stored_of(struct house *h, const char *user) {
  struct store_op *op = store_op_new(STORE_SESSIONS);
  op->session.user_id = strdup(user);
  op->limit = STORE_LIMIT_MAX;
  size_t count = caller_call(h->st->caller, h->st->store, op)->session_count;
  caller_forget(h->st->caller);
  return count;
}

static struct session *talked(struct house *h, const char *user, int owner) {
  struct session *s = stage_draft(h->st, user, owner);
  int code;
  commit(h, owner, saying(s, "hello"), &code);
  settle(h);
  assert_int_equal(code, 0);
  return s;
}

struct visitor {
  int times, code;
  struct session *session;
};

static void seated(void *arg, struct session *s, int code) {
  *(struct visitor *)arg = (struct visitor){1, code, s};
}

/* ---- a user ---- */

static void what_is_stored_and_what_is_on_its_way_goes(void **state) {
  struct house *h = *state;
  struct session *s = talked(h, "ann", 0), *other = talked(h, "bob", 1);
  int code;
  commit(h, 0, saying(s, "on its way"), &code);
  assert_int_equal(erase(h, "ann"), 0);
  settle(h);
  assert_int_equal(h->times, 1);
  assert_int_equal(h->code, 0);
  assert_int_equal(h->erased.sessions, 1);
  assert_int_equal(h->erased.messages, 2);
  assert_int_equal(stored_of(h, "ann"), 0);
  assert_int_equal(stored_of(h, "bob"), 1);
  assert_int_equal(sessions_count(h->st->sessions), 1);
  session_unref(s);
  session_unref(other);
}

static void a_handler_that_goes_on_later_stores_nothing(void **state) {
  struct house *h = *state;
  struct session *s = talked(h, "ann", 0);
  struct effects *e = saying(s, "I was waiting for something");
  assert_int_equal(effects_set_text(e, EFFECTS_NAME, "so that all of it would be written"), 0);
  assert_int_equal(erase(h, "ann"), 0);
  settle(h);
  int code;
  commit(h, 0, e, &code);
  settle(h);
  assert_int_equal(code, E_GONE);
  assert_int_equal(stored_of(h, "ann"), 0);
  session_unref(s);
}

/* What a worker has handed over before its turn is in front of the erasure. */
static void it_waits_until_every_worker_has_had_its_turn(void **state) {
  struct house *h = *state;
  struct session *s = talked(h, "ann", 1);
  assert_int_equal(erase(h, "ann"), 0);
  worker_settle(h->st->workers[0]);
  mailbox_drain(h->home);
  stage_wait(h->st);
  assert_int_equal(stored_of(h, "ann"), 1);
  settle(h);
  assert_int_equal(stored_of(h, "ann"), 0);
  session_unref(s);
}

static void its_people_are_sent_away_and_nobody_else(void **state) {
  struct house *h = *state;
  struct session *s = stage_draft(h->st, "ann", 0), *other = stage_draft(h->st, "bob", 0);
  struct conn *ann = stage_member(h->st, s, "ann", 0), *bob = stage_member(h->st, other, "bob", 0);
  assert_int_equal(erase(h, "ann"), 0);
  settle(h);
  const char *reason;
  assert_int_equal(conn_closing(ann, &reason), CLOSE_NOT_YOU);
  assert_int_equal(conn_closing(bob, &reason), 0);
  stage_leave(s, ann);
  stage_leave(other, bob);
  session_unref(s);
  session_unref(other);
}

static void nobody_joins_what_is_erased(void **state) {
  struct house *h = *state;
  struct session *s = stage_draft(h->st, "ann", 0); /* join found it just before */
  assert_int_equal(erase(h, "ann"), 0);
  struct conn *c = client_new(stage_home(h->st, 0), "ann");
  assert_int_equal(session_join(s, c, 0), E_GONE);
  client_gone(c);
  settle(h);
  session_unref(s);
}

static void the_user_comes_in_again_when_it_is_over_and_not_before(void **state) {
  struct house *h = *state;
  struct visitor early = {0}, late = {0};
  session_unref(talked(h, "ann", 0));
  assert_int_equal(erase(h, "ann"), 0);
  join_open(h->st->workers[0], "ann", "", seated, &early);
  stage_settle(h->st);
  assert_int_equal(early.code, E_BUSY);
  assert_null(early.session);
  settle(h);
  join_open(h->st->workers[0], "ann", "", seated, &late);
  settle(h);
  assert_int_equal(late.code, 0);
  session_unref(late.session);
  int code;
  struct session *s = talked(h, "ann", 0);
  commit(h, 0, saying(s, "a new life"), &code);
  settle(h);
  assert_int_equal(code, 0);
  session_unref(s);
}

/* The store had answered before the erasure; the answer is looked at after it. */
static void what_was_read_before_does_not_come_back(void **state) {
  struct house *h = *state;
  struct session *s = talked(h, "ann", 0);
  char id[STORE_ID_LEN + 1];
  strcpy(id, session_id(s));
  session_unref(s);
  assert_int_equal(sessions_sweep(h->st->sessions, UINT64_MAX / 2, 0), 1);
  struct visitor v = {0};
  join_open(h->st->workers[0], "ann", id, seated, &v);
  stage_wait(h->st); /* the answer lies with worker 0, which sleeps */
  struct session **all;
  size_t count;
  assert_int_equal(sessions_bar(h->st->sessions, "ann", &all, &count), 0);
  free(all);
  struct store_op *op = store_op_audit(STORE_ERASE, "spec", "erase", "user ann", 1);
  op->session.user_id = strdup("ann");
  assert_int_equal(caller_call(h->st->caller, h->st->store, op)->erased.sessions, 1);
  sessions_unbar(h->st->sessions);
  settle(h);
  assert_int_equal(v.times, 1);
  assert_string_not_equal(session_id(v.session), id);
  session_unref(v.session);
}

static void one_at_a_time(void **state) {
  struct house *h = *state;
  assert_int_equal(erase(h, "ann"), 0);
  assert_int_equal(erase(h, "bob"), E_BUSY);
  settle(h);
  assert_int_equal(h->times, 1);
  assert_int_equal(erase(h, "bob"), 0);
  settle(h);
  assert_int_equal(h->times, 2);
}

static void a_store_that_refuses_is_told_and_the_user_may_come_in(void **state) {
  struct house *h = *state;
  assert_int_equal(store_drain(h->st->store, 10000), 0);
  assert_int_equal(erase(h, "ann"), 0);
  worker_settle(h->st->workers[0]);
  worker_settle(h->st->workers[1]);
  mailbox_drain(h->home);
  assert_int_equal(h->times, 1);
  assert_int_equal(h->code, E_STOPPING);
  session_unref(stage_draft(h->st, "ann", 0));
}

/* ---- what is idle ---- */

static void put_idle(struct house *h, unsigned number, int64_t last_activity_ms) {
  struct store_op *op = caller_write(number);
  op->has_session = true;
  op->session.user_id = strdup("ann");
  op->session.start_ms = op->session.last_activity_ms = last_activity_ms;
  assert_int_equal(caller_call(h->st->caller, h->st->store, op)->code, 0);
  caller_forget(h->st->caller);
}

static void old_conversations_go_step_by_step_until_none_is_left(void **state) {
  struct house *h = *state;
  for (unsigned i = 0; i < 2 * EXPIRE_STEP + 7; i++)
    put_idle(h, i, 100);
  put_idle(h, 5000, 900);
  erasure_idle(h->erasure, 500, 1000);
  erasure_idle(h->erasure, 500, 1000); /* it is at it */
  stage_wait(h->st);
  assert_int_equal(stored_of(h, "ann"), EXPIRE_STEP + 8); /* one step, until the main thread goes on */
  settle(h);
  assert_int_equal(stored_of(h, "ann"), 1);
}

static void one_that_is_in_memory_stays(void **state) {
  struct house *h = *state;
  struct visitor v = {0};
  char id[STORE_ID_LEN + 1];
  put_idle(h, 1, 100);
  put_idle(h, 2, 100);
  caller_id(id, 0x5e55, 2);
  join_open(h->st->workers[0], "ann", id, seated, &v);
  settle(h);
  erasure_idle(h->erasure, 500, 1000);
  settle(h);
  assert_int_equal(stored_of(h, "ann"), 1);
  int code;
  commit(h, 0, saying(v.session, "still here"), &code);
  settle(h);
  assert_int_equal(code, 0);
  session_unref(v.session);
}

/* It came into memory behind the back of the store's question. */
static void one_that_was_opened_just_then_does_not_come_back(void **state) {
  struct house *h = *state;
  struct session_record r = {.user_id = "ann"};
  struct session *s;
  put_idle(h, 1, 100);
  caller_id(r.id, 0x5e55, 1);
  erasure_idle(h->erasure, 500, 1000);
  stage_wait(h->st); /* erased; the main thread does not know yet */
  assert_int_equal(sessions_enter(h->st->sessions, &r, 1, stage_home(h->st, 0), 0, &s), 0);
  struct conn *c = stage_member(h->st, s, "ann", 0);
  settle(h);
  const char *reason;
  assert_int_equal(conn_closing(c, &reason), CLOSE_TRY_LATER);
  int code;
  struct effects *e = saying(s, "back");
  assert_int_equal(effects_set_text(e, EFFECTS_NAME, "back"), 0);
  commit(h, 0, e, &code);
  settle(h);
  assert_int_equal(code, E_GONE);
  assert_int_equal(stored_of(h, "ann"), 0);
  stage_leave(s, c);
  session_unref(s);
}

#define HOUSE(test) cmocka_unit_test_setup_teardown(test, house_open, house_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    HOUSE(what_is_stored_and_what_is_on_its_way_goes),
    HOUSE(a_handler_that_goes_on_later_stores_nothing),
    HOUSE(it_waits_until_every_worker_has_had_its_turn),
    HOUSE(its_people_are_sent_away_and_nobody_else),
    HOUSE(nobody_joins_what_is_erased),
    HOUSE(the_user_comes_in_again_when_it_is_over_and_not_before),
    HOUSE(what_was_read_before_does_not_come_back),
    HOUSE(one_at_a_time),
    HOUSE(a_store_that_refuses_is_told_and_the_user_may_come_in),
    HOUSE(old_conversations_go_step_by_step_until_none_is_left),
    HOUSE(one_that_is_in_memory_stays),
    HOUSE(one_that_was_opened_just_then_does_not_come_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
