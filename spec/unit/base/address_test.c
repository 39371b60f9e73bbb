/* In: networks, addresses and headers as strangers and operators write them. Out: the promises of core/base/address.h.
 * Why: who may read the metrics, and whose rate limit it is, hang on this. */
#include "address.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct networks *networks(const char *list) {
  struct networks *n = NULL;
  char bad[64];
  assert_int_equal(networks_new(list, &n, bad), 0);
  return n;
}

static bool contains(const char *list, const char *address) {
  struct networks *n = networks(list);
  bool inside = networks_contain(n, address);
  networks_free(n);
  return inside;
}

static void a_network_contains_what_is_inside(void **state) {
  (void)state;
  assert_true(contains("10.0.0.0/8", "10.255.255.255"));
  assert_false(contains("10.0.0.0/8", "11.0.0.0"));
  assert_true(contains("172.16.0.0/12", "172.31.255.255"));
  assert_false(contains("172.16.0.0/12", "172.32.0.0"));
  assert_true(contains("2001:db8::/33", "2001:db8:7fff::1"));
  assert_false(contains("2001:db8::/33", "2001:db8:8000::1"));
  assert_true(contains("10.1.2.3/8", "10.9.9.9")); /* bits behind the prefix do not matter */
  assert_true(contains("0.0.0.0/0", "1.2.3.4"));
  assert_true(contains("::/0", "2001:db8::1"));
}

static void an_address_alone_is_a_network_of_one(void **state) {
  (void)state;
  assert_true(contains("192.0.2.1", "192.0.2.1"));
  assert_false(contains("192.0.2.1", "192.0.2.0"));
  assert_true(contains("::1", "::1"));
  assert_true(contains("::1", "0:0:0:0:0:0:0:1"));
  assert_false(contains("::1", "::2"));
}

static void a_list_may_have_blanks_and_empty_entries(void **state) {
  (void)state;
  assert_true(contains(" 10.0.0.0/8 ,\t::1,, ", "::1"));
  assert_true(contains(" 10.0.0.0/8 ,\t::1,, ", "10.1.1.1"));
  assert_false(contains(" 10.0.0.0/8 ,\t::1,, ", "127.0.0.1"));
}

static void an_empty_list_is_empty_and_contains_nothing(void **state) {
  (void)state;
  struct networks *n = networks(" ");
  assert_true(networks_empty(n));
  assert_false(networks_contain(n, "127.0.0.1"));
  networks_free(n);
  n = networks("::1");
  assert_false(networks_empty(n));
  networks_free(n);
}

static void ipv4_mapped_into_ipv6_is_ipv4(void **state) {
  (void)state;
  assert_true(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  assert_true(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
  assert_true(contains("::ffff:a00:0/104", "10.1.2.3"));
  assert_false(contains("::ffff:10.0.0.0/104", "11.1.2.3"));
}

static void all_of_ipv6_is_nothing_of_ipv4(void **state) {
  (void)state;
  assert_false(contains("::/0", "1.2.3.4"));
  assert_false(contains("::/0", "::ffff:1.2.3.4"));
  assert_false(contains("0.0.0.0/0", "2001:db8::1"));
}

static void what_is_not_an_address_is_nowhere(void **state) {
  (void)state;
  static const char *const wrong[] = {"", "localhost", "1.2.3", "1.2.3.4.5", "1.2.3.4 ", "1.2.3.4/32", "::1]", "-"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    assert_false(contains("0.0.0.0/0,::/0", wrong[i]));
}

static void a_bad_entry_is_named(void **state) {
  (void)state;
  static const char *const wrong[] = {"1.2.3",       "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1",    "10.0.0.0/8x",
                                      "::1/129",     "/8",          "::1/0001",  "10.0.0.0/ 8",    "example.org",
                                      "1.2.3.4/8/8", "10.0.0.0/+8", "::1%eth0",  "1.2.3.4 5.6.7.8"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct networks *n = NULL;
    char list[100] = "10.0.0.0/8, ", bad[64] = "";
    strcat(list, wrong[i]);
    strcat(list, " ,::1");
    assert_int_equal(networks_new(list, &n, bad), E_INVALID);
    assert_string_equal(bad, wrong[i]);
  }
}

static void a_long_bad_entry_is_cut(void **state) {
  (void)state;
  struct networks *n = NULL;
  char list[200], bad[64];
  memset(list, 'x', sizeof list);
  list[sizeof list - 1] = 0;
  assert_int_equal(networks_new(list, &n, bad), E_INVALID);
  assert_int_equal(strlen(bad), 63);
}

static void assert_client(const char *peer, const char *forwarded, const char *real_ip, const char *expected) {
  struct networks *trusted = networks("10.0.0.0/8,::1");
  char out[ADDRESS_MAX];
  (void)address_client(trusted, peer, forwarded, real_ip, out);
  assert_string_equal(out, expected);
  networks_free(trusted);
}

static bool is_known(const char *peer, const char *forwarded, const char *real_ip) {
  struct networks *trusted = networks("10.0.0.0/8,::1");
  char out[ADDRESS_MAX];
  bool known = address_client(trusted, peer, forwarded, real_ip, out);
  networks_free(trusted);
  return known;
}

static void who_stands_behind_a_peer_is_known_only_from_a_trusted_one(void **state) {
  (void)state;
  assert_true(is_known("192.0.2.1", NULL, NULL));
  assert_true(is_known("10.0.0.1", NULL, NULL));
  assert_true(is_known("10.0.0.1", "198.51.100.7", NULL));
  assert_true(is_known("10.0.0.1", "unknown", "198.51.100.8"));
  assert_false(is_known("192.0.2.1", "198.51.100.7", NULL));
  assert_false(is_known("192.0.2.1", "", NULL));
  assert_false(is_known("192.0.2.1", NULL, "198.51.100.8"));
  assert_false(is_known("10.0.0.1", "198.51.100.7, unknown", NULL)); /* it hides its client: that is not itself */
  assert_false(is_known("10.0.0.1", "", NULL));
  assert_false(is_known("unix", "198.51.100.7", NULL));
}

static void an_entry_may_have_a_port_and_brackets(void **state) {
  (void)state;
  assert_client("10.0.0.1", "198.51.100.7:50123", NULL, "198.51.100.7");
  assert_client("10.0.0.1", "[2001:db8::7]:50123", NULL, "2001:db8::7");
  assert_client("10.0.0.1", "[2001:db8::7]", NULL, "2001:db8::7");
  assert_client("10.0.0.1", "2001:db8::7", NULL, "2001:db8::7");
  assert_client("10.0.0.1", "[::ffff:198.51.100.7]:1", NULL, "198.51.100.7");
  assert_client("10.0.0.1", "203.0.113.9:1, [2001:db8::7]:2 , 10.0.0.2:3", NULL, "2001:db8::7");
  assert_client("10.0.0.1", NULL, " [2001:db8::8]:443 ", "2001:db8::8");
  const char *const bad[] = {"198.51.100.7:",
                             "198.51.100.7:x",
                             "198.51.100.7:123456",
                             ":80",
                             "[2001:db8::7",
                             "[2001:db8::7]80",
                             "[2001:db8::7]:",
                             "[198.51.100.7]:80",
                             "[2001:db8::7]:1:2",
                             "[]",
                             "[",
                             "]:80",
                             "198.51.100.7:80:1",
                             "2001:db8::7]:80",
                             "\"198.51.100.7\"",
                             "[2001:db8::7%eth0]:80"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_client("10.0.0.1", bad[i], NULL, "10.0.0.1");
    assert_false(is_known("10.0.0.1", bad[i], NULL));
  }
}

static void a_stranger_speaks_for_himself(void **state) {
  (void)state;
  assert_client("192.0.2.1", "198.51.100.7", "198.51.100.8", "192.0.2.1");
  assert_client("192.0.2.1", NULL, NULL, "192.0.2.1");
}

static void a_trusted_proxy_is_believed(void **state) {
  (void)state;
  assert_client("10.0.0.1", "198.51.100.7", NULL, "198.51.100.7");
  assert_client("::1", " 2001:db8::7 ", NULL, "2001:db8::7");
  assert_client("10.0.0.1", NULL, " 198.51.100.8 ", "198.51.100.8");
  assert_client("10.0.0.1", "198.51.100.7", "198.51.100.8", "198.51.100.7");
  assert_client("10.0.0.1", NULL, NULL, "10.0.0.1");
}

static void the_right_most_untrusted_hop_is_the_client(void **state) {
  (void)state;
  assert_client("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.3,10.0.0.2", NULL, "198.51.100.7");
  assert_client("10.0.0.1", "203.0.113.9,, 198.51.100.7,,", NULL, "198.51.100.7");
}

static void when_all_hops_are_trusted_the_left_most_one_asked(void **state) {
  (void)state;
  assert_client("10.0.0.1", "10.0.0.3,10.0.0.2", "198.51.100.8", "10.0.0.3");
  assert_client("10.0.0.1", "10.0.0.3,10.0.0.2", NULL, "10.0.0.3");
  assert_client("10.0.0.1", NULL, "198.51.100.8", "198.51.100.8");
}

static void nothing_left_of_rubbish_is_believed(void **state) {
  (void)state;
  assert_client("10.0.0.1", "198.51.100.7, unknown, 10.0.0.2", NULL, "10.0.0.2");
  assert_client("10.0.0.1", "198.51.100.7, 1.2.3.4:port", "198.51.100.8", "198.51.100.8");
  assert_client("10.0.0.1", "", "rubbish", "10.0.0.1");
  assert_client("10.0.0.1", ",,,", NULL, "10.0.0.1");
}

static void one_client_has_one_spelling(void **state) {
  (void)state;
  assert_client("::ffff:192.0.2.1", NULL, NULL, "192.0.2.1");
  assert_client("::ffff:10.0.0.1", "2001:DB8:0:0::7", NULL, "2001:db8::7");
  assert_client("10.0.0.1", NULL, "::ffff:198.51.100.8", "198.51.100.8");
}

static void a_peer_without_an_address_is_left_as_it_is(void **state) {
  (void)state;
  assert_client("unix", "198.51.100.7", NULL, "unix");
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_network_contains_what_is_inside),
    cmocka_unit_test(an_address_alone_is_a_network_of_one),
    cmocka_unit_test(a_list_may_have_blanks_and_empty_entries),
    cmocka_unit_test(an_empty_list_is_empty_and_contains_nothing),
    cmocka_unit_test(ipv4_mapped_into_ipv6_is_ipv4),
    cmocka_unit_test(all_of_ipv6_is_nothing_of_ipv4),
    cmocka_unit_test(what_is_not_an_address_is_nowhere),
    cmocka_unit_test(a_bad_entry_is_named),
    cmocka_unit_test(a_long_bad_entry_is_cut),
    cmocka_unit_test(a_stranger_speaks_for_himself),
    cmocka_unit_test(a_trusted_proxy_is_believed),
    cmocka_unit_test(the_right_most_untrusted_hop_is_the_client),
    cmocka_unit_test(when_all_hops_are_trusted_the_left_most_one_asked),
    cmocka_unit_test(nothing_left_of_rubbish_is_believed),
    cmocka_unit_test(one_client_has_one_spelling),
    cmocka_unit_test(a_peer_without_an_address_is_left_as_it_is),
    cmocka_unit_test(who_stands_behind_a_peer_is_known_only_from_a_trusted_one),
    cmocka_unit_test(an_entry_may_have_a_port_and_brackets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
