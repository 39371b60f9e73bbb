/* In: a negative code. Out: its name and its text.
 * Why: every C function answers 0 or a negative code. libuv's codes pass through unchanged; ours start at -10000,
 * outside libuv's range, and stand in one table so that name, text and number cannot drift. */
#pragma once

#define ERR_MAP(X)                                                                                                     \
  X(GONE, -10000, "it is gone")                                                                                        \
  X(FULL, -10001, "the queue is full")                                                                                 \
  X(LIMITED, -10002, "rate limit reached")                                                                             \
  X(INVALID, -10003, "invalid value")                                                                                  \
  X(TOO_BIG, -10004, "larger than the limit")                                                                          \
  X(NOT_FOUND, -10005, "not found")                                                                                    \
  X(FORBIDDEN, -10006, "not permitted")                                                                                \
  X(CONFLICT, -10007, "somebody else was first")                                                                       \
  X(DUPLICATE, -10008, "already there")                                                                                \
  X(STORE, -10009, "database operation failed")                                                                        \
  X(STOPPING, -10010, "the server is stopping")                                                                        \
  X(UTF8, -10011, "invalid UTF-8")                                                                                     \
  X(EXPIRED, -10012, "it has expired")                                                                                 \
  X(UNSUPPORTED, -10013, "not supported")                                                                              \
  X(SCRIPT, -10014, "script error")                                                                                    \
  X(CANCELLED, -10015, "cancelled")                                                                                    \
  X(MISSING, -10016, "required but absent")                                                                            \
  X(SCHEMA, -10017, "the database is of a newer version")                                                              \
  X(AWAY, -10019, "the database is away")                                                                              \
  X(CIPHER, -10020, "it cannot be decrypted")                                                                          \
  X(KEY, -10021, "the key it was encrypted with is not set")                                                           \
  X(PLAINTEXT, -10022, "it is stored as plain text, though there is a key")                                            \
  X(PROTOCOL, -10030, "the protocol was broken")                                                                       \
  X(MORE, -10023, "there is more to do")                                                                               \
  X(BUSY, -10018, "in use by another process")

enum err {
#define ERR_ENUM(name, number, text) E_##name = (number),
  ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
};

/* Static strings, never NULL; "OK" / "no error" for 0, "UNKNOWN" for what nobody defined. Any thread. */
const char *err_name(int code);
const char *err_text(int code);
