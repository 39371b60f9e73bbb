/* In: addresses and networks as text. Out: is it inside; which client stands behind a proxy.
 * Why: every address is kept as the 16 bytes of IPv6, IPv4 in its mapped range, so there is one comparison; text
 * that goes out is printed from those bytes, so one client has one spelling and one rate limit. */
#include "address.h"

#include "err.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAPPED_BITS 96 /* of ::ffff:0:0/96, where IPv4 lives */

struct address {
  uint8_t bytes[16];
};

struct network {
  struct address base;
  unsigned bits;
};

struct networks {
  size_t count;
  struct network list[];
};

static bool address_is_ipv4(const struct address *a) {
  static const uint8_t mapped[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};
  return memcmp(a->bytes, mapped, sizeof mapped) == 0;
}

static bool address_parse(const char *text, size_t len, struct address *out) {
  char copy[ADDRESS_MAX];
  if (len >= sizeof copy || memchr(text, 0, len))
    return false;
  memcpy(copy, text, len);
  copy[len] = 0;
  *out = (struct address){.bytes = {[10] = 0xff, [11] = 0xff}};
  return inet_pton(AF_INET, copy, out->bytes + 12) == 1 || inet_pton(AF_INET6, copy, out->bytes) == 1;
}

static void address_print(const struct address *a, char out[ADDRESS_MAX]) {
  if (address_is_ipv4(a))
    inet_ntop(AF_INET, a->bytes + 12, out, ADDRESS_MAX);
  else
    inet_ntop(AF_INET6, a->bytes, out, ADDRESS_MAX);
}

/* One to three digits: 0 to max. */
static bool bits_parse(const char *text, size_t len, unsigned max, unsigned *out) {
  *out = 0;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9')
      return false;
    *out = *out * 10 + (unsigned)(text[i] - '0');
  }
  return len >= 1 && len <= 3 && *out <= max;
}

static bool network_parse(const char *text, size_t len, struct network *out) {
  const char *slash = memchr(text, '/', len);
  size_t address_len = slash ? (size_t)(slash - text) : len;
  if (!address_parse(text, address_len, &out->base))
    return false;
  out->bits = 128;
  if (!slash)
    return true;
  unsigned skipped = !memchr(text, ':', address_len) ? MAPPED_BITS : 0;
  if (!bits_parse(slash + 1, len - address_len - 1, 128 - skipped, &out->bits))
    return false;
  out->bits += skipped;
  return true;
}

/* ::/0 is all of IPv6 and nothing of IPv4: who trusts the one has not said that he trusts the other. */
static bool network_contains(const struct network *n, const struct address *a) {
  if (address_is_ipv4(a) && n->bits < MAPPED_BITS)
    return false;
  unsigned whole = n->bits / 8, rest = n->bits % 8;
  return memcmp(n->base.bytes, a->bytes, whole) == 0 &&
         (rest == 0 || (n->base.bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0);
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static void trim(const char **text, size_t *len) {
  while (*len > 0 && is_blank((*text)[*len - 1]))
    (*len)--;
  while (*len > 0 && is_blank(**text)) {
    (*text)++;
    (*len)--;
  }
}

int networks_new(const char *list, struct networks **out, char bad[64]) {
  size_t entries = 1;
  for (const char *p = list; *p != 0; p++)
    entries += *p == ',';
  struct networks *n = calloc(1, sizeof *n + entries * sizeof *n->list);
  if (!n)
    return UV_ENOMEM;
  for (const char *p = list;; p++) {
    const char *entry = p;
    size_t len = strcspn(p, ",");
    p += len;
    trim(&entry, &len);
    if (len > 0 && !network_parse(entry, len, &n->list[n->count++])) {
      snprintf(bad, 64, "%.*s", (int)(len < 64 ? len : 63), entry);
      free(n);
      return E_INVALID;
    }
    if (*p == 0)
      break;
  }
  *out = n;
  return 0;
}

void networks_free(struct networks *n) {
  free(n);
}

bool networks_empty(const struct networks *n) {
  return n->count == 0;
}

static bool networks_hold(const struct networks *n, const struct address *a) {
  for (size_t i = 0; i < n->count; i++)
    if (network_contains(&n->list[i], a))
      return true;
  return false;
}

bool networks_contain(const struct networks *n, const char *address) {
  struct address a;
  return address_parse(address, strlen(address), &a) && networks_hold(n, &a);
}

/* An address as proxies write it: 192.0.2.1, 192.0.2.1:443, 2001:db8::1, [2001:db8::1], [2001:db8::1]:443. */
static bool entry_parse(const char *text, size_t len, struct address *out) {
  const char *first = memchr(text, ':', len), *end = memchr(text, ']', len);
  bool brackets = len > 0 && *text == '[';
  if (!brackets && (!first || memchr(first + 1, ':', len - (size_t)(first + 1 - text))))
    return address_parse(text, len, out); /* no colon, or those of a bare IPv6 address */
  if (brackets && !end)
    return false;
  const char *port = brackets ? end + 1 : first, *stop = text + len;
  if (port < stop && *port != ':')
    return false;
  for (const char *p = port + 1; p < stop; p++)
    if (*p < '0' || *p > '9' || p - port > 5)
      return false;
  if (port + 1 == stop)
    return false; /* a colon, and no port behind it */
  text += brackets;
  size_t host_len = (size_t)((brackets ? end : first) - text);
  return !!memchr(text, ':', host_len) == brackets && address_parse(text, host_len, out);
}

/* The right-most untrusted address, or the left-most when all are trusted: then one of our own hosts is asking. The
 * search ends at anything that is not an address: no trusted proxy vouches for what stands left of it. */
static bool forwarded_client(const struct networks *trusted, const char *forwarded, struct address *out) {
  size_t end = strlen(forwarded);
  bool found = false;
  for (;;) {
    size_t start = end;
    while (start > 0 && forwarded[start - 1] != ',')
      start--;
    const char *entry = forwarded + start;
    size_t len = end - start;
    trim(&entry, &len);
    if (len > 0) {
      struct address a;
      if (!entry_parse(entry, len, &a))
        return found;
      *out = a;
      found = true;
      if (!networks_hold(trusted, out))
        return true;
    }
    if (start == 0)
      return found;
    end = start - 1;
  }
}

static bool real_ip_client(const char *real_ip, struct address *out) {
  size_t len = strlen(real_ip);
  trim(&real_ip, &len);
  return entry_parse(real_ip, len, out);
}

bool address_client(const struct networks *trusted, const char *peer, const char *forwarded, const char *real_ip,
                    char out[ADDRESS_MAX]) {
  struct address a, client;
  if (!address_parse(peer, strlen(peer), &a)) {
    snprintf(out, ADDRESS_MAX, "%s", peer); /* a Unix socket, say: nothing to canonise */
    return !forwarded && !real_ip;
  }
  bool said = networks_hold(trusted, &a) && ((forwarded && forwarded_client(trusted, forwarded, &client)) ||
                                             (real_ip && real_ip_client(real_ip, &client)));
  if (said)
    a = client;
  address_print(&a, out);
  return said || (!forwarded && !real_ip);
}

bool address_group(const char *address, char out[ADDRESS_MAX]) {
  struct address a;
  if (!address_parse(address, strlen(address), &a))
    return false;
  if (!address_is_ipv4(&a))
    memset(a.bytes + 8, 0, 8);
  address_print(&a, out);
  return true;
}
