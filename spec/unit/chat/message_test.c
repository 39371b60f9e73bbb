/* In: messages shared by many holders. Out: the promise that the bytes stay until the last holder lets go, and no
 * longer. Why: a fan-out hands the same block to several threads; a wrong count is a use after free. The sanitizer
 * builds see leaks and double frees here. */
#include "message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

static void a_message_is_a_copy_of_its_text(void **state) {
  (void)state;
  char text[] = "h\0llo";
  struct message *m = message_new(text, 5);
  assert_non_null(m);
  memset(text, 'x', sizeof text);
  assert_int_equal(m->len, 5);
  assert_memory_equal(m->text, "h\0llo", 5);
  message_unref(m);
}

static void an_empty_message_is_a_message(void **state) {
  (void)state;
  struct message *m = message_new(NULL, 0);
  assert_non_null(m);
  assert_int_equal(m->len, 0);
  message_unref(m);
}

static void a_length_that_wraps_is_refused(void **state) {
  (void)state;
  assert_null(message_new("x", SIZE_MAX));
}

static void it_lives_until_the_last_reference_goes(void **state) {
  (void)state;
  struct message *m = message_new("hello", 5);
  assert_ptr_equal(message_ref(m), m);
  assert_int_equal(atomic_load(&m->refs), 2);
  message_unref(m);
  assert_memory_equal(m->text, "hello", 5);
  message_unref(m);
}

static void letting_go_of_nothing_is_allowed(void **state) {
  (void)state;
  message_unref(NULL);
}

static void *read_and_let_go(void *arg) {
  struct message *m = arg;
  for (int i = 0; i < 10000; i++)
    message_unref(message_ref(m));
  size_t same = (size_t)memcmp(m->text, "shared", 6);
  message_unref(m);
  return (void *)same;
}

static void threads_may_let_go_in_any_order(void **state) {
  (void)state;
  struct message *m = message_new("shared", 6);
  pthread_t readers[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&readers[i], NULL, read_and_let_go, message_ref(m)), 0);
  message_unref(m);
  for (int i = 0; i < 4; i++) {
    void *differs = m;
    assert_int_equal(pthread_join(readers[i], &differs), 0);
    assert_null(differs);
  }
}

static void two_pieces_become_one(void **state) {
  (void)state;
  struct message *m = message_join("abc", 2, "xyz", 3);
  assert_int_equal(m->len, 5);
  assert_memory_equal(m->text, "abxyz", 5);
  message_unref(m);
  assert_null(message_join("a", 1, "b", SIZE_MAX - 8));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_message_is_a_copy_of_its_text), cmocka_unit_test(an_empty_message_is_a_message),
    cmocka_unit_test(a_length_that_wraps_is_refused),  cmocka_unit_test(it_lives_until_the_last_reference_goes),
    cmocka_unit_test(two_pieces_become_one),           cmocka_unit_test(letting_go_of_nothing_is_allowed),
    cmocka_unit_test(threads_may_let_go_in_any_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
