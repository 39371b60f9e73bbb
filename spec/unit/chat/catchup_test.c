/* What core/chat/catchup.c promises: while a member is being told what it missed, what is for everybody waits for it,
 * and comes behind that: nothing is lost, nothing comes twice, all of it in order; and nobody else waits. On workers by
 * hand, as in effects_test.c. */
#include "stage.h"

#include "catchup.h"
#include "effects.h"
#include "err.h"

#define WALL 1700000000000

static struct effects *slice(struct session *s) {
  struct effects *e = effects_new(s, NULL, WALL);
  assert_non_null(e);
  return e;
}

static void commit(struct stage *st, struct effects *e) {
  effects_commit(e, worker_home(st->workers[0]));
}

/* A document that is not stored, to everybody or to one. */
static void say(struct stage *st, struct session *s, const char *text, uint64_t to) {
  struct effects *e = slice(s);
  struct message *m = message_new(text, strlen(text));
  assert_int_equal(effects_send(e, m, to, 0, 0), 0);
  message_unref(m);
  commit(st, e);
}

/* A message that is stored, and its event. */
static void event(struct stage *st, struct session *s, const char *content) {
  struct effects *e = slice(s);
  struct message_record r = {.sender = strdup("ai"),
                             .type = strdup("t"),
                             .content = strdup(content),
                             .content_len = strlen(content),
                             .at_ms = WALL};
  char text[64];
  id_new(r.id);
  assert_int_equal(effects_append(e, &r), 0);
  snprintf(text, sizeof text, "{\"said\":\"%s\"}", content);
  struct message *m = message_new(text, strlen(text));
  assert_int_equal(effects_send_event(e, m, 0, 0), 0);
  message_unref(m);
  commit(st, e);
}

static void end(struct stage *st, struct session *s, struct conn *c, const char *greeting, uint64_t told) {
  struct effects *e = slice(s);
  struct message *m = message_new(greeting, strlen(greeting));
  assert_int_equal(effects_send(e, m, conn_id(c), 0, 0), 0);
  message_unref(m);
  assert_int_equal(effects_catchup_end(e, conn_id(c), told), 0);
  commit(st, e);
}

/* The next event it was sent. */
static void assert_event(struct conn *c, const char *content, unsigned seq) {
  struct message *m = conn_outbox_take(c);
  char said[64], number[32];
  assert_non_null(m);
  char *text = strndup(m->text, m->len);
  snprintf(said, sizeof said, "{\"said\":\"%s\",", content);
  snprintf(number, sizeof number, "\"seq\":%u}", seq);
  if (strncmp(text, said, strlen(said)) != 0 || !strstr(text, number))
    fail_msg("%s came, not %s %u", text, content, seq);
  free(text);
  message_unref(m);
}

static void what_is_for_everybody_waits_and_comes_behind_what_it_missed(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0), *other = stage_member(st, s, "ann", 1);
  assert_int_equal(catchup_begin(s, c), 0);
  assert_int_equal(catchup_begin(s, c), E_BUSY);
  say(st, s, "typing", 0);
  say(st, s, "for you", conn_id(c));
  event(st, s, "a");
  stage_settle(st);
  assert_gets(c, "for you"); /* what is for it alone does not wait */
  assert_silent(c);
  assert_gets(other, "typing");
  assert_event(other, "a", 1);
  end(st, s, c, "welcome", 0);
  assert_gets(c, "welcome");
  assert_gets(c, "typing");
  assert_event(c, "a", 1);
  say(st, s, "live", 0);
  assert_gets(c, "live");
  assert_silent(c);
  stage_leave(s, c);
  stage_leave(s, other);
  session_unref(s);
}

static void what_it_has_been_told_does_not_come_again(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 1); /* on another worker than the owner's */
  assert_int_equal(catchup_begin(s, c), 0);
  event(st, s, "a");
  event(st, s, "b");
  say(st, s, "typing", 0);
  event(st, s, "c");
  stage_settle(st);
  end(st, s, c, "welcome, a, b", 2);
  stage_settle(st);
  assert_gets(c, "welcome, a, b");
  assert_gets(c, "typing");
  assert_event(c, "c", 3);
  assert_silent(c);
  stage_leave(s, c);
  session_unref(s);
}

/* What is on its way when the catch-up begins, or ends, is neither lost nor doubled: its event is told by seq. */
static void a_commit_on_its_way_is_told_once(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0);
  event(st, s, "a");
  assert_int_equal(catchup_begin(s, c), 0); /* a is stored, and the owner does not know */
  event(st, s, "b");
  end(st, s, c, "welcome", 0); /* waits behind both */
  assert_silent(c);
  assert_true(effects_catchup_ends(s, conn_id(c)));
  event(st, s, "c");
  stage_settle(st);
  assert_gets(c, "welcome");
  assert_event(c, "a", 1);
  assert_event(c, "b", 2);
  assert_event(c, "c", 3);
  assert_silent(c);
  assert_false(effects_catchup_ends(s, conn_id(c)));
  stage_leave(s, c);
  session_unref(s);
}

static void too_much_meanwhile_closes_it_to_come_back(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0), *other = stage_member(st, s, "ann", 0);
  char text[64 << 10];
  const char *why;
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  assert_int_equal(catchup_begin(s, c), 0);
  for (size_t bytes = 0; bytes + sizeof text < CATCHUP_BYTES; bytes += sizeof text)
    say(st, s, text, 0);
  assert_int_equal(conn_closing(c, &why), 0);
  say(st, s, text, 0);
  assert_int_equal(conn_closing(c, &why), CLOSE_TRY_LATER);
  assert_int_equal(conn_closing(other, &why), 0);
  say(st, s, "more", 0);
  catchup_end(s, conn_id(c), 0, stage_home(st, 0));
  assert_silent(c);
  stage_leave(s, c);
  stage_leave(s, other);
  session_unref(s);
}

static void one_that_has_gone_is_let_go_of(void **state) {
  struct stage *st = *state;
  struct session *s = stage_draft(st, "ann", 0);
  struct conn *c = stage_member(st, s, "ann", 0), *stranger = stage_member(st, s, "ann", 0);
  assert_int_equal(catchup_begin(s, c), 0);
  say(st, s, "typing", 0);
  uint64_t id = conn_id(c);
  stage_leave(s, c);
  say(st, s, "more", 0);
  catchup_end(s, id, 0, stage_home(st, 0));
  catchup_end(s, id, 0, stage_home(st, 0)); /* again: nothing */
  catchup_end(s, conn_id(stranger), 0, stage_home(st, 0));
  assert_gets(stranger, "typing");
  assert_gets(stranger, "more");
  stage_leave(s, stranger);
  session_unref(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(what_is_for_everybody_waits_and_comes_behind_what_it_missed, stage_open,
                                    stage_close),
    cmocka_unit_test_setup_teardown(what_it_has_been_told_does_not_come_again, stage_open, stage_close),
    cmocka_unit_test_setup_teardown(a_commit_on_its_way_is_told_once, stage_open, stage_close),
    cmocka_unit_test_setup_teardown(too_much_meanwhile_closes_it_to_come_back, stage_open, stage_close),
    cmocka_unit_test_setup_teardown(one_that_has_gone_is_let_go_of, stage_open, stage_close),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
