/* In: connections on a listening socket. Out: conns with their texts; HTTP requests; bytes back.
 * Why: with net_*.c the only files that know the transport (libwebsockets). Replies gather per connection and go out,
 * framed, in one write at the end of the loop turn. Thread: the worker's own, but for net_setup_log (main, before the
 * workers start). */
#pragma once
#include "attr.h"
#include "conn.h"
#include "gate.h"
#include "http.h"
#include "pages.h"
#include "tls.h"
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
  /* Frames that are no text of their own: false when they are over the connection's share, and get no answer. */
  bool (*frames)(void *ctx, struct conn *c, uint64_t work, uint64_t bytes);
  void (*closed)(void *ctx, struct conn *c);
  /* Somebody has connected, or asks for a WebSocket; one of them may be NULL. 0; or it is too often, and for how many
   * ms. */
  uint64_t (*arriving)(void *ctx, const char *address, const char *user_id);
  /* Answered by http_respond, now or later. */
  void (*http)(void *ctx, struct http_request *req);
};

struct net_options {
  const struct config *config;
  struct gate *gate;
  struct tls *tls; /* NULL: none is spoken */
  int listen_fd;   /* taken */
  const struct net_hooks *hooks;
  void *ctx;
};

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
/* HTTP connections that a stop would break: requests under way, and those so fresh that theirs may just not have been
 * read. O(connections). */
size_t net_unanswered(const struct net *n);
/* To every connection whose user is an admin. */
void net_tell_admins(struct net *n, struct message *m);
/* Runs the loop until the transport has let everything go. */
void net_close(struct net *n);
