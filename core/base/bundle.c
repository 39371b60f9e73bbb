/* In: the folder of scripts. Out: all its *.lua files, whole, with one version. Why: see bundle.h. */
#include "bundle.h"

#include "err.h"
#include "regular.h"
#include "utf8.h"

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
#define MORE_MAX 32        /* "; and N more" */
#define ENTRIES_MAX 200000 /* that are looked at */

struct bundle {
  atomic_int refs;
  struct bundle_file *files;
  size_t count, room, total, entries;
  size_t skipped_unlisted;
  char skipped[BUNDLE_SKIPPED_MAX];
  struct stat above[DEPTH_MAX + 1]; /* the folders that are being read, from the first on */
  char version[BUNDLE_VERSION_LEN + 1];
};

static int fail(char why[512], const char *path, const char *text, int code) {
  snprintf(why, 512, "%.400s: %s", path, text);
  return code;
}

/* What no `require` can name and no log line can show as it is. */
static bool name_ok(const char *name) {
  for (size_t left = strlen(name), n; left > 0; name += n, left -= n) {
    n = utf8_sequence(name, left);
    if (n == 0 || (n == 1 && ((unsigned char)*name < ' ' || *name == 0x7F))) {
      return false;
    }
  }
  return true;
}

/* One more that is left out, as "name: reason"; what does not fit is only counted. */
static int skip(struct bundle *b, const char *relative, const char *reason) {
  size_t len = strlen(b->skipped), room = sizeof b->skipped - len - MORE_MAX;
  if (b->skipped_unlisted > 0 || strlen(relative) + strlen(reason) + 4 > room) {
    b->skipped_unlisted++;
    return 0;
  }
  char *at = b->skipped + len + (size_t)snprintf(b->skipped + len, room, "%s", len ? "; " : "");
  snprintf(at, room - (size_t)(at - b->skipped - len), "%s: %s", relative, reason);
  for (bool plain = name_ok(relative); !plain && *at; at++) {
    *at = *at < ' ' || *at > '~' ? '?' : *at;
  }
  return 0;
}

/* Some editors put a byte order mark before UTF-8. */
static void bom_drop(struct bundle_file *f) {
  if (f->len >= 3 && memcmp(f->text, "\xEF\xBB\xBF", 3) == 0) {
    f->len -= 3;
    memmove(f->text, f->text + 3, f->len + 1);
  }
}

static const char *kind_of(mode_t mode) {
  return S_ISFIFO(mode)                   ? "a pipe"
         : S_ISSOCK(mode)                 ? "a socket"
         : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
                                          : "no regular file";
}

/* "bots/echo.lua" -> "bots.echo" */
static char *module_name(const char *relative) {
  char *name = strndup(relative, strlen(relative) - strlen(".lua"));
  for (char *p = name; p && *p; p++) {
    *p = *p == '/' ? '.' : *p;
  }
  return name;
}

static int make_room(struct bundle *b) {
  if (b->count < b->room) {
    return 0;
  }
  size_t room = b->room ? b->room * 2 : 64;
  struct bundle_file *files = realloc(b->files, room * sizeof *files);
  if (!files) {
    return UV_ENOMEM;
  }
  b->files = files;
  b->room = room;
  return 0;
}

static int add_file(struct bundle *b, const char *path, const char *relative, char why[512]) {
  if (b->count == FILES_MAX) {
    return fail(why, path, "more than 1000 files", E_TOO_BIG);
  }
  struct bundle_file f = {0};
  int code = make_room(b);
  code = code ? code : regular_read(path, FILE_MAX, &f.text, &f.len);
  if (code == UV_ENOENT || code == E_UNSUPPORTED) {
    return skip(b, relative, "it has just gone");
  }
  if (code) {
    return fail(why, path, code == E_TOO_BIG ? "larger than 1 MiB" : err_text(code), code);
  }
  bom_drop(&f);
  f.name = module_name(relative);
  if (asprintf(&f.path, "scripts/%s", relative) < 0) {
    f.path = NULL;
  }
  if (!f.name || !f.path) {
    free(f.text);
    free(f.name);
    free(f.path);
    return UV_ENOMEM;
  }
  b->files[b->count++] = f;
  b->total += f.len;
  return b->total > TOTAL_MAX ? fail(why, path, "more than 16 MiB in all", E_TOO_BIG) : 0;
}

static int add_folder(struct bundle *b, const char *path, const char *relative, int depth, char why[512]);

static bool is_script(const char *entry) {
  const char *dot = strrchr(entry, '.');
  return dot && strcmp(dot, ".lua") == 0;
}

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
  bool script = is_script(entry);
  struct stat st;
  if (stat(path, &st)) {
    bool leads_nowhere = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EACCES;
    return leads_nowhere ? skip(b, below, errno == ENOENT ? "a link to nothing" : strerror(errno))
                         : fail(why, path, strerror(errno), uv_translate_sys_error(errno));
  }
  if (!S_ISDIR(st.st_mode) && !script) {
    return 0;
  }
  if (!name_ok(entry)) {
    return skip(b, below, "its name is no UTF-8 or has control characters");
  }
  for (int i = 0; S_ISDIR(st.st_mode) && i <= depth; i++) {
    if (b->above[i].st_dev == st.st_dev && b->above[i].st_ino == st.st_ino) {
      return skip(b, below, "a link to a folder it lies in");
    }
  }
  if (S_ISDIR(st.st_mode)) {
    return depth == DEPTH_MAX ? fail(why, path, "nested too deeply", E_TOO_BIG)
                              : add_folder(b, path, below, depth + 1, why);
  }
  return S_ISREG(st.st_mode) ? add_file(b, path, below, why) : skip(b, below, kind_of(st.st_mode));
}

/* A folder below the first that may not be read is left out (lost+found is one); without the first there is nothing. */
static int add_folder(struct bundle *b, const char *path, const char *relative, int depth, char why[512]) {
  DIR *d = opendir(path);
  if (!d && depth > 0 && (errno == EACCES || errno == EPERM || errno == ENOENT)) {
    return skip(b, relative, strerror(errno));
  }
  if (!d) {
    return fail(why, path, strerror(errno), uv_translate_sys_error(errno));
  }
  int code = fstat(dirfd(d), &b->above[depth]) ? fail(why, path, strerror(errno), uv_translate_sys_error(errno)) : 0;
  for (struct dirent *e; !code && (e = readdir(d));) {
    if (e->d_type == DT_REG && !is_script(e->d_name)) {
      continue; /* of these there may be very many; the others are looked at */
    }
    code = ++b->entries > ENTRIES_MAX ? fail(why, path, "more than 200000 entries", E_TOO_BIG)
                                      : add_entry(b, path, relative, e->d_name, depth, why);
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

/* "a/b.lua" and "a.b.lua" are both a.b, which would be ambiguous. */
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
  if (b->skipped_unlisted) {
    size_t len = strlen(b->skipped);
    snprintf(b->skipped + len, sizeof b->skipped - len, "%s%zu more", len ? "; and " : "", b->skipped_unlisted);
  }
  *out = b;
  return 0;
}

const char *bundle_skipped(const struct bundle *b) {
  return b->skipped;
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
