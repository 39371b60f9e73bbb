/* What core/net/head.c promises: the head of a request has one reading, whatever pieces it comes in; what leaves its
 * end, or the end of its body, in doubt is refused with the status that says why. */
#include "head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char block[HEAD_BYTES_MAX + 1024];

/* The status a request is refused with; 0: it is good, and *h is its head. */
static int parse(struct head *h, const char *text, size_t len) {
  struct head_search s = {0};
  size_t end = 0;
  assert_true(len <= sizeof block);
  memcpy(block, text, len);
  int status = head_find(&s, block, len, &end);
  assert_int_not_equal(status, 0);
  return status == 200 ? head_parse(h, block, end) : status;
}

#define REST " HTTP/1.1\r\nHost: a\r\n"
#define GET "GET /" REST
#define POST "POST /" REST

static void assert_status(const char *text, int status) {
  struct head h;
  int found = parse(&h, text, strlen(text));
  if (found != status) {
    fail_msg("%d instead of %d for %s", found, status, text);
  }
}

static void a_request_is_taken_apart(void **state) {
  (void)state;
  struct head h;
  static const char text[] =
    "GET /a%20b/c?x=1%26&y=a+b&z HTTP/1.1\r\nHost: chat.example:80\r\nX-One:\t two words \t\r\n"
    "x-EMPTY:\r\n\r\n";
  assert_int_equal(parse(&h, text, sizeof text - 1), 0);
  assert_string_equal(h.method, "GET");
  assert_string_equal(h.path, "/a b/c");
  assert_string_equal(h.host, "chat.example:80");
  assert_string_equal(head_value(&h, "x-one"), "two words");
  assert_string_equal(head_value(&h, "x-empty"), "");
  assert_null(head_value(&h, "x-two"));
  assert_string_equal(head_query_next(&h.query), "x=1&");
  assert_string_equal(head_query_next(&h.query), "y=a b");
  assert_string_equal(head_query_next(&h.query), "z");
  assert_null(head_query_next(&h.query));
  assert_true(h.keep);
  assert_int_equal(h.length, 0);
  assert_false(h.chunked || h.expects || h.http10 || h.upgrade || h.websocket);
}

static void a_head_in_any_pieces_ends_where_it_ends(void **state) {
  (void)state;
  static const char text[] = "\r\n\r\nGET /" REST "X: y\r\n\r\nrest";
  const size_t whole = sizeof text - 1 - 4;
  for (size_t step = 1; step < sizeof text; step++) {
    struct head_search s = {0};
    size_t end = 0;
    int status = 0;
    for (size_t len = step; !status; len += step) {
      status = head_find(&s, text, len < sizeof text - 1 ? len : sizeof text - 1, &end);
      assert_true(status || len < whole);
    }
    assert_int_equal(status, 200);
    assert_int_equal(end, whole);
  }
}

static void lines_end_with_cr_lf_and_nothing_else(void **state) {
  (void)state;
  assert_status("\r\n" GET "\r\n", 0);
  assert_status("GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
  assert_status("\n" GET "\r\n", 400);
  assert_status(GET "X: y\n\r\n", 400);
  assert_status(GET "X: y\r\n\n", 400);
  assert_status(GET "X: y\rZ: w\r\n\r\n", 400);
  assert_status(GET "\rX: y\r\n\r\n", 400);
  assert_status("\rGET / HTTP/1.1\r\n", 400);
  struct head h;
  static const char nul[] = GET "X: a\0b\r\n\r\n", nul_target[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
  assert_int_equal(parse(&h, nul, sizeof nul - 1), 400);
  assert_int_equal(parse(&h, nul_target, sizeof nul_target - 1), 400);
}

static void the_request_line_has_three_words(void **state) {
  (void)state;
  const char *const bad[] = {"GET /",           "GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ",
                             " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "G@T / HTTP/1.1",  "GET /a b HTTP/1.1",
                             "GET  HTTP/1.1",   "GET / http/1.1",  "GET / HTTP/1",    "GET / HTTP/1.x",
                             "GET / HTTP/11.1", "GET / HTTPS/1.1", "GET / HTTP/1.10"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[128];
    snprintf(text, sizeof text, "%s\r\nHost: a\r\n\r\n", bad[i]);
    assert_status(text, 400);
  }
  assert_status("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505);
  assert_status("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505);
  assert_status("PRI * HTTP/2.0\r\n\r\n", 505);
  assert_status("GET / HTTP/1.7\r\nHost: a\r\n\r\n", 0);
  struct head h;
  static const char brew[] = "BREW /" REST "\r\n", lower[] = "get /" REST "\r\n";
  assert_int_equal(parse(&h, brew, sizeof brew - 1), 0);
  assert_string_equal(h.method, "");
  assert_int_equal(parse(&h, lower, sizeof lower - 1), 0);
  assert_string_equal(h.method, "");
}

static void what_cannot_begin_a_request_is_not_waited_for(void **state) {
  (void)state;
  const char *const texts[] = {"\x16\x03\x01", " ", "\n", "\x80", "{"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct head_search s = {0};
    size_t end;
    assert_int_equal(head_find(&s, texts[i], strlen(texts[i]), &end), 400);
  }
}

static void a_target_is_a_path_or_a_whole_address(void **state) {
  (void)state;
  struct head h;
  const struct {
    const char *target, *path, *host, *query;
  } good[] = {{"http://b:8080/p?q", "/p", "b:8080", "q"},
              {"HTTP://b", "/", "b", NULL},
              {"https://b?q=1", "/", "b", "q=1"},
              {"/%2e%2E/x", "/../x", "a", NULL},
              {"/p?", "/p", "a", ""},
              {"//b/p", "//b/p", "a", NULL},
              {"/p?a?b/c", "/p", "a", "a?b/c"}};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    char text[128];
    int len = snprintf(text, sizeof text, "GET %s" REST "\r\n", good[i].target);
    assert_int_equal(parse(&h, text, (size_t)len), 0);
    assert_string_equal(h.path, good[i].path);
    assert_string_equal(h.host, good[i].host);
    assert_true(good[i].query ? h.query && strcmp(h.query, good[i].query) == 0 : !h.query);
  }
  const char *const bad[] = {"x",    "*",      "http:///p", "ftp://b/p", "/%",          "/%0",
                             "/%zz", "/%00",   "/a%00.png", "/?a=%",     "/?%00",       "/?x=%4",
                             "/#f",  "/a\x7f", "/\xc3\xa9", "a:443",     "http://b c/", "http://b@c/"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[128];
    snprintf(text, sizeof text, "GET %s" REST "\r\n", bad[i]);
    assert_status(text, 400);
  }
  assert_status("OPTIONS *" REST "\r\n", 0);
}

static void a_field_has_a_name_a_colon_and_one_line(void **state) {
  (void)state;
  const char *const bad[] = {
    "X : y",    "X",        ": y",   "X y: z",   "X\t: y",  " X: y", "\tX: y", "X: y\r\n folded", "X: y\r\n\tfolded",
    "X: a\x01", "X: a\x7f", "X(: y", "\"X\": y", "X\x80: y"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[128];
    snprintf(text, sizeof text, GET "%s\r\n\r\n", bad[i]);
    assert_status(text, 400);
  }
  assert_status(GET "X: a\tb \x80\xff\r\n\r\n", 0);
  assert_status(GET "X:y:z\r\n\r\n", 0);
}

static void a_host_is_named_once(void **state) {
  (void)state;
  assert_status("GET / HTTP/1.1\r\n\r\n", 400);
  assert_status("GET http://b/ HTTP/1.1\r\n\r\n", 400);
  assert_status("GET / HTTP/1.0\r\n\r\n", 0);
  assert_status(GET "Host: a\r\n\r\n", 400);
  assert_status(GET "host: b\r\n\r\n", 400);
  assert_status("GET / HTTP/1.1\r\nHost:\r\n\r\n", 0);
  const char *const bad[] = {"a/b", "a b", "a@b", "a?b", "a,\tb", "a#b", "a\\b"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[128];
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
    assert_status(text, 400);
  }
  assert_status("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 0);
}

static void a_body_has_one_length(void **state) {
  (void)state;
  struct head h;
  static const char five[] = POST "Content-Length: 5\r\n\r\n", zeros[] = POST "Content-Length: 0005\r\n\r\n",
                    huge[] = POST "Content-Length: 99999999999999999999999\r\n\r\n", none[] = POST "\r\n";
  assert_int_equal(parse(&h, five, sizeof five - 1), 0);
  assert_int_equal(h.length, 5);
  assert_int_equal(parse(&h, zeros, sizeof zeros - 1), 0);
  assert_int_equal(h.length, 5);
  assert_int_equal(parse(&h, huge, sizeof huge - 1), 0);
  assert_true(h.length == UINT64_MAX);
  assert_int_equal(parse(&h, none, sizeof none - 1), 0);
  assert_int_equal(h.length, 0);
  const char *const bad[] = {"-1",
                             "+5",
                             "5x",
                             "x",
                             "",
                             "5, 5",
                             "5 5",
                             "0x5",
                             "5.0",
                             "5\r\nContent-Length: 5",
                             "5\r\nContent-Length: 6",
                             "5\r\nTransfer-Encoding: chunked"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[128];
    snprintf(text, sizeof text, POST "Content-Length: %s\r\n\r\n", bad[i]);
    assert_status(text, 400);
  }
}

static void of_transfer_codings_only_chunked_is_understood(void **state) {
  (void)state;
  struct head h;
  const char *const good[] = {"chunked", "CHUNKED", " chunked ,", ",chunked"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    char text[128];
    int len = snprintf(text, sizeof text, POST "Transfer-Encoding: %s\r\n\r\n", good[i]);
    assert_int_equal(parse(&h, text, (size_t)len), 0);
    assert_true(h.chunked);
  }
  const struct {
    const char *coding;
    int status;
  } bad[] = {{"gzip", 501},
             {"gzip, chunked", 501},
             {"identity", 501},
             {"xchunked", 501},
             {"chunked;q=1", 501},
             {"chunked, gzip", 400},
             {"chunked, chunked", 400},
             {"", 400},
             {",", 400},
             {"chunked\r\nTransfer-Encoding: chunked", 400},
             {"gzip\r\nTransfer-Encoding: chunked", 501},
             {"\x0b"
              "chunked",
              400},
             {"chunked\r\nContent-Length: 0", 400}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[128];
    snprintf(text, sizeof text, POST "Transfer-Encoding: %s\r\n\r\n", bad[i].coding);
    assert_status(text, bad[i].status);
  }
  assert_status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

static void a_connection_stays_as_the_versions_say(void **state) {
  (void)state;
  const struct {
    const char *version, *connection;
    bool keep;
  } cases[] = {{"1.1", "", true},
               {"1.1", "Connection: close\r\n", false},
               {"1.1", "Connection: foo, CLOSE ,bar\r\n", false},
               {"1.1", "Connection: foo\r\nConnection: close\r\n", false},
               {"1.1", "Connection: closed\r\n", true},
               {"1.0", "", false},
               {"1.0", "Connection: Keep-Alive\r\n", true},
               {"1.0", "Connection: keep-alive, close\r\n", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct head h;
    char text[128];
    int len = snprintf(text, sizeof text, "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", cases[i].version, cases[i].connection);
    assert_int_equal(parse(&h, text, (size_t)len), 0);
    assert_int_equal(h.keep, cases[i].keep);
  }
}

static void an_upgrade_is_one_word_of_a_list(void **state) {
  (void)state;
  struct head h;
  static const char both[] = GET "Connection: keep-alive, UPGRADE\r\nUpgrade: h2c, WebSocket\r\n\r\n",
                    other[] = GET "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
                    old[] = "GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  assert_int_equal(parse(&h, both, sizeof both - 1), 0);
  assert_true(h.upgrade && h.websocket);
  assert_int_equal(parse(&h, other, sizeof other - 1), 0);
  assert_true(h.upgrade && !h.websocket);
  assert_int_equal(parse(&h, old, sizeof old - 1), 0);
  assert_false(h.upgrade || h.websocket);
}

static void an_expectation_is_100_continue_or_refused(void **state) {
  (void)state;
  struct head h;
  static const char good[] = POST "Expect: 100-Continue\r\n\r\n",
                    old[] = "POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
  assert_int_equal(parse(&h, good, sizeof good - 1), 0);
  assert_true(h.expects);
  assert_int_equal(parse(&h, old, sizeof old - 1), 0);
  assert_false(h.expects);
  assert_status(POST "Expect: miracles\r\n\r\n", 417);
}

static void who_and_how_is_said_once(void **state) {
  (void)state;
  assert_status(GET "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n", 400);
  assert_status(GET "Origin: a\r\norigin: a\r\n\r\n", 400);
  assert_status(GET "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: b\r\n\r\n", 400);
  assert_status(GET "Accept: a\r\nAccept: b\r\n\r\n", 0);
}

static void a_head_has_bounds(void **state) {
  (void)state;
  struct head_search s = {0};
  size_t end;
  char *text = malloc(2 * HEAD_BYTES_MAX);
  memset(text, 'a', 2 * HEAD_BYTES_MAX);
  memcpy(text, "GET /", 5);
  assert_int_equal(head_find(&s, text, HEAD_BYTES_MAX, &end), 0);
  assert_int_equal(head_find(&s, text, HEAD_BYTES_MAX + 1, &end), 414);
  s = (struct head_search){0};
  memcpy(text + HEAD_BYTES_MAX, REST "\r\n", sizeof REST + 1);
  assert_int_equal(head_find(&s, text, 2 * HEAD_BYTES_MAX, &end), 414);

  memset(text, 'a', 2 * HEAD_BYTES_MAX);
  memcpy(text, GET "X:", sizeof GET + 1);
  memcpy(text + HEAD_BYTES_MAX - 4, "\r\n\r\n", 4);
  s = (struct head_search){0};
  assert_int_equal(head_find(&s, text, HEAD_BYTES_MAX, &end), 200);
  assert_int_equal(end, HEAD_BYTES_MAX);
  memcpy(text + HEAD_BYTES_MAX - 4, "a\r\n\r\n", 5);
  s = (struct head_search){0};
  assert_int_equal(head_find(&s, text, HEAD_BYTES_MAX + 1, &end), 431);
  free(text);

  char fields[HEAD_FIELDS_MAX * 6 + 64] = GET;
  for (int i = 0; i < HEAD_FIELDS_MAX - 1; i++) {
    strcat(fields, "X:y\r\n");
  }
  size_t len = strlen(fields);
  strcat(fields, "\r\n");
  assert_status(fields, 0);
  strcpy(fields + len, "X:y\r\n\r\n");
  assert_status(fields, 431);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_request_is_taken_apart),
                                     cmocka_unit_test(a_head_in_any_pieces_ends_where_it_ends),
                                     cmocka_unit_test(lines_end_with_cr_lf_and_nothing_else),
                                     cmocka_unit_test(the_request_line_has_three_words),
                                     cmocka_unit_test(what_cannot_begin_a_request_is_not_waited_for),
                                     cmocka_unit_test(a_target_is_a_path_or_a_whole_address),
                                     cmocka_unit_test(a_field_has_a_name_a_colon_and_one_line),
                                     cmocka_unit_test(a_host_is_named_once),
                                     cmocka_unit_test(a_body_has_one_length),
                                     cmocka_unit_test(of_transfer_codings_only_chunked_is_understood),
                                     cmocka_unit_test(a_connection_stays_as_the_versions_say),
                                     cmocka_unit_test(an_upgrade_is_one_word_of_a_list),
                                     cmocka_unit_test(an_expectation_is_100_continue_or_refused),
                                     cmocka_unit_test(who_and_how_is_said_once),
                                     cmocka_unit_test(a_head_has_bounds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
