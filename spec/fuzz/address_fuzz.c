/* In: a byte that says what, then lines: the peer, X-Forwarded-For and X-Real-IP; or a list of origins and one origin;
 * or a list of networks. Out: an abort when core/base/address.h or core/base/origin.h break a promise. Why: a stranger
 * writes these headers, and limits, networks and CORS believe what is made of them. */
#include "address.h"
#include "err.h"
#include "origin.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum mode { CLIENT, ORIGINS, NETWORKS, MODES };

static struct networks *trusted;

static void check(bool holds) {
  if (!holds)
    abort();
}

/* The next line, terminated, on the heap; what a header cannot hold ends it. */
static char *line_take(const char **text, size_t *len) {
  const char *end = memchr(*text, '\n', *len);
  size_t used = end ? (size_t)(end - *text) : *len;
  char *line = strndup(*text, used);
  *text += used + (end != NULL);
  *len -= used + (end != NULL);
  check(line != NULL);
  return line;
}

static bool is_address(const char *text) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static void client_check(const char *text, size_t len) {
  char *peer = line_take(&text, &len), *forwarded = line_take(&text, &len), *real = line_take(&text, &len);
  char out[ADDRESS_MAX], again[ADDRESS_MAX], direct[ADDRESS_MAX];
  peer[strnlen(peer, ADDRESS_MAX - 1)] = '\0';
  bool known = address_client(trusted, peer, forwarded, *real ? real : NULL, out);
  check(memchr(out, '\0', sizeof out) != NULL);
  check(address_client(trusted, peer, NULL, NULL, direct));
  check(is_address(peer) ? is_address(out) : strcmp(out, peer) == 0);
  if (!networks_contain(trusted, peer))
    check(!known && strcmp(out, direct) == 0); /* a stranger cannot be somebody else */
  if (is_address(out)) {
    check(address_client(trusted, out, NULL, NULL, again) && strcmp(again, out) == 0); /* one spelling */
  }
  free(peer);
  free(forwarded);
  free(real);
}

static void origins_check(const char *text, size_t len) {
  char *list = line_take(&text, &len), *origin = line_take(&text, &len), bad[64];
  const char *reason = NULL;
  struct origins *o = NULL, *one = NULL;
  int err = origins_new(list, &o, bad, &reason);
  check(err == 0 ? o != NULL : err == E_INVALID && reason && strlen(bad) < sizeof bad);
  if (o && origins_allow(o, origin) && !origins_allow(o, NULL)) {
    /* What is allowed is an origin in its one form: a list of it alone allows it. */
    check(origins_new(origin, &one, bad, &reason) == 0 && origins_allow(one, origin));
    origins_free(one);
  }
  (void)origin_is_host(list, origin);
  origins_free(o);
  free(list);
  free(origin);
}

static void networks_check(const char *text, size_t len) {
  char *list = line_take(&text, &len), *address = line_take(&text, &len), bad[64];
  struct networks *n = NULL;
  int err = networks_new(list, &n, bad);
  check(err == 0 || err == E_INVALID);
  if (err == 0) {
    check(!networks_contain(n, address) || is_address(address));
    networks_free(n);
  }
  free(list);
  free(address);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  char bad[64];
  check(networks_new("127.0.0.0/8,::1,10.0.0.0/8,2001:db8:1::/48", &trusted, bad) == 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  const char *text = (const char *)data + 1;
  switch ((enum mode)(data[0] % MODES)) {
  case CLIENT:
    client_check(text, size - 1);
    break;
  case ORIGINS:
    origins_check(text, size - 1);
    break;
  default:
    networks_check(text, size - 1);
  }
  return 0;
}
