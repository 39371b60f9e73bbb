/* In: bytes that claim to be UTF-8. Out: how long the sequence at their start is, where they stop being UTF-8, and the
 * same text mended. Why: RFC 3629 is spelled once, for frames and scripts (which must not send what is not UTF-8), for
 * the log (which escapes it) and for what earlier versions stored (which is mended when it is read). */
#pragma once
#include <stddef.h>

/* The bytes (1 to 4) of the well-formed sequence that bytes start with; 0 when there is none. len ≥ 1. */
size_t utf8_sequence(const char *bytes, size_t len);
/* How many bytes from the start are well formed: len when all are. bytes may be NULL when len is 0. */
size_t utf8_span(const char *bytes, size_t len);
/* Copies bytes with U+FFFD in place of every byte that belongs to no sequence. out: room for 3 * len. → bytes written
 */
size_t utf8_mend(const char *bytes, size_t len, char *out);
