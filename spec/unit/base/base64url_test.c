/* Promises of core/base/base64url.h: one value, one spelling. */
#include "base64url.h"
#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void known_values_are_written_and_read(void **state) {
  (void)state;
  const struct {
    const char *bytes, *text;
  } cases[] = {{"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
               {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xfb\xff\xbf", "-_-_"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[16];
    unsigned char bytes[16];
    size_t len = 99, bytes_len = strlen(cases[i].bytes), text_len = strlen(cases[i].text);
    base64url_encode(cases[i].bytes, bytes_len, text);
    assert_string_equal(text, cases[i].text);
    assert_int_equal(BASE64URL_LEN(bytes_len), text_len);
    assert_int_equal(BASE64URL_BYTES(text_len), bytes_len);
    assert_int_equal(base64url_decode(text, text_len, bytes, &len), 0);
    assert_int_equal(len, bytes_len);
    assert_memory_equal(bytes, cases[i].bytes, bytes_len);
  }
}

/* Of all texts of two characters exactly 256 are a byte: each byte has one spelling. */
static void a_byte_has_one_spelling(void **state) {
  (void)state;
  int spellings[256] = {0};
  for (int a = 0; a < 256; a++)
    for (int b = 0; b < 256; b++) {
      const char text[2] = {(char)a, (char)b};
      unsigned char byte;
      size_t len;
      if (base64url_decode(text, 2, &byte, &len) == 0) {
        assert_int_equal(len, 1);
        spellings[byte]++;
      }
    }
  for (int i = 0; i < 256; i++)
    assert_int_equal(spellings[i], 1);
}

static void padding_blanks_and_impossible_lengths_are_refused(void **state) {
  (void)state;
  const char *bad[] = {"Zg==", "Zm8=", "Z", "A", "Zm9vY", "Zm9vA", "Zm9v ", " Zm9v", "Zm+v", "Zm/v", "Zm9v\n", "Zh"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    unsigned char bytes[16];
    size_t len;
    assert_int_equal(base64url_decode(bad[i], strlen(bad[i]), bytes, &len), E_INVALID);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(known_values_are_written_and_read),
    cmocka_unit_test(a_byte_has_one_spelling),
    cmocka_unit_test(padding_blanks_and_impossible_lengths_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
