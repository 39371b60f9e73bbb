/* What core/chat/shared.c promises: small values that all workers see at once, each whole, that expire when they
 * should, and never more of them than the bounds say. */
#include "err.h"
#include "shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COST 64 /* of a key beside its bytes */

static int setup(void **state) {
  *state = shared_new(10, 10000);
  return *state == NULL;
}

static int teardown(void **state) {
  shared_free(*state);
  return 0;
}

static int set_bytes(struct shared *s, const char *key, const char *text, size_t len, uint64_t ttl_ms,
                     uint64_t now_ms) {
  struct shared_value v = {.type = SHARED_TEXT, .text = (char *)text, .len = len};
  return shared_set(s, "me", key, strlen(key), &v, ttl_ms, now_ms);
}

static int set(struct shared *s, const char *key, const char *text, uint64_t ttl_ms, uint64_t now_ms) {
  return set_bytes(s, key, text, strlen(text), ttl_ms, now_ms);
}

static int drop(struct shared *s, const char *key) {
  struct shared_value none = {.type = SHARED_NONE};
  return shared_set(s, "me", key, strlen(key), &none, 0, 0);
}

static int add(struct shared *s, const char *key, double n, uint64_t ttl_ms, uint64_t now_ms, double *sum) {
  return shared_add(s, "me", key, strlen(key), n, ttl_ms, now_ms, sum);
}

/* text NULL: it is not there. */
static void assert_holds(struct shared *s, const char *key, const char *text, uint64_t now_ms) {
  struct shared_value v;
  assert_int_equal(shared_get(s, key, strlen(key), now_ms, &v), 0);
  assert_int_equal(v.type, text ? SHARED_TEXT : SHARED_NONE);
  if (text) {
    assert_int_equal(v.len, strlen(text));
    assert_string_equal(v.text, text);
    free(v.text);
  }
}

static void a_value_comes_back_as_it_was_set(void **state) {
  struct shared *s = *state;
  struct shared_value v = {.type = SHARED_NUMBER, .number = 1.5};
  assert_int_equal(set_bytes(s, "text", "a\0b", 3, 0, 0), 0);
  assert_int_equal(shared_set(s, "me", "number", 6, &v, 0, 0), 0);
  v = (struct shared_value){.type = SHARED_BOOL, .number = 1};
  assert_int_equal(shared_set(s, "me", "bool", 4, &v, 0, 0), 0);
  assert_int_equal(shared_get(s, "text", 4, 0, &v), 0);
  assert_int_equal(v.type, SHARED_TEXT);
  assert_int_equal(v.len, 3);
  assert_memory_equal(v.text, "a\0b", 4);
  free(v.text);
  assert_int_equal(shared_get(s, "number", 6, 0, &v), 0);
  assert_int_equal(v.type, SHARED_NUMBER);
  assert_true(v.number == 1.5);
  assert_null(v.text);
  assert_int_equal(shared_get(s, "bool", 4, 0, &v), 0);
  assert_int_equal(v.type, SHARED_BOOL);
  assert_true(v.number == 1);
  assert_holds(s, "tex", NULL, 0);
  assert_holds(s, "texts", NULL, 0);
}

static void a_key_is_bytes_and_bounded(void **state) {
  struct shared *s = *state;
  char key[SHARED_KEY_MAX + 1];
  double sum;
  struct shared_value v = {.type = SHARED_BOOL};
  memset(key, 'k', sizeof key);
  assert_int_equal(shared_set(s, "me", key, SHARED_KEY_MAX, &v, 0, 0), 0);
  assert_int_equal(shared_set(s, "me", key, SHARED_KEY_MAX + 1, &v, 0, 0), E_INVALID);
  assert_int_equal(shared_set(s, "me", key, 0, &v, 0, 0), E_INVALID);
  assert_int_equal(shared_add(s, "me", key, SHARED_KEY_MAX + 1, 1, 0, 0, &sum), E_INVALID);
  assert_int_equal(shared_add(s, "me", key, 0, 1, 0, 0, &sum), E_INVALID);
  assert_int_equal(shared_set(s, "me", "a\0b", 3, &v, 0, 0), 0);
  assert_int_equal(shared_get(s, "a\0c", 3, 0, &v), 0);
  assert_int_equal(v.type, SHARED_NONE);
}

static void a_new_value_takes_the_place_of_the_old_one(void **state) {
  struct shared *s = *state;
  assert_int_equal(set(s, "k", "one", 10, 0), 0);
  assert_int_equal(set(s, "k", "two", 0, 0), 0); /* and its time with it */
  assert_int_equal(shared_keys(s), 1);
  assert_holds(s, "k", "two", 1000);
}

static void what_is_deleted_is_gone(void **state) {
  struct shared *s = *state;
  assert_int_equal(set(s, "k", "x", 0, 0), 0);
  assert_int_equal(drop(s, "k"), 0);
  assert_holds(s, "k", NULL, 0);
  assert_int_equal(shared_keys(s), 0);
  assert_int_equal(drop(s, "k"), E_NOT_FOUND);
}

/* ---- time ---- */

static void a_value_is_there_until_its_time_is_over(void **state) {
  struct shared *s = *state;
  assert_int_equal(set(s, "k", "x", 100, 1000), 0);
  assert_int_equal(set(s, "forever", "x", 0, 1000), 0);
  assert_holds(s, "k", "x", 1099);
  assert_holds(s, "k", NULL, 1100);
  assert_holds(s, "forever", "x", UINT64_MAX);
  assert_int_equal(shared_keys(s), 1);
}

static void a_sweep_forgets_what_has_expired_and_nothing_else(void **state) {
  struct shared *s = *state;
  assert_int_equal(set(s, "a", "x", 10, 0), 0);
  assert_int_equal(set(s, "b", "x", 20, 0), 0);
  assert_int_equal(set(s, "c", "x", 0, 0), 0);
  shared_sweep(s, 9);
  assert_int_equal(shared_keys(s), 3);
  shared_sweep(s, 10);
  assert_int_equal(shared_keys(s), 2);
  shared_sweep(s, 1000000);
  assert_int_equal(shared_keys(s), 1);
  assert_holds(s, "c", "x", 0);
}

/* ---- counting ---- */

static void adding_counts_from_nought(void **state) {
  struct shared *s = *state;
  double sum;
  assert_int_equal(add(s, "n", 2, 0, 0, &sum), 0);
  assert_true(sum == 2);
  assert_int_equal(add(s, "n", 0.5, 0, 0, &sum), 0);
  assert_true(sum == 2.5);
  assert_int_equal(add(s, "n", -3, 0, 0, &sum), 0);
  assert_true(sum == -0.5);
}

static void the_time_of_a_count_is_that_of_its_first(void **state) {
  struct shared *s = *state;
  double sum;
  assert_int_equal(add(s, "n", 1, 100, 0, &sum), 0);
  assert_int_equal(add(s, "n", 1, 100, 99, &sum), 0);
  assert_true(sum == 2);
  assert_int_equal(add(s, "n", 1, 100, 100, &sum), 0);
  assert_true(sum == 1);
}

static void what_is_no_number_cannot_be_added_to(void **state) {
  struct shared *s = *state;
  double sum;
  assert_int_equal(set(s, "k", "7", 0, 0), 0);
  assert_int_equal(add(s, "k", 1, 0, 0, &sum), E_CONFLICT);
  assert_holds(s, "k", "7", 0);
}

/* ---- bounds ---- */

static void there_are_so_many_keys_and_no_more(void **state) {
  struct shared *s = *state;
  char key[8];
  double sum;
  for (int i = 0; i < 10; i++) {
    snprintf(key, sizeof key, "%d", i);
    assert_int_equal(set(s, key, "x", i == 3 ? 50 : 0, 0), 0);
  }
  assert_int_equal(set(s, "more", "x", 0, 0), E_FULL);
  assert_int_equal(add(s, "more", 1, 0, 0, &sum), E_FULL);
  assert_int_equal(set(s, "7", "y", 0, 0), 0);     /* what is there may change */
  assert_int_equal(set(s, "more", "x", 0, 50), 0); /* one has expired */
  assert_int_equal(set(s, "another", "x", 0, 50), E_FULL);
  assert_int_equal(drop(s, "7"), 0);
  assert_int_equal(set(s, "another", "x", 0, 50), 0);
  assert_int_equal(shared_keys(s), 10);
}

static void there_are_so_many_bytes_and_no_more(void **state) {
  struct shared *s = *state;
  static char text[10001];
  const size_t room = 10000 - 2 * (COST + 1);
  memset(text, 'x', sizeof text);
  assert_int_equal(set_bytes(s, "a", text, room / 2, 0, 0), 0);
  assert_int_equal(set_bytes(s, "b", text, room - room / 2 + 1, 0, 0), E_FULL);
  assert_int_equal(set_bytes(s, "b", text, room - room / 2, 0, 0), 0);
  assert_int_equal(set_bytes(s, "c", text, 0, 0, 0), E_FULL); /* even an empty one costs */
  assert_int_equal(set_bytes(s, "a", text, room / 2 + 1, 0, 0), E_FULL);
  assert_int_equal(set_bytes(s, "a", text, room / 2 - 1, 0, 0), 0); /* a smaller one gives back */
  assert_int_equal(set_bytes(s, "b", text, room - room / 2 + 1, 0, 0), 0);
  assert_int_equal(drop(s, "a"), 0);
  assert_int_equal(drop(s, "b"), 0);
  assert_int_equal(set_bytes(s, "whole", text, 10000 - COST - 5, 0, 0), 0);
  assert_int_equal(drop(s, "whole"), 0);
  assert_int_equal(set_bytes(s, "whole", text, 10001, 0, 0), E_FULL);
  assert_int_equal(shared_keys(s), 0);
}

static void what_does_not_fit_leaves_the_old_value(void **state) {
  struct shared *s = *state;
  static char text[10001];
  memset(text, 'x', sizeof text - 1);
  assert_int_equal(set(s, "k", "old", 0, 0), 0);
  assert_int_equal(set(s, "k", text, 0, 0), E_FULL);
  assert_holds(s, "k", "old", 0);
}

/* ---- many threads at once ---- */

enum { THREADS = 4, ROUNDS = 5000 };

static atomic_int torn;

/* Counts, and sets a text that is one letter over and over: a half one would show two. */
static void *count_and_write(void *arg) {
  struct shared *s = arg;
  static atomic_int letters;
  char letter = (char)('a' + atomic_fetch_add(&letters, 1)), text[65] = "";
  memset(text, letter, 64);
  for (int i = 0; i < ROUNDS; i++) {
    double sum;
    struct shared_value v;
    if (add(s, "n", 1, 0, 0, &sum) || set_bytes(s, "text", text, (size_t)(1 + i % 64), 0, 0))
      abort();
    if (shared_get(s, "text", 4, 0, &v))
      abort();
    if (v.type == SHARED_TEXT && (strlen(v.text) != v.len || strspn(v.text, (char[]){v.text[0], 0}) != v.len))
      atomic_fetch_add(&torn, 1);
    free(v.text);
    if (i % 16 == 0)
      (void)!drop(s, "text");
    if (i % 64 == 0)
      shared_sweep(s, 0);
  }
  return NULL;
}

static void many_threads_at_once_lose_no_count_and_see_no_half_value(void **state) {
  struct shared *s = *state;
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, count_and_write, s), 0);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  double sum;
  assert_int_equal(add(s, "n", 0, 0, 0, &sum), 0);
  assert_true(sum == THREADS * ROUNDS);
  assert_int_equal(torn, 0);
}

#define SHARED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static int set_of(struct shared *s, const char *of, const char *key, const char *text) {
  struct shared_value v = {.type = SHARED_TEXT, .text = (char *)text, .len = strlen(text)};
  return shared_set(s, of, key, strlen(key), &v, 0, 0);
}

static void one_script_does_not_fill_it_for_the_others(void **state) {
  struct shared *s = *state;
  double sum;
  shared_limit(s, 3, 1000);
  assert_int_equal(set_of(s, "a.lua", "1", "x"), 0);
  assert_int_equal(set_of(s, "a.lua", "2", "x"), 0);
  assert_int_equal(set_of(s, "a.lua", "3", "x"), 0);
  assert_int_equal(set_of(s, "a.lua", "4", "x"), E_FULL);
  assert_int_equal(shared_add(s, "a.lua", "5", 1, 1, 0, 0, &sum), E_FULL);
  assert_int_equal(set_of(s, "a.lua", "1", "another"), 0); /* in the place of one of its own */
  assert_int_equal(set_of(s, "b.lua", "4", "x"), 0);
  assert_int_equal(set_of(s, "a.lua", "4", "x"), E_FULL); /* it would be one more of its own */
  assert_int_equal(set_of(s, "b.lua", "1", "x"), 0);      /* and now it is */
  assert_int_equal(set_of(s, "a.lua", "6", "x"), 0);
  char large[901];
  memset(large, 'x', sizeof large - 1);
  large[sizeof large - 1] = '\0';
  assert_int_equal(set_of(s, "c.lua", "7", large), 0);
  assert_int_equal(set_of(s, "c.lua", "8", "not even this"), E_FULL);
  assert_int_equal(set_of(s, "c.lua", "7", "less"), 0);
  assert_int_equal(set_of(s, "c.lua", "8", "and now it fits"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    SHARED(a_value_comes_back_as_it_was_set),
    SHARED(a_key_is_bytes_and_bounded),
    SHARED(a_new_value_takes_the_place_of_the_old_one),
    SHARED(what_is_deleted_is_gone),
    SHARED(a_value_is_there_until_its_time_is_over),
    SHARED(a_sweep_forgets_what_has_expired_and_nothing_else),
    SHARED(adding_counts_from_nought),
    SHARED(the_time_of_a_count_is_that_of_its_first),
    SHARED(what_is_no_number_cannot_be_added_to),
    SHARED(there_are_so_many_keys_and_no_more),
    SHARED(there_are_so_many_bytes_and_no_more),
    SHARED(what_does_not_fit_leaves_the_old_value),
    SHARED(many_threads_at_once_lose_no_count_and_see_no_half_value),
    SHARED(one_script_does_not_fill_it_for_the_others),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
