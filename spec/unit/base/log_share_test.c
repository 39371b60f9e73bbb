/* What core/base/log_share.c promises: one script's lines never cost another's, what was left out is counted and told
 * once, and there are never more accounts than there may be. */
#include "log_share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

static const struct bucket_rate rate = {.per_s = 10, .burst_ms = 1000};

static int setup(void **state) {
  *state = log_shares_new(&rate, 3);
  return !*state;
}

static int teardown(void **state) {
  log_shares_free(*state);
  return 0;
}

static unsigned taken(struct log_shares *l, const char *name, unsigned tries, uint64_t now_ms) {
  unsigned n = 0;
  for (unsigned i = 0; i < tries; i++)
    n += log_shares_take(l, name, now_ms);
  return n;
}

static char said[256];
static void say(void *arg, const char *name, uint64_t left_out) {
  (void)arg;
  size_t len = strlen(said);
  snprintf(said + len, sizeof said - len, "%s:%d ", name, (int)left_out);
}

static const char *tells(struct log_shares *l) {
  said[0] = '\0';
  log_shares_tell(l, say, NULL);
  return said;
}

static void each_has_its_own_rate(void **state) {
  struct log_shares *l = *state;
  assert_int_equal(taken(l, "a.lua", 1000, 5000), 10);
  assert_int_equal(taken(l, "b.lua", 5, 5000), 5);
  assert_int_equal(taken(l, "a.lua", 1000, 5500), 5);
}

static void what_was_left_out_is_told_once(void **state) {
  struct log_shares *l = *state;
  assert_string_equal(tells(l), "");
  (void)taken(l, "a.lua", 13, 5000);
  (void)taken(l, "b.lua", 11, 5000);
  (void)taken(l, "c.lua", 1, 5000);
  assert_string_equal(tells(l), "a.lua:3 b.lua:1 ");
  assert_string_equal(tells(l), "");
}

static void beyond_the_bound_they_share_one(void **state) {
  struct log_shares *l = *state;
  char name[300];
  for (unsigned i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "script-%u.lua", i);
    (void)taken(l, name, 1, 5000);
  }
  assert_string_equal(tells(l), "(others):87 ");
  memset(name, 'x', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  assert_int_equal(taken(l, name, 1, 5000), 0);
}

enum { THREADS = 4, LINES = 50000 };

static void *write_lines(void *arg) {
  return (void *)(uintptr_t)taken(arg, "a.lua", LINES, 5000);
}

static void whichever_thread_writes_each_line_is_counted_once(void **state) {
  struct log_shares *l = *state;
  pthread_t threads[THREADS];
  uintptr_t written = 0;
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_lines, l), 0);
  for (int i = 0; i < THREADS; i++) {
    void *n;
    pthread_join(threads[i], &n);
    written += (uintptr_t)n;
  }
  assert_int_equal(written, 10);
  assert_string_equal(tells(l), "a.lua:199990 ");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
    TEST(each_has_its_own_rate),
    TEST(what_was_left_out_is_told_once),
    TEST(beyond_the_bound_they_share_one),
    TEST(whichever_thread_writes_each_line_is_counted_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
