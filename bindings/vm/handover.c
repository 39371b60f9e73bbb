/* In: a cancelled task. Out: its message in the inbox again. Why: see handover.h.
 *
 *   begin: a barrier behind what the handler has committed
 *     v    it is settled: the open messages of the conversation are read
 *     v    the message is among them: it goes in front of what waits; it is not: it is dealt with
 *   end: the turn is given up, the conversation is free again */
#include "handover.h"

#include "err.h"
#include "log.h"
#include "slice.h"

#include <stdlib.h>
#include <string.h>

struct handover {
  struct vm *vm;
  struct session *session; /* a reference, and a hold: it stays with this worker */
  struct conn *conn;       /* a reference, or NULL */
  struct dealing dealing;  /* until then nobody else deals with it */
  char cid[STORE_CID_MAX + 1];
  handover_failed *failed;
  bool turn; /* nothing else of the conversation runs */
};

/* The turn goes with it. */
static void end(struct handover *h) {
  struct vm *vm = h->vm;
  struct mailbox *wake;
  session_dealing_remove(h->session, &h->dealing);
  if (h->turn) {
    session_set_busy(h->session, false, &wake);
  } else {
    session_wake(h->session, &wake);
  }
  worker_wake(vm->worker, h->session, wake);
  session_unhold(h->session, worker_now_ms(vm->worker));
  session_unref(h->session);
  conn_unref(h->conn);
  free(h);
  vm->outstanding--;
  vm_maybe_idle(vm);
}

static void fail(struct handover *h, int code) {
  LOG(LOG_ERROR, "script", "a message of an old version was not handed over", LSTR("error", err_name(code)),
      LSTR("session", session_id(h->session)));
  h->failed(h->vm, h->session, h->conn, h->cid);
  end(h);
}

static int submit(struct handover *h, enum store_kind kind, void (*run)(struct post *post)) {
  struct store *store = worker_home(h->vm->worker)->store;
  struct store_op *op = store ? store_op_new(kind) : NULL;
  if (!op) {
    return E_STORE;
  }
  memcpy(op->session.id, kind == STORE_SESSION ? session_id(h->session) : "", kind == STORE_SESSION ? STORE_ID_LEN : 0);
  op->with_open = kind == STORE_SESSION;
  op->reply_to = worker_mailbox(h->vm->worker);
  op->post.run = run;
  op->arg = h;
  int code = store_submit(store, op);
  if (code) {
    store_op_free(op);
  }
  return code;
}

static void on_read(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct handover *h = op->arg;
  int code = op->code;
  for (size_t i = 0; !code && i < op->message_count; i++) {
    struct message_record *m = &op->messages[i];
    if (strcmp(m->id, h->dealing.id) == 0) {
      struct item *item = item_new_unanswered(m, m->damaged);
      *m = (struct message_record){0};
      if (item) { /* else there is no memory: it stays open, and its turn comes with the next load */
        session_first(h->session, item);
      }
      break;
    }
  }
  store_op_free(op);
  if (code) {
    fail(h, code);
  } else {
    end(h);
  }
}

static void on_settled(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct handover *h = op->arg;
  store_op_free(op);
  int code = submit(h, STORE_SESSION, on_read);
  if (code) {
    fail(h, code);
  }
}

bool handover_begin(struct task *t, const char cid[STORE_CID_MAX + 1], handover_failed *failed) {
  const struct errand *errand = &t->errand;
  struct vm *vm = t->vm;
  bool acked = !*cid || errand->settled; /* who gave a cid and has no ack sends it again */
  if (!vm->replaced || t->kind != TASK_MESSAGE || !errand->dealing.id[0] || !errand->stored || !acked ||
      vm->unanswered_ref == LUA_NOREF) {
    return false;
  }
  struct handover *h = calloc(1, sizeof *h);
  if (!h) {
    return false;
  }
  *h = (struct handover){.vm = vm, .session = session_ref(t->session), .conn = t->conn ? conn_ref(t->conn) : NULL};
  h->failed = failed;
  memcpy(h->cid, cid, sizeof h->cid);
  memcpy(h->dealing.id, errand->dealing.id, sizeof h->dealing.id);
  session_dealing_add(h->session, &h->dealing);
  session_hold(h->session);
  h->turn = t->turn.held;
  t->turn.held = false;
  vm->outstanding++;
  int code = submit(h, STORE_WRITE, on_settled);
  if (code) {
    t->turn.held = h->turn;
    h->turn = false;
    end(h);
  }
  return code == 0;
}
