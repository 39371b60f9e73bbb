/* In: the folder of scripts. Out: all its *.lua files, whole, with one version.
 * Why: every VM of a version loads the same bytes, whatever happens to the folder meanwhile; equal bytes are equal
 * versions. Links are followed (a mounted ConfigMap is one). `chatbox check`, a start and a reload all read with this,
 * so they judge alike. Only regular files are scripts: pipes, sockets, devices, links to nothing, folders that may not
 * be read and names that are no UTF-8 are left out, and bundle_skipped says which. A byte order mark is dropped.
 * Bounds: 1,000 files, 1 MiB each, 16 MiB in all, 8 folders deep, 200,000 entries that may be scripts or
 * folders. Thread: immutable after
 * reading, shared by reference. */
#pragma once
#include "attr.h"

#include <stddef.h>

#define BUNDLE_VERSION_LEN 12
#define BUNDLE_SKIPPED_MAX 1024

struct bundle;
struct bundle_file {
  char *name; /* as required: "bots.echo" */
  char *path; /* as shown: "scripts/bots/echo.lua" */
  char *text;
  size_t len;
};

/* 0, or a negative code and one line in why[]. */
int bundle_read(const char *dir, struct bundle **out, char why[512]) NODISCARD;
struct bundle *bundle_ref(struct bundle *b);
void bundle_unref(struct bundle *b); /* NULL is allowed */
const struct bundle_file *bundle_find(const struct bundle *b, const char *name);
size_t bundle_count(const struct bundle *b);
const struct bundle_file *bundle_at(const struct bundle *b, size_t i); /* sorted by name */
const char *bundle_version(const struct bundle *b);                    /* 12 hex digits */
/* What was left out though it may have been meant: "mail.lua: a pipe; lost+found: Permission denied", one line; empty:
 * nothing. Borrowed. */
const char *bundle_skipped(const struct bundle *b);
