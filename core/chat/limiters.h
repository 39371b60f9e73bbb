/* In: the settings of rates; what a user or an address wants to do. Out: yes, or no and for how long.
 * Why: each kind of request has a rate of its own, so that none of them is a way to a core, and all of them stand in
 * one table: scripts/routes.lua and scripts/api/routes.lua name them. Any thread (ratelimit.h). */
#pragma once
#include "attr.h"
#include "config.h"

#include <stddef.h>
#include <stdint.h>

struct limiters;

#define LIMITS_CONNECTS "connects"
#define LIMITS_ARRIVALS "arrivals"

/* name, label of chatbox_ratelimit_blocked_total, setting, whether its keys are addresses */
#define LIMITERS_OF_ROUTES(X)                                                                                          \
  X(MESSAGES, "messages", "message", SETTING_RATE_LIMIT, false) /* what is said, and what changes a conversation */    \
  X(READS, "reads", "read", SETTING_READ_RATE_LIMIT, false)     /* what is read from the store */                      \
  X(ENDS, "ends", "end", SETTING_END_RATE_LIMIT, false)         /* conversations ended */                              \
  X(LIVE, "live", "live", SETTING_LIVE_RATE_LIMIT, false)       /* typing, pings: what leaves nothing behind */        \
  X(ADMIN, "admin", "admin", SETTING_ADMIN_RATE_LIMIT, false)   /* orders of administrators */                         \
  X(ADMIN_READS, "admin_reads", "admin_read", SETTING_ADMIN_READ_RATE_LIMIT, false) /* what they read */               \
  X(PUBLIC, "public", "public", SETTING_PUBLIC_RATE_LIMIT, true)                    /* without a token */
/* Of the server itself, before there is a request a script sees. */
#define LIMITERS_OF_SERVER(X)                                                                                          \
  X(CONNECTS, LIMITS_CONNECTS, "connect", SETTING_CONNECT_RATE_LIMIT, false)        /* WebSockets opened */            \
  X(ARRIVALS, LIMITS_ARRIVALS, "arrival", SETTING_ADDRESS_CONNECT_RATE_LIMIT, true) /* connections of any kind */
#define LIMITERS(X) LIMITERS_OF_ROUTES(X) LIMITERS_OF_SERVER(X)

/* NULL when memory is out. */
struct limiters *limiters_new(const struct config *c) NODISCARD;
void limiters_free(struct limiters *l); /* NULL is allowed */
/* "messages, reads, …": the names of those of routes, for checks and errors. */
extern const char *const limiters_names;
/* Counts one event of key, a user id or an address (those of one IPv6 network of 64 bits are one; that of a trusted
 * proxy has no limit). 0; E_LIMITED and *retry_after_ms ≥ 1; E_NOT_FOUND: there is no limiter of that name. */
int limiters_take(struct limiters *l, const char *name, const char *key, size_t len, uint64_t now_ms,
                  uint64_t *retry_after_ms) NODISCARD;
size_t limiters_sweep(struct limiters *l, uint64_t now_ms);
