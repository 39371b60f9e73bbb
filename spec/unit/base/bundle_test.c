/* What core/base/bundle.c promises: all scripts of a folder, whole, under the names they are required by; one version
 * for equal bytes; and bounds that are named when they are met. */
#include "folder.h"

#include "bundle.h"
#include "err.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

#define MIB (1u << 20)

static int setup(void **state) {
  struct folder *f = malloc(sizeof *f);
  folder_open(f);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  folder_remove(*state);
  free(*state);
  return 0;
}

static struct bundle *read_path(const char *path) {
  struct bundle *b = NULL;
  char why[512] = "";
  if (bundle_read(path, &b, why) != 0)
    fail_msg("%s", why);
  return b;
}

static int read_fails(const char *path, const char *reason) {
  struct bundle *b = NULL;
  char why[512] = "";
  int code = bundle_read(path, &b, why);
  assert_null(b);
  if (code == 0 || strstr(why, reason) == NULL)
    fail_msg("%d: %s", code, why);
  return code;
}

static void link_to(const struct folder *f, const char *target, const char *name) {
  assert_int_equal(symlink(target, folder_at(f, name)), 0);
}

/* The version of the folder as it is now. */
static const char *version(const struct folder *f) {
  static char versions[4][BUNDLE_VERSION_LEN + 1];
  static int next;
  char *out = versions[next++ % 4];
  struct bundle *b = read_path(f->path);
  strcpy(out, bundle_version(b));
  bundle_unref(b);
  return out;
}

static void scripts_are_found_by_the_name_they_are_required_by(void **state) {
  struct folder *f = *state;
  folder_text(f, "init.lua", "return 1");
  folder_make(f, "bots");
  folder_make(f, "bots/deep");
  folder_write(f, "bots/echo.lua", "a\0b", 3);
  folder_text(f, "bots/deep/down.lua", "");
  struct bundle *b = read_path(f->path);
  assert_int_equal(bundle_count(b), 3);
  const struct bundle_file *echo = bundle_find(b, "bots.echo");
  assert_string_equal(echo->path, "scripts/bots/echo.lua");
  assert_int_equal(echo->len, 3);
  assert_memory_equal(echo->text, "a\0b", 4);
  assert_string_equal(bundle_find(b, "init")->text, "return 1");
  assert_int_equal(bundle_find(b, "bots.deep.down")->len, 0);
  assert_null(bundle_find(b, "bots"));
  assert_null(bundle_find(b, "bots/echo"));
  assert_null(bundle_find(b, ""));
  for (size_t i = 1; i < 3; i++)
    assert_true(strcmp(bundle_at(b, i - 1)->name, bundle_at(b, i)->name) < 0);
  bundle_unref(b);
}

static void what_is_hidden_or_no_script_is_left_out(void **state) {
  struct folder *f = *state;
  folder_text(f, "init.lua", "x");
  folder_text(f, ".init.lua.swp", "x");
  folder_text(f, ".hidden.lua", "x");
  folder_text(f, "init.lua~", "x");
  folder_text(f, "readme.md", "x");
  folder_text(f, "lua", "x");
  folder_make(f, ".git");
  folder_text(f, ".git/hook.lua", "x");
  struct bundle *b = read_path(f->path);
  assert_int_equal(bundle_count(b), 1);
  bundle_unref(b);
}

static void equal_bytes_are_equal_versions(void **state) {
  struct folder *f = *state, other;
  folder_open(&other);
  folder_text(f, "a.lua", "one");
  folder_text(f, "b.lua", "two");
  folder_text(&other, "b.lua", "two"); /* in another order, beside something that does not count */
  folder_text(&other, "a.lua", "one");
  folder_text(&other, "notes.txt", "x");
  assert_int_equal(strlen(version(f)), BUNDLE_VERSION_LEN);
  assert_string_equal(version(f), version(&other));
  folder_remove(&other);
}

static void any_change_is_another_version(void **state) {
  struct folder *f = *state;
  char seen[6][BUNDLE_VERSION_LEN + 1];
  folder_text(f, "a.lua", "one");
  folder_text(f, "b.lua", "two");
  strcpy(seen[0], version(f));
  folder_text(f, "a.lua", "onE");
  strcpy(seen[1], version(f));
  folder_text(f, "a.lua", "two"); /* the same texts under each other's name */
  folder_text(f, "b.lua", "one");
  strcpy(seen[2], version(f));
  folder_text(f, "a.lua", "one"); /* the same bytes, cut elsewhere */
  folder_text(f, "b.lua", "");
  folder_text(f, "c.lua", "two");
  strcpy(seen[3], version(f));
  assert_int_equal(unlink(folder_at(f, "b.lua")), 0);
  strcpy(seen[4], version(f));
  assert_int_equal(rename(folder_at(f, "c.lua"), folder_at(f, "b.lua")), 0); /* as it was in the beginning */
  strcpy(seen[5], version(f));
  folder_write(f, "a.lua", "oneb\0two", 8); /* one file that reads like two */
  assert_int_equal(unlink(folder_at(f, "b.lua")), 0);
  assert_string_not_equal(version(f), seen[0]);
  assert_string_equal(seen[5], seen[0]);
  for (int i = 0; i < 5; i++)
    for (int k = i + 1; k < 5; k++)
      assert_string_not_equal(seen[i], seen[k]);
}

static void a_bundle_stays_as_it_was_read(void **state) {
  struct folder *f = *state;
  folder_text(f, "a.lua", "old");
  struct bundle *b = read_path(f->path), *again = bundle_ref(b);
  folder_text(f, "a.lua", "new");
  bundle_unref(b);
  assert_string_equal(bundle_find(again, "a")->text, "old");
  bundle_unref(again);
  bundle_unref(NULL);
}

/* As Kubernetes mounts one: the files are links through a hidden link to a hidden folder, which is swapped as a whole.
 */
static void a_mounted_config_map_is_read_through_its_links(void **state) {
  struct folder *f = *state;
  folder_make(f, "..2026_01");
  folder_text(f, "..2026_01/init.lua", "old");
  folder_make(f, "..2026_02");
  folder_text(f, "..2026_02/init.lua", "new");
  link_to(f, "..2026_01", "..data");
  link_to(f, "..data/init.lua", "init.lua");
  struct bundle *old = read_path(f->path);
  assert_int_equal(bundle_count(old), 1);
  assert_string_equal(bundle_find(old, "init")->text, "old");
  link_to(f, "..2026_02", "..data_tmp");
  assert_int_equal(rename(folder_at(f, "..data_tmp"), folder_at(f, "..data")), 0);
  struct bundle *fresh = read_path(f->path);
  assert_string_equal(bundle_find(fresh, "init")->text, "new");
  bundle_unref(old);
  bundle_unref(fresh);
}

static void a_linked_folder_is_read_as_if_it_were_there(void **state) {
  struct folder *f = *state;
  folder_make(f, ".real");
  folder_text(f, ".real/echo.lua", "x");
  link_to(f, ".real", "bots");
  struct bundle *b = read_path(f->path);
  assert_non_null(bundle_find(b, "bots.echo"));
  bundle_unref(b);
}

static void two_files_of_one_name_are_an_error(void **state) {
  struct folder *f = *state;
  folder_make(f, "a");
  folder_text(f, "a/b.lua", "x");
  folder_text(f, "a.b.lua", "y");
  assert_int_equal(read_fails(f->path, "another file has the same module name"), E_DUPLICATE);
}

/* ---- bounds ---- */

static void a_file_of_one_mib_fits_and_one_byte_more_does_not(void **state) {
  struct folder *f = *state;
  folder_fill(f, "big.lua", MIB);
  struct bundle *b = read_path(f->path);
  assert_int_equal(bundle_find(b, "big")->len, MIB);
  bundle_unref(b);
  folder_fill(f, "big.lua", MIB + 1);
  read_fails(f->path, "big.lua: larger than 1 MiB");
}

static void sixteen_mib_in_all_fit_and_one_byte_more_does_not(void **state) {
  struct folder *f = *state;
  char name[16];
  for (int i = 0; i < 16; i++) {
    snprintf(name, sizeof name, "%d.lua", i);
    folder_fill(f, name, MIB);
  }
  bundle_unref(read_path(f->path));
  folder_text(f, "drop.lua", "x");
  assert_int_equal(read_fails(f->path, "more than 16 MiB in all"), E_TOO_BIG);
}

static void a_thousand_files_fit_and_one_more_does_not(void **state) {
  struct folder *f = *state;
  char name[16];
  for (int i = 0; i < 1000; i++) {
    snprintf(name, sizeof name, "%d.lua", i);
    folder_text(f, name, "");
  }
  struct bundle *b = read_path(f->path);
  assert_int_equal(bundle_count(b), 1000);
  bundle_unref(b);
  folder_text(f, "more.lua", "");
  assert_int_equal(read_fails(f->path, "more than 1000 files"), E_TOO_BIG);
}

static void eight_folders_deep_is_read_and_nine_are_too_deep(void **state) {
  struct folder *f = *state;
  char path[64] = "d";
  for (int i = 0; i < 8; i++) {
    folder_make(f, path);
    if (i < 7)
      strcat(path, "/d");
  }
  char file[80];
  snprintf(file, sizeof file, "%s/x.lua", path);
  folder_text(f, file, "");
  struct bundle *b = read_path(f->path);
  assert_non_null(bundle_find(b, "d.d.d.d.d.d.d.d.x"));
  bundle_unref(b);
  strcat(path, "/d");
  folder_make(f, path);
  assert_int_equal(read_fails(f->path, "nested too deeply"), E_TOO_BIG);
}

static void a_link_that_goes_round_in_circles_is_left_out(void **state) {
  struct folder *f = *state;
  folder_text(f, "a.lua", "");
  folder_make(f, "bots");
  folder_text(f, "bots/b.lua", "");
  link_to(f, ".", "round");
  link_to(f, "..", "bots/up");
  struct bundle *b = read_path(f->path);
  assert_int_equal(bundle_count(b), 2);
  assert_non_null(strstr(bundle_skipped(b), "round: a link to a folder it lies in"));
  assert_non_null(strstr(bundle_skipped(b), "bots/up: a link to a folder it lies in"));
  bundle_unref(b);
}

static void what_cannot_be_read_is_named(void **state) {
  struct folder *f = *state;
  read_fails("/nonexistent", "/nonexistent: No such file or directory");
  assert_int_equal(read_fails(f->path, "no scripts here"), E_NOT_FOUND);
}

/* ---- what is left out ---- */

static void device_make(const struct folder *f, const char *name) {
  link_to(f, "/dev/zero", name);
}

static void socket_make(const struct folder *f, const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", folder_at(f, name));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
}

static void only_regular_files_are_scripts_and_the_rest_is_said(void **state) {
  struct folder *f = *state;
  folder_text(f, "init.lua", "x");
  struct bundle *b = read_path(f->path);
  assert_string_equal(bundle_skipped(b), "");
  bundle_unref(b);
  assert_int_equal(mkfifo(folder_at(f, "pipe.lua"), 0600), 0);
  assert_int_equal(mkfifo(folder_at(f, "pipe"), 0600), 0); /* nobody takes it for a script */
  link_to(f, "pipe", "to_pipe.lua");
  device_make(f, "zero.lua");
  socket_make(f, "socket.lua");
  link_to(f, "nowhere", "gone.lua");
  link_to(f, "nowhere", "gone");
  link_to(f, "self.lua", "self.lua");
  b = read_path(f->path);
  assert_int_equal(bundle_count(b), 1);
  const char *const said[] = {"pipe.lua: a pipe",
                              "to_pipe.lua: a pipe",
                              "zero.lua: a device",
                              "socket.lua: a socket",
                              "gone.lua: a link to nothing",
                              "gone: a link to nothing",
                              "self.lua: Too many levels of symbolic links"};
  for (size_t i = 0; i < sizeof said / sizeof *said; i++)
    if (strstr(bundle_skipped(b), said[i]) == NULL)
      fail_msg("\"%s\" is missing in: %s", said[i], bundle_skipped(b));
  bundle_unref(b);
}

static void a_folder_that_may_not_be_read_is_left_out(void **state) {
  struct folder *f = *state;
  folder_text(f, "init.lua", "x");
  folder_make(f, "lost+found");
  assert_int_equal(chmod(folder_at(f, "lost+found"), 0), 0);
  assert_int_equal(chmod(f->path, 0755), 0);
  if (geteuid() == 0)
    assert_int_equal(seteuid(65534), 0); /* root may read everything */
  struct bundle *b = read_path(f->path);
  if (getuid() == 0)
    assert_int_equal(seteuid(0), 0);
  assert_int_equal(bundle_count(b), 1);
  assert_string_equal(bundle_skipped(b), "lost+found: Permission denied");
  bundle_unref(b);
}

static void a_name_nobody_can_print_is_left_out(void **state) {
  struct folder *f = *state;
  folder_text(f, "größe.lua", "x");
  folder_text(f, "a\nb.lua", "x");
  folder_text(f, "a\xFF.lua", "x");
  struct bundle *b = read_path(f->path);
  assert_int_equal(bundle_count(b), 1);
  assert_non_null(bundle_find(b, "größe"));
  assert_non_null(strstr(bundle_skipped(b), "a?b.lua: "));
  assert_non_null(strstr(bundle_skipped(b), "a?.lua: "));
  bundle_unref(b);
}

static void what_is_left_out_is_said_within_bounds(void **state) {
  struct folder *f = *state;
  folder_text(f, "init.lua", "x");
  for (int i = 0; i < 3000; i++) {
    char name[32];
    snprintf(name, sizeof name, "gone-%d.lua", i);
    link_to(f, "nowhere", name);
  }
  struct bundle *b = read_path(f->path);
  assert_true(strlen(bundle_skipped(b)) < BUNDLE_SKIPPED_MAX);
  assert_non_null(strstr(bundle_skipped(b), "; and 29"));
  assert_string_equal(bundle_skipped(b) + strlen(bundle_skipped(b)) - 5, " more");
  bundle_unref(b);
}

static void a_byte_order_mark_is_no_part_of_a_script(void **state) {
  struct folder *f = *state;
  folder_text(f, "a.lua", "\xEF\xBB\xBFreturn 1\r\n");
  folder_text(f, "b.lua", "\xEF\xBB\xBF");
  folder_text(f, "c.lua", "\xEF\xBB");
  struct bundle *b = read_path(f->path);
  assert_string_equal(bundle_find(b, "a")->text, "return 1\r\n");
  assert_int_equal(bundle_find(b, "a")->len, 10);
  assert_int_equal(bundle_find(b, "b")->len, 0);
  assert_int_equal(bundle_find(b, "c")->len, 2);
  bundle_unref(b);
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    FOLDER(scripts_are_found_by_the_name_they_are_required_by),
    FOLDER(what_is_hidden_or_no_script_is_left_out),
    FOLDER(equal_bytes_are_equal_versions),
    FOLDER(any_change_is_another_version),
    FOLDER(a_bundle_stays_as_it_was_read),
    FOLDER(a_mounted_config_map_is_read_through_its_links),
    FOLDER(a_linked_folder_is_read_as_if_it_were_there),
    FOLDER(two_files_of_one_name_are_an_error),
    FOLDER(a_file_of_one_mib_fits_and_one_byte_more_does_not),
    FOLDER(sixteen_mib_in_all_fit_and_one_byte_more_does_not),
    FOLDER(a_thousand_files_fit_and_one_more_does_not),
    FOLDER(eight_folders_deep_is_read_and_nine_are_too_deep),
    FOLDER(a_link_that_goes_round_in_circles_is_left_out),
    FOLDER(what_cannot_be_read_is_named),
    FOLDER(only_regular_files_are_scripts_and_the_rest_is_said),
    FOLDER(a_folder_that_may_not_be_read_is_left_out),
    FOLDER(a_name_nobody_can_print_is_left_out),
    FOLDER(what_is_left_out_is_said_within_bounds),
    FOLDER(a_byte_order_mark_is_no_part_of_a_script),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
