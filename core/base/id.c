/* In: nothing, or a time. Out: ids nobody can guess.
 * Why: see id.h. A thread draws 1 KiB at a time, because every stored message needs an id and a system call costs more
 * than the rest of making one. */
#include "id.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BYTES (ID_LEN / 2)
#define TIME_BYTES 6

static void draw(unsigned char bytes[BYTES]) {
  static _Thread_local unsigned char pool[64 * BYTES];
  static _Thread_local size_t left;
  if (left < BYTES) {
    for (size_t have = 0; have < sizeof pool;) {
      ssize_t n = getrandom(pool + have, sizeof pool - have, 0);
      have += n > 0 ? (size_t)n : 0;
    }
    left = sizeof pool;
  }
  left -= BYTES;
  memcpy(bytes, pool + left, BYTES);
}

static void spell(const unsigned char bytes[BYTES], char out[ID_LEN + 1]) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < BYTES; i++) {
    out[i * 2] = digits[bytes[i] >> 4];
    out[i * 2 + 1] = digits[bytes[i] & 15];
  }
  out[ID_LEN] = 0;
}

void id_new(char out[ID_LEN + 1]) {
  unsigned char bytes[BYTES];
  draw(bytes);
  spell(bytes, out);
}

void id_new_at(int64_t ms, char out[ID_LEN + 1]) {
  unsigned char bytes[BYTES];
  draw(bytes);
  for (int i = 0; i < TIME_BYTES; i++) {
    bytes[i] = (unsigned char)((uint64_t)ms >> (8 * (TIME_BYTES - 1 - i)));
  }
  spell(bytes, out);
}

bool id_valid(const char *text) {
  return strspn(text, "0123456789abcdef") == ID_LEN && text[ID_LEN] == 0;
}
