/* In: nothing. Out: every name that is in a MongoDB database, and the version of its schema.
 * Why: what is under these names belongs to two programs: the reference's server, whose database is taken over as it
 * is, and this one. Who asks what a field is called, or changes one, does it here. docs/storage.md explains them. */
#pragma once

/* Goes up when an older program would misread what a newer one has written. Kept in MONGO_META, document "schema". */
/* 2: texts and names in the form cb2, and an account of keys. 3: shares, sealed */
#define MONGO_SCHEMA_VERSION 3
#define MONGO_META "chatbox"
#define MONGO_META_ID "schema"
#define MONGO_META_VERSION "version"
#define MONGO_EPOCH_ID                                                                                                 \
  "epoch" /* drawn once; whoever puts an older state in its place deletes it, see docs/storage.md */
#define MONGO_EPOCH "value"
#define MONGO_KEY_PREFIX "key:" /* then the id of the key: one document for each that has sealed anything */
#define MONGO_KEY_SEALED "sealed"
#define MONGO_KEY_WHOLE "whole" /* a text sealed with it: nothing in the database is plain */

#define MONGO_SESSIONS "sessions" /* the reference's, with a few fields more */
#define MONGO_MESSAGES "messages" /* what was said since it was taken over */
#define MONGO_AUDIT "audit"
#define MONGO_DATABASE "chat" /* when STORE_URL names none, as in the reference's default */

/* ---- sessions ---- */

/* name, kind, member of struct session_record, whether it is absent when it is 0 or "". Kinds: TEXT; DATE (ms); FLAG;
 * INT (32 bits where that is enough, as the reference writes its `int`); LONG. _id and uid never change. */
#define MONGO_SESSION_FIELDS(X)                                                                                        \
  X("nm", TEXT, name, false)                                                                                           \
  X("modelId", TEXT, model_id, false)                                                                                  \
  X("ts", DATE, start_ms, false)                                                                                       \
  X("endTs", DATE, end_ms, true)                                                                                       \
  X("adminAssisted", FLAG, admin_assisted, false)                                                                      \
  X("assistingAdminId", TEXT, assisting_admin_id, true)                                                                \
  X("assistingAdminName", TEXT, assisting_admin_name, true)                                                            \
  X("helpRequested", FLAG, help_requested, false)                                                                      \
  X("totalTokens", INT, total_tokens, false)                                                                           \
  X("lastActivity", DATE, last_activity_ms, true)                                                                      \
  X("maxRespTime", LONG, max_response_ms, false)                                                                       \
  X("avgRespTime", LONG, avg_response_ms, false)                                                                       \
  X("received", LONG, received, false)                                                                                 \
  X("readTo", LONG, read, false)
#define MONGO_UID "uid"
#define MONGO_NAME "nm"
#define MONGO_END "endTs"
#define MONGO_LAST_ACTIVITY "lastActivity"
#define MONGO_DURATION "dur"               /* seconds, int64; 0 until the end */
#define MONGO_CREATED "_ts"                /* as the reference's driver keeps them */
#define MONGO_MODIFIED "_mt"               /* likewise */
#define MONGO_RESPONSES "respTimes"        /* ours: the last response times, u32 in ms, little endian */
#define MONGO_SHARE_TOKEN "shareToken"     /* of the reference: as it is */
#define MONGO_SHARE_HASH "shareHash"       /* ours: SHA-256 of a token, 64 hex digits */
#define MONGO_SHARE_SEALED "shareSealed"   /* likewise, the token */
#define MONGO_SHARE_EXPIRES "shareExpires" /* likewise, a date; absent: never */
#define MONGO_EMBEDDED "msgs"              /* of the reference: seq is index + 1 */
#define MONGO_EMBEDDED_ID "id" /* ours, in a message that was handed back; absent: made from session and index */

/* ---- messages; but for _id, sid and seq an embedded one has the same ---- */

#define MONGO_SID "sid"
#define MONGO_SEQ "seq"
#define MONGO_CID "cid"
#define MONGO_SENDER "sender"
#define MONGO_TYPE "type"
#define MONGO_TS "ts"
#define MONGO_EXTRA "extra"     /* JSON text */
#define MONGO_OPEN "open"       /* it waits for an answer; how often it has been tried once more */
#define MONGO_BEGUN "begun"     /* a part of what is done about it is stored */
#define MONGO_RE "re"           /* of which open message this is (a part of) the answer */
#define MONGO_DONE "done"       /* its last part, and so it is dealt with */
#define MONGO_CONTENT "content" /* text, or binary where it is not UTF-8 */
/* of the reference, embedded only: members of extra under other names */
#define MONGO_FILE_ID "fileId"
#define MONGO_FILE_URL "fileUrl"
#define MONGO_METADATA "meta"

/* ---- audit ---- */

#define MONGO_ACTOR "actor"
#define MONGO_ACTION "action"
#define MONGO_SUBJECT "subject"
#define MONGO_DETAIL "detail"

/* ---- erasures that have not come to their end: erasing.c draws them ---- */

#define MONGO_ERASURES "chatbox_erasures"
#define MONGO_ERASURE_HIDDEN "hidden"
#define MONGO_ERASING "chatbox_erasing"
#define MONGO_ERASURE "erasure"
#define MONGO_ERASING_MESSAGES "messages"
#define MONGO_ERASING_LEFT "left"

/* ---- indexes: name, key, further options. The first five are the reference's, with its names ---- */

#define MONGO_SESSION_INDEXES(X)                                                                                       \
  X("idx_user_id", "{'uid': 1}", "")                                                                                   \
  X("idx_start_time", "{'ts': -1}", "")                                                                                \
  X("idx_admin_assisted", "{'adminAssisted': 1}", "")                                                                  \
  X("idx_user_start_time", "{'uid': 1, 'ts': -1}", "")                                                                 \
  X("idx_share_token", "{'shareToken': 1}", ", 'unique': true, 'sparse': true")                                        \
  X("idx_user_list", "{'uid': 1, 'ts': -1, '_id': -1}", "")                                                            \
  X("idx_user_active", "{'uid': 1, 'endTs': 1, 'ts': -1, '_id': -1}", "")                                              \
  X("idx_last_activity", "{'lastActivity': 1, 'ts': 1}", "")                                                           \
  X("idx_share_hash", "{'shareHash': 1}", ", 'unique': true, 'sparse': true")                                          \
  X("idx_list_start", "{'ts': 1, '_id': 1}", "")                                                                       \
  X("idx_list_end", "{'endTs': 1, '_id': 1}", "")                                                                      \
  X("idx_list_tokens", "{'totalTokens': 1, '_id': 1}", "")                                                             \
  X("idx_list_user", "{'uid': 1, '_id': 1}", "")                                                                       \
  X("idx_list_activity", "{'lastActivity': 1, '_id': 1}", "")                                                          \
  X("idx_list_assisted", "{'adminAssisted': 1, 'ts': 1, '_id': 1}",                                                    \
    ", 'partialFilterExpression': {'adminAssisted': true}")
/* These hold promises: without them nothing is written. */
#define MONGO_MESSAGE_INDEXES(X)                                                                                       \
  X("idx_session_seq", "{'sid': 1, 'seq': 1}", ", 'unique': true")                                                     \
  X("idx_session_cid", "{'sid': 1, 'cid': 1}",                                                                         \
    ", 'unique': true, 'partialFilterExpression': {'cid': {'$exists': true}}")                                         \
  X("idx_open", "{'open': 1, 'sid': 1}", ", 'partialFilterExpression': {'open': {'$exists': true}}")
