/* In: why a connection has to end. Out: a message `bye`, which says it in a word and when to come back. Why: see bye.h.
 */
#include "bye.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

/* Spread, so that not all of them come to the next server at once. */
#define STEPS 16
#define STEP_MS 250

static const struct bye_row {
  int close;
  const char *code;
  bool again;
} rows[] = {
#define ROW(close, code, again) {close, code, again},
  BYES(ROW)
#undef ROW
};

/* A script closes with whatever number it likes. */
static const struct bye_row *row_of(int close) {
  size_t i = 0;
  while (i < sizeof rows / sizeof *rows && rows[i].close != close) {
    i++;
  }
  return &rows[i < sizeof rows / sizeof *rows ? i : 0];
}

/* What JSON has to write in another way; a reason of a script may hold anything. */
static size_t escape(char *out, const char *text) {
  size_t len = 0;
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    if (c == '"' || c == '\\') {
      out[len++] = '\\';
      out[len++] = (char)c;
    } else if (c < 0x20 || c == 0x7f) {
      len += (size_t)sprintf(out + len, "\\u%04x", c);
    } else {
      out[len++] = (char)c;
    }
  }
  out[len] = 0;
  return len;
}

size_t bye_text(char out[BYE_TEXT_MAX], int close, const char *code, const char *reason, uint64_t conn,
                uint64_t wall_ms) {
  const struct bye_row *row = row_of(close);
  char stamp[32], said[6 * CONN_REASON_MAX + 1], cut[CONN_REASON_MAX + 1];
  time_t now_s = (time_t)(wall_ms / 1000);
  struct tm tm;
  snprintf(cut, sizeof cut, "%s", reason);
  escape(said, cut);
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now_s, &tm));
  unsigned retry_after_ms = row->again ? STEP_MS * (1 + (unsigned)(conn % STEPS)) : 0;
  int len = snprintf(out, BYE_TEXT_MAX,
                     "{\"type\":\"bye\",\"code\":\"%s\",\"reason\":\"%s\",\"retry_after_ms\":%u,\"sender\":\"system\","
                     "\"timestamp\":\"%s.%03uZ\"}",
                     code ? code : row->code, said, retry_after_ms, stamp, (unsigned)(wall_ms % 1000));
  assert(len > 0 && len < BYE_TEXT_MAX);
  return (size_t)len;
}

static void say(struct conn *c, int close, const char *code, const char *reason, uint64_t wall_ms,
                const struct mailbox *here) {
  char text[BYE_TEXT_MAX];
  size_t len = bye_text(text, close, code, reason, conn_id(c), wall_ms);
  struct message *m = message_new(text, len);
  if (m) {
    conn_send_bye(c, m, close, here);
    message_unref(m);
  }
}

void bye_announce(struct conn *c, int close, const char *reason, uint64_t wall_ms, const struct mailbox *here) {
  say(c, close, NULL, reason, wall_ms, here);
}

void bye_say(struct conn *c, int close, const char *code, const char *reason, uint64_t wall_ms,
             const struct mailbox *here) {
  say(c, close, code, reason, wall_ms, here);
  conn_close(c, close, code ? code : row_of(close)->code, here);
}
