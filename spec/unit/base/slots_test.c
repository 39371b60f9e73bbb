/* In: takers of places, alone and many at once. Out: the promise that neither bound is ever passed and none leaks.
 * Why: a place that is not given back locks a user out until the next start. */
#include "slots.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int take(struct slots *s, const char *key) {
  return slots_take(s, key, strlen(key));
}

static void give(struct slots *s, const char *key) {
  slots_give(s, key, strlen(key));
}

static void a_key_has_so_many_and_no_more(void **state) {
  (void)state;
  struct slots *s = slots_new(2, 10);
  assert_int_equal(take(s, "ann"), 0);
  assert_int_equal(take(s, "ann"), 0);
  assert_int_equal(take(s, "ann"), E_LIMITED);
  assert_int_equal(take(s, "bob"), 0);
  assert_int_equal(slots_total(s), 3);
  slots_free(s);
}

static void the_total_holds_for_all_keys_together(void **state) {
  (void)state;
  struct slots *s = slots_new(2, 3);
  assert_int_equal(take(s, "ann"), 0);
  assert_int_equal(take(s, "ann"), 0);
  assert_int_equal(take(s, "bob"), 0);
  assert_int_equal(take(s, "bob"), E_FULL);
  assert_int_equal(take(s, "cyd"), E_FULL);
  assert_int_equal(take(s, "ann"), E_LIMITED); /* what the user can mend himself is named first */
  assert_int_equal(slots_total(s), 3);
  slots_free(s);
}

static void a_slot_given_back_can_be_taken_again(void **state) {
  (void)state;
  struct slots *s = slots_new(1, 1);
  for (int i = 0; i < 100; i++) {
    assert_int_equal(take(s, "ann"), 0);
    assert_int_equal(take(s, "ann"), E_LIMITED);
    assert_int_equal(take(s, "bob"), E_FULL);
    give(s, "ann");
    assert_int_equal(slots_total(s), 0);
  }
  slots_free(s);
}

static void keys_that_share_a_chain_are_kept_apart(void **state) {
  (void)state;
  struct slots *s = slots_new(1, 3); /* four chains: keys are bound to meet among so many rounds */
  for (int i = 0; i < 1000; i++) {
    char a[16], b[16], c[16];
    snprintf(a, sizeof a, "a%d", i);
    snprintf(b, sizeof b, "b%d", i);
    snprintf(c, sizeof c, "c%d", i);
    assert_int_equal(take(s, a), 0);
    assert_int_equal(take(s, b), 0);
    assert_int_equal(take(s, c), 0);
    give(s, b);
    assert_int_equal(take(s, a), E_LIMITED);
    assert_int_equal(take(s, c), E_LIMITED);
    give(s, a);
    give(s, c);
  }
  assert_int_equal(slots_total(s), 0);
  slots_free(s);
}

static void keys_are_bytes_with_a_length(void **state) {
  (void)state;
  struct slots *s = slots_new(1, 10);
  assert_int_equal(slots_take(s, "a\0b", 3), 0);
  assert_int_equal(slots_take(s, "a\0c", 3), 0);
  assert_int_equal(slots_take(s, "a", 1), 0);
  assert_int_equal(slots_take(s, "", 0), 0);
  assert_int_equal(slots_take(s, "a\0b", 3), E_LIMITED);
  slots_free(s);
}

static void giving_back_what_was_not_taken_aborts_in_debug_builds(void **state) {
  (void)state;
#ifdef NDEBUG
  skip();
#endif
  struct slots *s = slots_new(1, 1);
  pid_t child = fork();
  if (child == 0) {
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    fclose(stderr);
    give(s, "nobody");
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  slots_free(s);
}

enum { THREADS = 4, ROUNDS = 5000 };
static atomic_int held, most;

static void *take_and_give(void *arg) {
  struct slots *s = arg;
  for (int i = 0; i < ROUNDS; i++) {
    char key[16];
    snprintf(key, sizeof key, "k%d", i % 5);
    if (take(s, key) != 0)
      continue;
    int now = atomic_fetch_add(&held, 1) + 1, seen = atomic_load(&most);
    while (seen < now && !atomic_compare_exchange_weak(&most, &seen, now))
      ;
    atomic_fetch_sub(&held, 1);
    give(s, key);
  }
  return NULL;
}

static void the_bounds_hold_for_many_threads(void **state) {
  (void)state;
  struct slots *s = slots_new(2, 3);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, s), 0);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_in_range(atomic_load(&most), 1, 3);
  assert_int_equal(slots_total(s), 0);
  slots_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_key_has_so_many_and_no_more),
    cmocka_unit_test(the_total_holds_for_all_keys_together),
    cmocka_unit_test(a_slot_given_back_can_be_taken_again),
    cmocka_unit_test(keys_that_share_a_chain_are_kept_apart),
    cmocka_unit_test(keys_are_bytes_with_a_length),
    cmocka_unit_test(giving_back_what_was_not_taken_aborts_in_debug_builds),
    cmocka_unit_test(the_bounds_hold_for_many_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
