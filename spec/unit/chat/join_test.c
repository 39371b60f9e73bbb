/* What core/chat/join.c promises: memory first, then the store, then a new draft; a conversation only to its own user;
 * and to devices that come at the same instant the same one. On workers by hand with a real store. */
#include "stage.h"

#include "err.h"
#include "join.h"

#include <sqlite3.h>

struct visitor {
  int times, code;
  struct session *session;
};

static void seated(void *arg, struct session *s, int code) {
  struct visitor *v = arg;
  v->times++;
  v->session = s;
  v->code = code;
}

/* The answer may have come already, or waits for the store. */
static void opening(struct visitor *v, struct stage *st, int worker, const char *user, const char *wanted) {
  *v = (struct visitor){0};
  join_open(st->workers[worker], user, wanted, seated, v);
}

/* A new reference; the store has been asked if need be. */
static struct session *open_for(struct stage *st, const char *user, const char *wanted) {
  struct visitor v;
  opening(&v, st, 0, user, wanted);
  stage_settle(st);
  assert_int_equal(v.times, 1);
  assert_int_equal(v.code, 0);
  assert_non_null(v.session);
  return v.session;
}

/* Puts a conversation into the store only; its id. */
static const char *stored(struct stage *st, const char *user, int64_t end_ms) {
  static char ids[8][STORE_ID_LEN + 1];
  static int next;
  char *id = ids[next++ % 8];
  struct store_op *op = store_op_new(STORE_WRITE);
  id_new(id);
  strcpy(op->session.id, id);
  op->has_session = true;
  op->session.user_id = strdup(user);
  op->session.name = strdup("from the store");
  op->session.start_ms = 1;
  op->session.end_ms = end_ms;
  assert_int_equal(caller_call(st->caller, st->store, op)->code, 0);
  caller_forget(st->caller);
  return id;
}

static bool is_stored(struct session *s) {
  session_lock_read(s);
  bool yes = session_stored(s);
  session_unlock_read(s);
  return yes;
}

static void what_is_in_memory_is_given_at_once(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct visitor v;
  opening(&v, st, 0, "ann", session_id(s));
  assert_int_equal(v.times, 1);
  assert_ptr_equal(v.session, s);
  session_unref(v.session);
  opening(&v, st, 0, "ann", "");
  assert_int_equal(v.times, 1);
  assert_ptr_equal(v.session, s);
  session_unref(v.session);
  session_unref(s);
}

static void ones_own_is_fetched_from_the_store(void **state) {
  struct stage *st = *state;
  const char *old = stored(st, "ann", 7);
  struct session *s = open_for(st, "ann", old);
  assert_string_equal(session_id(s), old);
  assert_true(is_stored(s));
  session_lock_read(s);
  assert_string_equal(session_fields(s)->name, "from the store");
  session_unlock_read(s);
  session_unref(s);
}

static void without_a_wish_it_is_the_active_one_of_the_store(void **state) {
  struct stage *st = *state;
  const char *active = stored(st, "ann", 0);
  stored(st, "ann", 9);
  struct session *s = open_for(st, "ann", "");
  assert_string_equal(session_id(s), active);
  session_unref(s);
}

static void who_has_none_gets_a_draft(void **state) {
  struct stage *st = *state;
  stored(st, "ann", 9); /* ended */
  stored(st, "bob", 0); /* another's */
  struct session *s = open_for(st, "ann", "");
  assert_false(is_stored(s));
  assert_true(id_valid(session_id(s)));
  assert_string_equal(session_user(s), "ann");
  session_lock_read(s);
  assert_int_equal(session_fields(s)->start_ms, worker_wall_ms(st->workers[0]));
  session_unlock_read(s);
  session_unref(s);
}

/* In the store or in memory: what comes back is what would have come without asking. */
static void anothers_is_never_given(void **state) {
  struct stage *st = *state;
  const char *bobs = stored(st, "bob", 0), *anns = stored(st, "ann", 0);
  struct session *s = open_for(st, "ann", bobs);
  assert_string_equal(session_id(s), anns);
  session_unref(s);
  struct session *cyds = stage_draft(st, "cyd", 0);
  s = open_for(st, "ann", session_id(cyds));
  assert_string_equal(session_id(s), anns);
  session_unref(s);
  session_unref(cyds);
  s = open_for(st, "dan", bobs);
  assert_string_equal(session_user(s), "dan");
  assert_false(is_stored(s));
  session_unref(s);
  assert_null(sessions_find(st->sessions, bobs)); /* and it was not even brought into memory */
}

static void an_unknown_id_is_as_good_as_none(void **state) {
  struct stage *st = *state;
  const char *anns = stored(st, "ann", 0);
  const char *const unknown[] = {"ffffffffffffffffffffffffffffffff", "8a2ec1f0-7f5b-4c9d-9b1e-0123456789ab",
                                 "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF", "'; DROP TABLE sessions; --"};
  for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
    struct session *s = open_for(st, "ann", unknown[i]);
    assert_string_equal(session_id(s), anns);
    session_unref(s);
  }
}

static void two_workers_at_once_give_one_draft(void **state) {
  struct stage *st = *state;
  struct visitor a, b;
  opening(&a, st, 0, "ann", "");
  opening(&b, st, 1, "ann", "ffffffffffffffffffffffffffffffff");
  assert_int_equal(a.times + b.times, 0);
  stage_settle(st);
  assert_int_equal(a.times, 1);
  assert_int_equal(b.times, 1);
  assert_non_null(a.session);
  assert_ptr_equal(a.session, b.session);
  assert_int_equal(sessions_count(st->sessions), 1);
  session_unref(a.session);
  session_unref(b.session);
}

static void two_workers_at_once_fetch_one_session(void **state) {
  struct stage *st = *state;
  const char *id = stored(st, "ann", 0);
  struct visitor a, b;
  opening(&a, st, 0, "ann", "");
  opening(&b, st, 1, "ann", id);
  stage_settle(st);
  assert_non_null(a.session);
  assert_ptr_equal(a.session, b.session);
  session_unref(a.session);
  session_unref(b.session);
}

/* The store still knows it as active: its end has not been committed. Memory knows better. */
static void one_that_has_just_ended_is_not_given_again(void **state) {
  struct stage *st = *state;
  const char *id = stored(st, "ann", 0);
  struct session *old = open_for(st, "ann", id);
  session_lock_write(old);
  session_edit(old)->end_ms = 5;
  session_unlock_write(old);
  sessions_ended(st->sessions, old);
  struct session *s = open_for(st, "ann", "");
  assert_ptr_not_equal(s, old);
  assert_false(is_stored(s));
  session_unref(s);
  session_unref(old);
}

/* One that came into memory while the store was being asked, and is active: that one it is. */
static void one_that_came_meanwhile_is_the_one(void **state) {
  struct stage *st = *state;
  const char *id = stored(st, "ann", 0);
  struct visitor v;
  opening(&v, st, 0, "ann", "");
  struct session_record r = {.user_id = "ann"};
  struct session *s;
  strcpy(r.id, id);
  assert_int_equal(sessions_enter(st->sessions, &r, true, stage_home(st, 1), 0, &s), 0);
  stage_settle(st);
  assert_ptr_equal(v.session, s);
  session_unref(v.session);
  session_unref(s);
}

static void a_full_table_says_so(void **state) {
  struct stage *st = *state;
  struct session *all[8];
  char user[16];
  for (int i = 0; i < 8; i++) {
    snprintf(user, sizeof user, "user %d", i);
    all[i] = stage_draft(st, user, 0);
  }
  struct visitor v;
  opening(&v, st, 0, "ann", "");
  stage_settle(st);
  assert_int_equal(v.times, 1);
  assert_null(v.session);
  assert_int_equal(v.code, E_FULL);
  for (int i = 0; i < 8; i++)
    session_unref(all[i]);
}

static void a_store_that_does_not_answer_is_told(void **state) {
  struct stage *st = *state;
  struct visitor v;
  struct session *known = stage_draft(st, "bob", 0);
  assert_int_equal(store_drain(st->store, 10000), 0);
  const char *const wishes[] = {"", "ffffffffffffffffffffffffffffffff"};
  for (int i = 0; i < 2; i++) {
    opening(&v, st, 0, "ann", wishes[i]);
    assert_int_equal(v.times, 1);
    assert_null(v.session);
    assert_int_equal(v.code, E_STOPPING);
  }
  opening(&v, st, 0, "bob", "");
  assert_ptr_equal(v.session, known);                /* what is in memory needs no store */
  assert_int_equal(sessions_count(st->sessions), 1); /* and nobody got a draft instead */
  session_unref(v.session);
  session_unref(known);
}

/* Behind the store's back its table is taken away. */
static void a_store_that_fails_is_told_and_nobody_gets_a_draft_instead(void **state) {
  struct stage *st = *state;
  sqlite3 *db;
  assert_int_equal(sqlite3_open(folder_at(&st->folder, "chat.db"), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, "ALTER TABLE sessions RENAME TO gone", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
  const char *const wishes[] = {"", "ffffffffffffffffffffffffffffffff"};
  for (int i = 0; i < 2; i++) {
    struct visitor v;
    opening(&v, st, 0, "ann", wishes[i]);
    stage_settle(st);
    assert_int_equal(v.times, 1);
    assert_null(v.session);
    assert_int_equal(v.code, E_STORE);
  }
  assert_int_equal(sessions_count(st->sessions), 0);
}

static void without_a_store_there_is_no_conversation(void **state) {
  struct stage *st = *state;
  struct worker *alone = stage_worker(st, 2, NULL);
  struct visitor v = {0};
  join_open(alone, "ann", "", seated, &v);
  assert_int_equal(v.times, 1);
  assert_null(v.session);
  assert_int_equal(v.code, E_STORE);
  worker_free(alone);
}

static void loading(struct visitor *v, struct stage *st, const char *id) {
  *v = (struct visitor){0};
  join_load(st->workers[0], id, seated, v);
}

static void by_id_it_is_loaded_whoevers_it_is(void **state) {
  struct stage *st = *state;
  const char *id = stored(st, "bob", 9);
  struct visitor v, again;
  loading(&v, st, id);
  stage_settle(st);
  assert_int_equal(v.times, 1);
  assert_string_equal(session_id(v.session), id);
  assert_string_equal(session_user(v.session), "bob");
  loading(&again, st, id);
  assert_int_equal(again.times, 1); /* from memory, at once */
  assert_ptr_equal(again.session, v.session);
  session_unref(v.session);
  session_unref(again.session);
}

static void what_is_nowhere_is_not_found_and_not_made(void **state) {
  struct stage *st = *state;
  struct visitor v;
  loading(&v, st, "ffffffffffffffffffffffffffffffff");
  stage_settle(st);
  assert_int_equal(v.times, 1);
  assert_null(v.session);
  assert_int_equal(v.code, E_NOT_FOUND);
  loading(&v, st, "not an id");
  assert_int_equal(v.times, 1);
  assert_int_equal(v.code, E_NOT_FOUND);
  assert_int_equal(sessions_count(st->sessions), 0);
}

#define STAGE(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    STAGE(what_is_in_memory_is_given_at_once),
    STAGE(ones_own_is_fetched_from_the_store),
    STAGE(without_a_wish_it_is_the_active_one_of_the_store),
    STAGE(who_has_none_gets_a_draft),
    STAGE(anothers_is_never_given),
    STAGE(an_unknown_id_is_as_good_as_none),
    STAGE(two_workers_at_once_give_one_draft),
    STAGE(two_workers_at_once_fetch_one_session),
    STAGE(one_that_has_just_ended_is_not_given_again),
    STAGE(one_that_came_meanwhile_is_the_one),
    STAGE(a_full_table_says_so),
    STAGE(a_store_that_does_not_answer_is_told),
    STAGE(a_store_that_fails_is_told_and_nobody_gets_a_draft_instead),
    STAGE(without_a_store_there_is_no_conversation),
    STAGE(by_id_it_is_loaded_whoevers_it_is),
    STAGE(what_is_nowhere_is_not_found_and_not_made),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
