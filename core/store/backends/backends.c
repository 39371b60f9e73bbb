/* In: nothing. Out: the table of databases. Why: see store_backends.h. */
#include "store_backends.h"

#include <stddef.h>

const struct store_backend *const store_backends[] = {&store_sqlite, &store_memory, &store_mongo, NULL};
