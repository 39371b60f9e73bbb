/* In: frames as RFC 6455 prints them, and broken ones. Out: the same frames taken apart, or a clear refusal.
 * Why: a generator that loses or invents a frame measures something else. */
#include "err.h"
#include "ws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char accepted[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                               "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void the_request_is_the_one_of_the_rfc_and_carries_the_token(void **state) {
  (void)state;
  char out[512];
  int n = ws_request(out, sizeof out, "127.0.0.1", 8080, "/chatbox/ws", "a.b.c");
  assert_int_equal(n, strlen(out));
  assert_ptr_equal(strstr(out, "GET /chatbox/ws HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"), out);
  assert_non_null(strstr(out, "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
  assert_non_null(strstr(out, "\r\nAuthorization: Bearer a.b.c\r\n\r\n"));
  assert_true(ws_request(out, sizeof out, "127.0.0.1", 8080, "/", NULL) > 0);
  assert_null(strstr(out, "Authorization"));
  assert_int_equal(ws_request(out, 64, "127.0.0.1", 8080, "/", NULL), E_TOO_BIG);
}

static void an_answer_is_accepted_whole_and_not_before(void **state) {
  (void)state;
  size_t whole = sizeof accepted - 1;
  for (size_t n = 0; n < whole; n++)
    assert_int_equal(ws_response(accepted, n), 0);
  assert_int_equal(ws_response(accepted, whole), whole);
}

static void an_answer_that_is_not_a_websocket_is_refused(void **state) {
  (void)state;
  char other[sizeof accepted];
  memcpy(other, accepted, sizeof accepted);
  strstr(other, "s3pPL")[0] = 'x';
  assert_int_equal(ws_response(other, sizeof other - 1), E_INVALID);
  const char refused[] = "HTTP/1.1 401 Unauthorized\r\n\r\n";
  assert_int_equal(ws_response(refused, sizeof refused - 1), E_INVALID);
  const char silent[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
  assert_int_equal(ws_response(silent, sizeof silent - 1), E_INVALID);
}

static void a_masked_hello_is_the_one_of_the_rfc(void **state) {
  (void)state;
  const uint8_t wanted[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
  uint8_t out[sizeof wanted];
  uint32_t mask;
  memcpy(&mask, wanted + 2, sizeof mask);
  assert_int_equal(ws_header(out, WS_TEXT, 5, mask), 6);
  memcpy(out + 6, "Hello", 5);
  ws_mask(out + 6, 5, mask);
  assert_memory_equal(out, wanted, sizeof wanted);
}

static void masking_twice_gives_the_text_back_at_every_length(void **state) {
  (void)state;
  uint8_t text[64], masked[64];
  for (size_t i = 0; i < sizeof text; i++)
    text[i] = (uint8_t)(i * 37);
  for (size_t n = 0; n <= sizeof text; n++) {
    memcpy(masked, text, sizeof text);
    ws_mask(masked, n, 0x12345678);
    for (size_t i = 0; i < n; i++)
      assert_int_equal(masked[i], text[i] ^ (uint8_t)(0x12345678u >> (8 * (i % 4))));
    ws_mask(masked, n, 0x12345678);
    assert_memory_equal(masked, text, sizeof text);
  }
}

static void each_length_has_the_shortest_header(void **state) {
  (void)state;
  uint8_t out[WS_HEADER_MAX];
  assert_int_equal(ws_header(out, WS_TEXT, 125, 0), 6);
  assert_int_equal(ws_header(out, WS_TEXT, 126, 0), 8);
  assert_int_equal(out[2] << 8 | out[3], 126);
  assert_int_equal(ws_header(out, WS_TEXT, 65535, 0), 8);
  assert_int_equal(ws_header(out, WS_TEXT, 65536, 0), WS_HEADER_MAX);
  assert_int_equal(out[7], 1);
}

static void a_frame_is_taken_whole_and_not_before(void **state) {
  (void)state;
  const size_t lengths[] = {0, 5, 125, 126, 65535, 65536, WS_PAYLOAD_MAX};
  uint8_t *bytes = malloc(WS_PAYLOAD_MAX + 10);
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    size_t length = lengths[i], header = length < 126 ? 2 : length < 65536 ? 4 : 10;
    memset(bytes, 'x', length + header);
    bytes[0] = 0x81;
    bytes[1] = (uint8_t)(length < 126 ? length : length < 65536 ? 126 : 127);
    for (size_t b = 2; b < header; b++)
      bytes[b] = (uint8_t)((uint64_t)length >> (8 * (header - 1 - b)));
    struct ws_frame frame;
    for (size_t n = 0; n < header + length; n += n < 16 ? 1 : 997)
      assert_int_equal(ws_parse(bytes, n, &frame), 0);
    assert_int_equal(ws_parse(bytes, header + length, &frame), header + length);
    assert_int_equal(frame.opcode, WS_TEXT);
    assert_int_equal(frame.length, length);
    assert_ptr_equal(frame.payload, bytes + header);
  }
  free(bytes);
}

static void what_a_server_may_not_send_is_refused(void **state) {
  (void)state;
  struct ws_frame f;
  const uint8_t masked[] = {0x81, 0x80, 0, 0, 0, 0}, reserved[] = {0xc1, 0}, fragment[] = {0x01, 0},
                continuation[] = {0x80, 0}, long_ping[] = {0x89, 126, 0, 126}, cut_close[] = {0x08, 0},
                huge[] = {0x81, 127, 0, 0, 0, 0, 0, 2, 0, 1};
  assert_int_equal(ws_parse(masked, sizeof masked, &f), E_INVALID);
  assert_int_equal(ws_parse(reserved, sizeof reserved, &f), E_INVALID);
  assert_int_equal(ws_parse(long_ping, sizeof long_ping, &f), E_INVALID);
  assert_int_equal(ws_parse(cut_close, sizeof cut_close, &f), E_INVALID);
  assert_int_equal(ws_parse(fragment, sizeof fragment, &f), E_UNSUPPORTED);
  assert_int_equal(ws_parse(continuation, sizeof continuation, &f), E_UNSUPPORTED);
  assert_int_equal(ws_parse(huge, sizeof huge, &f), E_TOO_BIG);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_request_is_the_one_of_the_rfc_and_carries_the_token),
    cmocka_unit_test(an_answer_is_accepted_whole_and_not_before),
    cmocka_unit_test(an_answer_that_is_not_a_websocket_is_refused),
    cmocka_unit_test(a_masked_hello_is_the_one_of_the_rfc),
    cmocka_unit_test(masking_twice_gives_the_text_back_at_every_length),
    cmocka_unit_test(each_length_has_the_shortest_header),
    cmocka_unit_test(a_frame_is_taken_whole_and_not_before),
    cmocka_unit_test(what_a_server_may_not_send_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
