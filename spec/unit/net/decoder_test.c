/* What core/net/decoder.c promises: the same events whatever pieces the bytes come in, texts whole and bounded, and an
 * error for every frame a client may not send (RFC 6455). */
#include "decoder.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 300 };

struct bytes {
  size_t len;
  char at[4096];
};

/* Adds a masked frame; `first` is its first byte. */
static void add(struct bytes *b, unsigned first, const char *payload, size_t len) {
  static const uint8_t mask[] = {0x12, 0x34, 0x56, 0x78};
  b->at[b->len++] = (char)first;
  if (len < 126) {
    b->at[b->len++] = (char)(0x80 | len);
  } else {
    b->at[b->len++] = (char)(0x80 | 126);
    b->at[b->len++] = (char)(len >> 8);
    b->at[b->len++] = (char)len;
  }
  memcpy(b->at + b->len, mask, 4);
  b->len += 4;
  for (size_t i = 0; i < len; i++) {
    b->at[b->len++] = (char)((uint8_t)payload[i] ^ mask[i & 3]);
  }
}

static void add_text(struct bytes *b, unsigned first, const char *payload) {
  add(b, first, payload, strlen(payload));
}

/* Everything that happens, as one line: T(text) I(ping) O(pong) C(close) E(error code). */
static void run(const struct bytes *b, size_t step, char out[8192]) {
  struct decoder d = {0};
  static const char letters[] = "?TIOC";
  *out = 0;
  int event = 0;
  for (size_t at = 0; at < b->len && event >= 0; at += step) {
    size_t len = step < b->len - at ? step : b->len - at;
    char *copy = malloc(len), *bytes = copy; /* of its own, so that a read beyond it is seen */
    memcpy(copy, b->at + at, len);
    const char *payload;
    size_t payload_len;
    while ((event = decoder_next(&d, &bytes, &len, LIMIT, &payload, &payload_len)) > 0) {
      sprintf(out + strlen(out), "%c(%.*s)", letters[event], (int)payload_len, payload);
      decoder_rest(&d);
    }
    if (event < 0) {
      sprintf(out + strlen(out), "E(%s)", err_name(event));
    }
    free(copy);
  }
  decoder_deinit(&d);
}

static void assert_events(const struct bytes *b, const char *expected) {
  char *out = malloc(8192);
  for (size_t step = 1; step <= b->len; step += step < 20 ? 1 : 97) {
    run(b, step, out);
    assert_string_equal(out, expected);
  }
  run(b, b->len, out);
  assert_string_equal(out, expected);
  free(out);
}

static void texts_come_out_whole(void **state) {
  (void)state;
  struct bytes b = {0};
  add_text(&b, 0x81, "hello");
  add_text(&b, 0x82, "binary is text too");
  add_text(&b, 0x81, "");
  add_text(&b, 0x01, "one ");
  add_text(&b, 0x00, "");
  add_text(&b, 0x80, "text");
  assert_events(&b, "T(hello)T(binary is text too)T()T(one text)");
}

static void control_frames_pass_between_fragments(void **state) {
  (void)state;
  struct bytes b = {0};
  add_text(&b, 0x01, "a");
  add_text(&b, 0x89, "ping");
  add_text(&b, 0x8a, "");
  add_text(&b, 0x80, "b");
  add(&b, 0x88, "\x03\xe8", 2);
  assert_events(&b, "I(ping)O()T(ab)C(\x03\xe8)");
}

static void long_frames_are_measured_in_two_or_eight_bytes(void **state) {
  (void)state;
  char text[301] = "", expected[400];
  memset(text, 'x', 300);
  struct bytes b = {0};
  add_text(&b, 0x81, text);
  snprintf(expected, sizeof expected, "T(%s)", text);
  assert_events(&b, expected);
}

static void what_a_client_may_not_send_is_an_error(void **state) {
  (void)state;
  static const struct {
    const char *what;
    unsigned char bytes[14];
    size_t len;
  } cases[] = {{"unmasked", {0x81, 0x02, '{', '}'}, 4},
               {"unmasked ping", {0x89, 0x00}, 2},
               {"rsv1", {0xc1, 0x80}, 2},
               {"rsv2", {0xa1, 0x80}, 2},
               {"rsv3", {0x91, 0x80}, 2},
               {"opcode 3", {0x83, 0x80}, 2},
               {"opcode 7", {0x87, 0x80}, 2},
               {"opcode 11", {0x8b, 0x80}, 2},
               {"opcode 15", {0x8f, 0x80}, 2},
               {"fragmented ping", {0x09, 0x80}, 2},
               {"fragmented close", {0x08, 0x80}, 2},
               {"long ping", {0x89, 0xfe}, 2},
               {"longer ping", {0x89, 0xff}, 2},
               {"lone continuation", {0x80, 0x80}, 2},
               {"lone first continuation", {0x00, 0x80}, 2},
               {"length 125 in two bytes", {0x81, 0xfe, 0, 125, 1, 2, 3, 4}, 8},
               {"length 65535 in eight bytes", {0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}, 14},
               {"a negative length", {0x81, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, 14}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bytes b = {.len = cases[i].len};
    memcpy(b.at, cases[i].bytes, b.len);
    char out[8192];
    for (size_t step = 1; step <= b.len; step++) {
      run(&b, step, out);
      if (strcmp(out, "E(PROTOCOL)") != 0) {
        fail_msg("%s: %s", cases[i].what, out);
      }
    }
  }
  struct bytes text_in_text = {0};
  add_text(&text_in_text, 0x01, "a");
  add_text(&text_in_text, 0x81, "b");
  assert_events(&text_in_text, "E(PROTOCOL)");
}

static void a_message_has_a_bound_and_is_refused_by_its_head(void **state) {
  (void)state;
  struct bytes huge = {.len = 14};
  memcpy(huge.at, "\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\1\2\3\4", 14);
  assert_events(&huge, "E(TOO_BIG)");
  struct bytes over = {.len = 8};
  memcpy(over.at, "\x81\xfe\x01\x2d\1\2\3\4", 8); /* 301 */
  assert_events(&over, "E(TOO_BIG)");
  char text[201] = "";
  memset(text, 'x', 200);
  struct bytes pieces = {0};
  add_text(&pieces, 0x01, text);
  add_text(&pieces, 0x80, text);
  assert_events(&pieces, "E(TOO_BIG)");
}

static void a_text_that_is_no_text_is_an_error(void **state) {
  (void)state;
  struct bytes b = {0}, pieces = {0};
  add_text(&b, 0x81, "\xc3(");
  assert_events(&b, "E(UTF8)");
  add_text(&pieces, 0x01, "\xc3");
  add_text(&pieces, 0x80, "\xa9");
  assert_events(&pieces, "T(\xc3\xa9)");
}

static void a_close_says_a_code_that_may_be_said(void **state) {
  (void)state;
  int code;
  assert_int_equal(decoder_close_code("", 0, &code), 0);
  assert_int_equal(code, 0);
  assert_int_equal(decoder_close_code("\x03", 1, &code), E_PROTOCOL);
  const int good[] = {1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999},
            bad[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    const char payload[] = {(char)(good[i] >> 8), (char)good[i], 'o', 'k'};
    assert_int_equal(decoder_close_code(payload, 4, &code), 0);
    assert_int_equal(code, good[i]);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const char payload[] = {(char)(bad[i] >> 8), (char)bad[i]};
    assert_int_equal(decoder_close_code(payload, 2, &code), E_PROTOCOL);
  }
  assert_int_equal(decoder_close_code("\x03\xe8\xff", 3, &code), E_UTF8);
}

static void an_idle_connection_holds_nothing(void **state) {
  (void)state;
  struct bytes b = {0};
  add_text(&b, 0x01, "hel");
  add_text(&b, 0x80, "lo");
  struct decoder d = {0};
  char *bytes = b.at;
  const char *text;
  size_t text_len;
  assert_int_equal(decoder_next(&d, &bytes, &b.len, LIMIT, &text, &text_len), DECODER_TEXT);
  assert_int_equal(text_len, 5);
  decoder_rest(&d);
  assert_null(d.text.bytes);
  assert_null(d.control);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(texts_come_out_whole),
                                     cmocka_unit_test(control_frames_pass_between_fragments),
                                     cmocka_unit_test(long_frames_are_measured_in_two_or_eight_bytes),
                                     cmocka_unit_test(what_a_client_may_not_send_is_an_error),
                                     cmocka_unit_test(a_message_has_a_bound_and_is_refused_by_its_head),
                                     cmocka_unit_test(a_text_that_is_no_text_is_an_error),
                                     cmocka_unit_test(a_close_says_a_code_that_may_be_said),
                                     cmocka_unit_test(an_idle_connection_holds_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
