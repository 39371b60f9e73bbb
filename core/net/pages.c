/* In: the folder of web pages. Out: each file, whole, by name. Why: see pages.h. */
#include "pages.h"

#include "err.h"
#include "log.h"
#include "regular.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define PAGES_MAX 256
#define PAGE_BYTES_MAX (1u << 20)

struct pages {
  atomic_int refs;
  size_t count;
  struct page all[PAGES_MAX];
  size_t left_count; /* names of what was left out, the first ones */
  char *left[PAGES_MAX];
};

static const char *type_of(const char *name) {
  static const struct {
    const char *ending, *type;
  } types[] = {{".html", "text/html; charset=utf-8"},
               {".css", "text/css; charset=utf-8"},
               {".js", "text/javascript; charset=utf-8"},
               {".mjs", "text/javascript; charset=utf-8"},
               {".ts", "text/plain; charset=utf-8"}, /* types of the client library, to be copied */
               {".svg", "image/svg+xml"},
               {".png", "image/png"},
               {".ico", "image/x-icon"},
               {".json", "application/json; charset=utf-8"},
               {".webmanifest", "application/manifest+json"},
               {".txt", "text/plain; charset=utf-8"}};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++) {
    if (strcmp(dot, types[i].ending) == 0) {
      return types[i].type;
    }
  }
  return NULL;
}

static bool name_ok(const char *name) {
  return name[0] != '.' && name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] == 0;
}

/* FNV-1a: tells versions of a file apart, nothing more. */
static uint64_t fingerprint(const char *bytes, size_t len) {
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < len; i++) {
    h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
  }
  return h;
}

static bool left_out(const struct pages *p, const char *name) {
  for (size_t i = 0; p && i < p->left_count; i++) {
    if (strcmp(p->left[i], name) == 0) {
      return true;
    }
  }
  return false;
}

/* Said once, not again at each reload. */
static void leave_out(struct pages *p, const struct pages *before, const char *dir, const char *name) {
  char *copy = p->left_count < PAGES_MAX ? strdup(name) : NULL;
  if (!left_out(before, name)) {
    LOG(LOG_WARN, "pages", "left out of the pages: no regular file", LSTR("folder", dir), LSTR("name", name));
  }
  if (copy) {
    p->left[p->left_count++] = copy;
  }
}

/* 1: left out, because it is no regular file or a link to nothing. */
static int read_page(const char *dir, const char *name, struct page *page, char why[512]) {
  char path[4352], *bytes = NULL;
  size_t len = 0;
  if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path) {
    return 1;
  }
  int code = regular_read(path, PAGE_BYTES_MAX, &bytes, &len);
  if (code == UV_ENOENT || code == UV_ELOOP || code == E_UNSUPPORTED) {
    return 1;
  }
  if (code) {
    snprintf(why, 512, "%.400s: %s", path,
             code == E_TOO_BIG   ? "larger than 1 MiB"
             : code == UV_EISDIR ? strerror(EISDIR)
                                 : err_text(code));
    return E_INVALID;
  }
  *page = (struct page){.name = strdup(name), .type = type_of(name), .bytes = bytes, .len = len};
  snprintf(page->etag, sizeof page->etag, "\"%016llx\"", (unsigned long long)fingerprint(bytes, len));
  return page->name ? 0 : UV_ENOMEM;
}

int pages_load(const char *dir, const struct pages *before, struct pages **out, char why[512]) {
  DIR *d = opendir(dir);
  if (!d) {
    snprintf(why, 512, "WEB_DIR: %s: %s", dir, strerror(errno));
    return uv_translate_sys_error(errno);
  }
  struct pages *p = calloc(1, sizeof *p);
  int code = p ? 0 : UV_ENOMEM;
  if (p) {
    atomic_init(&p->refs, 1);
  }
  for (struct dirent *e; !code && (e = readdir(d));) {
    if (!name_ok(e->d_name) || !type_of(e->d_name)) {
      continue;
    }
    if (p->count == PAGES_MAX) {
      snprintf(why, 512, "WEB_DIR: %s: more than %d files", dir, PAGES_MAX);
      code = E_TOO_BIG;
    } else {
      code = read_page(dir, e->d_name, &p->all[p->count], why);
      p->count += code <= 0; /* a page without a name is freed with the others */
      if (code > 0) {
        leave_out(p, before, dir, e->d_name);
      }
      code = code < 0 ? code : 0;
    }
  }
  closedir(d);
  if (code) {
    pages_unref(p);
    return code;
  }
  *out = p;
  return 0;
}

struct pages *pages_ref(struct pages *p) {
  atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
  return p;
}

void pages_unref(struct pages *p) {
  if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1) {
    return;
  }
  for (size_t i = 0; i < p->left_count; i++) {
    free(p->left[i]);
  }
  for (size_t i = 0; i < p->count; i++) {
    free((char *)p->all[i].name);
    free((char *)p->all[i].bytes);
  }
  free(p);
}

const struct page *pages_find(const struct pages *p, const char *name) {
  for (size_t i = 0; i < p->count; i++) {
    if (strcmp(p->all[i].name, name) == 0) {
      return &p->all[i];
    }
  }
  return NULL;
}
