/* In: who wants to write a line (a script, by its file). Out: whether it may; and for each, how many of its lines were
 * left out. Why: the log has one buffer and one reader; a script that logs in a loop must not drown the lines of all
 * others. Each has a rate of its own; what is over it is counted and said once in a while instead of written.
 * Bound: max names; all others share one account. Any thread; one lock, held for a look-up. Time is an argument. */
#pragma once
#include "attr.h"
#include "bucket.h"

#include <stdbool.h>
#include <stddef.h>

#define LOG_SHARE_NAME_MAX 127 /* what is longer is one with what begins alike */

struct log_shares;

/* max ≥ 1. NULL: out of memory. */
struct log_shares *log_shares_new(const struct bucket_rate *rate, size_t max) NODISCARD;
void log_shares_free(struct log_shares *l); /* NULL is allowed */
/* Counts one line. false: it is left out. */
bool log_shares_take(struct log_shares *l, const char *name, uint64_t now_ms) NODISCARD;
/* Calls say for each of which lines were left out since the last call. */
void log_shares_tell(struct log_shares *l, void (*say)(void *arg, const char *name, uint64_t left_out), void *arg);
