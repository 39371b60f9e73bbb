/* What core/net/http.c promises: every answer carries the same headers to the letter, nothing a script says can break
 * out of its line, and a body is there exactly when there may be one. */
#include "http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECURITY                                                                                                       \
  "X-Content-Type-Options: nosniff\r\nReferrer-Policy: strict-origin-when-cross-origin\r\n"                            \
  "X-XSS-Protection: 1; mode=block\r\n"

/* Exactly the bytes, terminated. */
static char *render(const struct http_response *res, const struct http_frame *frame) {
  size_t len;
  char *bytes = http_render(res, frame, 0, &len);
  assert_non_null(bytes);
  char *text = strndup(bytes, len);
  assert_int_equal(strlen(text), len);
  free(bytes);
  return text;
}

static void assert_renders(const struct http_response *res, const struct http_frame *frame, const char *expected) {
  char *text = render(res, frame);
  assert_string_equal(text, expected);
  free(text);
}

static void an_answer_is_these_bytes_and_no_others(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .body = "{}", .body_len = 2};
  const struct http_frame frame = {0};
  assert_renders(&res, &frame,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n" SECURITY
                 "X-Frame-Options: DENY\r\n\r\n{}");
}

static void a_page_may_be_framed_and_runs_only_its_own_scripts(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .type = "text/html; charset=utf-8", .body = "x", .body_len = 1};
  const struct http_frame frame = {.page = true};
  assert_renders(&res, &frame,
                 "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 1\r\n" SECURITY
                 "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; "
                 "img-src 'self' data:; connect-src 'self' ws: wss:; media-src https:; "
                 "base-uri 'none'; form-action 'none'\r\n\r\nx");
}

static void a_page_may_be_framed_by_whom_the_operator_names(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .type = "text/html; charset=utf-8", .body = "x", .body_len = 1};
  struct http_frame frame = {.page = true, .ancestors = "'self',https://a.example"};
  char *text = render(&res, &frame);
  assert_non_null(strstr(text, "; form-action 'none'; frame-ancestors 'self' https://a.example\r\n"));
  free(text);
  frame.page = false;
  text = render(&res, &frame);
  assert_null(strstr(text, "frame-ancestors"));
  assert_non_null(strstr(text, "X-Frame-Options: DENY\r\n"));
  free(text);
}

static void another_origins_page_is_let_read(void **state) {
  (void)state;
  const struct http_response res = {.status = 404, .body = "", .body_len = 0};
  const struct http_frame frame = {.cors_origin = "https://a.example"};
  assert_renders(
    &res, &frame,
    "HTTP/1.1 404 Not Found\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: "
    "0\r\n" SECURITY "X-Frame-Options: DENY\r\nAccess-Control-Allow-Origin: https://a.example\r\n"
    "Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: Content-Length,Link,Retry-After\r\n"
    "Vary: Origin\r\n\r\n");
}

static void to_head_the_length_is_told_and_the_body_is_not_sent(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .body = "hello", .body_len = 5};
  const struct http_frame frame = {.head = true};
  assert_renders(&res, &frame,
                 "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 5\r\n" SECURITY
                 "X-Frame-Options: DENY\r\n\r\n");
}

static void an_answer_says_when_it_was_and_whether_the_connection_stays(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .body = "", .body_len = 0};
  struct http_frame frame = {.now_s = 784111777, .close = true};
  char *text = render(&res, &frame);
  assert_non_null(strstr(text, "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n"));
  free(text);
  frame = (struct http_frame){.keep_alive = true};
  text = render(&res, &frame);
  assert_non_null(strstr(text, "\r\nConnection: keep-alive\r\n"));
  assert_null(strstr(text, "Date:"));
  free(text);
}

static void a_401_says_how_to_do_better(void **state) {
  (void)state;
  struct http_response res = {.status = 401, .body = "", .body_len = 0};
  struct http_frame frame = {0};
  char *text = render(&res, &frame);
  assert_non_null(strstr(text, "\r\nWWW-Authenticate: Bearer\r\n"));
  free(text);
  frame.bad_token = true;
  text = render(&res, &frame);
  assert_non_null(strstr(text, "\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\n"));
  free(text);
  res.header_count = 1;
  res.headers[0] = (struct http_header){"www-authenticate", "Basic"};
  text = render(&res, &frame);
  assert_null(strstr(text, "Bearer"));
  free(text);
}

static void what_the_connection_does_is_not_the_scripts_to_say(void **state) {
  (void)state;
  const char *const ours[] = {"Connection", "keep-alive", "DATE", "Upgrade", "Content-Length", "transfer-encoding"};
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
    const struct http_response res = {
      .status = 200, .body = "", .header_count = 1, .headers = {{ours[i], "from a script"}}};
    const struct http_frame frame = {0};
    char *text = render(&res, &frame);
    assert_null(strstr(text, "from a script"));
    free(text);
  }
}

static void what_has_no_body_says_nothing_of_one(void **state) {
  (void)state;
  const int statuses[] = {204, 304};
  const char *const lines[] = {"HTTP/1.1 204 No Content\r\n", "HTTP/1.1 304 Not Modified\r\n"};
  for (int i = 0; i < 2; i++) {
    const struct http_response res = {.status = statuses[i], .body = "not to be seen", .body_len = 14};
    const struct http_frame frame = {0};
    char expected[512];
    snprintf(expected, sizeof expected, "%s" SECURITY "X-Frame-Options: DENY\r\n\r\n", lines[i]);
    assert_renders(&res, &frame, expected);
  }
}

static void headers_of_the_script_come_behind_ours(void **state) {
  (void)state;
  const struct http_response res = {
    .status = 301, .body = "", .header_count = 2, .headers = {{"Location", "/chatbox/a b"}, {"X-Empty", ""}}};
  const struct http_frame frame = {0};
  char *text = render(&res, &frame);
  assert_non_null(strstr(text, "X-Frame-Options: DENY\r\nLocation: /chatbox/a b\r\nX-Empty: \r\n\r\n"));
  free(text);
}

static void a_header_that_would_break_out_of_its_line_is_left_out(void **state) {
  (void)state;
  const struct http_header bad[] = {
    {"X-A", "1\r\nX-Evil: 1"}, {"X-A", "1\nX-Evil: 1"}, {"X-A", "1\rX-Evil"},   {"X-A\r\nX-Evil", "1"},
    {"X-A: x\r\n", "1"},       {"X-Evil: a", "1"},      {"X-Evil a", "1"},      {"", "X-Evil"},
    {"X-Evil", "a\x7f"},       {"X-Evil", "a\x01"},     {"X-Evil", "tab\tbed"},
  };
  const struct http_frame frame = {0};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    const struct http_response res = {
      .status = 200, .body = "", .header_count = 2, .headers = {bad[i], {"X-Good", "1"}}};
    char *text = render(&res, &frame);
    assert_null(strstr(text, "Evil"));
    assert_null(strstr(text, "X-A"));
    assert_non_null(strstr(text, "\r\nX-Good: 1\r\n\r\n"));
    free(text);
  }
}

/* Two lengths, and a proxy and a browser read two different answers. */
static void where_the_body_ends_is_said_once(void **state) {
  (void)state;
  const struct http_response res = {.status = 200,
                                    .body = "ab",
                                    .body_len = 2,
                                    .header_count = 2,
                                    .headers = {{"content-length", "1"}, {"Transfer-Encoding", "chunked"}}};
  const struct http_frame frame = {0};
  char *text = render(&res, &frame);
  assert_non_null(strstr(text, "\r\nContent-Length: 2\r\n"));
  assert_null(strstr(text, "content-length"));
  assert_null(strstr(text, "chunked"));
  free(text);
}

static void a_type_or_an_origin_that_would_break_out_is_not_written(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .type = "text/html\r\nX-Evil: 1", .body = "", .body_len = 0};
  const struct http_frame frame = {.cors_origin = "https://a\r\nX-Evil: 1"};
  char *text = render(&res, &frame);
  assert_null(strstr(text, "Evil"));
  assert_null(strstr(text, "Access-Control"));
  assert_non_null(strstr(text, "\r\nContent-Type: application/json; charset=utf-8\r\n"));
  free(text);
}

static void a_body_is_bytes_and_room_is_left_in_front(void **state) {
  (void)state;
  const struct http_response res = {.status = 200, .type = "image/png", .body = "a\0b\r\n", .body_len = 5};
  const struct http_frame frame = {0};
  size_t len;
  char *bytes = http_render(&res, &frame, 100, &len);
  memset(bytes, 'x', 100); /* the transport's */
  assert_memory_equal(bytes + 100, "HTTP/1.1 200 OK\r\n", 17);
  assert_memory_equal(bytes + 100 + len - 9, "\r\n\r\na\0b\r\n", 9);
  free(bytes);
}

static void every_status_has_a_reason(void **state) {
  (void)state;
  assert_string_equal(http_reason(413), "Content Too Large");
  assert_string_equal(http_reason(429), "Too Many Requests");
  assert_string_equal(http_reason(503), "Service Unavailable");
  assert_string_equal(http_reason(299), "OK");
  assert_string_equal(http_reason(599), "Error");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_answer_is_these_bytes_and_no_others),
    cmocka_unit_test(a_page_may_be_framed_and_runs_only_its_own_scripts),
    cmocka_unit_test(a_page_may_be_framed_by_whom_the_operator_names),
    cmocka_unit_test(another_origins_page_is_let_read),
    cmocka_unit_test(to_head_the_length_is_told_and_the_body_is_not_sent),
    cmocka_unit_test(an_answer_says_when_it_was_and_whether_the_connection_stays),
    cmocka_unit_test(a_401_says_how_to_do_better),
    cmocka_unit_test(what_the_connection_does_is_not_the_scripts_to_say),
    cmocka_unit_test(what_has_no_body_says_nothing_of_one),
    cmocka_unit_test(headers_of_the_script_come_behind_ours),
    cmocka_unit_test(a_header_that_would_break_out_of_its_line_is_left_out),
    cmocka_unit_test(where_the_body_ends_is_said_once),
    cmocka_unit_test(a_type_or_an_origin_that_would_break_out_is_not_written),
    cmocka_unit_test(a_body_is_bytes_and_room_is_left_in_front),
    cmocka_unit_test(every_status_has_a_reason),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
