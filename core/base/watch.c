/* In: folders. Out: one call some milliseconds after anything below them has changed. Why: see watch.h. inotify does
 * not look into sub-folders, so each is watched, and the tree is walked again after a change. It watches folders and
 * not paths: whether a path still leads to the folder that is watched (it was removed and made again, a link above it
 * was swapped) is looked up twice a second. So is what a link to a file leads to: that lies in a folder of its own,
 * whose other files are nobody's business here. */
#include "watch.h"

#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define FOLDERS_MAX 256
#define LINKS_MAX 256
#define DEPTH_MAX 8
#define SETTLE_MS 50 /* an editor's save is several changes */
#define LOOK_EVERY_MS 500

/* Where a path leads to; all zero: nowhere. */
struct folder_id {
  dev_t device;
  ino_t inode;
};

struct watched_folder {
  uv_fs_event_t event;
  struct watch *watch;
  struct folder_id id;
  char *path;
};

/* A link to a file, and what is compared of the file. All zero: it leads nowhere, or to no file. */
struct watched_link {
  char *path;
  struct folder_id id;
  off_t size;
  struct timespec modified, changed;
};

struct root {
  char *path;
  struct folder_id id;
};

struct watch {
  uv_timer_t settle, look;
  unsigned open_timers;
  bool said_too_many; /* folders, or links */
  void (*changed)(void *);
  void *arg;
  struct root roots[FOLDERS_MAX];
  size_t root_count;
  struct watched_folder *places[FOLDERS_MAX];
  size_t count;
  struct watched_link links[LINKS_MAX];
  size_t link_count;
  uv_loop_t *loop;
};

static void on_settled(uv_timer_t *timer);

static struct folder_id id_of(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (struct folder_id){st.st_dev, st.st_ino} : (struct folder_id){0, 0};
}

static bool leads_elsewhere(const char *path, struct folder_id id) {
  struct folder_id now = id_of(path);
  return now.device != id.device || now.inode != id.inode;
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status) {
  struct watched_folder *place = event->data;
  (void)name, (void)events;
  if (status == 0) {
    uv_timer_start(&place->watch->settle, on_settled, SETTLE_MS, 0);
  }
}

static void free_place(uv_handle_t *handle) {
  struct watched_folder *place = handle->data;
  free(place->path);
  free(place);
}

static bool watched(const struct watch *w, const char *path) {
  for (size_t i = 0; i < w->count; i++) {
    if (strcmp(w->places[i]->path, path) == 0) {
      return true;
    }
  }
  return false;
}

static void add_place(struct watch *w, const char *path) {
  if (watched(w, path)) {
    return;
  }
  if (w->count == FOLDERS_MAX) {
    if (!w->said_too_many) {
      LOG(LOG_WARN, "watch", "a folder is not watched: there are too many", LSTR("path", path));
    }
    w->said_too_many = true;
    return;
  }
  struct watched_folder *place = calloc(1, sizeof *place);
  if (!place || !(place->path = strdup(path))) {
    free(place);
    return;
  }
  place->watch = w;
  place->id = id_of(path); /* before it is watched: what is exchanged in between is found out by the next look */
  uv_fs_event_init(w->loop, &place->event);
  place->event.data = place;
  int code = uv_fs_event_start(&place->event, on_event, path, 0);
  if (code) {
    LOG(LOG_WARN, "watch", "a folder cannot be watched", LSTR("path", path), LSTR("error", uv_strerror(code)));
    uv_close((uv_handle_t *)&place->event, free_place);
    return;
  }
  w->places[w->count++] = place;
}

static struct watched_link link_look(const char *path) {
  struct watched_link look = {0};
  struct stat st;
  if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
    look.id = (struct folder_id){st.st_dev, st.st_ino};
    look.size = st.st_size;
    look.modified = st.st_mtim;
    look.changed = st.st_ctim;
  }
  return look;
}

static bool same_time(struct timespec a, struct timespec b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool link_differs(const struct watched_link *was) {
  struct watched_link is = link_look(was->path);
  return is.id.device != was->id.device || is.id.inode != was->id.inode || is.size != was->size ||
         !same_time(is.modified, was->modified) || !same_time(is.changed, was->changed);
}

static void add_link(struct watch *w, const char *path) {
  if (w->link_count == LINKS_MAX) {
    if (!w->said_too_many) {
      LOG(LOG_WARN, "watch", "what a link leads to is not watched: there are too many", LSTR("path", path));
    }
    w->said_too_many = true;
    return;
  }
  struct watched_link *l = &w->links[w->link_count];
  *l = link_look(path);
  l->path = strdup(path);
  w->link_count += !!l->path;
}

static bool is_link(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* What lies in a watched folder: another one, or a link to a file. */
static void add_tree(struct watch *w, const char *path, int depth);
static void add_entry(struct watch *w, const char *path, int depth) {
  struct stat st;
  bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
  if (folder && depth < DEPTH_MAX) {
    add_tree(w, path, depth + 1);
  } else if (!folder && is_link(path)) {
    add_link(w, path);
  }
}

static void add_tree(struct watch *w, const char *path, int depth) {
  DIR *d = opendir(path);
  if (!d) {
    if (depth == 0) { /* of one further down, whoever reads the folders says that it is left out */
      LOG(LOG_WARN, "watch", "a folder cannot be watched", LSTR("path", path), LSTR("error", strerror(errno)));
    }
    return;
  }
  add_place(w, path);
  for (struct dirent *e; (e = readdir(d));) {
    char below[4096];
    int len = snprintf(below, sizeof below, "%s/%s", path, e->d_name);
    if (e->d_type != DT_REG && e->d_name[0] != '.' && len < (int)sizeof below) {
      add_entry(w, below, depth);
    }
  }
  closedir(d);
}

static void drop_all(struct watch *w) {
  while (w->count) {
    uv_close((uv_handle_t *)&w->places[--w->count]->event, free_place);
  }
  while (w->link_count) {
    free(w->links[--w->link_count].path);
  }
}

static void watch_all(struct watch *w) {
  for (size_t i = 0; i < w->root_count; i++) {
    w->roots[i].id = id_of(w->roots[i].path);
    add_tree(w, w->roots[i].path, 0);
  }
}

static void on_look(uv_timer_t *timer) {
  struct watch *w = timer->data;
  bool differs = false;
  for (size_t i = 0; i < w->root_count && !differs; i++) {
    differs = leads_elsewhere(w->roots[i].path, w->roots[i].id);
  }
  for (size_t i = 0; i < w->count && !differs; i++) {
    differs = leads_elsewhere(w->places[i]->path, w->places[i]->id);
  }
  for (size_t i = 0; i < w->link_count && !differs; i++) {
    differs = link_differs(&w->links[i]);
  }
  if (differs && !uv_is_active((uv_handle_t *)&w->settle)) {
    uv_timer_start(&w->settle, on_settled, SETTLE_MS, 0);
  }
}

/* Renews all watches: a folder that was removed and created again has the old path and perhaps the old inode, but
 * its watch is dead. Changes made meanwhile are seen by the call that follows. */
static void on_settled(uv_timer_t *timer) {
  struct watch *w = timer->data;
  drop_all(w);
  watch_all(w);
  w->changed(w->arg);
}

struct watch *watch_new(uv_loop_t *loop, const char *const *folders, size_t count, void (*changed)(void *), void *arg) {
  struct watch *w = calloc(1, sizeof *w);
  if (!w) {
    return NULL;
  }
  w->loop = loop;
  w->changed = changed;
  w->arg = arg;
  uv_timer_init(loop, &w->settle);
  uv_timer_init(loop, &w->look);
  w->settle.data = w->look.data = w;
  w->open_timers = 2;
  for (size_t i = 0; i < count && i < FOLDERS_MAX; i++) {
    w->roots[w->root_count].path = strdup(folders[i]);
    w->root_count += !!w->roots[w->root_count].path;
  }
  watch_all(w);
  uv_timer_start(&w->look, on_look, LOOK_EVERY_MS, LOOK_EVERY_MS);
  return w;
}

static void free_watch(uv_handle_t *handle) {
  struct watch *w = handle->data;
  if (--w->open_timers == 0) {
    free(w);
  }
}

void watch_free(struct watch *w) {
  if (!w) {
    return;
  }
  drop_all(w);
  for (size_t i = 0; i < w->root_count; i++) {
    free(w->roots[i].path);
  }
  uv_close((uv_handle_t *)&w->settle, free_watch);
  uv_close((uv_handle_t *)&w->look, free_watch);
}
