/* In: bytes that claim to be UTF-8. Out: how long the sequence at their start is.
 * Why: RFC 3629 is spelled once, for frames (which refuse what is not UTF-8) and for the log (which escapes it). */
#pragma once
#include <stddef.h>

/* The bytes (1 to 4) of the well-formed sequence that bytes start with; 0 when there is none. len ≥ 1. */
size_t utf8_sequence(const char *bytes, size_t len);
