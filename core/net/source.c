/* In: connections that are no WebSockets (yet), and the address at the other end of each. Out: which one has to go so
 * that a newcomer of the same address can stay. Why: MAX_HANDSHAKES is everybody's, and a request that is never
 * finished is not idle: an address that opens many of them would keep all others out until each has had its
 * HANDSHAKE_TIMEOUT. A trusted proxy has no bound, because many people stand behind it. Thread: the worker's. Bound:
 * members are peers. */
#include "net_impl.h"

#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct source {
  char address[ADDRESS_MAX];
  struct link peers; /* the oldest first */
  size_t count;
  UT_hash_handle hh;
};

static bool address_of(int fd, char out[ADDRESS_MAX]) {
  struct sockaddr_storage a = {0};
  socklen_t len = sizeof a;
  if (getpeername(fd, (struct sockaddr *)&a, &len)) {
    return false;
  }
  const void *bytes = a.ss_family == AF_INET    ? (const void *)&((struct sockaddr_in *)&a)->sin_addr
                      : a.ss_family == AF_INET6 ? (const void *)&((struct sockaddr_in6 *)&a)->sin6_addr
                                                : NULL;
  return bytes && inet_ntop(a.ss_family, bytes, out, ADDRESS_MAX);
}

bool source_group(const struct net *n, const char *address, char out[ADDRESS_MAX]) {
  return !networks_contain(gate_trusted(n->o.gate), address) && address_group(address, out);
}

bool source_address(const struct net *n, int fd, char out[ADDRESS_MAX]) {
  char peer[ADDRESS_MAX];
  return address_of(fd, peer) && source_group(n, peer, out);
}

static struct source *find(struct net *n, const char *address) {
  struct source *s;
  HASH_FIND_STR(n->sources, address, s);
  return s;
}

static struct peer *peer_of(struct link *l) {
  return (struct peer *)((char *)l - offsetof(struct peer, mates));
}

/* One that nothing is asked on, else the oldest of which the request is not complete. NULL: all are being answered. */
static struct peer *choose(struct source *s) {
  struct peer *oldest = NULL;
  for (struct link *l = s->peers.next; l != &s->peers; l = l->next) {
    struct peer *p = peer_of(l);
    if (p->idle.next != &p->idle) {
      return p;
    }
    if (!oldest && !(p->exchange && p->exchange->dispatched)) {
      oldest = p;
    }
  }
  return oldest;
}

bool source_full(struct net *n, const char *address, struct peer **victim) {
  struct source *s = find(n, address);
  bool full = s && s->count >= n->source_limit;
  *victim = full ? choose(s) : NULL;
  return full;
}

void source_join(struct peer *p, const char *address) {
  struct net *n = p->net;
  struct source *s = find(n, address);
  if (!s && (s = calloc(1, sizeof *s))) {
    memcpy(s->address, address, strlen(address));
    s->peers = (struct link){&s->peers, &s->peers};
    HASH_ADD_STR(n->sources, address, s);
  }
  if (s) {
    link_put(&s->peers, &p->mates);
    s->count++;
    p->source = s;
  }
}

void source_leave(struct peer *p) {
  struct source *s = p->source;
  if (!s) {
    return;
  }
  p->source = NULL;
  link_drop(&p->mates);
  if (--s->count == 0) {
    HASH_DEL(p->net->sources, s);
    free(s);
  }
}
