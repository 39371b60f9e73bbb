/* What core/chat/effects.c promises: all that one slice of a handler wants takes place together and in order, or not at
 * all; what is stored is not seen before it is. On workers by hand: a commit is "on its way" until the test lets the
 * owner look. */
#include "stage.h"

#include "effects.h"
#include "err.h"
#include "metrics.h"

#include <uv.h>

#define WALL 1700000000000

static struct effects *slice(struct session *s) {
  struct effects *e = effects_new(s, NULL, WALL);
  assert_non_null(e);
  return e;
}

static void say_to(struct effects *e, const char *text, uint64_t to, uint64_t except) {
  struct message *m = message_new(text, strlen(text));
  assert_int_equal(effects_send(e, m, to, except, 0), 0);
  message_unref(m);
}

static struct effects *say(struct effects *e, const char *text) {
  say_to(e, text, 0, 0);
  return e;
}

static struct message_record record_of(const char *id, const char *cid, const char *content) {
  struct message_record r = {.cid = cid != NULL ? strdup(cid) : NULL,
                             .sender = strdup("ai"),
                             .type = strdup("ai_response"),
                             .content = strdup(content),
                             .content_len = strlen(content),
                             .at_ms = WALL};
  if (id != NULL)
    strcpy(r.id, id);
  else
    id_new(r.id);
  return r;
}

static struct effects *append(struct effects *e, const char *id, const char *cid, const char *content) {
  struct message_record r = record_of(id, cid, content);
  assert_int_equal(effects_append(e, &r), 0);
  return e;
}

/* What became of a slice. */
struct outcome {
  int times, code;
  uint64_t seq;
  bool duplicate;
  char id[STORE_ID_LEN + 1], last_id[STORE_ID_LEN + 1];
};

static void settled(struct effects *e, void *arg) {
  struct outcome *o = arg;
  o->times++;
  o->code = e->code;
  if (e->code == 0 && e->message_count > 0) {
    o->seq = e->messages[0].seq;
    o->duplicate = e->messages[0].duplicate;
    memcpy(o->id, e->messages[0].id, sizeof o->id);
    memcpy(o->last_id, e->messages[e->message_count - 1].id, sizeof o->last_id);
  }
  effects_free(e);
}

static void commit(struct stage *st, int worker, struct effects *e, struct outcome *o) {
  if (o != NULL) {
    *o = (struct outcome){.code = 1};
    e->done = settled;
    e->arg = o;
  }
  effects_commit(e, worker_home(st->workers[worker]));
}

static bool is_stored(struct session *s) {
  session_lock_read(s);
  bool stored = session_stored(s);
  session_unlock_read(s);
  return stored;
}

/* ---- order and outcome ---- */

static void sends_of_a_stored_slice_wait_for_its_commit(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome o;
  commit(st, 0, say(append(slice(s), NULL, NULL, "hello"), "a"), &o);
  stage_wait(st); /* the store has it, the owner does not know */
  assert_silent(c);
  assert_int_equal(o.times, 0);
  stage_settle(st);
  assert_gets(c, "a");
  assert_int_equal(o.times, 1);
  assert_int_equal(o.code, 0);
  assert_int_equal(o.seq, 1);
  stage_leave(s, c);
  session_unref(s);
}

static void what_is_not_stored_goes_out_at_once(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome o;
  commit(st, 0, say(slice(s), "typing"), &o);
  assert_gets(c, "typing");
  assert_int_equal(o.times, 1);
  assert_int_equal(o.code, 0);
  assert_false(is_stored(s));
  stage_leave(s, c);
  session_unref(s);
}

static void slices_are_seen_in_the_order_they_were_committed(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome o[4];
  commit(st, 0, say(append(slice(s), NULL, NULL, "1"), "stored 1"), &o[0]);
  commit(st, 0, say(slice(s), "unstored"), &o[1]); /* behind one that waits, it waits too */
  commit(st, 0, say(append(slice(s), NULL, NULL, "2"), "stored 2"), &o[2]);
  commit(st, 0, say(say(slice(s), "last"), "very last"), &o[3]);
  assert_silent(c);
  assert_int_equal(o[1].times, 0);
  stage_settle(st);
  assert_gets(c, "stored 1");
  assert_gets(c, "unstored");
  assert_gets(c, "stored 2");
  assert_gets(c, "last");
  assert_gets(c, "very last");
  for (int i = 0; i < 4; i++) {
    assert_int_equal(o[i].times, 1);
    assert_int_equal(o[i].code, 0);
  }
  assert_int_equal(o[2].seq, 2);
  commit(st, 0, say(slice(s), "now"), NULL);
  assert_gets(c, "now"); /* nothing waits any more */
  stage_leave(s, c);
  session_unref(s);
}

static void fields_and_messages_are_stored_together(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = append(append(slice(s), NULL, NULL, "one"), NULL, NULL, "two");
  assert_int_equal(effects_set_text(e, EFFECTS_NAME, "thrown away"), 0);
  assert_int_equal(effects_set_text(e, EFFECTS_NAME, "a name"), 0);
  assert_int_equal(effects_set_text(e, EFFECTS_MODEL, "m1"), 0);
  e->flags[EFFECTS_HELP] = 1;
  e->tokens = 12;
  assert_int_equal(effects_response(e, 30), 0);
  assert_int_equal(effects_response(e, 10), 0);
  int64_t created = metrics_value(METRIC_SESSIONS_CREATED);
  commit(st, 0, e, NULL);
  stage_settle(st);
  assert_true(is_stored(s));
  assert_int_equal(metrics_value(METRIC_SESSIONS_CREATED), created + 1);
  session_lock_read(s);
  assert_int_equal(session_fields(s)->top, 2);
  assert_int_equal(session_fields(s)->last_activity_ms, WALL);
  session_unlock_read(s);
  struct store_op *read = store_op_new(STORE_SESSION);
  strcpy(read->session.id, session_id(s));
  const struct session_record *r = &caller_call(st->caller, st->store, read)->session;
  assert_string_equal(r->user_id, "ann");
  assert_string_equal(r->name, "a name");
  assert_string_equal(r->model_id, "m1");
  assert_true(r->help_requested);
  assert_false(r->admin_assisted);
  assert_int_equal(r->total_tokens, 12);
  assert_int_equal(r->avg_response_ms, 20);
  assert_int_equal(r->max_response_ms, 30);
  assert_int_equal(r->top, 2);
  commit(st, 0, append(slice(s), NULL, NULL, "three"), NULL);
  stage_settle(st);
  assert_int_equal(metrics_value(METRIC_SESSIONS_CREATED), created + 1);
  session_unref(s);
}

static void event(struct effects *e, const char *text) {
  struct message *m = message_new(text, strlen(text));
  assert_int_equal(effects_send_event(e, m, 0, 0), 0);
  message_unref(m);
}

static void an_event_goes_out_with_what_the_store_gave_it(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *near = stage_member(st, s, "ann", 0), *far = stage_member(st, s, "ann", 1);
  struct effects *e = append(append(slice(s), NULL, NULL, "one"), NULL, NULL, "two");
  char expected[100];
  struct outcome o;
  event(e, "{\"a\":1}");
  commit(st, 0, e, &o);
  assert_silent(near);
  stage_settle(st);
  snprintf(expected, sizeof expected, "{\"a\":1,\"id\":\"%s\",\"seq\":2}", o.last_id);
  assert_gets(near, expected);
  assert_gets(far, expected);
  stage_leave(s, near);
  stage_leave(s, far);
  session_unref(s);
}

static void an_event_of_a_duplicate_is_no_event(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome o;
  commit(st, 0, append(slice(s), NULL, "c1", "hello"), &o);
  struct effects *e = append(slice(s), NULL, "c1", "hello");
  event(e, "{}");
  commit(st, 0, say(e, "the rest"), &o);
  stage_settle(st);
  assert_true(o.duplicate);
  assert_gets(c, "the rest");
  stage_leave(s, c);
  session_unref(s);
}

static void an_event_needs_a_message(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = slice(s);
  struct message *m = message_new("{}", 2);
  assert_int_equal(effects_send_event(e, m, 0, 0), E_NOT_FOUND);
  message_unref(m);
  effects_free(e);
  session_unref(s);
}

static void a_message_sent_twice_is_told_so(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct outcome first, second;
  commit(st, 0, append(slice(s), NULL, "c1", "hello"), &first);
  commit(st, 0, append(slice(s), NULL, "c1", "hello"), &second);
  stage_settle(st);
  assert_false(first.duplicate);
  assert_true(second.duplicate);
  assert_int_equal(second.seq, first.seq);
  assert_string_equal(second.id, first.id);
  session_unref(s);
}

/* ---- when the store says no ---- */

#define TAKEN "0123456789abcdef0123456789abcdef"

/* After this a message with the id TAKEN cannot be stored. */
static void take_the_id(struct stage *st) {
  struct session *s = stage_draft(st, "somebody else", 0);
  struct outcome o;
  commit(st, 0, append(slice(s), TAKEN, NULL, "first"), &o);
  stage_settle(st);
  assert_int_equal(o.code, 0);
  session_unref(s);
}

static void a_slice_that_is_not_stored_is_not_seen_and_says_so(void **state) {
  struct stage *st = *state;
  take_the_id(st);
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome lost, typing;
  commit(st, 0, say(append(slice(s), TAKEN, NULL, "lost"), "a lie"), &lost);
  assert_true(is_stored(s)); /* as far as later slices need to know */
  commit(st, 0, say(slice(s), "typing"), &typing);
  stage_settle(st);
  assert_gets(c, "typing");
  assert_silent(c);
  assert_int_equal(lost.times, 1);
  assert_int_equal(lost.code, E_STORE);
  assert_int_equal(typing.code, 0);
  assert_false(is_stored(s)); /* the next one inserts it */
  struct outcome kept;
  commit(st, 0, say(append(slice(s), NULL, NULL, "kept"), "true"), &kept);
  stage_settle(st);
  assert_gets(c, "true");
  assert_int_equal(kept.code, 0);
  assert_int_equal(kept.seq, 1);
  assert_true(is_stored(s));
  stage_leave(s, c);
  session_unref(s);
}

static void one_that_was_stored_stays_so_when_a_later_slice_fails(void **state) {
  struct stage *st = *state;
  take_the_id(st);
  struct session *s = stage_draft(st, "ann", 0);
  struct outcome o;
  commit(st, 0, append(slice(s), NULL, NULL, "kept"), NULL);
  commit(st, 0, append(slice(s), TAKEN, NULL, "lost"), &o);
  stage_settle(st);
  assert_int_equal(o.code, E_STORE);
  assert_true(is_stored(s));
  session_unref(s);
}

static void a_slice_behind_a_failed_first_one_brings_the_session_into_the_store(void **state) {
  struct stage *st = *state;
  take_the_id(st);
  struct session *s = stage_draft(st, "ann", 0);
  struct outcome first, second;
  struct effects *e = slice(s);
  commit(st, 0, append(slice(s), TAKEN, NULL, "lost"), &first);
  e->tokens = 1; /* the whole record goes with it */
  commit(st, 0, append(e, NULL, NULL, "kept"), &second);
  stage_settle(st);
  assert_int_equal(first.code, E_STORE);
  assert_int_equal(second.code, 0);
  assert_true(is_stored(s));
  session_unref(s);
}

static void without_a_store_nothing_is_stored_and_typing_works(void **state) {
  struct stage *st = *state;
  struct worker *alone = stage_worker(st, 2, NULL);
  struct session_record r = {.user_id = "ann"};
  struct session *s;
  struct outcome stored, typing;
  id_new(r.id);
  assert_int_equal(sessions_enter(st->sessions, &r, false, worker_mailbox(alone), 0, &s), 0);
  struct effects *e = append(slice(s), NULL, NULL, "x");
  e->done = settled;
  e->arg = &stored;
  stored = (struct outcome){0};
  effects_commit(e, worker_home(alone));
  assert_int_equal(stored.times, 1);
  assert_int_equal(stored.code, E_STORE);
  assert_false(is_stored(s));
  e = say(slice(s), "typing");
  e->done = settled;
  e->arg = &typing;
  typing = (struct outcome){0};
  effects_commit(e, worker_home(alone));
  assert_int_equal(typing.times, 1);
  assert_int_equal(typing.code, 0);
  session_unref(s);
  assert_int_equal(sessions_count(st->sessions), 0); /* nothing holds it */
  worker_free(alone);
}

static void a_store_that_stops_refuses_in_turn(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome before, after;
  commit(st, 0, say(append(slice(s), NULL, NULL, "x"), "in time"), &before);
  assert_int_equal(store_drain(st->store, 10000), 0);
  commit(st, 0, say(append(slice(s), NULL, NULL, "y"), "late"), &after);
  assert_int_equal(after.times, 0); /* not before the one ahead of it */
  worker_settle(st->workers[0]);
  assert_gets(c, "in time");
  assert_silent(c);
  assert_int_equal(before.code, 0);
  assert_int_equal(after.times, 1);
  assert_int_equal(after.code, E_STOPPING);
  assert_true(is_stored(s));
  stage_leave(s, c);
  session_unref(s);
}

/* ---- bounds ---- */

static void a_slice_has_so_many_messages_and_sends_and_no_more(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = slice(s);
  struct message *m = message_new("", 0);
  for (int i = 0; i < EFFECTS_MAX / 2; i++) {
    append(e, NULL, NULL, "");
    assert_int_equal(effects_send(e, m, 0, 0, 0), 0);
  }
  struct message_record r = record_of(NULL, "c", "one too many"); /* taken all the same */
  assert_int_equal(effects_append(e, &r), E_FULL);
  assert_int_equal(effects_send(e, m, 0, 0, 0), E_FULL);
  assert_int_equal(e->message_count + e->send_count, EFFECTS_MAX);
  message_unref(m);
  effects_free(e);
  session_unref(s);
}

static void a_slice_has_so_many_bytes_and_no_more(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = slice(s);
  char *half = calloc(1, EFFECTS_BYTES / 2);
  struct message *m = message_new(half, EFFECTS_BYTES / 2);
  struct message_record r = {.content = half, .content_len = EFFECTS_BYTES / 2};
  assert_int_equal(effects_append(e, &r), 0);
  assert_int_equal(effects_send(e, m, 0, 0, 0), 0);
  struct message *one = message_new("x", 1), *none = message_new("", 0);
  assert_int_equal(effects_send(e, one, 0, 0, 0), E_FULL);
  assert_int_equal(effects_send(e, none, 0, 0, 0), 0);
  r = (struct message_record){.content = strdup(""), .extra = strdup("{}")};
  assert_int_equal(effects_append(e, &r), E_FULL); /* what is stored beside the content counts */
  message_unref(m);
  message_unref(one);
  message_unref(none);
  effects_free(e);
  session_unref(s);
}

static void response_times_of_one_slice_are_bounded(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = slice(s);
  for (int i = 0; i < EFFECTS_MAX; i++)
    assert_int_equal(effects_response(e, 1), 0);
  assert_int_equal(effects_response(e, 1), E_FULL);
  effects_free(e);
  session_unref(s);
}

static void a_slice_knows_whether_it_is_empty_and_whether_it_stores(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = slice(s);
  assert_true(effects_empty(e));
  say(e, "x");
  assert_false(effects_empty(e));
  assert_false(effects_stores(e));
  e->flags[EFFECTS_ASSISTED] = 0;
  assert_true(effects_stores(e));
  e->flags[EFFECTS_ASSISTED] = -1;
  e->close = true;
  assert_true(effects_stores(e));
  e->close = false;
  assert_int_equal(effects_set_text(e, EFFECTS_ADMIN_ID, ""), 0); /* to take a value away is a change */
  assert_true(effects_stores(e));
  effects_free(e);
  session_unref(s);
}

static void a_slice_that_is_dropped_leaves_nothing(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct effects *e = append(say(slice(s), "x"), NULL, NULL, "y");
  e->tokens = 7;
  effects_free(e);
  stage_settle(st);
  assert_silent(c);
  assert_false(is_stored(s));
  session_lock_read(s);
  assert_int_equal(session_fields(s)->total_tokens, 0);
  session_unlock_read(s);
  stage_leave(s, c);
  session_unref(s);
}

/* ---- ends ---- */

static void a_session_ends_once_however_often_it_is_closed(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  int64_t ended = metrics_value(METRIC_SESSIONS_ENDED);
  for (int i = 0; i < 3; i++) {
    struct effects *e = effects_new(s, NULL, (uint64_t)(WALL + i));
    e->close = true;
    commit(st, 0, e, NULL);
    assert_null(sessions_active(st->sessions, "ann")); /* at once: the next one is new */
    if (i == 1)
      stage_settle(st);
  }
  stage_settle(st);
  assert_int_equal(metrics_value(METRIC_SESSIONS_ENDED), ended + 1);
  session_lock_read(s);
  assert_int_equal(session_fields(s)->end_ms, WALL);
  session_unlock_read(s);
  struct session *next = stage_draft(st, "ann", 0);
  assert_ptr_not_equal(next, s);
  session_unref(next);
  session_unref(s);
}

/* ---- to whom ---- */

static void a_send_reaches_one_all_but_one_or_everybody(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *a = stage_member(st, s, "ann", 0), *b = stage_member(st, s, "ann", 0),
              *far = stage_member(st, s, "ann", 1);
  struct conn *stranger = client_new(stage_home(st, 0), "eve");
  struct effects *e = slice(s);
  say_to(e, "all", 0, 0);
  say_to(e, "a", conn_id(a), 0);
  say_to(e, "not a", 0, conn_id(a));
  say_to(e, "eve", conn_id(stranger), 0);
  commit(st, 0, e, NULL);
  stage_settle(st); /* also the other worker's members have theirs */
  assert_gets(a, "all");
  assert_gets(a, "a");
  assert_gets(b, "all");
  assert_gets(b, "not a");
  assert_gets(far, "all");
  assert_gets(far, "not a");
  assert_silent(a);
  assert_silent(b);
  assert_silent(far);
  assert_silent(stranger);
  client_gone(stranger);
  stage_leave(s, a);
  stage_leave(s, b);
  stage_leave(s, far);
  session_unref(s);
}

static void a_close_comes_behind_the_sends_of_its_slice(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *a = stage_member(st, s, "ann", 0), *b = stage_member(st, s, "ann", 0);
  struct effects *e = say(slice(s), "bye");
  struct message *reason = message_new("done", sizeof "done");
  assert_int_equal(effects_send(e, reason, conn_id(a), 0, CLOSE_POLICY), 0);
  message_unref(reason);
  commit(st, 0, say(e, "behind"), NULL);
  const char *why;
  assert_int_equal(conn_closing(a, &why), CLOSE_POLICY);
  assert_string_equal(why, "done");
  assert_int_equal(conn_closing(b, &why), 0);
  assert_gets(a, "bye");
  assert_silent(a);
  assert_gets(b, "bye");
  assert_gets(b, "behind");
  stage_leave(s, a);
  stage_leave(s, b);
  session_unref(s);
}

static void who_asked_gets_the_answer_wherever_it_has_gone(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0), *other = stage_draft(st, "bob", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct effects *e = effects_new(s, c, WALL);
  say_to(append(e, NULL, NULL, "x"), "answer", conn_id(c), 0);
  say_to(e, "news", 0, 0);
  commit(st, 0, e, NULL);
  session_leave(s, c, 0);
  assert_int_equal(session_join(other, c, 0), 0);
  stage_settle(st);
  assert_gets(c, "answer");
  assert_silent(c); /* what all were told it has left */
  stage_leave(other, c);
  session_unref(s);
  session_unref(other);
}

/* ---- another worker's session ---- */

static void a_foreign_owner_does_it_and_the_answer_comes_back(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct outcome o;
  commit(st, 1, say(append(slice(s), NULL, NULL, "from afar"), "seen"), &o);
  worker_settle(st->workers[1]);
  stage_wait(st);
  assert_false(is_stored(s)); /* it lies in the inbox; only the owner applies it */
  worker_settle(st->workers[0]);
  stage_wait(st);
  assert_silent(c);
  worker_settle(st->workers[0]);
  assert_gets(c, "seen");
  assert_int_equal(o.times, 0); /* where it was committed it is heard of, nowhere else */
  worker_settle(st->workers[1]);
  assert_int_equal(o.times, 1);
  assert_int_equal(o.code, 0);
  assert_int_equal(o.seq, 1);
  stage_leave(s, c);
  session_unref(s);
}

static void a_full_inbox_keeps_no_effects_out(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  struct item *item;
  while (worker_put(st->workers[1], s, item = item_new(ITEM_TEXT, NULL, "x", 1)) == 0) {
  }
  item_free(item);
  commit(st, 1, say(slice(s), "seen"), NULL);
  stage_settle(st);
  assert_gets(c, "seen");
  stage_leave(s, c);
  session_unref(s);
}

static void a_mere_answer_needs_no_owner(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *owner = stage_member(st, s, "ann", 0), *c = stage_member(st, s, "ann", 1);
  struct effects *e = effects_new(s, c, WALL);
  struct outcome o;
  say_to(e, "busy", conn_id(c), 0);
  commit(st, 1, e, &o);
  assert_gets(c, "busy");
  assert_int_equal(o.times, 1);
  stage_settle(st);
  assert_silent(owner);
  stage_leave(s, c);
  stage_leave(s, owner);
  session_unref(s);
}

static void the_owner_stays_until_the_commit_has_settled(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  commit(st, 0, append(slice(s), NULL, NULL, "x"), NULL);
  stage_leave(s, stage_member(st, s, "ann", 1)); /* into the empty room, from the other worker */
  assert_false(session_hold_if_owner(s, stage_home(st, 1)));
  session_unref(s);
  assert_int_equal(sessions_sweep(st->sessions, 1000000, 0), 0);
  stage_settle(st);
  s = sessions_active(st->sessions, "ann");
  stage_leave(s, stage_member(st, s, "ann", 1));
  assert_true(session_hold_if_owner(s, stage_home(st, 1)));
  session_unhold(s, 0);
  session_unref(s);
}

/* Whoever comes into the empty room meanwhile does not take it over: its owner has still to look at the queue. */
static void come_in_elsewhere(struct effects *e, void *arg) {
  struct stage *st = arg;
  struct session *s = e->session;
  struct conn *c = stage_member(st, s, "ann", 1);
  assert_false(session_hold_if_owner(s, stage_home(st, 1)));
  stage_leave(s, c);
  effects_free(e);
}

static void the_owner_stays_while_it_lets_go_what_has_settled(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = append(slice(s), NULL, NULL, "x");
  e->done = come_in_elsewhere;
  e->arg = st;
  effects_commit(e, worker_home(st->workers[0]));
  stage_settle(st);
  session_unref(s);
}

/* The last slice of a draft that nobody holds, and that the store refuses: it may be forgotten the moment it settles.
 */
static void forget_everything(struct effects *e, void *arg) {
  struct stage *st = arg;
  effects_free(e);
  sessions_sweep(st->sessions, 1000000, 0);
}

static void a_session_may_be_forgotten_while_its_last_slice_settles(void **state) {
  struct stage *st = *state;
  take_the_id(st);
  assert_int_equal(sessions_sweep(st->sessions, 1000000, 0), 1);
  struct session *s = stage_draft(st, "ann", 0);
  struct effects *e = append(slice(s), TAKEN, NULL, "lost");
  e->done = forget_everything;
  e->arg = st;
  effects_commit(e, worker_home(st->workers[0]));
  session_unref(s);
  stage_settle(st);
  sessions_sweep(st->sessions, 1000000, 0);
  assert_int_equal(sessions_count(st->sessions), 0);
}

#define STAGE(test) cmocka_unit_test_setup_teardown(test, stage_open, stage_close)

int main(void) {
  const struct CMUnitTest tests[] = {
    STAGE(sends_of_a_stored_slice_wait_for_its_commit),
    STAGE(what_is_not_stored_goes_out_at_once),
    STAGE(slices_are_seen_in_the_order_they_were_committed),
    STAGE(fields_and_messages_are_stored_together),
    STAGE(an_event_goes_out_with_what_the_store_gave_it),
    STAGE(an_event_of_a_duplicate_is_no_event),
    STAGE(an_event_needs_a_message),
    STAGE(a_message_sent_twice_is_told_so),
    STAGE(a_slice_that_is_not_stored_is_not_seen_and_says_so),
    STAGE(one_that_was_stored_stays_so_when_a_later_slice_fails),
    STAGE(a_slice_behind_a_failed_first_one_brings_the_session_into_the_store),
    STAGE(without_a_store_nothing_is_stored_and_typing_works),
    STAGE(a_store_that_stops_refuses_in_turn),
    STAGE(a_slice_has_so_many_messages_and_sends_and_no_more),
    STAGE(a_slice_has_so_many_bytes_and_no_more),
    STAGE(response_times_of_one_slice_are_bounded),
    STAGE(a_slice_knows_whether_it_is_empty_and_whether_it_stores),
    STAGE(a_slice_that_is_dropped_leaves_nothing),
    STAGE(a_session_ends_once_however_often_it_is_closed),
    STAGE(a_send_reaches_one_all_but_one_or_everybody),
    STAGE(a_close_comes_behind_the_sends_of_its_slice),
    STAGE(who_asked_gets_the_answer_wherever_it_has_gone),
    STAGE(a_foreign_owner_does_it_and_the_answer_comes_back),
    STAGE(a_full_inbox_keeps_no_effects_out),
    STAGE(a_mere_answer_needs_no_owner),
    STAGE(the_owner_stays_until_the_commit_has_settled),
    STAGE(the_owner_stays_while_it_lets_go_what_has_settled),
    STAGE(a_session_may_be_forgotten_while_its_last_slice_settles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
