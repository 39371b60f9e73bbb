/* In: connections on a listening socket. Out: conns with their texts; HTTP requests; bytes back.
 * Why: the only file that knows the transport (libwebsockets). Replies gather per connection and go out, framed, in one
 * write at the end of the loop turn.
 * Thread: the worker's own, but for net_listen (main, before the workers start). */
#pragma once
#include "attr.h"
#include "conn.h"
#include "gate.h"
#include "http.h"
#include "pages.h"
#include "worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net;

/* What arrives goes here. */
struct net_hooks {
  /* An upgraded connection; borrowed until `closed`. */
  void (*opened)(void *ctx, struct conn *c);
  /* A whole, valid text; borrowed for the call. */
  void (*text)(void *ctx, struct conn *c, const char *text, size_t len);
  void (*closed)(void *ctx, struct conn *c);
  /* Answered by http_respond, now or later. */
  void (*http)(void *ctx, struct http_request *req);
};

struct net_options {
  const struct config *config;
  struct gate *gate;
  int listen_fd; /* taken */
  const struct net_hooks *hooks;
  void *ctx;
};

/* count listening sockets on one address and port (SO_REUSEPORT), *port is the real one. 0 or a negative code with one
 * line that names the setting. */
int net_listen(const char *address, int port, unsigned count, int *fds, int *bound_port, char why[256]) NODISCARD;
/* Quietens and routes the transport's own log; once, before the workers start. */
void net_setup_log(void);

int net_open(struct worker *w, const struct net_options *o, struct net **out, char why[512]) NODISCARD;
/* New pages for the requests to come. References p. */
void net_set_pages(struct net *n, struct pages *p);
/* Writes all that has gathered. */
void net_flush(struct net *n);
void net_stop_listening(struct net *n);
/* Closes all WebSockets with 1001. */
void net_close_all(struct net *n, const char *reason);
size_t net_count(const struct net *n); /* WebSockets open */
/* To every connection whose user is an admin. */
void net_tell_admins(struct net *n, struct message *m);
/* Runs the loop until the transport has let everything go. */
void net_close(struct net *n);
