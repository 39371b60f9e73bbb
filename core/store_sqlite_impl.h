/* In: nothing. Out: the inside of the SQLite backend, for store_sqlite*.c only, which are the only files that know
 * SQLite. Why: serving (store_sqlite.c) and the walk over everything (store_sqlite_reencrypt.c) are read at different
 * times. */
#pragma once
#include "store.h"

#include <sqlite3.h>

/* store_backend.reencrypt on an open database; the calling thread is the only one that uses db. */
int sqlite_reencrypt(sqlite3 *db, const struct keyring *keys, store_progress_fn *tell, void *arg, char why[256]);
