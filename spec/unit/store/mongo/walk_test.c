/* What reencrypt and handback promise on MongoDB, on a real server: all of a database moves to the newest key; and back
 * to where the reference's server, played here by hand, can go on with it and hand it over again. */
#include "mongo_fixture.h"
#include "store_backends.h"

static struct store_progress progress; /* as it was told last */

static void told(void *arg, const struct store_progress *p) {
  (void)arg;
  progress = *p;
}

typedef int walk_fn(const struct store_options *o, store_progress_fn *tell, void *arg, char why[256]);

static int walk_with(struct fixture *f, walk_fn *fn, const char *current, const char *previous, char why[256]) {
  close_store(f);
  keyring_free(f->keys);
  f->keys = NULL;
  if (current != NULL)
    assert_int_equal(keyring_new(current, previous, CIPHER_ANY_FORM, &f->keys, why), 0);
  struct store_options o = {.backends = store_backends, .url = f->url, .keys = f->keys};
  progress = (struct store_progress){0};
  return fn(&o, told, NULL, why);
}

static void walk_must(struct fixture *f, walk_fn *fn, const char *current, const char *previous) {
  char why[256] = "";
  if (walk_with(f, fn, current, previous, why) != 0)
    fail_msg("%s", why);
}

static void open_with(struct fixture *f, const char *current) {
  char why[256];
  keyring_free(f->keys);
  f->keys = NULL;
  if (current != NULL)
    assert_int_equal(keyring_new(current, "", CIPHER_TAKEOVER, &f->keys, why), 0);
  reopen(f);
}

/* The reference's five messages and two of ours, the second with all a message can have. */
static void make_both(struct fixture *f, const char *key) {
  put_reference(key);
  open_with(f, key);
  say(f, OLD, 1, "c1", "six");
  struct store_op *op = caller_write(OLD);
  struct message_record *m = caller_add(op, 2, "c2", "seven", 5);
  m->at_ms = 1700000007000;
  m->extra = strdup("{\"file_id\":\"f2\",\"file_url\":\"https://files.example.org/f2\","
                    "\"metadata\":{\"filename\":\"dog.png\",\"size\":7,\"id\":12345678901234567890123,\"n\":1.10,"
                    "\"half\":\"\\ud800\",\"twice\":1,\"twice\":\"\\u00e9\",\"a.b\":{\"c\": [1]}}}");
  assert_int_equal(call(f, op)->code, 0);
}

#define ALL "1 Hello world., 2 , 3 look, 4 I see, 5 bye, 6 six, 7 seven"

/* The message at that index as the reference's server reads it; the caller's. */
static char *reference_reads(const char *key, int index) {
  char name[16], why[256], *text = NULL;
  struct keyring *keys = NULL;
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, "sessions");
  bson_t *filter = json("{'_id': '" OLD_ID "'}");
  mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(c, filter, NULL, NULL);
  const bson_t *doc;
  bson_iter_t at, content;
  uint32_t stored_len;
  size_t len;
  snprintf(name, sizeof name, "msgs.%d.content", index);
  assert_true(mongoc_cursor_next(cursor, &doc));
  assert_true(bson_iter_init(&at, doc) && bson_iter_find_descendant(&at, name, &content));
  const char *stored = bson_iter_utf8(&content, &stored_len);
  if (key != NULL)
    assert_int_equal(keyring_new(key, "", CIPHER_ANY_FORM, &keys, why), 0);
  assert_true(key == NULL || cipher_is_reference(keys, stored, stored_len));
  assert_int_equal(key == NULL ? 0 : cipher_open(keys, &(struct cipher_place){0}, stored, stored_len, &text, &len), 0);
  text = key == NULL ? strdup(stored) : text;
  keyring_free(keys);
  mongoc_cursor_destroy(cursor);
  bson_destroy(filter);
  mongoc_collection_destroy(c);
  return text;
}

static void assert_reference_reads(const char *key) {
  static const char *const texts[] = {"Hello world.", "", "look", "I see", "bye", "six", "seven"};
  for (int i = 0; i < 7; i++) {
    char *text = reference_reads(key, i);
    assert_string_equal(text, texts[i]);
    free(text);
  }
}

/* ---- a new key ---- */

static void everything_moves_to_the_newest_key(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_both(f, KEY_A);
  walk_must(f, store_reencrypt, KEY_B, KEY_A);
  assert_int_equal(progress.total, 7);
  assert_int_equal(progress.seen, 7);
  assert_int_equal(progress.moved, 7);
  char *doc = look("sessions", "{}");
  assert_has_not(doc, "Hello world."); /* nor is its name */
  bson_free(doc);
  f->accept = 0; /* it is like any other database now */
  reopen_with(f, KEY_B, "");
  assert_page(f, OLD, 0, 10, ALL);
  assert_string_equal(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session.name, "Hello world.");
  walk_must(f, store_reencrypt, KEY_B, "");
  assert_int_equal(progress.moved, 0);
}

static void what_has_no_key_any_more_stays_and_is_an_error(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256];
  make_both(f, KEY_A);
  assert_int_equal(walk_with(f, store_reencrypt, KEY_B, "", why), E_CIPHER);
  assert_int_equal(progress.failed, 7);
  assert_has(why, "7 of 7 messages");
  open_with(f, KEY_A);
  assert_page(f, OLD, 0, 10, ALL);
}

/* ---- back ---- */

static void the_reference_finds_all_of_it_and_hands_it_over_again(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_both(f, KEY_A);
  walk_must(f, store_reencrypt, KEY_B, KEY_A);
  walk_must(f, store_handback, KEY_B, "");
  assert_reference_reads(KEY_B);
  char *doc = look("sessions", "{'_id': '" OLD_ID "', 'msgs': {'$size': 7}}");
  assert_has(doc, "\"fileId\" : \"f2\"");
  assert_has(doc, "\"id\" : \"12345678901234567890123\", \"n\" : \"1.10\", \"half\" : \"\\\"\\\\ud800\\\"\", "
                  "\"twice\" : \"é\", \"a.b\" : \"{\\\"c\\\": [1]}\"");
  assert_has(doc, "\"fileUrl\" : \"https://files.example.org/f2\"");
  assert_has(doc, "\"meta\" : { \"filename\" : \"dog.png\", \"size\" : \"7\", ");
  assert_has(doc, "\"nm\" : \"Hello world.\"");
  bson_free(doc);

  /* Its server says something, ours takes over once more. */
  change("sessions", "{'_id': '" OLD_ID "'}", "{'$push': {'msgs': {'content': 'eight', 'sender': 'user'}}}");
  open_with(f, KEY_B);
  assert_page(f, OLD, 0, 10, ALL ", 8 eight");
  assert_int_equal(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session.top, 8);
  assert_int_equal(say(f, OLD, 9, NULL, "nine")->seq, 9);
  struct message_record *again = say(f, OLD, 10, "c2", "seven");
  assert_true(again->duplicate);
  assert_int_equal(again->seq, 7);
  struct message_record *seven = &history(f, OLD, 8, 1)->messages[0];
  assert_string_equal(seven->id, again->id);
  assert_string_equal(seven->cid, "c2");
  assert_has(seven->extra, "\"size\":7");
  walk_must(f, store_handback, KEY_B, "");
  open_with(f, KEY_B);
  assert_page(f, OLD, 7, 10, "1 Hello world., 2 , 3 look, 4 I see, 5 bye, 6 six");
  assert_page(f, OLD, 0, 3, "7 seven, 8 eight, 9 nine");
}

static void without_a_key_it_is_handed_back_plain(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  make_both(f, NULL);
  walk_must(f, store_handback, NULL, "");
  assert_reference_reads(NULL);
}

static void what_was_broken_off_is_done_once_when_it_is_started_again(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256];
  make_both(f, KEY_A);
  for (unsigned i = 0; i < 300; i++) {
    struct store_op *op = caller_write(OLD);
    caller_add(op, 100 + i, NULL, "x", 1);
    assert_int_equal(caller_submit(f->caller, f->store, op), 0);
  }
  caller_wait(f->caller, f->caller->count + 300);
  mongod_must(&server, "{\"configureFailPoint\": \"failCommand\", \"mode\": {\"skip\": 3}, \"data\": {\"failCommands\":"
                       " [\"update\"], \"errorCode\": 91, \"appName\": \"chatbox\"}}");
  assert_int_equal(walk_with(f, store_handback, KEY_A, "", why), E_AWAY);
  mongod_must(&server, "{\"configureFailPoint\": \"failCommand\", \"mode\": \"off\"}");
  assert_has(why, "start it again");
  assert_int_equal(count("sessions", "{'_id': '" OLD_ID "', 'msgs': {'$size': 307}}"), 0);
  assert_int_equal(count("sessions", "{'_id': '" OLD_ID "', 'msgs': {'$size': 5}}"), 0);
  walk_must(f, store_handback, KEY_A, "");
  assert_int_equal(count("sessions", "{'_id': '" OLD_ID "', 'msgs': {'$size': 307}}"), 1);
  assert_reference_reads(KEY_A);
}

static void a_conversation_too_large_for_the_reference_is_an_error_and_stays_whole_here(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256], *large = calloc(1, 2u << 20);
  make_both(f, KEY_A);
  memset(large, 'x', 2u << 20);
  for (unsigned i = 0; i < 8; i++) {
    struct store_op *op = caller_write(OLD);
    caller_add(op, 100 + i, NULL, large, 2u << 20);
    assert_int_equal(call(f, op)->code, 0);
  }
  free(large);
  assert_int_equal(walk_with(f, store_handback, KEY_A, "", why), E_STORE);
  assert_has(why, "1 conversations could not be handed back whole");
  assert_reference_reads(KEY_A);
  open_with(f, KEY_A);
  assert_int_equal(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session.top, 15);
  struct store_op *page = history(f, OLD, 0, 9);
  assert_int_equal(page->messages[page->message_count - 1].seq, 15);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup_database, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    WITH(everything_moves_to_the_newest_key),
    WITH(what_has_no_key_any_more_stays_and_is_an_error),
    WITH(the_reference_finds_all_of_it_and_hands_it_over_again),
    WITH(without_a_key_it_is_handed_back_plain),
    WITH(what_was_broken_off_is_done_once_when_it_is_started_again),
    WITH(a_conversation_too_large_for_the_reference_is_an_error_and_stays_whole_here),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
