/* In: why a connection has to end. Out: a message `bye` and the close frame behind it. Why: see bye.h. */
#include "bye.h"

#include <stdio.h>
#include <time.h>

void bye_say(struct conn *c, int close, const char *code, const char *reason, uint64_t wall_ms,
             const struct mailbox *here) {
  static const char text[] =
    "{\"type\":\"bye\",\"code\":\"%s\",\"reason\":\"%s\",\"sender\":\"system\",\"timestamp\":\"%s.%03uZ\"}";
  char stamp[32], out[512];
  time_t now_s = (time_t)(wall_ms / 1000);
  struct tm tm;
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now_s, &tm));
  int len = snprintf(out, sizeof out, text, code, reason, stamp, (unsigned)(wall_ms % 1000));
  struct message *m = len < (int)sizeof out ? message_new(out, (size_t)len) : NULL;
  if (m) {
    conn_send(c, m, here);
    message_unref(m);
  }
  conn_close(c, close, code, here);
}
