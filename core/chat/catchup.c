/* In: what a conversation sends while one of its members is being told what it missed. Out: the same, behind that, and
 * nothing twice. Why: see catchup.h. Nearly always the list is empty, and a look at one pointer says so. */
#include "catchup.h"

#include "err.h"

#include <stdlib.h>
#include <uv.h>

struct held_back {
  struct message *message;
  uint64_t seq;
};

struct catchup {
  struct catchup *next;
  struct conn *conn;
  struct held_back *kept;
  size_t count, room, bytes;
  bool lost; /* something did not fit: the connection is being closed */
};

static struct catchup **link_of(struct session *s, uint64_t conn) {
  struct catchup **link = session_catchups(s);
  while (*link && conn_id((*link)->conn) != conn) {
    link = &(*link)->next;
  }
  return link;
}

int catchup_begin(struct session *s, struct conn *c) {
  struct catchup **link = link_of(s, conn_id(c));
  if (*link) {
    return E_BUSY;
  }
  struct catchup *fresh = calloc(1, sizeof *fresh);
  if (!fresh) {
    return UV_ENOMEM;
  }
  fresh->conn = conn_ref(c);
  *link = fresh;
  return 0;
}

static bool grow(struct catchup *u) {
  size_t room = u->room ? 2 * u->room : 8;
  struct held_back *kept = realloc(u->kept, room * sizeof *kept);
  if (kept) {
    u->kept = kept;
    u->room = room;
  }
  return kept;
}

/* It recovers by seq when it comes back, so nothing of it has to be kept. */
static void lose(struct catchup *u, const struct mailbox *here) {
  u->lost = true;
  while (u->count > 0) {
    message_unref(u->kept[--u->count].message);
  }
  conn_close(u->conn, CLOSE_TRY_LATER, "too much was said meanwhile, come back", here);
}

bool catchup_keep(struct session *s, struct conn *c, struct message *m, uint64_t seq, const struct mailbox *here) {
  struct catchup *u = *session_catchups(s) ? *link_of(s, conn_id(c)) : NULL;
  size_t cost = sizeof *m + m->len;
  if (!u) {
    return false;
  }
  if (!u->lost && (u->bytes + cost > CATCHUP_BYTES || (u->count == u->room && !grow(u)))) {
    lose(u, here);
  }
  if (!u->lost) {
    u->kept[u->count++] = (struct held_back){message_ref(m), seq};
    u->bytes += cost;
  }
  return true;
}

void catchup_end(struct session *s, uint64_t conn, uint64_t told, const struct mailbox *here) {
  struct catchup **link = link_of(s, conn), *u = *link;
  if (!u) {
    return;
  }
  *link = u->next;
  for (size_t i = 0; i < u->count; i++) {
    if (u->kept[i].seq == 0 || u->kept[i].seq > told) {
      conn_send(u->conn, u->kept[i].message, here);
    }
    message_unref(u->kept[i].message);
  }
  conn_unref(u->conn);
  free(u->kept);
  free(u);
}
