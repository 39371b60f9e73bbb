/* In: nothing. Out: the databases this program knows, for store_options.backends. Why: the store knows no database by
 * name; each lies in a room of its own above it, and this one sees them all. */
#pragma once
#include "store.h"

extern const struct store_backend store_sqlite, store_memory, store_mongo;
extern const struct store_backend *const store_backends[]; /* all of them; NULL at the end */
