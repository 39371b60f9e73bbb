/* In: what the parts of the MongoDB backend need of each other. Out: nothing the rest of the program includes.
 * Why: the backend is one thing in several files, each for one question: how to reach the database (pool), what version
 * it is (schema), what a command is (command), how a record looks in it (codec, message), writing (write, insert),
 * reading, erasing (erase, erasing), walking over all of it (reencrypt, handback). */
#pragma once
#ifndef ROOM_STORE_MONGO
#error "mongo_impl.h is private to core/store/mongo"
#endif

#include "key_use.h"
#include "sealed.h"
#include "store.h"

#include <mongoc/mongoc.h>
#include <stdatomic.h>
#include <uthash.h>

/* ---- pool.c: how to reach it ---- */

struct mongo_pool; /* connections to one database, shared by all handles on it */

/* What one handle has found out, for all of them. */
struct mongo_known {
  atomic_bool checked, prepared;
  _Atomic int64_t version; /* as it was found; with checked */
};

struct mongo {
  struct mongo_pool *pool;
  struct mongo_known *known;
  mongoc_client_t *client, *pinger; /* of the pool; of the handle's own, or NULL */
  mongoc_collection_t *sessions, *messages, *audit, *erasures, *erasing;
  const struct keyring *keys;
  bool writer, without_texts;
  bool counting, fresh;          /* use has begun; the database was empty then */
  struct key_use use;            /* of a writer with keys; begun with the first contact */
  struct session_place *places;  /* writer: write.c */
  const struct store_op **tried; /* those the last call answered with E_AWAY; only compared */
  size_t tried_count;
  bool told; /* the log has been told that the database is away */
};

/* Connects nothing yet. 0, E_INVALID, UV_ENOMEM; mongo_close in any case. */
int mongo_open(const struct store_options *o, struct mongo *h, char why[256]) NODISCARD;
void mongo_close(struct mongo *h);
mongoc_collection_t *mongo_collection(const struct mongo *h, mongoc_client_t *client, const char *name);
/* The time a command may take on the server, a cursor's over all of it; 0: no limit, for walks over everything. */
int64_t mongo_limit_ms(const struct mongo *h);
/* Whether it answers now, within about a second. 0, E_AWAY, E_STORE. */
int mongo_answers(struct mongo *h);
/* E_AWAY: it cannot be reached, is no primary, or did not answer or confirm in time: what was sent may have happened or
 * not, and can be sent again. Else E_STORE. By the driver's domains and the server's codes, never by text. */
int mongo_code(const bson_error_t *error);
/* The same, and the log says so; while the database is away, once. */
int mongo_failed(struct mongo *h, const char *what, const bson_error_t *error);

/* ---- schema.c: whether it is ours to use ---- */

/* Looks, once for all handles, that it is of no newer version. 0, E_AWAY, E_STORE, E_SCHEMA. */
int mongo_check(struct mongo *h, mongoc_client_t *client, char why[256]);
/* The same, and makes version and indexes where they are missing: before the first write. */
int mongo_prepare(struct mongo *h, char why[256]);
/* Whether it answers now, and is ours to use. 0, E_AWAY, or what mongo_check says. */
int mongo_ping(struct mongo *h);
/* The number of this state of the database; the first who asks draws it. 0, E_AWAY, E_STORE. */
int mongo_epoch(struct mongo *h, uint64_t *epoch) NODISCARD;
/* Of a prepared one: by writing what is there already, as the majority has to confirm. */
int mongo_writable(struct mongo *h);

/* ---- keys.c: which keys the database was sealed with, and how often ---- */

/* With the first contact of a handle: E_KEY: it is encrypted, there is no key, and texts are wanted. */
int mongo_keys_check(struct mongo *h, mongoc_client_t *client, char why[256]) NODISCARD;
/* Of a prepared database: begins counting, and says in the log what of it cannot be read as things are. */
int mongo_keys_open(struct mongo *h) NODISCARD;
/* Before n texts are sealed. 0 or a code. */
int mongo_keys_reserve(struct mongo *h, uint64_t n) NODISCARD;
/* Whether everything in it is sealed, as one of the keys vouches for; *whole. */
int mongo_keys_whole(struct mongo *h, bool *whole) NODISCARD;
/* Everything is sealed with the newest key: the others are forgotten. Or, not whole: some of it is not. */
int mongo_keys_whole_set(struct mongo *h, bool whole) NODISCARD;
/* A database of a version that kept no account of its keys. */
int mongo_keys_upgrade(struct mongo *h) NODISCARD;

/* ---- command.c: what commands have in common ---- */

/* A document from JSON of ours, with ' for ". Aborts when it is none. At most 1 KiB. */
bson_t *mongo_json(const char *format, ...) NODISCARD PRINTF_LIKE(1, 2);
bool mongo_copy(const bson_iter_t *at, char **out); /* a text; false: no memory */
bool mongo_id(const bson_t *doc, const char *name, char out[STORE_ID_LEN + 1]);
int64_t mongo_number(const bson_t *doc, const char *name); /* 0 where there is none */
void mongo_append_element(bson_t *array, uint32_t index, const char *text);
/* NULL: nothing. What is not UTF-8 loses its letters beyond ASCII. */
void mongo_append_text(bson_t *doc, const char *name, const char *text);
int mongo_no_memory(void); /* logs; E_STORE */

/* All take their documents. majority: as the majority has it, not only this server. */
bson_t *mongo_stages(bson_t *match, const char *stages) NODISCARD; /* a pipeline */
mongoc_cursor_t *mongo_aggregate(mongoc_collection_t *c, bson_t *pipeline, const struct mongo *h, bool majority);
mongoc_cursor_t *mongo_find(mongoc_collection_t *c, bson_t *filter, bson_t *options, const struct mongo *h,
                            bool majority);
int mongo_cursor_end(struct mongo *h, const char *what, mongoc_cursor_t *cursor); /* frees it; its error */

/* Takes filter. Counts into *deleted, when it is not NULL. */
int mongo_delete(struct mongo *h, mongoc_collection_t *c, bson_t *filter, uint64_t *deleted);

struct bulk_outcome {
  int code;
  bool rejected;    /* the server refused an operation */
  bool duplicate;   /* because its key is taken; code is 0 then, and nothing is logged */
  size_t failed_at; /* the first; of an ordered bulk all before it are stored */
  int64_t matched;
};
mongoc_bulk_operation_t *mongo_bulk_new(mongoc_collection_t *c, bool ordered);
/* Take their documents. 0 or E_STORE: one that is not to be sent. */
int mongo_bulk_insert(struct mongo *h, mongoc_bulk_operation_t *bulk, bson_t *doc) NODISCARD;
int mongo_bulk_update(struct mongo *h, mongoc_bulk_operation_t *bulk, bson_t *filter, bson_t *update) NODISCARD;
void mongo_bulk_run(struct mongo *h, const char *what, mongoc_bulk_operation_t *bulk, struct bulk_outcome *o);

/* ---- codec.c, message.c: how a record looks in it ---- */

/* What an aggregation of sessions goes on with after it has chosen some: all but the transcript, of which only the
 * length (embedded) and the last seq (last) are looked at. One seek in an index for each. */
#define MONGO_PLACE_STAGES                                                                                             \
  "{'$addFields': {'embedded': {'$size': {'$ifNull': ['$msgs', []]}}}}, {'$project': {'msgs': 0}},"                    \
  "{'$lookup': {'from': 'messages', 'let': {'s': '$_id'}, 'pipeline': [{'$match': {'$expr': {'$eq': ['$sid', '$$s']}"  \
  "}}, {'$sort': {'seq': -1}}, {'$limit': 1}, {'$project': {'_id': 0, 'seq': 1}}], 'as': 'last'}}"
uint64_t mongo_top(const bson_t *doc); /* of what those stages give */

/* A whole document; all that may change. NULL and *code: its name cannot be sealed. */
bson_t *mongo_session_new(const struct mongo *h, const struct session_record *r, int *code) NODISCARD;
bson_t *mongo_session_update(const struct mongo *h, const struct session_record *r, const char *user_id,
                             int *code) NODISCARD;
/* Of what MONGO_PLACE_STAGES give. 0, E_STORE, E_NOT_FOUND when its id is not of our form. */
int mongo_session_read(struct unsealing *u, const bson_t *doc, struct session_record *out);

/* NULL and *code: it cannot be sealed, is larger than a document may be, or is not UTF-8 where it has to be. */
bson_t *mongo_message_new(const struct mongo *h, const char *session_id, const char *user_id, uint64_t seq,
                          const struct message_record *m, int *code) NODISCARD;
/* For msgs, as the reference wants it. */
bson_t *mongo_message_embedded(const struct mongo *h, const struct message_record *m, int *code) NODISCARD;
/* Of the collection, or embedded in the session at that seq. 0 or E_STORE; message_record_deinit in any case. */
int mongo_message_read(struct unsealing *u, const char *session_id, const char *user_id, uint64_t seq, bool embedded,
                       const bson_t *doc, struct message_record *out);
/* The same without its content. */
int mongo_message_fields(const char *session_id, uint64_t seq, const bson_t *doc, struct message_record *out);
/* The stored bytes of a content, borrowed. */
void mongo_content(const bson_iter_t *at, const char **bytes, size_t *len);

/* ---- write.c, insert.c: batches ---- */

/* A conversation as far as the majority has it; forgotten whenever that is in doubt. */
struct session_place {
  char id[STORE_ID_LEN + 1];
  char *user_id; /* where it exists */
  bool known, exists;
  uint64_t top;
  /* of the running batch */
  uint64_t next;
  const struct store_op *maker, *record; /* the one that inserts it; the last one after that with the session */
  bool moved;                            /* by messages behind that */
  int64_t at_ms;                         /* of the last one of those */
  UT_hash_handle hh;
};

/* A message. */
struct batch_item {
  struct store_op *op;
  struct message_record *m;
  struct session_place *place;
  bool settled, duplicate, open;
  uint64_t seq;
  int64_t at_ms;
  char id[STORE_ID_LEN + 1]; /* duplicate: of the first, as are seq, at_ms and open */
};

struct batch {
  struct mongo *h;
  struct store_op **ops;
  size_t count, item_count;
  struct session_place **places; /* of each operation; NULL: it is empty */
  struct batch_item *items;      /* of all of them, in order */
};
int batch_insert(struct batch *b); /* the messages */

/* ---- unanswered.c: which messages wait for an answer ---- */

void mongo_open_append(bson_t *doc, const struct message_record *m, const struct store_op *op);
int batch_marks(struct batch *b);      /* after the messages: what they do not say themselves */
int batch_duplicates(struct batch *b); /* whether those that are open still are */
int mongo_open_of(struct mongo *h, struct store_op *op);
int mongo_open_sessions(struct mongo *h, struct store_op *op);

/* ---- list.c, share.c ---- */

int mongo_list(struct mongo *h, struct store_op *op);
int mongo_totals(struct mongo *h, struct store_op *op);
int mongo_share(struct mongo *h, struct store_op *op);
bson_t *mongo_shared_match(const char *token); /* what has it; NULL: no */

/* ---- find.c: conversations, without their messages. All take match. ---- */

mongoc_cursor_t *mongo_sessions_find(struct mongo *h, bson_t *match, uint32_t limit); /* the newest first */
/* 0, and *out, which is freed before, is the one that matches; E_NOT_FOUND or another code, and *out is as it was. */
int mongo_session_matching(struct mongo *h, bson_t *match, struct session_record *out) NODISCARD;
int mongo_session_find(struct mongo *h, const char *id, struct session_record *out) NODISCARD;

/* ---- places.c: how far each conversation has come ---- */

int batch_places(struct batch *b); /* looks up those that are not known */
/* Of that conversation, known or not; NULL: no memory. */
struct session_place *mongo_place(struct mongo *h, const char *id);
void mongo_forget(struct mongo *h);
/* Whether the outcome of an earlier try of it is not known. */
bool mongo_tried(const struct mongo *h, const struct store_op *op);
/* From now on mongo_tried is about these. */
void mongo_note_tried(struct mongo *h, struct store_op **ops, size_t count);

/* ---- names.c: all names of the database, some at a time; again does no harm ---- */

int mongo_names_upgrade(struct mongo *h) NODISCARD; /* plain ones are sealed, whatever they look like */
/* Sealed with the newest key; or plain, for the reference. *failed: those that cannot be read; they stay. */
int mongo_names_reseal(struct mongo *h, uint64_t *failed) NODISCARD;
int mongo_shares_reseal(struct mongo *h, uint64_t *failed) NODISCARD;
int mongo_shares_handback(struct mongo *h, uint64_t *failed) NODISCARD; /* those that do not expire */
int mongo_names_handback(struct mongo *h, uint64_t *failed) NODISCARD;

/* ---- erasing.c: what of an erasure goes in steps; all can be called again ---- */

/* Notes that it is to be done; op->erasure, if that is 0. */
int mongo_erasure_begin(struct mongo *h, struct store_op *op) NODISCARD;
/* op->erasure of one of session.user_id that has not come to its end; E_NOT_FOUND. */
int mongo_erasure_of_user(struct mongo *h, struct store_op *op) NODISCARD;
/* Conversations that nobody finds from now on: some of the user's, the steps do the rest; that one. */
int mongo_user_hide(struct mongo *h, struct store_op *op) NODISCARD;
int mongo_hide_one(struct mongo *h, int64_t erasure, const char *id) NODISCARD;
int mongo_audit(struct mongo *h, const struct audit_record *a) NODISCARD;

/* ---- what the backend's table points at ---- */

void mongo_write(void *handle, struct store_op **ops, size_t count);
void mongo_read(void *handle, struct store_op *op);
int mongo_erase(struct mongo *h, struct store_op *op);   /* ERASE, EXPIRE, AUDIT: its code; E_MORE: it has begun */
int mongo_erase_step(void *handle, struct store_op *op); /* see struct store_backend */
int mongo_reencrypt(void *handle, store_progress_fn *tell, void *arg, char why[256]);
int mongo_handback(void *handle, store_progress_fn *tell, void *arg, char why[256]);
