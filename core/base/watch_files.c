/* In: files. Out: one call some time after one of them has changed. Why: see watch_files.h. The first look is taken at
 * once, so whoever reads the files after watch_files_new misses nothing. */
#include "watch_files.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* What of a file is compared. All zero: it is not there. */
struct look {
  uint64_t device, inode, size;
  uv_timespec_t modified, changed;
};

struct watched_file {
  struct watch_files *watch;
  char *path;
  struct look look;
  uv_fs_t request;
  bool asked; /* the request is on its way */
};

struct watch_files {
  uv_timer_t timer;
  struct watched_file files[WATCH_FILES_MAX];
  size_t count;
  bool differs; /* a file has changed since the last call */
  bool closed;  /* the timer is */
  void (*changed)(void *);
  void *arg;
};

static struct look look_at(const uv_fs_t *request) {
  const uv_stat_t *st = &request->statbuf;
  struct look look;
  memset(&look, 0, sizeof look); /* its padding is compared too */
  if (request->result == 0) {
    look.device = st->st_dev;
    look.inode = st->st_ino;
    look.size = st->st_size;
    look.modified = st->st_mtim;
    look.changed = st->st_ctim;
  }
  return look;
}

static void free_when_done(struct watch_files *w) {
  bool asked = false;
  for (size_t i = 0; i < w->count; i++) {
    asked = asked || w->files[i].asked;
  }
  if (!w->closed || asked) {
    return;
  }
  for (size_t i = 0; i < w->count; i++) {
    free(w->files[i].path);
  }
  free(w);
}

static void on_look(uv_fs_t *request) {
  struct watched_file *f = request->data;
  struct watch_files *w = f->watch;
  struct look look = look_at(request);
  bool cancelled = request->result == UV_ECANCELED;
  uv_fs_req_cleanup(request);
  f->asked = false;
  if (uv_is_closing((uv_handle_t *)&w->timer)) {
    free_when_done(w);
  } else if (!cancelled && memcmp(&look, &f->look, sizeof look) != 0) {
    f->look = look;
    w->differs = true;
  }
}

/* The call comes one look later than the change, so that a key that follows its certificate is part of it. */
static void on_timer(uv_timer_t *timer) {
  struct watch_files *w = timer->data;
  if (w->differs) {
    w->differs = false;
    w->changed(w->arg);
  }
  for (size_t i = 0; i < w->count; i++) {
    struct watched_file *f = &w->files[i];
    f->request.data = f;
    f->asked = f->asked || uv_fs_stat(timer->loop, &f->request, f->path, on_look) == 0;
  }
}

struct watch_files *watch_files_new(uv_loop_t *loop, const char *const *paths, size_t count, unsigned every_ms,
                                    void (*changed)(void *), void *arg) {
  struct watch_files *w = calloc(1, sizeof *w);
  if (!w) {
    return NULL;
  }
  w->changed = changed;
  w->arg = arg;
  uv_timer_init(loop, &w->timer);
  w->timer.data = w;
  for (size_t i = 0; i < count && w->count < WATCH_FILES_MAX; i++) {
    struct watched_file *f = &w->files[w->count];
    if (*paths[i] && (f->path = strdup(paths[i]))) {
      uv_fs_stat(NULL, &f->request, f->path, NULL);
      f->look = look_at(&f->request);
      uv_fs_req_cleanup(&f->request);
      f->watch = w;
      w->count++;
    }
  }
  if (w->count) {
    uv_timer_start(&w->timer, on_timer, every_ms, every_ms);
  }
  return w;
}

static void on_closed(uv_handle_t *handle) {
  struct watch_files *w = handle->data;
  w->closed = true;
  free_when_done(w);
}

void watch_files_free(struct watch_files *w) {
  if (w) {
    uv_close((uv_handle_t *)&w->timer, on_closed);
  }
}
