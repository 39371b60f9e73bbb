/* In: texts and bytes. Out: frames. Why: ws.h. The key of the handshake is the one of RFC 6455, section 1.3, and so is
 * the answer that proves that the other side speaks WebSocket: a generator has no proxy to protect from replays. */
#include "ws.h"

#include "err.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

int ws_request(char *out, size_t room, const char *host, unsigned port, const char *path, const char *token) {
  int n = snprintf(out, room,
                   "GET %s HTTP/1.1\r\nHost: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n%s%s%s\r\n",
                   path, host, port, token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "");
  return n < 0 || (size_t)n >= room ? E_TOO_BIG : n;
}

static bool header_is(const char *line, const char *end, const char *name, const char *value) {
  size_t name_length = strlen(name), value_length = strlen(value);
  if ((size_t)(end - line) < name_length || strncasecmp(line, name, name_length) != 0)
    return false;
  line += name_length;
  while (line < end && *line == ' ')
    line++;
  return (size_t)(end - line) == value_length && memcmp(line, value, value_length) == 0;
}

int ws_response(const char *bytes, size_t length) {
  static const char status[] = "HTTP/1.1 101";
  size_t known = length < sizeof status - 1 ? length : sizeof status - 1;
  if (memcmp(bytes, status, known) != 0)
    return E_INVALID;
  const char *end = memmem(bytes, length, "\r\n\r\n", 4);
  if (!end)
    return length > 8192 ? E_INVALID : 0;
  bool accepted = false;
  for (const char *line = bytes; line < end;) {
    const char *stop = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
    accepted |= header_is(line, stop, "Sec-WebSocket-Accept:", ACCEPT);
    line = stop + 2;
  }
  return accepted ? (int)(end - bytes) + 4 : E_INVALID;
}

size_t ws_header(uint8_t *out, enum ws_opcode opcode, size_t length, uint32_t mask) {
  size_t n = 2;
  out[0] = 0x80 | (uint8_t)opcode;
  if (length < 126) {
    out[1] = 0x80 | (uint8_t)length;
  } else {
    bool wide = length > UINT16_MAX;
    size_t bytes = wide ? 8 : 2;
    out[1] = 0x80 | (wide ? 127 : 126);
    for (size_t i = 0; i < bytes; i++)
      out[n++] = (uint8_t)((uint64_t)length >> (8 * (bytes - 1 - i)));
  }
  memcpy(out + n, &mask, sizeof mask);
  return n + sizeof mask;
}

void ws_mask(uint8_t *payload, size_t length, uint32_t mask) {
  uint64_t wide = (uint64_t)mask << 32 | mask;
  for (; length >= sizeof wide; payload += sizeof wide, length -= sizeof wide) {
    uint64_t word;
    memcpy(&word, payload, sizeof word);
    word ^= wide;
    memcpy(payload, &word, sizeof word);
  }
  for (size_t i = 0; i < length; i++)
    payload[i] ^= ((const uint8_t *)&mask)[i % sizeof mask];
}

int ws_parse(const uint8_t *bytes, size_t length, struct ws_frame *out) {
  if (length < 2)
    return 0;
  bool final = bytes[0] & 0x80, control = bytes[0] & 0x08;
  uint64_t payload = bytes[1] & 0x7f;
  if (bytes[0] & 0x70 || bytes[1] & 0x80 || (control && (!final || payload > 125)))
    return E_INVALID;
  out->opcode = bytes[0] & 0x0f;
  if (!final || out->opcode == WS_CONTINUATION)
    return E_UNSUPPORTED;
  size_t header = 2 + (payload == 126 ? 2 : payload == 127 ? 8 : 0);
  if (length < header)
    return 0;
  if (header > 2) {
    payload = 0;
    for (size_t i = 2; i < header; i++)
      payload = payload << 8 | bytes[i];
  }
  if (payload > WS_PAYLOAD_MAX)
    return E_TOO_BIG;
  if (length < header + payload)
    return 0;
  out->payload = bytes + header;
  out->length = payload;
  return (int)(header + payload);
}
