/* What core/base/watch_files.h promises: a call after a file has changed, also when it is replaced, is a link, goes or
 * comes. On real files and a real loop: the tests wait for the call; a timer only says when to give up. */
#include "folder.h"

#include "watch_files.h"

#include <stdbool.h>
#include <uv.h>

#define GIVE_UP_MS 10000
#define EVERY_MS 20

struct scene {
  struct folder folder;
  uv_loop_t loop;
  uv_timer_t guard;
  struct watch_files *watch;
  int calls;
  bool late;
};

static void on_change(void *arg) {
  struct scene *sc = arg;
  sc->calls++;
  uv_stop(&sc->loop);
}

static void on_guard(uv_timer_t *timer) {
  struct scene *sc = timer->data;
  sc->late = true;
  uv_stop(&sc->loop);
}

static int setup(void **state) {
  struct scene *sc = calloc(1, sizeof *sc);
  folder_open(&sc->folder);
  uv_loop_init(&sc->loop);
  uv_timer_init(&sc->loop, &sc->guard);
  sc->guard.data = sc;
  *state = sc;
  return 0;
}

static int teardown(void **state) {
  struct scene *sc = *state;
  watch_files_free(sc->watch);
  uv_close((uv_handle_t *)&sc->guard, NULL);
  uv_run(&sc->loop, UV_RUN_DEFAULT);
  int open = uv_loop_close(&sc->loop);
  folder_remove(&sc->folder);
  free(sc);
  return open;
}

static void watch(struct scene *sc, const char *one, const char *other) {
  const char *paths[] = {one, "", other};
  sc->watch = watch_files_new(&sc->loop, paths, 3, EVERY_MS, on_change, sc);
  assert_non_null(sc->watch);
}

static void await_change(struct scene *sc) {
  uv_timer_start(&sc->guard, on_guard, GIVE_UP_MS, 0);
  uv_run(&sc->loop, UV_RUN_DEFAULT);
  uv_timer_stop(&sc->guard);
  if (sc->late)
    fail_msg("a change was not seen");
}

static void a_file_that_is_written_replaced_removed_or_made_is_seen(void **state) {
  struct scene *sc = *state;
  struct folder *f = &sc->folder;
  folder_text(f, "key", "old");
  watch(sc, folder_at(f, "key"), "");
  folder_text(f, "key", "longer");
  await_change(sc);
  folder_text(f, "key.tmp", "longer");
  assert_int_equal(rename(folder_at(f, "key.tmp"), folder_at(f, "key")), 0);
  await_change(sc);
  assert_int_equal(unlink(folder_at(f, "key")), 0);
  await_change(sc);
  folder_text(f, "key", "back");
  await_change(sc);
  assert_int_equal(sc->calls, 4);
}

static void what_a_link_leads_to_is_seen(void **state) {
  struct scene *sc = *state;
  struct folder *f = &sc->folder;
  folder_make(f, "..1");
  folder_text(f, "..1/key", "old");
  folder_make(f, "..2");
  folder_text(f, "..2/key", "new");
  assert_int_equal(symlink("..1", folder_at(f, "..data")), 0); /* as Kubernetes mounts a secret */
  assert_int_equal(symlink("..data/key", folder_at(f, "key")), 0);
  assert_int_equal(symlink("..2", folder_at(f, "..data_tmp")), 0);
  watch(sc, "", folder_at(f, "key"));
  assert_int_equal(rename(folder_at(f, "..data_tmp"), folder_at(f, "..data")), 0);
  await_change(sc);
  folder_text(f, "..2/key", "newer, in place");
  await_change(sc);
}

/* A later change is waited for, and by then no second call for the first ones has come. */
static void two_files_that_change_together_are_one_call(void **state) {
  struct scene *sc = *state;
  struct folder *f = &sc->folder;
  watch(sc, folder_at(f, "cert"), folder_at(f, "key"));
  folder_text(f, "cert", "new");
  folder_text(f, "key", "new");
  await_change(sc);
  folder_text(f, "other", "not watched");
  folder_text(f, "key", "newer");
  await_change(sc);
  assert_int_equal(sc->calls, 2);
}

static void more_files_than_the_bound_do_no_harm(void **state) {
  struct scene *sc = *state;
  char names[WATCH_FILES_MAX + 1][16];
  const char *paths[WATCH_FILES_MAX + 1];
  char room[WATCH_FILES_MAX + 1][128];
  for (int i = 0; i <= WATCH_FILES_MAX; i++) {
    snprintf(names[i], sizeof names[i], "%d", i);
    snprintf(room[i], sizeof room[i], "%s", folder_at(&sc->folder, names[i]));
    paths[i] = room[i];
  }
  sc->watch = watch_files_new(&sc->loop, paths, WATCH_FILES_MAX + 1, EVERY_MS, on_change, sc);
  folder_text(&sc->folder, names[WATCH_FILES_MAX], "x");
  folder_text(&sc->folder, names[WATCH_FILES_MAX - 1], "x");
  await_change(sc);
  assert_int_equal(sc->calls, 1);
}

static void after_its_end_nobody_is_called(void **state) {
  struct scene *sc = *state;
  watch(sc, folder_at(&sc->folder, "key"), folder_at(&sc->folder, "other"));
  folder_text(&sc->folder, "key", "x");
  uv_run(&sc->loop, UV_RUN_ONCE); /* a look is on its way */
  watch_files_free(sc->watch);
  sc->watch = NULL;
  uv_run(&sc->loop, UV_RUN_DEFAULT); /* until nothing is open any more */
  assert_int_equal(sc->calls, 0);
  watch_files_free(NULL);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    SCENE(a_file_that_is_written_replaced_removed_or_made_is_seen),
    SCENE(what_a_link_leads_to_is_seen),
    SCENE(two_files_that_change_together_are_one_call),
    SCENE(more_files_than_the_bound_do_no_harm),
    SCENE(after_its_end_nobody_is_called),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
