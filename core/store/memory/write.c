/* In: a batch of writes. Out: what they change in a database in memory, each whole or not at all. Why the lock is held
 * so briefly: only the writer's thread changes anything, so it alone may look without it, and call out. */
#include "memory_impl.h"

#include "err.h"
#include "metrics.h"
#include "sealed.h"

#include <stdlib.h>
#include <string.h>

static int message_add(struct memory_handle *h, struct kept *k, struct message_record *r) {
  struct kept_message *there = kept_cid(k, r->cid);
  if (there) {
    r->duplicate = true;
    r->open = r->open && there->record.open;
    r->at_ms = there->record.at_ms;
    r->seq = there->record.seq;
    memcpy(r->id, there->record.id, sizeof r->id);
    return 0;
  }
  HASH_FIND_STR(h->m->ids, r->id, there);
  struct kept_message *new = !there ? calloc(1, sizeof *new) : NULL;
  if (!new)
    return E_STORE;
  struct message_record *to = &new->record;
  new->said = r->content_len;
  r->seq = k->count + 1;
  *to = (struct message_record){.seq = r->seq, .at_ms = r->at_ms, .open = r->open};
  int code = sealed_message(h->keys, k->record.id, k->record.user_id, r, &to->content, &to->content_len);
  if (code || h->m->bytes + to->content_len > MEMORY_BYTES) {
    message_record_deinit(to);
    free(new);
    return E_STORE;
  }
  h->m->sealed |= !!h->keys;
  memcpy(to->id, r->id, sizeof to->id);
  to->cid = kept_copy(r->cid);
  to->sender = kept_copy(r->sender);
  to->type = kept_copy(r->type);
  to->extra = kept_copy(r->extra);
  kept_add(h->m, k, new);
  return 0;
}

/* Its name goes to the place of names, sealed. One that could not be read stays when there is no new one. */
static int name_keep(struct memory_handle *h, struct kept *k, struct session_record *fresh) {
  char *name;
  size_t len;
  if (fresh->name_damaged && (!fresh->name || *fresh->name == '\0'))
    return 0;
  int code = sealed_name(h->keys, fresh->id, fresh->user_id, fresh->name, &name, &len);
  if (code)
    return code;
  free(k->name);
  k->name = name;
  h->m->sealed |= !!h->keys && name;
  return 0;
}

static struct kept *kept_put(struct memory_handle *h, struct kept *k, const struct session_record *r) {
  struct session_record fresh;
  bool first = !k;
  if (first && !(k = calloc(1, sizeof *k)))
    return NULL;
  if (session_record_copy(&fresh, r)) {
    if (first)
      free(k);
    return NULL;
  }
  if (first) {
    fresh.user_id = fresh.user_id ? fresh.user_id : kept_copy("");
  } else { /* all but the owner */
    free(fresh.user_id);
    fresh.user_id = k->record.user_id;
    k->record.user_id = NULL;
    session_record_deinit(&k->record);
  }
  if (name_keep(h, k, &fresh))
    abort(); /* no memory, as in kept_copy, or no randomness */
  free(fresh.name);
  fresh.name = NULL;
  fresh.name_damaged = false;
  free(fresh.share_token);
  fresh.share_token = NULL;
  fresh.share_expires_ms = k->record.share_expires_ms;
  k->record = fresh;
  if (first)
    HASH_ADD_KEYPTR(hh, h->m->sessions, k->record.id, STORE_ID_LEN, k);
  return k;
}

static void message_mark(struct memory *m, const struct kept *k, const struct store_mark *mark) {
  struct kept_message *there;
  HASH_FIND_STR(m->ids, mark->id, there);
  if (!there || there->record.seq > k->count || k->messages[there->record.seq - 1] != there)
    return; /* of another conversation, perhaps */
  struct message_record *r = &there->record;
  r->attempts += mark->what == STORE_ATTEMPT;
  r->begun |= mark->what == STORE_BEGUN;
  r->open &= mark->what != STORE_DEALT;
}

static int op_write(struct memory_handle *h, struct store_op *op) {
  struct memory *m = h->m;
  struct kept *k = kept_find(m, op->session.id);
  bool first = !k;
  if (first && !op->has_session)
    return E_NOT_FOUND;
  if (first && !(k = kept_put(h, NULL, &op->session)))
    return E_STORE;
  size_t before = k->count;
  int code = 0;
  for (size_t i = 0; i < op->message_count && code == 0; i++)
    code = message_add(h, k, &op->messages[i]);
  if (code == 0 && op->mark.id[0] != '\0')
    message_mark(m, k, &op->mark);
  if (code == 0 && op->has_session && !first)
    code = kept_put(h, k, &op->session) ? 0 : E_STORE;
  if (code && first)
    kept_drop(m, k);
  else if (code)
    kept_shorten(m, k, before);
  else if (!op->has_session && k->count > before &&
           op->messages[op->message_count - 1].at_ms > k->record.last_activity_ms)
    k->record.last_activity_ms = op->messages[op->message_count - 1].at_ms;
  return code;
}

static void audit_keep(struct memory *m, const struct audit_record *a) {
  m->audits = realloc(m->audits, (m->audit_count + 1) * sizeof *m->audits);
  if (!m->audits)
    abort();
  m->audits[m->audit_count++] = (struct audit_record){a->at_ms, kept_copy(a->actor), kept_copy(a->action),
                                                      kept_copy(a->subject), kept_copy(a->detail)};
}

/* ---- erasing ---- */

static void kept_erase(struct memory *m, struct kept *k, struct store_op *op) {
  op->erased.sessions++;
  op->erased.messages += k->count;
  lock_acquire(&m->lock);
  kept_drop(m, k);
  lock_release(&m->lock);
}

static int erased_audit(struct memory *m, struct store_op *op) {
  if (store_op_account(op))
    return E_STORE;
  lock_acquire(&m->lock);
  audit_keep(m, &op->audit);
  lock_release(&m->lock);
  return 0;
}

static int op_erase(struct memory *m, struct store_op *op) {
  struct kept *k, *next;
  bool one = op->session.id[0] != '\0';
  HASH_ITER(hh, m->sessions, k, next) {
    if (strcmp(k->record.user_id, op->session.user_id) == 0 && (!one || strcmp(k->record.id, op->session.id) == 0))
      kept_erase(m, k, op);
  }
  return one && op->erased.sessions == 0 ? E_NOT_FOUND : erased_audit(m, op);
}

static struct kept *oldest_idle(struct memory *m, const struct store_op *op) {
  struct kept *k, *next, *oldest = NULL;
  HASH_ITER(hh, m->sessions, k, next) {
    if (k->record.last_activity_ms < op->before_ms && (!op->in_use || !op->in_use(op->arg, k->record.id)) &&
        (!oldest || k->record.last_activity_ms < oldest->record.last_activity_ms))
      oldest = k;
  }
  return oldest;
}

static int op_expire(struct memory *m, struct store_op *op) {
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return E_STORE;
  struct kept *k;
  while (op->session_count < op->limit && (k = oldest_idle(m, op))) {
    struct session_record *gone = &op->sessions[op->session_count++];
    memcpy(gone->id, k->record.id, sizeof gone->id);
    gone->user_id = kept_copy(k->record.user_id);
    kept_erase(m, k, op);
  }
  return op->session_count > 0 ? erased_audit(m, op) : 0;
}

static int op_run(struct memory_handle *h, struct store_op *op) {
  int code = 0;
  switch (op->kind) {
  case STORE_SHARE:
    lock_acquire(&h->m->lock);
    code = memory_share(h, op);
    lock_release(&h->m->lock);
    return code;
  case STORE_ERASE:
    return op_erase(h->m, op);
  case STORE_EXPIRE:
    return op_expire(h->m, op);
  case STORE_AUDIT:
    lock_acquire(&h->m->lock);
    audit_keep(h->m, &op->audit);
    lock_release(&h->m->lock);
    return 0;
  case STORE_WRITE:
    if (!store_op_empty(op)) {
      lock_acquire(&h->m->lock);
      code = op_write(h, op);
      lock_release(&h->m->lock);
    }
    return code;
  case STORE_PING:
    return 0;
  default:
    return E_INVALID;
  }
}

static bool memory_is_away(struct memory *m) {
  lock_acquire(&m->lock);
  bool away = m->away;
  lock_release(&m->lock);
  return away;
}

void memory_write(void *handle, struct store_op **ops, size_t count) {
  struct memory_handle *h = handle;
  bool away = memory_is_away(h->m);
  for (size_t i = 0; i < count; i++) {
    ops[i]->code = away ? E_AWAY : op_run(h, ops[i]);
    for (size_t k = 0; ops[i]->code && k < ops[i]->message_count; k++) {
      ops[i]->messages[k].seq = 0;
      ops[i]->messages[k].duplicate = false;
    }
  }
  metrics_add(METRIC_STORE_COMMITS, away ? 0 : 1);
}
