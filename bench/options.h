/* In: the command line and token files. Out: what to do, checked.
 * Why: a run that is wrong should fail before the first connection, in one line. Every number has bounds, so every run
 * ends. Only loopback is accepted: this program is not to be pointed at somebody else's server. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INFLIGHT_MAX 1024
#define CONNECTIONS_MAX 1000000

enum mode { MODE_CLOSED, MODE_OPEN, MODE_IDLE };

struct options {
  enum mode mode;
  const char *host, *path, *message, *answer;
  char **tokens; /* connections take them in turn */
  size_t token_count;
  uint64_t port, connections, inflight;
  uint64_t rate; /* messages per second over all connections */
  uint64_t seconds_ns, warmup_ns, connect_ns;
  uint64_t pid; /* of the server; 0: unknown */
  bool json;
};

/* 0; 1 when only --help was asked for; a negative code after a line on standard error. Strings are borrowed from argv.
 */
int options_read(struct options *o, int argc, char **argv) NODISCARD;
void options_deinit(struct options *o);
