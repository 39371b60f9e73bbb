/* In: messages whole, in pieces, too big, wrongly encoded. Out: the promises of core/net/frame.h.
 * Why: everything behind the frame trusts that a text is bounded and valid. */
#include "frame.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

enum { LIMIT = 100 }; /* no power of two: doubling has to stop in time */

static const char *text;
static size_t text_len;

static int add(struct frame *f, const char *bytes, bool last) {
  return frame_add(f, bytes, strlen(bytes), last, LIMIT, &text, &text_len);
}

static void assert_text(const char *expected) {
  assert_int_equal(text_len, strlen(expected));
  assert_memory_equal(text, expected, text_len);
}

static void a_message_of_one_fragment_is_not_copied(void **state) {
  (void)state;
  struct frame f = {0};
  const char bytes[] = "hello";
  assert_int_equal(add(&f, bytes, true), 1);
  assert_ptr_equal(text, bytes);
  assert_int_equal(text_len, 5);
  assert_null(f.bytes);
}

static void fragments_become_one_text(void **state) {
  (void)state;
  struct frame f = {0};
  assert_int_equal(add(&f, "he", false), 0);
  assert_int_equal(add(&f, "", false), 0);
  assert_int_equal(add(&f, "ll", false), 0);
  assert_int_equal(add(&f, "o", true), 1);
  assert_text("hello");
  frame_deinit(&f);
}

static void an_empty_message_is_an_empty_text(void **state) {
  (void)state;
  struct frame f = {0};
  text = NULL;
  assert_int_equal(frame_add(&f, NULL, 0, true, LIMIT, &text, &text_len), 1);
  assert_non_null(text);
  assert_text("");
  assert_int_equal(frame_add(&f, NULL, 0, false, LIMIT, &text, &text_len), 0);
  assert_int_equal(frame_add(&f, NULL, 0, true, LIMIT, &text, &text_len), 1);
  assert_text("");
}

static void one_message_does_not_run_into_the_next(void **state) {
  (void)state;
  struct frame f = {0};
  assert_int_equal(add(&f, "one", false), 0);
  assert_int_equal(add(&f, "!", true), 1);
  assert_text("one!");
  assert_int_equal(add(&f, "tw", false), 0);
  assert_int_equal(add(&f, "o", true), 1);
  assert_text("two");
  assert_int_equal(add(&f, "three", true), 1);
  assert_text("three");
  assert_null(f.bytes); /* nothing is kept between messages */
}

static void a_character_may_be_split_between_fragments(void **state) {
  (void)state;
  struct frame f = {0};
  assert_int_equal(add(&f, "\xf0\x9f", false), 0);
  assert_int_equal(add(&f, "\x98\x80", true), 1);
  assert_text("\xf0\x9f\x98\x80");
  frame_deinit(&f);
}

static void invalid_utf8_is_refused_whole_or_in_pieces(void **state) {
  (void)state;
  struct frame f = {0};
  assert_int_equal(add(&f, "a\xff", true), E_UTF8);
  assert_int_equal(add(&f, "a", false), 0);
  assert_int_equal(add(&f, "\xf0\x9f", true), E_UTF8); /* ends inside a character */
  assert_int_equal(add(&f, "\xed", false), 0);
  assert_int_equal(add(&f, "\xa0\x80", true), E_UTF8); /* a surrogate that hides behind the cut */
  assert_null(f.bytes);
}

static void what_is_larger_than_the_limit_is_refused(void **state) {
  (void)state;
  struct frame f = {0};
  char bytes[LIMIT + 1];
  memset(bytes, 'a', sizeof bytes);
  assert_int_equal(frame_add(&f, bytes, LIMIT, true, LIMIT, &text, &text_len), 1);
  assert_int_equal(frame_add(&f, bytes, LIMIT + 1, true, LIMIT, &text, &text_len), E_TOO_BIG);
  assert_int_equal(frame_add(&f, bytes, LIMIT, false, LIMIT, &text, &text_len), 0);
  assert_int_equal(frame_add(&f, bytes, 1, false, LIMIT, &text, &text_len), E_TOO_BIG);
  assert_int_equal(frame_add(&f, bytes, 1, false, LIMIT, &text, &text_len), 0);
  assert_int_equal(frame_add(&f, bytes, SIZE_MAX, true, LIMIT, &text, &text_len), E_TOO_BIG); /* must not wrap */
  assert_null(f.bytes);
}

static void it_can_be_used_again_after_an_error(void **state) {
  (void)state;
  struct frame f = {0};
  assert_int_equal(add(&f, "left over", false), 0);
  assert_int_equal(add(&f, "\xff", true), E_UTF8);
  assert_int_equal(add(&f, "cle", false), 0);
  assert_int_equal(add(&f, "an", true), 1);
  assert_text("clean");
  frame_deinit(&f);
}

static void the_buffer_never_outgrows_the_limit(void **state) {
  (void)state;
  struct frame f = {0};
  for (int i = 0; i < LIMIT - 1; i++) {
    assert_int_equal(add(&f, "a", false), 0);
    assert_in_range(f.room, 1, LIMIT);
  }
  assert_int_equal(add(&f, "b", true), 1);
  assert_int_equal(text_len, LIMIT);
  frame_deinit(&f);
  assert_null(f.bytes);
}

/* The check takes eight bytes at a time where it can: a fault has to be found at every distance from both ends. */
static void a_wrong_byte_is_found_wherever_it_stands(void **state) {
  (void)state;
  for (size_t len = 1; len <= 40; len++) {
    char *bytes = malloc(len); /* exact, so that the sanitizer sees a read beyond the end */
    memset(bytes, 'a', len);
    assert_true(frame_utf8_valid(bytes, len));
    for (size_t at = 0; at < len; at++) {
      bytes[at] = (char)0x80;
      assert_false(frame_utf8_valid(bytes, len));
      bytes[at] = (char)0xc3;
      assert_false(frame_utf8_valid(bytes, len));
      if (at + 1 < len) {
        bytes[at + 1] = (char)0xa4;
        assert_true(frame_utf8_valid(bytes, len));
        bytes[at + 1] = 'a';
      }
      bytes[at] = 'a';
    }
    free(bytes);
  }
  assert_true(frame_utf8_valid(NULL, 0));
}

static void a_header_takes_the_shortest_form(void **state) {
  (void)state;
  uint8_t h[FRAME_HEADER_MAX];
  assert_int_equal(frame_header(h, FRAME_TEXT, 0), 2);
  assert_memory_equal(h, "\x81\x00", 2);
  assert_int_equal(frame_header(h, FRAME_TEXT, 125), 2);
  assert_memory_equal(h, "\x81\x7d", 2);
  assert_int_equal(frame_header(h, FRAME_TEXT, 126), 4);
  assert_memory_equal(h, "\x81\x7e\x00\x7e", 4);
  assert_int_equal(frame_header(h, FRAME_TEXT, 65535), 4);
  assert_memory_equal(h, "\x81\x7e\xff\xff", 4);
  assert_int_equal(frame_header(h, FRAME_TEXT, 65536), 10);
  assert_memory_equal(h, "\x81\x7f\0\0\0\0\0\x01\0\0", 10);
}

static void a_header_says_what_the_frame_is(void **state) {
  (void)state;
  uint8_t h[FRAME_HEADER_MAX];
  assert_int_equal(frame_header(h, FRAME_CLOSE, 2), 2);
  assert_memory_equal(h, "\x88\x02", 2);
  assert_int_equal(frame_header(h, FRAME_PING, 0), 2);
  assert_memory_equal(h, "\x89\x00", 2);
  assert_int_equal(frame_header(h, FRAME_PONG, 4), 2);
  assert_memory_equal(h, "\x8a\x04", 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_message_of_one_fragment_is_not_copied),
    cmocka_unit_test(fragments_become_one_text),
    cmocka_unit_test(an_empty_message_is_an_empty_text),
    cmocka_unit_test(one_message_does_not_run_into_the_next),
    cmocka_unit_test(a_character_may_be_split_between_fragments),
    cmocka_unit_test(invalid_utf8_is_refused_whole_or_in_pieces),
    cmocka_unit_test(what_is_larger_than_the_limit_is_refused),
    cmocka_unit_test(it_can_be_used_again_after_an_error),
    cmocka_unit_test(the_buffer_never_outgrows_the_limit),
    cmocka_unit_test(a_wrong_byte_is_found_wherever_it_stands),
    cmocka_unit_test(a_header_takes_the_shortest_form),
    cmocka_unit_test(a_header_says_what_the_frame_is),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
