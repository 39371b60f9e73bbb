/* In: the vectors of the SipHash paper. Out: the promise that ours is SipHash-2-4 and that seeds differ.
 * Why: a hash that only looks keyed gives no protection, and nothing else would show it. */
#include "hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct hash_seed paper = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

static void the_published_vectors_hold(void **state) {
  (void)state;
  uint8_t in[64];
  for (size_t i = 0; i < sizeof in; i++)
    in[i] = (uint8_t)i;
  assert_int_equal(hash_bytes(paper, in, 0), 0x726fdb47dd0e0e31);
  assert_int_equal(hash_bytes(paper, in, 1), 0x74f839c593dc67fd);
  assert_int_equal(hash_bytes(paper, in, 8), 0x93f5f5799a932462);
  assert_int_equal(hash_bytes(paper, in, 15), 0xa129ca6149be45e5);
}

static void another_seed_is_another_hash(void **state) {
  (void)state;
  assert_int_not_equal(hash_bytes(hash_seed_draw(), "key", 3), hash_bytes(hash_seed_draw(), "key", 3));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_published_vectors_hold),
    cmocka_unit_test(another_seed_is_another_hash),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
