/* In: why a connection has to end. Out: a message `bye` and the close frame behind it. Why: see bye.h. */
#include "bye.h"

#include <stdio.h>
#include <time.h>

static void say(struct conn *c, const char *code, const char *reason, unsigned retry_after_ms, uint64_t wall_ms,
                const struct mailbox *here) {
  static const char text[] =
    "{\"type\":\"bye\",\"code\":\"%s\",\"reason\":\"%s\"%s,\"sender\":\"system\",\"timestamp\":\"%s.%03uZ\"}";
  char stamp[32], retry[48] = "", out[512];
  time_t now_s = (time_t)(wall_ms / 1000);
  struct tm tm;
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now_s, &tm));
  if (retry_after_ms > 0) {
    snprintf(retry, sizeof retry, ",\"retry_after_ms\":%u", retry_after_ms);
  }
  int len = snprintf(out, sizeof out, text, code, reason, retry, stamp, (unsigned)(wall_ms % 1000));
  struct message *m = len < (int)sizeof out ? message_new(out, (size_t)len) : NULL;
  if (m) {
    conn_send(c, m, here);
    message_unref(m);
  }
}

void bye_announce(struct conn *c, const char *code, const char *reason, unsigned retry_after_ms, uint64_t wall_ms,
                  const struct mailbox *here) {
  say(c, code, reason, retry_after_ms, wall_ms, here);
}

void bye_say(struct conn *c, int close, const char *code, const char *reason, uint64_t wall_ms,
             const struct mailbox *here) {
  say(c, code, reason, 0, wall_ms, here);
  conn_close(c, close, code, here);
}
