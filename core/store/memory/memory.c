/* In: operations. Out: the same answers as of any backend, without a disk. Why: tests and trials need a database that
 * leaves nothing behind, and the interface is only one when two very different things keep it. Databases go by name and
 * live as long as the process, so that one can be closed and opened again. Content is sealed as everywhere (sealed.h).
 */
#include "memory_impl.h"

#include "err.h"
#include "sealed.h"
#include "store_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <uv.h>

static struct {
  struct lock lock;
  struct memory *first;
} all = {.lock = {PTHREAD_MUTEX_INITIALIZER}};

static struct memory *memory_new(const char *name) {
  struct memory *m = calloc(1, sizeof *m);
  uint32_t drawn = 0;
  if (!m || !(m->name = strdup(name)) || getrandom(&drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn)
    abort();
  m->epoch = drawn;
  lock_init(&m->lock);
  return m;
}

static struct memory *memory_named(const char *name) {
  lock_acquire(&all.lock);
  struct memory *m = all.first;
  while (m && strcmp(m->name, name) != 0)
    m = m->next;
  if (!m) {
    m = memory_new(name);
    m->next = all.first;
    all.first = m;
  }
  lock_release(&all.lock);
  return m;
}

/* ---- reading, under the lock ---- */

/* With the name, and the token of a share, as they are kept; see names_open. */
static int record_copy(struct session_record *to, const struct kept *k) {
  if (session_record_copy(to, &k->record))
    return E_STORE;
  to->top = k->count;
  to->name = kept_copy(k->name);
  to->share_token = kept_copy(k->share);
  return 0;
}

static int record_reply(struct store_op *op, const struct kept *k) {
  struct session_record found;
  if (!k)
    return E_NOT_FOUND;
  if (record_copy(&found, k))
    return E_STORE;
  session_record_deinit(&op->session); /* what was asked with */
  op->session = found;
  return 0;
}

/* Negative: a comes before b in lists. */
static int place_order(const struct session_record *a, int64_t start_ms, const char *id) {
  if (a->start_ms != start_ms)
    return a->start_ms > start_ms ? -1 : 1;
  return strcmp(id, a->id);
}

/* The first one of the user's list behind a place (NULL: at all). */
static struct kept *list_next(struct memory *m, const char *user, const struct store_place *after, bool active) {
  struct kept *k, *next, *first = NULL;
  HASH_ITER(hh, m->sessions, k, next) {
    const struct session_record *r = &k->record;
    bool behind = after->id[0] == '\0' || place_order(r, after->start_ms, after->id) > 0;
    if (behind && strcmp(r->user_id, user) == 0 && (!active || r->end_ms == 0) &&
        (!first || place_order(r, first->record.start_ms, first->record.id) < 0))
      first = k;
  }
  return first;
}

static int read_sessions(struct memory *m, struct store_op *op) {
  struct store_place after = op->after;
  struct kept *k;
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return E_STORE;
  while (op->session_count < op->limit && (k = list_next(m, op->session.user_id, &after, false))) {
    struct session_record *r = &op->sessions[op->session_count];
    if (record_copy(r, k))
      return E_STORE;
    op->session_count++;
    after.start_ms = r->start_ms;
    memcpy(after.id, r->id, sizeof after.id);
  }
  return 0;
}

static void message_reply(const struct message_record *from, struct message_record *to) {
  *to = *from;
  to->cid = kept_copy(from->cid);
  to->sender = kept_copy(from->sender);
  to->type = kept_copy(from->type);
  to->extra = kept_copy(from->extra);
  to->content = malloc(from->content_len + 1);
  if (!to->content)
    abort();
  memcpy(to->content, from->content, from->content_len);
}

/* With the content as it is kept; see messages_open. */
static int read_history(struct memory *m, struct store_op *op) {
  struct kept *k = kept_find(m, op->session.id);
  if (!k)
    return E_NOT_FOUND;
  free(op->session.user_id);
  if (!(op->session.user_id = kept_copy(k->record.user_id))) /* for messages_open */
    return E_STORE;
  size_t end = op->before_seq == 0 || op->before_seq > k->count ? k->count : op->before_seq - 1, first = end, bytes = 0;
  while (first > 0 && end - first < op->limit && bytes < store_op_page_bytes(op))
    bytes += k->messages[--first]->said;
  op->messages = calloc(end - first + 1, sizeof *op->messages);
  if (!op->messages)
    return E_STORE;
  for (; first < end; first++)
    message_reply(&k->messages[first]->record, &op->messages[op->message_count++]);
  return 0;
}

static bool is_open(const struct kept *k, int64_t since_ms) {
  for (size_t i = 0; i < k->count; i++)
    if (k->messages[i]->record.open && k->messages[i]->record.at_ms > since_ms)
      return true;
  return false;
}

/* The open messages of the conversation that was found. */
static int read_open(struct memory *m, struct store_op *op) {
  const struct kept *k = kept_find(m, op->session.id);
  op->messages = calloc(STORE_OPEN_MAX, sizeof *op->messages);
  if (!op->messages)
    return E_STORE;
  for (size_t i = 0; i < k->count && op->message_count < STORE_OPEN_MAX; i++)
    if (k->messages[i]->record.open)
      message_reply(&k->messages[i]->record, &op->messages[op->message_count++]);
  return 0;
}

static int read_session(struct memory *m, struct store_op *op, const struct kept *k) {
  int code = record_reply(op, k);
  return code || !op->with_open ? code : read_open(m, op);
}

static int read_open_sessions(struct memory *m, struct store_op *op) {
  op->sessions = calloc(op->limit, sizeof *op->sessions);
  if (!op->sessions)
    return E_STORE;
  for (const char *after = op->after.id; op->session_count < op->limit;) {
    const struct kept *next = NULL;
    for (const struct kept *k = m->sessions; k; k = k->hh.next)
      if (strcmp(k->record.id, after) > 0 && is_open(k, op->before_ms) &&
          (!next || strcmp(k->record.id, next->record.id) < 0))
        next = k;
    if (!next)
      break;
    memcpy(op->sessions[op->session_count++].id, next->record.id, sizeof next->record.id);
    after = next->record.id;
  }
  return 0;
}

/* Without the lock: it takes its time, and may have to say something in the log. */
static int messages_open(const struct keyring *keys, struct store_op *op) {
  struct unsealing u = {.keys = keys};
  int code = 0;
  for (size_t i = 0; i < op->message_count && code == 0; i++) {
    struct message_record *m = &op->messages[i];
    char *sealed = m->content;
    size_t len = m->content_len;
    m->content = NULL;
    code = unsealing_message(&u, op->session.id, op->session.user_id, m, false, sealed, len);
    free(sealed);
  }
  return code ? E_STORE : unsealing_end(&u);
}

/* Likewise. A list without names is a list. */
static int names_open(const struct keyring *keys, struct session_record *r, size_t count) {
  struct unsealing u = {.keys = keys};
  int code = 0;
  for (size_t i = 0; i < count && code == 0; i++) {
    char *sealed = r[i].name;
    r[i].name = NULL;
    code = unsealing_name(&u, &r[i], false, sealed, sealed ? strlen(sealed) : 0);
    free(sealed);
    sealed = r[i].share_token;
    r[i].share_token = NULL;
    code = code ? code : unsealing_share(&u, &r[i], sealed, sealed ? strlen(sealed) : 0);
    free(sealed);
  }
  (void)unsealing_end(&u);
  return code ? E_STORE : 0;
}

static int read_cid(struct memory *m, struct store_op *op) {
  const struct kept *k = kept_find(m, op->session.id);
  struct message_record *wanted = &op->messages[0];
  for (size_t i = 0; k && i < k->count; i++) {
    const struct message_record *r = &k->messages[i]->record;
    if (!r->cid || strcmp(r->cid, wanted->cid) != 0)
      continue;
    wanted->seq = r->seq;
    wanted->at_ms = r->at_ms;
    memcpy(wanted->id, r->id, sizeof wanted->id);
    return 0;
  }
  return E_NOT_FOUND;
}

static int read_locked(struct memory *m, struct store_op *op) {
  static const struct store_place newest;
  if (m->away)
    return E_STORE;
  switch (op->kind) {
  case STORE_SESSION:
    return read_session(m, op, kept_find(m, op->session.id));
  case STORE_ACTIVE:
    return read_session(m, op, list_next(m, op->session.user_id, &newest, true));
  case STORE_SESSIONS:
    return read_sessions(m, op);
  case STORE_LIST:
    return memory_list(m, op, record_copy);
  case STORE_TOTALS:
    return memory_totals(m, op);
  case STORE_SHARED:
    return record_reply(op, kept_shared(m, op->session.share_token));
  case STORE_HISTORY:
    return read_history(m, op);
  case STORE_CID:
    return read_cid(m, op);
  case STORE_OPEN:
    return read_open_sessions(m, op);
  case STORE_EPOCH:
    op->epoch = m->epoch;
    return 0;
  case STORE_PING:
    return 0;
  default:
    return E_INVALID;
  }
}

static void memory_read(void *handle, struct store_op *op) {
  struct memory_handle *h = handle;
  lock_acquire(&h->m->lock);
  op->code = read_locked(h->m, op);
  lock_release(&h->m->lock);
  bool one = op->kind == STORE_SESSION || op->kind == STORE_ACTIVE || op->kind == STORE_SHARED;
  if (op->code == 0 && (op->kind == STORE_HISTORY || one))
    op->code = messages_open(h->keys, op);
  if (op->code == 0 && (op->kind == STORE_SESSIONS || op->kind == STORE_LIST))
    op->code = names_open(h->keys, op->sessions, op->session_count);
  if (op->code == 0 && one)
    op->code = names_open(h->keys, &op->session, 1);
}

/* ---- life ---- */

static int memory_open(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  struct memory *m = memory_named(location);
  struct memory_handle *h = calloc(1, sizeof *h);
  if (!h)
    return UV_ENOMEM;
  *h = (struct memory_handle){.m = m, .keys = o->keys, .writer = writer};
  lock_acquire(&m->lock);
  bool taken = writer && m->written, keyless = m->sealed && !o->keys && !o->without_texts;
  m->written |= writer && !keyless;
  lock_release(&m->lock);
  if (keyless) {
    snprintf(why, 256, "memory:%.100s is encrypted, and ENCRYPTION_KEY is not set", location);
    free(h);
    return E_KEY;
  }
  if (taken) {
    snprintf(why, 256, "memory:%.200s is open already", location);
    free(h);
    return E_BUSY;
  }
  *handle = h;
  return 0;
}

static void memory_close(void *handle) {
  struct memory_handle *h = handle;
  lock_acquire(&h->m->lock);
  h->m->written &= !h->writer;
  lock_release(&h->m->lock);
  free(h);
}

void store_memory_away(const char *name, bool away) {
  struct memory *m = memory_named(name);
  lock_acquire(&m->lock);
  m->away = away;
  lock_release(&m->lock);
}

int store_memory_audit(const char *name, size_t at, char *out, size_t room) {
  struct memory *m = memory_named(name);
  lock_acquire(&m->lock);
  bool there = at < m->audit_count;
  if (there) {
    const struct audit_record *a = &m->audits[at];
    snprintf(out, room, "%s %s %s: %s", a->actor, a->action, a->subject ? a->subject : "", a->detail ? a->detail : "");
  }
  lock_release(&m->lock);
  return there ? 0 : E_NOT_FOUND;
}

void store_memory_drop(const char *name) {
  struct memory *m = memory_named(name), **link = &all.first;
  lock_acquire(&all.lock);
  while (*link != m)
    link = &(*link)->next;
  *link = m->next;
  lock_release(&all.lock);
  struct kept *k, *next;
  HASH_ITER(hh, m->sessions, k, next) {
    kept_drop(m, k);
  }
  for (size_t i = 0; i < m->audit_count; i++)
    audit_record_deinit(&m->audits[i]);
  free(m->audits);
  free(m->name);
  lock_deinit(&m->lock);
  free(m);
}

const struct store_backend store_memory = {
  .scheme = "memory", .open = memory_open, .close = memory_close, .write = memory_write, .read = memory_read};
