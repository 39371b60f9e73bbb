/* In: the text of a secret. Out: whether somebody has filled it in, and whether it can be guessed; or the text itself,
 * from the file that a setting ending in _FILE names.
 * Why: templates of deployments hold secrets like `smtp-password`, and a server that starts with one of them is open to
 * everybody who has read the template. Start, `chatbox check-secrets` and the manifests are judged by the same words.
 * Pure functions but for secret_read; any thread. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>

#define SECRET_FILE_MAX 65536 /* bytes */

/* What of the text shows that it is a placeholder, such as "change me"; a static string. NULL: it may be genuine.
 * Judged without regard to case and to what is neither a letter nor a digit: CHANGE-ME, changeme, Change_Me. */
const char *secret_placeholder(const char *text);
/* The password in a URL such as mongodb://user:password@host/, as it is written there; NULL: there is none. */
const char *secret_of_url(const char *url, size_t *len);
/* Bytes that are to be random and obviously are not. Repeated: fewer than 8 different ones (of 32 random hexadecimal
 * digits fewer than one in 10^7 is). Rising: half of them, or more, in steps of the same width: 0123..., abcd... */
bool secret_repeats(const void *bytes, size_t len);
bool secret_rises(const void *bytes, size_t len);
/* The content of the file without one newline at its end, on the heap, the caller frees. 0; E_INVALID (empty, a NUL in
 * it, no regular file), E_TOO_BIG or another negative code, with one line in why[] that names the file. */
int secret_read(const char *path, char **out, char why[512]) NODISCARD;
