/* In: every code point, and every way we know to write one wrongly. Out: the promise that utf8_sequence is RFC 3629.
 * Why: what passes here reaches databases, browsers and logs that trust it. */
#include "utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static size_t encode(uint32_t c, char out[4]) {
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; i--, c >>= 6)
    out[i] = (char)(0x80 | (c & 0x3f));
  out[0] = (char)(lead[n] | c);
  return n;
}

static void every_code_point_but_surrogates_is_a_sequence(void **state) {
  (void)state;
  for (uint32_t c = 0; c <= 0x10ffff; c++) {
    char bytes[4];
    size_t n = encode(c, bytes);
    size_t expected = c >= 0xd800 && c <= 0xdfff ? 0 : n;
    if (utf8_sequence(bytes, n) != expected)
      fail_msg("U+%04X", c);
  }
}

static void a_sequence_cut_short_is_none(void **state) {
  (void)state;
  for (uint32_t c = 0x80; c <= 0x10ffff; c += 7) {
    char bytes[4];
    size_t n = encode(c, bytes);
    for (size_t len = 1; len < n; len++)
      assert_int_equal(utf8_sequence(bytes, len), 0);
  }
}

static void what_is_malformed_is_no_sequence(void **state) {
  (void)state;
  static const char *const wrong[] = {
    "\x80",         "\xbf",         "\xc0\x80",         "\xc1\xbf",         "\xe0\x80\x80",     "\xe0\x9f\xbf",
    "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
    "\xfe",         "\xff",         "\xc2\x20",         "\xe2\x82\x20",     "\xf0\x9f\x98\x20", "\xc2\xc2",
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    if (utf8_sequence(wrong[i], strlen(wrong[i])) != 0)
      fail_msg("entry %zu", i);
}

static void what_follows_a_sequence_does_not_matter(void **state) {
  (void)state;
  assert_int_equal(utf8_sequence("a\xff", 2), 1);
  assert_int_equal(utf8_sequence("\xc3\xa4\xff", 3), 2);
  assert_int_equal(utf8_sequence("\xe2\x82\xac\xff", 4), 3);
}

static void a_text_is_well_formed_up_to_its_first_wrong_byte(void **state) {
  (void)state;
  assert_int_equal(utf8_span(NULL, 0), 0);
  assert_int_equal(utf8_span("abcdefgh\xc3\xa4ijklmnopq", 19), 19);
  assert_int_equal(utf8_span("abcdefghijk\xc3", 12), 11);
  assert_int_equal(utf8_span("\xff"
                             "abcdefgh",
                             9),
                   0);
  assert_int_equal(utf8_span("a\0b\xe2\x82\xac\x80", 7), 6);
}

/* Most of a text is looked at in pieces of many bytes. */
static void the_first_wrong_byte_is_found_wherever_it_stands(void **state) {
  (void)state;
  char text[80], wrong[] = {'\x80', '\xff', '\xc3', '\xed'};
  for (size_t len = 1; len <= sizeof text; len++) {
    memset(text, 'a', len);
    assert_int_equal(utf8_span(text, len), len);
    for (size_t at = 0; at < len; at++) {
      for (size_t i = 0; i < sizeof wrong; i++) {
        memset(text, 'a', len);
        text[at] = wrong[i];
        assert_int_equal(utf8_span(text, len), at);
      }
      if (at + 2 <= len) {
        memcpy(text + at, "\xc3\xa4", 2);
        assert_int_equal(utf8_span(text, len), len);
      }
    }
  }
}

static void a_mended_text_is_well_formed_and_keeps_all_that_was(void **state) {
  (void)state;
  char out[30];
  size_t len = utf8_mend("a\xc3 \xe2\x82\xac\xff\xfe"
                         "b",
                         9, out);
  assert_int_equal(len, 15);
  assert_memory_equal(out,
                      "a\xef\xbf\xbd \xe2\x82\xac\xef\xbf\xbd\xef\xbf\xbd"
                      "b",
                      15);
  assert_int_equal(utf8_mend("", 0, out), 0);
  for (uint32_t bytes = 0; bytes < 1u << 24; bytes += 251) {
    char in[3] = {(char)bytes, (char)(bytes >> 8), (char)(bytes >> 16)};
    len = utf8_mend(in, sizeof in, out);
    assert_true(len <= 9 && utf8_span(out, len) == len);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_code_point_but_surrogates_is_a_sequence),
    cmocka_unit_test(a_sequence_cut_short_is_none),
    cmocka_unit_test(what_is_malformed_is_no_sequence),
    cmocka_unit_test(what_follows_a_sequence_does_not_matter),
    cmocka_unit_test(a_text_is_well_formed_up_to_its_first_wrong_byte),
    cmocka_unit_test(the_first_wrong_byte_is_found_wherever_it_stands),
    cmocka_unit_test(a_mended_text_is_well_formed_and_keeps_all_that_was),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
