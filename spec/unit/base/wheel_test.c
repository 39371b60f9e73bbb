/* What core/base/wheel.h promises: everything comes when it is due, once, whatever the clock does. */
#include "wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1700000000
#define THINGS 8

struct scene {
  struct wheel wheel;
  struct wheel_link things[THINGS]; /* named a, b, c, ... */
  char called[64];
  struct wheel_link *again; /* put in once more when it is called */
};

static struct scene *scene(void) {
  struct scene *sc = calloc(1, sizeof *sc);
  assert_non_null(sc);
  wheel_init(&sc->wheel, NOW);
  return sc;
}

static void add_name(struct scene *sc, const struct wheel_link *l) {
  char name[2] = {(char)('a' + (l - sc->things)), 0};
  strcat(sc->called, name);
}

static void note(struct wheel_link *l, void *arg) {
  struct scene *sc = arg;
  assert_null(l->wheel); /* it has been taken out */
  add_name(sc, l);
  if (l == sc->again)
    wheel_put(&sc->wheel, l, l->due_s + 5);
}

static void put(struct scene *sc, char name, int64_t due_s) {
  wheel_put(&sc->wheel, &sc->things[name - 'a'], due_s);
}

static void assert_turn(struct scene *sc, int64_t now_s, const char *called) {
  *sc->called = 0;
  wheel_turn(&sc->wheel, now_s, note, sc);
  assert_string_equal(sc->called, called);
}

static void each_comes_when_it_is_due(void **state) {
  (void)state;
  struct scene *sc = scene();
  put(sc, 'a', NOW + 3);
  put(sc, 'b', NOW + 1);
  put(sc, 'c', NOW + 3);
  assert_int_equal(sc->wheel.count, 3);
  assert_turn(sc, NOW, "");
  assert_turn(sc, NOW + 1, "b");
  assert_turn(sc, NOW + 2, "");
  assert_turn(sc, NOW + 3, "ac");
  assert_int_equal(sc->wheel.count, 0);
  assert_turn(sc, NOW + 3 + WHEEL_SLOTS, "");
  free(sc);
}

static void what_is_due_in_a_later_round_waits_for_it(void **state) {
  (void)state;
  struct scene *sc = scene();
  put(sc, 'a', NOW + 1 + 2 * WHEEL_SLOTS);
  put(sc, 'b', NOW + 1);
  put(sc, 'c', INT64_MAX);
  for (int64_t t = NOW + 1; t <= NOW + 2 * WHEEL_SLOTS; t++)
    assert_turn(sc, t, t == NOW + 1 ? "b" : "");
  assert_turn(sc, NOW + 1 + 2 * WHEEL_SLOTS, "a");
  assert_int_equal(sc->wheel.count, 1);
  free(sc);
}

static void a_date_that_is_past_comes_with_the_next_turn(void **state) {
  (void)state;
  struct scene *sc = scene();
  put(sc, 'a', NOW);
  put(sc, 'b', 0);
  put(sc, 'c', -5);
  assert_turn(sc, NOW + 1, "abc");
  free(sc);
}

static void what_is_moved_or_dropped_does_not_come_at_its_old_date(void **state) {
  (void)state;
  struct scene *sc = scene();
  put(sc, 'a', NOW + 1);
  put(sc, 'b', NOW + 1);
  put(sc, 'c', NOW + 9);
  put(sc, 'a', NOW + 4);
  put(sc, 'c', NOW + 2); /* sooner */
  wheel_drop(&sc->things[1]);
  wheel_drop(&sc->things[1]); /* twice is harmless */
  assert_turn(sc, NOW + 1, "");
  assert_turn(sc, NOW + 2, "c");
  assert_turn(sc, NOW + 9, "a");
  free(sc);
}

static void a_clock_that_jumps_forward_leaves_nobody_behind(void **state) {
  (void)state;
  struct scene *sc = scene();
  for (int i = 0; i < 5; i++)
    put(sc, (char)('a' + i), NOW + 1 + i * 400);
  put(sc, 'f', NOW + 40 * WHEEL_SLOTS);
  *sc->called = 0;
  wheel_turn(&sc->wheel, NOW + 10 * WHEEL_SLOTS, note, sc);
  assert_int_equal(strlen(sc->called), 5);
  assert_turn(sc, NOW + 40 * WHEEL_SLOTS, "f");
  free(sc);
}

static void a_clock_that_is_set_back_lets_them_come_at_their_date(void **state) {
  (void)state;
  struct scene *sc = scene();
  put(sc, 'a', NOW + 100);
  assert_turn(sc, NOW + 50, "");
  assert_turn(sc, NOW - 5000, "");
  put(sc, 'b', NOW - 4000);
  assert_turn(sc, NOW - 4000, "b");
  assert_turn(sc, NOW + 99, "");
  assert_turn(sc, NOW + 100, "a");
  free(sc);
}

static void drop_other(struct wheel_link *l, void *arg) {
  struct scene *sc = arg;
  note(l, arg);
  wheel_drop(&sc->things[l == &sc->things[0]]);
}

static void who_is_called_may_put_and_drop(void **state) {
  (void)state;
  struct scene *sc = scene();
  sc->again = &sc->things[0];
  put(sc, 'a', NOW + 1);
  assert_turn(sc, NOW + 1, "a");
  assert_turn(sc, NOW + 6, "a"); /* put in again */
  sc->again = NULL;
  put(sc, 'a', NOW + 10);
  put(sc, 'b', NOW + 10);
  *sc->called = 0;
  wheel_turn(&sc->wheel, NOW + 10, drop_other, sc);
  assert_string_equal(sc->called, "a"); /* b was due too, and was dropped by then */
  free(sc);
}

static void drop_this(struct wheel_link *l, void *arg) {
  add_name(arg, l);
  wheel_drop(l);
}

static void all_that_are_in_can_be_looked_at_and_dropped(void **state) {
  (void)state;
  struct scene *sc = scene();
  for (int i = 0; i < THINGS; i++)
    put(sc, (char)('a' + i), i % 2 ? NOW + 7 : INT64_MAX);
  wheel_each(&sc->wheel, drop_this, sc);
  assert_int_equal(strlen(sc->called), THINGS);
  assert_int_equal(sc->wheel.count, 0);
  wheel_each(&sc->wheel, drop_this, sc);
  assert_int_equal(strlen(sc->called), THINGS);
  free(sc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_comes_when_it_is_due),
    cmocka_unit_test(what_is_due_in_a_later_round_waits_for_it),
    cmocka_unit_test(a_date_that_is_past_comes_with_the_next_turn),
    cmocka_unit_test(what_is_moved_or_dropped_does_not_come_at_its_old_date),
    cmocka_unit_test(a_clock_that_jumps_forward_leaves_nobody_behind),
    cmocka_unit_test(a_clock_that_is_set_back_lets_them_come_at_their_date),
    cmocka_unit_test(who_is_called_may_put_and_drop),
    cmocka_unit_test(all_that_are_in_can_be_looked_at_and_dropped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
