/* In: files. Out: one call some time after one of them has changed, appeared or gone.
 * Why: keys and certificates are renewed by others, on whatever file system they lie: network mounts and single files
 * mounted into a container tell nobody of a change, so the files are looked at (through links) now and then, off the
 * loop's thread. A pair of files that change one after the other is one call, mostly. Thread: the loop's. Bound: 8
 * files.
 */
#pragma once
#include "attr.h"

#include <stddef.h>

#define WATCH_FILES_MAX 8

struct watch_files;
struct uv_loop_s;

/* every_ms: between two looks, the first of which is taken now; a call comes within two of them. Empty paths are left
 * out. NULL when memory is out. */
struct watch_files *watch_files_new(struct uv_loop_s *loop, const char *const *paths, size_t count, unsigned every_ms,
                                    void (*changed)(void *arg), void *arg) NODISCARD;
/* NULL is allowed; memory goes when the loop has run the close call-backs. */
void watch_files_free(struct watch_files *w);
