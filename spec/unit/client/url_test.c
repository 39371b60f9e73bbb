/* The address of a server, as people write it. */
#include "err.h"
#include "url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void finds(const char *text, bool tls, const char *authority, const char *path) {
  struct url u;
  const char *why = "";
  char shown[URL_HOST_MAX + 10];
  if (url_read(text, &u, &why)) {
    fail_msg("%s: %s", text, why);
  }
  url_authority(&u, shown);
  assert_int_equal(u.tls, tls);
  assert_string_equal(shown, authority);
  assert_string_equal(u.path, path);
}

static void refuses(const char *text) {
  struct url u;
  const char *why = NULL;
  assert_int_equal(url_read(text, &u, &why), E_INVALID);
  assert_non_null(why);
}

static void the_socket_follows_from_the_address_of_the_page(void **state) {
  (void)state;
  finds("http://a", false, "a:80", "/chatbox/ws");
  finds("https://a/", true, "a:443", "/chatbox/ws");
  finds("HTTP://A:8080/chatbox", false, "A:8080", "/chatbox/ws");
  finds("wss://a:1/chatbox/ws", true, "a:1", "/chatbox/ws");
  finds("ws://a:65535/x/chat.html#token=y", false, "a:65535", "/x/ws");
  finds("ws://a?x=/y", false, "a:80", "/chatbox/ws");
  finds("http://a/deep/prefix/", false, "a:80", "/deep/prefix/ws");
  finds("http://[::1]:80/", false, "[::1]:80", "/chatbox/ws");
  finds("http://[::1]", false, "[::1]:80", "/chatbox/ws");
}

static void what_is_no_address_is_refused_with_a_reason(void **state) {
  (void)state;
  static const char *const bad[] = {
    "",          "a",          "ftp://a",        "http://",     "http:///x",    "http://:80",
    "http://a:", "http://a:0", "http://a:65536", "http://a:1x", "http://u@a",   "http://u:p@a",
    "http://[",  "http://[]",  "http://[::1]x",  "http://a/ b", "http://a/\x80"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    if (strcmp(bad[i], "http://a:") != 0) { /* an empty port is the default one (RFC 3986, 3.2.3) */
      refuses(bad[i]);
    }
  }
  finds("http://a:", false, "a:80", "/chatbox/ws");
}

static void what_is_too_long_is_refused(void **state) {
  (void)state;
  char text[2048], host[600];
  memset(host, 'h', sizeof host);
  for (int len = URL_HOST_MAX - 1; len <= URL_HOST_MAX + 1; len++) {
    snprintf(text, sizeof text, "http://%.*s/", len, host);
    if (len <= URL_HOST_MAX) {
      struct url u;
      const char *why;
      assert_int_equal(url_read(text, &u, &why), 0);
      assert_int_equal(strlen(u.host), len);
    } else {
      refuses(text);
    }
  }
  snprintf(text, sizeof text, "http://a/%.*s", URL_PATH_MAX - 1, host);
  struct url u;
  const char *why;
  assert_int_equal(url_read(text, &u, &why), 0);
  snprintf(text, sizeof text, "http://a/%.*s", URL_PATH_MAX, host);
  refuses(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_socket_follows_from_the_address_of_the_page),
    cmocka_unit_test(what_is_no_address_is_refused_with_a_reason),
    cmocka_unit_test(what_is_too_long_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
