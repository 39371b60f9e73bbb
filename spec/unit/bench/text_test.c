/* In: templates. Out: the texts of messages. Why: a message that is not what the template says is a different load. */
#include "err.h"
#include "text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void rendered(const char *template, uint64_t number, const char *session, const char *wanted) {
  struct text t;
  char out[TEXT_MAX];
  assert_int_equal(text_init(&t, template), 0);
  size_t length = text_render(&t, out, number, session);
  assert_int_equal(length, strlen(wanted));
  assert_memory_equal(out, wanted, length);
}

static void only_the_two_places_are_filled_in(void **state) {
  (void)state;
  rendered("{\"a\":{},\"n\":\"{i}\",\"s\":\"{session}\"}", 0, "abc", "{\"a\":{},\"n\":\"0\",\"s\":\"abc\"}");
  rendered("{i}{i}{session}", UINT64_MAX, "", "1844674407370955161518446744073709551615");
  rendered("{ii}{", 7, "", "{ii}{");
  rendered("", 7, "", "");
}

static void it_says_whether_it_needs_a_session(void **state) {
  (void)state;
  struct text t;
  assert_int_equal(text_init(&t, "{i}"), 0);
  assert_false(t.needs_session);
  assert_int_equal(text_init(&t, "{session}"), 0);
  assert_true(t.needs_session);
}

static void its_bounds_are_kept(void **state) {
  (void)state;
  struct text t;
  char longest[TEXT_TEMPLATE_MAX + 2];
  memset(longest, 'x', sizeof longest);
  longest[TEXT_TEMPLATE_MAX + 1] = '\0';
  assert_int_equal(text_init(&t, longest), E_TOO_BIG);
  longest[TEXT_TEMPLATE_MAX] = '\0';
  assert_int_equal(text_init(&t, longest), 0);
  assert_int_equal(text_init(&t, "{i}{i}{i}{i}{i}{i}{i}{i}"), 0);
  assert_int_equal(text_init(&t, "{i}{i}{i}{i}{i}{i}{i}{i}{i}"), E_TOO_BIG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_the_two_places_are_filled_in),
    cmocka_unit_test(it_says_whether_it_needs_a_session),
    cmocka_unit_test(its_bounds_are_kept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
