/* In: nothing. Out: a SQLite database in a folder of the test's own, a store on it, and ways to look at its files and
 * to change them behind the store's back. Why: what the tests of store/sqlite share. */
#pragma once
#include "store_backends.h"
#include "store_fixture.h"

#include <sqlite3.h>

static inline int setup_folder(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  strcpy(f->folder, "/tmp/chatbox-store-XXXXXX");
  if (mkdtemp(f->folder) == NULL)
    return -1;
  snprintf(f->path, sizeof f->path, "%s/chat.db", f->folder);
  snprintf(f->url, sizeof f->url, "sqlite:%s", f->path);
  f->caller = caller_new();
  *state = f;
  return 0;
}

static inline int setup(void **state) {
  int r = setup_folder(state);
  if (r == 0)
    reopen(*state);
  return r;
}

static inline int teardown(void **state) {
  struct fixture *f = *state;
  char command[128];
  if (f->store != NULL)
    store_close(f->store);
  keyring_free(f->keys);
  caller_free(f->caller);
  snprintf(command, sizeof command, "rm -r %s", f->folder);
  free(f);
  return system(command);
}

static inline bool file_has(struct fixture *f, const char *suffix, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s%s", f->path, suffix);
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  char *bytes = malloc(1u << 20);
  size_t len = fread(bytes, 1, 1u << 20, file);
  assert_true(feof(file) && len > 0);
  bool found = memmem(bytes, len, text, strlen(text)) != NULL;
  free(bytes);
  fclose(file);
  return found;
}

static inline void change_database(struct fixture *f, const char *sql) {
  sqlite3 *db;
  assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  assert_true(sqlite3_total_changes(db) > 0);
  sqlite3_close(db);
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, setup_folder, teardown)
#define STORE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
