/* In: threads that keep and break the rule of one lock at a time. Out: the promise that breaking it aborts at once.
 * Why: the rule is what makes a lock order unnecessary; a check that does not fire would let deadlocks in. */
#include "lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct lock one, two;
static struct rwlock shared;

/* Whether act, in a process of its own, ends in abort(). */
static int aborts(void (*act)(void)) {
  pid_t child = fork();
  if (child == 0) {
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);
    act();
    _exit(0);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void take_two(void) NO_THREAD_SAFETY_ANALYSIS {
  lock_acquire(&one);
  lock_acquire(&two);
}

static void take_the_same_twice(void) NO_THREAD_SAFETY_ANALYSIS {
  lock_acquire(&one);
  lock_acquire(&one);
}

static void read_twice(void) NO_THREAD_SAFETY_ANALYSIS {
  rwlock_read(&shared);
  rwlock_read(&shared);
}

static void write_under_a_lock(void) NO_THREAD_SAFETY_ANALYSIS {
  lock_acquire(&one);
  rwlock_write(&shared);
}

static void release_what_is_free(void) NO_THREAD_SAFETY_ANALYSIS {
  lock_release(&one);
}

static void release_another(void) NO_THREAD_SAFETY_ANALYSIS {
  lock_acquire(&one);
  lock_release(&two);
}

static void one_after_the_other(void) {
  lock_acquire(&one);
  lock_release(&one);
  lock_acquire(&two);
  lock_release(&two);
  rwlock_read(&shared);
  rwlock_read_release(&shared);
  rwlock_write(&shared);
  rwlock_write_release(&shared);
}

static void a_second_lock_aborts_in_debug_builds(void **state) {
  (void)state;
#ifdef NDEBUG
  skip(); /* the check is compiled out */
#endif
  assert_true(aborts(take_two));
  assert_true(aborts(take_the_same_twice));
  assert_true(aborts(read_twice));
  assert_true(aborts(write_under_a_lock));
}

static void releasing_what_is_not_held_aborts_in_debug_builds(void **state) {
  (void)state;
#ifdef NDEBUG
  skip();
#endif
  assert_true(aborts(release_what_is_free));
  assert_true(aborts(release_another));
}

static void one_lock_after_the_other_is_fine(void **state) {
  (void)state;
  assert_false(aborts(one_after_the_other));
}

static void a_thread_knows_whether_it_holds_a_lock(void **state) {
  (void)state;
#ifdef NDEBUG
  skip();
#endif
  assert_false(lock_held());
  lock_acquire(&one);
  assert_true(lock_held());
  lock_release(&one);
  assert_false(lock_held());
  rwlock_read(&shared);
  assert_true(lock_held());
  rwlock_read_release(&shared);
  assert_false(lock_held());
}

static void *held_elsewhere(void *arg) {
  *(int *)arg = lock_held();
  lock_acquire(&two); /* another thread's lock is not ours */
  lock_release(&two);
  return NULL;
}

static void what_one_thread_holds_does_not_count_for_another(void **state) {
  (void)state;
  pthread_t other;
  int held = 1;
  lock_acquire(&one);
  assert_int_equal(pthread_create(&other, NULL, held_elsewhere, &held), 0);
  assert_int_equal(pthread_join(other, NULL), 0);
  lock_release(&one);
  assert_false(held);
}

enum { ROUNDS = 20000 };
static long counted GUARDED_BY(one), written GUARDED_BY(shared);

static void *count(void *arg) {
  (void)arg;
  for (int i = 0; i < ROUNDS; i++) {
    lock_acquire(&one);
    counted++;
    lock_release(&one);
    rwlock_write(&shared);
    written++;
    rwlock_write_release(&shared);
  }
  return NULL;
}

static void locks_exclude_other_threads(void **state) {
  (void)state;
  pthread_t others[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&others[i], NULL, count, NULL), 0);
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_join(others[i], NULL), 0);
  lock_acquire(&one);
  long mutexed = counted;
  lock_release(&one);
  rwlock_read(&shared);
  long rwlocked = written;
  rwlock_read_release(&shared);
  assert_int_equal(mutexed, 4 * ROUNDS);
  assert_int_equal(rwlocked, 4 * ROUNDS);
}

static pthread_barrier_t both_read;

static void *read_together(void *arg) {
  (void)arg;
  rwlock_read(&shared);
  pthread_barrier_wait(&both_read); /* would wait for ever if readers shut each other out */
  rwlock_read_release(&shared);
  return NULL;
}

static void readers_share(void **state) {
  (void)state;
  pthread_t other;
  assert_int_equal(pthread_barrier_init(&both_read, NULL, 2), 0);
  assert_int_equal(pthread_create(&other, NULL, read_together, NULL), 0);
  read_together(NULL);
  assert_int_equal(pthread_join(other, NULL), 0);
  pthread_barrier_destroy(&both_read);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_second_lock_aborts_in_debug_builds),
    cmocka_unit_test(releasing_what_is_not_held_aborts_in_debug_builds),
    cmocka_unit_test(one_lock_after_the_other_is_fine),
    cmocka_unit_test(a_thread_knows_whether_it_holds_a_lock),
    cmocka_unit_test(what_one_thread_holds_does_not_count_for_another),
    cmocka_unit_test(locks_exclude_other_threads),
    cmocka_unit_test(readers_share),
  };
  lock_init(&one);
  lock_init(&two);
  rwlock_init(&shared);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  rwlock_deinit(&shared);
  lock_deinit(&two);
  lock_deinit(&one);
  return failed;
}
