/* In: a path. Out: the bytes of the regular file there.
 * Why: a pipe blocks whoever opens it, a device may do something when it is opened, and neither has an end; so a folder
 * that other people and programs write into is read through this. Links are followed. Thread: any; blocks. */
#pragma once
#include "attr.h"

#include <stddef.h>

/* 0 and malloc'ed text with a NUL behind its len bytes; E_TOO_BIG: more than max bytes; UV_EISDIR; E_UNSUPPORTED: a
 * pipe, a socket, a device; UV_ENOENT: nothing there, or a link to nothing; or libuv's other codes. */
int regular_read(const char *path, size_t max, char **text, size_t *len) NODISCARD;
