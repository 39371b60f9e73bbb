/* What core/chat/sessions.c promises of the table: one active conversation per user whoever comes at the same instant,
 * a bound on what is in memory, and that nothing is forgotten that somebody still needs. */
#include "fake_client.h"

#include "err.h"
#include "id.h"
#include "metrics.h"
#include "session.h"

#include <pthread.h>
#include <stdatomic.h>

struct table {
  struct sessions *sessions;
  struct mailbox *home;
  int64_t active; /* the gauge, when the test began */
};

static void never_run(struct post *post) {
  (void)post;
  abort();
}

static struct table *table_new(size_t max) {
  struct table *t = calloc(1, sizeof *t);
  t->home = mailbox_new(client_never_woken, NULL);
  t->sessions = sessions_new(max, 4, never_run);
  t->active = metrics_value(METRIC_ACTIVE_SESSIONS);
  return t;
}

static int table_open(void **state) {
  *state = table_new(1000);
  return 0;
}

static int table_close(void **state) {
  struct table *t = *state;
  sessions_free(t->sessions);
  mailbox_free(t->home);
  int left = (int)(metrics_value(METRIC_ACTIVE_SESSIONS) - t->active);
  free(t);
  return left;
}

static struct session_record record_of(const char *user) {
  struct session_record r = {.user_id = (char *)user};
  id_new(r.id);
  return r;
}

static struct session *enter(struct table *t, const char *user, bool stored, uint64_t now_ms) {
  struct session_record r = record_of(user);
  struct session *s = NULL;
  assert_int_equal(sessions_enter(t->sessions, &r, stored ? sessions_epoch(t->sessions) : 0, t->home, now_ms, &s), 0);
  return s;
}

static int64_t active_now(const struct table *t) {
  return metrics_value(METRIC_ACTIVE_SESSIONS) - t->active;
}

/* ---- finding ---- */

static void a_session_is_found_by_id_by_handle_and_by_user(void **state) {
  struct table *t = *state;
  struct session *s = enter(t, "ann", false, 0), *found;
  assert_string_equal(session_user(s), "ann");
  found = sessions_find(t->sessions, session_id(s));
  assert_ptr_equal(found, s);
  session_unref(found);
  found = sessions_get(t->sessions, session_id_handle(s));
  assert_ptr_equal(found, s);
  session_unref(found);
  found = sessions_active(t->sessions, "ann");
  assert_ptr_equal(found, s);
  session_unref(found);
  assert_null(sessions_active(t->sessions, "bob"));
  assert_null(sessions_find(t->sessions, "0123456789abcdef0123456789abcdef"));
  assert_null(sessions_get(t->sessions, 0));
  session_unref(s);
}

static void what_is_entered_is_copied(void **state) {
  struct table *t = *state;
  char name[] = "first";
  struct session_record r = record_of("ann");
  struct session *s;
  r.name = name;
  assert_int_equal(sessions_enter(t->sessions, &r, sessions_epoch(t->sessions), t->home, 0, &s), 0);
  name[0] = 'x';
  session_lock_read(s);
  assert_string_equal(session_fields(s)->name, "first");
  assert_true(session_stored(s));
  session_unlock_read(s);
  session_unref(s);
}

static void a_handle_is_never_used_again(void **state) {
  struct table *t = *state;
  struct session *s = enter(t, "ann", false, 0);
  session_handle first = session_id_handle(s);
  session_unref(s);
  assert_int_equal(sessions_count(t->sessions), 0);
  s = enter(t, "ann", false, 0);
  assert_int_not_equal(session_id_handle(s), first);
  assert_null(sessions_get(t->sessions, first));
  session_unref(s);
}

static void a_draft_of_a_user_with_an_active_session_is_that_session(void **state) {
  struct table *t = *state;
  struct session *a = enter(t, "ann", false, 0), *b = enter(t, "ann", false, 0), *c = enter(t, "bob", false, 0);
  assert_ptr_equal(a, b);
  assert_ptr_not_equal(a, c);
  assert_int_equal(sessions_count(t->sessions), 2);
  assert_int_equal(active_now(t), 2);
  session_unref(a);
  session_unref(b);
  session_unref(c);
}

static void after_an_end_the_next_one_is_new(void **state) {
  struct table *t = *state;
  struct session *a = enter(t, "ann", false, 0);
  sessions_ended(t->sessions, a);
  sessions_ended(t->sessions, a);
  assert_int_equal(active_now(t), 0);
  assert_null(sessions_active(t->sessions, "ann"));
  struct session *b = enter(t, "ann", false, 0);
  assert_ptr_not_equal(a, b);
  sessions_ended(t->sessions, a); /* the old one: the new one stays active */
  struct session *c = enter(t, "ann", false, 0);
  assert_ptr_equal(c, b);
  assert_int_equal(active_now(t), 1);
  session_unref(a);
  session_unref(b);
  session_unref(c);
}

static void what_comes_from_the_store_twice_is_one_session(void **state) {
  struct table *t = *state;
  struct session_record r = record_of("ann");
  struct session *a, *b;
  assert_int_equal(sessions_enter(t->sessions, &r, sessions_epoch(t->sessions), t->home, 0, &a), 0);
  r.total_tokens = 99; /* what is in memory is newer, whatever the store says */
  assert_int_equal(sessions_enter(t->sessions, &r, sessions_epoch(t->sessions), t->home, 0, &b), 0);
  assert_ptr_equal(a, b);
  session_lock_read(a);
  assert_int_equal(session_fields(a)->total_tokens, 0);
  session_unlock_read(a);
  session_unref(a);
  session_unref(b);
}

static void an_older_one_from_the_store_does_not_push_the_active_one_aside(void **state) {
  struct table *t = *state;
  struct session *active = enter(t, "ann", false, 0), *old = enter(t, "ann", true, 0), *found;
  assert_ptr_not_equal(active, old);
  found = sessions_active(t->sessions, "ann");
  assert_ptr_equal(found, active);
  assert_int_equal(active_now(t), 1);
  session_unref(found);
  session_unref(active);
  session_unref(old);
}

static void one_that_has_ended_is_nobodys_active_one(void **state) {
  struct table *t = *state;
  struct session_record r = record_of("ann");
  struct session *s;
  r.end_ms = 5;
  assert_int_equal(sessions_enter(t->sessions, &r, sessions_epoch(t->sessions), t->home, 0, &s), 0);
  assert_null(sessions_active(t->sessions, "ann"));
  assert_int_equal(active_now(t), 0);
  session_unref(s);
}

/* ---- the bound, and forgetting ---- */

static void a_full_table_refuses_new_ones_and_finds_the_old(void **state) {
  (void)state;
  struct table *t = table_new(2);
  struct session *a = enter(t, "ann", true, 0), *b = enter(t, "bob", true, 0), *c = NULL;
  struct session_record r = record_of("cyd");
  assert_int_equal(sessions_enter(t->sessions, &r, false, t->home, 0, &c), E_FULL);
  assert_null(c);
  assert_null(sessions_active(t->sessions, "cyd"));
  c = enter(t, "ann", false, 0);
  assert_ptr_equal(c, a);
  session_unref(c);
  session_unref(b);
  assert_int_equal(sessions_sweep(t->sessions, 10, 10), 1);
  c = enter(t, "cyd", false, 0);
  session_unref(c);
  session_unref(a);
  void *closing = t;
  assert_int_equal(table_close(&closing), 0);
}

static bool in_memory(struct table *t, const char *id) {
  struct session *s = sessions_find(t->sessions, id);
  if (s)
    session_unref(s);
  return s != NULL;
}

/* Somebody was there and is not any more. Its id goes into id[]. */
static void visit(struct table *t, const char *user, char id[STORE_ID_LEN + 1]) {
  struct session *s = enter(t, user, true, 0);
  strcpy(id, session_id(s));
  session_unref(s);
}

static void a_full_table_makes_room_by_what_nobody_has_used_for_longest(void **state) {
  (void)state;
  struct table *t = table_new(3);
  int64_t evicted = metrics_value(METRIC_SESSIONS_EVICTED);
  char ann[STORE_ID_LEN + 1], bob[STORE_ID_LEN + 1], cyd[STORE_ID_LEN + 1], dan[STORE_ID_LEN + 1];
  visit(t, "ann", ann);
  visit(t, "bob", bob);
  visit(t, "cyd", cyd);
  assert_true(in_memory(t, ann));                          /* used again: now bob's is the idlest */
  assert_int_equal(sessions_sweep(t->sessions, 0, 10), 0); /* who only sweeps has used nothing */
  visit(t, "dan", dan);
  assert_false(in_memory(t, bob));
  assert_true(in_memory(t, ann) && in_memory(t, cyd) && in_memory(t, dan));
  assert_int_equal(metrics_value(METRIC_SESSIONS_EVICTED) - evicted, 1);
  struct session *held = sessions_find(t->sessions, ann);
  visit(t, "eve", bob); /* cyd's is the idlest that is not in use */
  assert_false(in_memory(t, cyd));
  assert_int_equal(sessions_count(t->sessions), 3);
  session_unref(held);
  void *closing = t;
  assert_int_equal(table_close(&closing), 0);
}

static void a_user_at_the_bound_makes_room_among_its_own_only(void **state) {
  (void)state;
  struct table *t = table_new(100);
  sessions_limit(t->sessions, &(struct sessions_limits){.per_user = 2, .inbox_bytes = SIZE_MAX});
  char bob[STORE_ID_LEN + 1], first[STORE_ID_LEN + 1], second[STORE_ID_LEN + 1], third[STORE_ID_LEN + 1];
  visit(t, "bob", bob);
  visit(t, "ann", first);
  visit(t, "ann", second);
  visit(t, "ann", third);
  assert_false(in_memory(t, first));
  assert_true(in_memory(t, bob) && in_memory(t, second) && in_memory(t, third));
  struct session *a = sessions_find(t->sessions, second), *b = sessions_find(t->sessions, third), *c = NULL;
  struct session_record r = record_of("ann");
  assert_int_equal(sessions_enter(t->sessions, &r, sessions_epoch(t->sessions), t->home, 0, &c),
                   E_LIMITED); /* both are in use */
  visit(t, "cyd", first);      /* nobody else notices */
  session_unref(a);
  session_unref(b);
  void *closing = t;
  assert_int_equal(table_close(&closing), 0);
}

static void one_that_has_ended_leaves_with_the_last_who_held_it(void **state) {
  struct table *t = *state;
  struct session *s = enter(t, "ann", true, 0);
  struct conn *c = client_new(t->home, "ann");
  assert_int_equal(session_join(s, c, 0), 0);
  conn_bind(c, s);
  session_lock_write(s);
  session_edit(s)->end_ms = 5;
  session_unlock_write(s);
  session_unref(s);
  assert_int_equal(sessions_count(t->sessions), 1); /* its client still looks at it */
  session_leave(s, c, 0);
  client_gone(c);
  assert_int_equal(sessions_count(t->sessions), 0);
}

/* A user who opens, ends and hangs up, again and again, has nothing in memory to show for it. */
static void coming_and_ending_fills_no_table(void **state) {
  (void)state;
  struct table *t = table_new(2);
  for (int i = 0; i < 100; i++) {
    struct session *s = enter(t, "ann", i % 2, 0);
    sessions_ended(t->sessions, s);
    session_lock_write(s);
    session_edit(s)->end_ms = 5;
    session_unlock_write(s);
    session_unref(s);
    assert_int_equal(sessions_count(t->sessions), 0);
  }
  void *closing = t;
  assert_int_equal(table_close(&closing), 0);
}

static void a_stored_one_is_forgotten_when_it_has_been_idle_long_enough(void **state) {
  struct table *t = *state;
  session_unref(enter(t, "ann", true, 100));
  assert_int_equal(sessions_sweep(t->sessions, 149, 50), 0);
  assert_int_equal(sessions_sweep(t->sessions, 150, 50), 1);
  assert_int_equal(sessions_count(t->sessions), 0);
}

static void a_draft_is_forgotten_at_once(void **state) {
  struct table *t = *state;
  session_unref(enter(t, "ann", false, 100));
  assert_int_equal(sessions_count(t->sessions), 0);
  assert_null(sessions_active(t->sessions, "ann"));
}

/* The sweeper's clock was read before it came here; a worker's may be ahead. */
static void one_touched_after_the_sweep_began_is_kept(void **state) {
  struct table *t = *state;
  session_unref(enter(t, "ann", true, 101));
  assert_int_equal(sessions_sweep(t->sessions, 100, 50), 0);
}

static void leaving_and_unholding_are_signs_of_life(void **state) {
  struct table *t = *state;
  struct session *s = enter(t, "ann", true, 0);
  struct conn *c = client_new(t->home, "ann");
  assert_int_equal(session_join(s, c, 0), 0);
  session_leave(s, c, 100);
  client_gone(c);
  session_unref(s);
  assert_int_equal(sessions_sweep(t->sessions, 149, 50), 0);
  s = sessions_active(t->sessions, "ann");
  session_hold(s);
  session_unhold(s, 120);
  session_unref(s);
  assert_int_equal(sessions_sweep(t->sessions, 169, 50), 0);
  assert_int_equal(sessions_sweep(t->sessions, 170, 50), 1);
}

static void kept(struct table *t) {
  assert_int_equal(sessions_sweep(t->sessions, 1000000, 0), 0);
}

static void what_somebody_needs_is_not_forgotten(void **state) {
  struct table *t = *state;
  struct mailbox *wake;
  struct session *s = enter(t, "ann", false, 0);
  kept(t); /* somebody has just found it */
  session_handle handle = session_id_handle(s);
  struct conn *c = client_new(t->home, "ann");
  assert_int_equal(session_join(s, c, 0), 0);
  session_unref(s);
  kept(t); /* a member */
  session_hold(s);
  session_leave(s, c, 0);
  client_gone(c);
  kept(t); /* a commit on its way */
  session_set_busy(s, true, &wake);
  session_unhold(s, 0);
  kept(t); /* a handler that has the turn */
  assert_int_equal(session_put(s, item_new(ITEM_TEXT, NULL, "x", 1), &wake), 0);
  session_later(s, session_take(s));
  assert_null(session_take(s));
  session_unref(s);
  kept(t); /* a message that was put off */
  session_set_busy(s, false, &wake);
  assert_non_null(wake);
  session_unref(s); /* as if nobody held it: being on its way must be enough */
  kept(t);
  item_free(session_take(s));
  kept(t); /* its handler runs */
  assert_null(session_take(s));
  assert_int_equal(sessions_sweep(t->sessions, 1000000, 0), 1);
  assert_null(sessions_get(t->sessions, handle));
}

/* More than the sweep copies out at once, with some that stay among them. */
static void a_long_table_is_swept_to_its_end(void **state) {
  struct table *t = *state;
  enum { COUNT = 900 };
  struct session *held[COUNT] = {0};
  char user[16];
  int kept_count = 0;
  for (int i = 0; i < COUNT; i++) {
    snprintf(user, sizeof user, "user %d", i);
    struct session *s = enter(t, user, true, 0);
    if (i % 7 == 0 || i == 255 || i == 511) { /* also where one round ends */
      held[i] = s;
      kept_count++;
    } else {
      session_unref(s);
    }
  }
  assert_int_equal(sessions_sweep(t->sessions, 0, 0), COUNT - kept_count);
  assert_int_equal(sessions_count(t->sessions), kept_count);
  assert_int_equal(active_now(t), kept_count);
  for (int i = 0; i < COUNT; i++)
    if (held[i] != NULL)
      session_unref(held[i]);
  assert_int_equal(sessions_sweep(t->sessions, 0, 0), kept_count);
}

/* ---- telling a user ---- */

static void a_user_is_told_on_all_connections_and_nobody_else_is(void **state) {
  struct table *t = *state;
  struct session *old = enter(t, "ann", true, 0), *now = enter(t, "ann", true, 0), *bobs = enter(t, "bob", true, 0);
  struct conn *clients[80], *admin = client_new(t->home, "admin"), *bob = client_new(t->home, "bob");
  for (int i = 0; i < 80; i++) {
    clients[i] = client_new(t->home, "ann");
    assert_int_equal(session_join(i == 0 ? old : now, clients[i], 0), 0);
  }
  assert_int_equal(session_join(now, admin, 0), 0); /* assists */
  assert_int_equal(session_join(bobs, bob, 0), 0);
  struct message *m = message_new("limit", 5);
  sessions_notify_user(t->sessions, "ann", m, t->home);
  sessions_notify_user(t->sessions, "nobody", m, t->home);
  message_unref(m);
  for (int i = 0; i < 80; i++) {
    assert_gets(clients[i], "limit");
    assert_silent(clients[i]);
    session_leave(i == 0 ? old : now, clients[i], 0);
    client_gone(clients[i]);
  }
  assert_silent(admin);
  assert_silent(bob);
  session_leave(now, admin, 0);
  session_leave(bobs, bob, 0);
  client_gone(admin);
  client_gone(bob);
  session_unref(old);
  session_unref(now);
  session_unref(bobs);
}

/* ---- many threads at once ---- */

enum { THREADS = 4, ROUNDS = 5000 };

struct device {
  pthread_t thread;
  struct table *table;
  pthread_barrier_t *instant;
  struct session *got[ROUNDS]; /* kept: a draft that nobody holds leaves at once */
};

static void *connect_each_round(void *arg) {
  struct device *d = arg;
  char user[32];
  for (int i = 0; i < ROUNDS; i++) {
    snprintf(user, sizeof user, "user %d", i);
    struct session_record r = record_of(user);
    if (i % 16 == 0)
      pthread_barrier_wait(d->instant); /* keep them close together */
    if (sessions_enter(d->table->sessions, &r, false, d->table->home, 0, &d->got[i]) != 0)
      abort();
  }
  return NULL;
}

static void devices_that_connect_at_the_same_instant_get_the_same_session(void **state) {
  (void)state;
  struct table *t = table_new(ROUNDS);
  struct device *all = calloc(THREADS, sizeof *all);
  pthread_barrier_t instant;
  pthread_barrier_init(&instant, NULL, THREADS);
  for (int i = 0; i < THREADS; i++) {
    all[i].table = t;
    all[i].instant = &instant;
    assert_int_equal(pthread_create(&all[i].thread, NULL, connect_each_round, &all[i]), 0);
  }
  for (int i = 0; i < THREADS; i++)
    pthread_join(all[i].thread, NULL);
  for (int i = 1; i < THREADS; i++)
    assert_memory_equal(all[i].got, all[0].got, sizeof all[0].got);
  assert_int_equal(sessions_count(t->sessions), ROUNDS);
  assert_int_equal(active_now(t), ROUNDS);
  for (int i = 0; i < THREADS * ROUNDS; i++)
    session_unref(all[i / ROUNDS].got[i % ROUNDS]);
  assert_int_equal(sessions_count(t->sessions), 0);
  pthread_barrier_destroy(&instant);
  free(all);
  void *closing = t;
  assert_int_equal(table_close(&closing), 0);
}

static atomic_int wrong;

/* Comes, looks around, is told, sometimes ends it, and goes; drafts leave under everybody's feet. */
static void *live(void *arg) {
  struct device *d = arg;
  struct sessions *t = d->table->sessions;
  struct message *m = message_new("hello", 5);
  char user[16];
  for (int i = 0; i < ROUNDS; i++) {
    snprintf(user, sizeof user, "user %d", i % 5);
    struct session_record r = record_of(user);
    struct session *s = NULL, *found;
    int code = sessions_enter(t, &r, i % 3 == 0 ? sessions_epoch(t) : 0, d->table->home, 0, &s);
    if (code == E_CONFLICT)
      continue; /* one was forgotten meanwhile: whoever has read a record reads it again */
    if (code != 0)
      abort();
    found = sessions_get(t, session_id_handle(s));
    if (found != s || strcmp(session_user(s), user) != 0)
      atomic_fetch_add(&wrong, 1); /* it is held: nobody may have swept it */
    if (found != NULL)
      session_unref(found);
    found = sessions_find(t, session_id(s));
    if (found != s)
      atomic_fetch_add(&wrong, 1);
    if (found != NULL)
      session_unref(found);
    if (i % 4 == 0)
      sessions_ended(t, s);
    session_unref(s);
    if (i % 8 == 0)
      sessions_sweep(t, 0, 0);
    if (i % 50 == 0)
      sessions_notify_user(t, user, m, d->table->home);
    found = sessions_active(t, user);
    if (found != NULL && strcmp(session_user(found), user) != 0)
      atomic_fetch_add(&wrong, 1);
    if (found != NULL)
      session_unref(found);
  }
  message_unref(m);
  return NULL;
}

static void what_comes_and_goes_on_many_threads_leaves_nothing_behind(void **state) {
  struct table *t = *state;
  struct device *all = calloc(THREADS, sizeof *all);
  for (int i = 0; i < THREADS; i++) {
    all[i].table = t;
    assert_int_equal(pthread_create(&all[i].thread, NULL, live, &all[i]), 0);
  }
  for (int i = 0; i < THREADS; i++)
    pthread_join(all[i].thread, NULL);
  assert_int_equal(wrong, 0);
  sessions_sweep(t->sessions, 0, 0);
  assert_int_equal(sessions_count(t->sessions), 0);
  assert_int_equal(active_now(t), 0);
  free(all);
}

#define TABLE(test) cmocka_unit_test_setup_teardown(test, table_open, table_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    TABLE(a_session_is_found_by_id_by_handle_and_by_user),
    TABLE(what_is_entered_is_copied),
    TABLE(a_handle_is_never_used_again),
    TABLE(a_draft_of_a_user_with_an_active_session_is_that_session),
    TABLE(after_an_end_the_next_one_is_new),
    TABLE(what_comes_from_the_store_twice_is_one_session),
    TABLE(an_older_one_from_the_store_does_not_push_the_active_one_aside),
    TABLE(one_that_has_ended_is_nobodys_active_one),
    cmocka_unit_test(a_full_table_refuses_new_ones_and_finds_the_old),
    cmocka_unit_test(a_full_table_makes_room_by_what_nobody_has_used_for_longest),
    cmocka_unit_test(a_user_at_the_bound_makes_room_among_its_own_only),
    TABLE(one_that_has_ended_leaves_with_the_last_who_held_it),
    cmocka_unit_test(coming_and_ending_fills_no_table),
    TABLE(a_stored_one_is_forgotten_when_it_has_been_idle_long_enough),
    TABLE(a_draft_is_forgotten_at_once),
    TABLE(one_touched_after_the_sweep_began_is_kept),
    TABLE(leaving_and_unholding_are_signs_of_life),
    TABLE(what_somebody_needs_is_not_forgotten),
    TABLE(a_long_table_is_swept_to_its_end),
    TABLE(a_user_is_told_on_all_connections_and_nobody_else_is),
    cmocka_unit_test(devices_that_connect_at_the_same_instant_get_the_same_session),
    TABLE(what_comes_and_goes_on_many_threads_leaves_nothing_behind),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
