/* In: the connections of a worker, and what their tokens say. Out: a `bye` for each whose token has come to its end.
 * Why: who may come in is decided at the handshake, but a connection lives longer than that. When the token has expired
 * and no new one came (conn_renew), or the key that signed it is no longer in force, the connection ends with 4401:
 * come back with a new token. Thread: the worker's own. Costs one slot of a wheel a second, however many wait. */
#pragma once
#include "attr.h"
#include "conn.h"
#include "worker.h"

struct expiry;

/* verifier is borrowed; NULL: keys are not looked at. NULL when memory is out. */
struct expiry *expiry_new(struct worker *w, struct token_verifier *verifier) NODISCARD;
/* From now until conn_dead. */
void expiry_add(struct expiry *e, struct conn *c);
/* The keys were read again: ends those whose key has gone. */
void expiry_check_keys(struct expiry *e);
/* No connection may be left in it. */
void expiry_free(struct expiry *e); /* NULL is allowed */
