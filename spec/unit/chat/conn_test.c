/* What core/chat/conn.c promises: what a client is sent comes in order and bounded, from any thread, and does no harm
 * when the client is gone. */
#include "fake_client.h"

#include "err.h"
#include "metrics.h"
#include "session.h"

#include <pthread.h>
#include <stdatomic.h>

#define COST 32 /* of a message beside its bytes */

struct home {
  struct mailbox *mailbox;
  int dirty;
};

static void count_dirty(struct conn *c, void *arg) {
  (void)c;
  ((struct home *)arg)->dirty++;
}

static struct conn *client_of(struct home *h, const char *wanted, size_t outbox_limit, size_t early_limit) {
  struct identity *who = identity_new("ann", "Ann", NULL, 0, 0);
  struct conn_options o = {.home = h->mailbox,
                           .identity = who,
                           .wanted = wanted,
                           .outbox_limit = outbox_limit,
                           .early_limit = early_limit,
                           .dirty = count_dirty,
                           .arg = h,
                           .opened_ms = 7};
  struct conn *c = conn_new(&o);
  assert_non_null(c);
  identity_unref(who);
  return c;
}

static int home_open(void **state) {
  struct home *h = calloc(1, sizeof *h);
  h->mailbox = mailbox_new(client_never_woken, NULL);
  *state = h;
  return 0;
}

static int home_close(void **state) {
  struct home *h = *state;
  mailbox_free(h->mailbox);
  free(h);
  return 0;
}

static void what_is_sent_first_is_read_first(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  char text[16];
  int sent = 0, read = 0;
  for (int round = 0; round < 6; round++) { /* the ring wraps and grows while it is half full */
    for (int i = 0; i < 5 + round; i++) {
      snprintf(text, sizeof text, "%d", sent++);
      send_text(c, text, h->mailbox);
    }
    for (int i = 0; i < 4; i++) {
      snprintf(text, sizeof text, "%d", read++);
      assert_gets(c, text);
    }
  }
  assert_int_equal(conn_outbox_peek(c)->len, 2);
  while (read < sent) {
    snprintf(text, sizeof text, "%d", read++);
    assert_gets(c, text);
  }
  assert_true(conn_outbox_empty(c));
  assert_null(conn_outbox_take(c));
  client_gone(c);
}

static void the_transport_is_told_once_until_it_has_flushed(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  send_text(c, "a", h->mailbox);
  send_text(c, "b", h->mailbox);
  assert_int_equal(h->dirty, 1);
  conn_clean(c);
  conn_close(c, CLOSE_NORMAL, "bye", h->mailbox);
  assert_int_equal(h->dirty, 2);
  client_gone(c);
}

static void from_another_worker_a_message_comes_by_post(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  struct mailbox *elsewhere = mailbox_new(client_never_woken, NULL);
  send_text(c, "far", elsewhere);
  conn_close(c, CLOSE_POLICY, "enough", NULL);
  assert_silent(c);
  assert_int_equal(h->dirty, 0);
  assert_true(mailbox_drain(h->mailbox));
  assert_gets(c, "far");
  const char *reason;
  assert_int_equal(conn_closing(c, &reason), CLOSE_POLICY);
  assert_string_equal(reason, "enough");
  mailbox_free(elsewhere);
  client_gone(c);
}

static void a_full_outbox_closes_the_reader_and_is_never_thinned(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 3 * (COST + 8), 1);
  int64_t before = metrics_value(METRIC_OUTBOX_OVERFLOWS);
  const char *reason;
  send_text(c, "12345678", h->mailbox);
  send_text(c, "12345678", h->mailbox);
  send_text(c, "12345678", h->mailbox); /* exactly full */
  assert_int_equal(conn_closing(c, &reason), 0);
  assert_gets(c, "12345678");
  send_text(c, "12345678", h->mailbox); /* what was read makes room */
  assert_int_equal(conn_closing(c, &reason), 0);
  send_text(c, "", h->mailbox);
  assert_int_equal(conn_closing(c, &reason), CLOSE_TRY_LATER);
  assert_true(conn_outbox_empty(c));
  assert_int_equal(metrics_value(METRIC_OUTBOX_OVERFLOWS), before + 1);
  send_text(c, "late", h->mailbox);
  assert_true(conn_outbox_empty(c));
  client_gone(c);
}

static void empty_messages_are_bounded_too(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 10 * COST, 1);
  const char *reason;
  for (int i = 0; i < 10; i++)
    send_text(c, "", h->mailbox);
  assert_int_equal(conn_closing(c, &reason), 0);
  send_text(c, "", h->mailbox);
  assert_int_equal(conn_closing(c, &reason), CLOSE_TRY_LATER);
  client_gone(c);
}

static void a_close_comes_behind_what_was_sent_and_before_nothing(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  const char *reason;
  send_text(c, "before", h->mailbox);
  conn_close(c, CLOSE_POLICY, "first", h->mailbox);
  conn_close(c, CLOSE_NORMAL, "second", h->mailbox);
  send_text(c, "behind", h->mailbox);
  assert_int_equal(conn_closing(c, &reason), CLOSE_POLICY);
  assert_string_equal(reason, "first");
  assert_gets(c, "before");
  assert_silent(c);
  client_gone(c);
}

static void a_reason_is_cut_at_its_bound_wherever_it_comes_from(void **state) {
  struct home *h = *state;
  char longer[CONN_REASON_MAX + 10];
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = 0;
  const struct mailbox *from[] = {h->mailbox, NULL};
  for (int i = 0; i < 2; i++) {
    struct conn *c = client_of(h, NULL, 4096, 1);
    const char *reason;
    conn_close(c, CLOSE_NORMAL, longer, from[i]);
    mailbox_drain(h->mailbox);
    assert_int_equal(conn_closing(c, &reason), CLOSE_NORMAL);
    assert_int_equal(strlen(reason), CONN_REASON_MAX);
    client_gone(c);
  }
}

static void what_is_sent_to_a_dead_one_falls_on_the_floor(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  const char *reason;
  struct conn_refusal behind;
  send_text(c, "unread", h->mailbox);
  assert_int_equal(conn_early_put(c, "early", 5), 0);
  conn_dead(c);
  conn_clean(c);
  assert_true(conn_is_dead(c));
  assert_silent(c);
  assert_null(conn_early_take(c, &behind));
  send_text(c, "here", h->mailbox);
  send_text(c, "there", NULL);
  conn_close(c, CLOSE_NORMAL, "", NULL);
  mailbox_drain(h->mailbox);
  assert_silent(c);
  assert_int_equal(conn_closing(c, &reason), 0);
  assert_int_equal(h->dirty, 1);
  conn_unref(c);
}

static void who_is_refused_again_and_again_rests_until_one_is_let_through(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  for (int i = 0; i < CONN_REFUSED_MAX - 1; i++)
    conn_count_refusal(c, true, 1000);
  assert_int_equal(conn_rests_until_ms(c), 0);
  conn_count_refusal(c, true, 1000);
  assert_int_equal(conn_rests_until_ms(c), 1000 + CONN_REST_MS);
  conn_count_refusal(c, true, 5000);
  assert_int_equal(conn_rests_until_ms(c), 5000 + CONN_REST_MS);
  conn_count_refusal(c, false, 6000);
  assert_int_equal(conn_rests_until_ms(c), 0);
  conn_count_refusal(c, true, 7000);
  assert_int_equal(conn_rests_until_ms(c), 0);
  conn_dead(c);
  conn_unref(c);
}

static void death_lets_the_conversation_go(void **state) {
  struct home *h = *state;
  struct sessions *t = sessions_new(1, 1, NULL);
  struct session_record r = {.id = "0123456789abcdef0123456789abcdef", .user_id = "ann"};
  struct session *s;
  assert_int_equal(sessions_enter(t, &r, false, h->mailbox, 0, &s), 0);
  struct conn *c = client_of(h, NULL, 4096, 1);
  conn_bind(c, s);
  conn_bind(c, s); /* again: the new reference before the old one goes */
  session_unref(s);
  assert_ptr_equal(conn_session(c), s);
  assert_int_equal(sessions_sweep(t, 0, 0), 0); /* it holds a reference */
  conn_dead(c);
  assert_null(conn_session(c));
  assert_int_equal(sessions_count(t), 0); /* nothing was ever said in it */
  conn_unref(c);
  sessions_free(t);
}

static void texts_that_come_early_are_kept_in_order_and_bounded(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 2);
  struct conn_refusal behind;
  for (int round = 0; round < 3; round++) {
    assert_int_equal(conn_early_put(c, "one", 3), 0);
    conn_put_off(c, conn_refusal_of("refused", 7, E_LIMITED, 0, 0)); /* what comes next takes it along */
    assert_int_equal(conn_early_put(c, "two", 3), 0);
    assert_int_equal(conn_early_put(c, "three", 5), E_FULL);
    struct message *m = conn_early_take(c, &behind);
    assert_memory_equal(m->text, "one", 3);
    assert_int_equal(behind.cid, 0);
    message_unref(m);
    m = conn_early_take(c, &behind);
    assert_memory_equal(m->text, "two", 3);
    assert_int_equal(behind.code, E_LIMITED);
    message_unref(m);
    assert_null(conn_early_take(c, &behind));
  }
  client_gone(c);
}

static void without_room_for_early_texts_none_is_taken(void **state) {
  struct conn *c = client_of(*state, NULL, 4096, 0);
  assert_int_equal(conn_early_put(c, "x", 1), E_FULL);
  client_gone(c);
}

static void a_wanted_id_that_is_too_long_is_none(void **state) {
  char fits[CONN_WANTED_MAX + 1], over[CONN_WANTED_MAX + 2];
  memset(fits, 'a', sizeof fits);
  memset(over, 'a', sizeof over);
  fits[CONN_WANTED_MAX] = over[CONN_WANTED_MAX + 1] = 0;
  struct conn *c = client_of(*state, fits, 4096, 1);
  assert_string_equal(conn_wanted(c), fits);
  client_gone(c);
  c = client_of(*state, over, 4096, 1);
  assert_string_equal(conn_wanted(c), "");
  client_gone(c);
  c = client_of(*state, NULL, 4096, 1);
  assert_string_equal(conn_wanted(c), "");
  client_gone(c);
}

static void who_and_when_are_what_it_was_opened_with(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  assert_ptr_equal(conn_home(c), h->mailbox);
  assert_string_equal(conn_user(c), "ann");
  assert_int_equal(conn_opened_ms(c), 7);
  assert_null(conn_site(c));
  conn_set_site(c, h);
  assert_ptr_equal(conn_site(c), h);
  client_gone(c);
}

static struct identity *token_of_ann(const char *name, int64_t expires_s) {
  const char *const roles[] = {"admin"};
  return identity_new("ann", name, roles, 1, expires_s);
}

static void assert_called(struct conn *c, const char *name) {
  struct identity *who = conn_identity(c);
  assert_string_equal(who->name, name);
  identity_unref(who);
}

static void a_new_token_counts_from_the_moment_it_is_taken(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  struct identity *before = conn_identity(c), *fresh = token_of_ann("Annabel", 50), *later = token_of_ann("Anna", 60);
  conn_renew(c, fresh, h->mailbox);
  assert_called(c, "Annabel");
  conn_renew(c, later, NULL); /* by post: it is not at home */
  assert_called(c, "Annabel");
  mailbox_drain(h->mailbox);
  assert_called(c, "Anna");
  assert_string_equal(conn_user(c), "ann");
  assert_string_equal(before->name, "Ann"); /* whoever still holds it may look at it */
  identity_unref(before);
  identity_unref(fresh);
  identity_unref(later);
  client_gone(c);
}

static void *ask_often(void *arg) {
  size_t wrong = 0;
  for (int i = 0; i < 2000; i++) {
    struct identity *who = conn_identity(arg);
    wrong += strcmp(who->user_id, "ann") != 0 || strcmp(conn_user(arg), "ann") != 0;
    identity_unref(who);
  }
  return (void *)wrong;
}

static void others_may_ask_who_it_is_while_that_changes(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, 4096, 1);
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, ask_often, c), 0);
  for (int i = 0; i < 500; i++) {
    struct identity *fresh = token_of_ann("Ann", 1000 + i);
    conn_renew(c, fresh, h->mailbox);
    identity_unref(fresh);
  }
  for (int i = 0; i < 2; i++) {
    void *wrong = NULL;
    pthread_join(threads[i], &wrong);
    assert_null(wrong);
  }
  client_gone(c);
}

static void note_due(struct wheel_link *l, void *arg) {
  *(struct conn **)arg = conn_of_expiry(l);
}

static struct conn *due_at(struct wheel *w, int64_t now_s) {
  struct conn *c = NULL;
  wheel_turn(w, now_s, note_due, &c);
  return c;
}

static void it_is_due_when_the_newest_token_ends(void **state) {
  struct home *h = *state;
  static struct wheel w;
  wheel_init(&w, 10);
  struct conn *c = client_of(h, NULL, 4096, 1), *dead = client_of(h, NULL, 4096, 1);
  struct identity *late = token_of_ann("Ann", 60), *soon = token_of_ann("Ann", 50);
  conn_expires_in(c, &w); /* never, yet */
  conn_expires_in(dead, &w);
  conn_renew(dead, soon, h->mailbox);
  conn_renew(c, late, h->mailbox);
  conn_renew(c, soon, h->mailbox); /* sooner than the one before it */
  client_gone(dead);
  assert_int_equal(w.count, 1);
  assert_null(due_at(&w, 49));
  assert_ptr_equal(due_at(&w, 50), c);
  conn_renew(c, late, h->mailbox); /* too late: it is on its way out */
  assert_int_equal(w.count, 0);
  identity_unref(late);
  identity_unref(soon);
  client_gone(c);
}

static void new_tokens_are_looked_at_so_often_and_no_more(void **state) {
  struct conn *c = client_of(*state, NULL, 4096, 1);
  uint64_t wait_ms;
  for (int i = 0; i < CONN_RENEW_BURST; i++)
    assert_int_equal(conn_may_renew(c, 1000, &wait_ms), 0);
  assert_int_equal(conn_may_renew(c, 1000, &wait_ms), E_LIMITED);
  assert_int_equal(wait_ms, 1000);
  assert_int_equal(conn_may_renew(c, 1999, &wait_ms), E_LIMITED);
  assert_int_equal(wait_ms, 1);
  assert_int_equal(conn_may_renew(c, 2000, &wait_ms), 0);
  assert_int_equal(conn_may_renew(c, 2000, &wait_ms), E_LIMITED);
  client_gone(c);
}

/* The leak checker is the judge. */
static void one_that_never_died_leaves_nothing_behind(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, "0123", 4096, 1);
  send_text(c, "unread", h->mailbox);
  assert_int_equal(conn_early_put(c, "early", 5), 0);
  conn_close(c, CLOSE_NORMAL, "why", h->mailbox);
  conn_unref(c);
  conn_unref(NULL);
}

/* ---- many threads ---- */

enum { SENDERS = 4, TEXTS = 2000 };

struct sender {
  pthread_t thread;
  struct conn *conn;
  int number;
  uint64_t ids[TEXTS];
};

static void *send_all(void *arg) {
  struct sender *s = arg;
  char text[32];
  for (int i = 0; i < TEXTS; i++) {
    snprintf(text, sizeof text, "%d %d", s->number, i);
    send_text(s->conn, text, NULL);
  }
  conn_unref(s->conn);
  return NULL;
}

static void texts_of_many_threads_all_come_each_senders_in_order(void **state) {
  struct home *h = *state;
  struct conn *c = client_of(h, NULL, SENDERS * TEXTS * (COST + 32), 1);
  struct sender *all = calloc(SENDERS, sizeof *all);
  int next[SENDERS] = {0}, count = 0;
  for (int i = 0; i < SENDERS; i++) {
    all[i].number = i;
    all[i].conn = conn_ref(c);
    assert_int_equal(pthread_create(&all[i].thread, NULL, send_all, &all[i]), 0);
  }
  for (int joined = 0; joined < SENDERS; joined++) {
    mailbox_drain(h->mailbox);
    pthread_join(all[joined].thread, NULL);
  }
  mailbox_drain(h->mailbox);
  struct message *m;
  while ((m = conn_outbox_take(c)) != NULL) {
    int sender, number;
    char text[32] = "";
    memcpy(text, m->text, m->len);
    assert_int_equal(sscanf(text, "%d %d", &sender, &number), 2);
    assert_int_equal(number, next[sender]);
    next[sender]++;
    count++;
    message_unref(m);
  }
  assert_int_equal(count, SENDERS * TEXTS);
  free(all);
  client_gone(c);
}

static void *make_all(void *arg) {
  struct sender *s = arg;
  for (int i = 0; i < TEXTS; i++) {
    struct conn *c = client_new(NULL, "ann");
    s->ids[i] = conn_id(c);
    client_gone(c);
  }
  return NULL;
}

static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static void no_id_is_given_twice_however_many_threads_accept(void **state) {
  (void)state;
  struct sender *all = calloc(SENDERS, sizeof *all);
  uint64_t *ids = calloc(SENDERS * TEXTS, sizeof *ids);
  for (int i = 0; i < SENDERS; i++)
    assert_int_equal(pthread_create(&all[i].thread, NULL, make_all, &all[i]), 0);
  for (int i = 0; i < SENDERS; i++) {
    pthread_join(all[i].thread, NULL);
    memcpy(ids + i * TEXTS, all[i].ids, sizeof all[i].ids);
  }
  qsort(ids, SENDERS * TEXTS, sizeof *ids, by_number);
  for (int i = 1; i < SENDERS * TEXTS; i++)
    assert_true(ids[i - 1] < ids[i]);
  free(ids);
  free(all);
}

#define HOME(test) cmocka_unit_test_setup_teardown(test, home_open, home_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    HOME(what_is_sent_first_is_read_first),
    HOME(the_transport_is_told_once_until_it_has_flushed),
    HOME(from_another_worker_a_message_comes_by_post),
    HOME(a_full_outbox_closes_the_reader_and_is_never_thinned),
    HOME(empty_messages_are_bounded_too),
    HOME(a_close_comes_behind_what_was_sent_and_before_nothing),
    HOME(a_reason_is_cut_at_its_bound_wherever_it_comes_from),
    HOME(what_is_sent_to_a_dead_one_falls_on_the_floor),
    HOME(who_is_refused_again_and_again_rests_until_one_is_let_through),
    HOME(death_lets_the_conversation_go),
    HOME(texts_that_come_early_are_kept_in_order_and_bounded),
    HOME(without_room_for_early_texts_none_is_taken),
    HOME(a_wanted_id_that_is_too_long_is_none),
    HOME(who_and_when_are_what_it_was_opened_with),
    HOME(a_new_token_counts_from_the_moment_it_is_taken),
    HOME(others_may_ask_who_it_is_while_that_changes),
    HOME(it_is_due_when_the_newest_token_ends),
    HOME(new_tokens_are_looked_at_so_often_and_no_more),
    HOME(one_that_never_died_leaves_nothing_behind),
    HOME(texts_of_many_threads_all_come_each_senders_in_order),
    cmocka_unit_test(no_id_is_given_twice_however_many_threads_accept),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
