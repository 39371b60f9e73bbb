/* In: the folder of scripts. Out: all its *.lua files, whole, with one version. Why: see bundle.h. */
#include "bundle.h"

#include "err.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define FILES_MAX 1000
#define FILE_MAX (1u << 20)
#define TOTAL_MAX (16u << 20)
#define DEPTH_MAX 8

struct bundle {
  atomic_int refs;
  struct bundle_file *files;
  size_t count, room, total;
  char version[BUNDLE_VERSION_LEN + 1];
};

static int fail(char why[512], const char *path, const char *text, int code) {
  snprintf(why, 512, "%.400s: %s", path, text);
  return code;
}

static char *read_whole(const char *path, size_t *len, char why[512]) {
  FILE *f = fopen(path, "rbe");
  char *text = f ? malloc(FILE_MAX + 1) : NULL;
  *len = text ? fread(text, 1, FILE_MAX + 1, f) : 0;
  bool failed = !text || ferror(f);
  if (failed) {
    fail(why, path, strerror(errno), 0);
  } else if (*len > FILE_MAX) {
    fail(why, path, "larger than 1 MiB", 0);
    failed = true;
  }
  if (f) {
    fclose(f);
  }
  if (failed) {
    free(text);
    return NULL;
  }
  char *fitted = realloc(text, *len + 1);
  fitted = fitted ? fitted : text;
  fitted[*len] = 0;
  return fitted;
}

/* "bots/echo.lua" -> "bots.echo" */
static char *module_name(const char *relative) {
  char *name = strndup(relative, strlen(relative) - strlen(".lua"));
  for (char *p = name; p && *p; p++) {
    *p = *p == '/' ? '.' : *p;
  }
  return name;
}

static int add_file(struct bundle *b, const char *path, const char *relative, char why[512]) {
  if (b->count == FILES_MAX) {
    return fail(why, path, "more than 1000 files", E_TOO_BIG);
  }
  if (b->count == b->room) {
    size_t room = b->room ? b->room * 2 : 64;
    struct bundle_file *files = realloc(b->files, room * sizeof *files);
    if (!files) {
      return UV_ENOMEM;
    }
    b->files = files;
    b->room = room;
  }
  struct bundle_file f = {.name = module_name(relative)};
  f.text = read_whole(path, &f.len, why);
  if (asprintf(&f.path, "scripts/%s", relative) < 0) {
    f.path = NULL;
  }
  if (!f.text || !f.name || !f.path) {
    free(f.text);
    free(f.name);
    free(f.path);
    return E_INVALID;
  }
  b->files[b->count++] = f;
  b->total += f.len;
  return b->total > TOTAL_MAX ? fail(why, path, "more than 16 MiB in all", E_TOO_BIG) : 0;
}

static int add_folder(struct bundle *b, const char *path, const char *relative, int depth, char why[512]);

static int add_entry(struct bundle *b, const char *dir, const char *relative, const char *entry, int depth,
                     char why[512]) {
  char path[4096], below[4096];
  if (entry[0] == '.') {
    return 0; /* hidden: editors' swap files, the ..data of a ConfigMap */
  }
  if (snprintf(path, sizeof path, "%s/%s", dir, entry) >= (int)sizeof path ||
      snprintf(below, sizeof below, "%s%s%s", relative, *relative ? "/" : "", entry) >= (int)sizeof below) {
    return fail(why, dir, "a path that is too long", E_TOO_BIG);
  }
  struct stat st;
  if (stat(path, &st)) {
    return fail(why, path, strerror(errno), uv_translate_sys_error(errno));
  }
  if (S_ISDIR(st.st_mode)) {
    return depth == DEPTH_MAX ? fail(why, path, "nested too deeply", E_TOO_BIG)
                              : add_folder(b, path, below, depth + 1, why);
  }
  const char *dot = strrchr(entry, '.');
  return dot && strcmp(dot, ".lua") == 0 ? add_file(b, path, below, why) : 0;
}

static int add_folder(struct bundle *b, const char *path, const char *relative, int depth, char why[512]) {
  DIR *d = opendir(path);
  if (!d) {
    return fail(why, path, strerror(errno), uv_translate_sys_error(errno));
  }
  int code = 0;
  for (struct dirent *e; !code && (e = readdir(d));) {
    code = add_entry(b, path, relative, e->d_name, depth, why);
  }
  closedir(d);
  return code;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct bundle_file *)a)->name, ((const struct bundle_file *)b)->name);
}

static int set_version(struct bundle *b) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned len = 0;
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
  for (size_t i = 0; ok && i < b->count; i++) {
    ok = EVP_DigestUpdate(ctx, b->files[i].name, strlen(b->files[i].name) + 1) &&
         EVP_DigestUpdate(ctx, &b->files[i].len, sizeof b->files[i].len) &&
         EVP_DigestUpdate(ctx, b->files[i].text, b->files[i].len);
  }
  ok = ok && EVP_DigestFinal_ex(ctx, digest, &len);
  EVP_MD_CTX_free(ctx);
  for (size_t i = 0; ok && i < BUNDLE_VERSION_LEN / 2; i++) {
    snprintf(b->version + i * 2, 3, "%02x", digest[i]);
  }
  return ok ? 0 : UV_ENOMEM;
}

/* "a/b.lua" and "a.b.lua" are both a.b: which one is meant nobody could say. */
static int check_names(const struct bundle *b, char why[512]) {
  for (size_t i = 1; i < b->count; i++) {
    if (by_name(&b->files[i - 1], &b->files[i]) == 0) {
      return fail(why, b->files[i].path, "another file has the same module name", E_DUPLICATE);
    }
  }
  return 0;
}

int bundle_read(const char *dir, struct bundle **out, char why[512]) {
  struct bundle *b = calloc(1, sizeof *b);
  if (!b) {
    return UV_ENOMEM;
  }
  atomic_init(&b->refs, 1);
  snprintf(why, 512, "out of memory");
  int code = add_folder(b, dir, "", 0, why);
  if (!code && b->count == 0) {
    code = fail(why, dir, "no scripts here", E_NOT_FOUND);
  }
  if (!code) {
    qsort(b->files, b->count, sizeof *b->files, by_name);
    code = check_names(b, why);
  }
  if (!code) {
    code = set_version(b);
  }
  if (code) {
    bundle_unref(b);
    return code;
  }
  *out = b;
  return 0;
}

struct bundle *bundle_ref(struct bundle *b) {
  atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
  return b;
}

void bundle_unref(struct bundle *b) {
  if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1) {
    return;
  }
  for (size_t i = 0; i < b->count; i++) {
    free(b->files[i].name);
    free(b->files[i].path);
    free(b->files[i].text);
  }
  free(b->files);
  free(b);
}

const struct bundle_file *bundle_find(const struct bundle *b, const char *name) {
  struct bundle_file key = {.name = (char *)name};
  return b->count ? bsearch(&key, b->files, b->count, sizeof key, by_name) : NULL;
}

size_t bundle_count(const struct bundle *b) {
  return b->count;
}

const struct bundle_file *bundle_at(const struct bundle *b, size_t i) {
  return &b->files[i];
}

const char *bundle_version(const struct bundle *b) {
  return b->version;
}
