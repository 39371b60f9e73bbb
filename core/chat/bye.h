/* In: why a connection has to end. Out: a message `bye`, which says it in a word and when to come back.
 * Why: a client that is told in a word why it is sent away knows whether to come back, and with what; the number in the
 * close frame says the same to one that reads nothing else. Who only closes (conn_close) need not think of it: the
 * transport writes the bye of that number in front of the close frame, unless one has been said. */
#pragma once
#include "conn.h"

/* close number, word, whether to come back: after a while that is not the same for everybody */
#define BYES(X)                                                                                                        \
  X(CLOSE_NORMAL, "closed", false)                                                                                     \
  X(CLOSE_GOING_AWAY, "going_away", true)                                                                              \
  X(CLOSE_PROTOCOL, "protocol_error", false)                                                                           \
  X(CLOSE_BAD_DATA, "bad_data", false)                                                                                 \
  X(CLOSE_POLICY, "refused", false)                                                                                    \
  X(CLOSE_TOO_BIG, "too_big", false)                                                                                   \
  X(CLOSE_TRY_LATER, "try_later", true)                                                                                \
  X(CLOSE_UNAUTHORIZED, "token_expired", false)                                                                        \
  X(CLOSE_NOT_YOU, "not_yours", false)                                                                                 \
  X(CLOSE_REPLACED, "replaced", false)

#define BYE_TEXT_MAX 512 /* bytes: a reason in which each byte is escaped takes six times its length, and fits */
/* Any thread. The document of the close number, for who has that connection id; its length. code: a word of the
 * protocol, or NULL: that of the number. reason: a sentence of UTF-8, CONN_REASON_MAX bytes at most. */
size_t bye_text(char out[BYE_TEXT_MAX], int close, const char *code, const char *reason, uint64_t conn,
                uint64_t wall_ms);
/* Any thread. Says it and closes. The close frame says the word. here: as in conn_send. */
void bye_say(struct conn *c, int close, const char *code, const char *reason, uint64_t wall_ms,
             const struct mailbox *here);
/* The same ahead of a close that comes later. */
void bye_announce(struct conn *c, int close, const char *reason, uint64_t wall_ms, const struct mailbox *here);
