/* In: a user id as a token, or an operator, states it. Out: the one spelling of it.
 * Why: what looks the same is the same user: an accented letter may be written as one character or as two, and
 * Unicode's form NFC decides. A control character would hide in logs and lines. Ids that are stored from before are not
 * touched.
 */
#pragma once
#include "attr.h"
#include "identity.h"

/* 0; E_INVALID when it is empty, no UTF-8, has a control character (of the category Cc, or a line or paragraph
 * separator), or is longer than TOKEN_USER_MAX bytes in NFC; UV_ENOMEM. */
int user_id_normalise(const char *text, char out[TOKEN_USER_MAX + 1]) NODISCARD;
