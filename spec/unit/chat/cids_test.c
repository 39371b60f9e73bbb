/* What core/chat/cids.h promises. */
#include "cids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const char *numbered(const char *prefix, unsigned n) {
  static char cid[32];
  snprintf(cid, sizeof cid, "%s-%u", prefix, n);
  return cid;
}

static void what_was_put_in_is_never_denied_however_much_it_is(void **state) {
  struct cids *c = cids_new();
  (void)state;
  for (unsigned i = 0; i < 100000; i++) {
    cids_add(c, numbered("in", i));
    assert_true(cids_may_have(c, numbered("in", i)));
  }
  for (unsigned i = 0; i < 100000; i++) {
    assert_true(cids_may_have(c, numbered("in", i)));
  }
  cids_free(c);
}

static void an_empty_one_has_nothing(void **state) {
  struct cids *c = cids_new();
  (void)state;
  for (unsigned i = 0; i < 1000; i++) {
    assert_false(cids_may_have(c, numbered("x", i)));
  }
  assert_false(cids_may_have(c, ""));
  cids_free(c);
}

static void of_those_that_were_not_put_in_few_are_taken_for_it(void **state) {
  struct cids *c = cids_new();
  unsigned taken = 0;
  (void)state;
  for (unsigned i = 0; i < 1000; i++) {
    cids_add(c, numbered("in", i));
  }
  for (unsigned i = 0; i < 10000; i++) {
    taken += cids_may_have(c, numbered("out", i));
  }
  assert_in_range(taken, 0, 300); /* about 50 are to be expected */
  cids_free(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_was_put_in_is_never_denied_however_much_it_is),
    cmocka_unit_test(an_empty_one_has_nothing),
    cmocka_unit_test(of_those_that_were_not_put_in_few_are_taken_for_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
