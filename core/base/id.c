/* In: nothing. Out: ids nobody can guess: 128 random bits as 32 lower-case hex digits.
 * Why: see id.h. A thread draws 1 KiB at a time, because every stored message needs an id and a system call costs more
 * than the rest of making one. */
#include "id.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BYTES (ID_LEN / 2)

void id_new(char out[ID_LEN + 1]) {
  static _Thread_local unsigned char pool[64 * BYTES];
  static _Thread_local size_t left;
  static const char digits[] = "0123456789abcdef";
  if (left < BYTES) {
    for (size_t have = 0; have < sizeof pool;) {
      ssize_t n = getrandom(pool + have, sizeof pool - have, 0);
      have += n > 0 ? (size_t)n : 0;
    }
    left = sizeof pool;
  }
  left -= BYTES;
  for (size_t i = 0; i < BYTES; i++) {
    out[i * 2] = digits[pool[left + i] >> 4];
    out[i * 2 + 1] = digits[pool[left + i] & 15];
  }
  out[ID_LEN] = 0;
}

bool id_valid(const char *text) {
  return strspn(text, "0123456789abcdef") == ID_LEN && text[ID_LEN] == 0;
}
