/* In: nothing. Out: ids nobody can guess: 128 random bits as 32 lower-case hex digits.
 * Why: ids of conversations are capabilities in practice (share links, URLs), so they come from the kernel's generator.
 * Any thread. */
#pragma once
#include <stdbool.h>

#define ID_LEN 32

void id_new(char out[ID_LEN + 1]);
/* Whether text has the form of an id: what has not cannot be in the store, and is not looked for. */
bool id_valid(const char *text);
