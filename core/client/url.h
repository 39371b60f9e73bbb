/* In: the address of a server as people write it. Out: its parts, and the path of its WebSocket.
 * Why: people copy the address of the page; where the socket is, follows from it. Bounds: a host of 253 bytes, a path
 * of URL_PATH_MAX. */
#pragma once
#include "attr.h"

#include <stdbool.h>

#define URL_HOST_MAX 255
#define URL_PATH_MAX 512

struct url {
  bool tls;
  char host[URL_HOST_MAX + 1]; /* without the brackets of an IPv6 address */
  char port[6];
  char path[URL_PATH_MAX + 8]; /* of the WebSocket: the prefix of the server and "/ws" */
};

/* http, https, ws and wss; without a path it is /chatbox. 0, or E_INVALID and in *why (static) what is wrong. */
int url_read(const char *text, struct url *out, const char **why) NODISCARD;
/* host:port, or [host]:port, as a request and a complaint show it. out: URL_HOST_MAX + 10 bytes. */
void url_authority(const struct url *u, char *out);
