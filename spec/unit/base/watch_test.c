/* What core/base/watch.c promises: one call after anything below the folders has changed, also in folders that came
 * later or came back. On real folders and a real loop: the tests wait for the call; a timer only says when to give up.
 */
#include "folder.h"

#include "watch.h"

#include <stdbool.h>
#include <uv.h>

#define GIVE_UP_MS 10000

struct scene {
  struct folder folder;
  uv_loop_t loop;
  uv_timer_t guard;
  struct watch *watch;
  int calls, awaited;
  bool late;
};

static void on_change(void *arg) {
  struct scene *sc = arg;
  if (++sc->calls == sc->awaited)
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
  watch_free(sc->watch);
  uv_close((uv_handle_t *)&sc->guard, NULL);
  uv_run(&sc->loop, UV_RUN_DEFAULT);
  int open = uv_loop_close(&sc->loop);
  folder_remove(&sc->folder);
  free(sc);
  return open;
}

static void watch_folder(struct scene *sc) {
  const char *folders[] = {sc->folder.path};
  sc->watch = watch_new(&sc->loop, folders, 1, on_change, sc);
  assert_non_null(sc->watch);
}

static void await_change(struct scene *sc) {
  sc->awaited = sc->calls + 1;
  uv_timer_start(&sc->guard, on_guard, GIVE_UP_MS, 0);
  uv_run(&sc->loop, UV_RUN_DEFAULT);
  uv_timer_stop(&sc->guard);
  if (sc->late)
    fail_msg("a change was not seen");
}

static void a_saved_file_is_seen(void **state) {
  struct scene *sc = *state;
  folder_text(&sc->folder, "a.lua", "old");
  watch_folder(sc);
  folder_text(&sc->folder, "a.lua", "new");
  await_change(sc);
  folder_text(&sc->folder, "a.lua", "newer"); /* and again */
  await_change(sc);
}

static void a_file_that_is_replaced_made_or_removed_is_seen(void **state) {
  struct scene *sc = *state;
  folder_text(&sc->folder, "a.lua", "old");
  folder_text(&sc->folder, "a.lua.tmp", "new");
  watch_folder(sc);
  assert_int_equal(rename(folder_at(&sc->folder, "a.lua.tmp"), folder_at(&sc->folder, "a.lua")), 0);
  await_change(sc);
  folder_text(&sc->folder, "b.lua", "x");
  await_change(sc);
  assert_int_equal(unlink(folder_at(&sc->folder, "b.lua")), 0);
  await_change(sc);
}

/* A later change is waited for, and by then no second call for the first ones has come. */
static void many_changes_at_once_are_one_call(void **state) {
  struct scene *sc = *state;
  char name[16];
  watch_folder(sc);
  for (int i = 0; i < 50; i++) {
    snprintf(name, sizeof name, "%d.lua", i);
    folder_text(&sc->folder, name, "x");
  }
  await_change(sc);
  assert_int_equal(sc->calls, 1);
  folder_text(&sc->folder, "last.lua", "x");
  await_change(sc);
  assert_int_equal(sc->calls, 2);
}

static void a_change_in_a_folder_below_is_seen(void **state) {
  struct scene *sc = *state;
  folder_make(&sc->folder, "bots");
  folder_make(&sc->folder, "bots/deep");
  watch_folder(sc);
  folder_text(&sc->folder, "bots/deep/a.lua", "x");
  await_change(sc);
}

static void a_folder_that_came_later_is_watched_too(void **state) {
  struct scene *sc = *state;
  watch_folder(sc);
  folder_make(&sc->folder, "bots");
  await_change(sc);
  folder_text(&sc->folder, "bots/a.lua", "x");
  await_change(sc);
}

/* So quickly that nobody has looked between: the path is the same, the folder is another. */
static void a_folder_that_was_removed_and_made_again_is_watched(void **state) {
  struct scene *sc = *state;
  folder_make(&sc->folder, "bots");
  watch_folder(sc);
  for (int round = 0; round < 2; round++) {
    assert_int_equal(rmdir(folder_at(&sc->folder, "bots")), 0);
    folder_make(&sc->folder, "bots");
    await_change(sc);
    folder_text(&sc->folder, "bots/a.lua", "x");
    await_change(sc);
    assert_int_equal(unlink(folder_at(&sc->folder, "bots/a.lua")), 0);
    await_change(sc);
  }
}

/* As Kubernetes mounts one: nothing changes but a hidden link. */
static void a_swapped_config_map_is_seen(void **state) {
  struct scene *sc = *state;
  folder_make(&sc->folder, "..1");
  folder_text(&sc->folder, "..1/a.lua", "old");
  folder_make(&sc->folder, "..2");
  folder_text(&sc->folder, "..2/a.lua", "new");
  assert_int_equal(symlink("..1", folder_at(&sc->folder, "..data")), 0);
  assert_int_equal(symlink("..data/a.lua", folder_at(&sc->folder, "a.lua")), 0);
  assert_int_equal(symlink("..2", folder_at(&sc->folder, "..data_tmp")), 0);
  watch_folder(sc);
  assert_int_equal(rename(folder_at(&sc->folder, "..data_tmp"), folder_at(&sc->folder, "..data")), 0);
  await_change(sc);
}

/* The folder that is watched itself: first it is gone, then it is there again with a file in it, and that is watched.
 */
static void the_folder_itself_may_go_and_come_back(void **state) {
  struct scene *sc = *state;
  const char *folders[] = {folder_at(&sc->folder, "scripts")};
  folder_make(&sc->folder, "scripts");
  sc->watch = watch_new(&sc->loop, folders, 1, on_change, sc);
  assert_non_null(sc->watch);
  for (int round = 0; round < 2; round++) {
    assert_int_equal(rmdir(folder_at(&sc->folder, "scripts")), 0);
    await_change(sc);
    folder_make(&sc->folder, "scripts");
    await_change(sc);
    folder_text(&sc->folder, "scripts/a.lua", "x");
    await_change(sc);
    assert_int_equal(unlink(folder_at(&sc->folder, "scripts/a.lua")), 0);
    await_change(sc);
  }
}

static void a_folder_that_was_not_there_at_first_is_watched_when_it_comes(void **state) {
  struct scene *sc = *state;
  const char *folders[] = {folder_at(&sc->folder, "later/scripts")};
  sc->watch = watch_new(&sc->loop, folders, 1, on_change, sc);
  assert_non_null(sc->watch);
  folder_make(&sc->folder, "later");
  folder_make(&sc->folder, "later/scripts");
  await_change(sc);
  folder_text(&sc->folder, "later/scripts/a.lua", "x");
  await_change(sc);
}

static void swap_link(struct scene *sc, const char *target) {
  assert_int_equal(symlink(target, folder_at(&sc->folder, "next")), 0);
  assert_int_equal(rename(folder_at(&sc->folder, "next"), folder_at(&sc->folder, "current")), 0);
}

/* As a release is put in force: current -> releases/2, and current/scripts is what is watched. */
static void a_link_swapped_above_the_folder_is_seen_and_followed(void **state) {
  struct scene *sc = *state;
  const char *const names[] = {"1", "1/scripts", "1/scripts/bots", "2", "2/scripts", "2/scripts/bots"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    folder_make(&sc->folder, names[i]);
  swap_link(sc, "1");
  const char *folders[] = {folder_at(&sc->folder, "current/scripts")};
  sc->watch = watch_new(&sc->loop, folders, 1, on_change, sc);
  assert_non_null(sc->watch);
  static const char *const files[] = {"2/scripts/bots/a.lua", "1/scripts/bots/a.lua", "2/scripts/bots/b.lua"};
  for (int i = 0; i < 3; i++) {
    swap_link(sc, i % 2 ? "1" : "2");
    await_change(sc);
    folder_text(&sc->folder, files[i], "x");
    await_change(sc);
  }
}

/* A folder below is a link to what is elsewhere, through a link that is swapped. */
static void a_link_swapped_behind_a_folder_below_is_seen(void **state) {
  struct scene *sc = *state;
  folder_make(&sc->folder, "scripts");
  folder_make(&sc->folder, "1");
  folder_make(&sc->folder, "2");
  swap_link(sc, "1");
  assert_int_equal(symlink("../current", folder_at(&sc->folder, "scripts/bots")), 0);
  const char *folders[] = {folder_at(&sc->folder, "scripts")};
  sc->watch = watch_new(&sc->loop, folders, 1, on_change, sc);
  assert_non_null(sc->watch);
  swap_link(sc, "2");
  await_change(sc);
  folder_text(&sc->folder, "2/a.lua", "x");
  await_change(sc);
}

static void each_of_several_folders_is_watched(void **state) {
  struct scene *sc = *state;
  struct folder other;
  folder_open(&other);
  const char *folders[] = {sc->folder.path, "/nonexistent", other.path, other.path};
  sc->watch = watch_new(&sc->loop, folders, 4, on_change, sc);
  assert_non_null(sc->watch);
  folder_text(&sc->folder, "a", "x");
  await_change(sc);
  folder_text(&other, "a", "x");
  await_change(sc);
  folder_remove(&other);
}

/* More folders than may be watched: those that are watched still work. */
static void too_many_folders_are_watched_up_to_the_bound(void **state) {
  struct scene *sc = *state;
  char name[16];
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "%d", i);
    folder_make(&sc->folder, name);
  }
  watch_folder(sc);
  folder_text(&sc->folder, "a", "x");
  await_change(sc);
  folder_text(&sc->folder, "b", "x");
  await_change(sc);
}

static void a_link_that_goes_round_in_circles_does_no_harm(void **state) {
  struct scene *sc = *state;
  assert_int_equal(symlink(".", folder_at(&sc->folder, "round")), 0);
  watch_folder(sc);
  folder_text(&sc->folder, "a", "x");
  await_change(sc);
}

/* Another folder than the one that is watched. */
static void behind_a_link(struct scene *sc) {
  folder_make(&sc->folder, "scripts");
  folder_make(&sc->folder, "elsewhere");
  folder_text(&sc->folder, "elsewhere/a.lua", "old");
  assert_int_equal(symlink("../elsewhere/a.lua", folder_at(&sc->folder, "scripts/a.lua")), 0);
  const char *folders[] = {folder_at(&sc->folder, "scripts")};
  sc->watch = watch_new(&sc->loop, folders, 1, on_change, sc);
  assert_non_null(sc->watch);
}

static void a_file_that_a_link_leads_to_is_seen_however_it_changes(void **state) {
  struct scene *sc = *state;
  behind_a_link(sc);
  folder_text(&sc->folder, "elsewhere/a.lua", "newer");
  await_change(sc);
  folder_text(&sc->folder, "elsewhere/next", "newer"); /* exchanged */
  assert_int_equal(rename(folder_at(&sc->folder, "elsewhere/next"), folder_at(&sc->folder, "elsewhere/a.lua")), 0);
  await_change(sc);
  assert_int_equal(unlink(folder_at(&sc->folder, "elsewhere/a.lua")), 0);
  await_change(sc);
  folder_text(&sc->folder, "elsewhere/a.lua", "again"); /* the link led nowhere meanwhile */
  await_change(sc);
}

static void what_lies_beside_a_file_that_a_link_leads_to_is_not_watched(void **state) {
  struct scene *sc = *state;
  behind_a_link(sc);
  folder_text(&sc->folder, "elsewhere/b.lua", "other");
  folder_text(&sc->folder, "scripts/c.lua", "own");
  await_change(sc);
  assert_int_equal(sc->calls, 1);
}

static void after_its_end_nobody_is_called(void **state) {
  struct scene *sc = *state;
  watch_folder(sc);
  folder_text(&sc->folder, "a", "x");
  uv_run(&sc->loop, UV_RUN_NOWAIT); /* the change is known, the call is due */
  watch_free(sc->watch);
  sc->watch = NULL;
  uv_run(&sc->loop, UV_RUN_DEFAULT); /* until nothing is open any more */
  assert_int_equal(sc->calls, 0);
  watch_free(NULL);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    SCENE(a_saved_file_is_seen),
    SCENE(a_file_that_is_replaced_made_or_removed_is_seen),
    SCENE(many_changes_at_once_are_one_call),
    SCENE(a_change_in_a_folder_below_is_seen),
    SCENE(a_folder_that_came_later_is_watched_too),
    SCENE(a_folder_that_was_removed_and_made_again_is_watched),
    SCENE(a_swapped_config_map_is_seen),
    SCENE(the_folder_itself_may_go_and_come_back),
    SCENE(a_folder_that_was_not_there_at_first_is_watched_when_it_comes),
    SCENE(a_link_swapped_above_the_folder_is_seen_and_followed),
    SCENE(a_link_swapped_behind_a_folder_below_is_seen),
    SCENE(each_of_several_folders_is_watched),
    SCENE(too_many_folders_are_watched_up_to_the_bound),
    SCENE(a_link_that_goes_round_in_circles_does_no_harm),
    SCENE(a_file_that_a_link_leads_to_is_seen_however_it_changes),
    SCENE(what_lies_beside_a_file_that_a_link_leads_to_is_not_watched),
    SCENE(after_its_end_nobody_is_called),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
