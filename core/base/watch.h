/* In: folders. Out: one call some milliseconds after anything below them has changed.
 * Why: in development a saved file is live at once. Folders are watched, not files: editors replace files, and a
 * mounted ConfigMap swaps a link. A folder may go and come back, or be exchanged by a link above it: that is seen
 * within half a second, and so is a change of a file elsewhere that a link in a folder leads to. Thread: the loop's.
 * Bound: 256 folders, 8 deep; 256 links to files. */
#pragma once
#include "attr.h"

#include <stddef.h>

struct watch;
struct uv_loop_s;

/* NULL when memory is out. What cannot be watched is logged. */
struct watch *watch_new(struct uv_loop_s *loop, const char *const *folders, size_t count, void (*changed)(void *arg),
                        void *arg) NODISCARD;
void watch_free(struct watch *w); /* NULL is allowed; memory goes when the loop has run the close call-backs */
