/* What core/base/watchdog.c promises: a thread that does not come round is named in time, one that does never is, and
 * the time in which the watchdog itself stood still is held against nobody. The clock is the test's. */
#include "watchdog.h"

#include "metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <semaphore.h>
#include <time.h>

#define STALL_MS 1000

struct scene {
  struct watchdog *dog;
  struct mailbox *boxes[2];
  int calls, deadlines;
  size_t index;
  uint64_t silent_ms, now_ms;
};

static void on_stalled(void *arg, size_t index, uint64_t silent_ms) {
  struct scene *sc = arg;
  sc->calls++;
  sc->index = index;
  sc->silent_ms = silent_ms;
}

static void on_deadline(void *arg) {
  ((struct scene *)arg)->deadlines++;
}

static void nothing(void *arg) {
  (void)arg;
}

static int setup(void **state) {
  static struct scene sc;
  sc = (struct scene){.now_ms = 5000};
  sc.dog = watchdog_new(&(struct watchdog_options){.stall_ms = STALL_MS, .stalled = on_stalled, .arg = &sc});
  assert_non_null(sc.dog);
  for (size_t i = 0; i < 2; i++) {
    sc.boxes[i] = mailbox_new(nothing, NULL);
    assert_non_null(sc.boxes[i]);
  }
  watchdog_look(sc.dog, sc.now_ms);
  *state = &sc;
  return 0;
}

static int teardown(void **state) {
  struct scene *sc = *state;
  watchdog_release(sc->dog);
  for (size_t i = 0; i < 2; i++) {
    (void)mailbox_drain(sc->boxes[i]);
    mailbox_free(sc->boxes[i]);
  }
  watchdog_free(sc->dog);
  return 0;
}

/* So much time passes, and the watchdog looks as often as it would. Who answers: a bit for each thread. */
static void pass(struct scene *sc, uint64_t ms, unsigned answers) {
  for (uint64_t end = sc->now_ms + ms; sc->now_ms < end;) {
    sc->now_ms += watchdog_every_ms(sc->dog);
    watchdog_look(sc->dog, sc->now_ms);
    for (size_t i = 0; i < 2; i++) {
      if (answers & 1u << i) {
        (void)mailbox_drain(sc->boxes[i]);
      }
    }
  }
}

static void a_thread_that_does_not_come_round_is_named_once(void **state) {
  struct scene *sc = *state;
  watchdog_add(sc->dog, sc->boxes[0]);
  watchdog_add(sc->dog, sc->boxes[1]);
  pass(sc, 10 * STALL_MS, 3);
  assert_int_equal(sc->calls, 0);
  pass(sc, STALL_MS / 2, 1);
  assert_int_equal(sc->calls, 0);
  pass(sc, 2 * STALL_MS, 1);
  assert_int_equal(sc->calls, 1);
  assert_int_equal(sc->index, 1);
  assert_in_range(sc->silent_ms, STALL_MS, STALL_MS + STALL_MS / 5);
}

static void one_that_comes_round_late_but_in_time_begins_anew(void **state) {
  struct scene *sc = *state;
  watchdog_add(sc->dog, sc->boxes[0]);
  for (int i = 0; i < 20; i++) {
    pass(sc, STALL_MS - 3 * watchdog_every_ms(sc->dog), 0);
    pass(sc, 2 * watchdog_every_ms(sc->dog), 1);
  }
  assert_int_equal(sc->calls, 0);
}

static void the_time_in_which_everything_stood_counts_for_nobody(void **state) {
  struct scene *sc = *state;
  watchdog_add(sc->dog, sc->boxes[0]);
  watchdog_deadline(sc->dog, STALL_MS, on_deadline, sc);
  pass(sc, STALL_MS / 2, 0);
  sc->now_ms += 3600000; /* stopped for an hour */
  watchdog_look(sc->dog, sc->now_ms);
  assert_int_equal(sc->calls, 0);
  assert_int_equal(sc->deadlines, 0);
  pass(sc, STALL_MS, 0);
  assert_int_equal(sc->calls, 1); /* it did hang */
  assert_int_equal(sc->deadlines, 1);
}

static void a_deadline_calls_once_and_can_be_called_off(void **state) {
  struct scene *sc = *state;
  watchdog_deadline(sc->dog, 5 * STALL_MS, on_deadline, sc);
  pass(sc, 5 * STALL_MS - watchdog_every_ms(sc->dog), 0);
  assert_int_equal(sc->deadlines, 0);
  pass(sc, 5 * STALL_MS, 0);
  assert_int_equal(sc->deadlines, 1);
  watchdog_deadline(sc->dog, STALL_MS, on_deadline, sc);
  watchdog_deadline(sc->dog, 0, NULL, NULL);
  pass(sc, 5 * STALL_MS, 0);
  assert_int_equal(sc->deadlines, 1);
}

static void a_deadline_begins_when_it_is_set_and_not_at_the_look_before(void **state) {
  struct scene *sc = *state;
  uint64_t every_ms = watchdog_every_ms(sc->dog);
  watchdog_look(sc->dog, sc->now_ms);
  sc->now_ms += every_ms;
  watchdog_deadline(sc->dog, every_ms, on_deadline, sc);
  watchdog_look(sc->dog, sc->now_ms);
  assert_int_equal(sc->deadlines, 0);
  watchdog_look(sc->dog, sc->now_ms + every_ms);
  assert_int_equal(sc->deadlines, 0); /* the clock has rounded down */
  watchdog_look(sc->dog, sc->now_ms + every_ms + 1);
  assert_int_equal(sc->deadlines, 1);
}

static void who_is_away_for_two_seconds_is_counted_once_each_time(void **state) {
  struct scene *sc = *state;
  struct watchdog *dog = sc->dog;
  sc->dog = watchdog_new(&(struct watchdog_options){.stall_ms = 10000, .stalled = on_stalled, .arg = sc});
  assert_non_null(sc->dog);
  watchdog_look(sc->dog, sc->now_ms);
  watchdog_add(sc->dog, sc->boxes[0]);
  int64_t before = metrics_value(METRIC_WORKER_DELAYS);
  pass(sc, 20000, 1);
  assert_int_equal(metrics_value(METRIC_WORKER_DELAYS), before);
  for (int i = 1; i <= 3; i++) {
    pass(sc, 8000, 0);
    pass(sc, 3000, 1);
    assert_int_equal(metrics_value(METRIC_WORKER_DELAYS), before + i);
  }
  assert_int_equal(sc->calls, 0);
  watchdog_free(dog);
}

static void released_threads_owe_nothing(void **state) {
  struct scene *sc = *state;
  watchdog_add(sc->dog, sc->boxes[0]);
  pass(sc, STALL_MS / 2, 0);
  watchdog_release(sc->dog);
  pass(sc, 10 * STALL_MS, 0);
  assert_int_equal(sc->calls, 0);
}

static void post_up(void *arg) {
  sem_post(arg);
}

static void its_own_thread_looks_by_itself(void **state) {
  (void)state;
  sem_t done;
  sem_init(&done, 0, 0);
  struct watchdog *dog = watchdog_new(&(struct watchdog_options){.stall_ms = 60000});
  assert_int_equal(watchdog_start(dog), 0);
  watchdog_deadline(dog, 30, post_up, &done);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 20;
  int waited;
  do {
    waited = sem_timedwait(&done, &until);
  } while (waited && errno == EINTR);
  assert_int_equal(waited, 0);
  watchdog_free(dog);
  sem_destroy(&done);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
    TEST(a_thread_that_does_not_come_round_is_named_once),
    TEST(one_that_comes_round_late_but_in_time_begins_anew),
    TEST(the_time_in_which_everything_stood_counts_for_nobody),
    TEST(a_deadline_calls_once_and_can_be_called_off),
    TEST(a_deadline_begins_when_it_is_set_and_not_at_the_look_before),
    TEST(who_is_away_for_two_seconds_is_counted_once_each_time),
    TEST(released_threads_owe_nothing),
    cmocka_unit_test(its_own_thread_looks_by_itself),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
