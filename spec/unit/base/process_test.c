/* What core/base/process.c promises: gauges that follow what the process has open and how much memory it takes. */
#include "process.h"

#include "metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void descriptors_are_counted_as_they_come_and_go(void **state) {
  (void)state;
  int fds[20];
  process_measure();
  int64_t before = metrics_value(METRIC_DESCRIPTORS);
  assert_true(before >= 3);
  for (size_t i = 0; i < 10; i++)
    assert_int_equal(pipe(fds + 2 * i), 0);
  process_measure();
  assert_int_equal(metrics_value(METRIC_DESCRIPTORS), before + 20);
  for (size_t i = 0; i < 20; i++)
    close(fds[i]);
  process_measure();
  assert_int_equal(metrics_value(METRIC_DESCRIPTORS), before);
}

static void memory_grows_when_it_is_used(void **state) {
  (void)state;
  const size_t len = 64 << 20;
  process_measure();
  int64_t before = metrics_value(METRIC_MEMORY);
  assert_true(before > 0);
  char *bytes = malloc(len);
  assert_non_null(bytes);
  memset(bytes, 1, len);
  process_measure();
  assert_true(metrics_value(METRIC_MEMORY) >= before + (int64_t)len / 2);
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(descriptors_are_counted_as_they_come_and_go),
    cmocka_unit_test(memory_grows_when_it_is_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
