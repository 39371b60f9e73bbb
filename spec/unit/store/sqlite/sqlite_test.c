/* What core/store/sqlite/sqlite.c promises, on real files in a folder of each test's own. Where the make-up of one
 * batch matters the backend is called directly; everything else goes through the store and its threads. */
#include "sqlite_fixture.h"

#include "metrics.h"
#include "store_file.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- one batch, made by hand ---- */

static void *handle_open(struct fixture *f) {
  void *handle;
  char why[256];
  assert_int_equal(store_sqlite.open(&(struct store_options){0}, f->path, true, &handle, why), 0);
  return handle;
}

static void many_operations_are_one_commit(void **state) {
  void *handle = handle_open(*state);
  struct store_op *ops[20];
  int64_t commits = metrics_value(METRIC_STORE_COMMITS);
  for (unsigned i = 0; i < 20; i++) {
    ops[i] = write_session(i, 1);
    caller_add(ops[i], i, NULL, "x", 1);
  }
  store_sqlite.write(handle, ops, 20);
  assert_int_equal(metrics_value(METRIC_STORE_COMMITS) - commits, 1);
  for (unsigned i = 0; i < 20; i++) {
    assert_int_equal(ops[i]->code, 0);
    store_op_free(ops[i]);
  }
  struct store_op *barrier = store_op_new(STORE_WRITE);
  store_sqlite.write(handle, &barrier, 1);
  assert_int_equal(barrier->code, 0);
  assert_int_equal(metrics_value(METRIC_STORE_COMMITS) - commits, 1);
  store_op_free(barrier);
  store_sqlite.close(handle);
}

/* ---- a disk without room ---- */

/* No file of this process may grow beyond that: what a full disk is to SQLite, without a disk to fill. */
static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static rlim_t wal_size(struct fixture *f) {
  char path[128];
  struct stat st;
  snprintf(path, sizeof path, "%s-wal", f->path);
  assert_int_equal(stat(path, &st), 0);
  return (rlim_t)st.st_size;
}

static void a_full_disk_fails_the_whole_batch_and_nothing_of_it_is_there(void **state) {
  struct fixture *f = *state;
  signal(SIGXFSZ, SIG_IGN);
  void *handle = handle_open(f);
  struct store_op *ops[3];
  ops[0] = write_session(1, 1);
  caller_add(ops[0], 1, NULL, "one", 3);
  store_sqlite.write(handle, ops, 1);
  assert_int_equal(ops[0]->code, 0);
  store_op_free(ops[0]);

  char *big = calloc(1, 1u << 20);
  limit_files(wal_size(f) + 65536);
  ops[0] = caller_write(1);
  caller_add(ops[0], 2, "c", "small", 5);
  ops[1] = store_op_new(STORE_WRITE); /* a barrier has nothing that could fail */
  ops[2] = caller_write(1);
  caller_add(ops[2], 3, NULL, big, 1u << 20);
  store_sqlite.write(handle, ops, 3);
  limit_files(RLIM_INFINITY);
  assert_int_equal(ops[0]->code, E_STORE);
  assert_int_equal(ops[0]->messages[0].seq, 0);
  assert_int_equal(ops[1]->code, 0);
  assert_int_equal(ops[2]->code, E_STORE);
  store_sqlite.write(handle, ops, 1); /* there is room again */
  assert_int_equal(ops[0]->code, 0);
  assert_int_equal(ops[0]->messages[0].seq, 2);
  assert_false(ops[0]->messages[0].duplicate);
  store_sqlite.close(handle);
  for (int i = 0; i < 3; i++)
    store_op_free(ops[i]);
  free(big);
  reopen(f);
  assert_history(f, 1, "1 one, 2 small");
}

static void the_store_goes_on_when_there_is_room_again(void **state) {
  struct fixture *f = *state;
  signal(SIGXFSZ, SIG_IGN);
  make_session(f, 1);
  int64_t errors = metrics_value(METRIC_STORE_ERRORS);
  limit_files(wal_size(f));
  struct store_op *op = caller_write(1);
  caller_add(op, 1, "c", "one", 3);
  op = call(f, op);
  limit_files(RLIM_INFINITY);
  assert_int_equal(op->code, E_STORE);
  assert_int_equal(metrics_value(METRIC_STORE_ERRORS) - errors, 1);
  assert_int_equal(say(f, 1, 2, "c", "one")->seq, 1);
  assert_history(f, 1, "1 one");
}

static void a_broken_page_fails_its_batch_and_no_later_one(void **state) {
  struct fixture *f = *state;
  make_session(f, 1);
  store_close(f->store);
  f->store = NULL;
  char junk[100];
  memset(junk, 0xff, sizeof junk);
  int fd = open(f->path, O_WRONLY);
  assert_int_equal(pwrite(fd, junk, sizeof junk, 6 * 4096), (ssize_t)sizeof junk); /* the root of messages_id */
  close(fd);
  reopen(f);
  struct store_op *op = write_session(2, 1);
  caller_add(op, 1, NULL, "one", 3);
  assert_int_equal(call(f, op)->code, E_STORE);
  make_session(f, 3);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, 0);
  assert_int_equal(call(f, read_of(STORE_SESSION, 2, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(call(f, read_of(STORE_SESSION, 3, NULL, 0))->code, 0);
}

/* ---- opening ---- */

static int open_fails(struct fixture *f, const char *url, char why[256]) {
  struct store_options o = {.backends = store_backends, .url = url, .readers = 2, .queue = 10};
  why[0] = '\0';
  int r = store_open(&o, &f->store, why);
  assert_true(r < 0);
  assert_null(f->store);
  assert_null(strchr(why, '\n'));
  return r;
}

static void mode_is(const char *path, mode_t mode) {
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, mode);
}

static void all_files_are_the_owners_alone_and_a_missing_folder_is_made(void **state) {
  struct fixture *f = *state;
  char folder[80], path[160];
  mode_t before = umask(0);
  snprintf(folder, sizeof folder, "%s/data", f->folder);
  snprintf(f->url, sizeof f->url, "sqlite:%s/chat.db", folder);
  reopen(f);
  make_session(f, 1);
  umask(before);
  mode_is(folder, 0700);
  const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
  for (size_t i = 0; i < 4; i++) {
    snprintf(path, sizeof path, "%s/chat.db%s", folder, suffixes[i]);
    mode_is(path, 0600);
  }
}

static void a_folder_that_cannot_be_made_is_named(void **state) {
  struct fixture *f = *state;
  char why[256], url[128], folder[96];
  snprintf(folder, sizeof folder, "%s/a/b", f->folder);
  snprintf(url, sizeof url, "sqlite:%s/chat.db", folder);
  open_fails(f, url, why);
  assert_non_null(strstr(why, folder));
}

static void a_name_that_means_something_to_sqlite_is_still_a_name(void **state) {
  struct fixture *f = *state;
  char here[PATH_MAX];
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(f->folder), 0);
  strcpy(f->url, "sqlite:file:x.db?mode=memory");
  reopen(f);
  make_session(f, 1);
  assert_int_equal(access("file:x.db?mode=memory", F_OK), 0);
  strcpy(f->url, "sqlite::memory:");
  reopen(f);
  assert_int_equal(access(":memory:", F_OK), 0);
  assert_int_equal(chdir(here), 0);
}

static void a_second_process_is_told_that_the_database_is_in_use(void **state) {
  struct fixture *f = *state;
  int go[2];
  assert_int_equal(pipe(go), 0);
  pid_t child = fork(); /* before there are threads */
  if (child == 0) {
    char byte, why[256];
    struct store_options o = {.backends = store_backends, .url = f->url, .readers = 1, .queue = 10};
    bool told = read(go[0], &byte, 1) == 1 && store_open(&o, &f->store, why) == E_BUSY && strstr(why, f->path) != NULL;
    _exit(told ? 0 : 1);
  }
  reopen(f);
  assert_int_equal(write(go[1], "g", 1), 1);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  close(go[0]);
  close(go[1]);
  make_session(f, 1); /* and the first one is none the worse for it */
  reopen(f);
}

/* SQLite keeps user_version in the bytes 60 to 63 of the file. */
static void set_version(struct fixture *f, unsigned char version) {
  if (f->store != NULL)
    store_close(f->store);
  f->store = NULL;
  int fd = open(f->path, O_WRONLY);
  assert_int_equal(pwrite(fd, &version, 1, 63), 1);
  close(fd);
}

static void a_newer_schema_is_refused(void **state) {
  struct fixture *f = *state;
  char why[256];
  make_session(f, 1);
  set_version(f, 9);
  assert_int_equal(open_fails(f, f->url, why), E_SCHEMA);
  assert_non_null(strstr(why, "version 9"));
  set_version(f, 6);
  reopen(f);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, 0);
}

/* ---- erasing ---- */

static void what_is_erased_is_in_no_file_any_more(void **state) {
  struct fixture *f = *state;
  char long_text[10000]; /* has pages of its own */
  memset(long_text, 'x', sizeof long_text);
  memcpy(long_text + 9000, "hidden far behind", 17);
  make_session(f, 1);
  say(f, 1, 1, NULL, "said in confidence");
  struct store_op *op = caller_write(1);
  caller_add(op, 2, NULL, long_text, sizeof long_text);
  assert_int_equal(call(f, op)->code, 0);
  reopen(f); /* the log becomes part of the database */
  assert_true(file_has(f, "", "in confidence") && file_has(f, "", "hidden far behind"));
  op = store_op_audit(STORE_ERASE, "spec", "erase", "u1", 1);
  op->session.user_id = strdup("u1");
  assert_int_equal(call(f, op)->code, 0);
  store_close(f->store);
  f->store = NULL;
  assert_false(file_has(f, "", "in confidence") || file_has(f, "", "hidden far behind"));
}

/* ---- a fresh start ---- */

static void fresh_is_empty_and_refuses_what_is_in_use(void **state) {
  struct fixture *f = *state;
  char why[256];
  make_session(f, 1);
  assert_int_equal(store_file_fresh(f->url, why), E_BUSY);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, 0);
  store_close(f->store);
  f->store = NULL;
  assert_int_equal(store_file_fresh(f->url, why), 0);
  assert_int_equal(store_file_fresh(f->url, why), 0); /* there is none */
  reopen(f);
  assert_int_equal(call(f, read_of(STORE_SESSION, 1, NULL, 0))->code, E_NOT_FOUND);
  assert_int_equal(store_file_fresh("memory:x", why), E_UNSUPPORTED);
}

static void the_database_of_another_program_is_refused(void **state) {
  struct fixture *f = *state;
  char why[256];
  set_version(f, 0);
  assert_int_equal(open_fails(f, f->url, why), E_INVALID);
  assert_non_null(strstr(why, "another program"));
}

static void a_file_that_is_no_database_is_refused(void **state) {
  struct fixture *f = *state;
  char why[256];
  FILE *file = fopen(f->path, "w");
  for (int i = 0; i < 1000; i++)
    fputs("these are my notes\n", file);
  fclose(file);
  assert_int_equal(open_fails(f, f->url, why), E_STORE);
  assert_non_null(strstr(why, f->path));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    FOLDER(many_operations_are_one_commit),
    FOLDER(a_full_disk_fails_the_whole_batch_and_nothing_of_it_is_there),
    STORE(the_store_goes_on_when_there_is_room_again),
    STORE(a_broken_page_fails_its_batch_and_no_later_one),
    FOLDER(all_files_are_the_owners_alone_and_a_missing_folder_is_made),
    FOLDER(a_folder_that_cannot_be_made_is_named),
    FOLDER(a_name_that_means_something_to_sqlite_is_still_a_name),
    FOLDER(a_second_process_is_told_that_the_database_is_in_use),
    STORE(a_newer_schema_is_refused),
    STORE(what_is_erased_is_in_no_file_any_more),
    STORE(fresh_is_empty_and_refuses_what_is_in_use),
    STORE(the_database_of_another_program_is_refused),
    FOLDER(a_file_that_is_no_database_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
