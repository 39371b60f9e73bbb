/* What core/base/json_walk.c promises: members where they stand, byte for byte; strings as they are meant; and from
 * broken text nothing that is not in it. */
#include "json_walk.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct json_span span(const char *text) {
  return (struct json_span){text, strlen(text)};
}

static void is(struct json_span s, const char *text) {
  if (s.len != strlen(text) || memcmp(s.text, text, s.len) != 0)
    fail_msg("\"%.*s\", not \"%s\"", (int)s.len, s.text, text);
}

static void members_come_in_order_byte_for_byte(void **state) {
  (void)state;
  struct json_walk w;
  struct json_span key, value;
  static const char *const members[][2] = {{"\"a\"", "12345678901234567890123"},
                                           {"\"b \\\" }\"", "\"\\ud800 , } \\\\\""},
                                           {"\"c\"", "{ \"d\" : [1, {\"]\":2}] }"},
                                           {"\"e\"", "1.50e+3"},
                                           {"\"f\"", "null"}};
  const char *text = " {\"a\":12345678901234567890123 ,\n\"b \\\" }\" :\"\\ud800 , } \\\\\","
                     "\"c\":{ \"d\" : [1, {\"]\":2}] }, \"e\":1.50e+3,\"f\" : null } ";
  assert_true(json_walk_open(&w, span(text)));
  for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
    assert_true(json_walk_next(&w, &key, &value));
    is(key, members[i][0]);
    is(value, members[i][1]);
  }
  assert_false(json_walk_next(&w, &key, &value));
  assert_true(json_walk_ended(&w));
}

static bool is_whole(const char *text) {
  struct json_walk w;
  struct json_span key, value;
  for (bool more = json_walk_open(&w, span(text)); more && json_walk_next(&w, &key, &value);) {
  }
  return json_walk_ended(&w);
}

static void the_end_of_an_object_is_the_end_of_its_text(void **state) {
  (void)state;
  static const char *const broken[] = {"{\"a\":1", "{\"a\":1}}", "{\"a\":1} x", "{\"a\" 1}",
                                       "{\"a\":}", "{\"a\":[1}", "{a:1}",       "{\"a\":1,}"};
  assert_true(is_whole("{}"));
  assert_true(is_whole(" { \"a\" : [ ] } "));
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
    if (is_whole(broken[i]))
      fail_msg("%s", broken[i]);
}

static void of_a_name_that_stands_twice_the_last_one_counts(void **state) {
  (void)state;
  struct json_span value;
  assert_true(json_walk_find(span("{\"a\":1,\"b\":2,\"a\":3}"), "a", &value));
  is(value, "3");
  assert_false(json_walk_find(span("{\"a\":1}"), "b", &value));
  assert_false(json_walk_find(span("{\"x\":{\"b\":1}}"), "b", &value));
  assert_false(json_walk_find(span("{}"), "b", &value));
  assert_false(json_walk_find(span("[\"b\",1]"), "b", &value));
}

/* Every piece of a text and every text with one byte changed, in a block of just its size, for the sanitizer. */
static void broken_text_is_never_read_past_its_end(void **state) {
  (void)state;
  static const char text[] = "{\"a\":[1,{\"b\":\"\\ud83d\\ude00\"}],\"c\\n\":\"d\\\\\"}";
  static const char bytes[] = {'"', '\\', '{', '}', '[', ']', ',', ':', 'u', 0};
  for (size_t len = 0; len < sizeof text; len++)
    for (size_t b = 0; b < sizeof bytes * len; b++) {
      char *copy = malloc(len ? len : 1);
      struct json_walk w;
      struct json_span key, value;
      memcpy(copy, text, len);
      copy[b / sizeof bytes] = bytes[b % sizeof bytes];
      for (bool more = json_walk_open(&w, (struct json_span){copy, len}); more && json_walk_next(&w, &key, &value);) {
        char *out = malloc(value.len + key.len);
        size_t n;
        assert_true(key.text >= copy && value.text + value.len <= copy + len);
        (void)!json_walk_text(key, out, &n);
        (void)!json_walk_text(value, out, &n);
        free(out);
      }
      free(copy);
    }
}

static void says(const char *string, const char *text, size_t len) {
  char out[64];
  size_t n;
  assert_int_equal(json_walk_text(span(string), out, &n), 0);
  assert_int_equal(n, len);
  assert_memory_equal(out, text, len);
}

static void strings_say_what_is_meant(void **state) {
  (void)state;
  says("\"\"", "", 0);
  says("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t", 9);
  says("\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10);
  says("\"\\u0000\"", "\0", 1);
  says("\"\xc3\xa9\"", "\xc3\xa9", 2);
}

static void what_nobody_can_say_is_told_apart(void **state) {
  (void)state;
  static const char *const halves[] = {"\"\\ud800\"", "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud800\\ud800\"",
                                       "\"a\\ud83d\\n\""};
  static const char *const none[] = {"", "\"", "12", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\"};
  char out[64];
  size_t n;
  for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
    assert_int_equal(json_walk_text(span(halves[i]), out, &n), E_UTF8);
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_int_equal(json_walk_text(span(none[i]), out, &n), E_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(members_come_in_order_byte_for_byte),
    cmocka_unit_test(the_end_of_an_object_is_the_end_of_its_text),
    cmocka_unit_test(of_a_name_that_stands_twice_the_last_one_counts),
    cmocka_unit_test(broken_text_is_never_read_past_its_end),
    cmocka_unit_test(strings_say_what_is_meant),
    cmocka_unit_test(what_nobody_can_say_is_told_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
