/* In: operations on conversations and their messages, from any thread. Out: each one's result, posted back to the
 * mailbox it names. Why: no loop ever waits for a disk. Writes of all conversations that are queued go into one
 * transaction (what is queued goes into the next commit; no timer); reads have threads and handles of their own.
 * An operation is one heap object: made by store_*_new, handed over by store_submit, freed by store_op_free when the
 * reply has been looked at. The rooms
 * sqlite/, mongo/ and memory/ implement struct store_backend and nothing else; backends/ has the list of them. */
#pragma once
#include "attr.h"
#include "mailbox.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store;
struct keyring;

#define STORE_ID_LEN 32   /* conversation and message ids: 32 lower-case hex digits */
#define STORE_CID_MAX 128 /* bytes of a client's own message id */
#define STORE_LIMIT_MAX 1000
#define STORE_QUEUE_BYTES (256u << 20)  /* of operations waiting, with all they hold; reads and writes each */
#define STORE_HISTORY_BYTES (16u << 20) /* of content: a STORE_HISTORY stops after the message that reaches it */

/* All of a conversation but its messages. Strings are owned by whoever owns the record; NULL means "". Times in ms
 * since 1970, 0: not yet. */
struct session_record {
  char id[STORE_ID_LEN + 1];
  char *user_id, *name, *model_id, *assisting_admin_id, *assisting_admin_name;
  int64_t start_ms, last_activity_ms, end_ms;
  bool help_requested, admin_assisted;
  int64_t total_tokens, max_response_ms, avg_response_ms;
  bool name_damaged;       /* read: there is a name and it cannot be read. Written without a name: it stays there */
  uint64_t top;            /* seq of the last message; also their number. Given by the store, ignored on write */
  int64_t received, read;  /* up to which seq the user's devices have it, and the user has read it. Never beyond top */
  uint32_t responses[100]; /* the last response times in ms, oldest first */
  uint32_t response_count;
  /* Read: who has this token may read the conversation (STORE_SHARE); NULL: nobody. expires 0: never. One that has
   * expired is still given. Ignored on write. */
  char *share_token;
  int64_t share_expires_ms;
};
void session_record_deinit(struct session_record *r); /* frees the strings */
/* Deep copy; 0 or UV_ENOMEM (nothing is left behind). */
int session_record_copy(struct session_record *to, const struct session_record *from) NODISCARD;

struct message_record {
  uint64_t seq;              /* given by the store at commit */
  char id[STORE_ID_LEN + 1]; /* given by whoever makes it */
  char *cid;                 /* NULL: none. Unique in its conversation */
  char *sender;              /* user, ai, admin, system */
  char *type;                /* kind of message it came as: user_message, file_upload, … */
  char *content;
  size_t content_len;
  char *extra; /* JSON object of everything else a script stored (metadata, file_id, …), or NULL */
  int64_t at_ms;
  bool damaged;   /* read: the content cannot be read or is not genuine; it is "", the other fields may be forged */
  bool duplicate; /* reply: the cid was there; seq, id and at_ms are those of the first */
  /* Whether it waits for an answer. Write: it is stored so. Reply, of a duplicate that was written so: the first still
   * does. What was stored before there was this mark does not. */
  bool open;
  bool begun;        /* reply, of an open one: a part of what was done about it is stored (STORE_BEGUN) */
  uint32_t attempts; /* likewise: STORE_ATTEMPT */
};
void message_record_deinit(struct message_record *r);

/* Who did what to whose data, and when. */
struct audit_record {
  int64_t at_ms;
  char *actor;   /* "command line", "server" */
  char *action;  /* export, erase, retention */
  char *subject; /* of whom: "user ID", "session ID" */
  char *detail;  /* what came of it; an erasure's is given by the store: "N conversations, N messages" */
};
#define STORE_AUDIT_MAX 256 /* bytes of each */
void audit_record_deinit(struct audit_record *r);

/* A place in the list of a user's conversations, which goes by start, then id, both downwards. */
struct store_place {
  int64_t start_ms;
  char id[STORE_ID_LEN + 1]; /* "": before the newest */
};

/* Which conversations an operator wants to see, and in which order. */
enum store_sort {
  STORE_BY_START,
  STORE_BY_END, /* those that have not ended are below all that have */
  STORE_BY_MESSAGES,
  STORE_BY_TOKENS,
  STORE_BY_USER,
  STORE_BY_DURATION, /* until the end, or until now_ms */
  STORE_BY_ACTIVITY,
  STORE_SORTS
};
struct store_filter {
  enum store_sort sort;
  bool ascending;
  int active, assisted;   /* 1: only those; 0: only the others; -1: all */
  int64_t from_ms, to_ms; /* of the start, inclusive */
  int64_t now_ms;
  uint32_t offset;     /* at most STORE_OFFSET_MAX */
  int64_t after_value; /* with after.id: what that one was sorted by; not of STORE_BY_USER, which goes by after_user */
};
#define STORE_OFFSET_MAX 10000

/* Of all conversations that began within a time. */
struct store_totals {
  uint64_t sessions, active, assisted;
  int64_t tokens, max_response_ms, avg_response_ms;
  double lasted_ms; /* the sum of how long each was active within that time: until its end, or its last message */
};

/* A token with which anybody can read a conversation. */
struct store_share {
  bool revoke;
  bool sets_expiry;           /* that of a token that is there already changes, too */
  int64_t expires_ms, now_ms; /* 0: never */
};

struct store_erased {
  uint64_t sessions, messages;
};

/* What a write says of an open message of its conversation, together with all else that it stores. */
enum store_marking {
  STORE_BEGUN,   /* this is part of what is done about it, and not the last */
  STORE_ATTEMPT, /* it is about to be dealt with once more */
  STORE_DEALT    /* this is the last */
};
struct store_mark {
  char id[STORE_ID_LEN + 1]; /* "": nothing is said. One that is not open, or not there, changes nothing */
  enum store_marking what;
};
#define STORE_OPEN_MAX 100 /* open messages a STORE_SESSION or STORE_ACTIVE gives */

enum store_kind {
  STORE_WRITE,    /* session (inserted, or replaced but for id, user_id and top) when has_session, then messages[], one
                   * transaction, with its mark. Without has_session messages move last_activity_ms on */
  STORE_SESSION,  /* by session.id -> session; with_open: -> messages[], those that are open, by seq, the first ones */
  STORE_ACTIVE,   /* by session.user_id: the newest one without an end -> session; likewise */
  STORE_SESSIONS, /* of session.user_id, newest start first, those behind `after`, at most limit -> sessions[] */
  STORE_LIST,     /* of session.user_id (NULL: of everybody), as filter says, those behind `after`, at most limit
                   * -> sessions[], and after, after_value and after_user of the last one */
  STORE_TOTALS,   /* of those that began from filter.from_ms to to_ms -> totals */
  STORE_SHARED,   /* by session.share_token -> session, which may have expired */
  STORE_HISTORY,  /* of session.id, the last `limit` with seq < before_seq (0: from the end) -> messages[] by seq;
                   * the first one's seq says whether there are more, see STORE_HISTORY_BYTES */
  STORE_CID,      /* the message of session.id with the cid of messages[0] -> its seq, id and at_ms there */
  STORE_OPEN,     /* conversations with an open message of after before_ms, by id behind after.id, at most limit
                   * -> sessions[] (id only) */
  STORE_EPOCH,    /* -> epoch: another number when the database has become an older one, whose seqs are given anew */
  STORE_PING,     /* does it answer, and do no writes wait for it -> code */
  STORE_SHARE,    /* session.id of session.user_id gets session.share_token, if it has none that holds; -> that which it
                   * has, with its expiry. revoke: it has none any more */
  STORE_ERASE,    /* all conversations of session.user_id, or only session.id when that is set, with their messages ->
                   * erased. From its place among the writes    on nobody finds them; they go in steps, between which other
                   * writes are served; audit is written at    the end. One that is interrupted goes on at the next start
                   */
  STORE_EXPIRE,   /* conversations with last_activity_ms < before_ms that are not in_use, oldest first, at most limit;
                   * audit is written when there was one -> erased, sessions[] (id and user_id only) */
  STORE_AUDIT     /* writes audit */
};

struct store_op {
  struct post post; /* for the reply: reply_to gets it; post.run is the caller's. Also the queue link. */
  struct mailbox *reply_to;
  void *arg; /* the caller's */
  enum store_kind kind;
  int code; /* reply: 0; E_NOT_FOUND; E_STORE (the log has the reason); E_STOPPING */
  bool has_session;
  struct session_record session;
  struct session_record *sessions; /* reply */
  size_t session_count;
  struct message_record *messages; /* write: in; history: reply */
  size_t message_count;
  struct store_mark mark; /* write */
  bool begins, ends;      /* write, for the metrics: it makes the conversation, it ends it */
  bool with_open;         /* session, active */
  uint64_t before_seq;
  size_t bytes;   /* history: in place of STORE_HISTORY_BYTES; 0: those */
  uint64_t epoch; /* reply */
  uint32_t limit; /* 1..STORE_LIMIT_MAX */
  struct store_place after;
  char *after_user;           /* list */
  struct store_filter filter; /* list, totals */
  struct store_totals totals; /* reply */
  struct store_share sharing; /* share */
  int64_t before_ms;
  bool (*in_use)(void *arg, const char *id); /* expire: asked on a store thread, with arg. NULL: none is */
  struct store_erased erased;                /* reply */
  struct audit_record audit;                 /* erase, expire, audit */
  void *ended_with;                          /* the caller's, like arg */
  bool soon;       /* erase: answered as soon as nobody finds it any more; what is left goes on by itself */
  int64_t erasure; /* the backend's, of one that is not at its end */
  uint64_t submitted_ns;
  uint64_t share;     /* the store's: whose part of the queue it takes; 0: nobody's */
  const char *reason; /* reply of a ping that failed: why, a static text; or NULL */
};

struct store_op *store_op_new(enum store_kind kind) NODISCARD;
/* The same with an audit record; copies, a long subject in part. */
struct store_op *store_op_audit(enum store_kind kind, const char *actor, const char *action, const char *subject,
                                int64_t now_ms) NODISCARD;
void store_op_free(struct store_op *op);
/* All it holds, itself included. */
size_t store_op_bytes(const struct store_op *op);
/* For backends: audit.detail says what is in erased. 0 or UV_ENOMEM. */
int store_op_account(struct store_op *op) NODISCARD;
/* Whether its kind is one of writing; whether every field it needs is there and in its bounds. */
bool store_op_writes(const struct store_op *op);
bool store_op_ok(const struct store_op *op);
/* For backends: where the list that is in sessions[] ended, for the next page. 0 or UV_ENOMEM. */
int store_list_end(struct store_op *op) NODISCARD;
/* What a conversation is sorted by; not of STORE_BY_USER. */
int64_t store_sort_value(const struct store_filter *f, const struct session_record *r);
/* A write of nothing: a barrier, see store_submit. */
bool store_op_empty(const struct store_op *op);
/* For backends: a page of history ends with the message that brings it to so many bytes. */
size_t store_op_page_bytes(const struct store_op *op);

struct store_options {
  const struct store_backend *const *backends; /* to choose from by url; NULL at the end; borrowed */
  const char *url;                             /* sqlite:PATH; mongodb://…; memory:NAME is gone with the process */
  uint32_t readers;                            /* threads */
  uint32_t queue;                              /* operations waiting, reads and writes each */
  uint32_t queue_per_user;                     /* of one user, and an eighth of the bytes; 0: as many as of all */
  const struct keyring *keys; /* encrypts the content of messages (cipher.h); NULL: stored as it is; borrowed */
  bool without_texts;         /* looks at no text: opens an encrypted database also without keys */
  uint32_t timeout_ms;        /* an operation that has not ended by then has failed; 0: no limit */
};

/* Opens, creates or upgrades the database and starts the threads. 0 or a negative code with one line in why[]: E_BUSY
 * another process has it, E_SCHEMA newer than the program knows, E_INVALID the url, E_KEY it is encrypted and there is
 * no key (see without_texts). */
int store_open(const struct store_options *o, struct store **out, char why[256]) NODISCARD;
/* Any thread. 0: takes op, answers through op->reply_to exactly once. E_FULL, E_STOPPING, E_INVALID (a field out of its
 * bounds): the caller keeps op. Writes are committed in the order of submission; a write that fails fails alone (its
 * transaction is undone, others of the batch are kept), except that a full or broken disk fails the whole batch. Writes
 * are STORE_WRITE, SHARE, ERASE, EXPIRE and AUDIT. An empty STORE_WRITE (no session, no messages) is a barrier: it
 * answers when all writes submitted before it are settled. A message whose cid is already in its conversation is not
 * stored again: duplicate is set. */
int store_submit(struct store *s, struct store_op *op) NODISCARD;
/* Any thread. What a STORE_EPOCH has answered once; false: none has yet. It stays as long as the store is open. */
bool store_epoch(struct store *s, uint64_t *epoch) NODISCARD;
/* The same for a user, who has a bound beside the one of all: E_FULL when either is reached. NULL: the server's own. */
int store_submit_for(struct store *s, const char *user_id, struct store_op *op) NODISCARD;
/* Waits until all that was submitted is settled and answered, then refuses; at most timeout_ms. 0 or UV_ETIMEDOUT. */
int store_drain(struct store *s, uint64_t timeout_ms) NODISCARD;
/* After drain (what is still queued is done and answered first): ends the threads, closes the database. */
void store_close(struct store *s);
/* How far a walk over the messages of a whole database has come. */
struct store_progress {
  uint64_t total, seen, moved, failed, plain; /* plain: of those moved, in no sealed form before */
};
typedef void store_progress_fn(void *arg, const struct store_progress *p);
/* Seals every message that is not with the newest of o->keys, which must not be NULL; of a database nothing else has
 * open (E_BUSY). Committed batch by batch, tell after each, on this thread: what is broken off goes on when it is
 * called again. 0; or a negative code with one line in why[]: E_CIPHER when some could not be opened and are as they
 * were, the log names the first ones; E_UNSUPPORTED. */
int store_reencrypt(const struct store_options *o, store_progress_fn *tell, void *arg, char why[256]) NODISCARD;
/* Writes what was said since a database was taken over to where the program it comes from looks for it, as that writes
 * it itself, under the newest of o->keys. As store_reencrypt: nothing else has it open, and it goes on where it was
 * broken off. 0; or a negative code with one line in why[]: E_STORE when some conversations could not be handed back
 * whole. */
int store_handback(const struct store_options *o, store_progress_fn *tell, void *arg, char why[256]) NODISCARD;
/* A copy, as of one instant, of a database that a server may be using meanwhile, in a new file (0600; E_CONFLICT when
 * there is one) that is there whole or not at all. 0; or a negative code with one line in why[]; E_UNSUPPORTED. */
int store_backup(const struct store_options *o, const char *file, char why[256]) NODISCARD;
/* Puts a copy of such a file in the place of the database, which is gone then, and which nobody may be using (E_BUSY).
 * It is looked at first: E_INVALID, E_SCHEMA: it is no whole database of this program, and nothing has changed. 0; or a
 * negative code with one line in why[]; E_UNSUPPORTED. */
int store_restore(const struct store_options *o, const char *file, char why[256]) NODISCARD;
/* Folder in which the database lies, for the control socket; borrowed. */
const char *store_folder(const struct store *s);

/* What a backend implements. Calls on one handle never overlap; each thread has its own handle. */
struct store_backend {
  const char *scheme; /* "sqlite" */
  bool srv;           /* also with "+srv" behind it: the servers are to be asked of DNS */
  /* The first writer handle creates and upgrades the schema and takes the lock against other processes. */
  int (*open)(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]);
  void (*close)(void *handle);
  /* A batch of writes, committed together; sets code of each. A STORE_PING among them asks whether it could be written.
   * E_AWAY: the database could not be reached, nothing of the operation is stored (or storing it again does no harm),
   * and so for all later ones of the same session and all later erasures; it is tried again until timeout_ms, then it
   * has failed (E_STORE) with the rest of its session. */
  void (*write)(void *handle, struct store_op **ops, size_t count);
  void (*read)(void *handle, struct store_op *op);
  /* One step of an erasure: bounded in rows and bytes, so that no write waits long for it. Of op, which write has
   * answered with E_MORE: from then on nobody finds what it erases. Or of what was begun and never ended (op NULL), of
   * this process or an earlier one. 0: it is at its end, and what was erased is overwritten; E_MORE; E_AWAY: later;
   * else it has failed, and goes on with the next start or when it is asked for again. NULL: write does all of it. */
  int (*erase)(void *handle, struct store_op *op);
  /* Of a reader handle, about once a second: what is wrong with the database although nobody has met it, as a static
   * text; NULL: nothing. It may take seconds, and breaks off when *stop. NULL: there is nothing to look at. */
  const char *(*look)(void *handle, const atomic_bool *stop);
  /* Of a writer handle with keys; see store_reencrypt. NULL: not supported. */
  int (*reencrypt)(void *handle, store_progress_fn *tell, void *arg, char why[256]);
  /* Of a reader handle: a copy of the whole database as of now in a new file. See store_backup. NULL: not supported. */
  int (*backup)(void *handle, const char *file, char why[256]);
  /* Without a handle: see store_restore. NULL: not supported. */
  int (*restore)(const char *location, const char *file, char why[256]);
  /* Of a writer handle: makes the database whole for the program it was taken over from. NULL: not supported. */
  int (*handback)(void *handle, store_progress_fn *tell, void *arg, char why[256]);
};
/* The backend of o->url, and what stands behind the scheme; NULL: there is none. */
const struct store_backend *store_backend_find(const struct store_options *o, const char **location);
