/* In: users who come, spend, hold and go, under a clock that is turned by hand. Out: the promise that one's spending is
 * never another's, that coming back pays no debts, and that the table is bounded. */
#include "account.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct account_limits limits = {
  .work = {10, 1000}, .bytes = {1000, 1000}, .holds = {[ACCOUNT_INBOX] = 100, [ACCOUNT_TASKS] = 2}};

static struct account *open_(struct accounts *t, const char *key) {
  return accounts_open(t, key, strlen(key));
}

static void one_user_is_one_account_and_another_another(void **state) {
  (void)state;
  struct accounts *t = accounts_new(&limits, 10);
  struct account *ann = open_(t, "ann"), *again = open_(t, "ann"), *bob = open_(t, "bob");
  assert_ptr_equal(ann, again);
  assert_ptr_not_equal(ann, bob);
  assert_int_equal(accounts_count(t), 2);
  account_unref(ann);
  account_unref(again);
  account_unref(bob);
  accounts_free(t);
}

static void a_meter_is_held_back_by_the_emptiest_of_its_buckets_and_then_takes_from_none(void **state) {
  (void)state;
  struct accounts *t = accounts_new(&limits, 10), *addresses = accounts_new(&limits, 10);
  const struct account_limits own = {.work = {4, 1000}, .bytes = {1000, 1000}};
  struct meter first = {.own = &own, .user = open_(t, "ann"), .address = open_(addresses, "192.0.2.1")};
  struct meter second = {.own = &own, .user = open_(t, "ann")};
  struct meter bob = {.own = &own, .user = open_(t, "bob")};
  for (int i = 0; i < 4; i++)
    assert_int_equal(meter_spend(&first, 1, 10, 0), 0);
  assert_int_equal(meter_spend(&first, 1, 10, 0), 250); /* its own */
  for (int i = 0; i < 4; i++)
    assert_int_equal(meter_spend(&second, 1, 10, 0), 0);
  assert_int_equal(meter_spend(&second, 1, 10, 0), 250);
  assert_int_equal(meter_spend(&second, 1, 10, 250), 0);
  assert_int_equal(meter_spend(&second, 1, 1000, 5000), 0);
  assert_int_equal(meter_spend(&second, 1, 10, 5000), 10); /* bytes count for themselves */
  assert_int_equal(meter_spend(&bob, 4, 1000, 0), 0);      /* another user's are untouched */
  meter_deinit(&first);
  meter_deinit(&second);
  meter_deinit(&bob);
  accounts_free(t);
  accounts_free(addresses);
}

static void without_accounts_and_limits_there_is_no_bound(void **state) {
  (void)state;
  struct meter m = {0};
  assert_int_equal(meter_spend(&m, 1u << 30, 1u << 30, 0), 0);
  assert_int_equal(account_hold(NULL, ACCOUNT_INBOX, 1u << 30), 0);
  account_let_go(NULL, ACCOUNT_INBOX, 1u << 30);
  meter_deinit(&m);
}

static void what_is_held_is_bounded_and_a_single_thing_always_fits(void **state) {
  (void)state;
  struct accounts *t = accounts_new(&limits, 10);
  struct account *a = open_(t, "ann");
  assert_int_equal(account_hold(a, ACCOUNT_INBOX, 60), 0);
  assert_int_equal(account_hold(a, ACCOUNT_INBOX, 41), E_LIMITED);
  assert_int_equal(account_hold(a, ACCOUNT_INBOX, 40), 0);
  assert_int_equal(account_hold(a, ACCOUNT_TASKS, 1), 0); /* counted apart */
  account_let_go(a, ACCOUNT_INBOX, 100);
  assert_int_equal(account_hold(a, ACCOUNT_INBOX, 1000), 0);
  assert_int_equal(account_held(a, ACCOUNT_INBOX), 1000);
  account_let_go(a, ACCOUNT_INBOX, 1000);
  account_let_go(a, ACCOUNT_TASKS, 1);
  account_unref(a);
  accounts_free(t);
}

static void coming_back_pays_no_debts(void **state) {
  (void)state;
  struct accounts *t = accounts_new(&limits, 10);
  struct meter m = {.user = open_(t, "ann")};
  assert_int_equal(meter_spend(&m, 10, 0, 0), 0);
  meter_deinit(&m);
  assert_int_equal(accounts_sweep(t, 999), 0);
  m.user = open_(t, "ann");
  assert_int_equal(meter_spend(&m, 1, 0, 0), 100);
  assert_int_equal(accounts_sweep(t, 1000), 0); /* in use */
  meter_deinit(&m);
  assert_int_equal(accounts_sweep(t, 1000), 1);
  assert_int_equal(accounts_count(t), 0);
  accounts_free(t);
}

static void a_full_table_forgets_who_left_first_and_never_who_is_there(void **state) {
  (void)state;
  struct accounts *t = accounts_new(&limits, 3);
  struct account *ann = open_(t, "ann");
  account_unref(open_(t, "bob"));
  account_unref(open_(t, "cyd"));
  account_unref(open_(t, "bob")); /* back: now cyd left first */
  struct meter m = {.user = open_(t, "bob")};
  assert_int_equal(meter_spend(&m, 10, 0, 0), 0);
  meter_deinit(&m);
  struct account *dan = open_(t, "dan");
  assert_non_null(dan);
  m.user = open_(t, "bob");
  assert_int_equal(meter_spend(&m, 1, 0, 0), 100); /* he is known still */
  assert_null(open_(t, "eve"));                    /* all three are there */
  assert_int_equal(accounts_count(t), 3);
  meter_deinit(&m);
  account_unref(ann);
  account_unref(dan);
  accounts_free(t);
}

enum { THREADS = 4, ROUNDS = 5000 };

static void *come_and_go(void *arg) {
  struct accounts *t = arg;
  char key[8];
  for (int i = 0; i < ROUNDS; i++) {
    snprintf(key, sizeof key, "u%d", i % 5);
    struct meter m = {.user = open_(t, key)};
    if (m.user == NULL || account_hold(m.user, ACCOUNT_TASKS, 0))
      return t;
    meter_spend(&m, 1, 1, (uint64_t)i);
    meter_deinit(&m);
    if (i % 64 == 0)
      accounts_sweep(t, (uint64_t)i);
  }
  return NULL;
}

static void many_threads_leave_nothing_behind(void **state) {
  (void)state;
  struct accounts *t = accounts_new(&limits, 10);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, t), 0);
  for (int i = 0; i < THREADS; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    assert_null(failed);
  }
  accounts_sweep(t, 1u << 30);
  assert_int_equal(accounts_count(t), 0);
  accounts_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(one_user_is_one_account_and_another_another),
    cmocka_unit_test(a_meter_is_held_back_by_the_emptiest_of_its_buckets_and_then_takes_from_none),
    cmocka_unit_test(without_accounts_and_limits_there_is_no_bound),
    cmocka_unit_test(what_is_held_is_bounded_and_a_single_thing_always_fits),
    cmocka_unit_test(coming_back_pays_no_debts),
    cmocka_unit_test(a_full_table_forgets_who_left_first_and_never_who_is_there),
    cmocka_unit_test(many_threads_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
