/* In: what a conversation sends while one of its members is being told what it missed. Out: the same, behind that, and
 * nothing twice. Why: what was missed is read from the store, which takes a while, and what happens meanwhile must
 * neither overtake it nor be lost. So the member's place is fixed first: from catchup_begin on whatever is for
 * everybody waits here, and catchup_end lets it go, but for the events the member has been told by then. Thread: the
 * session's owner. Bound: CATCHUP_BYTES a member; then it is closed with 1013, and comes back. */
#pragma once
#include "session.h"

#define CATCHUP_BYTES (512u << 10)

/* 0, UV_ENOMEM, E_BUSY: it has begun already. */
int catchup_begin(struct session *s, struct conn *c) NODISCARD;
/* true: m waits, referenced. seq: of the event it is; 0: of none. */
bool catchup_keep(struct session *s, struct conn *c, struct message *m, uint64_t seq, const struct mailbox *here);
/* What waits goes out, but for events up to and with `told`. One that has not begun is left alone. */
void catchup_end(struct session *s, uint64_t conn_id, uint64_t told, const struct mailbox *here);
