/* In: addresses and networks as text. Out: is it inside; which client stands behind a proxy.
 * Why: METRICS_ALLOWED_NETWORKS, TRUSTED_PROXIES and the limits per address must agree on what an address is
 * (an IPv4 address mapped into IPv6 is the IPv4 address). No allocation after new, no DNS. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>

struct networks;
#define ADDRESS_MAX 46 /* INET6_ADDRSTRLEN */

/* A comma list of addresses and CIDR networks, blanks allowed. 0; E_INVALID with the bad entry copied to bad[]. */
int networks_new(const char *list, struct networks **out, char bad[64]) NODISCARD;
void networks_free(struct networks *n);
bool networks_empty(const struct networks *n);
bool networks_contain(const struct networks *n, const char *address);

/* Who counts as one: an IPv4 address, or an IPv6 network of 64 bits, which is what one subscriber is given. false: not
 * an address. */
bool address_group(const char *address, char out[ADDRESS_MAX]);

/* The client of a request from `peer`: the right-most untrusted entry of X-Forwarded-For (the left-most when all are
 * trusted), else X-Real-IP, when peer is in `trusted`; otherwise peer. An entry may have a port, and an IPv6 address
 * brackets. forwarded and real_ip may be NULL. The search ends at what is not an address. False when somebody stands
 * behind the peer and nobody we trust says who: the address in out[] is then only where the request was relayed. */
bool address_client(const struct networks *trusted, const char *peer, const char *forwarded, const char *real_ip,
                    char out[ADDRESS_MAX]);
