/* In: WebSocket frames. Out: the same frames back.
 * Why: the ceiling. No JSON, no script, no session, no limits: what a server on this machine can do at most when all it
 * does is move bytes, so that the distance to it is the price of everything else. */
#include "loop.h"

static size_t echo(uint8_t *to, uint8_t *message, size_t length, uint32_t mask) {
  unmask(to, message, length, mask);
  return length;
}

int main(void) {
  return loop_run(&(struct handler){.answer = echo});
}
