/* In: names and texts. Out: a folder of the test's own under /tmp that holds them, gone afterwards.
 * Why: what reads files is tested on real ones. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct folder {
  char path[64];
};

static inline void folder_open(struct folder *f) {
  strcpy(f->path, "/tmp/chatbox-spec-XXXXXX");
  if (mkdtemp(f->path) == NULL)
    abort();
}

static inline void folder_remove(struct folder *f) {
  char command[96];
  snprintf(command, sizeof command, "rm -rf %s", f->path);
  if (system(command) != 0)
    abort();
}

/* Path of a name below it, in a static buffer; the next eight calls leave it alone. */
static inline const char *folder_at(const struct folder *f, const char *name) {
  static char paths[8][512];
  static unsigned next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", f->path, name);
  return path;
}

static inline void folder_make(const struct folder *f, const char *name) {
  assert_int_equal(mkdir(folder_at(f, name), 0755), 0);
}

static inline void folder_write(const struct folder *f, const char *name, const void *bytes, size_t len) {
  FILE *out = fopen(folder_at(f, name), "w");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, len, out), len);
  assert_int_equal(fclose(out), 0);
}

static inline void folder_text(const struct folder *f, const char *name, const char *text) {
  folder_write(f, name, text, strlen(text));
}

/* A file of that many bytes. */
static inline void folder_fill(const struct folder *f, const char *name, size_t len) {
  char *bytes = malloc(len + 1);
  assert_non_null(bytes);
  memset(bytes, '-', len);
  folder_write(f, name, bytes, len);
  free(bytes);
}
