/* In: connections of a few addresses, and who of them spoke when. Out: the promise that at the bound of an address its
 * most silent connection makes room, that no other address notices, and that who has left is not remembered. */
#include "fake_client.h"

#include "crowd.h"
#include "mailbox.h"

#include <pthread.h>

static struct mailbox *home;

static int open_home(void **state) {
  (void)state;
  home = mailbox_new(client_never_woken, NULL);
  return home == NULL;
}

static int close_home(void **state) {
  (void)state;
  mailbox_free(home);
  return 0;
}

static struct conn *who_spoke_at(uint64_t ms) {
  struct conn *c = client_new(home, "ann");
  conn_set_active_ms(c, ms);
  return c;
}

static void at_the_bound_the_most_silent_one_goes_and_the_newcomer_stays(void **state) {
  (void)state;
  struct crowd *w = crowd_new(3);
  struct conn *c[5], *gone;
  const uint64_t spoke[] = {30, 10, 20, 40, 50};
  for (int i = 0; i < 3; i++) {
    c[i] = who_spoke_at(spoke[i]);
    assert_int_equal(crowd_join(w, "192.0.2.1", c[i], &gone), 0);
    assert_null(gone);
  }
  struct conn *other = who_spoke_at(1);
  assert_int_equal(crowd_join(w, "192.0.2.2", other, &gone), 0);
  assert_null(gone); /* another address has its own bound */
  c[3] = who_spoke_at(spoke[3]);
  assert_int_equal(crowd_join(w, "192.0.2.1", c[3], &gone), 0);
  assert_ptr_equal(gone, c[1]);
  conn_unref(gone);
  conn_set_active_ms(c[2], 60); /* it has said something meanwhile */
  c[4] = who_spoke_at(spoke[4]);
  assert_int_equal(crowd_join(w, "192.0.2.1", c[4], &gone), 0);
  assert_ptr_equal(gone, c[0]);
  conn_unref(gone);
  assert_int_equal(crowd_count(w, "192.0.2.1"), 3);
  for (int i = 0; i < 5; i++) {
    crowd_leave(w, c[i]); /* who had to go leaves once more, when its socket closes */
    client_gone(c[i]);
  }
  crowd_leave(w, other);
  client_gone(other);
  assert_int_equal(crowd_count(w, "192.0.2.1"), 0);
  assert_int_equal(crowd_count(w, "192.0.2.2"), 0);
  crowd_free(w);
}

static void the_oldest_that_may_be_replaced_is_given_once(void **state) {
  (void)state;
  struct crowd *w = crowd_new(SIZE_MAX);
  struct conn *c[4], *gone;
  for (int i = 0; i < 4; i++) {
    c[i] = who_spoke_at(100 - (uint64_t)i); /* who spoke when does not matter */
    assert_int_equal(crowd_join(w, i < 3 ? "ann" : "bob", c[i], &gone), 0);
  }
  assert_null(crowd_take_oldest(w, "ann"));
  assert_null(crowd_take_oldest(w, "nobody"));
  for (int i = 1; i < 4; i++)
    conn_set_replaceable(c[i]);
  for (int i = 1; i < 3; i++) {
    gone = crowd_take_oldest(w, "ann");
    assert_ptr_equal(gone, c[i]);
    assert_true(conn_take_place(gone));
    assert_false(conn_take_place(gone)); /* its socket, when it closes, gives nothing back */
    conn_unref(gone);
  }
  assert_null(crowd_take_oldest(w, "ann"));
  assert_int_equal(crowd_count(w, "ann"), 1);
  for (int i = 0; i < 4; i++) {
    crowd_leave(w, c[i]);
    client_gone(c[i]);
  }
  crowd_free(w);
}

static void a_bound_of_one_is_the_newest_connection(void **state) {
  (void)state;
  struct crowd *w = crowd_new(1);
  struct conn *before = who_spoke_at(9), *gone;
  assert_int_equal(crowd_join(w, "a", before, &gone), 0);
  for (int i = 0; i < 10; i++) {
    struct conn *c = who_spoke_at(1);
    assert_int_equal(crowd_join(w, "a", c, &gone), 0);
    assert_ptr_equal(gone, before);
    conn_unref(gone);
    client_gone(before);
    before = c;
  }
  crowd_leave(w, before);
  client_gone(before);
  crowd_free(w);
}

enum { THREADS = 4, ROUNDS = 3000 };

static void *come_and_go(void *arg) {
  struct crowd *w = arg;
  for (int i = 0; i < ROUNDS; i++) {
    struct conn *c = who_spoke_at((uint64_t)i), *gone;
    if (crowd_join(w, i % 2 ? "a" : "b", c, &gone))
      abort();
    conn_unref(gone);
    conn_set_active_ms(c, (uint64_t)i + 1);
    crowd_leave(w, c);
    client_gone(c);
  }
  return NULL;
}

static void many_threads_leave_nobody_behind(void **state) {
  (void)state;
  struct crowd *w = crowd_new(2);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, w), 0);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  assert_int_equal(crowd_count(w, "a"), 0);
  assert_int_equal(crowd_count(w, "b"), 0);
  crowd_free(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(at_the_bound_the_most_silent_one_goes_and_the_newcomer_stays),
    cmocka_unit_test(the_oldest_that_may_be_replaced_is_given_once),
    cmocka_unit_test(a_bound_of_one_is_the_newest_connection),
    cmocka_unit_test(many_threads_leave_nobody_behind),
  };
  return cmocka_run_group_tests(tests, open_home, close_home);
}
