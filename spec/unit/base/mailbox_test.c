/* In: posts from one and from many threads. Out: the promise that each arrives once, in the order of its sender, and
 * that the owner is woken whenever there is something to do.
 * Why: everything that crosses threads goes through here. */
#include "mailbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

struct letter {
  struct post post;
  int sender, number;
};

enum { SENDERS = 4, LETTERS = 5000 };

static int wakes;
static int received[SENDERS];
static int out_of_order;
static struct mailbox *box;

static void count_wake(void *arg) {
  assert_ptr_equal(arg, &wakes);
  wakes++;
}

static void read_letter(struct post *post) {
  struct letter *l = (struct letter *)post;
  out_of_order += received[l->sender] != l->number;
  received[l->sender]++;
  free(l);
}

static struct post *letter_new(int sender, int number, void (*run)(struct post *)) {
  struct letter *l = malloc(sizeof *l);
  assert_non_null(l);
  *l = (struct letter){.post = {.run = run}, .sender = sender, .number = number};
  return &l->post;
}

static int box_open(void **state) {
  (void)state;
  wakes = out_of_order = 0;
  for (int i = 0; i < SENDERS; i++)
    received[i] = 0;
  box = mailbox_new(count_wake, &wakes);
  return box == NULL;
}

static int box_close(void **state) {
  (void)state;
  mailbox_free(box);
  return 0;
}

static void posts_run_in_order(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++)
    mailbox_put(box, letter_new(0, i, read_letter));
  assert_int_equal(received[0], 0);
  assert_true(mailbox_drain(box));
  assert_int_equal(received[0], 3);
  assert_int_equal(out_of_order, 0);
}

static void an_empty_mailbox_has_nothing_to_run(void **state) {
  (void)state;
  assert_false(mailbox_drain(box));
  mailbox_put(box, letter_new(0, 0, read_letter));
  assert_true(mailbox_drain(box));
  assert_false(mailbox_drain(box));
  assert_int_equal(received[0], 1);
}

static void the_owner_is_woken_once_per_batch(void **state) {
  (void)state;
  mailbox_put(box, letter_new(0, 0, read_letter));
  assert_int_equal(wakes, 1);
  mailbox_put(box, letter_new(0, 1, read_letter));
  assert_int_equal(wakes, 1);
  assert_true(mailbox_drain(box));
  mailbox_put(box, letter_new(0, 2, read_letter));
  assert_int_equal(wakes, 2);
  assert_true(mailbox_drain(box));
}

static void read_and_answer(struct post *post) {
  read_letter(post);
  mailbox_put(box, letter_new(0, 1, read_letter));
}

static void what_is_put_while_draining_waits_for_the_next_time(void **state) {
  (void)state;
  mailbox_put(box, letter_new(0, 0, read_and_answer));
  assert_true(mailbox_drain(box));
  assert_int_equal(received[0], 1);
  assert_int_equal(wakes, 2);
  assert_true(mailbox_drain(box));
  assert_int_equal(received[0], 2);
}

static void *send_letters(void *arg) {
  struct post **letters = arg;
  for (int i = 0; i < LETTERS; i++)
    mailbox_put(box, letters[i]);
  return NULL;
}

static void ring(void *arg) {
  sem_post(arg);
}

/* The owner sleeps until it is woken: a wake that is missing makes this test hang, not pass. */
static void nothing_of_many_senders_is_lost_or_reordered(void **state) {
  (void)state;
  static struct post *letters[SENDERS][LETTERS];
  pthread_t senders[SENDERS];
  sem_t bell;
  assert_int_equal(sem_init(&bell, 0, 0), 0);
  mailbox_free(box);
  box = mailbox_new(ring, &bell);
  for (int s = 0; s < SENDERS; s++)
    for (int i = 0; i < LETTERS; i++)
      letters[s][i] = letter_new(s, i, read_letter);
  for (int s = 0; s < SENDERS; s++)
    assert_int_equal(pthread_create(&senders[s], NULL, send_letters, letters[s]), 0);
  for (int sum = 0; sum < SENDERS * LETTERS;) {
    sem_wait(&bell);
    mailbox_drain(box);
    sum = 0;
    for (int s = 0; s < SENDERS; s++)
      sum += received[s];
  }
  for (int s = 0; s < SENDERS; s++) {
    assert_int_equal(pthread_join(senders[s], NULL), 0);
    assert_int_equal(received[s], LETTERS);
  }
  assert_int_equal(out_of_order, 0);
  assert_false(mailbox_drain(box));
  sem_destroy(&bell);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, box_open, box_close)
  const struct CMUnitTest tests[] = {
    TEST(posts_run_in_order),
    TEST(an_empty_mailbox_has_nothing_to_run),
    TEST(the_owner_is_woken_once_per_batch),
    TEST(what_is_put_while_draining_waits_for_the_next_time),
    TEST(nothing_of_many_senders_is_lost_or_reordered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
