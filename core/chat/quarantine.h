/* In: names of routes and bots whose handlers had to be ended. Out: which of them are put aside, because it happened
 * too often. Why: a script that overruns at every message would use up a worker, one budget after the other; put aside
 * it answers a sentence instead. One table for all workers, so none has to learn it anew. Any thread. Bound:
 * ASIDE_NAMES names; the one that misbehaved longest ago makes room, unless it is put aside. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ASIDE_NAMES 64
#define ASIDE_NAME_MAX 63 /* bytes; what is longer is cut */
#define ASIDE_KILLS_MAX 100

struct aside;

/* So many kills of one name within window_ms put it aside; 0 kills: never. NULL when memory is out. */
struct aside *aside_new(unsigned kills, uint64_t window_ms) NODISCARD;
void aside_free(struct aside *a);

/* A handler of that name had to be ended; whether that has put it aside now. */
bool aside_kill(struct aside *a, const char *name, uint64_t now_ms);
/* Brings one back, or all (NULL); how many that were. */
size_t aside_enable(struct aside *a, const char *name);
/* Grows with every change; costs nothing to ask. */
unsigned aside_changes(const struct aside *a);
/* The names that are put aside, at most `most`; how many. */
size_t aside_list(struct aside *a, char names[][ASIDE_NAME_MAX + 1], size_t most);
