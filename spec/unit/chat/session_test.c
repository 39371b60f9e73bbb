/* What core/chat/session.c promises of one conversation: its fields are one state for everybody, its inbox keeps one
 * order and is bounded, and its owner changes only when nothing would notice. The table is in sessions_test.c. */
#include "fake_client.h"

#include "err.h"
#include "id.h"
#include "session.h"

#include <pthread.h>
#include <stdatomic.h>

#define INBOX 4
#define USER "ann"

struct room {
  struct sessions *table;
  struct session *session;
  struct mailbox *home, *other;
};

static void never_run(struct post *post) {
  (void)post;
  abort();
}

static int room_open(void **state) {
  struct room *r = calloc(1, sizeof *r);
  struct session_record record = {.user_id = USER, .name = "n", .start_ms = 5};
  r->home = mailbox_new(client_never_woken, NULL);
  r->other = mailbox_new(client_never_woken, NULL);
  r->table = sessions_new(10, INBOX, never_run);
  id_new(record.id);
  *state = r;
  return sessions_enter(r->table, &record, true, r->home, 100, &r->session);
}

static int room_close(void **state) {
  struct room *r = *state;
  session_unref(r->session);
  sessions_free(r->table);
  mailbox_free(r->home);
  mailbox_free(r->other);
  free(r);
  return 0;
}

static struct item *text_item(const char *text) {
  struct item *i = item_new(ITEM_TEXT, NULL, text, strlen(text));
  assert_non_null(i);
  return i;
}

/* Its code; the item is gone if it was not taken. */
static int put(struct session *s, const char *text, struct mailbox **wake) {
  struct item *i = text_item(text);
  int code = session_put(s, i, wake);
  if (code != 0)
    item_free(i);
  return code;
}

static void assert_takes(struct session *s, const char *text) {
  struct item *i = session_take(s);
  if (i == NULL)
    fail_msg("\"%s\" is not there", text);
  assert_string_equal(i->text, text);
  item_free(i);
}

/* The worker that was brought the session has looked, and nothing was left. */
static void run_dry(struct session *s) {
  struct item *i;
  while ((i = session_take(s)) != NULL)
    item_free(i);
  session_unref(s);
}

/* ---- fields ---- */

static void a_record_is_copied_whole(void **state) {
  (void)state;
  struct session_record from = {.user_id = "ann",
                                .name = "name",
                                .model_id = "m",
                                .assisting_admin_id = "a",
                                .total_tokens = 3,
                                .responses = {1, 2},
                                .response_count = 2},
                        to;
  assert_int_equal(session_record_copy(&to, &from), 0);
  assert_ptr_not_equal(to.name, from.name);
  assert_string_equal(to.user_id, "ann");
  assert_string_equal(to.name, "name");
  assert_string_equal(to.model_id, "m");
  assert_string_equal(to.assisting_admin_id, "a");
  assert_null(to.assisting_admin_name);
  assert_int_equal(to.total_tokens, 3);
  assert_int_equal(to.responses[1], 2);
  session_record_deinit(&to);
}

static void a_text_is_copied_and_replaces_the_old_one(void **state) {
  struct room *r = *state;
  char text[] = "one";
  session_lock_write(r->session);
  struct session_record *f = session_edit(r->session);
  assert_int_equal(session_set_text(r->session, &f->name, text), 0);
  text[0] = 'x';
  assert_string_equal(f->name, "one");
  assert_int_equal(session_set_text(r->session, &f->name, f->name), 0); /* itself */
  assert_string_equal(f->name, "one");
  session_unlock_write(r->session);
}

static void the_last_hundred_response_times_are_kept(void **state) {
  struct room *r = *state;
  session_lock_write(r->session);
  struct session_record *f = session_edit(r->session);
  session_add_response(r->session, 5000); /* the largest leaves the window first */
  for (uint32_t i = 1; i <= 99; i++)
    session_add_response(r->session, i);
  assert_int_equal(f->response_count, 100);
  assert_int_equal(f->max_response_ms, 5000);
  assert_int_equal(f->avg_response_ms, (5000 + 99 * 100 / 2) / 100);
  session_add_response(r->session, 100);
  assert_int_equal(f->response_count, 100);
  assert_int_equal(f->responses[0], 1);
  assert_int_equal(f->responses[99], 100);
  assert_int_equal(f->max_response_ms, 100);
  assert_int_equal(f->avg_response_ms, 50);
  for (int i = 0; i < 100; i++)
    session_add_response(r->session, UINT32_MAX);
  assert_int_equal(f->avg_response_ms, UINT32_MAX);
  session_unlock_write(r->session);
}

/* ---- members ---- */

static void a_member_is_in_once_and_leaves_once(void **state) {
  struct room *r = *state;
  struct conn *a = client_new(r->home, "ann"), *b = client_new(r->home, "ann");
  assert_int_equal(session_join(r->session, a, 0), 0);
  assert_int_equal(session_join(r->session, a, 0), E_DUPLICATE);
  assert_int_equal(session_join(r->session, b, 0), 0);
  session_leave(r->session, a, 0);
  session_leave(r->session, a, 0);
  struct members m;
  session_members(r->session, &m);
  assert_int_equal(m.count, 1);
  assert_ptr_equal(m.all[0], b);
  members_free(&m);
  session_leave(r->session, b, 0);
  client_gone(a);
  client_gone(b);
}

static void all_members_are_found_however_many(void **state) {
  struct room *r = *state;
  struct conn *all[3 * MEMBERS_FEW];
  const size_t count = sizeof all / sizeof *all;
  for (size_t i = 0; i < count; i++) {
    struct members m;
    all[i] = client_new(r->home, "ann");
    assert_int_equal(session_join(r->session, all[i], 0), 0);
    session_members(r->session, &m);
    assert_int_equal(m.count, i + 1);
    for (size_t k = 0; k <= i; k++)
      assert_ptr_equal(m.all[k], all[k]);
    members_free(&m);
  }
  for (size_t i = 0; i < count; i++) {
    struct conn *found = session_member(r->session, conn_id(all[i]));
    assert_ptr_equal(found, all[i]);
    conn_unref(found);
    session_leave(r->session, all[i], 0);
    assert_null(session_member(r->session, conn_id(all[i])));
    client_gone(all[i]);
  }
}

/* ---- inbox ---- */

static void items_come_out_in_the_order_they_were_put(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  assert_int_equal(put(r->session, "one", &wake), 0);
  assert_int_equal(put(r->session, "two", &wake), 0);
  assert_takes(r->session, "one");
  assert_int_equal(put(r->session, "three", &wake), 0);
  assert_takes(r->session, "two");
  assert_takes(r->session, "three");
  run_dry(r->session);
}

static void an_item_keeps_its_bytes_and_its_sender(void **state) {
  struct room *r = *state;
  struct conn *c = client_new(r->home, "ann");
  struct item *i = item_new(ITEM_TEXT, c, "a\0b", 3);
  conn_unref(c); /* the item holds one */
  assert_int_equal(i->len, 3);
  assert_memory_equal(i->text, "a\0b", 4);
  assert_ptr_equal(i->conn, c);
  conn_dead(c);
  item_free(i);
}

static void the_owner_is_called_once_until_it_has_found_nothing(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  assert_int_equal(put(r->session, "one", &wake), 0);
  assert_ptr_equal(wake, r->home);
  assert_int_equal(put(r->session, "two", &wake), 0);
  assert_null(wake);
  assert_takes(r->session, "one");
  assert_takes(r->session, "two");
  assert_int_equal(put(r->session, "three", &wake), 0);
  assert_null(wake); /* the owner has not looked yet */
  run_dry(r->session);
  assert_int_equal(put(r->session, "four", &wake), 0);
  assert_ptr_equal(wake, r->home);
  run_dry(r->session);
}

/* ---- bytes ---- */

static struct session *bounded(struct room *r, size_t inbox_bytes, struct sessions **table) {
  struct session_record record = {.user_id = USER};
  struct session *s;
  *table = sessions_new(10, 1000, never_run);
  sessions_limit(*table, &(struct sessions_limits){.per_user = 10, .inbox_bytes = inbox_bytes});
  id_new(record.id);
  assert_int_equal(sessions_enter(*table, &record, true, r->home, 100, &s), 0);
  return s;
}

static void an_inbox_is_full_by_bytes_too_and_a_single_text_always_fits(void **state) {
  struct room *r = *state;
  struct sessions *table;
  struct session *s = bounded(r, 1000, &table);
  struct mailbox *wake;
  static char big[2001];
  memset(big, 'x', 2000);
  assert_int_equal(put(s, big, &wake), 0);
  assert_int_equal(put(s, "y", &wake), E_FULL);
  item_free(session_take(s));
  assert_int_equal(put(s, "y", &wake), 0);
  assert_int_equal(put(s, big, &wake), E_FULL);
  session_later(s, session_take(s)); /* put off, it still counts */
  assert_int_equal(put(s, big, &wake), E_FULL);
  item_free(session_take(s));
  assert_null(session_take(s));
  run_dry(s);
  session_unref(s);
  sessions_free(table);
}

static void all_inboxes_of_a_user_share_its_bytes_until_the_handler_is_done(void **state) {
  struct room *r = *state;
  struct account_limits limits = {.work = {1, 1000}, .bytes = {1, 1000}, .holds = {[ACCOUNT_INBOX] = 1000}};
  struct accounts *users = accounts_new(&limits, 10);
  struct conn *c = client_new(r->home, USER), *bob = client_new(r->home, "bob");
  conn_meter(c)->user = accounts_open(users, USER, 3);
  conn_meter(bob)->user = accounts_open(users, "bob", 3);
  struct sessions *table;
  struct session *s = bounded(r, SIZE_MAX, &table);
  struct mailbox *wake;
  static char text[800];
  struct item *first = item_new(ITEM_TEXT, c, text, sizeof text), *second = item_new(ITEM_TEXT, c, text, sizeof text);
  struct item *bobs = item_new(ITEM_TEXT, bob, text, sizeof text);
  assert_int_equal(session_put(r->session, first, &wake), 0);
  assert_int_equal(session_put(s, second, &wake), E_FULL);
  assert_int_equal(session_put(s, bobs, &wake), 0); /* somebody else's share */
  assert_ptr_equal(session_take(r->session), first);
  assert_int_equal(session_put(s, second, &wake), E_FULL); /* its handler may still run */
  item_free(first);
  assert_int_equal(session_put(s, second, &wake), 0);
  item_free(session_take(s));
  item_free(session_take(s));
  assert_null(session_take(s));
  assert_null(session_take(r->session));
  run_dry(s);
  run_dry(r->session);
  assert_int_equal(account_held(conn_meter(c)->user, ACCOUNT_INBOX), 0);
  session_unref(s);
  sessions_free(table);
  client_gone(c);
  client_gone(bob);
  accounts_free(users);
}

static void a_full_inbox_refuses_texts_and_nothing_else(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  for (int i = 0; i < INBOX; i++)
    assert_int_equal(put(r->session, "x", &wake), 0);
  assert_int_equal(put(r->session, "y", &wake), E_FULL);
  assert_null(wake);
  struct item *connect = item_new(ITEM_CONNECT, NULL, NULL, 0);
  assert_int_equal(session_put(r->session, connect, &wake), 0);
  assert_takes(r->session, "x");
  assert_int_equal(put(r->session, "y", &wake), E_FULL); /* the newcomer's place counts while it waits */
  assert_takes(r->session, "x");
  assert_int_equal(put(r->session, "y", &wake), 0);
  run_dry(r->session);
}

static void what_is_put_off_counts_against_the_bound(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  session_set_busy(r->session, true, &wake);
  for (int i = 0; i < INBOX; i++) {
    assert_int_equal(put(r->session, "x", &wake), 0);
    session_later(r->session, session_take(r->session));
  }
  assert_int_equal(put(r->session, "y", &wake), E_FULL);
  session_set_busy(r->session, false, &wake);
  run_dry(r->session);
}

static void what_was_put_off_comes_first_and_in_order_when_the_handler_is_done(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  session_set_busy(r->session, true, &wake);
  assert_null(wake);
  assert_true(session_busy(r->session));
  assert_int_equal(put(r->session, "one", &wake), 0);
  assert_int_equal(put(r->session, "two", &wake), 0);
  session_later(r->session, session_take(r->session));
  session_later(r->session, session_take(r->session));
  assert_null(session_take(r->session)); /* busy: they do not come */
  session_unref(r->session);
  assert_int_equal(put(r->session, "three", &wake), 0);
  assert_ptr_equal(wake, r->home);
  run_dry(r->session); /* what may come while busy: "three" came and went */
  assert_int_equal(put(r->session, "four", &wake), 0);
  session_set_busy(r->session, false, &wake);
  assert_null(wake); /* it is on its way already, for "four" */
  assert_takes(r->session, "one");
  assert_takes(r->session, "two");
  assert_takes(r->session, "four");
  run_dry(r->session);
}

static void what_is_put_first_comes_before_all_that_was_put_off(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  session_set_busy(r->session, true, &wake);
  session_first(r->session, text_item("two"));
  session_later(r->session, text_item("three"));
  session_first(r->session, text_item("one"));
  session_set_busy(r->session, false, &wake);
  assert_ptr_equal(wake, r->home);
  assert_takes(r->session, "one");
  assert_takes(r->session, "two");
  assert_takes(r->session, "three");
  run_dry(r->session);
}

static void the_end_of_a_handler_brings_back_what_was_put_off(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  session_set_busy(r->session, true, &wake);
  assert_int_equal(put(r->session, "one", &wake), 0);
  session_later(r->session, session_take(r->session));
  run_dry(r->session);
  session_set_busy(r->session, false, &wake);
  assert_ptr_equal(wake, r->home);
  assert_takes(r->session, "one");
  run_dry(r->session);
  session_set_busy(r->session, true, &wake);
  session_set_busy(r->session, false, &wake);
  assert_null(wake); /* nothing was put off */
}

static void a_session_that_goes_takes_its_items_with_it(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  struct conn *c = client_new(r->home, "ann");
  struct item *i = item_new(ITEM_CONNECT, c, NULL, 0);
  session_set_busy(r->session, true, &wake);
  assert_int_equal(session_put(r->session, i, &wake), 0);
  session_later(r->session, session_take(r->session));
  assert_int_equal(put(r->session, "left", &wake), 0);
  session_unref(r->session); /* of the ready list: its worker is gone */
  client_gone(c);
}

/* ---- the owner ---- */

static bool owned_by(struct session *s, struct mailbox *m) {
  bool yes = session_hold_if_owner(s, m);
  if (yes)
    session_unhold(s, 0);
  return yes;
}

/* Whether somebody from the other worker, who comes into the empty room, becomes its host. */
static bool newcomer_becomes_owner(struct room *r) {
  struct conn *c = client_new(r->other, "ann");
  assert_int_equal(session_join(r->session, c, 0), 0);
  session_leave(r->session, c, 0);
  client_gone(c);
  return owned_by(r->session, r->other);
}

static void the_first_to_come_into_an_idle_session_hosts_it(void **state) {
  struct room *r = *state;
  struct conn *c = client_new(r->home, "ann");
  assert_int_equal(session_join(r->session, c, 0), 0);
  assert_false(newcomer_becomes_owner(r)); /* somebody was in it */
  session_leave(r->session, c, 0);
  client_gone(c);
  assert_true(newcomer_becomes_owner(r));
  assert_false(owned_by(r->session, r->home));
}

static void the_owner_stays_while_something_is_held(void **state) {
  struct room *r = *state;
  assert_false(session_hold_if_owner(r->session, r->other));
  session_hold(r->session);
  assert_true(session_hold_if_owner(r->session, r->home));
  session_unhold(r->session, 0);
  assert_false(newcomer_becomes_owner(r));
  session_unhold(r->session, 0);
  assert_true(newcomer_becomes_owner(r));
}

static void the_owner_stays_while_a_message_waits(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  assert_int_equal(put(r->session, "x", &wake), 0);
  assert_false(newcomer_becomes_owner(r));
  assert_takes(r->session, "x");
  assert_false(newcomer_becomes_owner(r)); /* its handler runs */
  run_dry(r->session);
  assert_true(newcomer_becomes_owner(r));
}

static void the_owner_stays_while_a_handler_has_the_turn(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  session_set_busy(r->session, true, &wake);
  assert_false(newcomer_becomes_owner(r));
  session_set_busy(r->session, false, &wake);
  assert_true(newcomer_becomes_owner(r));
}

static void the_owner_stays_while_something_is_put_off(void **state) {
  struct room *r = *state;
  struct mailbox *wake;
  session_set_busy(r->session, true, &wake);
  assert_int_equal(put(r->session, "x", &wake), 0);
  session_later(r->session, session_take(r->session));
  run_dry(r->session);
  session_set_busy(r->session, false, &wake);
  assert_false(newcomer_becomes_owner(r));
  run_dry(r->session);
}

/* ---- many threads at once ---- */

enum { ROUNDS = 20000, WRITERS = 2, PUTTERS = 2, JOINERS = 2 };

struct crowd {
  struct room *room;
  pthread_barrier_t start;
  atomic_int busy; /* threads that still write or put */
  atomic_int torn, strangers, refused, put, lost_order, gone;
};

struct one {
  pthread_t thread;
  struct crowd *crowd;
  int number;
};

/* name and model always change together. */
static void *write_fields(void *arg) {
  struct one *me = arg;
  struct session *s = me->crowd->room->session;
  char name[32], model[32];
  pthread_barrier_wait(&me->crowd->start);
  for (int i = 0; i < ROUNDS; i++) {
    snprintf(name, sizeof name, "name %d %d", me->number, i);
    snprintf(model, sizeof model, "model %d %d", me->number, i);
    session_lock_write(s);
    struct session_record *f = session_edit(s);
    if (session_set_text(s, &f->name, name) || session_set_text(s, &f->model_id, model))
      abort();
    f->total_tokens += 1;
    session_add_response(s, (uint32_t)i);
    session_unlock_write(s);
    session_hold(s);
    session_unhold(s, 100);
  }
  atomic_fetch_sub(&me->crowd->busy, 1);
  return NULL;
}

static void *read_fields(void *arg) {
  struct one *me = arg;
  struct session *s = me->crowd->room->session;
  int64_t tokens = 0;
  pthread_barrier_wait(&me->crowd->start);
  while (atomic_load(&me->crowd->busy) > 0) {
    struct session_record copy;
    session_lock_read(s);
    int failed = session_record_copy(&copy, session_fields(s));
    session_unlock_read(s);
    if (failed)
      abort();
    const char *model = copy.model_id != NULL ? copy.model_id : "model";
    bool pair = copy.model_id == NULL || strcmp(copy.name + strlen("name"), model + strlen("model")) == 0;
    bool full = copy.total_tokens < 100 ? copy.response_count == copy.total_tokens : copy.response_count == 100;
    if (!pair || !full || copy.total_tokens < tokens)
      atomic_fetch_add(&me->crowd->torn, 1);
    tokens = copy.total_tokens;
    session_record_deinit(&copy);
  }
  return NULL;
}

static void *come_and_go(void *arg) {
  struct one *me = arg;
  struct crowd *all = me->crowd;
  struct conn *c = client_new(me->number ? all->room->home : all->room->other, USER);
  pthread_barrier_wait(&all->start);
  while (atomic_load(&all->busy) > 0) {
    struct members m;
    if (session_join(all->room->session, c, 100) != 0)
      atomic_fetch_add(&all->strangers, 1);
    session_members(all->room->session, &m);
    size_t mine = 0;
    for (size_t i = 0; i < m.count; i++)
      mine += m.all[i] == c;
    if (mine != 1 || m.count > JOINERS)
      atomic_fetch_add(&all->strangers, 1);
    members_free(&m);
    struct conn *found = session_member(all->room->session, conn_id(c));
    if (found != c)
      atomic_fetch_add(&all->strangers, 1);
    conn_unref(found);
    session_leave(all->room->session, c, 100);
  }
  client_gone(c);
  return NULL;
}

static void *put_items(void *arg) {
  struct one *me = arg;
  struct crowd *all = me->crowd;
  char text[32];
  pthread_barrier_wait(&all->start);
  for (int i = 0; i < ROUNDS; i++) {
    struct mailbox *wake;
    int len = snprintf(text, sizeof text, "%d %d", me->number, i);
    struct item *item = item_new(ITEM_TEXT, NULL, text, (size_t)len);
    if (session_put(all->room->session, item, &wake) != 0) {
      item_free(item);
      atomic_fetch_add(&all->refused, 1);
      continue;
    }
    atomic_fetch_add(&all->put, 1);
    if (wake != NULL)
      session_post(all->room->session, wake);
  }
  atomic_fetch_sub(&all->busy, 1);
  return NULL;
}

/* Everybody enters the same user; some look it up, some would sweep it away. */
static void *find_it(void *arg) {
  struct one *me = arg;
  struct crowd *all = me->crowd;
  struct session_record draft = {.user_id = USER};
  pthread_barrier_wait(&all->start);
  while (atomic_load(&all->busy) > 0) {
    struct session *s;
    id_new(draft.id);
    if (sessions_enter(all->room->table, &draft, false, all->room->other, 100, &s) != 0)
      abort();
    if (s != all->room->session)
      atomic_fetch_add(&all->strangers, 1);
    session_unref(s);
    atomic_fetch_add(&all->gone, (int)sessions_sweep(all->room->table, 100, 0));
  }
  return NULL;
}

/* The worker: what it was brought runs here, in the order of each sender. */
static struct { int taken, next[PUTTERS], lost_order; } worker;

static void take_all(struct post *post) {
  struct session *s = session_of_post(post);
  struct item *item;
  while ((item = session_take(s)) != NULL) {
    int sender, number;
    worker.lost_order += sscanf(item->text, "%d %d", &sender, &number) != 2 || number < worker.next[sender];
    worker.next[sender] = number + 1;
    worker.taken++;
    item_free(item);
  }
  session_unref(s);
}

static void many_threads_at_once_on_one_session_lose_nothing_and_see_no_half_state(void **state) {
  (void)state;
  struct room r = {.home = mailbox_new(client_never_woken, NULL),
                   .other = mailbox_new(client_never_woken, NULL),
                   .table = sessions_new(10, INBOX, take_all)};
  struct session_record record = {.user_id = USER, .name = "name"};
  id_new(record.id);
  assert_int_equal(sessions_enter(r.table, &record, true, r.home, 100, &r.session), 0);
  struct crowd all = {.room = &r, .busy = WRITERS + PUTTERS};
  void *(*const parts[])(void *) = {write_fields, write_fields, put_items, put_items, read_fields,
                                    come_and_go,  come_and_go,  find_it,   find_it};
  const int numbers[] = {0, 1, 0, 1, 0, 0, 1, 0, 1};
  enum { COUNT = sizeof parts / sizeof *parts };
  struct one ones[COUNT];
  worker.taken = worker.lost_order = worker.next[0] = worker.next[1] = 0;
  pthread_barrier_init(&all.start, NULL, COUNT + 1);
  for (int i = 0; i < COUNT; i++) {
    ones[i] = (struct one){.crowd = &all, .number = numbers[i]};
    assert_int_equal(pthread_create(&ones[i].thread, NULL, parts[i], &ones[i]), 0);
  }
  pthread_barrier_wait(&all.start);
  while (atomic_load(&all.busy) > 0) { /* whichever worker owns it: both are this thread */
    mailbox_drain(r.home);
    mailbox_drain(r.other);
  }
  for (int i = 0; i < COUNT; i++)
    pthread_join(ones[i].thread, NULL);
  while (mailbox_drain(r.home) || mailbox_drain(r.other)) {
  }
  session_lock_read(r.session);
  assert_int_equal(session_fields(r.session)->total_tokens, WRITERS * ROUNDS);
  assert_int_equal(session_fields(r.session)->response_count, 100);
  assert_int_equal(session_member_count(r.session), 0);
  session_unlock_read(r.session);
  assert_int_equal(all.torn, 0);
  assert_int_equal(all.strangers, 0);
  assert_int_equal(all.gone, 0); /* the test holds it */
  assert_int_equal(all.put + all.refused, PUTTERS * ROUNDS);
  assert_int_equal(worker.taken, all.put);
  assert_int_equal(worker.lost_order, 0);
  assert_int_equal(sessions_count(r.table), 1);
  assert_true(owned_by(r.session, r.home) || owned_by(r.session, r.other));
  session_unref(r.session);
  assert_int_equal(sessions_sweep(r.table, 100, 0), 1); /* no hold, no item, no reference was left over */
  sessions_free(r.table);
  mailbox_free(r.home);
  mailbox_free(r.other);
  pthread_barrier_destroy(&all.start);
}

#define ROOM(test) cmocka_unit_test_setup_teardown(test, room_open, room_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_record_is_copied_whole),
    ROOM(a_text_is_copied_and_replaces_the_old_one),
    ROOM(the_last_hundred_response_times_are_kept),
    ROOM(a_member_is_in_once_and_leaves_once),
    ROOM(all_members_are_found_however_many),
    ROOM(items_come_out_in_the_order_they_were_put),
    ROOM(an_item_keeps_its_bytes_and_its_sender),
    ROOM(the_owner_is_called_once_until_it_has_found_nothing),
    ROOM(a_full_inbox_refuses_texts_and_nothing_else),
    ROOM(an_inbox_is_full_by_bytes_too_and_a_single_text_always_fits),
    ROOM(all_inboxes_of_a_user_share_its_bytes_until_the_handler_is_done),
    ROOM(what_is_put_off_counts_against_the_bound),
    ROOM(what_was_put_off_comes_first_and_in_order_when_the_handler_is_done),
    ROOM(what_is_put_first_comes_before_all_that_was_put_off),
    ROOM(the_end_of_a_handler_brings_back_what_was_put_off),
    ROOM(a_session_that_goes_takes_its_items_with_it),
    ROOM(the_first_to_come_into_an_idle_session_hosts_it),
    ROOM(the_owner_stays_while_something_is_held),
    ROOM(the_owner_stays_while_a_message_waits),
    ROOM(the_owner_stays_while_a_handler_has_the_turn),
    ROOM(the_owner_stays_while_something_is_put_off),
    cmocka_unit_test(many_threads_at_once_on_one_session_lose_nothing_and_see_no_half_state),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
