/* In: the name of a database in memory. Out: what a test does to it that no operation can. Why: what a server promises
 * while its database is away cannot be asked of a disk. Any thread; a name nobody has opened is made. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>

/* While it is away writes answer E_AWAY and reads E_STORE. */
void store_memory_away(const char *name, bool away);
/* The audit record number `at`, oldest first, as "ACTOR ACTION SUBJECT: DETAIL"; 0, or E_NOT_FOUND. */
int store_memory_audit(const char *name, size_t at, char *out, size_t room) NODISCARD;
/* Forgets it; no store has it open. */
void store_memory_drop(const char *name);
