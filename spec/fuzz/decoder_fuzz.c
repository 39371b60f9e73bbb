/* In: the bytes of a WebSocket. Out: an abort when how they were cut changes what comes out, when a text is no UTF-8 or
 * over the limit, or when something comes out that the bytes do not begin with by the rules of RFC 6455.
 * Why: these bytes come from whoever has a token, at any speed and in any pieces. */
#include "decoder.h"

#include <stdlib.h>
#include <string.h>

enum { LIMIT = 200, EVENTS_MAX = 64 };

static void check(bool holds) {
  if (!holds) {
    abort();
  }
}

struct seen {
  size_t count;
  int events[EVENTS_MAX];
  size_t lens[EVENTS_MAX];
  uint32_t sums[EVENTS_MAX];
};

static void note(struct seen *s, int event, const char *payload, size_t len) {
  uint32_t sum = 0;
  for (size_t i = 0; event > 0 && i < len; i++) {
    sum = sum * 31 + (uint8_t)payload[i];
  }
  if (s->count < EVENTS_MAX) {
    s->events[s->count] = event;
    s->lens[s->count] = event > 0 ? len : 0;
    s->sums[s->count++] = sum;
  }
}

static void run(const uint8_t *data, size_t size, size_t step, struct seen *s) {
  struct decoder d = {0};
  int event = 0;
  *s = (struct seen){0};
  for (size_t at = 0; at < size && event >= 0; at += step) {
    size_t len = step < size - at ? step : size - at;
    char *copy = malloc(len), *bytes = copy;
    memcpy(copy, data + at, len);
    const char *payload = NULL;
    size_t payload_len = 0;
    while ((event = decoder_next(&d, &bytes, &len, LIMIT, &payload, &payload_len)) != DECODER_MORE) {
      note(s, event, payload, payload_len);
      if (event < 0) {
        break;
      }
      check(payload_len <= (event == DECODER_TEXT ? LIMIT : DECODER_CONTROL_MAX));
      check(event != DECODER_TEXT || frame_utf8_valid(payload, payload_len));
      int code;
      check(event != DECODER_CLOSE || decoder_close_code(payload, payload_len, &code) <= 0);
      decoder_rest(&d);
    }
    check(event < 0 || len == 0);
    free(copy);
  }
  decoder_deinit(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0 || size > 4096) {
    return 0;
  }
  struct seen whole, pieces;
  run(data, size, size, &whole);
  const size_t steps[] = {1, 2, 7, 1 + data[0] % 50};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    run(data, size, steps[i], &pieces);
    check(whole.count == pieces.count);
    for (size_t k = 0; k < whole.count; k++) {
      check(whole.events[k] == pieces.events[k] && whole.lens[k] == pieces.lens[k] && whole.sums[k] == pieces.sums[k]);
    }
  }
  if (whole.count) { /* nothing comes of a first byte that a client may not send */
    bool allowed = !(data[0] & 0x70) && (size < 2 || (data[1] & 0x80));
    check(allowed || whole.events[0] < 0);
  }
  return 0;
}
