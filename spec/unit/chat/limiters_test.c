/* In: settings, names of limiters, keys. Out: the promise that each kind of request has a rate of its own, that one
 * network of IPv6 is one person, and that a proxy of ours is nobody. */
#include "limiters.h"

#include "err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static struct config *config;
static struct limiters *limiters;

static int open_limiters(void **state) {
  (void)state;
  char why[512];
  config = config_new();
  return config_set(config, SETTING_READ_RATE_LIMIT, "2", why) ||
         config_set(config, SETTING_PUBLIC_RATE_LIMIT, "2", why) ||
         config_set(config, SETTING_CONNECT_RATE_LIMIT, "1", why) ||
         config_set(config, SETTING_ADDRESS_CONNECT_RATE_LIMIT, "1", why) ||
         config_set(config, SETTING_TRUSTED_PROXIES, "10.0.0.0/8", why) || !(limiters = limiters_new(config));
}

static int close_limiters(void **state) {
  (void)state;
  limiters_free(limiters);
  config_free(config);
  return 0;
}

static int take(const char *name, const char *key) {
  uint64_t retry;
  return limiters_take(limiters, name, key, strlen(key), 1000, &retry);
}

static void each_kind_counts_for_itself(void **state) {
  (void)state;
  assert_int_equal(take("reads", "ann"), 0);
  assert_int_equal(take("reads", "ann"), 0);
  assert_int_equal(take("reads", "ann"), E_LIMITED);
  assert_int_equal(take("reads", "bob"), 0);
  assert_int_equal(take("messages", "ann"), 0);
  assert_int_equal(take("ends", "ann"), 0);
  assert_int_equal(take("live", "ann"), 0);
  assert_int_equal(take("admin", "ann"), 0);
  assert_int_equal(take("admin_reads", "ann"), 0);
  assert_int_equal(take("connects", "ann"), 0);
  assert_int_equal(take("mine", "ann"), E_NOT_FOUND);
  assert_string_equal(limiters_names, "messages, reads, ends, live, admin, admin_reads, public");
}

static void one_network_of_64_bits_is_one_and_a_users_name_is_never_taken_for_an_address(void **state) {
  (void)state;
  assert_int_equal(take("public", "2001:db8::1"), 0);
  assert_int_equal(take("public", "2001:db8::2"), 0);
  assert_int_equal(take("public", "2001:db8::3"), E_LIMITED);
  assert_int_equal(take("public", "2001:db8:0:1::1"), 0);
  assert_int_equal(take("public", "192.0.2.1"), 0);
  assert_int_equal(take("public", "192.0.2.1"), 0);
  assert_int_equal(take("public", "::ffff:192.0.2.1"), E_LIMITED); /* the same address, written otherwise */
  assert_int_equal(take("public", "192.0.2.2"), 0);
  assert_int_equal(take("reads", "2001:db8::1"), 0);
  assert_int_equal(take("reads", "2001:db8::1"), 0);
  assert_int_equal(take("reads", "2001:db8::2"), 0); /* names of two users */
}

static void who_arrives_counts_by_address_and_by_user(void **state) {
  (void)state;
  assert_int_equal(take(LIMITS_CONNECTS, "ann"), 0);
  assert_int_equal(take(LIMITS_CONNECTS, "ann"), E_LIMITED);
  assert_int_equal(take(LIMITS_CONNECTS, "bob"), 0);
  assert_int_equal(take(LIMITS_ARRIVALS, "192.0.2.1"), 0);
  assert_int_equal(take(LIMITS_ARRIVALS, "192.0.2.1"), E_LIMITED);
  assert_int_equal(take(LIMITS_ARRIVALS, "10.1.2.3"), 0);
  assert_int_equal(take(LIMITS_ARRIVALS, "10.1.2.3"), 0);
}

static void a_trusted_proxy_has_no_limit(void **state) {
  (void)state;
  for (int i = 0; i < 100; i++)
    assert_int_equal(take("public", "10.1.2.3"), 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_limiters, close_limiters)
  const struct CMUnitTest tests[] = {
    TEST(each_kind_counts_for_itself),
    TEST(one_network_of_64_bits_is_one_and_a_users_name_is_never_taken_for_an_address),
    TEST(who_arrives_counts_by_address_and_by_user),
    TEST(a_trusted_proxy_has_no_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
