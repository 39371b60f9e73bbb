/* In: names of routes and bots whose handlers had to be ended. Out: which of them are in quarantine, because it
 * happened too often. Why: a script that overruns at every message would use up a worker, one budget after the other;
 * in quarantine it answers a sentence instead. One table for all workers, so none has to learn it anew. Any thread.
 * Bound: QUARANTINE_NAMES names; the one that misbehaved longest ago makes room, unless it is in quarantine. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUARANTINE_NAMES 64
#define QUARANTINE_NAME_MAX 63 /* bytes; what is longer is cut */
#define QUARANTINE_KILLS_MAX 100

struct quarantine;

/* So many kills of one name within window_ms put it into quarantine; 0 kills: never. NULL when memory is out. */
struct quarantine *quarantine_new(unsigned kills, uint64_t window_ms) NODISCARD;
void quarantine_free(struct quarantine *q);

/* A handler of that name had to be ended; whether that has put it into quarantine now. */
bool quarantine_kill(struct quarantine *q, const char *name, uint64_t now_ms);
/* Brings one back, or all (NULL); how many that were. */
size_t quarantine_enable(struct quarantine *q, const char *name);
/* Grows with every change; costs nothing to ask. */
unsigned quarantine_changes(const struct quarantine *q);
/* The names in quarantine, at most `most`; how many. */
size_t quarantine_list(struct quarantine *q, char names[][QUARANTINE_NAME_MAX + 1], size_t most);
