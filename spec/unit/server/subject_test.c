/* What core/server/subject.h promises: whatever an id holds, it comes back as it was, and the line stays a line. */
#include "err.h"
#include "subject.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *written(const char *id) {
  static char out[256];
  assert_int_equal(subject_write("user", id, out, sizeof out), 0);
  return out;
}

static const char *read_back(const char *text) {
  static char copy[256];
  snprintf(copy, sizeof copy, "%s", text);
  return subject_read(copy);
}

static void an_ordinary_id_is_written_as_it_is(void **state) {
  (void)state;
  const char *const ids[] = {"alice", " a b ", "100%", "%41", "j\xc3\xbcrgen", "a=b", "\xff"};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    assert_string_equal(written(ids[i]) + strlen("user "), ids[i]);
    assert_string_equal(read_back(written(ids[i]) + strlen("user")), ids[i]);
  }
}

static void one_with_control_characters_is_a_line_all_the_same(void **state) {
  (void)state;
  assert_string_equal(written("a\nb"), "user% a%0Ab");
  assert_string_equal(written("100%\r"), "user% 100%25%0D");
  const char *const ids[] = {"a\nb", "\n", "\r", "\x1b[2J%0A", " \t ", "\x7f", "a\n\xff"};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
    assert_null(strpbrk(written(ids[i]), "\r\n"));
    assert_string_equal(read_back(written(ids[i]) + strlen("user")), ids[i]);
  }
}

static void what_is_no_subject_is_none(void **state) {
  (void)state;
  const char *const bad[] = {"", " ", "% ", "s alice", "%alice", "% a%", "% a%0", "% a%0a", "% a%GG", "% %00"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    assert_null(read_back(bad[i]));
}

/* Half an id would be somebody else's. */
static void one_that_does_not_fit_is_refused_and_not_cut(void **state) {
  (void)state;
  char out[16], id[32] = "";
  for (size_t len = 1; len < sizeof id; len++) {
    memset(id, 'x', len);
    id[len] = '\0';
    int err = subject_write("user", id, out, sizeof out);
    assert_true(err == 0 ? strlen(out) == len + 5 : err == E_TOO_BIG);
    id[len - 1] = '\n';
    err = subject_write("user", id, out, sizeof out);
    assert_true(err == 0 ? strlen(out) == len + 8 : err == E_TOO_BIG);
    id[len - 1] = 'x';
  }
  assert_int_equal(subject_write("a-kind-that-is-long", "x", out, sizeof out), E_TOO_BIG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_ordinary_id_is_written_as_it_is),
    cmocka_unit_test(one_with_control_characters_is_a_line_all_the_same),
    cmocka_unit_test(what_is_no_subject_is_none),
    cmocka_unit_test(one_that_does_not_fit_is_refused_and_not_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
