/* In: why a connection has to end. Out: a message `bye` and the close frame behind it.
 * Why: a client that is told in a word why it is sent away knows whether to come back, and with what; the number in the
 * close frame says the same to one that reads nothing else. */
#pragma once
#include "conn.h"

/* Any thread. code: a word of the protocol; reason: a sentence; both plain ASCII without quotes, the code at most
 * CONN_REASON_MAX bytes. here: as in conn_send. */
void bye_say(struct conn *c, int close, const char *code, const char *reason, uint64_t wall_ms,
             const struct mailbox *here);
/* The same ahead of a close that comes later. retry_after_ms: when to come back; 0: not said. */
void bye_announce(struct conn *c, const char *code, const char *reason, unsigned retry_after_ms, uint64_t wall_ms,
                  const struct mailbox *here);
