/* What core/net/body.c promises: a body is the same whatever pieces it comes in, it ends where it says, and a chunk
 * that could be read in two ways is refused. */
#include "body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LIMIT = 20 };

/* Feeds text in pieces of step bytes. The status; content in out; *left: bytes behind the end. */
static int take(struct body *b, const char *text, size_t step, char out[256], size_t *left) {
  size_t total = strlen(text), at = 0, out_len = 0;
  while (at < total && !body_complete(b)) {
    size_t len = step < total - at ? step : total - at;
    const char *bytes = text + at, *piece;
    size_t piece_len, given = len;
    while (len && !body_complete(b)) {
      int status = body_next(b, &bytes, &len, &piece, &piece_len);
      if (status) {
        return status;
      }
      if (piece_len)
        memcpy(out + out_len, piece, piece_len);
      out_len += piece_len;
    }
    at += given - len;
  }
  out[out_len] = 0;
  *left = total - at;
  return 0;
}

static void assert_chunks(const char *text, int status, const char *content, const char *rest) {
  for (size_t step = 1; step <= strlen(text); step++) {
    struct body b;
    char out[256];
    size_t left = 0;
    assert_int_equal(body_init(&b, true, 0, LIMIT), 0);
    int found = take(&b, text, step, out, &left);
    if (found != status) {
      fail_msg("%d instead of %d for %s", found, status, text);
    }
    if (!status) {
      assert_true(body_complete(&b));
      assert_string_equal(out, content);
      assert_string_equal(text + strlen(text) - left, rest);
    }
  }
}

static void a_body_with_a_length_has_so_many_bytes(void **state) {
  (void)state;
  for (size_t step = 1; step <= 8; step++) {
    struct body b;
    char out[256];
    size_t left;
    assert_int_equal(body_init(&b, false, 5, LIMIT), 0);
    assert_int_equal(take(&b, "helloGET", step, out, &left), 0);
    assert_string_equal(out, "hello");
    assert_int_equal(left, 3);
  }
  struct body none;
  assert_int_equal(body_init(&none, false, 0, LIMIT), 0);
  assert_true(body_complete(&none));
}

static void a_body_over_the_limit_is_refused_before_it_comes(void **state) {
  (void)state;
  struct body b;
  assert_int_equal(body_init(&b, false, LIMIT, LIMIT), 0);
  assert_int_equal(body_init(&b, false, LIMIT + 1, LIMIT), 413);
  assert_int_equal(body_init(&b, false, UINT64_MAX, LIMIT), 413);
  assert_false(body_complete(&b));
  assert_chunks("14\r\n12345678901234567890\r\n0\r\n\r\n", 0, "12345678901234567890", "");
  assert_chunks("15\r\n", 413, NULL, NULL);
  assert_chunks("14\r\n12345678901234567890\r\n1\r\n", 413, NULL, NULL);
  assert_chunks("fffffffffffffff\r\n", 413, NULL, NULL); /* must not wrap */
}

static void chunks_are_put_together(void **state) {
  (void)state;
  assert_chunks("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET", 0, "hello!", "GET");
  assert_chunks("00A\r\n0123456789\r\n000\r\n\r\n", 0, "0123456789", "");
  assert_chunks("a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", 0, "\r\n\r\n\r\n\r\n\r\n", "");
  assert_chunks("0\r\n\r\nx", 0, "", "x");
}

static void extensions_and_trailers_are_skipped(void **state) {
  (void)state;
  assert_chunks("2;a=b;c=\"d e\"\r\nhi\r\n0;last\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\nGET", 0, "hi", "GET");
}

static void extensions_and_trailers_have_a_bound(void **state) {
  (void)state;
  char text[2 * BODY_EXTRA_MAX + 64];
  const char *const starts[] = {"1;", "0\r\nX"};
  for (size_t i = 0; i < 2; i++) {
    struct body b;
    char out[256];
    size_t left;
    snprintf(text, sizeof text, "%s", starts[i]);
    size_t len = strlen(text);
    memset(text + len, 'x', BODY_EXTRA_MAX + 1);
    text[len + BODY_EXTRA_MAX + 1] = 0;
    assert_int_equal(body_init(&b, true, 0, LIMIT), 0);
    assert_int_equal(take(&b, text, 100, out, &left), 413);
  }
}

static void what_could_be_read_in_two_ways_is_refused(void **state) {
  (void)state;
  const char *const bad[] = {"\r\n",
                             "x\r\n",
                             "-1\r\n",
                             "+1\r\n",
                             "0x1\r\n",
                             " 1\r\n",
                             "1 \r\nx",
                             "1\t\r\nx",
                             "1\nx\r\n",
                             "1\rx\r\n",
                             "1;a\nx",
                             "1;a\rb\r\n",
                             "1\r\nxy",
                             "1\r\nx\n",
                             "1\r\nx\rz",
                             "0\r\nX: y\n\r\n",
                             "0\r\n folded\r\n",
                             "0\r\n: y\r\n",
                             "0\r\nX\x01",
                             "1;\x7f\r\n",
                             "0000000000000001\r\n",
                             "0\r\n\rx",
                             "0\r\n\n"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_chunks(bad[i], 400, NULL, NULL);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_body_with_a_length_has_so_many_bytes),
                                     cmocka_unit_test(a_body_over_the_limit_is_refused_before_it_comes),
                                     cmocka_unit_test(chunks_are_put_together),
                                     cmocka_unit_test(extensions_and_trailers_are_skipped),
                                     cmocka_unit_test(extensions_and_trailers_have_a_bound),
                                     cmocka_unit_test(what_could_be_read_in_two_ways_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
