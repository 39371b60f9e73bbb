/* What core/identity/user_id.h promises: one spelling for one user, and nothing in it that hides. */
#include "err.h"
#include "user_id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *spelled(const char *text) {
  static char out[TOKEN_USER_MAX + 1];
  assert_int_equal(user_id_normalise(text, out), 0);
  return out;
}

static int verdict(const char *text) {
  char out[TOKEN_USER_MAX + 1];
  return user_id_normalise(text, out);
}

static void what_looks_the_same_is_the_same(void **state) {
  (void)state;
  assert_string_equal(spelled("ju\xcc\x88rgen"), "j\xc3\xbcrgen");                      /* u and dots */
  assert_string_equal(spelled("\xe2\x84\xab"), "\xc3\x85");                             /* Angstrom sign */
  assert_string_equal(spelled("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab"), "\xed\x95\x9c"); /* Hangul */
  assert_string_equal(spelled("a\xcc\xa3\xcc\x82"), spelled("a\xcc\x82\xcc\xa3"));      /* order of marks */
}

static void what_is_normal_stays_as_it_is(void **state) {
  (void)state;
  const char *const same[] = {"u1",
                              "auth0|5f7c8ec7c33c6c004bbafe82",
                              "me@example.org",
                              " a b ",
                              "j\xc3\xbcrgen",
                              "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb",
                              "\xef\xac\x81"};
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    assert_string_equal(spelled(same[i]), same[i]);
}

static void a_control_character_is_refused_wherever_it_stands(void **state) {
  (void)state;
  const char *const bad[] = {"\n",           "a\nb",         "a\t",       "\x1b[2J",
                             "a\x7f",        "\xc2\x80",     "a\xc2\x85", "j\xc3\xbc\xc2\x9f",
                             "\xe2\x80\xa8", "a\xe2\x80\xa9"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_int_equal(verdict(bad[i]), E_INVALID);
}

static void what_is_no_text_is_refused(void **state) {
  (void)state;
  assert_int_equal(verdict(""), E_INVALID);
  assert_int_equal(verdict("a\xff"), E_INVALID);
  assert_int_equal(verdict("\xc3"), E_INVALID);
  assert_int_equal(verdict("\xed\xa0\x80"), E_INVALID); /* half of a pair */
}

static void its_length_is_that_of_its_one_spelling(void **state) {
  (void)state;
  char text[5 * TOKEN_USER_MAX] = "";
  memset(text, 'x', TOKEN_USER_MAX);
  assert_int_equal(verdict(text), 0);
  text[TOKEN_USER_MAX] = 'x';
  assert_int_equal(verdict(text), E_INVALID);
  text[0] = '\0';
  for (int i = 0; i < 127; i++)
    strcat(text, "u\xcc\x88"); /* three bytes that become two */
  assert_int_equal(strlen(spelled(text)), 254);
  strcat(text, "xx");
  assert_int_equal(verdict(text), E_INVALID);
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  assert_int_equal(verdict(text), E_INVALID);
  text[0] = '\0';
  for (int i = 0; i < 60; i++)
    strcat(text, "\xf0\x9d\x85\x9f"); /* a note: four bytes that become eight */
  assert_int_equal(verdict(text), E_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_looks_the_same_is_the_same),
    cmocka_unit_test(what_is_normal_stays_as_it_is),
    cmocka_unit_test(a_control_character_is_refused_wherever_it_stands),
    cmocka_unit_test(what_is_no_text_is_refused),
    cmocka_unit_test(its_length_is_that_of_its_one_spelling),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
