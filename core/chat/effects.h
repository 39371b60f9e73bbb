/* In: all that one slice of a handler wants of one session: field changes, messages to store, documents to send.
 * Out: all of it, together and in order, or nothing. Why: a handler that fails half way leaves nothing half done, and a
 * reply that is stored is not seen before it is. Fields and messages become one store transaction; the sends go out
 * after its commit, behind those of earlier slices of the session; what is not stored goes out at once unless something
 * earlier still waits.
 * Thread: filled by one thread; committed from any worker; takes effect on the session's owner.
 * Bound: EFFECTS_MAX messages plus sends, EFFECTS_BYTES bytes of both: E_FULL. */
#pragma once
#include "attr.h"
#include "conn.h"
#include "message.h"
#include "session.h"
#include "store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EFFECTS_MAX 1024
#define EFFECTS_BYTES (8u << 20)
#define EFFECTS_FEW 2 /* what nearly every slice sends */

enum effects_text { EFFECTS_NAME, EFFECTS_MODEL, EFFECTS_ADMIN_ID, EFFECTS_ADMIN_NAME, EFFECTS_TEXTS };
enum effects_flag { EFFECTS_HELP, EFFECTS_ASSISTED, EFFECTS_FLAGS };

struct effects_send {
  struct message *message; /* of a close: its reason, NUL included; NULL: the end of a catch-up */
  uint64_t to, except;     /* connection ids; 0: everybody, nobody */
  uint64_t told;           /* of the end of a catch-up, see catchup.h */
  int close_code;          /* 0: a document */
  uint32_t event;          /* 1 + index of the message whose event it is; 0: of none */
  int protocol;            /* 1 or 2: only to members whose client speaks that version; 0: to all */
};

/* How far a slice had come when what it wanted so far was to be kept. */
struct effects_kept {
  char *texts[EFFECTS_TEXTS];
  signed char flags[EFFECTS_FLAGS];
  bool close;
  int64_t tokens;
  size_t responses, messages, sends, bytes;
};

struct effects {
  struct post post; /* crosses back to where it was committed */
  struct effects *next;
  struct session *session;
  struct conn *conn; /* whose message this answers, or NULL; reached even when it has left the session */
  /* pending fields */
  char *texts[EFFECTS_TEXTS];       /* NULL: unchanged */
  signed char flags[EFFECTS_FLAGS]; /* -1: unchanged */
  bool close;
  int64_t tokens;
  int64_t received, read; /* marks; one that is lower than what is there changes nothing */
  uint32_t *responses;
  size_t response_count;
  struct message_record *messages;
  size_t message_count, message_room;
  uint32_t opens;             /* 1 + index of the message that is open; 0: none */
  struct store_mark mark;     /* what this is to an open message; goes with what it stores */
  bool kept;                  /* effects_keep was called */
  struct effects_kept keep;   /* then: where it was */
  struct effects_send *sends; /* few, or a heap array when they are many */
  size_t send_count, send_room;
  struct effects_send few[EFFECTS_FEW];
  size_t bytes;
  uint64_t now_ms; /* wall time of the slice */
  /* outcome */
  bool owned; /* set by who fills it: the session's owner is committing, and something keeps it the owner */
  bool settled;
  bool pending;    /* its write is on its way */
  bool ends;       /* it is this one that ended the session */
  bool rewrite;    /* wants nothing but that the whole record is written again */
  bool moved;      /* its messages move the last activity: not when all of them were there already */
  int64_t last_ms; /* when the last of them came */
  struct session_write write;
  int code;
  bool turn; /* the caller's, untouched */
  struct mailbox *origin;
  void (*done)(struct effects *e, void *arg); /* on the committing thread; takes e. NULL: freed */
  void *arg;
  uint64_t token; /* the caller's, untouched */
  const struct effects_home *home;
};

/* What commits need of their worker; one per worker, immutable. */
struct effects_home {
  struct mailbox *here;
  struct sessions *sessions;
  struct store *store;           /* NULL: nothing can be stored (E_STORE) */
  uint64_t (*now_ms)(void *arg); /* monotonic */
  uint64_t late_ms;              /* an open message that is older is not answered any more */
  void *arg;
};

/* References s and c. NULL when memory is out. */
struct effects *effects_new(struct session *s, struct conn *c, uint64_t wall_ms) NODISCARD;
void effects_free(struct effects *e);
bool effects_empty(const struct effects *e);
/* It changes fields or appends: its outcome is the store's to say. */
bool effects_stores(const struct effects *e);

void effects_mark(struct effects *e, const char *id, enum store_marking what);
/* Owner: a handler of s deals with that message, or has, and the store has not said yet that it is stored. */
bool effects_dealing_with(struct session *s, const char *id);
/* 0, E_FULL, UV_ENOMEM. append takes what the record owns, also on failure; send references the message. */
int effects_set_text(struct effects *e, enum effects_text which, const char *text) NODISCARD;
int effects_append(struct effects *e, struct message_record *record) NODISCARD;
int effects_send(struct effects *e, struct message *m, uint64_t to, uint64_t except, int close_code) NODISCARD;
/* Likewise, to those members alone (but `except`) whose client speaks this version of the protocol, 1 or 2. */
int effects_send_protocol(struct effects *e, struct message *m, int protocol, uint64_t except) NODISCARD;
/* The event of the message appended last: a JSON object that goes out with the id and seq the message was stored under,
 * to everybody but `except`; not at all when it was a duplicate. To one alone (`to`) it goes in any case, and says also
 * whether it was a duplicate. Also E_NOT_FOUND: nothing was appended. */
int effects_send_event(struct effects *e, struct message *m, uint64_t to, uint64_t except) NODISCARD;
/* What it wants so far is kept, whatever becomes of the slice. 0, UV_ENOMEM. */
int effects_keep(struct effects *e) NODISCARD;
/* Of a kept one: drops what came after. grown: whether something of it would be stored. */
void effects_cut(struct effects *e);
bool effects_grown(const struct effects *e);
/* Behind what was sent so far: the catch-up of this connection is over, and it has been told the events up to `told`.
 */
int effects_catchup_end(struct effects *e, uint64_t conn, uint64_t told) NODISCARD;
/* Owner: whether such an end is on its way for it. */
bool effects_catchup_ends(struct session *s, uint64_t conn);
int effects_response(struct effects *e, uint32_t ms) NODISCARD;

/* Takes e. done is called exactly once, from here or later: e->code is 0, E_STORE, E_FULL (store queue), E_STOPPING,
 * E_GONE (erased); on success e->messages carry seq, id and duplicate. */
void effects_commit(struct effects *e, const struct effects_home *home);
/* Owner: an item that came through the inbox. Takes e. */
void effects_apply(struct effects *e, const struct effects_home *home);
/* Owner: ITEM_REPAIR, see session_wants_repair. */
void effects_repair(struct session *s, const struct effects_home *home);
