/* What looking at a database promises (core/store/sqlite/look.c): it finds what nobody has met, and does not go on for
 * ever. */
#include "sqlite_fixture.h"
#include "sqlite_impl.h"

#include <stdatomic.h>
#include <unistd.h>

static atomic_bool stop;

static void *looking(struct fixture *f) {
  struct store_options o = {.url = f->url, .readers = 1, .queue = 1};
  char why[256];
  void *handle;
  if (store_sqlite.open(&o, f->path, false, &handle, why) != 0)
    fail_msg("%s", why);
  atomic_store(&stop, false);
  return handle;
}

/* Every page but the first; without a log there is nothing else. */
static void damage(struct fixture *f) {
  FILE *file = fopen(f->path, "r+");
  char page[4096];
  memset(page, 0xA5, sizeof page);
  assert_non_null(file);
  assert_int_equal(fseek(file, 0, SEEK_END), 0);
  long size = ftell(file);
  assert_true(size > 4096);
  for (long at = 4096; at < size; at += 4096) {
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(page, 1, sizeof page, file), sizeof page);
  }
  fclose(file);
}

static void a_database_that_is_whole_and_in_its_place_is_fine(void **state) {
  struct fixture *f = *state;
  void *handle = looking(f);
  assert_null(store_sqlite.look(handle, &stop));
  store_sqlite.close(handle);
}

static void a_name_that_means_another_file_now_is_found(void **state) {
  struct fixture *f = *state;
  char beside[128];
  snprintf(beside, sizeof beside, "%s.away", f->path);
  void *handle = looking(f);
  assert_int_equal(rename(f->path, beside), 0);
  assert_string_equal(store_sqlite.look(handle, &stop), "the database file was removed or replaced");
  assert_int_equal(rename(beside, f->path), 0);
  assert_null(store_sqlite.look(handle, &stop));
  store_sqlite.close(handle);
}

static void damage_that_nobody_has_met_is_found(void **state) {
  struct fixture *f = *state;
  store_close(f->store); /* nothing is left in a log */
  f->store = NULL;
  void *handle = looking(f);
  damage(f);
  assert_string_equal(store_sqlite.look(handle, &stop), "the database file is damaged");
  store_sqlite.close(handle);
}

static bool is_unchecked(const void *handle) {
  return ((const struct sqlite_handle *)handle)->unchecked;
}

/* What a check of many steps does when it is told to stop, or its time is over: the same question is asked. */
static void a_check_that_is_broken_off_has_found_nothing(void **state) {
  struct fixture *f = *state;
  store_close(f->store);
  f->store = NULL;
  change_database(f, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
                     " INSERT INTO messages(session, seq, id, ts, content)"
                     " SELECT 1, i, 'm' || i, 0, CAST('text' AS BLOB) FROM n");
  void *handle = looking(f);
  assert_null(store_sqlite.look(handle, &stop));
  assert_false(is_unchecked(handle));
  store_sqlite.close(handle);
  handle = looking(f);
  atomic_store(&stop, true);
  assert_null(store_sqlite.look(handle, &stop));
  assert_true(is_unchecked(handle));
  store_sqlite.close(handle);
}

static void a_file_that_is_too_large_is_not_looked_through(void **state) {
  struct fixture *f = *state;
  store_close(f->store);
  f->store = NULL;
  void *handle = looking(f);
  damage(f);
  assert_int_equal(truncate(f->path, (256ll << 20) + 1), 0);
  assert_null(store_sqlite.look(handle, &stop));
  assert_true(is_unchecked(handle));
  store_sqlite.close(handle);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    STORE(a_database_that_is_whole_and_in_its_place_is_fine),
    STORE(a_name_that_means_another_file_now_is_found),
    STORE(damage_that_nobody_has_met_is_found),
    STORE(a_check_that_is_broken_off_has_found_nothing),
    STORE(a_file_that_is_too_large_is_not_looked_through),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
