/* What core/store/sqlite/backup.c promises: a copy of one instant, whole or not at all, that opens like the database it
 * was made of; made while a store writes. And back: a copy is marked, so that it is not mixed up with what the database
 * in whose place it comes has left. */
#include "folder.h"
#include "store_backends.h"
#include "store_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

struct copies {
  struct fixture f;
  struct folder folder;
};

static int setup(void **state) {
  struct copies *c = calloc(1, sizeof *c);
  folder_open(&c->folder);
  snprintf(c->f.url, sizeof c->f.url, "sqlite:%s", folder_at(&c->folder, "chat.db"));
  c->f.caller = caller_new();
  reopen(&c->f);
  *state = c;
  return 0;
}

static int teardown(void **state) {
  struct copies *c = *state;
  if (c->f.store != NULL)
    store_close(c->f.store);
  caller_free(c->f.caller);
  folder_remove(&c->folder);
  free(c);
  return 0;
}

static int backup(struct copies *c, const char *name, char why[256]) {
  struct store_options o = {.backends = store_backends, .url = c->f.url};
  why[0] = '\0';
  return store_backup(&o, folder_at(&c->folder, name), why);
}

/* From here on the words of the fixture are about the copy. */
static void look_at(struct copies *c, const char *name) {
  snprintf(c->f.url, sizeof c->f.url, "sqlite:%s", folder_at(&c->folder, name));
  reopen(&c->f);
}

static void a_copy_opens_and_goes_on(void **state) {
  struct copies *c = *state;
  char why[256];
  make_session(&c->f, 1);
  say(&c->f, 1, 1, "c", "before");
  assert_int_equal(backup(c, "copy.db", why), 0);
  say(&c->f, 1, 2, NULL, "after");
  look_at(c, "copy.db");
  assert_history(&c->f, 1, "1 before");
  assert_true(say(&c->f, 1, 3, "c", "before")->duplicate);
  assert_int_equal(say(&c->f, 1, 4, NULL, "on")->seq, 2);
}

static void it_is_for_its_owner_only(void **state) {
  struct copies *c = *state;
  char why[256];
  struct stat st;
  mode_t before = umask(0);
  assert_int_equal(backup(c, "copy.db", why), 0);
  umask(before);
  assert_int_equal(stat(folder_at(&c->folder, "copy.db"), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_file_that_is_there_is_left_alone(void **state) {
  struct copies *c = *state;
  char why[256], text[8] = "";
  folder_text(&c->folder, "copy.db", "mine");
  assert_int_equal(backup(c, "copy.db", why), E_CONFLICT);
  assert_non_null(strstr(why, "copy.db is already there"));
  FILE *file = fopen(folder_at(&c->folder, "copy.db"), "r");
  assert_int_equal(fread(text, 1, sizeof text - 1, file), 4);
  assert_string_equal(text, "mine");
  fclose(file);
}

/* RLIMIT_FSIZE is to SQLite what a full disk is. */
static void what_cannot_be_finished_leaves_nothing(void **state) {
  struct copies *c = *state;
  char why[256];
  struct rlimit limit, small;
  make_session(&c->f, 1);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  small = limit;
  small.rlim_cur = 8192;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
  int code = backup(c, "copy.db", why);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_int_equal(code, E_STORE);
  assert_true(strlen(why) > 0);
  assert_int_equal(access(folder_at(&c->folder, "copy.db"), F_OK), -1);
  assert_int_equal(access(folder_at(&c->folder, "copy.db.part"), F_OK), -1);
  assert_int_equal(backup(c, "copy.db", why), 0);
}

static void a_folder_that_is_not_there_is_named(void **state) {
  struct copies *c = *state;
  char why[256];
  assert_int_equal(backup(c, "nowhere/copy.db", why), UV_ENOENT);
  assert_non_null(strstr(why, "nowhere/copy.db"));
}

static void there_has_to_be_a_database(void **state) {
  struct copies *c = *state;
  char why[256];
  snprintf(c->f.url, sizeof c->f.url, "sqlite:%s", folder_at(&c->folder, "none.db"));
  assert_int_equal(backup(c, "copy.db", why), E_STORE);
  assert_int_equal(access(folder_at(&c->folder, "none.db"), F_OK), -1);
  strcpy(c->f.url, "memory:x");
  assert_int_equal(backup(c, "copy.db", why), E_UNSUPPORTED);
}

static void what_an_ended_backup_left_is_in_nobodys_way(void **state) {
  struct copies *c = *state;
  char why[256];
  static const char zeros[64] = {0};
  folder_text(&c->folder, "a.db.part", "");
  folder_text(&c->folder, "b.db.part", "SQLite format 3");
  folder_write(&c->folder, "b.db.part", "SQLite format 3\0 and more", 24);
  folder_write(&c->folder, "c.db.part", zeros, sizeof zeros);
  assert_int_equal(backup(c, "a.db", why), 0);
  assert_int_equal(backup(c, "b.db", why), 0);
  assert_int_equal(backup(c, "c.db", why), 0);
  assert_int_equal(access(folder_at(&c->folder, "c.db.part"), F_OK), -1);
  folder_text(&c->folder, "d.db.part", "something of somebody's");
  assert_int_equal(backup(c, "d.db", why), E_CONFLICT);
  int fd = open(folder_at(&c->folder, "e.db.part"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(flock(fd, LOCK_EX), 0); /* as a backup that runs */
  assert_int_equal(backup(c, "e.db", why), E_BUSY);
  assert_int_equal(access(folder_at(&c->folder, "e.db.part"), F_OK), 0);
  close(fd);
  assert_int_equal(backup(c, "e.db", why), 0);
}

/* As a file's header has it. */
static uint32_t application_id(struct copies *c, const char *name) {
  unsigned char id[4] = {0};
  FILE *file = fopen(folder_at(&c->folder, name), "r");
  assert_int_equal(fseek(file, 68, SEEK_SET), 0);
  assert_int_equal(fread(id, 1, 4, file), 4);
  fclose(file);
  return (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
}

static void a_copy_is_marked_until_it_is_a_database_with_an_epoch_of_its_own(void **state) {
  struct copies *c = *state;
  char why[256];
  make_session(&c->f, 1);
  assert_int_equal(application_id(c, "chat.db"), 0);
  assert_int_equal(backup(c, "copy.db", why), 0);
  assert_int_equal(backup(c, "other.db", why), 0);
  uint32_t mark = application_id(c, "copy.db");
  assert_int_not_equal(mark, 0);
  look_at(c, "copy.db");
  uint32_t epoch = application_id(c, "copy.db");
  assert_int_not_equal(epoch, mark);
  assert_int_not_equal(epoch, 0);
  look_at(c, "other.db");
  assert_int_not_equal(application_id(c, "other.db"), epoch);
  look_at(c, "copy.db");
  assert_int_equal(application_id(c, "copy.db"), epoch); /* once */
  assert_int_equal(backup(c, "third.db", why), 0);
  assert_int_equal(application_id(c, "third.db"), mark);
}

static void a_copy_beside_a_foreign_wal_is_refused_and_left_alone(void **state) {
  struct copies *c = *state;
  char why[256];
  assert_int_equal(backup(c, "copy.db", why), 0);
  uint32_t mark = application_id(c, "copy.db");
  static const char *const suffixes[] = {"copy.db-wal", "copy.db-journal"};
  store_close(c->f.store);
  c->f.store = NULL;
  snprintf(c->f.url, sizeof c->f.url, "sqlite:%s", folder_at(&c->folder, "copy.db"));
  for (size_t i = 0; i < 2; i++) {
    folder_text(&c->folder, suffixes[i], "what another database has not written yet");
    assert_int_equal(open_code(&c->f, why), E_CONFLICT);
    assert_non_null(strstr(why, "would undo it"));
    assert_int_equal(application_id(c, "copy.db"), mark);
    folder_text(&c->folder, suffixes[i], ""); /* says nothing */
  }
  reopen(&c->f);
}

static void restore_brings_the_state_of_the_copy_back(void **state) {
  struct copies *c = *state;
  char why[256];
  struct store_options o = {.backends = store_backends, .url = c->f.url};
  make_session(&c->f, 1);
  say(&c->f, 1, 1, "c", "before");
  assert_int_equal(backup(c, "copy.db", why), 0);
  say(&c->f, 1, 2, NULL, "after");
  assert_int_equal(store_restore(&o, folder_at(&c->folder, "copy.db"), why), E_BUSY);
  assert_history(&c->f, 1, "1 before, 2 after");
  store_close(c->f.store);
  c->f.store = NULL;
  folder_text(&c->folder, "chat.db-wal", "what a crash left");
  assert_int_equal(store_restore(&o, folder_at(&c->folder, "copy.db"), why), 0);
  assert_int_equal(access(folder_at(&c->folder, "chat.db-wal"), F_OK), -1);
  reopen(&c->f);
  assert_history(&c->f, 1, "1 before");
}

struct copier {
  struct copies *c;
  atomic_bool done;
  int codes[3];
};

static void *copy_three_times(void *arg) {
  struct copier *k = arg;
  char name[16], why[256];
  for (int i = 0; i < 3; i++) {
    snprintf(name, sizeof name, "copy%d.db", i);
    k->codes[i] = backup(k->c, name, why);
  }
  atomic_store(&k->done, true);
  return NULL;
}

/* Each write is of two messages: a copy has both or none, and the number of them that the conversation says. */
static void a_copy_made_among_writes_is_of_one_instant(void **state) {
  struct copies *c = *state;
  struct copier k = {.c = c};
  pthread_t thread;
  uint64_t counts[2];
  make_session(&c->f, 1);
  pthread_create(&thread, NULL, copy_three_times, &k);
  for (unsigned i = 1; !atomic_load(&k.done) || i <= 2; i++) {
    struct store_op *op = caller_write(1);
    caller_add(op, 2ull * i, NULL, "x", 1);
    caller_add(op, 2ull * i + 1, NULL, "y", 1);
    assert_int_equal(call(&c->f, op)->code, 0);
    caller_forget(c->f.caller);
  }
  pthread_join(thread, NULL);
  for (int i = 0; i < 3; i++) {
    char name[16];
    assert_int_equal(k.codes[i], 0);
    snprintf(name, sizeof name, "copy%d.db", i);
    look_at(c, name);
    counts[0] = call(&c->f, read_of(STORE_SESSION, 1, NULL, 0))->session.top;
    struct store_op *last = history(&c->f, 1, 0, 1);
    counts[1] = last->message_count ? last->messages[0].seq : 0;
    assert_int_equal(counts[0], counts[1]);
    assert_int_equal(counts[0] % 2, 0);
  }
}

#define COPIES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    COPIES(a_copy_opens_and_goes_on),
    COPIES(it_is_for_its_owner_only),
    COPIES(a_file_that_is_there_is_left_alone),
    COPIES(what_cannot_be_finished_leaves_nothing),
    COPIES(a_folder_that_is_not_there_is_named),
    COPIES(there_has_to_be_a_database),
    COPIES(what_an_ended_backup_left_is_in_nobodys_way),
    COPIES(a_copy_is_marked_until_it_is_a_database_with_an_epoch_of_its_own),
    COPIES(a_copy_beside_a_foreign_wal_is_refused_and_left_alone),
    COPIES(restore_brings_the_state_of_the_copy_back),
    COPIES(a_copy_made_among_writes_is_of_one_instant),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
