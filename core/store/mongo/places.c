/* In: conversations that a batch is about to write to. Out: how far each one has come, as the majority has it; and
 * which operations were tried before without a known outcome. Why: messages (insert.c) and conversations (write.c) are
 * written from the same picture, which is asked for in one query and forgotten whenever it is in doubt. Thread: the
 * writer's. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"

#include <stdlib.h>
#include <string.h>

void mongo_forget(struct mongo *h) {
  struct session_place *p, *next;
  HASH_ITER(hh, h->places, p, next) {
    HASH_DEL(h->places, p);
    free(p->user_id);
    free(p);
  }
}

static struct session_place *place_find(struct mongo *h, const char *id) {
  struct session_place *p;
  HASH_FIND(hh, h->places, id, STORE_ID_LEN, p);
  return p;
}

struct session_place *mongo_place(struct mongo *h, const char *id) {
  struct session_place *p = place_find(h, id);
  if (!p && (p = calloc(1, sizeof *p))) {
    memcpy(p->id, id, STORE_ID_LEN);
    HASH_ADD(hh, h->places, id, STORE_ID_LEN, p);
  }
  return p;
}

static void place_read(struct mongo *h, const bson_t *doc) {
  char id[STORE_ID_LEN + 1];
  struct session_place *p = mongo_id(doc, "_id", id) ? place_find(h, id) : NULL;
  if (!p)
    return;
  bson_iter_t at;
  free(p->user_id);
  p->user_id = NULL;
  if (bson_iter_init_find(&at, doc, MONGO_UID))
    (void)mongo_copy(&at, &p->user_id);
  p->exists = true;
  p->top = mongo_top(doc);
}

/* {_id: {$in: […]}} of what is not known; NULL: everything is. */
static bson_t *places_unknown(struct batch *b) {
  bson_t *match = bson_new(), in, ids;
  uint32_t n = 0;
  bson_append_document_begin(match, "_id", -1, &in);
  bson_append_array_begin(&in, "$in", -1, &ids);
  for (size_t i = 0; i < b->count; i++) {
    struct session_place *p = b->places[i];
    if (!p || p->known)
      continue;
    p->known = true;
    p->exists = false;
    p->top = 0;
    mongo_append_element(&ids, n++, p->id);
  }
  bson_append_array_end(&in, &ids);
  bson_append_document_end(match, &in);
  if (n > 0)
    return match;
  bson_destroy(match);
  return NULL;
}

/* By one query, and as the majority has them: what another primary may undo is no ground to build on. */
int batch_places(struct batch *b) {
  bson_t *match = places_unknown(b);
  if (!match)
    return 0;
  mongoc_cursor_t *found = mongo_aggregate(b->h->sessions, mongo_stages(match, MONGO_PLACE_STAGES), b->h, true);
  const bson_t *doc;
  while (mongoc_cursor_next(found, &doc))
    place_read(b->h, doc);
  return mongo_cursor_end(b->h, "find conversations", found);
}

/* ---- tried before ---- */

bool mongo_tried(const struct mongo *h, const struct store_op *op) {
  for (size_t i = 0; i < h->tried_count; i++)
    if (h->tried[i] == op)
      return true;
  return false;
}

void mongo_note_tried(struct mongo *h, struct store_op **ops, size_t count) {
  const struct store_op **tried = realloc(h->tried, (count + 1) * sizeof *tried);
  h->tried = tried ? tried : h->tried;
  h->tried_count = 0;
  for (size_t i = 0; i < count && tried; i++)
    if (ops[i]->code == E_AWAY)
      h->tried[h->tried_count++] = ops[i];
}
