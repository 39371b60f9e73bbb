/* In: an address and a port. Out: sockets that share them, one a worker.
 * Why: the kernel spreads connections over sockets of one port (SO_REUSEPORT), so no worker hands any to another.
 * Thread: main, before the workers start. */
#pragma once
#include "attr.h"

/* count listening sockets into fds[]; *bound_port is the real one when port is 0. 0 or a negative code with one line
 * that names the setting. */
int listen_open(const char *address, int port, unsigned count, int *fds, int *bound_port, char why[256]) NODISCARD;
