/* What core/chat/conn_turn.c promises: what came behind a refused message waits until that one comes again, and nothing
 * waits for what cannot come again. */
#include "fake_client.h"

#include "err.h"

#include <pthread.h>
#include <stdatomic.h>

static uint64_t now; /* of the clock */

static int open_client(void **state) {
  now = 1000;
  *state = client_new(mailbox_new(client_never_woken, NULL), "ann");
  return 0;
}

static int close_client(void **state) {
  struct mailbox *mailbox = conn_home(*state);
  client_gone(*state);
  mailbox_free(mailbox);
  return 0;
}

static struct conn_refusal of(const char *cid, int code) {
  return conn_refusal_of(cid, strlen(cid), code, 70, now);
}

/* The code of what it has to wait for; 0: nothing. */
static int waits(struct conn *c, const char *cid) {
  struct conn_refusal why = {.code = -1};
  return conn_waits(c, cid, now, &why) ? why.code : 0;
}

static void what_came_behind_it_waits_until_it_comes_again(void **state) {
  struct conn_refusal why;
  assert_int_equal(waits(*state, "b"), 0);
  conn_hold(*state, of("a", E_LIMITED), now);
  assert_true(conn_waits(*state, "b", now, &why));
  assert_int_equal(why.code, E_LIMITED);
  assert_int_equal(why.wait_ms, 70);
  assert_int_equal(waits(*state, NULL), E_LIMITED);
  assert_int_equal(waits(*state, "a"), 0);
  conn_came(*state, "b");
  conn_came(*state, NULL);
  assert_int_equal(waits(*state, "b"), E_LIMITED);
  conn_came(*state, "a");
  assert_int_equal(waits(*state, "b"), 0);
}

static void of_two_the_first_is_waited_for(void **state) {
  conn_hold(*state, of("a", E_FULL), now);
  conn_hold(*state, of("b", E_STORE), now);
  assert_int_equal(waits(*state, "b"), E_FULL);
  assert_int_equal(waits(*state, "a"), 0);
}

static void refused_again_it_says_the_newest_reason(void **state) {
  conn_hold(*state, of("a", E_FULL), now);
  conn_hold(*state, of("a", E_LIMITED), now);
  assert_int_equal(waits(*state, "b"), E_LIMITED);
}

static void for_one_without_a_cid_nobody_waits(void **state) {
  conn_hold(*state, conn_refusal_of(NULL, 0, E_FULL, 0, now), now);
  assert_int_equal(waits(*state, "b"), 0);
  assert_int_equal(waits(*state, NULL), 0);
}

static void what_is_put_off_travels_once_and_of_several_the_first(void **state) {
  conn_put_off(*state, conn_refusal_of(NULL, 0, E_FULL, 0, now));
  conn_put_off(*state, of("a", E_LIMITED));
  conn_put_off(*state, of("b", E_FULL));
  assert_int_equal(waits(*state, "c"), 0);
  struct conn_refusal why = conn_take_put_off(*state);
  assert_int_equal(why.cid, of("a", 0).cid);
  assert_int_equal(why.code, E_LIMITED);
  assert_int_equal(conn_take_put_off(*state).cid, 0);
}

static void nobody_waits_longer_than_its_sender_may_be_unaware_of_it(void **state) {
  struct conn_refusal why;
  conn_hold(*state, of("a", E_LIMITED), now);
  now += 69;
  assert_true(conn_waits(*state, "b", now, &why));
  assert_int_equal(why.wait_ms, 1); /* what is left of it */
  now += 1 + CONN_HOLD_MS;
  assert_true(conn_waits(*state, "b", now, &why));
  now++;
  assert_int_equal(waits(*state, "b"), 0);
  struct conn_refusal old = of("x", E_FULL);
  now += 70 + CONN_HOLD_MS + 1;
  conn_hold(*state, old, now); /* it was on its way too long */
  assert_int_equal(waits(*state, "b"), 0);
  conn_hold(*state, of("c", E_FULL), now); /* it is as if there had been none */
  assert_int_equal(waits(*state, "a"), E_FULL);
  now += 70 + CONN_HOLD_MS + 1;
  conn_hold(*state, of("d", E_STORE), now);
  assert_int_equal(waits(*state, "c"), E_STORE);
}

enum { ROUNDS = 20000 };
static atomic_bool done;

/* A worker refuses, takes it again, refuses another one, while the connection's own thread asks. */
static void *refuse_and_take(void *arg) {
  for (int i = 0; i < ROUNDS; i++) {
    const char *cid = i % 2 ? "a" : "another";
    conn_hold(arg, of(cid, i % 2 ? E_LIMITED : E_FULL), now);
    conn_came(arg, cid);
  }
  atomic_store(&done, true);
  return NULL;
}

static void what_is_waited_for_is_never_half_of_two_refusals(void **state) {
  pthread_t refuses;
  uint64_t limited = of("a", 0).cid, full = of("another", 0).cid;
  assert_int_equal(pthread_create(&refuses, NULL, refuse_and_take, *state), 0);
  while (!atomic_load(&done)) {
    struct conn_refusal why;
    if (conn_waits(*state, "b", now, &why)) {
      assert_true((why.cid == limited && why.code == E_LIMITED) || (why.cid == full && why.code == E_FULL));
    }
  }
  pthread_join(refuses, NULL);
  assert_int_equal(waits(*state, "b"), 0);
}

int main(void) {
#define ONE(name) cmocka_unit_test_setup_teardown(name, open_client, close_client)
  const struct CMUnitTest tests[] = {
    ONE(what_came_behind_it_waits_until_it_comes_again),
    ONE(of_two_the_first_is_waited_for),
    ONE(refused_again_it_says_the_newest_reason),
    ONE(for_one_without_a_cid_nobody_waits),
    ONE(nobody_waits_longer_than_its_sender_may_be_unaware_of_it),
    ONE(what_is_put_off_travels_once_and_of_several_the_first),
    ONE(what_is_waited_for_is_never_half_of_two_refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
