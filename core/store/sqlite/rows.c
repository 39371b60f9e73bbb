/* In: ids of conversations that are written to. Out: their rows, as the running transaction sees them. Why: nearly
 * every write is for a conversation that was written to a moment ago, and to know its key, its last seq and what of it
 * is stored already saves a look-up and lets an update name only what has changed. When that may not be true any more
 * (a transaction that was undone, an erasure, another connection that has changed something) all of it is forgotten.
 * Bound: ROWS_MAX rows; in a full set the one that came first makes room. */
#include "sqlite_impl.h"

#include "hash.h"

#include <stdlib.h>
#include <string.h>

#define WAYS 4
#define SETS (ROWS_MAX / WAYS)

struct rows {
  struct hash_seed seed;
  sqlite3_int64 version; /* of the database, as another connection left it */
  struct session_row all[SETS][WAYS];
  uint8_t next[SETS]; /* which makes room */
};

int rows_open(struct sqlite_handle *h) {
  h->rows = calloc(1, sizeof *h->rows); /* pages that are never touched take no memory */
  if (!h->rows)
    return statement_no_memory();
  h->rows->seed = hash_seed_draw();
  return 0;
}

void rows_forget(struct sqlite_handle *h) {
  for (size_t i = 0; h->rows && i < ROWS_MAX; i++) {
    struct session_row *p = &h->rows->all[i / WAYS][i % WAYS];
    if (p->user_id) {
      free(p->user_id);
      *p = (struct session_row){0};
    }
  }
}

int rows_check(struct sqlite_handle *h) {
  sqlite3_stmt *s = h->statements[S_DATA_VERSION];
  int r = statement_next(h, s);
  sqlite3_int64 version = r == 1 ? sqlite3_column_int64(s, 0) : 0;
  sqlite3_reset(s);
  if (r == 1 && version != h->rows->version) {
    rows_forget(h);
    h->rows->version = version;
  }
  return r < 0 ? r : 0;
}

void rows_close(struct sqlite_handle *h) {
  rows_forget(h);
  free(h->rows);
  h->rows = NULL;
}

/* Where a row of this id is, or takes the place of another one. */
static struct session_row *place_of(struct rows *rows, const char *id) {
  size_t set = hash_bytes(rows->seed, id, strlen(id)) % SETS;
  struct session_row *free_place = NULL;
  for (size_t i = 0; i < WAYS; i++) {
    struct session_row *p = &rows->all[set][i];
    if (p->user_id && strcmp(p->id, id) == 0)
      return p;
    free_place = p->user_id ? free_place : p;
  }
  if (free_place)
    return free_place;
  struct session_row *p = &rows->all[set][rows->next[set]++ % WAYS];
  free(p->user_id);
  p->user_id = NULL;
  return p;
}

int row_find(struct sqlite_handle *h, const char *id, struct session_row **out) {
  struct session_row *p = *out = place_of(h->rows, id);
  if (p->user_id)
    return 1;
  return place_find(h, id, p);
}

uint64_t row_hash(const struct sqlite_handle *h, const char *text) {
  return text && *text ? hash_bytes(h->rows->seed, text, strlen(text)) | 1 : ROW_NO_NAME;
}
