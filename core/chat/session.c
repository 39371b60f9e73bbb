/* In: what connections send and what handlers change. Out: one conversation, consistent for every thread.
 * Why: see session.h. This file is one session; the table of all of them is sessions.c. */
#include "session_impl.h"

#include "cids.h"

#include "err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct session *session_new(const struct session_record *record, bool stored, struct mailbox *owner, size_t inbox_limit,
                            void (*run)(struct post *)) {
  struct session *s = calloc(1, sizeof *s);
  if (!s || session_record_copy(&s->record, record)) {
    free(s);
    return NULL;
  }
  rwlock_init(&s->lock);
  atomic_init(&s->refs, 1);
  s->stored = stored;
  s->owner = owner;
  s->inbox_limit = inbox_limit;
  s->inbox_bytes_max = SIZE_MAX;
  atomic_init(&s->passing, !stored || record->end_ms != 0);
  s->post.run = run;
  s->cids_all = record->top == 0;
  s->inbox_tail = &s->inbox;
  s->later_tail = &s->later;
  return s;
}

struct session *session_ref(struct session *s) {
  atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

void items_free(struct item *item) {
  while (item) {
    struct item *next = item->next;
    item_free(item);
    item = next;
  }
}

void session_unref(struct session *s) {
  struct sessions *table = s->table;
  session_handle handle = s->handle;
  void (*rest)(struct sessions *, session_handle) = s->rest;
  int before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
  if (before == 2 && table) {
    rest(table, handle); /* s may be gone by now */
  }
  if (before != 1) {
    return;
  }
  assert(!s->out.head && !s->catchups);
  for (size_t i = 0; i < s->member_count; i++) {
    conn_unref(s->members[i]);
  }
  free(s->members);
  items_free(s->inbox);
  items_free(s->later);
  assert(!s->confirmed);
  cids_free(s->cids);
  session_record_deinit(&s->record);
  rwlock_deinit(&s->lock);
  free(s);
}

session_handle session_id_handle(const struct session *s) {
  return s->handle;
}

const char *session_id(const struct session *s) {
  return s->record.id;
}

const char *session_user(const struct session *s) {
  return s->record.user_id;
}

/* The lock of a session is the rwlock inside it; clang cannot see that two capabilities are one. */
void session_lock_read(const struct session *s) NO_THREAD_SAFETY_ANALYSIS {
  rwlock_read(&((struct session *)s)->lock);
}

void session_unlock_read(const struct session *s) NO_THREAD_SAFETY_ANALYSIS {
  rwlock_read_release(&((struct session *)s)->lock);
}

void session_lock_write(struct session *s) NO_THREAD_SAFETY_ANALYSIS {
  rwlock_write(&s->lock);
}

void session_unlock_write(struct session *s) NO_THREAD_SAFETY_ANALYSIS {
  atomic_store_explicit(&s->passing, !s->stored || s->record.end_ms != 0, memory_order_relaxed);
  rwlock_write_release(&s->lock);
}

const struct session_record *session_fields(const struct session *s) {
  return &s->record;
}

struct session_record *session_edit(struct session *s) {
  return &s->record;
}

bool session_stored(const struct session *s) {
  return s->stored;
}

void session_erase(struct session *s) {
  session_lock_write(s);
  s->erased = true;
  session_unlock_write(s);
}

bool session_erased(const struct session *s) {
  return s->erased;
}

size_t session_member_count(const struct session *s) {
  return s->member_count;
}

/* Never back in time: whoever has no clock at hand says 0. */
static void touch(struct session *s, uint64_t now_ms) REQUIRES(*s) {
  s->touched_ms = now_ms > s->touched_ms ? now_ms : s->touched_ms;
}

bool session_quiet(const struct session *s) {
  return s->holds == 0 && !s->scheduled && s->waiting == 0 && !s->busy;
}

int session_join(struct session *s, struct conn *c, uint64_t now_ms) {
  session_lock_write(s);
  int code = s->erased ? E_GONE : 0;
  for (size_t i = 0; i < s->member_count; i++) {
    code = s->members[i] == c ? E_DUPLICATE : code;
  }
  if (!code && s->member_count == s->member_room) {
    size_t room = s->member_room ? s->member_room * 2 : 1;
    struct conn **grown = realloc(s->members, room * sizeof *grown);
    if (grown) {
      s->members = grown;
      s->member_room = room;
    } else {
      code = UV_ENOMEM;
    }
  }
  if (!code) {
    if (s->member_count == 0 && session_quiet(s)) {
      s->owner = conn_home(c);
    }
    s->members[s->member_count++] = conn_ref(c);
    touch(s, now_ms);
  }
  session_unlock_write(s);
  return code;
}

void session_leave(struct session *s, struct conn *c, uint64_t now_ms) {
  bool found = false;
  session_lock_write(s);
  for (size_t i = 0; i < s->member_count; i++) {
    if (s->members[i] == c) {
      s->members[i] = s->members[--s->member_count];
      found = true;
      break;
    }
  }
  touch(s, now_ms);
  session_unlock_write(s);
  if (found) {
    conn_unref(c);
  }
}

void session_members(struct session *s, struct members *out) {
  session_lock_read(s);
  out->count = s->member_count;
  out->all = out->count <= MEMBERS_FEW ? out->few : malloc(out->count * sizeof(struct conn *));
  if (!out->all) {
    abort();
  }
  for (size_t i = 0; i < out->count; i++) {
    out->all[i] = conn_ref(s->members[i]);
  }
  session_unlock_read(s);
}

void members_free(struct members *m) {
  for (size_t i = 0; i < m->count; i++) {
    conn_unref(m->all[i]);
  }
  if (m->all != m->few) {
    free(m->all);
  }
}

struct conn *session_member(struct session *s, uint64_t id) {
  struct conn *found = NULL;
  session_lock_read(s);
  for (size_t i = 0; i < s->member_count && !found; i++) {
    if (conn_id(s->members[i]) == id) {
      found = conn_ref(s->members[i]);
    }
  }
  session_unlock_read(s);
  return found;
}

struct item *item_new(enum item_kind kind, struct conn *c, const char *text, size_t len) {
  struct item *i = malloc(sizeof *i + len + 1);
  if (!i) {
    return NULL;
  }
  *i = (struct item){.kind = kind, .conn = c ? conn_ref(c) : NULL, .len = len};
  if (len) {
    memcpy(i->text, text, len);
  }
  i->text[len] = 0;
  return i;
}

struct item *item_new_unanswered(struct message_record *message, bool late) {
  struct item *i = item_new(ITEM_UNANSWERED, NULL, NULL, 0);
  struct message_record *own = i ? malloc(sizeof *own) : NULL;
  if (!own) {
    message_record_deinit(message);
    free(i);
    return NULL;
  }
  *own = *message;
  i->message = own;
  i->late = late;
  return i;
}

void item_free(struct item *i) {
  if (i->held) {
    account_let_go(conn_meter(i->conn)->user, ACCOUNT_INBOX, i->held);
  }
  if (i->message) {
    message_record_deinit(i->message);
    free(i->message);
  }
  conn_unref(i->conn);
  free(i);
}

static void schedule(struct session *s, struct mailbox **wake) {
  *wake = NULL;
  if (!s->scheduled) {
    s->scheduled = true;
    session_ref(s); /* for the ready list or the post */
    *wake = s->owner;
  }
}

static size_t item_cost(const struct item *item) {
  return sizeof *item + item->len;
}

/* A single text is always taken: it is bounded by MAX_MESSAGE_SIZE. */
static bool inbox_full(const struct session *s, const struct item *item) REQUIRES_SHARED(*s) {
  return item->kind == ITEM_TEXT &&
         (s->waiting >= s->inbox_limit || (s->waiting && s->waiting_bytes + item_cost(item) > s->inbox_bytes_max));
}

/* The user's share, in all conversations together; let go by item_free. */
static int item_hold(struct item *item) {
  if (item->kind != ITEM_TEXT || !item->conn || item->held) {
    return 0;
  }
  int code = account_hold(conn_meter(item->conn)->user, ACCOUNT_INBOX, item_cost(item));
  item->held = code ? 0 : item_cost(item);
  return code ? E_FULL : 0;
}

void session_put_first(struct session *s, struct item *items) {
  session_lock_write(s);
  *s->inbox_tail = items;
  for (; *s->inbox_tail; s->inbox_tail = &(*s->inbox_tail)->next) {
    s->waiting++;
  }
  session_unlock_write(s);
}

void session_wake(struct session *s, struct mailbox **wake) {
  session_lock_write(s);
  schedule(s, wake);
  session_unlock_write(s);
}

int session_put(struct session *s, struct item *item, struct mailbox **wake) {
  *wake = NULL;
  int code = item_hold(item);
  if (code) {
    return code;
  }
  session_lock_write(s);
  if (inbox_full(s, item)) {
    code = E_FULL;
  } else {
    item->next = NULL;
    *s->inbox_tail = item;
    s->inbox_tail = &item->next;
    s->waiting++;
    s->waiting_bytes += item_cost(item);
    schedule(s, wake);
  }
  session_unlock_write(s);
  return code;
}

void session_post(struct session *s, struct mailbox *owner) {
  mailbox_put(owner, &s->post);
}

struct session *session_of_post(struct post *post) {
  return (struct session *)((char *)post - offsetof(struct session, post));
}

static struct item *pop(struct item **head, struct item ***tail) {
  struct item *item = *head;
  if (item && !(*head = item->next)) {
    *tail = head;
  }
  return item;
}

struct item *session_take(struct session *s) {
  session_lock_write(s);
  struct item *item = s->busy ? NULL : pop(&s->later, &s->later_tail);
  if (!item) {
    item = pop(&s->inbox, &s->inbox_tail);
  }
  if (item) {
    s->waiting--;
    s->waiting_bytes -= item_cost(item);
  } else {
    s->scheduled = false;
  }
  session_unlock_write(s);
  return item;
}

void session_later(struct session *s, struct item *item) {
  session_lock_write(s);
  item->next = NULL;
  *s->later_tail = item;
  s->later_tail = &item->next;
  s->waiting++;
  s->waiting_bytes += item_cost(item);
  session_unlock_write(s);
}

void session_first(struct session *s, struct item *item) {
  session_lock_write(s);
  if (!(item->next = s->later)) {
    s->later_tail = &item->next;
  }
  s->later = item;
  s->waiting++;
  s->waiting_bytes += item_cost(item);
  session_unlock_write(s);
}

bool session_busy(const struct session *s) {
  return s->busy;
}

void session_set_busy(struct session *s, bool busy, struct mailbox **wake) {
  *wake = NULL;
  session_lock_write(s);
  s->busy = busy;
  if (!busy && s->waiting) {
    schedule(s, wake);
  }
  session_unlock_write(s);
}

void session_hold(struct session *s) {
  session_lock_write(s);
  s->holds++;
  session_unlock_write(s);
}

bool session_hold_if_owner(struct session *s, const struct mailbox *here) {
  session_lock_write(s);
  bool owner = s->owner == here;
  s->holds += owner;
  session_unlock_write(s);
  return owner;
}

void session_unhold(struct session *s, uint64_t now_ms) {
  session_unhold_many(s, 1, now_ms);
}

void session_unhold_many(struct session *s, unsigned count, uint64_t now_ms) {
  session_lock_write(s);
  assert(s->holds >= count);
  s->holds -= count;
  touch(s, now_ms);
  session_unlock_write(s);
}

struct out_queue *session_out(struct session *s) {
  return &s->out;
}

struct catchup **session_catchups(struct session *s) {
  return &s->catchups;
}

struct session_pin *session_pin(struct session *s) {
  return &s->pin;
}

struct session **session_ready_link(struct session *s) {
  return &s->ready_next;
}

void *session_asker(const struct session *s) {
  return s->asker;
}

void session_set_asker(struct session *s, void *asker) {
  s->asker = asker;
}

enum session_cid session_cid_look(const struct session *s, const char *cid) {
  if (s->cids_lost || (s->cids && cids_may_have(s->cids, cid))) {
    return SESSION_CID_KNOWN;
  }
  return s->cids_all ? SESSION_CID_NEW : SESSION_CID_UNSURE;
}

void session_cid_note(struct session *s, const char *cid) {
  if (!s->cids) {
    s->cids = cids_new();
  }
  if (s->cids) {
    cids_add(s->cids, cid);
  } else {
    s->cids_lost = true;
  }
}

void session_dealing_add(struct session *s, struct dealing *d) {
  d->next = s->dealing;
  s->dealing = d;
}

void session_dealing_remove(struct session *s, struct dealing *d) {
  struct dealing **link = &s->dealing;
  while (*link != d) {
    link = &(*link)->next;
  }
  *link = d->next;
  d->id[0] = 0;
}

bool session_dealing_with(const struct session *s, const char *id) {
  const struct dealing *d = s->dealing;
  while (d && strcmp(d->id, id) != 0) {
    d = d->next;
  }
  return d;
}
