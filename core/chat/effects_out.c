/* In: slices whose outcome is known, in any order. Out: their sends and outcomes, in the order they were committed.
 * Why: see effects.h. A session's out queue holds the slices whose sends still wait for a commit (their own or an
 * earlier one's); its head leaves when it is settled, so every member sees one order. */
#include "effects_impl.h"

#include "catchup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void send_one(const struct effects_send *send, struct message *m, struct conn *c, const struct mailbox *here) {
  if (send->close_code) {
    conn_close(c, send->close_code, m->text, here);
  } else {
    conn_send(c, m, here);
  }
}

/* A new reference to what goes out; NULL: nothing. Only now it is known how the message was stored. */
static struct message *document(const struct effects *e, const struct effects_send *send) {
  const struct message *m = send->message;
  const struct message_record *r = send->event ? &e->messages[send->event - 1] : NULL;
  char tail[STORE_ID_LEN + 80];
  if (!r || m->len < 2 || m->text[m->len - 1] != '}') {
    return message_ref(send->message);
  }
  if (r->duplicate && !send->to) {
    return NULL;
  }
  const char *duplicate = !send->to ? "" : r->duplicate ? ",\"duplicate\":true" : ",\"duplicate\":false";
  int len = snprintf(tail, sizeof tail, "%s\"id\":\"%s\",\"seq\":%" PRIu64 "%s}", m->text[m->len - 2] == '{' ? "" : ",",
                     r->id, r->seq, duplicate);
  struct message *whole = message_join(m->text, m->len - 1, tail, (size_t)len);
  if (!whole) {
    abort(); /* members that silently miss an event would break the order they are promised */
  }
  return whole;
}

static void send_to_members(const struct effects *e, const struct effects_send *send, struct message *m,
                            const struct members *members, const struct mailbox *here) {
  uint64_t seq = send->event ? e->messages[send->event - 1].seq : 0;
  for (size_t k = 0; k < members->count; k++) {
    struct conn *c = members->all[k];
    bool meant = !send->to || send->to == conn_id(c);
    if (!meant || send->except == conn_id(c) || (send->protocol && send->protocol != conn_protocol(c))) {
      continue;
    }
    if (send->to || !catchup_keep(e->session, c, m, seq, here)) {
      send_one(send, m, c, here);
    }
  }
}

static void run_sends(const struct effects *e, const struct mailbox *here) {
  struct members members;
  session_members(e->session, &members);
  for (size_t i = 0; i < e->send_count; i++) {
    const struct effects_send *send = &e->sends[i];
    if (!send->message) {
      catchup_end(e->session, send->to, send->told, here);
      continue;
    }
    struct message *m = document(e, send);
    if (m && send->to && e->conn && conn_id(e->conn) == send->to) {
      send_one(send, m, e->conn, here);
    } else if (m) {
      send_to_members(e, send, m, &members, here);
    }
    message_unref(m);
  }
  members_free(&members);
}

bool effects_catchup_ends(struct session *s, uint64_t conn) {
  for (const struct effects *e = session_out(s)->head; e; e = e->next) {
    for (size_t i = 0; i < e->send_count; i++) {
      if (!e->sends[i].message && e->sends[i].to == conn) {
        return true;
      }
    }
  }
  return false;
}

/* What it was to tell is not told; but whoever waits for the end of it waits no longer. */
static void end_catchups(const struct effects *e, const struct mailbox *here) {
  for (size_t i = 0; i < e->send_count; i++) {
    if (!e->sends[i].message) {
      catchup_end(e->session, e->sends[i].to, 0, here);
    }
  }
}

static void call_done(struct post *post) {
  struct effects *e = (struct effects *)post;
  e->done(e, e->arg);
}

void effects_finish(struct effects *e, const struct mailbox *here) {
  if (e->code == 0 && e->send_count) {
    run_sends(e, here);
  } else if (e->send_count) {
    end_catchups(e, here);
  }
  if (!e->done) {
    effects_free(e);
  } else if (e->origin == here) {
    e->done(e, e->arg);
  } else {
    e->post.run = call_done;
    mailbox_put(e->origin, &e->post);
  }
}

/* Lets go what is settled at the head of the queue. The last of it may hold the last reference but the table's. What
 * was let go still holds the session until this has looked at the queue for the last time: an owner that is in here
 * stays the owner. */
void effects_flush(struct session *s, const struct effects_home *home) {
  struct out_queue *q = session_out(session_ref(s));
  unsigned let_go = 0;
  while (q->head && q->head->settled) {
    struct effects *e = q->head;
    if (!(q->head = e->next)) {
      q->tail = NULL;
    }
    let_go++;
    effects_finish(e, home->here);
  }
  if (let_go) {
    session_unhold_many(s, let_go, home->now_ms(home->arg));
  }
  session_unref(s);
}

void effects_enqueue(struct session *s, struct effects *e) {
  struct out_queue *q = session_out(s);
  session_hold(s);
  e->next = NULL;
  if (q->tail) {
    q->tail->next = e;
  } else {
    q->head = e;
  }
  q->tail = e;
}
