/* In: the memory that bodies of requests take, by the address they come from. Out: whether there is room for more, and
 * which body would make room. Why: a body that is nearly complete may stay so for HANDSHAKE_TIMEOUT, and one address
 * may have MAX_HANDSHAKES_PER_ADDRESS of them: without a bound of its own it would fill the memory. What a script works
 * on counts until it has answered. Thread: the worker's. Bound: addresses that have a body. */
#pragma once
#ifndef ROOM_NET
#error "bodies.h is private to core/net"
#endif

#include "attr.h"
#include "link.h"

#include <stdbool.h>
#include <stddef.h>

struct body_source;

/* All zero: no address may be held to more than 0 bytes in several bodies. */
struct bodies {
  size_t limit; /* bytes of one address */
  struct body_source *sources;
};

/* Of one body; all zero: it holds nothing. */
struct body_share {
  struct link mates; /* of those of its address that are not complete */
  struct body_source *source;
  size_t bytes;
};

/* The body takes so many bytes from now on, in all. 0; E_FULL: nothing changes, because the address would hold more
 * than the limit; UV_ENOMEM. A body that is the only one of its address gets any amount. */
int bodies_hold(struct bodies *b, struct body_share *s, const char *address, size_t bytes) NODISCARD;
/* The oldest body of the address that is not complete, s itself left out. NULL: there is none. */
struct body_share *bodies_oldest(struct bodies *b, const struct body_share *s, const char *address);
/* It is complete: it counts, but cannot make room. */
void bodies_complete(struct body_share *s);
void bodies_let_go(struct bodies *b, struct body_share *s); /* one that holds nothing is left alone */
