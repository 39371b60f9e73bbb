/* In: bytes, or base64url text. Out: the other.
 * Why: JWT and JWKS use the alphabet of RFC 4648 section 5 without padding; read strictly, so that one value has
 * exactly one spelling and a changed token never means the same. Pure functions, any thread. */
#pragma once
#include "attr.h"

#include <stddef.h>

#define BASE64URL_LEN(bytes) (((bytes)*4 + 2) / 3)
#define BASE64URL_BYTES(len) ((len)*3 / 4)

/* Writes BASE64URL_LEN(len) characters and a NUL. */
void base64url_encode(const void *bytes, size_t len, char *out);
/* Writes BASE64URL_BYTES(len) bytes, which is how many that was. 0, or E_INVALID for padding, a foreign character, an
 * impossible length or leftover bits. */
int base64url_decode(const char *text, size_t len, unsigned char *out, size_t *out_len) NODISCARD;
