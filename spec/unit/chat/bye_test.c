/* Promises of core/chat/bye.h: whatever the reason, a bye is one JSON document in its bound, with the word of its
 * number, and says when to come back to those who shall. */
#include "bye.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <jansson.h>

#define NOW_MS 1795822519123u

static json_t *document(int close, const char *code, const char *reason, uint64_t conn) {
  char text[BYE_TEXT_MAX];
  size_t len = bye_text(text, close, code, reason, conn, NOW_MS);
  assert_true(len > 0 && len < sizeof text);
  json_t *doc = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(doc);
  assert_string_equal(json_string_value(json_object_get(doc, "type")), "bye");
  return doc;
}

static const char *field(const json_t *doc, const char *name) {
  return json_string_value(json_object_get(doc, name));
}

static void each_number_has_its_word_and_says_whether_to_come_back(void **state) {
  (void)state;
  static const struct {
    int close;
    const char *code;
    bool again;
  } expected[] = {{1001, "going_away", true},     {1013, "try_later", true},  {1008, "refused", false},
                  {4401, "token_expired", false}, {4403, "not_yours", false}, {4409, "replaced", false}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    json_t *doc = document(expected[i].close, NULL, "so it is", 7);
    assert_string_equal(field(doc, "code"), expected[i].code);
    assert_string_equal(field(doc, "reason"), "so it is");
    json_int_t wait_ms = json_integer_value(json_object_get(doc, "retry_after_ms"));
    assert_true(expected[i].again ? wait_ms > 0 : wait_ms == 0);
    json_decref(doc);
  }
}

static void those_who_come_back_are_spread(void **state) {
  (void)state;
  json_int_t first = 0;
  bool differ = false;
  for (uint64_t conn = 0; conn < 100; conn++) {
    json_t *doc = document(1001, NULL, "", conn);
    json_int_t wait_ms = json_integer_value(json_object_get(doc, "retry_after_ms"));
    assert_true(wait_ms >= 250 && wait_ms <= 4000);
    differ = differ || (conn > 0 && wait_ms != first);
    first = conn > 0 ? first : wait_ms;
    json_decref(doc);
  }
  assert_true(differ);
}

static void a_reason_may_hold_whatever_a_script_puts_there(void **state) {
  (void)state;
  static const char bytes[] = {1, '"', '\\', '\n', 0x7f};
  static const int closes[] = {CLOSE_NORMAL, CLOSE_PROTOCOL, CLOSE_TRY_LATER, CLOSE_UNAUTHORIZED, 4999};
  for (size_t b = 0; b < sizeof bytes; b++)
    for (size_t i = 0; i < sizeof closes / sizeof *closes; i++) {
      char reason[CONN_REASON_MAX + 1] = {0};
      memset(reason, bytes[b], CONN_REASON_MAX);
      json_t *doc = document(closes[i], NULL, reason, UINT64_MAX);
      assert_string_equal(field(doc, "reason"), reason);
      json_decref(doc);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_number_has_its_word_and_says_whether_to_come_back),
    cmocka_unit_test(those_who_come_back_are_spread),
    cmocka_unit_test(a_reason_may_hold_whatever_a_script_puts_there),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
