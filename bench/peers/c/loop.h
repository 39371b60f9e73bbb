/* In: nothing. Out: what a server of this folder is made of. Why: see loop.c. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { READ_MAX = 64 * 1024, OUT_MAX = 256 * 1024, ANSWER_MAX = 64 * 1024 - 1 };

struct handler {
  /* Writes the answer to one message, at most ANSWER_MAX bytes; its length. The message is masked. */
  size_t (*answer)(uint8_t *to, uint8_t *message, size_t length, uint32_t mask);
  /* The first message to a client, likewise; NULL: none. */
  size_t (*greet)(uint8_t *to);
};

void unmask(uint8_t *to, const uint8_t *from, size_t length, uint32_t mask); /* to may be from */
/* Listens on a port of 127.0.0.1, says which in one JSON line on standard error, and serves until it is ended. */
int loop_run(const struct handler *with);
