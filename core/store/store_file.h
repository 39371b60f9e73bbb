/* In: the path of a database file. Out: the file, there, readable by its owner only, and this process its only one.
 * Why: a second server on the same file would give the same seq twice, and SQLite would let it. The lock is on a file
 * beside it, because closing any descriptor of the database itself would drop SQLite's own locks. */
#pragma once
#include "attr.h"

/* For development: the database of a url is gone, if there was one. 0; E_BUSY; E_UNSUPPORTED: not of sqlite. */
int store_file_fresh(const char *url, char why[256]) NODISCARD;

/* Makes the folder (0700; only the last one of a path) and the file (0600) where they are missing. 0 and a descriptor
 * that holds the lock until it is closed; or E_BUSY, libuv's codes, with one line in why[]. */
int store_file_claim(const char *path, int *lock_fd, char why[256]) NODISCARD;
