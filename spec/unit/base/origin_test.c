/* What core/base/origin.h promises: an origin has one form, and an entry that can never match is an error. */
#include "err.h"
#include "origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct origins *origins(const char *list) {
  struct origins *o = NULL;
  char bad[64];
  const char *reason;
  if (origins_new(list, &o, bad, &reason) != 0)
    fail_msg("%s %s", bad, reason);
  return o;
}

static bool allowed(const char *list, const char *origin) {
  struct origins *o = origins(list);
  bool yes = origins_allow(o, origin);
  origins_free(o);
  return yes;
}

static void only_what_is_listed_is_allowed(void **state) {
  (void)state;
  static const char list[] = " https://a.org , http://localhost:3000,, capacitor://localhost ";
  assert_true(allowed(list, "https://a.org"));
  assert_true(allowed(list, "http://localhost:3000"));
  assert_true(allowed(list, "capacitor://localhost"));
  const char *const others[] = {NULL,
                                "",
                                "null",
                                "https://a.org.evil",
                                "https://a.or",
                                "http://a.org",
                                "https://a.org/",
                                "a.org",
                                "*",
                                "http://localhost",
                                "https://b.a.org"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_false(allowed(list, others[i]));
}

static void a_star_allows_everything_also_no_origin(void **state) {
  (void)state;
  assert_true(allowed("*", "https://a.org"));
  assert_true(allowed("https://a.org, *", "null"));
  assert_true(allowed("*", NULL));
  struct origins *empty = origins(" , "), *star = origins("*"), *one = origins("https://a.org");
  assert_true(origins_empty(empty));
  assert_false(origins_empty(star));
  assert_false(origins_empty(one));
  origins_free(empty);
  origins_free(star);
  origins_free(one);
  origins_free(NULL);
}

static void an_entry_is_brought_into_the_form_that_browsers_send(void **state) {
  (void)state;
  assert_true(allowed("HTTPS://Chat.Example.ORG", "https://chat.example.org"));
  assert_true(allowed("https://a.org:443", "https://a.org"));
  assert_true(allowed("http://a.org:80", "http://a.org"));
  assert_true(allowed("https://a.org:08443", "https://a.org:8443"));
  assert_true(allowed("https://a.org:80", "https://a.org:80"));
  assert_true(allowed("http://a.org:443", "http://a.org:443"));
  assert_true(allowed("http://[2001:DB8:0:0::1]:80", "http://[2001:db8::1]"));
  assert_true(allowed("http://[::1]:3000", "http://[::1]:3000"));
  assert_true(allowed("http://192.0.2.1:3000", "http://192.0.2.1:3000"));
  assert_true(allowed("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"));
  assert_true(allowed("chrome-extension://aBc", "chrome-extension://abc"));
}

static void what_can_never_match_is_refused_and_named(void **state) {
  (void)state;
  static const struct {
    const char *entry, *says;
  } bad[] = {
    {"a.org", "has no scheme"},
    {"null", "has no scheme"},
    {"**", "has no scheme"},
    {"\"https://a.org\"", "has a scheme that is none"},
    {"'*'", "has no scheme"},
    {"://a.org", "has a scheme that is none"},
    {"1http://a.org", "has a scheme that is none"},
    {"wss://a.org", "has a scheme that no page comes from"},
    {"ftp://a.org", "has a scheme that no page comes from"},
    {"https://", "has no host"},
    {"https://:443", "has no host"},
    {"https://a.org/", "has a path"},
    {"https://a.org/chat", "has a path"},
    {"https://a.org?x", "has a path"},
    {"https://a.org#x", "has a path"},
    {"https://me@a.org", "has a user"},
    {"https://*.a.org", "has a pattern"},
    {"https://a.org:*", "is not a port"},
    {"https://a.org:", "is not a port"},
    {"https://a.org:0", "not between 1 and 65535"},
    {"https://a.org:65536", "not between 1 and 65535"},
    {"https://a.org:443443", "is not a port"},
    {"https://a b.org", "has a host with a character"},
    {"https://a.org https://b.org", "has a path"},
    {"https://m\xc3\xbcnchen.example", "has a host with a character"},
    {"https://a.org'", "has a host with a character"},
    {"https://%61.org", "has a host with a character"},
    {"https://127.1", "neither a name nor a whole IPv4"},
    {"https://256.1.1.1", "neither a name nor a whole IPv4"},
    {"https://a..org", "an empty part"},
    {"https://.org", "an empty part"},
    {"https://[::1", "is not an IPv6 address"},
    {"https://[::g]", "is not an IPv6 address"},
    {"https://[]", "is not an IPv6 address"},
    {"https://[", "is not an IPv6 address"},
    {"https://[192.0.2.1]", "is not an IPv6 address"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct origins *o = NULL;
    char list[200], named[64];
    const char *reason = "";
    snprintf(list, sizeof list, "https://good.org, %s , *", bad[i].entry);
    assert_int_equal(origins_new(list, &o, named, &reason), E_INVALID);
    assert_string_equal(named, bad[i].entry);
    if (!strstr(reason, bad[i].says))
      fail_msg("%s: %s", bad[i].entry, reason);
    assert_null(o);
  }
}

static void a_long_entry_is_refused_and_cut_where_it_is_named(void **state) {
  (void)state;
  char list[400] = "https://", bad[64];
  struct origins *o = NULL;
  const char *reason = "";
  memset(list + 8, 'a', 300);
  assert_int_equal(origins_new(list, &o, bad, &reason), E_INVALID);
  assert_int_equal(strlen(bad), 63);
  list[ORIGIN_MAX - 3] = '\0'; /* the longest there may be */
  o = origins(list);
  assert_true(origins_allow(o, list));
  origins_free(o);
}

static void a_page_of_the_same_host_is_known_whatever_the_port_is_called(void **state) {
  (void)state;
  assert_true(origin_is_host("https://chat.example", "chat.example"));
  assert_true(origin_is_host("http://chat.example", "chat.example"));
  assert_true(origin_is_host("https://chat.example", "Chat.Example:443"));
  assert_true(origin_is_host("http://[::1]:8080", "[::1]:8080"));
  const char *const others[] = {"chat.example:8080", "chat.example.evil", "", "chat.example/", "evil@chat.example"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_false(origin_is_host("https://chat.example", others[i]));
  assert_false(origin_is_host("null", "chat.example"));
  assert_false(origin_is_host("", ""));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_what_is_listed_is_allowed),
    cmocka_unit_test(a_star_allows_everything_also_no_origin),
    cmocka_unit_test(an_entry_is_brought_into_the_form_that_browsers_send),
    cmocka_unit_test(what_can_never_match_is_refused_and_named),
    cmocka_unit_test(a_long_entry_is_refused_and_cut_where_it_is_named),
    cmocka_unit_test(a_page_of_the_same_host_is_known_whatever_the_port_is_called),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
