/* What core/base/id.c promises: ids that nobody can guess and nobody gets twice. */
#include "id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, IDS = 5000 };

static void an_id_is_32_lower_case_hex_digits(void **state) {
  (void)state;
  for (int i = 0; i < 1000; i++) {
    char id[ID_LEN + 1];
    memset(id, 'x', sizeof id);
    id_new(id);
    assert_int_equal(strlen(id), 32);
    assert_int_equal(strspn(id, "0123456789abcdef"), 32);
    assert_true(id_valid(id));
  }
}

static void what_has_not_the_form_is_no_id(void **state) {
  (void)state;
  assert_true(id_valid("0123456789abcdef0123456789abcdef"));
  assert_false(id_valid(""));
  assert_false(id_valid("0123456789abcdef0123456789abcde"));
  assert_false(id_valid("0123456789abcdef0123456789abcdef0"));
  assert_false(id_valid("0123456789abcdef0123456789abcdefg"));
  assert_false(id_valid("0123456789ABCDEF0123456789ABCDEF"));
  assert_false(id_valid("0123456789abcdef0123456789abcdeg"));
  assert_false(id_valid("01234567-89ab-cdef-0123-456789abcdef"));
  assert_false(id_valid(" 0123456789abcdef0123456789abcde"));
}

/* Every digit of every place turns up about as often as any other: 5,000 draws, 312 expected, 8 deviations allowed. */
static void all_digits_are_as_likely(void **state) {
  (void)state;
  static int seen[ID_LEN][16];
  for (int i = 0; i < IDS; i++) {
    char id[ID_LEN + 1];
    id_new(id);
    for (int k = 0; k < ID_LEN; k++)
      seen[k][id[k] <= '9' ? id[k] - '0' : id[k] - 'a' + 10]++;
  }
  for (int k = 0; k < ID_LEN; k++)
    for (int d = 0; d < 16; d++)
      assert_in_range(seen[k][d], 312 - 8 * 17, 312 + 8 * 17);
}

static int by_text(const void *a, const void *b) {
  return strcmp(a, b);
}

static void an_id_with_a_time_begins_with_it_and_sorts_by_it(void **state) {
  (void)state;
  char early[ID_LEN + 1], late[ID_LEN + 1], twin[ID_LEN + 1];
  id_new_at(1700000000000, early);
  id_new_at(1700000000001, late);
  id_new_at(1700000000001, twin);
  assert_true(id_valid(early));
  assert_memory_equal(early, "018bcfe56800", 12);
  assert_memory_equal(late, "018bcfe56801", 12);
  assert_true(strcmp(early, late) < 0);
  assert_string_not_equal(late, twin);
  char(*ids)[ID_LEN + 1] = calloc(IDS, ID_LEN + 1);
  for (int i = 0; i < IDS; i++)
    id_new_at(1700000000000, ids[i]);
  qsort(ids, IDS, ID_LEN + 1, by_text);
  for (int i = 1; i < IDS; i++)
    assert_string_not_equal(ids[i - 1], ids[i]);
  free(ids);
}

static void *draw(void *arg) {
  char(*ids)[ID_LEN + 1] = arg;
  for (int i = 0; i < IDS; i++)
    id_new(ids[i]);
  return NULL;
}

static void no_id_comes_twice_on_one_thread_or_on_many(void **state) {
  (void)state;
  char(*ids)[ID_LEN + 1] = calloc(THREADS * IDS, ID_LEN + 1);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, draw, ids + i * IDS), 0);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  qsort(ids, THREADS * IDS, ID_LEN + 1, by_text);
  for (int i = 1; i < THREADS * IDS; i++)
    assert_string_not_equal(ids[i - 1], ids[i]);
  free(ids);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_id_is_32_lower_case_hex_digits),
    cmocka_unit_test(what_has_not_the_form_is_no_id),
    cmocka_unit_test(all_digits_are_as_likely),
    cmocka_unit_test(an_id_with_a_time_begins_with_it_and_sorts_by_it),
    cmocka_unit_test(no_id_comes_twice_on_one_thread_or_on_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
