/* In: a comma list of origins, and the Origin header of a request. Out: is it one of them.
 * Why: WS_ALLOWED_ORIGINS and CORS_ALLOWED_ORIGINS have to agree on what an origin is: scheme and host in any case, a
 * default port said or not (RFC 6454). An entry that no browser could ever send is an error where it is read, and not a
 * refusal of everybody later. Immutable after new: any thread. Bound: an origin of 300 bytes. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>

#define ORIGIN_MAX 300

struct origins;

/* `*`, or SCHEME://HOST[:PORT], with blanks around allowed. 0; E_INVALID with the bad entry copied to bad[], and
 * *reason (static) says what is wrong with it; UV_ENOMEM. */
int origins_new(const char *list, struct origins **out, char bad[64], const char **reason) NODISCARD;
void origins_free(struct origins *o); /* NULL is allowed */
bool origins_empty(const struct origins *o);
/* origin: as sent, or NULL when the request has none. With `*` in the list everything is allowed, otherwise only what
 * is listed, in the one form in which a browser sends it: lower case, no default port. */
bool origins_allow(const struct origins *o, const char *origin);
/* Whether a request that was sent to `host` (the header Host) comes from a page of the same host. */
bool origin_is_host(const char *origin, const char *host);
