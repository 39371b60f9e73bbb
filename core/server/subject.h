/* In: which user or session a command is about. Out: the same as part of a line, and back.
 * Why: commands for a running server and rows of the audit are lines, but ids from before user_id_normalise may hold
 * anything, also a line break; whoever has such an id can still be exported and erased. An id with control characters
 * is written `user% a%0Ab`, all others `user a b`. */
#pragma once
#include "attr.h"

#include <stddef.h>

/* kind: "user" or "session". 0 or E_TOO_BIG. */
int subject_write(const char *kind, const char *id, char *out, size_t room) NODISCARD;
/* The id of what follows the kind, in place of text: "% a%0Ab" or " a b". NULL when it is neither or empty. */
char *subject_read(char *text) NODISCARD;
