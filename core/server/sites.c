/* In: a function. Out: a call of it on every worker, with that worker's site. Why: news for all workers (command.c,
 * keys.c) and the steps of a stop (server.c) go the same way. */
#include "server_impl.h"

void server_each_site(struct server *s, void (*fn)(void *), void *(*arg)(struct site *, void *), void *with) {
  for (size_t i = 0; i < s->count; i++) {
    worker_call(s->sites[i].worker, fn, arg(&s->sites[i], with));
  }
}

void *server_just_site(struct site *site, void *with) {
  (void)with;
  return site;
}
