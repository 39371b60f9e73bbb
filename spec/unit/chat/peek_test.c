/* In: texts of clients, friendly and hostile. Out: the promise that the cid that is found is the one a decoder would
 * find, and that nothing else is ever taken for one: it goes out again inside JSON. */
#include "peek.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void finds(const char *text, const char *cid) {
  const char *at = NULL;
  size_t len = strlen(text);
  char *copy = malloc(len + 1); /* without its end, for the sanitizer */
  memcpy(copy, text, len);
  copy = realloc(copy, len ? len : 1);
  size_t found = peek_cid(copy, len, &at);
  if (found != strlen(cid) || (found && memcmp(at, cid, found) != 0))
    fail_msg("%s: found \"%.*s\"", text, (int)found, found ? at : "");
  free(copy);
}

static void a_cid_is_found_wherever_it_stands(void **state) {
  (void)state;
  finds("{\"cid\":\"a\"}", "a");
  finds(" { \"type\" : \"ping\" , \"cid\" : \"a-1\" , \"n\":1}", "a-1");
  finds("{\"content\":\"say "
        "\\\"cid\\\":\\\"no\\\"\",\"metadata\":{\"cid\":\"no\",\"l\":[{\"cid\":\"no\"}]},\"cid\":\"yes\"}",
        "yes");
  finds("{\"cid\":\"first\",\"cid\":\"last\"}", "last");
}

static void what_is_no_cid_is_not_taken_for_one(void **state) {
  (void)state;
  const char *const texts[] = {"",
                               "{",
                               "}",
                               "[\"cid\",\"a\"]",
                               "\"cid\"",
                               "{\"cid\":5}",
                               "{\"cid\":null,\"x\":\"y\"}",
                               "{\"cid\":[\"a\"]}",
                               "{\"cid\":{\"cid\":\"a\"}}",
                               "{\"cid\":\"\"}",
                               "{\"cid\":\"a\\\"b\"}",
                               "{\"cid\":\"a\\u0000\"}",
                               "{\"cid\":\"a\nb\"}",
                               "{\"cid\":\"a\"",
                               "{\"cid\":\"a",
                               "{\"cid\"",
                               "{\"x\":\"cid\",\"y\":\"a\"}",
                               "{\"metadata\":{\"cid\":\"a\"}}",
                               "{\"cid\":\"a\"}}",
                               "{\"\\",
                               "{\"cid\":\"\\"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    finds(texts[i], "");
}

static void a_cid_is_no_longer_than_a_cid_may_be(void **state) {
  (void)state;
  char text[200], cid[130];
  memset(cid, 'x', 129);
  cid[129] = 0;
  strcat(strcat(strcpy(text, "{\"cid\":\""), cid), "\"}");
  finds(text, "");
  cid[128] = 0;
  strcat(strcat(strcpy(text, "{\"cid\":\""), cid), "\"}");
  finds(text, cid);
}

static void the_type_is_found_in_the_same_way(void **state) {
  (void)state;
  const char *at;
  static const char text[] = "{\"cid\":\"type\",\"metadata\":{\"type\":\"no\"},\"type\":\"ping\"}";
  assert_int_equal(peek_type(text, sizeof text - 1, &at), 4);
  assert_memory_equal(at, "ping", 4);
  assert_int_equal(peek_type("{\"type\":5}", 10, &at), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_cid_is_found_wherever_it_stands),
    cmocka_unit_test(what_is_no_cid_is_not_taken_for_one),
    cmocka_unit_test(the_type_is_found_in_the_same_way),
    cmocka_unit_test(a_cid_is_no_longer_than_a_cid_may_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
