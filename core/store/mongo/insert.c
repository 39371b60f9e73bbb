/* In: the messages of a batch. Out: each stored under its number, or found to be there already. Why: they go in one
 * ordered insert, which stops at the first that cannot be stored, so a number is never left out. Where it stops at a
 * key that is taken, one query tells of all that are left which of them are there: by its id an earlier try has stored
 * it; by its cid it is a duplicate; and if neither, the number is taken, because somebody else writes to the same
 * conversation: it is looked at again and the rest is numbered anew. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 8 /* that got nowhere */

struct round {
  struct batch_item **sent;
  bson_t **docs;
  size_t count;
};

/* ---- what of a failed operation is stored already ---- */

/* The insert stopped at it, so what it has stored is the end of its conversation. */
static bson_t *leftovers_filter(struct batch *b) {
  bson_t *filter = bson_new(), in, ids;
  uint32_t n = 0;
  bson_append_document_begin(filter, "_id", -1, &in);
  bson_append_array_begin(&in, "$in", -1, &ids);
  for (size_t i = 0; i < b->item_count; i++) {
    struct batch_item *it = &b->items[i];
    if (it->op->code != E_STORE || !it->settled || it->duplicate)
      continue;
    mongo_append_element(&ids, n++, it->m->id);
    it->settled = false;
    if (it->place->top >= it->seq)
      it->place->top = it->seq - 1;
  }
  bson_append_array_end(&in, &ids);
  bson_append_document_end(filter, &in);
  if (n > 0)
    return filter;
  bson_destroy(filter);
  return NULL;
}

static int failed_undo(struct batch *b) {
  bson_t *leftovers = leftovers_filter(b);
  int code = leftovers ? mongo_delete(b->h, b->h->messages, leftovers, NULL) : 0;
  for (size_t i = 0; i < b->count && code == 0; i++) {
    struct session_place *p = b->places[i];
    if (!p || p->maker != b->ops[i] || b->ops[i]->code != E_STORE || !p->exists)
      continue;
    p->exists = false; /* sessions_change finds it gone if there is more for it */
    code = mongo_delete(b->h, b->h->sessions, BCON_NEW("_id", BCON_UTF8(p->id)), NULL);
  }
  return code;
}

/* ---- one insert ---- */

static bool item_waits(const struct batch_item *it) {
  return !it->settled && it->op->code == 0;
}

static void round_clear(struct round *r) {
  while (r->count > 0)
    bson_destroy(r->docs[--r->count]);
}

/* false: an operation has failed, so numbers have changed. */
static bool round_number(struct batch *b, struct round *r) {
  for (size_t i = 0; i < b->item_count; i++)
    b->items[i].place->next = b->items[i].place->top;
  for (size_t i = 0; i < b->item_count; i++) {
    struct batch_item *it = &b->items[i];
    if (!item_waits(it))
      continue;
    it->seq = ++it->place->next;
    int code = 0;
    bson_t *doc = mongo_message_new(b->h, it->place->id, it->place->user_id, it->seq, it->m, &code);
    if (!doc) {
      LOG(LOG_ERROR, "store", "a message cannot be stored", LSTR("session", it->place->id),
          LSTR("reason", err_text(code)));
      it->op->code = E_STORE;
      return false;
    }
    mongo_open_append(doc, it->m, it->op);
    r->sent[r->count] = it;
    r->docs[r->count++] = doc;
  }
  return true;
}

static void item_settle(struct batch_item *it) {
  it->settled = true;
  if (!it->duplicate && it->place->top < it->seq)
    it->place->top = it->seq;
}

static void round_send(struct batch *b, struct round *r, struct bulk_outcome *o) {
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(b->h->messages, true);
  for (size_t i = 0; i < r->count; i++)
    mongoc_bulk_operation_insert(bulk, r->docs[i]);
  mongo_bulk_run(b->h, "insert messages", bulk, o);
  mongoc_bulk_operation_destroy(bulk);
  size_t stored = o->code == 0 && !o->duplicate ? r->count : o->failed_at;
  for (size_t i = 0; i < stored; i++)
    item_settle(r->sent[i]);
}

/* ---- what is there already ---- */

/* {$or: [{_id: {$in: […]}}, {sid, cid}, …]} of all that wait. */
static bson_t *waiting_filter(struct batch *b) {
  bson_t *filter = bson_new(), any, by_id, in, ids;
  uint32_t n = 0, k = 1;
  char key[16];
  bson_append_array_begin(filter, "$or", -1, &any);
  bson_append_document_begin(&any, "0", -1, &by_id);
  bson_append_document_begin(&by_id, "_id", -1, &in);
  bson_append_array_begin(&in, "$in", -1, &ids);
  for (size_t i = 0; i < b->item_count; i++)
    if (item_waits(&b->items[i]))
      mongo_append_element(&ids, n++, b->items[i].m->id);
  bson_append_array_end(&in, &ids);
  bson_append_document_end(&by_id, &in);
  bson_append_document_end(&any, &by_id);
  for (size_t i = 0; i < b->item_count; i++) {
    const struct batch_item *it = &b->items[i];
    if (!item_waits(it) || !it->m->cid)
      continue;
    bson_t *one = BCON_NEW(MONGO_SID, BCON_UTF8(it->place->id), MONGO_CID, BCON_UTF8(it->m->cid));
    snprintf(key, sizeof key, "%u", k++);
    bson_append_document(&any, key, -1, one);
    bson_destroy(one);
  }
  bson_append_array_end(filter, &any);
  return filter;
}

struct found {
  char id[STORE_ID_LEN + 1], sid[STORE_ID_LEN + 1];
  const char *cid;
  uint64_t seq;
  int64_t at_ms;
  bool open;
};

static void item_compare(const struct mongo *h, struct batch_item *it, const struct found *f) {
  bool here = strcmp(f->sid, it->place->id) == 0;
  if (strcmp(f->id, it->m->id) == 0) {
    it->seq = f->seq;
    if (here && mongo_tried(h, it->op))
      item_settle(it);
    else
      it->op->code = E_STORE; /* the id is another message's */
  } else if (here && it->m->cid && f->cid && strcmp(f->cid, it->m->cid) == 0) {
    it->duplicate = true;
    it->seq = f->seq;
    it->at_ms = f->at_ms;
    it->open = f->open;
    memcpy(it->id, f->id, sizeof it->id);
    item_settle(it);
  }
}

static int waiting_find(struct batch *b) {
  bson_t *filter = waiting_filter(b);
  bson_t *options = BCON_NEW("projection", "{", MONGO_SID, BCON_INT32(1), MONGO_SEQ, BCON_INT32(1), MONGO_CID,
                             BCON_INT32(1), MONGO_TS, BCON_INT32(1), MONGO_OPEN, BCON_INT32(1), "}");
  mongoc_cursor_t *cursor = mongo_find(b->h->messages, filter, options, b->h, true);
  const bson_t *doc;
  while (mongoc_cursor_next(cursor, &doc)) {
    struct found f = {.seq = (uint64_t)mongo_number(doc, MONGO_SEQ)};
    bson_iter_t at;
    f.open = bson_has_field(doc, MONGO_OPEN);
    if (bson_iter_init_find(&at, doc, MONGO_TS) && BSON_ITER_HOLDS_DATE_TIME(&at))
      f.at_ms = bson_iter_date_time(&at);
    if (bson_iter_init_find(&at, doc, MONGO_CID) && BSON_ITER_HOLDS_UTF8(&at))
      f.cid = bson_iter_utf8(&at, NULL);
    if (!mongo_id(doc, "_id", f.id) || !mongo_id(doc, MONGO_SID, f.sid))
      continue;
    for (size_t i = 0; i < b->item_count; i++)
      if (item_waits(&b->items[i]))
        item_compare(b->h, &b->items[i], &f);
  }
  return mongo_cursor_end(b->h, "find messages", cursor);
}

/* ---- until all are settled ---- */

/* The key of that message is taken. 1: nothing is known of it, so it is its number that is taken. */
static int conflict_settle(struct batch *b, const struct batch_item *stopped_at) {
  int code = waiting_find(b);
  if (code || !item_waits(stopped_at))
    return code;
  stopped_at->place->known = false;
  code = batch_places(b);
  return code ? code : 1;
}

static int round_run(struct batch *b, struct round *r) {
  struct bulk_outcome o = {0};
  round_send(b, r, &o);
  if (o.duplicate)
    return conflict_settle(b, r->sent[o.failed_at]);
  if (o.code == E_STORE && o.rejected) {
    r->sent[o.failed_at]->op->code = E_STORE; /* it alone; the rest goes on without it */
    return 0;
  }
  return o.code;
}

int batch_insert(struct batch *b) {
  struct round r = {calloc(b->item_count + 1, sizeof *r.sent), calloc(b->item_count + 1, sizeof *r.docs), 0};
  int code = !r.sent || !r.docs ? mongo_no_memory() : 0, stuck = 0;
  while (code >= 0 && stuck < ROUNDS_MAX && (code = failed_undo(b)) == 0) {
    bool numbered = round_number(b, &r);
    if (numbered && r.count == 0)
      break;
    code = numbered ? round_run(b, &r) : 0;
    stuck = code == 1 ? stuck + 1 : 0;
    round_clear(&r);
  }
  round_clear(&r);
  free(r.sent);
  free(r.docs);
  return stuck == ROUNDS_MAX ? E_AWAY : code < 0 ? code : 0;
}
