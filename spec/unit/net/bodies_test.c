/* What core/net/bodies.c promises: an address holds no more than its limit in several bodies, one alone gets what it
 * needs, and whoever has begun longest ago and is not done makes room. */
#include "bodies.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HERE "203.0.113.7"
#define THERE "203.0.113.8"

static void an_address_holds_no_more_than_its_limit_in_several_bodies(void **state) {
  (void)state;
  struct bodies b = {.limit = 100};
  struct body_share one = {0}, two = {0}, other = {0};
  assert_int_equal(bodies_hold(&b, &one, HERE, 60), 0);
  assert_int_equal(bodies_hold(&b, &two, HERE, 41), E_FULL);
  assert_int_equal(bodies_hold(&b, &two, HERE, SIZE_MAX), E_FULL);
  assert_int_equal(bodies_hold(&b, &two, HERE, 40), 0);
  assert_int_equal(bodies_hold(&b, &one, HERE, 61), E_FULL);
  assert_int_equal(one.bytes, 60);
  assert_int_equal(bodies_hold(&b, &other, THERE, 100), 0);
  bodies_let_go(&b, &two);
  assert_int_equal(bodies_hold(&b, &one, HERE, 100), 0);
  bodies_let_go(&b, &one);
  bodies_let_go(&b, &other);
  assert_null(b.sources);
}

static void one_alone_gets_any_amount(void **state) {
  (void)state;
  struct bodies b = {.limit = 10};
  struct body_share one = {0}, two = {0};
  assert_int_equal(bodies_hold(&b, &one, HERE, 8), 0);
  assert_int_equal(bodies_hold(&b, &one, HERE, 1000), 0);
  assert_int_equal(bodies_hold(&b, &two, HERE, 1), E_FULL);
  bodies_let_go(&b, &two); /* it holds nothing */
  bodies_let_go(&b, &one);
  assert_int_equal(bodies_hold(&b, &two, HERE, 1000), 0);
  bodies_let_go(&b, &two);
  assert_null(b.sources);
}

static void the_oldest_that_is_not_complete_makes_room(void **state) {
  (void)state;
  struct bodies b = {.limit = 100};
  struct body_share s[3] = {{.bytes = 0}}, elsewhere = {0}, new = {0};
  assert_null(bodies_oldest(&b, &new, HERE));
  assert_int_equal(bodies_hold(&b, &elsewhere, THERE, 1), 0);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(bodies_hold(&b, &s[i], HERE, 30), 0);
  }
  assert_int_equal(bodies_hold(&b, &s[0], HERE, 31), 0); /* growing makes nobody younger */
  assert_ptr_equal(bodies_oldest(&b, &new, HERE), &s[0]);
  assert_ptr_equal(bodies_oldest(&b, &s[0], HERE), &s[1]);
  bodies_complete(&s[0]);
  assert_ptr_equal(bodies_oldest(&b, &new, HERE), &s[1]);
  assert_int_equal(bodies_hold(&b, &new, HERE, 10), E_FULL); /* a complete one counts all the same */
  bodies_let_go(&b, &s[1]);
  bodies_complete(&s[2]);
  assert_null(bodies_oldest(&b, &new, HERE));
  bodies_let_go(&b, &s[0]);
  bodies_let_go(&b, &s[2]);
  bodies_complete(&new);
  bodies_let_go(&b, &elsewhere);
  assert_null(b.sources);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_address_holds_no_more_than_its_limit_in_several_bodies),
    cmocka_unit_test(one_alone_gets_any_amount),
    cmocka_unit_test(the_oldest_that_is_not_complete_makes_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
