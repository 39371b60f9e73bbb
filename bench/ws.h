/* In: what a client wants to say, and bytes of a server. Out: bytes for the server, and the frames in what it sent.
 * Why: the client's side of RFC 6455, as much as a load generator needs and no more: no fragments, no extensions. It
 * works on the caller's buffers, allocates nothing and does no I/O, so that many frames share one read or write. */
#pragma once
#include "attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WS_HEADER_MAX 14
#define WS_PAYLOAD_MAX (UINT64_C(128) * 1024) /* of a frame from the server */

enum ws_opcode { WS_CONTINUATION = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_frame {
  enum ws_opcode opcode;
  const uint8_t *payload; /* borrowed from the buffer that was read */
  size_t length;
};

/* The upgrade request, with `Authorization: Bearer` when token is not NULL. Its length, or E_TOO_BIG. */
int ws_request(char *out, size_t room, const char *host, unsigned port, const char *path, const char *token) NODISCARD;
/* Length of a complete 101 answer to that request; 0: more bytes are needed; E_INVALID: anything else. */
int ws_response(const char *bytes, size_t length) NODISCARD;

/* Writes the header of a final, masked frame of `length` bytes; its size, at most WS_HEADER_MAX. */
size_t ws_header(uint8_t *out, enum ws_opcode opcode, size_t length, uint32_t mask);
void ws_mask(uint8_t *payload, size_t length, uint32_t mask);

/* Size of the first frame in bytes[]; 0: not complete yet; E_INVALID: masked, reserved bits or an odd control frame;
 * E_UNSUPPORTED: a fragment; E_TOO_BIG: above WS_PAYLOAD_MAX. */
int ws_parse(const uint8_t *bytes, size_t length, struct ws_frame *out) NODISCARD;
