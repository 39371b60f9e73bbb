/* When a line counts as answered, and what happens to it when the connection breaks. The server is the test. */
#include "dialogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct scene {
  struct dialogue *d;
  char sent[8][512]; /* the last ones, newest first */
  unsigned sends;
  char told[2048]; /* all of it: | whole, + piece, = end, ! note */
};

static void on_send(void *arg, const char *text, size_t len) {
  struct scene *s = arg;
  memmove(s->sent[1], s->sent[0], sizeof s->sent - sizeof *s->sent);
  snprintf(s->sent[0], sizeof *s->sent, "%.*s", (int)len, text);
  s->sends++;
}

static void on_tell(void *arg, enum dialogue_kind kind, const char *text, size_t len) {
  struct scene *s = arg;
  size_t at = strlen(s->told);
  snprintf(s->told + at, sizeof s->told - at, "%c%.*s", "+=|!"[kind], (int)len, text);
}

static const struct dialogue_hooks hooks = {.send = on_send, .tell = on_tell};

static void hears(struct scene *s, const char *text, uint64_t now) {
  dialogue_hear(s->d, text, strlen(text), now);
}

static void greeted(struct scene *s, uint64_t now) {
  dialogue_online(s->d, now);
  hears(s, "{\"type\":\"connection_status\",\"session_id\":\"S\",\"user_id\":\"alice\"}", now);
}

static void begin(struct scene *s, bool patient) {
  *s = (struct scene){.d = dialogue_new(&hooks, s, patient, 60000, "")};
  assert_non_null(s->d);
  greeted(s, 0);
}

static void says(struct scene *s, const char *line, uint64_t now) {
  assert_true(dialogue_idle(s->d));
  assert_int_equal(dialogue_say(s->d, line, strlen(line), now), 0);
}

/* The cid of what was sent last. */
static const char *cid(const struct scene *s) {
  static char out[33];
  const char *at = strstr(s->sent[0], "\"cid\":\"");
  assert_non_null(at);
  snprintf(out, sizeof out, "%.32s", at + 7);
  return out;
}

static void acks(struct scene *s, int seq, uint64_t now) {
  char text[256];
  snprintf(text, sizeof text, "{\"type\":\"ack\",\"cid\":\"%s\",\"seq\":%d}", cid(s), seq);
  hears(s, text, now);
}

static void answers(struct scene *s, const char *content, int seq) {
  char text[256];
  snprintf(text, sizeof text, "{\"type\":\"ai_response\",\"content\":\"%s\",\"seq\":%d}", content, seq);
  hears(s, text, 0);
}

static void errs(struct scene *s, const char *code, const char *of, int retry_after, uint64_t now) {
  char text[256];
  snprintf(text, sizeof text,
           "{\"type\":\"error\",\"cid\":\"%s\",\"error\":{\"code\":\"%s\",\"message\":\"m\",\"retry_after\":%d}}", of,
           code, retry_after);
  hears(s, text, now);
}

static void page(struct scene *s, const char *messages) {
  char text[1024];
  snprintf(text, sizeof text, "{\"type\":\"history\",\"messages\":[%s]}", messages);
  hears(s, text, 0);
}

static void a_line_is_answered_when_its_answer_is_there_and_all_before_it_is_dealt_with(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  assert_non_null(strstr(s.sent[0], "\"content\":\"hi\""));
  acks(&s, 1, 0);
  assert_non_null(strstr(s.sent[0], "\"type\":\"history\""));
  answers(&s, "a", 2);
  assert_false(dialogue_idle(s.d));
  answers(&s, "b", 3);
  page(&s, "{\"seq\":1,\"sender\":\"user\",\"content\":\"hi\"},{\"seq\":2,\"sender\":\"ai\",\"content\":\"a\"}");
  assert_true(dialogue_idle(s.d));
  assert_string_equal(s.told, "|a|b");
  assert_int_equal(dialogue_unanswered(s.d), 0);
  dialogue_free(s.d);
}

static void an_answer_in_pieces_is_whole_at_its_end(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  acks(&s, 1, 0);
  page(&s, "");
  hears(&s, "{\"type\":\"ai_response\",\"content\":\"x\",\"metadata\":{\"streaming\":\"true\",\"done\":\"false\"}}", 0);
  assert_false(dialogue_idle(s.d));
  hears(&s, "{\"type\":\"ai_response\",\"seq\":2,\"metadata\":{\"streaming\":\"true\",\"done\":\"true\"}}", 0);
  assert_true(dialogue_idle(s.d));
  assert_string_equal(s.told, "+x=");
  dialogue_free(s.d);
}

static void a_line_without_an_answer_counts_when_its_time_is_over(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 1000);
  acks(&s, 1, 1000);
  page(&s, "");
  assert_false(dialogue_idle(s.d));
  while (!dialogue_idle(s.d)) {
    uint64_t due = dialogue_due(s.d);
    assert_true(due <= 61000);
    dialogue_time(s.d, due);
  }
  assert_string_equal(s.told, "!there is no answer");
  assert_int_equal(dialogue_unanswered(s.d), 1);
  assert_true(dialogue_due(s.d) == UINT64_MAX);
  dialogue_free(s.d);
}

static void who_is_at_a_keyboard_waits_only_until_it_is_dealt_with(void **state) {
  (void)state;
  struct scene s;
  begin(&s, false);
  says(&s, "hi", 0);
  acks(&s, 1, 0);
  page(&s, "");
  assert_true(dialogue_idle(s.d));
  assert_int_equal(dialogue_unanswered(s.d), 0);
  dialogue_free(s.d);
}

static void a_break_sends_it_again_under_its_cid_and_brings_the_missed_answer_once(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  char first[33];
  snprintf(first, sizeof first, "%s", cid(&s));
  acks(&s, 4, 0);
  greeted(&s, 2000);
  assert_non_null(strstr(s.sent[0], "\"type\":\"user_message\""));
  assert_string_equal(cid(&s), first);
  acks(&s, 4, 2000);
  const char *both =
    "{\"seq\":3,\"sender\":\"ai\",\"content\":\"old\"},{\"seq\":4,\"sender\":\"user\",\"content\":\"hi\"},"
    "{\"seq\":5,\"sender\":\"ai\",\"content\":\"missed\"}";
  page(&s, both);
  assert_true(dialogue_idle(s.d));
  answers(&s, "missed", 5);
  assert_string_equal(s.told, "|missed");
  dialogue_free(s.d);
}

static void a_line_is_stored_in_the_conversation_it_was_first_sent_in_and_in_no_other(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  dialogue_online(s.d, 1000);
  hears(&s, "{\"type\":\"connection_status\",\"session_id\":\"T\"}", 1000); /* S has ended meanwhile */
  assert_non_null(strstr(s.sent[0], "\"session_id\":\"S\""));
  char ack[256];
  snprintf(ack, sizeof ack, "{\"type\":\"ack\",\"session_id\":\"S\",\"cid\":\"%s\",\"seq\":7,\"duplicate\":true}",
           cid(&s));
  hears(&s, ack, 1000);
  assert_non_null(strstr(s.sent[0], "\"session_id\":\"S\"")); /* the page behind it, too */
  page(
    &s,
    "{\"seq\":7,\"sender\":\"user\",\"content\":\"hi\"},{\"seq\":8,\"sender\":\"ai\",\"content\":\"answered there\"}");
  assert_true(dialogue_idle(s.d));
  assert_string_equal(s.told, "|answered there");
  assert_string_equal(dialogue_session(s.d), "T");
  says(&s, "next", 2000);
  assert_non_null(strstr(s.sent[0], "\"session_id\":\"T\""));
  dialogue_free(s.d);
}

static void an_error_that_passes_is_waited_out_and_one_that_does_not_ends_the_line(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  unsigned sends = s.sends;
  errs(&s, "TOO_MANY_REQUESTS", cid(&s), 7000, 100);
  assert_true(dialogue_due(s.d) == 7100);
  errs(&s, "SERVICE_ERROR", "", 0, 200); /* refused before anybody looked at it */
  assert_true(dialogue_due(s.d) > 200 && dialogue_due(s.d) < 7100);
  dialogue_time(s.d, dialogue_due(s.d));
  assert_int_equal(s.sends, sends + 1);
  errs(&s, "INVALID_FORMAT", cid(&s), 0, 300);
  assert_true(dialogue_idle(s.d));
  assert_string_equal(s.told, "!INVALID_FORMAT: m");
  assert_int_equal(dialogue_unanswered(s.d), 1);
  dialogue_free(s.d);
}

static void an_error_that_always_comes_back_ends_the_line(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  int times = 0;
  while (!dialogue_idle(s.d)) {
    errs(&s, "DATABASE_ERROR", cid(&s), 0, 0);
    assert_true(++times < 20);
  }
  assert_int_equal(dialogue_unanswered(s.d), 1);
  dialogue_free(s.d);
}

static void what_is_no_message_and_what_is_not_ours_changes_nothing(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      "x",
                                      "null",
                                      "[]",
                                      "{}",
                                      "{\"type\":1}",
                                      "{\"type\":\"new\"}",
                                      "{\"type\":\"ack\",\"cid\":\"other\",\"seq\":9}",
                                      "{\"type\":\"history\",\"messages\":5}",
                                      "{\"type\":\"bye\"}",
                                      "{\"type\":\"error\"}",
                                      "{\"type\":\"error\",\"cid\":\"other\",\"error\":{\"code\":\"INTERNAL\"}}"};
  struct scene s;
  begin(&s, true);
  says(&s, "hi", 0);
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (i != 10) { /* an error without a code and a cid ends what is on its way */
      hears(&s, texts[i], 0);
      assert_false(dialogue_idle(s.d));
    }
  }
  assert_string_equal(s.told, "");
  dialogue_free(s.d);
}

static void the_goodbye_is_kept_until_the_next_connection(void **state) {
  (void)state;
  struct scene s;
  begin(&s, true);
  hears(&s, "{\"type\":\"bye\",\"code\":\"going_away\",\"reason\":\"r\",\"retry_after_ms\":5}", 0);
  assert_string_equal(dialogue_bye(s.d)->code, "going_away");
  assert_string_equal(dialogue_bye(s.d)->reason, "r");
  assert_int_equal(dialogue_bye(s.d)->retry_after_ms, 5);
  greeted(&s, 0);
  assert_string_equal(dialogue_bye(s.d)->code, "");
  assert_string_equal(dialogue_user(s.d), "alice");
  assert_string_equal(dialogue_session(s.d), "S");
  dialogue_free(s.d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_line_is_answered_when_its_answer_is_there_and_all_before_it_is_dealt_with),
    cmocka_unit_test(an_answer_in_pieces_is_whole_at_its_end),
    cmocka_unit_test(a_line_without_an_answer_counts_when_its_time_is_over),
    cmocka_unit_test(who_is_at_a_keyboard_waits_only_until_it_is_dealt_with),
    cmocka_unit_test(a_break_sends_it_again_under_its_cid_and_brings_the_missed_answer_once),
    cmocka_unit_test(a_line_is_stored_in_the_conversation_it_was_first_sent_in_and_in_no_other),
    cmocka_unit_test(an_error_that_passes_is_waited_out_and_one_that_does_not_ends_the_line),
    cmocka_unit_test(an_error_that_always_comes_back_ends_the_line),
    cmocka_unit_test(what_is_no_message_and_what_is_not_ours_changes_nothing),
    cmocka_unit_test(the_goodbye_is_kept_until_the_next_connection),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
