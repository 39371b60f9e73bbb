/* What core/net/pages.c promises: the files of one folder, whole and by name, and nothing else; a folder that cannot be
 * served says why. */
#include "folder.h"

#include "err.h"
#include "memory_log.h"
#include "pages.h"

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

static struct pages *load(const struct folder *f) {
  struct pages *p = NULL;
  char why[512] = "";
  if (pages_load(f->path, NULL, &p, why) != 0)
    fail_msg("%s", why);
  return p;
}

static int load_fails(const struct folder *f, char why[512]) {
  struct pages *p = NULL;
  *why = 0;
  int code = pages_load(f->path, NULL, &p, why);
  assert_int_not_equal(code, 0);
  assert_null(p);
  assert_string_not_equal(why, "");
  return code;
}

static void a_file_is_served_whole_with_its_type(void **state) {
  static const char *const types[][2] = {{"a.html", "text/html; charset=utf-8"},
                                         {"a.css", "text/css; charset=utf-8"},
                                         {"a.js", "text/javascript; charset=utf-8"},
                                         {"a.mjs", "text/javascript; charset=utf-8"},
                                         {"a.svg", "image/svg+xml"},
                                         {"a.png", "image/png"},
                                         {"a.ico", "image/x-icon"},
                                         {"a.json", "application/json; charset=utf-8"},
                                         {"a.webmanifest", "application/manifest+json"},
                                         {"a.min.txt", "text/plain; charset=utf-8"}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    folder_write(*state, types[i][0], "a\0b", 3);
  struct pages *p = load(*state);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    const struct page *page = pages_find(p, types[i][0]);
    assert_non_null(page);
    assert_string_equal(page->name, types[i][0]);
    assert_string_equal(page->type, types[i][1]);
    assert_int_equal(page->len, 3);
    assert_memory_equal(page->bytes, "a\0b", 3);
  }
  pages_unref(p);
}

static void what_is_no_page_is_not_there(void **state) {
  struct folder *f = *state;
  folder_text(f, "index.html", "x");
  folder_text(f, ".hidden.html", "x");
  folder_text(f, "noending", "x");
  folder_text(f, "script.sh", "x");
  folder_text(f, "page.html~", "x");
  folder_text(f, "with blank.html", "x");
  folder_text(f, "\xc3\xa4.html", "x");
  folder_make(f, "folder");
  folder_text(f, "folder/deep.html", "x");
  struct pages *p = load(f);
  const char *const none[] = {".hidden.html",
                              "noending",
                              "script.sh",
                              "page.html~",
                              "with blank.html",
                              "\xc3\xa4.html",
                              "folder/deep.html",
                              "deep.html",
                              "folder",
                              "../index.html",
                              "",
                              "index.htm",
                              "index.html/",
                              "INDEX.html",
                              "./index.html",
                              "index.html%00",
                              "/etc/passwd",
                              "index.html?x",
                              "index.html\n"};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    assert_null(pages_find(p, none[i]));
  assert_non_null(pages_find(p, "index.html"));
  pages_unref(p);
}

static void equal_bytes_have_equal_tags_and_others_another(void **state) {
  folder_text(*state, "a.js", "one");
  folder_text(*state, "b.js", "one");
  folder_text(*state, "c.js", "two");
  folder_text(*state, "empty.js", "");
  struct pages *p = load(*state);
  const struct page *a = pages_find(p, "a.js"), *c = pages_find(p, "c.js"), *empty = pages_find(p, "empty.js");
  assert_string_equal(a->etag, pages_find(p, "b.js")->etag);
  assert_string_not_equal(a->etag, c->etag);
  assert_string_not_equal(a->etag, empty->etag);
  assert_int_equal(empty->len, 0);
  assert_int_equal(a->etag[0], '"');
  assert_int_equal(strlen(a->etag), 18);
  assert_int_equal(a->etag[17], '"');
  pages_unref(p);
}

static void a_set_stays_as_it_was_read(void **state) {
  folder_text(*state, "a.js", "old");
  struct pages *old = load(*state), *again = pages_ref(old);
  folder_text(*state, "a.js", "new");
  struct pages *fresh = load(*state);
  pages_unref(old);
  assert_memory_equal(pages_find(again, "a.js")->bytes, "old", 3);
  assert_memory_equal(pages_find(fresh, "a.js")->bytes, "new", 3);
  pages_unref(again);
  pages_unref(fresh);
  pages_unref(NULL);
}

static void a_file_of_one_mib_fits_and_one_byte_more_does_not(void **state) {
  char why[512];
  folder_fill(*state, "big.js", MIB);
  struct pages *p = load(*state);
  assert_int_equal(pages_find(p, "big.js")->len, MIB);
  pages_unref(p);
  folder_fill(*state, "big.js", MIB + 1);
  assert_int_equal(load_fails(*state, why), E_INVALID);
  assert_non_null(strstr(why, "big.js: larger than 1 MiB"));
}

static void there_are_256_files_and_no_more(void **state) {
  char name[32], why[512];
  for (int i = 0; i < 256; i++) {
    snprintf(name, sizeof name, "%d.js", i);
    folder_text(*state, name, "x");
  }
  struct pages *p = load(*state);
  assert_non_null(pages_find(p, "0.js"));
  assert_non_null(pages_find(p, "255.js"));
  pages_unref(p);
  folder_text(*state, "256.js", "x");
  assert_int_equal(load_fails(*state, why), E_TOO_BIG);
  assert_non_null(strstr(why, "more than 256 files"));
}

static void what_cannot_be_read_is_named(void **state) {
  char why[512];
  folder_make(*state, "a.js");
  load_fails(*state, why);
  assert_non_null(strstr(why, "a.js: Is a directory"));
  struct folder none = {.path = "/nonexistent"};
  assert_int_equal(load_fails(&none, why), UV_ENOENT);
  assert_string_equal(why, "WEB_DIR: /nonexistent: No such file or directory");
}

static void only_regular_files_are_pages(void **state) {
  struct folder *f = *state;
  folder_text(f, "index.html", "x");
  assert_int_equal(mkfifo(folder_at(f, "pipe.html"), 0600), 0);
  assert_int_equal(symlink("/dev/zero", folder_at(f, "zero.js")), 0);
  assert_int_equal(symlink("nowhere", folder_at(f, "gone.css")), 0);
  assert_int_equal(symlink("index.html", folder_at(f, "other.html")), 0);
  struct pages *p = load(f);
  assert_non_null(pages_find(p, "index.html"));
  assert_non_null(pages_find(p, "other.html"));
  assert_null(pages_find(p, "pipe.html"));
  assert_null(pages_find(p, "zero.js"));
  assert_null(pages_find(p, "gone.css"));
  pages_unref(p);
}

static size_t said(void) {
  char line[LOG_LINE_MAX];
  size_t lines = 0;
  while (memory_log_take(line))
    lines++;
  return lines;
}

static void what_is_left_out_is_said_once_and_again_only_when_it_came_back(void **state) {
  const struct folder *f = *state;
  struct pages *before = NULL, *now;
  char why[512];
  assert_int_equal(mkfifo(folder_at(f, "pipe.html"), 0600), 0);
  said();
  for (int i = 0; i < 3; i++) {
    assert_int_equal(pages_load(f->path, before, &now, why), 0);
    pages_unref(before);
    before = now;
    assert_int_equal(said(), i == 0);
  }
  assert_int_equal(symlink("nowhere", folder_at(f, "gone.css")), 0);
  assert_int_equal(pages_load(f->path, before, &now, why), 0);
  pages_unref(before);
  before = now;
  assert_int_equal(said(), 1);
  assert_int_equal(unlink(folder_at(f, "pipe.html")), 0);
  assert_int_equal(pages_load(f->path, before, &now, why), 0);
  pages_unref(before);
  before = now;
  assert_int_equal(mkfifo(folder_at(f, "pipe.html"), 0600), 0);
  assert_int_equal(pages_load(f->path, before, &now, why), 0);
  pages_unref(before);
  pages_unref(now);
  assert_int_equal(said(), 1);
}

static void an_empty_folder_is_an_empty_set(void **state) {
  struct pages *p = load(*state);
  assert_null(pages_find(p, "index.html"));
  pages_unref(p);
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    FOLDER(a_file_is_served_whole_with_its_type),
    FOLDER(what_is_no_page_is_not_there),
    FOLDER(equal_bytes_have_equal_tags_and_others_another),
    FOLDER(a_set_stays_as_it_was_read),
    FOLDER(a_file_of_one_mib_fits_and_one_byte_more_does_not),
    FOLDER(there_are_256_files_and_no_more),
    FOLDER(what_cannot_be_read_is_named),
    FOLDER(only_regular_files_are_pages),
    FOLDER(what_is_left_out_is_said_once_and_again_only_when_it_came_back),
    FOLDER(an_empty_folder_is_an_empty_set),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
