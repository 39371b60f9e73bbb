/* core/chat/quarantine.c: who misbehaves too often in too short a time is quarantined, on all threads at once, until it
 * is enabled.
 */
#include "quarantine.h"

#include "metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t count(struct quarantine *a) {
  char names[4 * QUARANTINE_NAMES][QUARANTINE_NAME_MAX + 1]; /* room for more than there may be */
  return quarantine_list(a, names, 4 * QUARANTINE_NAMES);
}

static void so_many_kills_in_a_window_quarantine_a_name(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(3, 1000);
  assert_false(quarantine_kill(a, "bot:x", 0));
  assert_false(quarantine_kill(a, "bot:x", 500));
  assert_int_equal(0, count(a));
  assert_true(quarantine_kill(a, "bot:x", 999));
  assert_int_equal(1, count(a));
  assert_false(quarantine_kill(a, "bot:x", 1000)); /* it is already */
  assert_int_equal(1, metrics_value(METRIC_SCRIPTS_QUARANTINED));
  quarantine_free(a);
  assert_int_equal(0, metrics_value(METRIC_SCRIPTS_QUARANTINED));
}

static void kills_that_lie_apart_do_not(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(3, 1000);
  for (uint64_t now = 0; now < 100000; now += 500) {
    assert_false(quarantine_kill(a, "bot:x", now));
  }
  quarantine_free(a);
}

static void nor_do_those_of_different_names_together(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(2, 1000);
  assert_false(quarantine_kill(a, "bot:x", 1));
  assert_false(quarantine_kill(a, "bot:y", 1));
  assert_true(quarantine_kill(a, "bot:x", 2));
  char names[1][QUARANTINE_NAME_MAX + 1];
  assert_int_equal(1, quarantine_list(a, names, 1));
  assert_string_equal("bot:x", names[0]);
  quarantine_free(a);
}

static void no_kills_are_too_many_when_it_is_switched_off(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(0, 1000);
  for (int i = 0; i < 200; i++) {
    assert_false(quarantine_kill(a, "bot:x", 1));
  }
  quarantine_free(a);
}

static void enabled_it_starts_anew_and_every_change_shows(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(2, 1000);
  unsigned before = quarantine_changes(a);
  quarantine_kill(a, "bot:x", 1);
  assert_int_equal(before, quarantine_changes(a));
  quarantine_kill(a, "bot:x", 2);
  assert_int_not_equal(before, quarantine_changes(a));
  assert_int_equal(0, quarantine_enable(a, "bot:y"));
  assert_int_equal(1, quarantine_enable(a, "bot:x"));
  assert_int_equal(before + 2, quarantine_changes(a));
  assert_int_equal(0, count(a));
  assert_false(quarantine_kill(a, "bot:x", 3));
  assert_true(quarantine_kill(a, "bot:x", 4));
  quarantine_kill(a, "bot:y", 4);
  quarantine_kill(a, "bot:y", 4);
  assert_int_equal(2, quarantine_enable(a, NULL));
  quarantine_free(a);
}
static void the_name_of_a_bot_is_that_of_all_its_rules(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(1, 1000);
  assert_true(quarantine_kill(a, "bot:x hears \"a\"", 1));
  assert_true(quarantine_kill(a, "bot:x otherwise", 1));
  assert_true(quarantine_kill(a, "bot:xy otherwise", 1));
  size_t len;
  char *shown = metrics_render(&len);
  assert_non_null(strstr(shown, "chatbox_scripts_aside_name{name=\"bot:x hears ?a?\"} 1\n"));
  assert_non_null(strstr(shown, "chatbox_scripts_aside_name{name=\"bot:xy otherwise\"} 1\n"));
  free(shown);
  assert_int_equal(0, quarantine_enable(a, "bot"));
  assert_int_equal(2, quarantine_enable(a, "bot:x"));
  assert_int_equal(1, count(a));
  assert_int_equal(1, metrics_value(METRIC_SCRIPT_QUARANTINED));
  quarantine_free(a);
}

static void its_names_are_bounded(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(2, 1000);
  char name[100];
  for (int i = 0; i < 3 * QUARANTINE_NAMES; i++) {
    snprintf(name, sizeof name, "route:%d", i);
    quarantine_kill(a, name, (uint64_t)i);
  }
  assert_false(quarantine_kill(a, "route:0", 300)); /* its first was forgotten */
  assert_true(quarantine_kill(a, "route:0", 301));
  for (int i = 0; i < 3 * QUARANTINE_NAMES; i++) {
    snprintf(name, sizeof name, "route:%d", i);
    quarantine_kill(a, name, 500);
    quarantine_kill(a, name, 500);
  }
  assert_int_equal(QUARANTINE_NAMES, count(a));
  memset(name, 'n', sizeof name - 1);
  name[99] = 0;
  quarantine_enable(a, NULL);
  quarantine_kill(a, name, 1);
  assert_true(quarantine_kill(a, name, 2));
  assert_int_equal(1, quarantine_enable(a, name));
  quarantine_free(a);
}

static void *misbehave(void *arg) {
  for (int i = 0; i < 2000; i++) {
    char name[16];
    snprintf(name, sizeof name, "route:%d", i % 7);
    quarantine_kill(arg, name, (uint64_t)i);
    if (i % 50 == 0) {
      quarantine_enable(arg, i % 100 ? NULL : name);
      count(arg);
    }
  }
  return NULL;
}

/* ThreadSanitizer fails it when the lock is taken out. */
static void several_workers_may_use_it_at_once(void **state) {
  (void)state;
  struct quarantine *a = quarantine_new(2, 1000);
  pthread_t threads[4];
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, misbehave, a), 0);
  }
  for (size_t i = 0; i < 4; i++) {
    pthread_join(threads[i], NULL);
  }
  assert_true(count(a) <= 7);
  quarantine_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(so_many_kills_in_a_window_quarantine_a_name),
    cmocka_unit_test(kills_that_lie_apart_do_not),
    cmocka_unit_test(nor_do_those_of_different_names_together),
    cmocka_unit_test(no_kills_are_too_many_when_it_is_switched_off),
    cmocka_unit_test(enabled_it_starts_anew_and_every_change_shows),
    cmocka_unit_test(the_name_of_a_bot_is_that_of_all_its_rules),
    cmocka_unit_test(its_names_are_bounded),
    cmocka_unit_test(several_workers_may_use_it_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
