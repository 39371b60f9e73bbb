/* In: every code of core/base/err.h and some of libuv's. Out: the promise that name, text and number belong together.
 * Why: names go to clients and scripts; one that drifts breaks them silently. */
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <uv.h>

static void our_codes_have_their_name_and_text(void **state) {
  (void)state;
  assert_string_equal(err_name(E_GONE), "GONE");
  assert_string_equal(err_text(E_GONE), "it is gone");
  assert_string_equal(err_name(E_BUSY), "BUSY");
  assert_string_equal(err_text(E_BUSY), "in use by another process");
}

static void our_codes_stay_clear_of_those_of_libuv(void **state) {
  (void)state;
#define APART(name, number, text) assert_true((number) <= -10000 && (number) > -11000);
  ERR_MAP(APART)
#undef APART
#define BELOW(name, text) assert_true(UV_##name > -10000);
  UV_ERRNO_MAP(BELOW)
#undef BELOW
}

static void the_codes_of_libuv_pass_through(void **state) {
  (void)state;
  assert_string_equal(err_name(UV_ENOMEM), "ENOMEM");
  assert_string_equal(err_text(UV_ENOMEM), "not enough memory");
  assert_string_equal(err_name(UV_EOF), "EOF");
}

static void zero_is_no_error(void **state) {
  (void)state;
  assert_string_equal(err_name(0), "OK");
  assert_string_equal(err_text(0), "no error");
}

static void what_nobody_defined_has_a_name_too(void **state) {
  (void)state;
  static const int codes[] = {1, -1999, -9999, -10999, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    assert_string_equal(err_name(codes[i]), "UNKNOWN");
    assert_string_equal(err_text(codes[i]), "unknown error");
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(our_codes_have_their_name_and_text), cmocka_unit_test(our_codes_stay_clear_of_those_of_libuv),
    cmocka_unit_test(the_codes_of_libuv_pass_through),    cmocka_unit_test(zero_is_no_error),
    cmocka_unit_test(what_nobody_defined_has_a_name_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
