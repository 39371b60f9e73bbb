/* In: threads. Out: which signals they take. Why: see core/base/thread.h. */
#include "thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>

static void *look_at_mask(void *arg) {
  pthread_sigmask(SIG_BLOCK, NULL, arg);
  return NULL;
}

static void test_a_thread_leaves_the_signals_of_the_process_to_others(void **state) {
  (void)state;
  pthread_t id;
  sigset_t mask;
  assert_int_equal(thread_start(&id, look_at_mask, &mask), 0);
  pthread_join(id, NULL);
  int of_process[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCHLD, SIGUSR1};
  for (size_t i = 0; i < sizeof of_process / sizeof *of_process; i++) {
    assert_true(sigismember(&mask, of_process[i]));
  }
}

static void test_a_thread_takes_its_own_faults_and_what_is_sent_to_it_alone(void **state) {
  (void)state;
  pthread_t id;
  sigset_t mask;
  assert_int_equal(thread_start(&id, look_at_mask, &mask), 0);
  pthread_join(id, NULL);
  int its_own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGURG, SIGRTMIN + 1};
  for (size_t i = 0; i < sizeof its_own / sizeof *its_own; i++) {
    assert_false(sigismember(&mask, its_own[i]));
  }
}

static void test_who_starts_one_keeps_its_own_mask(void **state) {
  (void)state;
  pthread_t id;
  sigset_t before, after, mask;
  pthread_sigmask(SIG_BLOCK, NULL, &before);
  assert_int_equal(thread_start(&id, look_at_mask, &mask), 0);
  pthread_join(id, NULL);
  pthread_sigmask(SIG_BLOCK, NULL, &after);
  assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
  assert_false(sigismember(&after, SIGTERM));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_a_thread_leaves_the_signals_of_the_process_to_others),
    cmocka_unit_test(test_a_thread_takes_its_own_faults_and_what_is_sent_to_it_alone),
    cmocka_unit_test(test_who_starts_one_keeps_its_own_mask),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
