/* What core/store/export.c and store_direct.c promise: everything, in order, as one JSON document a line, in pages of
 * bounded size; and a database that is looked after beside a server. */
#include "store_backends.h"
#include "store_fixture.h"

#include "store_direct.h"
#include "store_memory.h"

#include <jansson.h>
#include <uv.h>

#define NAME "export_test"

struct lines {
  struct fixture f;
  json_t *all; /* array */
  struct store_exported count;
};

static int setup(void **state) {
  struct lines *l = calloc(1, sizeof *l);
  strcpy(l->f.url, "memory:" NAME);
  l->f.caller = caller_new();
  char why[256];
  assert_int_equal(keyring_new(KEY_A, "", false, &l->f.keys, why), 0);
  reopen(&l->f);
  *state = l;
  return 0;
}

static int teardown(void **state) {
  struct lines *l = *state;
  store_close(l->f.store);
  caller_free(l->f.caller);
  keyring_free(l->f.keys);
  json_decref(l->all);
  store_memory_drop(NAME);
  free(l);
  return 0;
}

/* *text: the lines; the caller's. */
static int export_text(struct lines *l, const char *user, unsigned session, char **text) {
  struct store_options o = {.backends = store_backends, .url = l->f.url, .keys = l->f.keys};
  struct store_direct d;
  char why[256], id[STORE_ID_LEN + 1];
  size_t len = 0;
  FILE *out = open_memstream(text, &len);
  caller_id(id, 0x5e55, session);
  assert_int_equal(store_direct_open(&o, false, &d, why), 0); /* the store has it open, too */
  int code = store_export(&d, user, user ? NULL : id, out, &l->count);
  store_direct_close(&d);
  fclose(out);
  return code;
}

static int export(struct lines *l, const char *user, unsigned session) {
  char *text = NULL;
  int code = export_text(l, user, session, &text);
  json_decref(l->all);
  l->all = json_array();
  for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    json_t *document = json_loadb(line, (size_t)(end - line), JSON_ALLOW_NUL, NULL);
    assert_non_null(document);
    json_array_append_new(l->all, document);
  }
  free(text);
  return code;
}

static const char *text_at(struct lines *l, size_t at, const char *key) {
  return json_string_value(json_object_get(json_array_get(l->all, at), key));
}

static json_int_t number_at(struct lines *l, size_t at, const char *key) {
  return json_integer_value(json_object_get(json_array_get(l->all, at), key));
}

static void a_user_is_all_conversations_each_before_its_messages(void **state) {
  struct lines *l = *state;
  for (unsigned i = 0; i < 230; i++)
    assert_int_equal(call(&l->f, write_session(i, 1000 + i))->code, 0);
  say(&l->f, 7, 1, "c1", "one");
  say(&l->f, 7, 2, NULL, "two");
  struct store_op *other = write_session(500, 1);
  strcpy(other->session.user_id, "u2");
  assert_int_equal(call(&l->f, other)->code, 0);
  assert_int_equal(export(l, "u1", 0), 0);
  assert_int_equal(json_array_size(l->all), 232);
  assert_int_equal(l->count.sessions, 230);
  assert_int_equal(l->count.messages, 2);
  assert_int_equal(number_at(l, 0, "start_ms"), 1229); /* newest first */
  size_t seventh = 229 - 7;
  assert_string_equal(text_at(l, seventh, "line"), "session");
  assert_int_equal(number_at(l, seventh, "messages"), 2);
  assert_string_equal(text_at(l, seventh + 1, "line"), "message");
  assert_string_equal(text_at(l, seventh + 1, "content"), "one");
  assert_string_equal(text_at(l, seventh + 1, "cid"), "c1");
  assert_string_equal(text_at(l, seventh + 1, "session_id"), text_at(l, seventh, "id"));
  assert_int_equal(number_at(l, seventh + 2, "seq"), 2);
  assert_null(text_at(l, seventh + 2, "cid"));
}

static void more_messages_than_a_page_come_in_order(void **state) {
  struct lines *l = *state;
  struct store_op *op = write_session(1, 1);
  const size_t count = 2 * STORE_LIMIT_MAX + 3;
  for (unsigned i = 1; i <= count; i++)
    caller_add(op, i, NULL, "x", 1);
  assert_int_equal(call(&l->f, op)->code, 0);
  assert_int_equal(export(l, NULL, 1), 0);
  assert_int_equal(json_array_size(l->all), 1 + count);
  for (size_t i = 1; i <= count; i++)
    assert_int_equal(number_at(l, i, "seq"), i);
}

/* Each page of history is cut where it reaches its bytes. */
static void long_messages_come_once_each_and_in_order(void **state) {
  struct lines *l = *state;
  const size_t len = STORE_HISTORY_BYTES / 3;
  char *content = malloc(len);
  memset(content, 'x', len);
  make_session(&l->f, 1);
  for (unsigned i = 1; i <= 8; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, i, NULL, content, i % 2 ? len : 3);
    assert_int_equal(call(&l->f, op)->code, 0);
    caller_forget(l->f.caller);
  }
  free(content);
  assert_int_equal(export(l, NULL, 1), 0);
  assert_int_equal(l->count.messages, 8);
  for (size_t i = 1; i <= 8; i++) {
    assert_int_equal(number_at(l, i, "seq"), i);
    assert_int_equal(strlen(text_at(l, i, "content")), i % 2 ? len : 3);
  }
}

static void fields_are_what_is_stored(void **state) {
  struct lines *l = *state;
  struct store_op *op = write_session(1, 1000);
  op->session.name = strdup("Grüße \"quoted\"\n");
  op->session.help_requested = true;
  op->session.total_tokens = 77;
  op->session.response_count = 2;
  op->session.responses[0] = 5;
  op->session.responses[1] = 6;
  caller_add(op, 1, NULL, "\xff\xfe", 2); /* not text */
  caller_add(op, 2, NULL, "a\0b", 3)->extra = strdup("{\"file_id\":\"f\"}");
  assert_int_equal(call(&l->f, op)->code, 0);
  assert_int_equal(export(l, NULL, 1), 0);
  assert_string_equal(text_at(l, 0, "name"), "Grüße \"quoted\"\n");
  assert_true(json_is_true(json_object_get(json_array_get(l->all, 0), "help_requested")));
  assert_int_equal(number_at(l, 0, "total_tokens"), 77);
  json_t *responses = json_object_get(json_array_get(l->all, 0), "responses_ms");
  assert_int_equal(json_array_size(responses), 2);
  assert_int_equal(json_integer_value(json_array_get(responses, 1)), 6);
  assert_string_equal(text_at(l, 1, "content_base64url"), "__4");
  assert_int_equal(json_string_length(json_object_get(json_array_get(l->all, 2), "content")), 3);
  json_t *extra = json_object_get(json_array_get(l->all, 2), "extra");
  assert_string_equal(json_string_value(json_object_get(extra, "file_id")), "f");
}

static void what_came_with_a_message_goes_out_as_it_came(void **state) {
  struct lines *l = *state;
  static const char *const came[] = {"{\"metadata\":{\"id\":12345678901234567890123,\"half\":\"\\ud800\",\"n\":1.10}}",
                                     "{\"metadata\": {\n\"a\":1}}", "{\"a\":1} \"x\""};
  static const char *const goes[] = {
    "\"extra\":{\"metadata\":{\"id\":12345678901234567890123,\"half\":\"\\ud800\",\"n\":1.10}}}\n",
    "\"extra\":{\"metadata\": { \"a\":1}}}\n", "\"extra\":\"{\\\"a\\\":1} \\\"x\\\"\"}\n"};
  struct store_op *op = write_session(1, 1);
  for (unsigned i = 0; i < 3; i++)
    caller_add(op, i + 1, NULL, "x", 1)->extra = strdup(came[i]);
  assert_int_equal(call(&l->f, op)->code, 0);
  char *text = NULL;
  assert_int_equal(export_text(l, NULL, 1, &text), 0);
  for (unsigned i = 0; i < 3; i++)
    if (strstr(text, goes[i]) == NULL)
      fail_msg("%s is not in %s", goes[i], text);
  free(text);
}

static void what_is_not_there_is_not_found(void **state) {
  struct lines *l = *state;
  assert_int_equal(export(l, NULL, 1), E_NOT_FOUND);
  assert_int_equal(export(l, "nobody", 0), 0);
  assert_int_equal(json_array_size(l->all), 0);
}

static void what_cannot_be_opened_ends_it(void **state) {
  struct lines *l = *state;
  make_session(&l->f, 1);
  say(&l->f, 1, 1, NULL, "secret");
  reopen_with(&l->f, KEY_B, "");
  assert_int_equal(export(l, "u1", 0), E_STORE);
  assert_int_equal(l->count.messages, 0);
}

static void a_full_disk_is_told(void **state) {
  struct lines *l = *state;
  struct store_options o = {.backends = store_backends, .url = l->f.url, .keys = l->f.keys};
  struct store_direct d;
  char why[256];
  FILE *full = fopen("/dev/full", "w");
  make_session(&l->f, 1);
  assert_int_equal(store_direct_open(&o, false, &d, why), 0);
  assert_int_equal(store_export(&d, "u1", NULL, full, &l->count), UV_EIO);
  store_direct_close(&d);
  fclose(full);
}

static void beside_a_store_one_reads_and_does_not_write(void **state) {
  struct lines *l = *state;
  struct store_options o = {.backends = store_backends, .url = l->f.url, .keys = l->f.keys};
  struct store_direct d;
  char why[256];
  assert_int_equal(store_direct_open(&o, true, &d, why), E_BUSY);
  store_close(l->f.store);
  assert_int_equal(store_direct_open(&o, true, &d, why), 0);
  struct store_op *op = store_op_audit(STORE_AUDIT, "spec", "export", "user u1", 1);
  assert_int_equal(store_direct_run(&d, op), 0);
  store_op_free(op);
  char text[100];
  assert_int_equal(store_memory_audit(NAME, 0, text, sizeof text), 0);
  op = store_op_new(STORE_ERASE); /* of nobody, by nobody */
  assert_int_equal(store_direct_run(&d, op), E_INVALID);
  store_op_free(op);
  store_direct_close(&d);
  l->f.store = NULL;
  reopen(&l->f);
}

#define LINES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    LINES(a_user_is_all_conversations_each_before_its_messages),
    LINES(more_messages_than_a_page_come_in_order),
    LINES(long_messages_come_once_each_and_in_order),
    LINES(fields_are_what_is_stored),
    LINES(what_came_with_a_message_goes_out_as_it_came),
    LINES(what_is_not_there_is_not_found),
    LINES(what_cannot_be_opened_ends_it),
    LINES(a_full_disk_is_told),
    LINES(beside_a_store_one_reads_and_does_not_write),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
