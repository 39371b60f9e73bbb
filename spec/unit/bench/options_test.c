/* In: command lines of the load generator. Out: what it would do, or a refusal. Why: it must be impossible to point it
 * at another machine, and every run has to have an end. */
#include "err.h"
#include "options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct options o;

#define READ(...)                                                                                                      \
  read_all((const char *[]){"load", __VA_ARGS__}, sizeof((const char *[]){"load", __VA_ARGS__}) / sizeof(char *))

static int read_all(const char *const *argv, size_t argc) {
  int result = options_read(&o, (int)argc, (char **)(size_t)argv);
  options_deinit(&o);
  return result;
}

static void only_this_machine_can_be_loaded(void **state) {
  (void)state;
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--host", "127.0.0.1"), 0);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--host", "::1"), 0);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--host", "0.0.0.0"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--host", "127.0.0.2"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--host", "localhost"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--host", "192.0.2.1"), E_INVALID);
}

static void every_number_has_bounds(void **state) {
  (void)state;
  assert_int_equal(READ("--port", "65535", "--mode", "idle", "--seconds", "600"), 0);
  assert_int_equal(o.port, 65535);
  assert_int_equal(o.seconds_ns, UINT64_C(600000000000));
  assert_int_equal(READ("--port", "65536", "--mode", "idle"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--seconds", "601"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--seconds", "nan"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--connections", "0"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--connections", "12x"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--inflight", "1025"), E_INVALID);
}

static void a_load_needs_a_message_an_answer_and_an_open_one_a_rate(void **state) {
  (void)state;
  assert_int_equal(READ("--mode", "idle"), E_MISSING);
  assert_int_equal(READ("--port", "1"), E_MISSING);
  assert_int_equal(READ("--port", "1", "--message", "m"), E_MISSING);
  assert_int_equal(READ("--port", "1", "--message", "m", "--answer", "a"), 0);
  assert_int_equal(READ("--port", "1", "--message", "m", "--answer", "a", "--mode", "open"), E_MISSING);
  assert_int_equal(READ("--port", "1", "--message", "m", "--answer", "a", "--mode", "open", "--rate", "9"), 0);
}

static void what_nobody_defined_is_refused(void **state) {
  (void)state;
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--faster"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "again"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "sometimes"), E_INVALID);
  assert_int_equal(READ("--mode", "idle", "--port"), E_INVALID);
  assert_int_equal(READ("--port", "1", "--mode", "idle", "--tokens-file", "/nonexistent"), E_INVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_this_machine_can_be_loaded),
    cmocka_unit_test(every_number_has_bounds),
    cmocka_unit_test(a_load_needs_a_message_an_answer_and_an_open_one_a_rate),
    cmocka_unit_test(what_nobody_defined_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
