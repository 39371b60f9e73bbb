/* In: a connection, the conversation it has entered, the end of its socket. Out: which conversation its messages go to.
 * Why: the connection holds a reference to its conversation, which holds one to each of its members; here alone both
 * are known. Thread: the connection's home. */
#include "conn_impl.h"
#include "session.h"

struct session *conn_session(const struct conn *c) {
  return c->session;
}

void conn_bind(struct conn *c, struct session *s) {
  struct session *old = c->session;
  c->session = s ? session_ref(s) : NULL;
  if (old) {
    session_unref(old);
  }
}

void conn_dead(struct conn *c) {
  c->dead = true;
  wheel_drop(&c->expiry);
  conn_drop(c);
  conn_bind(c, NULL);
}
