/* In: connections, and the address (or the user) each came from. Out: the one that has to go so that a newcomer can
 * stay. Why: an address may not take all of MAX_CONNECTIONS, but an office is not one person either: at its bound
 * nobody is refused, the connection that has been silent longest makes room. Bound: members are connections, which are
 * bounded. Any thread; one lock, held for a look through the members of one address. */
#pragma once
#include "attr.h"
#include "conn.h"

#include <stddef.h>

struct crowd;

/* per_address ≥ 1. */
struct crowd *crowd_new(size_t per_address) NODISCARD;
void crowd_free(struct crowd *w); /* NULL is allowed; everybody has left */
/* c comes from address (crowd members of one address share its text). *gone: a new reference to the member that has
 * said nothing for longest and is none any more, when the address was at its bound; else NULL. 0 or UV_ENOMEM. */
int crowd_join(struct crowd *w, const char *address, struct conn *c, struct conn **gone) NODISCARD;
/* One that is no member is left alone. */
void crowd_leave(struct crowd *w, struct conn *c);
/* A new reference to the one of this address that was opened first, of those that are replaceable, and is no member any
 * more; NULL: there is none. */
struct conn *crowd_take_oldest(struct crowd *w, const char *address) NODISCARD;
/* How many of this address there are. */
size_t crowd_count(struct crowd *w, const char *address);
