/* What core/chat/worker.c promises: timers in order, items one at a time and fairly, posts of other threads all of
 * them, and a start and a stop that leave nothing behind. By hand where time matters, on real threads where threads do.
 */
#include "fake_client.h"

#include "effects.h"
#include "err.h"
#include "id.h"
#include "worker.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <uv.h>

#define LOG_MAX 4096

/* What has happened on one worker, as text. */
struct scene {
  struct worker *worker;
  struct sessions *sessions;
  char log[LOG_MAX];
  int turns, items, most_items_a_turn, items_this_turn;
  int start_code;
  bool quiet;
  atomic_int started, stopped;
};

static void note(struct scene *sc, const char *text) {
  size_t used = strlen(sc->log);
  snprintf(sc->log + used, sizeof sc->log - used, "%s%s", used ? " " : "", text);
}

static int on_start(struct worker *w, void *ctx, char why[512]) {
  struct scene *sc = ctx;
  (void)w;
  sc->started++;
  if (sc->start_code)
    strcpy(why, "the script is wrong");
  return sc->start_code;
}

static void on_item(void *ctx, struct session *s, struct item *item) {
  struct scene *sc = ctx;
  (void)s;
  sc->items++;
  sc->items_this_turn++;
  if (!sc->quiet)
    note(sc, item->text);
  item_free(item);
}

static void on_turn(void *ctx) {
  struct scene *sc = ctx;
  sc->turns++;
  if (sc->items_this_turn > sc->most_items_a_turn)
    sc->most_items_a_turn = sc->items_this_turn;
  sc->items_this_turn = 0;
}

static void on_stop(void *ctx) {
  struct scene *sc = ctx;
  sc->stopped++;
}

static const struct worker_hooks hooks = {.start = on_start, .item = on_item, .turn = on_turn, .stop = on_stop};

static struct scene *scene_new(bool by_hand) {
  struct scene *sc = calloc(1, sizeof *sc);
  sc->sessions = sessions_new(100, 100000, worker_run_session);
  struct worker_options o = {.index = 3, .hooks = &hooks, .ctx = sc, .sessions = sc->sessions, .by_hand = by_hand};
  sc->worker = worker_new(&o);
  assert_non_null(sc->worker);
  return sc;
}

static void scene_free(struct scene *sc) {
  worker_free(sc->worker);
  sessions_free(sc->sessions);
  free(sc);
}

static int scene_open(void **state) {
  *state = scene_new(true);
  return 0;
}

static int scene_close(void **state) {
  scene_free(*state);
  return 0;
}

static struct session *session_of(struct scene *sc, const char *user) {
  struct session_record r = {.user_id = (char *)user};
  struct session *s;
  id_new(r.id);
  assert_int_equal(sessions_enter(sc->sessions, &r, false, worker_mailbox(sc->worker), 0, &s), 0);
  return s;
}

static void put(struct scene *sc, struct session *s, const char *text) {
  assert_int_equal(worker_put(sc->worker, s, item_new(ITEM_TEXT, NULL, text, strlen(text))), 0);
}

/* ---- timers ---- */

struct bell {
  struct scene *scene;
  const char *name;
  struct timer *timer, **stops;
  uint64_t again_ms;
  int left;
};

static void ring(void *arg) {
  struct bell *b = arg;
  note(b->scene, b->name);
  if (b->stops && *b->stops) {
    worker_timer_stop(b->scene->worker, *b->stops);
    *b->stops = NULL;
  }
  if (b->left > 0) {
    b->left--;
    b->timer = worker_timer(b->scene->worker, b->again_ms, ring, b);
  }
}

static void set(struct scene *sc, struct bell *b, const char *name, uint64_t ms) {
  *b = (struct bell){.scene = sc, .name = name};
  b->timer = worker_timer(sc->worker, ms, ring, b);
  assert_non_null(b->timer);
}

static void timers_ring_in_the_order_of_their_time(void **state) {
  struct scene *sc = *state;
  struct bell b[6];
  set(sc, &b[0], "30", 30);
  set(sc, &b[1], "10", 10);
  set(sc, &b[2], "20a", 20);
  set(sc, &b[3], "20b", 20); /* equals in the order they were made */
  set(sc, &b[4], "20c", 20);
  set(sc, &b[5], "0", 0);
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "0");
  worker_advance(sc->worker, 9);
  assert_string_equal(sc->log, "0");
  worker_advance(sc->worker, 1);
  assert_string_equal(sc->log, "0 10");
  worker_advance(sc->worker, 100);
  assert_string_equal(sc->log, "0 10 20a 20b 20c 30");
}

static void by_hand_time_stands_still_until_it_is_moved(void **state) {
  struct scene *sc = *state;
  uint64_t ms = worker_now_ms(sc->worker), wall = worker_wall_ms(sc->worker);
  worker_settle(sc->worker);
  assert_int_equal(worker_now_ms(sc->worker), ms);
  worker_advance(sc->worker, 1500);
  assert_int_equal(worker_now_ms(sc->worker), ms + 1500);
  assert_int_equal(worker_now_ns(sc->worker), (ms + 1500) * 1000000);
  assert_int_equal(worker_wall_ms(sc->worker), wall + 1500);
}

static void a_timer_sees_its_own_time(void **state) {
  struct scene *sc = *state;
  struct bell b;
  uint64_t began = worker_now_ms(sc->worker);
  set(sc, &b, "x", 10);
  b.left = 2;
  b.again_ms = 10;
  worker_advance(sc->worker, 25); /* 10, 20; the third is due at 30 */
  assert_string_equal(sc->log, "x x");
  assert_int_equal(worker_now_ms(sc->worker), began + 25);
  worker_advance(sc->worker, 5);
  assert_string_equal(sc->log, "x x x");
}

static void a_timer_that_is_stopped_does_not_ring(void **state) {
  struct scene *sc = *state;
  struct bell b[3];
  set(sc, &b[0], "a", 10);
  set(sc, &b[1], "b", 20);
  set(sc, &b[2], "c", 30);
  worker_timer_stop(sc->worker, b[1].timer);
  worker_advance(sc->worker, 100);
  assert_string_equal(sc->log, "a c");
}

static void a_timer_stopped_by_another_of_the_same_instant_does_not_ring(void **state) {
  struct scene *sc = *state;
  struct bell b[4];
  set(sc, &b[0], "a", 10);
  set(sc, &b[1], "b", 10);
  set(sc, &b[2], "c", 10);
  set(sc, &b[3], "d", 10);
  b[0].stops = &b[2].timer;
  worker_advance(sc->worker, 10);
  assert_string_equal(sc->log, "a b d");
}

/* One that sets itself again with no delay must not keep the worker from everything else. */
static void a_timer_set_by_a_timer_waits_for_the_next_turn(void **state) {
  struct scene *sc = *state;
  struct bell b;
  set(sc, &b, "x", 0);
  b.left = 3;
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "x");
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "x x");
  worker_advance(sc->worker, 0);
  assert_string_equal(sc->log, "x x x x");
}

/* Against a sorted list: so many that the heap is deep, a third of them stopped from wherever they lie. */
static uint64_t last_due;
static int rung, early;

struct due {
  struct timer *timer;
  uint64_t at;
};

static void ring_due(void *arg) {
  struct due *d = arg;
  early += d->at < last_due;
  last_due = d->at;
  rung++;
}

static void a_thousand_timers_ring_in_order_whichever_are_stopped(void **state) {
  struct scene *sc = *state;
  enum { COUNT = 1000 };
  struct due all[COUNT];
  uint32_t random = 12345;
  rung = early = 0;
  last_due = 0;
  for (int i = 0; i < COUNT; i++) {
    random = random * 1664525 + 1013904223;
    all[i].at = random >> 20;
    all[i].timer = worker_timer(sc->worker, all[i].at, ring_due, &all[i]);
  }
  for (int i = 0; i < COUNT; i += 3)
    worker_timer_stop(sc->worker, all[(i * 7) % COUNT].timer);
  worker_advance(sc->worker, 5000);
  assert_int_equal(early, 0);
  assert_int_equal(rung, COUNT - (COUNT + 2) / 3);
}

/* The leak checker is the judge. */
static void timers_that_never_rang_go_with_the_worker(void **state) {
  struct scene *sc = *state;
  struct bell b[3];
  for (int i = 0; i < 3; i++)
    set(sc, &b[i], "x", 10);
}

/* ---- items ---- */

static void items_run_one_after_the_other_in_their_order(void **state) {
  struct scene *sc = *state;
  struct session *s = session_of(sc, "ann");
  put(sc, s, "one");
  put(sc, s, "two");
  worker_settle(sc->worker);
  put(sc, s, "three");
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "one two three");
  session_unref(s);
  assert_int_equal(sessions_count(sc->sessions), 0); /* the ready list has let it go */
}

static void a_long_inbox_lets_the_next_conversation_have_its_turn(void **state) {
  struct scene *sc = *state;
  struct session *talker = session_of(sc, "ann"), *other = session_of(sc, "bob");
  for (int i = 0; i < 40; i++)
    put(sc, talker, "a");
  put(sc, other, "b");
  worker_settle(sc->worker);
  const char *b = strchr(sc->log, 'b');
  assert_non_null(b);
  assert_int_equal((b - sc->log) / 2, 16); /* so many of the first, then the second */
  assert_int_equal(sc->items, 41);
  session_unref(talker);
  session_unref(other);
}

static void the_sockets_get_a_look_in_however_much_there_is_to_do(void **state) {
  struct scene *sc = *state;
  struct session *s = session_of(sc, "ann");
  sc->quiet = true;
  for (int i = 0; i < 2000; i++)
    put(sc, s, "x");
  worker_settle(sc->worker);
  assert_int_equal(sc->items, 2000);
  assert_true(sc->most_items_a_turn <= 512 + 16);
  assert_true(sc->turns >= 2000 / (512 + 16));
  session_unref(s);
}

static void a_full_inbox_gives_the_item_back(void **state) {
  struct scene *sc = *state;
  struct sessions *small = sessions_new(1, 1, worker_run_session);
  struct session_record r = {.user_id = "ann"};
  struct session *s;
  id_new(r.id);
  assert_int_equal(sessions_enter(small, &r, false, worker_mailbox(sc->worker), 0, &s), 0);
  put(sc, s, "one");
  struct item *item = item_new(ITEM_TEXT, NULL, "two", 3);
  assert_int_equal(worker_put(sc->worker, s, item), E_FULL);
  assert_string_equal(item->text, "two");
  item_free(item);
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "one");
  session_unref(s);
  sessions_free(small);
}

static void an_item_for_anothers_session_runs_there(void **state) {
  struct scene *sc = *state, *owner = scene_new(true);
  struct session *s = session_of(owner, "ann");
  assert_int_equal(worker_put(sc->worker, s, item_new(ITEM_TEXT, NULL, "x", 1)), 0);
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "");
  worker_settle(owner->worker);
  assert_string_equal(owner->log, "x");
  session_unref(s);
  scene_free(owner);
}

static void a_session_that_has_something_again_is_brought_back(void **state) {
  struct scene *sc = *state;
  struct session *s = session_of(sc, "ann");
  struct mailbox *wake;
  session_set_busy(s, true, &wake);
  assert_int_equal(session_put(s, item_new(ITEM_TEXT, NULL, "x", 1), &wake), 0);
  session_later(s, session_take(s));
  assert_null(session_take(s));
  session_unref(s); /* as the worker does when it has found nothing */
  session_set_busy(s, false, &wake);
  worker_wake(sc->worker, s, wake);
  worker_wake(sc->worker, s, NULL); /* on its way already: nothing */
  worker_settle(sc->worker);
  assert_string_equal(sc->log, "x");
  session_unref(s);
}

/* Effects hold the session in whose inbox they lie; the leak checker is the judge. */
static void what_nobody_will_run_any_more_goes_with_the_worker(void **state) {
  struct scene *sc = *state, *other = scene_new(true);
  struct session *s = session_of(sc, "ann");
  put(sc, s, "left");
  struct effects *e = effects_new(s, NULL, 0);
  struct message *m = message_new("x", 1);
  assert_int_equal(effects_send(e, m, 0, 0, 0), 0);
  effects_commit(e, worker_home(other->worker));
  message_unref(m);
  session_unref(s);
  scene_free(other);
}

/* ---- real threads ---- */

static void wait_for(sem_t *event) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 60;
  if (sem_timedwait(event, &until) != 0)
    fail_msg("what was waited for did not come");
}

static void post_event(void *arg) {
  sem_post(arg);
}

static struct scene *running(void) {
  struct scene *sc = scene_new(false);
  char why[512] = "";
  sc->quiet = true;
  assert_int_equal(worker_start(sc->worker, why), 0);
  return sc;
}

static void stopped(struct scene *sc) {
  worker_stop(sc->worker);
  worker_join(sc->worker);
}

enum { SENDERS = 4, CALLS = 3000 };

struct sender {
  pthread_t thread;
  struct scene *scene;
  struct session *session;
  int number;
  pthread_t ran_on;
};

struct call {
  struct sender *sender;
  int number;
};

static int called, calls_in_order[SENDERS], out_of_order; /* the worker's, until it has been joined */

static void take_call(void *arg) {
  struct call *c = arg;
  out_of_order += calls_in_order[c->sender->number] != c->number;
  calls_in_order[c->sender->number] = c->number + 1;
  c->sender->ran_on = pthread_self();
  called++;
  free(c);
}

static void *call_all(void *arg) {
  struct sender *s = arg;
  for (int i = 0; i < CALLS; i++) {
    struct call *c = malloc(sizeof *c);
    *c = (struct call){s, i};
    worker_call(s->scene->worker, take_call, c);
  }
  return NULL;
}

static void calls_of_many_threads_all_run_on_the_worker_each_senders_in_order(void **state) {
  (void)state;
  struct scene *sc = running();
  struct sender all[SENDERS];
  called = out_of_order = 0;
  for (int i = 0; i < SENDERS; i++) {
    calls_in_order[i] = 0;
    all[i] = (struct sender){.scene = sc, .number = i, .ran_on = pthread_self()};
    assert_int_equal(pthread_create(&all[i].thread, NULL, call_all, &all[i]), 0);
  }
  for (int i = 0; i < SENDERS; i++)
    pthread_join(all[i].thread, NULL);
  stopped(sc); /* at once: what was posted before the stop runs before it */
  assert_int_equal(called, SENDERS * CALLS);
  assert_int_equal(out_of_order, 0);
  for (int i = 0; i < SENDERS; i++)
    assert_false(pthread_equal(all[i].ran_on, pthread_self()));
  assert_int_equal(sc->stopped, 1);
  scene_free(sc);
}

static void *put_all(void *arg) {
  struct sender *s = arg;
  for (int i = 0; i < CALLS; i++) {
    struct mailbox *wake;
    if (session_put(s->session, item_new(ITEM_TEXT, NULL, "x", 1), &wake) != 0)
      abort();
    if (wake != NULL)
      session_post(s->session, wake);
  }
  return NULL;
}

static sem_t all_done;

static void done_when_all_ran(void *arg) {
  struct scene *sc = arg;
  if (sc->items == SENDERS * CALLS)
    sem_post(&all_done);
  else
    worker_call(sc->worker, done_when_all_ran, sc);
}

static void texts_of_many_threads_all_reach_the_owner(void **state) {
  (void)state;
  struct scene *sc = running();
  struct sender all[SENDERS];
  char user[16];
  sem_init(&all_done, 0, 0);
  for (int i = 0; i < SENDERS; i++) {
    snprintf(user, sizeof user, "user %d", i / 2); /* two threads for one session */
    all[i] = (struct sender){.scene = sc, .session = session_of(sc, user), .number = i};
    assert_int_equal(pthread_create(&all[i].thread, NULL, put_all, &all[i]), 0);
  }
  for (int i = 0; i < SENDERS; i++)
    pthread_join(all[i].thread, NULL);
  worker_call(sc->worker, done_when_all_ran, sc);
  wait_for(&all_done);
  stopped(sc);
  assert_int_equal(sc->items, SENDERS * CALLS);
  assert_true(sc->most_items_a_turn <= 512 + 16);
  for (int i = 0; i < SENDERS; i++)
    session_unref(all[i].session);
  sem_destroy(&all_done);
  scene_free(sc);
}

/* The loop may not sleep while items are left over from a turn. */
static void fill(void *arg) {
  struct scene *sc = arg;
  struct session *s = session_of(sc, "ann");
  for (int i = 0; i < SENDERS * CALLS; i++)
    put(sc, s, "x");
  session_unref(s);
}

static void last_item(void *ctx, struct session *s, struct item *item) {
  on_item(ctx, s, item);
  if (((struct scene *)ctx)->items == SENDERS * CALLS)
    sem_post(&all_done);
}

static void a_loop_with_items_left_does_not_sleep(void **state) {
  (void)state;
  struct worker_hooks last = hooks;
  last.item = last_item;
  struct scene *sc = calloc(1, sizeof *sc);
  sc->quiet = true;
  sc->sessions = sessions_new(1, SENDERS * CALLS, worker_run_session);
  struct worker_options o = {.hooks = &last, .ctx = sc, .sessions = sc->sessions};
  char why[512];
  sc->worker = worker_new(&o);
  sem_init(&all_done, 0, 0);
  assert_int_equal(worker_start(sc->worker, why), 0);
  worker_call(sc->worker, fill, sc); /* nothing wakes it after this */
  wait_for(&all_done);
  stopped(sc);
  sem_destroy(&all_done);
  scene_free(sc);
}

struct alarm {
  struct scene *scene;
  sem_t rang;
  uint64_t set_ms, rang_ms;
};

static void ring_alarm(void *arg) {
  struct alarm *a = arg;
  a->rang_ms = worker_now_ms(a->scene->worker);
  sem_post(&a->rang);
}

static void never(void *arg) {
  (void)arg;
  abort();
}

static void set_alarms(void *arg) {
  struct alarm *a = arg;
  a->set_ms = worker_now_ms(a->scene->worker);
  struct timer *later = worker_timer(a->scene->worker, 600000, never, NULL);
  struct timer *sooner = worker_timer(a->scene->worker, 1, never, NULL);
  if (!later || !sooner || !worker_timer(a->scene->worker, 20, ring_alarm, a))
    abort();
  worker_timer_stop(a->scene->worker, sooner);
}

static void a_sleeping_worker_wakes_for_its_timer(void **state) {
  (void)state;
  struct scene *sc = running();
  struct alarm a = {.scene = sc};
  sem_init(&a.rang, 0, 0);
  worker_call(sc->worker, set_alarms, &a);
  wait_for(&a.rang);
  stopped(sc);
  assert_true(a.rang_ms >= a.set_ms + 20); /* never before its time */
  sem_destroy(&a.rang);
  scene_free(sc);
}

/* ---- start and stop ---- */

static void a_start_that_fails_says_why_and_leaves_nothing(void **state) {
  (void)state;
  struct scene *sc = scene_new(false);
  char why[512] = "";
  sc->start_code = E_SCRIPT;
  assert_int_equal(worker_start(sc->worker, why), E_SCRIPT);
  assert_string_equal(why, "the script is wrong");
  assert_int_equal(sc->stopped, 0);
  scene_free(sc);
}

static int start_on_the_loop(struct worker *w, void *ctx, char why[512]) {
  struct scene *sc = ctx;
  (void)why;
  uv_run(worker_loop(w), UV_RUN_NOWAIT); /* as a transport does that opens its handles */
  return sc->turns == 0 && sc->items == 0 ? 0 : E_INVALID;
}

static void no_hook_is_called_before_the_start_is_over(void **state) {
  (void)state;
  struct worker_hooks eager = hooks;
  eager.start = start_on_the_loop;
  struct scene *sc = calloc(1, sizeof *sc);
  sc->sessions = sessions_new(1, 10, worker_run_session);
  struct worker_options o = {.hooks = &eager, .ctx = sc, .sessions = sc->sessions};
  char why[512];
  sc->worker = worker_new(&o);
  struct session *s = session_of(sc, "ann");
  put(sc, s, "waiting");
  assert_int_equal(worker_start(sc->worker, why), 0);
  stopped(sc);
  session_unref(s);
  scene_free(sc);
}

static void a_worker_that_was_never_started_can_be_freed(void **state) {
  (void)state;
  struct scene *sc = scene_new(false);
  assert_int_equal(worker_index(sc->worker), 3);
  assert_int_equal(sc->started, 0);
  scene_free(sc);
}

static void a_stop_comes_after_what_was_posted_before_it(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    struct scene *sc = running();
    sem_t ran;
    sem_init(&ran, 0, 0);
    for (int i = 0; i < 50; i++)
      worker_call(sc->worker, post_event, &ran);
    stopped(sc);
    int count;
    sem_getvalue(&ran, &count);
    assert_int_equal(count, 50);
    assert_int_equal(sc->stopped, 1);
    sem_destroy(&ran);
    scene_free(sc);
  }
}

static void post_more(void *arg) {
  struct scene *sc = arg;
  if (sc->items++ < 100)
    worker_call(sc->worker, post_more, sc);
}

static void by_hand_start_and_stop_call_the_same_hooks(void **state) {
  struct scene *sc = *state;
  char why[512] = "";
  assert_int_equal(worker_start(sc->worker, why), 0);
  assert_int_equal(sc->started, 1);
  worker_call(sc->worker, post_more, sc);
  worker_settle(sc->worker); /* until nothing is left, however often it posts to itself */
  assert_int_equal(sc->items, 101);
  worker_stop(sc->worker);
  worker_join(sc->worker);
  assert_int_equal(sc->stopped, 1);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, scene_open, scene_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    SCENE(timers_ring_in_the_order_of_their_time),
    SCENE(by_hand_time_stands_still_until_it_is_moved),
    SCENE(a_timer_sees_its_own_time),
    SCENE(a_timer_that_is_stopped_does_not_ring),
    SCENE(a_timer_stopped_by_another_of_the_same_instant_does_not_ring),
    SCENE(a_timer_set_by_a_timer_waits_for_the_next_turn),
    SCENE(a_thousand_timers_ring_in_order_whichever_are_stopped),
    SCENE(timers_that_never_rang_go_with_the_worker),
    SCENE(items_run_one_after_the_other_in_their_order),
    SCENE(a_long_inbox_lets_the_next_conversation_have_its_turn),
    SCENE(the_sockets_get_a_look_in_however_much_there_is_to_do),
    SCENE(a_full_inbox_gives_the_item_back),
    SCENE(an_item_for_anothers_session_runs_there),
    SCENE(a_session_that_has_something_again_is_brought_back),
    SCENE(what_nobody_will_run_any_more_goes_with_the_worker),
    cmocka_unit_test(calls_of_many_threads_all_run_on_the_worker_each_senders_in_order),
    cmocka_unit_test(texts_of_many_threads_all_reach_the_owner),
    cmocka_unit_test(a_loop_with_items_left_does_not_sleep),
    cmocka_unit_test(a_sleeping_worker_wakes_for_its_timer),
    cmocka_unit_test(a_start_that_fails_says_why_and_leaves_nothing),
    cmocka_unit_test(no_hook_is_called_before_the_start_is_over),
    cmocka_unit_test(a_worker_that_was_never_started_can_be_freed),
    cmocka_unit_test(a_stop_comes_after_what_was_posted_before_it),
    SCENE(by_hand_start_and_stop_call_the_same_hooks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
