/* In: a database that was just opened. Out: whether it may be used; a backup in its place. Why: see mark.c. */
#pragma once
#ifndef ROOM_STORE_SQLITE
#error "mark.h is private to core/store/sqlite"
#endif

#include "attr.h"

#include <sqlite3.h>
#include <stdbool.h>

/* Marks the file as a copy, on the disk too. SQLite must not have it open. 0 or libuv's code. */
int mark_set(int fd) NODISCARD;
/* Before the first statement. E_CONFLICT: a copy beside a -wal or -journal that is not empty. A writer, who has the
 * lock, makes a copy a database with an epoch of its own. 0 also when it is none; or E_STORE, with one line in why[].
 */
int mark_look(sqlite3 *db, const char *path, bool writer, char why[256]) NODISCARD;
/* Whether a file is a whole database; 0, or a negative code and one line in why[]. */
typedef int mark_check(const char *path, char why[256]);
/* Puts a marked copy of file in the place of the database, and removes what belonged to that. When check refuses the
 * copy, nothing has changed. E_BUSY: somebody uses the database; E_CONFLICT: file is the database itself or has a -wal;
 * or libuv's code, with one line in why[]. */
int mark_restore(const char *file, const char *path, mark_check *check, char why[256]) NODISCARD;
