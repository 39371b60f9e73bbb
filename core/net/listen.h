/* In: an address and a port, or a socket that a service manager listens on already. Out: sockets to accept from, one a
 * worker. Why: the kernel spreads connections over sockets of one port (SO_REUSEPORT), so no worker hands any to
 * another. A manager's socket is one for all of them; it outlives the server, so that nobody is refused during a
 * restart. Thread: main, before the workers start. */
#pragma once
#include "attr.h"

/* count listening sockets into fds[]; *bound_port is the real one when port is 0. 0 or a negative code with one line
 * that names the setting. */
int listen_open(const char *address, int port, unsigned count, int *fds, int *bound_port, char why[256]) NODISCARD;
/* The same of the one socket that was handed over (LISTEN_FDS, sd_listen_fds(3)), and then the address of
 * SERVER_ADDRESS and SERVER_PORT is the manager's business. E_MISSING: none was; else a negative code and why[]. The
 * variables are gone from the environment afterwards. */
int listen_handed_over(unsigned count, int *fds, int *bound_port, char why[256]) NODISCARD;
#define LISTEN_ADDRESS_MAX 64
/* The address a listening socket has, whoever made it; "?" when it cannot be told. */
void listen_address(int fd, char out[LISTEN_ADDRESS_MAX]);
