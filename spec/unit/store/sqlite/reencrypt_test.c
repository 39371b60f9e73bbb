/* What `chatbox reencrypt` promises of a SQLite database: everything is under the newest key afterwards and reads as
 * before, nothing of what was there is left in the file, and it may be broken off at any batch. */
#include "folder.h"
#include "store_backends.h"
#include "store_caller.h"

#include "cipher.h"
#include "err.h"

#include <sqlite3.h>
#include <sys/wait.h>

#define KEY_A "the first key of 32 bytes. 1 2 3"
#define KEY_B "the second key of 32 bytes 1 2 3"
#define MESSAGES 600 /* more than two batches */
#define CONTENT_MAX 6000

struct fixture {
  struct folder folder;
  char url[128];
  struct caller *caller;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  if (f == NULL)
    return -1;
  folder_open(&f->folder);
  snprintf(f->url, sizeof f->url, "sqlite:%s", folder_at(&f->folder, "chat.db"));
  f->caller = caller_new();
  *state = f;
  return 0;
}

static int teardown(void **state) {
  struct fixture *f = *state;
  caller_free(f->caller);
  folder_remove(&f->folder);
  free(f);
  return 0;
}

static struct keyring *ring(const char *current, const char *previous) {
  struct keyring *k;
  char why[256];
  assert_int_equal(keyring_new(current, previous, CIPHER_ANY_FORM, &k, why), 0);
  return k;
}

static struct store *open_with(struct fixture *f, const struct keyring *k) {
  struct store_options o = {.backends = store_backends, .url = f->url, .readers = 1, .queue = 100, .keys = k};
  struct store *s;
  char why[256];
  if (store_open(&o, &s, why) != 0)
    fail_msg("%s", why);
  return s;
}

/* Says it again and again: every seventh for so long that it needs pages of its own, where something of it could stay.
 */
static void content_of(char out[CONTENT_MAX], unsigned session, unsigned i) {
  size_t len = 0, wanted = i % 7 == 0 ? CONTENT_MAX - 64 - i : 1;
  while (len < wanted)
    len += (size_t)sprintf(out + len, "conversation %u says secret number %u; ", session, i);
}

/* Messages from..to of conversations 1 and 2, under this key. */
static void say(struct fixture *f, const char *key, unsigned from, unsigned to) {
  struct keyring *k = ring(key, "");
  struct store *s = open_with(f, k);
  for (unsigned session = 1; session <= 2; session++) {
    struct store_op *op = caller_write(session);
    op->has_session = true;
    op->session.user_id = strdup("u");
    for (unsigned i = from; i <= to; i++) {
      char content[CONTENT_MAX];
      content_of(content, session, i);
      caller_add(op, session * 100000ull + i, NULL, content, strlen(content));
    }
    assert_int_equal(caller_call(f->caller, s, op)->code, 0);
  }
  store_close(s);
  keyring_free(k);
}

/* How many messages of the conversation read as they were said; all that are read have to. */
static int reads(struct fixture *f, const char *key, unsigned session, size_t *count) {
  struct keyring *k = ring(key, ""), *strict = keyring_accepting(k, 0);
  struct store *s = open_with(f, strict);
  struct store_op *op = store_op_new(STORE_HISTORY);
  caller_id(op->session.id, 0x5e55, session);
  op->limit = STORE_LIMIT_MAX;
  op = caller_call(f->caller, s, op);
  for (size_t i = 0; op->code == 0 && i < op->message_count; i++) {
    char content[CONTENT_MAX];
    content_of(content, session, (unsigned)i + 1);
    if (op->messages[i].damaged)
      op->code = E_CIPHER;
    else
      assert_string_equal(op->messages[i].content, content);
  }
  *count = op->message_count;
  store_close(s);
  keyring_free(strict);
  keyring_free(k);
  return op->code; /* E_CIPHER: one of them is damaged */
}

static void all_read_with(struct fixture *f, const char *key, size_t expected) {
  for (unsigned session = 1; session <= 2; session++) {
    size_t count;
    assert_int_equal(reads(f, key, session, &count), 0);
    assert_int_equal(count, expected);
  }
}

struct told {
  struct store_progress last;
  size_t times;
  size_t exit_after; /* 0: never */
};

static void tell(void *arg, const struct store_progress *p) {
  struct told *t = arg;
  assert_true(p->seen > t->last.seen && p->seen <= p->total && p->moved >= t->last.moved);
  t->last = *p;
  if (++t->times == t->exit_after)
    _exit(7);
}

static int reencrypt(struct fixture *f, const char *current, const char *previous, struct told *t, char why[256]) {
  struct keyring *k = ring(current, previous);
  struct store_options o = {.backends = store_backends, .url = f->url, .keys = k};
  size_t exit_after = t->exit_after;
  *t = (struct told){.exit_after = exit_after};
  int code = store_reencrypt(&o, tell, t, why);
  keyring_free(k);
  return code;
}

static bool file_has(struct fixture *f, const char *name, const char *text) {
  FILE *file = fopen(folder_at(&f->folder, name), "r");
  if (file == NULL)
    return false;
  char *bytes = malloc(16u << 20);
  assert_non_null(bytes);
  size_t len = fread(bytes, 1, 16u << 20, file);
  assert_true(feof(file));
  fclose(file);
  bool found = memmem(bytes, len, text, strlen(text)) != NULL;
  free(bytes);
  return found;
}

static void everything_is_under_the_newest_key_and_the_old_one_can_go(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256] = "";
  say(f, "", 1, MESSAGES / 2);
  say(f, KEY_A, MESSAGES / 2 + 1, MESSAGES);
  if (reencrypt(f, KEY_B, KEY_A, &t, why) != 0)
    fail_msg("%s", why);
  assert_int_equal(t.last.total, 2 * MESSAGES);
  assert_int_equal(t.last.seen, 2 * MESSAGES);
  assert_int_equal(t.last.moved, 2 * MESSAGES);
  assert_int_equal(t.last.failed, 0);
  assert_true(t.times >= 4);
  all_read_with(f, KEY_B, MESSAGES);
  assert_int_equal(reencrypt(f, KEY_B, "", &t, why), 0); /* and there is nothing left to do */
  assert_int_equal(t.last.seen, 2 * MESSAGES);
  assert_int_equal(t.last.moved, 0);
}

static void change_database(struct fixture *f, const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(folder_at(&f->folder, "chat.db"), &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void nothing_of_the_plain_text_is_left_in_the_files(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256];
  say(f, "", 1, MESSAGES);
  change_database(f, "PRAGMA secure_delete = OFF; DELETE FROM messages WHERE seq > 100");
  assert_true(file_has(f, "chat.db", "secret number 99;"));
  assert_true(file_has(f, "chat.db", "secret number 599;")); /* as SQLite leaves it behind */
  assert_int_equal(reencrypt(f, KEY_A, "", &t, why), 0);
  assert_int_equal(t.last.moved, 200);
  assert_false(file_has(f, "chat.db", "secret number"));
  assert_false(file_has(f, "chat.db-wal", "secret number"));
}

/* What is plain in a database that was wholly sealed, somebody else has put there. */
static void plain_text_that_came_later_is_not_made_genuine(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256];
  size_t count;
  say(f, KEY_A, 1, 3); /* the database never was without a key */
  change_database(f, "UPDATE messages SET content = CAST('forged' AS BLOB) WHERE seq = 2");
  assert_int_equal(reencrypt(f, KEY_B, KEY_A, &t, why), E_CIPHER);
  assert_int_equal(t.last.failed, 2);
  assert_int_equal(t.last.moved, 4);
  assert_int_equal(t.last.plain, 0);
  say(f, KEY_B, 4, 4);
  assert_int_equal(reads(f, KEY_B, 1, &count), E_CIPHER);
}

static void names_are_sealed_too(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256];
  say(f, "", 1, 2);
  change_database(f, "UPDATE sessions SET nm = 'the first words'");
  assert_int_equal(reencrypt(f, KEY_A, "", &t, why), 0);
  assert_false(file_has(f, "chat.db", "the first words"));
  struct keyring *k = ring(KEY_B, KEY_A), *strict = keyring_accepting(k, 0);
  struct store *s = open_with(f, strict);
  struct store_op *op = store_op_new(STORE_SESSION);
  caller_id(op->session.id, 0x5e55, 1);
  assert_string_equal(caller_call(f->caller, s, op)->session.name, "the first words");
  store_close(s);
  keyring_free(strict);
  keyring_free(k);
}

static void broken_off_it_has_lost_nothing_and_goes_on_where_it_was(void **state) {
  struct fixture *f = *state;
  struct told t = {.exit_after = 2};
  char why[256];
  int status;
  say(f, KEY_A, 1, MESSAGES);
  pid_t child = fork();
  if (child == 0) {
    (void)reencrypt(f, KEY_B, KEY_A, &t, why);
    _exit(0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 7);
  t = (struct told){0};
  assert_int_equal(reencrypt(f, KEY_B, KEY_A, &t, why), 0);
  assert_int_equal(t.last.seen, 2 * MESSAGES);
  assert_true(t.last.moved > 0 && t.last.moved < 2 * MESSAGES);
  all_read_with(f, KEY_B, MESSAGES);
}

static void what_cannot_be_opened_is_counted_and_stays_while_the_rest_moves(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256];
  size_t count;
  say(f, "", 1, 2);
  say(f, KEY_A, 3, 3);
  assert_int_equal(reencrypt(f, KEY_B, "", &t, why), E_CIPHER);
  assert_non_null(strstr(why, "2 of 6"));
  assert_int_equal(t.last.failed, 2);
  assert_int_equal(t.last.moved, 4);
  assert_int_equal(t.last.plain, 4);
  assert_int_equal(reads(f, KEY_B, 1, &count), E_CIPHER);
  assert_int_equal(reencrypt(f, KEY_B, KEY_A, &t, why), 0);
  assert_int_equal(t.last.moved, 2);
  all_read_with(f, KEY_B, 3);
}

static void a_database_somebody_has_open_is_left_alone(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256];
  say(f, KEY_A, 1, 3);
  struct keyring *k = ring(KEY_A, "");
  struct store *s = open_with(f, k);
  assert_int_equal(reencrypt(f, KEY_B, KEY_A, &t, why), E_BUSY);
  assert_non_null(strstr(why, "another process"));
  store_close(s);
  keyring_free(k);
  all_read_with(f, KEY_A, 3);
}

static void without_a_key_or_with_another_url_it_is_refused(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256];
  struct store_options o = {.backends = store_backends, .url = f->url};
  assert_int_equal(store_reencrypt(&o, tell, &t, why), E_INVALID);
  assert_non_null(strstr(why, "no key"));
  strcpy(f->url, "file:chat.db");
  assert_int_equal(reencrypt(f, KEY_A, "", &t, why), E_INVALID);
}

static void a_full_disk_is_an_error_and_what_was_committed_stays(void **state) {
  struct fixture *f = *state;
  struct told t = {0};
  char why[256] = "";
  say(f, KEY_A, 1, MESSAGES);
  change_database(f, "CREATE TRIGGER full BEFORE UPDATE ON messages WHEN OLD.seq = 300"
                     " BEGIN SELECT RAISE(ABORT, 'no room'); END"); /* stands in for the disk, in the second batch */
  assert_int_equal(reencrypt(f, KEY_B, KEY_A, &t, why), E_STORE);
  assert_non_null(strstr(why, "no room"));
  assert_int_equal(t.last.moved, 256);
  change_database(f, "DROP TRIGGER full");
  assert_int_equal(reencrypt(f, KEY_B, KEY_A, &t, why), 0);
  assert_int_equal(t.last.moved, 2 * MESSAGES - 256);
  all_read_with(f, KEY_B, MESSAGES);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    TEST(everything_is_under_the_newest_key_and_the_old_one_can_go),
    TEST(nothing_of_the_plain_text_is_left_in_the_files),
    TEST(plain_text_that_came_later_is_not_made_genuine),
    TEST(names_are_sealed_too),
    TEST(broken_off_it_has_lost_nothing_and_goes_on_where_it_was),
    TEST(what_cannot_be_opened_is_counted_and_stays_while_the_rest_moves),
    TEST(a_database_somebody_has_open_is_left_alone),
    TEST(without_a_key_or_with_another_url_it_is_refused),
    TEST(a_full_disk_is_an_error_and_what_was_committed_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
