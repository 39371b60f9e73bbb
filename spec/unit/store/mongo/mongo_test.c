/* What the room core/store/mongo promises, on a real server: what every backend does is in store_backend_test.c, here
 * is what only this one does: the reference's database taken over as it is, other owners, names and versions. */
#include "mongo_fixture.h"

#include "mongo_impl.h"

/* ---- taking over ---- */

static void a_conversation_of_the_reference_is_read_as_it_was_written(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(NULL);
  reopen(f);
  struct session_record *r = &call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session;
  assert_string_equal(r->user_id, "u1");
  assert_string_equal(r->name, "Hello world.");
  assert_string_equal(r->model_id, "openai-gpt4");
  assert_true(r->start_ms == 1700000000000 && r->end_ms == 0 && r->last_activity_ms == 1700000005000);
  assert_int_equal(r->total_tokens, 100);
  assert_int_equal(r->max_response_ms, 7);
  assert_int_equal(r->avg_response_ms, 5);
  assert_int_equal(r->top, 5);
  assert_string_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->session.id, OLD_ID);
  struct store_op *list = call(f, read_of(STORE_SESSIONS, 0, "u1", 10));
  assert_int_equal(list->session_count, 1);
  assert_int_equal(list->sessions[0].top, 5);
}

static void its_embedded_messages_are_numbered_by_their_place(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(NULL);
  reopen(f);
  assert_page(f, OLD, 0, 10, "1 Hello world., 2 , 3 look, 4 I see, 5 bye");
  struct store_op *page = history(f, OLD, 4, 2);
  struct message_record *m = page->messages;
  assert_int_equal(page->message_count, 2);
  assert_int_equal(m[0].seq, 2);
  assert_string_equal(m[0].sender, "ai");
  assert_string_equal(m[0].type, "ai_response");
  assert_string_equal(m[1].type, "file_upload");
  assert_string_equal(m[1].extra, "{\"file_id\":\"f1\",\"file_url\":\"https://files.example.org/f1\","
                                  "\"metadata\":{\"filename\":\"cat.png\"}}");
  assert_true(m[1].at_ms == 1700000002000);
  assert_int_equal(strlen(m[1].id), STORE_ID_LEN);
  assert_string_not_equal(m[0].id, m[1].id);
  struct store_op *again = history(f, OLD, 4, 1);
  assert_string_equal(again->messages[0].id, m[1].id);
}

static void new_messages_go_on_behind_the_embedded_ones_and_pages_cross_the_border(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(NULL);
  reopen(f);
  assert_int_equal(say(f, OLD, 1, "c1", "six")->seq, 6);
  assert_int_equal(say(f, OLD, 2, "c2", "seven")->seq, 7);
  reopen(f);
  struct store_op *op = caller_write(OLD);
  caller_add(op, 3, NULL, "eight", 5)->at_ms = 1800000000003;
  assert_int_equal(call(f, op)->messages[0].seq, 8);
  assert_int_equal(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session.top, 8);
  assert_page(f, OLD, 0, 100, "1 Hello world., 2 , 3 look, 4 I see, 5 bye, 6 six, 7 seven, 8 eight");
  assert_page(f, OLD, 8, 4, "4 I see, 5 bye, 6 six, 7 seven");
  assert_page(f, OLD, 7, 1, "6 six");
  assert_page(f, OLD, 6, 2, "4 I see, 5 bye");
  assert_page(f, OLD, 5, 2, "3 look, 4 I see");
  assert_page(f, OLD, 1, 2, "");
  char *doc = look("sessions", "{'_id': '" OLD_ID "'}");
  assert_has(doc, "\"msgs\" : [ { \"content\" : \"Hello world.\"");
  assert_has_not(doc, "eight");
  assert_has(doc, "\"lastActivity\" : { \"$date\" : { \"$numberLong\" : \"1800000000003\" } }");
  bson_free(doc);
}

static void the_fields_of_the_reference_are_kept_up_to_date_in_its_own_types(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(NULL);
  reopen(f);
  struct store_op *op = call(f, read_of(STORE_SESSION, OLD, NULL, 0));
  struct store_op *write = store_op_new(STORE_WRITE);
  write->session = op->session;
  memset(&op->session, 0, sizeof op->session);
  write->has_session = true;
  write->session.end_ms = 1700000065000;
  write->session.help_requested = write->session.admin_assisted = true;
  write->session.assisting_admin_id = strdup("a1");
  write->session.total_tokens = 200;
  write->session.responses[0] = 12;
  write->session.response_count = 1;
  assert_int_equal(call(f, write)->code, 0);
  char *doc = look("sessions", "{'_id': '" OLD_ID "'}");
  assert_has(doc, "\"endTs\" : { \"$date\" : { \"$numberLong\" : \"1700000065000\" } }");
  assert_has(doc, "\"dur\" : { \"$numberLong\" : \"65\" }");
  assert_has(doc, "\"totalTokens\" : { \"$numberInt\" : \"200\" }");
  assert_has(doc, "\"maxRespTime\" : { \"$numberLong\" : \"7\" }");
  assert_has(doc, "\"helpRequested\" : true");
  assert_has(doc, "\"assistingAdminId\" : \"a1\"");
  assert_has(doc, "\"shareToken\" : \"9ab1\"");
  assert_has(doc, "\"I see\"");
  bson_free(doc);
  struct session_record *r = &call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session;
  assert_int_equal(r->response_count, 1);
  assert_int_equal(r->responses[0], 12);
  assert_true(r->help_requested && r->admin_assisted);
  assert_int_equal(call(f, read_of(STORE_ACTIVE, 0, "u1", 0))->code, E_NOT_FOUND);
}

static void a_new_conversation_is_one_the_reference_can_read(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  char *doc = look("sessions", "{}");
  assert_has(doc, "\"uid\" : \"u1\"");
  assert_has(doc, "\"nm\" : \"\"");
  assert_has(doc, "\"modelId\" : \"\"");
  assert_has(doc, "\"msgs\" : [  ]");
  assert_has(doc, "\"dur\" : { \"$numberLong\" : \"0\" }");
  assert_has_not(doc, "endTs");
  assert_has_not(doc, "assistingAdminId");
  assert_has_not(doc, "shareToken");
  bson_free(doc);
}

static void the_indexes_of_the_reference_keep_their_names(void **state) {
  NEEDS_SERVER();
  static const char *const names[] = {"idx_user_id",     "idx_start_time", "idx_admin_assisted", "idx_user_start_time",
                                      "idx_share_token", "idx_user_list",  "idx_user_active",    "idx_last_activity"};
  struct fixture *f = *state;
  reopen(f);
  reopen(f); /* they are there already */
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, "sessions");
  mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(c, NULL);
  const bson_t *doc;
  char all[2048] = "";
  while (mongoc_cursor_next(cursor, &doc)) {
    char *text = bson_as_json(doc, NULL);
    strncat(all, text, sizeof all - strlen(all) - 1);
    bson_free(text);
  }
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_has(all, names[i]);
  assert_has(all, "\"unique\" : true, \"sparse\" : true");
  mongoc_cursor_destroy(cursor);
  mongoc_collection_destroy(c);
}

/* The plan the server has for it, as JSON. */
static void assert_plan(const char *command, const char *index) {
  bson_t *ask = json(command), reply;
  assert_true(mongoc_client_command_simple(client, database, ask, NULL, &reply, NULL));
  char *text = bson_as_json(&reply, NULL), *others = strstr(text, "\"rejectedPlans\"");
  assert_non_null(others);
  *others = '\0';
  assert_has(text, index);
  assert_has_not(text, "\"SORT\"");
  assert_has_not(text, "\"COLLSCAN\"");
  bson_free(text);
  bson_destroy(&reply);
  bson_destroy(ask);
}

/* What a look at one conversation does to find its last message, as the server counts it. */
static void the_last_number_is_one_seek_in_an_index(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  make_session(f, 2);
  for (unsigned i = 0; i < 20; i++)
    say(f, 1 + i % 2, i, NULL, "x");
  bson_t *ask = json("{'explain': {'aggregate': 'sessions', 'cursor': {}, 'pipeline': [{'$match': {'_id': "
                     "'0000000000005e550000000000000001'}}, " MONGO_PLACE_STAGES "]}, 'verbosity': 'executionStats'}");
  bson_t reply;
  assert_true(mongoc_client_command_simple(client, database, ask, NULL, &reply, NULL));
  char *text = bson_as_json(&reply, NULL);
  assert_has(text, "\"indexesUsed\" : [ \"idx_session_seq\" ]");
  assert_has(text, "\"totalDocsExamined\" : 1, \"totalKeysExamined\" : 1, \"collectionScans\" : 0");
  bson_free(text);
  bson_destroy(&reply);
  bson_destroy(ask);
}

static void what_is_asked_often_is_answered_by_an_index_without_sorting(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(NULL);
  reopen(f);
  say(f, OLD, 1, NULL, "x");
  assert_plan("{'explain': {'find': 'sessions', 'filter': {'uid': 'u1'}, 'sort': {'ts': -1, '_id': -1}}}",
              "idx_user_list");
  assert_plan(
    "{'explain': {'find': 'sessions', 'filter': {'uid': 'u1', 'endTs': null}, 'sort': {'ts': -1, '_id': -1}}}",
    "idx_user_"); /* with so few it may take the list's */
  assert_plan("{'explain': {'find': 'sessions', 'filter': {'lastActivity': {'$lt': {'$date': {'$numberLong': '5'}}}},"
              " 'sort': {'lastActivity': 1, 'ts': 1}}}",
              "idx_last_activity");
  assert_plan("{'explain': {'find': 'sessions', 'filter': {'lastActivity': null, 'ts': {'$lt': {'$date': {"
              "'$numberLong': '5'}}}}, 'sort': {'lastActivity': 1, 'ts': 1}}}",
              "idx_last_activity");
  assert_plan("{'explain': {'find': 'messages', 'filter': {'sid': '" OLD_ID "', 'seq': {'$lt': 9, '$gt': 5}},"
              " 'sort': {'seq': -1}}}",
              "idx_session_seq");
}

static void a_name_that_was_cut_within_a_character_keeps_nothing_from_being_stored(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  struct store_op *op = write_session(1, 1);
  op->session.name = strdup("Gr\xc3\xbc\xc3");
  caller_add(op, 1, NULL, "x", 1);
  assert_int_equal(call(f, op)->code, 0);
  assert_string_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.name, "Gr???");
}

static struct store_op *expiry(int64_t before_ms) {
  struct store_op *op = store_op_new(STORE_EXPIRE);
  op->before_ms = before_ms;
  op->limit = 10;
  op->audit = (struct audit_record){.actor = strdup("spec"), .action = strdup("retention")};
  return op;
}

static void a_conversation_of_the_reference_in_which_nothing_was_said_expires_by_its_start(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(NULL);
  change("sessions", "{}", "{'$unset': {'lastActivity': 1}}");
  reopen(f);
  assert_int_equal(call(f, expiry(1700000000000))->session_count, 0);
  struct store_op *op = call(f, expiry(1700000000001));
  assert_int_equal(op->session_count, 1);
  assert_int_equal(op->erased.messages, 5);
  assert_int_equal(count("sessions", "{}"), 0);
  assert_int_equal(count("audit", "{}"), 1);
}

static void a_message_no_document_can_hold_fails_alone(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  const size_t len = 17u << 20;
  char *large = malloc(len);
  memset(large, 'x', len);
  reopen(f);
  make_session(f, 1);
  struct store_op *ops[3];
  for (unsigned i = 0; i < 3; i++) {
    ops[i] = caller_write(1);
    caller_add(ops[i], i, NULL, large, i == 1 ? len : 1);
    assert_int_equal(caller_submit(f->caller, f->store, ops[i]), 0);
  }
  free(large);
  caller_wait(f->caller, 4);
  assert_int_equal(ops[0]->messages[0].seq, 1);
  assert_int_equal(ops[1]->code, E_STORE);
  assert_int_equal(ops[2]->messages[0].seq, 2);
}

/* ---- encryption ---- */

static void what_the_reference_encrypted_is_read_and_what_is_new_is_bound_to_its_place(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(KEY_A);
  reopen(f);
  f->accept = CIPHER_TAKEOVER;
  reopen_with(f, KEY_A, "");
  say(f, OLD, 1, NULL, "a secret");
  assert_page(f, OLD, 0, 10, "1 Hello world., 2 , 3 look, 4 I see, 5 bye, 6 a secret");
  assert_string_equal(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session.name, "Hello world.");
  char *doc = look("messages", "{'seq': 6}");
  assert_has(doc, "\"content\" : \"cb2:");
  bson_free(doc);
  change("messages", "{'seq': 6}", "{'$set': {'seq': {'$numberLong': '7'}}}");
  assert_page(f, OLD, 0, 10, "1 Hello world., 2 , 3 look, 4 I see, 5 bye, 7 DAMAGED");
  reopen_with(f, KEY_B, "");
  assert_page(f, OLD, 0, 10, "1 DAMAGED, 2 DAMAGED, 3 DAMAGED, 4 DAMAGED, 5 DAMAGED, 7 DAMAGED");
  assert_int_equal(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->code, 0);
}

/* Its texts are bound to nothing, so anybody could have put them there. */
static void without_takeover_what_the_reference_wrote_is_kept_and_not_shown(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  put_reference(KEY_A);
  reopen_with(f, KEY_A, "");
  say(f, OLD, 1, NULL, "a secret");
  assert_page(f, OLD, 0, 10, "1 DAMAGED, 2 DAMAGED, 3 DAMAGED, 4 DAMAGED, 5 DAMAGED, 6 a secret");
  assert_true(call(f, read_of(STORE_SESSION, OLD, NULL, 0))->session.name_damaged);
  f->accept = CIPHER_TAKEOVER;
  reopen_with(f, KEY_A, "");
  assert_page(f, OLD, 0, 10, "1 Hello world., 2 , 3 look, 4 I see, 5 bye, 6 a secret");
}

static void what_somebody_changed_in_the_database_is_damaged(void **state) {
  NEEDS_SERVER();
  static const char *const changes[] = {
    "{'$set': {'sender': 'ai'}}",
    "{'$unset': {'sender': ''}}",
    "{'$set': {'type': 'ai_response'}}",
    "{'$set': {'cid': 'c9'}}",
    "{'$set': {'ts': {'$date': {'$numberLong': '7'}}}}",
    "{'$set': {'extra': '{}'}}",
    "{'$set': {'fileUrl': 'https://elsewhere'}}",
    "{'$set': {'content': 'forged'}}",
    "{'$unset': {'content': ''}}",
  };
  struct fixture *f = *state;
  reopen_with(f, KEY_A, "");
  for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
    make_session(f, i);
    say(f, i, 10 * i + 1, NULL, "one");
    say(f, i, 10 * i + 2, NULL, "two");
    assert_page(f, i, 0, 10, "1 one, 2 two");
    char filter[128], id[STORE_ID_LEN + 1];
    caller_id(id, 0x5e55, i);
    snprintf(filter, sizeof filter, "{'sid': '%s', 'seq': 2}", id);
    change("messages", filter, changes[i]);
    assert_page(f, i, 0, 10, "1 one, 2 DAMAGED");
    snprintf(filter, sizeof filter, "{'_id': '%s'}", id);
    change("sessions", filter, "{'$set': {'uid': 'u9'}}");
    assert_page(f, i, 0, 10, "1 DAMAGED, 2 DAMAGED");
  }
}

/* The messages of a write are stored one after the other: if it is broken off, what is there must not say that a
 * question has an answer that is not there. */
static void of_a_write_only_its_last_message_says_that_all_is_said(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  struct store_op *op = caller_write(1);
  caller_add(op, 1, "c", "question", 8)->open = true;
  caller_add(op, 2, NULL, "one", 3);
  caller_add(op, 3, NULL, "two", 3);
  caller_id(op->mark.id, 0x3e55, 1);
  op->mark.what = STORE_DEALT;
  assert_int_equal(call(f, op)->code, 0);
  assert_int_equal(count("messages", "{'content': 'question', 're': {'$exists': false}}"), 1);
  assert_int_equal(count("messages", "{'content': 'one', 're': {'$exists': true}, 'done': {'$exists': false}}"), 1);
  assert_int_equal(count("messages", "{'content': 'two', 're': {'$exists': true}, 'done': true}"), 1);
}

static void keys_have_an_account_and_without_one_an_encrypted_database_is_refused(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256] = "";
  reopen_with(f, KEY_A, "");
  struct store_op *op = write_session(1, 1);
  op->session.name = strdup("first words");
  caller_add(op, 1, NULL, "x", 1);
  assert_int_equal(call(f, op)->code, 0);
  char *doc = look("sessions", "{}");
  assert_has_not(doc, "first words");
  bson_free(doc);
  doc = look("chatbox", "{'_id': {'$regex': '^key:'}, 'sealed': {'$gt': 1}}");
  assert_has(doc, "\"whole\" : \"cb2:");
  bson_free(doc);
  take_keys(f, "", "");
  assert_int_equal(open_code(f, why), E_KEY);
  assert_has(why, "ENCRYPTION_KEY is not set");
}

/* As version 1 left it: names in plain, messages in the form of that time, no account of keys. */
static void an_encrypted_database_of_version_1_can_be_used_and_its_names_are_sealed(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256] = "";
  put("chatbox", json("{'_id': 'schema', 'version': 1}"));
  put("sessions", json("{'_id': '0000000000005e550000000000000001', 'uid': 'u1', 'nm': 'What is in the box?', 'ts': "
                       "{'$date': {'$numberLong': '1700000000001'}}, 'msgs': []}"));
  put("messages", json("{'_id': '0000000000003e55000000000000000b', 'sid': '0000000000005e550000000000000001', 'seq': "
                       "{'$numberLong': '1'}, 'cid': 'c1', 'sender': 'user', 'type': 'user_message', 'ts': {'$date': "
                       "{'$numberLong': '1700000001000'}}, 'content': "
                       "'cb1:60a2748e:R_aTfzB11H2M5W1cV_0qGVw09N-wuY08-ViCJF60Jh_sLb083ZCiEwTaeUmicxk'}"));
  assert_int_equal(open_code(f, why), E_KEY);
  reopen_with(f, KEY_A, "");
  assert_page(f, 1, 0, 10, "1 What is in the box?");
  assert_string_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->session.name, "What is in the box?");
  char *doc = look("sessions", "{}");
  assert_has_not(doc, "box");
  bson_free(doc);
}

/* ---- the same once ---- */

static void a_cid_is_a_duplicate_also_after_a_restart_and_in_the_middle_of_a_batch(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  char first[STORE_ID_LEN + 1];
  make_session(f, 1);
  strcpy(first, say(f, 1, 1, "c", "first")->id);
  reopen(f);
  struct store_op *op = caller_write(1);
  caller_add(op, 2, "a", "two", 3);
  caller_add(op, 3, "c", "again", 5);
  caller_add(op, 4, "a", "two again", 9);
  caller_add(op, 5, "b", "three", 5);
  op = call(f, op);
  assert_int_equal(op->code, 0);
  const uint64_t seqs[] = {2, 1, 2, 3};
  for (int i = 0; i < 4; i++) {
    assert_int_equal(op->messages[i].seq, seqs[i]);
    assert_int_equal(op->messages[i].duplicate, i == 1 || i == 2);
  }
  assert_string_equal(op->messages[1].id, first);
  assert_string_equal(op->messages[2].id, op->messages[0].id);
  assert_page(f, 1, 0, 10, "1 first, 2 two, 3 three");
}

static void another_owner_of_the_same_conversation_leaves_no_gap_and_takes_no_number_twice(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state, *g;
  void *other;
  reopen(f);
  mongoc_client_t *mine = client;
  setup_database(&other);
  g = other;
  strcpy(g->url, f->url);
  reopen(g);
  make_session(f, 1);
  for (unsigned i = 0; i < 200; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, i, NULL, "x", 1);
    assert_int_equal(caller_submit(i % 2 ? f->caller : g->caller, i % 2 ? f->store : g->store, op), 0);
  }
  caller_wait(f->caller, 101);
  caller_wait(g->caller, 100);
  bool seen[201] = {false};
  for (size_t i = 0; i < 201; i++) {
    struct store_op *op = i < 101 ? f->caller->replies[i] : g->caller->replies[i - 101];
    assert_int_equal(op->code, 0);
    if (op->message_count == 0)
      continue;
    assert_in_range(op->messages[0].seq, 1, 200);
    assert_false(seen[op->messages[0].seq]);
    seen[op->messages[0].seq] = true;
  }
  teardown(&other);
  client = mine;
}

static void what_another_owner_has_erased_keeps_no_messages(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  reopen(f);
  make_session(f, 1);
  say(f, 1, 1, NULL, "x");
  mongoc_collection_t *c = mongoc_client_get_collection(client, database, "sessions");
  bson_t all = BSON_INITIALIZER;
  assert_true(mongoc_collection_delete_many(c, &all, NULL, NULL, NULL));
  mongoc_collection_destroy(c);
  struct store_op *op = caller_write(1);
  caller_add(op, 2, NULL, "late", 4);
  assert_int_equal(call(f, op)->code, E_NOT_FOUND);
  assert_int_equal(count("messages", "{}"), 0);
}

/* ---- versions ---- */

static void a_newer_schema_is_refused_with_one_line(void **state) {
  NEEDS_SERVER();
  struct fixture *f = *state;
  char why[256];
  reopen(f);
  close_store(f);
  change("chatbox", "{'_id': 'schema'}", "{'$set': {'version': 99}}");
  assert_int_equal(try_open(f, why), E_SCHEMA);
  assert_string_equal(why, "the database has schema version 99, this program knows versions up to 3");
}

static const struct store_backend *backend_of(const char *url) {
  struct store_options o = {.backends = store_backends, .url = url};
  const char *location;
  return store_backend_find(&o, &location);
}

static void its_urls_are_those_of_mongodb(void **state) {
  (void)state;
  assert_ptr_equal(backend_of("mongodb://a,b/chat"), &store_mongo);
  assert_ptr_equal(backend_of("mongodb+srv://a/chat"), &store_mongo);
  assert_null(backend_of("mongodbs://a/chat"));
  assert_null(backend_of("mongodb+srv"));
  assert_null(backend_of("sqlite+srv:a"));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup_database, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    WITH(a_conversation_of_the_reference_is_read_as_it_was_written),
    WITH(its_embedded_messages_are_numbered_by_their_place),
    WITH(new_messages_go_on_behind_the_embedded_ones_and_pages_cross_the_border),
    WITH(the_fields_of_the_reference_are_kept_up_to_date_in_its_own_types),
    WITH(a_new_conversation_is_one_the_reference_can_read),
    WITH(the_indexes_of_the_reference_keep_their_names),
    WITH(the_last_number_is_one_seek_in_an_index),
    WITH(what_is_asked_often_is_answered_by_an_index_without_sorting),
    WITH(a_name_that_was_cut_within_a_character_keeps_nothing_from_being_stored),
    WITH(a_conversation_of_the_reference_in_which_nothing_was_said_expires_by_its_start),
    WITH(a_message_no_document_can_hold_fails_alone),
    WITH(what_the_reference_encrypted_is_read_and_what_is_new_is_bound_to_its_place),
    WITH(without_takeover_what_the_reference_wrote_is_kept_and_not_shown),
    WITH(what_somebody_changed_in_the_database_is_damaged),
    WITH(of_a_write_only_its_last_message_says_that_all_is_said),
    WITH(keys_have_an_account_and_without_one_an_encrypted_database_is_refused),
    WITH(an_encrypted_database_of_version_1_can_be_used_and_its_names_are_sealed),
    WITH(a_cid_is_a_duplicate_also_after_a_restart_and_in_the_middle_of_a_batch),
    WITH(another_owner_of_the_same_conversation_leaves_no_gap_and_takes_no_number_twice),
    WITH(what_another_owner_has_erased_keeps_no_messages),
    WITH(a_newer_schema_is_refused_with_one_line),
    cmocka_unit_test(its_urls_are_those_of_mongodb),
  };
  return cmocka_run_group_tests(tests, start_server, stop_server);
}
