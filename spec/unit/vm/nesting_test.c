/* bindings/vm/nesting.c: at most 200 places that catch errors inside one another, wherever they were begun. Why: ending
 * a slice takes time for each of them. */
#include "nesting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void begin(struct nesting *n, unsigned count) {
  unsigned before;
  for (unsigned i = 0; i < count; i++)
    assert_true(nesting_protect(n, &before));
}

static void protected_calls_are_at_most_200(void **state) {
  struct nesting n = {0, 0};
  unsigned before = 7;
  (void)state;
  begin(&n, NESTING_MAX);
  assert_int_equal(NESTING_MAX, 200);
  assert_false(nesting_protect(&n, &before));
  assert_int_equal(before, 7);
  assert_false(nesting_resume(&n, 0, &before));
  nesting_release(&n, NESTING_MAX - 1);
  assert_true(nesting_protect(&n, &before));
  assert_int_equal(before, NESTING_MAX - 1);
}

static void an_error_that_leaves_many_at_once_leaves_them_all(void **state) {
  struct nesting n = {0, 0};
  unsigned before;
  (void)state;
  begin(&n, 5);
  assert_true(nesting_protect(&n, &before));
  begin(&n, 100);
  nesting_release(&n, before);
  assert_int_equal(n.inside, 5);
}

static void a_coroutine_brings_what_is_on_its_stack_and_takes_it_away(void **state) {
  struct nesting n = {0, 0};
  unsigned before, refused;
  (void)state;
  begin(&n, 100);
  assert_false(nesting_resume(&n, 100, &refused)); /* it counts itself, too */
  assert_true(nesting_resume(&n, 90, &before));
  begin(&n, 9);
  assert_false(nesting_protect(&n, &refused));
  assert_int_equal(nesting_back(&n, before), 99);
  assert_int_equal(n.inside, 100);
  assert_int_equal(n.outside, 0);
}

static void coroutines_inside_one_another_count_together(void **state) {
  struct nesting n = {0, 0};
  unsigned before[NESTING_MAX], refused;
  (void)state;
  for (unsigned i = 0; i < NESTING_MAX; i++)
    assert_true(nesting_resume(&n, 0, &before[i]));
  assert_false(nesting_resume(&n, 0, &refused));
  assert_false(nesting_protect(&n, &refused));
  for (unsigned i = NESTING_MAX; i > 0; i--)
    assert_int_equal(nesting_back(&n, before[i - 1]), 0);
  assert_int_equal(n.outside, 0);
}

static void a_slice_of_the_server_begins_wherever_it_has_to(void **state) {
  struct nesting n = {0, 0};
  unsigned refused;
  (void)state;
  begin(&n, NESTING_MAX);
  unsigned before = nesting_enter(&n, 3);
  assert_false(nesting_protect(&n, &refused));
  assert_int_equal(nesting_back(&n, before), 3);
  assert_int_equal(n.inside, NESTING_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(protected_calls_are_at_most_200),
    cmocka_unit_test(an_error_that_leaves_many_at_once_leaves_them_all),
    cmocka_unit_test(a_coroutine_brings_what_is_on_its_stack_and_takes_it_away),
    cmocka_unit_test(coroutines_inside_one_another_count_together),
    cmocka_unit_test(a_slice_of_the_server_begins_wherever_it_has_to),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
