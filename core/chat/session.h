/* In: what connections send and what handlers change. Out: one conversation, consistent for every thread.
 * Why: every conversation of the process is here: found by id, handle and user; its fields behind one reader-writer
 * lock; its members; its inbox, which keeps one order whatever thread a message came from.
 * Threads: a session is owned by one worker, which alone runs its handlers and fans out; all others go through the lock
 * (taken inside, or shown by REQUIRES) or through the inbox. No function here calls out, does I/O or sees Lua.
 * Bounds: MAX_SESSIONS and MAX_SESSIONS_PER_USER in memory: the idlest leaves; INBOX_LIMIT items and INBOX_BYTES each,
 * INBOX_BYTES_PER_USER in all of a user's (E_FULL); members by MAX_CONNECTIONS_PER_USER. What has ended, or never
 * began, leaves memory with the last who refers to it. */
#pragma once
#include "attr.h"
#include "conn.h"
#include "mailbox.h"
#include "store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct CAPABILITY("session") session;
struct sessions;
struct effects;
struct item;

typedef uint64_t session_handle; /* never used twice; 0: none */

/* ---- the table; any thread ---- */

/* run: of the post by which a session asks its owner to be drained; see session_of_post. */
struct sessions *sessions_new(size_t max, size_t inbox_limit, void (*run)(struct post *)) NODISCARD;
struct sessions_limits {
  size_t per_user;    /* in memory; at the bound the user's own idlest one leaves */
  size_t inbox_bytes; /* waiting in one conversation; a single text is always taken */
};
/* Before the first session; without it there are no such limits. */
void sessions_limit(struct sessions *t, const struct sessions_limits *limits);
/* All workers have stopped. */
void sessions_free(struct sessions *t);
/* A new reference, or NULL. */
struct session *sessions_get(struct sessions *t, session_handle handle) NODISCARD;
struct session *sessions_find(struct sessions *t, const char *id) NODISCARD;
/* Check and act under one lock: *out is, with a new reference, the session of that id if it is in memory; else, for a
 * draft (not stored), the user's active session if there is one; else a new session of this record (copied). At
 * MAX_SESSIONS the one that nobody has used for longest leaves memory for it; E_FULL: all are in use. E_LIMITED: all
 * that one user may have are.
 * read_at: sessions_epoch() of before the store was asked for the record; 0: a draft. 0, UV_ENOMEM; E_CONFLICT:
 * something was erased or forgotten since, the store has to be asked again; E_BUSY: this user is being erased. */
int sessions_enter(struct sessions *t, const struct session_record *record, uint64_t read_at, struct mailbox *owner,
                   uint64_t now_ms, struct session **out) NODISCARD;
/* The same; when it is a new one, the items (linked; taken in any case) lie in its inbox before anybody sees it. *wake
 * as in session_put. */
int sessions_enter_with(struct sessions *t, const struct session_record *record, uint64_t read_at,
                        struct mailbox *owner, uint64_t now_ms, struct item *items, struct session **out,
                        struct mailbox **wake) NODISCARD;
uint64_t sessions_epoch(struct sessions *t);
struct session *sessions_active(struct sessions *t, const char *user_id) NODISCARD;
/* It has ended: the user's next session will be a new one. */
void sessions_ended(struct sessions *t, struct session *s);
/* It has not ended after all: it is the user's active one again, if there is no other. */
void sessions_reopened(struct sessions *t, struct session *s);
/* Forgets sessions without members, waiting work or handlers: stored ones idle since now_ms − ttl_ms, drafts at once.
 * How many. One that is in doubt stays; its owner is asked to write it again (ITEM_REPAIR). */
size_t sessions_sweep(struct sessions *t, uint64_t now_ms, uint64_t ttl_ms);
size_t sessions_count(struct sessions *t);

/* Erasing. All of the user's sessions leave the table, and none comes in until sessions_unbar: 0; E_BUSY: another user
 * is barred; UV_ENOMEM. *out: an array the caller frees, with the table's references. */
int sessions_bar(struct sessions *t, const char *user_id, struct session ***out, size_t *count) NODISCARD;
/* Every record read until now is stale. */
void sessions_unbar(struct sessions *t);
/* The same for sessions the store has erased: takes out what is in memory under this id (NULL: nothing). */
struct session *sessions_take(struct sessions *t, const char *id) NODISCARD;
/* fn(conn, arg) for everybody in any conversation, once, without a lock. */
void sessions_each_member(struct sessions *t, void (*fn)(struct conn *c, void *arg), void *arg);
/* fn(session, conn, arg) for each of the user's own connections in its own conversations in memory, without a lock. */
void sessions_each_of_user(struct sessions *t, const char *user_id,
                           void (*fn)(struct session *s, struct conn *c, void *arg), void *arg);
/* To the user's connections in all of its own conversations in memory; not to others that are members there. */
void sessions_notify_user(struct sessions *t, const char *user_id, struct message *m, const struct mailbox *here);

/* ---- one session ---- */

struct session *session_ref(struct session *s);
void session_unref(struct session *s);

/* Immutable: any thread, no lock. */
session_handle session_id_handle(const struct session *s);
const char *session_id(const struct session *s);
const char *session_user(const struct session *s);

void session_lock_read(const struct session *s) ACQUIRE_SHARED(*s);
void session_unlock_read(const struct session *s) RELEASE_SHARED(*s);
void session_lock_write(struct session *s) ACQUIRE(*s);
void session_unlock_write(struct session *s) RELEASE(*s);

/* Borrowed until the lock is let go. Strings may be NULL: "". */
const struct session_record *session_fields(const struct session *s) REQUIRES_SHARED(*s);
struct session_record *session_edit(struct session *s) REQUIRES(*s);
/* Copies text; a text that cannot be copied stays as it was (UV_ENOMEM). */
int session_set_text(struct session *s, char **field, const char *text) REQUIRES(*s) NODISCARD;
/* The last 100 are kept. */
void session_add_response(struct session *s, uint32_t ms) REQUIRES(*s);
bool session_stored(const struct session *s) REQUIRES_SHARED(*s);
/* From then on nobody joins it (E_GONE) and nothing of it is stored. It is out of the table. */
void session_erase(struct session *s);
bool session_erased(const struct session *s) REQUIRES_SHARED(*s);
size_t session_member_count(const struct session *s) REQUIRES_SHARED(*s);

/* What the store says (session_record.c). A write of the owner: begin, then the fields are changed; when the store has
 * answered, on success the same change is made to the confirmed record, then succeeded; on failure failed, then the
 * changes of all writes that are still on their way are made once more. */
struct session_write {
  bool inserts;      /* the store has not got the session yet: the write has to carry the whole record */
  bool whole;        /* the caller's to say: it carries it */
  unsigned failures; /* of the session, when it began */
};
int session_write_begin(struct session *s, struct session_write *w) REQUIRES(*s) NODISCARD; /* 0, UV_ENOMEM */
/* Between begin and the end of the last write. */
struct session_record *session_confirmed(struct session *s) REQUIRES(*s);
unsigned session_writes(const struct session *s) REQUIRES_SHARED(*s); /* that are on their way */
/* The fields are those of the confirmed record again; a write that is on its way may have carried along what is taken
 * back. Aborts when memory is out. */
void session_take_back(struct session *s) REQUIRES(*s);
/* top: the last seq it was given; 0: none. */
void session_write_succeeded(struct session *s, const struct session_write *w, uint64_t top) REQUIRES(*s);
/* What a failure leaves open. */
enum session_doubt {
  SESSION_NO_DOUBT, /* the store was not even asked */
  SESSION_IN_DOUBT, /* it may have been stored, or a write behind it has carried it along */
  SESSION_ABSENT    /* the store has no such session: it is a draft again */
};
void session_write_failed(struct session *s, const struct session_write *w, enum session_doubt left) REQUIRES(*s);
/* The store may have another record of it than memory: the next write has to be a whole one. */
bool session_doubtful(const struct session *s) REQUIRES_SHARED(*s);
/* Nothing is on its way, and nothing in doubt. */
bool session_settled(const struct session *s) REQUIRES_SHARED(*s);
/* Any thread, lock inside. True: it is in doubt and nobody is about to write it; the caller sees to it that
 * effects_repair is called, once. */
bool session_wants_repair(struct session *s);
void session_repair_begins(struct session *s);
int record_set_text(char **field, const char *text) NODISCARD;
void record_add_response(struct session_record *r, uint32_t ms); /* the last 100 are kept */

/* Members; any thread, lock inside. join: 0, UV_ENOMEM, E_DUPLICATE, E_GONE. When nothing of the session is waiting or
 * parked and nobody was in it, the home of the newcomer becomes its owner. */
int session_join(struct session *s, struct conn *c, uint64_t now_ms) NODISCARD;
void session_leave(struct session *s, struct conn *c, uint64_t now_ms);
/* All members of one instant, each with a reference; members_free lets them go. Aborts when memory is out: members that
 * silently miss a message would break the order they are promised. */
#define MEMBERS_FEW 16
struct members {
  size_t count;
  struct conn **all; /* few, or a heap block */
  struct conn *few[MEMBERS_FEW];
};
void session_members(struct session *s, struct members *out);
void members_free(struct members *m);
/* A new reference, or NULL. */
struct conn *session_member(struct session *s, uint64_t conn_id) NODISCARD;

/* ---- inbox ---- */

enum item_kind {
  ITEM_CONNECT,    /* conn has joined */
  ITEM_TEXT,       /* conn sent text */
  ITEM_REFUSED,    /* likewise, and was refused when it had its turn too early */
  ITEM_UNANSWERED, /* a message of the store that nobody has dealt with */
  ITEM_EFFECTS,    /* a handler elsewhere changes this session */
  ITEM_REPAIR      /* what the store has of it may not be what memory has */
};
struct item {
  struct item *next;
  enum item_kind kind;
  struct conn *conn;              /* a reference, or NULL */
  struct effects *effects;        /* ITEM_EFFECTS */
  struct message_record *message; /* ITEM_UNANSWERED; the item's */
  bool late;                      /* likewise: too old to be answered */
  struct conn_refusal behind;     /* ITEM_TEXT, ITEM_REFUSED: of its connection, see conn_put_off */
  size_t held;                    /* bytes of the user's share of all inboxes */
  size_t len;
  char text[]; /* len bytes and a NUL */
};
struct item *item_new(enum item_kind kind, struct conn *c, const char *text, size_t len) NODISCARD;
/* ITEM_UNANSWERED; takes what the record owns, also on failure (NULL). */
struct item *item_new_unanswered(struct message_record *message, bool late) NODISCARD;
void items_free(struct item *first);
void item_free(struct item *i); /* lets conn go; effects must have been taken */

/* Any thread. Takes the item; ITEM_TEXT counts against the bound: E_FULL, the caller keeps it. *wake: the session has
 * to be brought to its owner: by session_post, or directly when the caller is the owner. */
int session_put(struct session *s, struct item *item, struct mailbox **wake) NODISCARD;
void session_post(struct session *s, struct mailbox *owner);
struct session *session_of_post(struct post *post);

/* ---- owner only ---- */

/* The next item; ownership moves out. NULL: nothing now, the session is off the ready list. While the session is busy
 * an item may be given back with session_later: it comes again, first, when the session is idle. */
struct item *session_take(struct session *s) NODISCARD;
void session_later(struct session *s, struct item *item);
/* The same, in front of all others. */
void session_first(struct session *s, struct item *item);
/* It has work: *wake as in session_put. */
void session_wake(struct session *s, struct mailbox **wake);
bool session_busy(const struct session *s);
/* A queued handler parks (true) or ends (false). *wake as in session_put. */
void session_set_busy(struct session *s, bool busy, struct mailbox **wake);
/* Anything that has to stay with the owner: parked handlers, commits on their way. */
void session_hold(struct session *s);
/* Any thread: holds, and is true, when `here` is the owner. */
bool session_hold_if_owner(struct session *s, const struct mailbox *here) NODISCARD;
void session_unhold(struct session *s, uint64_t now_ms);
void session_unhold_many(struct session *s, unsigned count, uint64_t now_ms);

/* Sends that wait for a commit, in order. */
struct out_queue {
  struct effects *head, *tail;
};
struct out_queue *session_out(struct session *s);
/* Members that are being told what they missed; see catchup.h. */
struct catchup;
struct catchup **session_catchups(struct session *s);
/* Whoever waits for the next user message, or NULL; the caller's own pointer. */
void *session_asker(const struct session *s);
void session_set_asker(struct session *s, void *asker);
/* Whether the store may have a message with this cid. Before a write is submitted its cids are noted. */
enum session_cid {
  SESSION_CID_NEW,    /* it has none */
  SESSION_CID_UNSURE, /* it has none of those since the conversation was loaded; what was before, only the store knows
                       */
  SESSION_CID_KNOWN   /* it has, or is about to have, or may have one */
};
enum session_cid session_cid_look(const struct session *s, const char *cid);
void session_cid_note(struct session *s, const char *cid);
/* Messages that handlers of it are dealing with just now: of each there is one, whatever comes twice. Linked where they
 * lie, in the handler. */
struct dealing {
  struct dealing *next;
  char id[STORE_ID_LEN + 1]; /* "": none */
};
void session_dealing_add(struct session *s, struct dealing *d);
void session_dealing_remove(struct session *s, struct dealing *d);
bool session_dealing_with(const struct session *s, const char *id);
/* Which version of the scripts has the conversation: chosen by whoever runs it, and kept while handlers are parked. */
struct session_pin {
  unsigned canary, parked; /* canary: its number, 0: the current version */
};
struct session_pin *session_pin(struct session *s);
struct session **session_ready_link(struct session *s); /* of the worker's ready list */
