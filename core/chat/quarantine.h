/* In: names of routes and rules of bots whose handlers were killed. Out: which of them are in quarantine because it
 * happened too often. Why: a script that overruns with every message would use up a worker, one budget after the other;
 * in quarantine it answers with a fixed sentence instead. One table for all workers, so each learns from the others.
 * Any thread. Bound: QUARANTINE_NAMES names; the one whose last kill is oldest makes room, unless it is in quarantine.
 */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUARANTINE_NAMES 64
#define QUARANTINE_NAME_MAX 63 /* bytes; what is longer is cut */
#define QUARANTINE_KILLS_MAX 100

struct quarantine;

/* `kills` kills of one name within window_ms put it into quarantine; 0: never. NULL when memory is out. */
struct quarantine *quarantine_new(unsigned kills, uint64_t window_ms) NODISCARD;
void quarantine_free(struct quarantine *q);

/* Notes a kill of that name. True when this has put it into quarantine. */
bool quarantine_kill(struct quarantine *q, const char *name, uint64_t now_ms);
/* Takes one name, or all (NULL), out of quarantine; "bot:x" is also all of "bot:x hears y". Returns how many. */
size_t quarantine_enable(struct quarantine *q, const char *name);
/* A counter of changes, cheap to read. */
unsigned quarantine_changes(const struct quarantine *q);
/* The names in quarantine, at most `most`; how many. */
size_t quarantine_list(struct quarantine *q, char names[][QUARANTINE_NAME_MAX + 1], size_t most);
