/* In: the folder of web pages. Out: each file, whole, by name.
 * Why: the pages are few and small, so they are read once into memory and no request ever touches a disk or a path. In
 * development they are read anew when they change. Bounds: 256 files, 1 MiB each; names [A-Za-z0-9._-] in one folder.
 * Thread: a set is immutable; references may be held by any thread. */
#pragma once
#include "attr.h"

#include <stddef.h>

struct pages;
struct page {
  const char *name, *type, *bytes;
  size_t len;
  char etag[20]; /* quoted */
};

/* 0, or a negative code and one line in why[]. Pipes, sockets, devices and links to nothing are left out, and logged if
 * they were not in the set before (NULL: there was none). */
int pages_load(const char *dir, const struct pages *before, struct pages **out, char why[512]) NODISCARD;
struct pages *pages_ref(struct pages *p);
void pages_unref(struct pages *p); /* NULL is allowed */
/* NULL when there is none; borrowed. */
const struct page *pages_find(const struct pages *p, const char *name);
