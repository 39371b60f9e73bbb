/* Promises of core/base/roff.h: whatever a text holds, a manual page shows it as it is. */
#include "roff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void assert_line(const char *text, const char *expected) {
  char *bytes;
  size_t len;
  FILE *out = open_memstream(&bytes, &len);
  assert_non_null(out);
  roff_line(text, out);
  fclose(out);
  assert_string_equal(bytes, expected);
  free(bytes);
}

static void a_line_is_never_a_command(void **state) {
  (void)state;
  assert_line(".so /etc/passwd", "\\&.so /etc/passwd\n");
  assert_line("'so x", "\\(aqso x\n");
  assert_line("a\n.b\n'c", "a\n\\&.b\n\\(aqc\n");
}

static void an_escape_is_shown_and_not_obeyed(void **state) {
  (void)state;
  assert_line("C:\\fBx", "C:\\efBx\n");
}

static void what_is_typed_into_a_shell_can_be_pasted(void **state) {
  (void)state;
  assert_line("--why 'x' `y` ~ ^", "\\-\\-why \\(aqx\\(aq \\(gay\\(ga \\(ti \\(ha\n");
}

static void one_newline_at_the_end_is_no_line_more(void **state) {
  (void)state;
  assert_line("a\n", "a\n");
  assert_line("", "\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_line_is_never_a_command),
    cmocka_unit_test(an_escape_is_shown_and_not_obeyed),
    cmocka_unit_test(what_is_typed_into_a_shell_can_be_pasted),
    cmocka_unit_test(one_newline_at_the_end_is_no_line_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
