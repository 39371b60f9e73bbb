/* In: a batch of writes that carries many conversations. Out: a few commands, each one bulk: conversations that are
 * new, messages (insert.c), which of them wait for an answer no longer (unanswered.c), conversations that have changed.
 * Why in this order: wherever it is broken off, nothing is acked that is not stored, no message is without its
 * conversation, and numbers have no gap. All of it can be sent again, so an unknown outcome is answered by trying once
 * more. What was written for an operation before it failed stays; it is not acked. */
#include "mongo_impl.h"
#include "mongo_names.h"

#include "err.h"
#include "log.h"
#include "metrics.h"

#include <stdlib.h>
#include <string.h>

#define PLACES_MAX 20000
#define TRIES_MAX 3

/* ---- conversations ---- */

static void session_insert(struct batch *b, mongoc_bulk_operation_t *bulk, struct store_op *op,
                           struct session_place *p) {
  int code;
  bson_t *doc = mongo_session_new(b->h, &op->session, &code);
  free(p->user_id);
  p->user_id = strdup(op->session.user_id ? op->session.user_id : "");
  op->code = !doc || !p->user_id ? mongo_no_memory() : 0;
  if (op->code != 0)
    bson_destroy(doc);
  else
    op->code = mongo_bulk_insert(b->h, bulk, doc);
  if (op->code != 0)
    return;
  p->maker = op;
  p->exists = true;
}

/* 1: somebody else has made one of them meanwhile. */
static int sessions_insert(struct batch *b) {
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(b->h->sessions, false);
  struct bulk_outcome o = {0};
  bool any = false;
  for (size_t i = 0; i < b->count; i++) {
    struct session_place *p = b->places[i];
    if (!p || p->exists || b->ops[i]->code != 0)
      continue;
    if (b->ops[i]->has_session)
      session_insert(b, bulk, b->ops[i], p);
    else
      b->ops[i]->code = E_NOT_FOUND;
    any = any || p->exists;
  }
  if (any)
    mongo_bulk_run(b->h, "insert conversations", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  return o.duplicate ? 1 : o.code;
}

static void sessions_doubt(struct batch *b) {
  for (size_t i = 0; i < b->count; i++) {
    if (b->places[i] && b->places[i]->maker) {
      b->places[i]->known = false;
      b->places[i]->maker = NULL;
    }
  }
}

static int sessions_open(struct batch *b) {
  int code = 1;
  for (int tries = 0; code == 1 && tries < TRIES_MAX; tries++) {
    if (tries > 0)
      sessions_doubt(b);
    code = batch_places(b);
    code = code ? code : sessions_insert(b);
  }
  return code == 1 ? E_AWAY : code;
}

/* What is to be said of each after its messages: its last record, and when the last message behind that came. */
static void changes_gather(struct batch *b) {
  const struct batch_item *next = b->items;
  for (size_t i = 0; i < b->count; i++) {
    const struct store_op *op = b->ops[i];
    struct session_place *p = b->places[i];
    const struct batch_item *of_op = next;
    next += p ? op->message_count : 0;
    if (!p || op->code != 0 || op == p->maker)
      continue;
    if (op->has_session) {
      p->record = op;
      p->at_ms = 0;
    }
    for (const struct batch_item *it = of_op; it < next && !op->has_session; it++) {
      p->moved = p->moved || !it->duplicate;
      if (!it->duplicate && it->m->at_ms > p->at_ms)
        p->at_ms = it->m->at_ms;
    }
  }
}

static bson_t *change_new(const struct mongo *h, const struct session_place *p, int *code) {
  *code = 0;
  if (!p->record)
    return BCON_NEW("$max", "{", MONGO_LAST_ACTIVITY, BCON_DATE_TIME(p->at_ms), MONGO_MODIFIED,
                    BCON_DATE_TIME(p->at_ms), "}");
  struct session_record r = p->record->session; /* borrowed */
  if (p->at_ms > r.last_activity_ms)
    r.last_activity_ms = p->at_ms;
  return mongo_session_update(h, &r, p->user_id, code);
}

/* Somebody else has erased one of them: its messages must not outlive it. */
static int sessions_gone(struct batch *b) {
  for (size_t i = 0; i < b->count; i++)
    if (b->places[i])
      b->places[i]->known = false;
  int code = batch_places(b);
  for (size_t i = 0; i < b->count && code == 0; i++) {
    if (!b->places[i] || b->places[i]->exists || b->ops[i]->code != 0)
      continue;
    b->ops[i]->code = E_NOT_FOUND;
    code = mongo_delete(b->h, b->h->messages, BCON_NEW(MONGO_SID, BCON_UTF8(b->places[i]->id)), NULL);
  }
  return code;
}

static int sessions_change(struct batch *b) {
  mongoc_bulk_operation_t *bulk = mongo_bulk_new(b->h->sessions, false);
  struct bulk_outcome o = {0};
  int64_t n = 0;
  changes_gather(b);
  for (size_t i = 0; i < b->count; i++) {
    struct session_place *p = b->places[i];
    if (!p || (!p->record && !p->moved))
      continue;
    int code;
    bson_t *change = change_new(b->h, p, &code);
    code = !change ? E_STORE : mongo_bulk_update(b->h, bulk, BCON_NEW("_id", BCON_UTF8(p->id)), change);
    for (size_t k = i; k < b->count && code != 0; k++)
      if (b->places[k] == p && b->ops[k]->code == 0)
        b->ops[k]->code = code;
    n += code == 0;
    p->record = NULL;
    p->moved = false;
  }
  if (n > 0)
    mongo_bulk_run(b->h, "update conversations", bulk, &o);
  mongoc_bulk_operation_destroy(bulk);
  return o.code == 0 && o.matched < n ? sessions_gone(b) : o.code;
}

/* ---- batches ---- */

static int batch_fill(struct batch *b) {
  size_t messages = 0;
  for (size_t i = 0; i < b->count; i++)
    messages += b->ops[i]->message_count;
  b->places = calloc(b->count, sizeof *b->places);
  b->items = calloc(messages + 1, sizeof *b->items);
  if (!b->places || !b->items)
    return mongo_no_memory();
  for (size_t i = 0; i < b->count; i++) {
    struct store_op *op = b->ops[i];
    if (store_op_empty(op))
      continue;
    struct session_place *p = b->places[i] = mongo_place(b->h, op->session.id);
    if (!p)
      return mongo_no_memory();
    p->maker = p->record = NULL;
    p->moved = false;
    p->at_ms = 0;
    for (size_t k = 0; k < op->message_count; k++)
      b->items[b->item_count++] = (struct batch_item){.op = op, .m = &op->messages[k], .place = p};
  }
  return 0;
}

static void batch_answer(struct batch *b, int code) {
  for (size_t i = 0; i < b->count; i++)
    if (code != 0 && b->ops[i]->code == 0 && !store_op_empty(b->ops[i]))
      b->ops[i]->code = code;
  for (size_t i = 0; i < b->item_count; i++) {
    const struct batch_item *it = &b->items[i];
    bool stored = it->op->code == 0;
    it->m->seq = stored ? it->seq : 0;
    it->m->duplicate = stored && it->duplicate;
    if (!it->m->duplicate)
      continue;
    memcpy(it->m->id, it->id, sizeof it->id);
    it->m->at_ms = it->at_ms;
    it->m->open = it->m->open && it->open;
  }
}

static int batch_write(struct mongo *h, struct store_op **ops, size_t count) {
  struct batch b = {.h = h, .ops = ops, .count = count};
  if (HASH_COUNT(h->places) > PLACES_MAX)
    mongo_forget(h);
  int code = batch_fill(&b);
  code = code ? code : mongo_keys_reserve(h, b.item_count + count);
  code = code ? code : sessions_open(&b);
  code = code ? code : batch_insert(&b);
  code = code ? code : batch_duplicates(&b);
  code = code ? code : batch_marks(&b);
  code = code ? code : sessions_change(&b);
  batch_answer(&b, code);
  if (code)
    mongo_forget(h);
  else
    metrics_add(METRIC_STORE_COMMITS, 1);
  free(b.places);
  free(b.items);
  return code;
}

/* Operations of one kind that follow each other; what is not a message goes alone. */
static int run_write(struct mongo *h, struct store_op **ops, size_t count, size_t *length) {
  *length = 1;
  if (ops[0]->kind == STORE_PING)
    return ops[0]->code = mongo_writable(h);
  if (ops[0]->kind == STORE_SHARE) {
    int code = mongo_keys_reserve(h, 1);
    return ops[0]->code = code ? code : mongo_share(h, ops[0]);
  }
  if (ops[0]->kind != STORE_WRITE) {
    mongo_forget(h); /* it may be about to delete what is known */
    return ops[0]->code = mongo_erase(h, ops[0]);
  }
  while (*length < count && ops[*length]->kind == STORE_WRITE)
    ++*length;
  return batch_write(h, ops, *length);
}

void mongo_write(void *handle, struct store_op **ops, size_t count) {
  struct mongo *h = handle;
  char why[256];
  size_t done = 0, length;
  for (size_t i = 0; i < count; i++)
    ops[i]->code = 0;
  int code = mongo_prepare(h, why);
  if (code == E_SCHEMA || code == E_KEY)
    LOG(LOG_ERROR, "store", why);
  for (; done < count && code != E_AWAY && code != E_SCHEMA && code != E_KEY; done += length)
    code = run_write(h, ops + done, count - done, &length);
  if (code == 0)
    h->told = false;
  for (; done < count; done++) /* an order that was broken once would be broken for good */
    ops[done]->code = code == E_AWAY ? E_AWAY : E_STORE;
  mongo_note_tried(h, ops, count);
}
