/* In: nothing, or a time. Out: ids nobody can guess: random bits as 32 lower-case hex digits.
 * Why: ids of conversations are capabilities in practice (share links, URLs), so they come from the kernel's generator.
 * Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define ID_LEN 32

void id_new(char out[ID_LEN + 1]);
/* One that begins with its time, as UUIDv7 does: 48 bits of ms since 1970, then 80 random bits. For what is stored in
 * great numbers and is no capability: an index on such ids grows at its end, not at random pages. */
void id_new_at(int64_t ms, char out[ID_LEN + 1]);
/* Whether text has the form of an id; anything else cannot be in the store and is not looked up. */
bool id_valid(const char *text);
