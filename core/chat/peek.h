/* In: a text nobody has decoded. Out: its cid or type, if it is a JSON object that has one.
 * Why: who is refused before decoding still has to be told which of its messages it was. A look at the top level of the
 * object, without allocating; what does not look like JSON has no cid. Any thread. */
#pragma once
#include <stddef.h>

#define PEEK_MAX 65536 /* bytes; in what is longer nobody looks */
#define PEEK_TYPE_MAX 64

/* The bytes of the member "cid" where it is a plain string of 1 to STORE_CID_MAX bytes without escapes, as it stands in
 * text: borrowed. 0: there is none. Of several the last, as for the decoder. */
size_t peek_cid(const char *text, size_t len, const char **cid);
/* Likewise "type", of 1 to PEEK_TYPE_MAX bytes. */
size_t peek_type(const char *text, size_t len, const char **type);
