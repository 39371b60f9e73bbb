/* In: a store, steps. Out: conversations with open messages in memory. Why: see recovery.h. */
#include "recovery.h"

#include "err.h"
#include "join.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

struct recovery {
  struct recovery_world world;
  int64_t since_ms;
  char after[STORE_ID_LEN + 1];
  size_t number, on_their_way;
  bool asking, done, again; /* again: the store could not give one */
};

/* One conversation, on its way through a worker and back. */
struct recovered {
  struct post post;
  struct recovery *recovery;
  struct worker *worker;
  char id[STORE_ID_LEN + 1];
  int code;
};

struct recovery *recovery_new(const struct recovery_world *w, int64_t since_ms) {
  struct recovery *r = calloc(1, sizeof *r);
  if (r) {
    r->world = *w;
    r->since_ms = since_ms;
  }
  return r;
}

void recovery_free(struct recovery *r) {
  free(r);
}

static void is_back(struct post *post) {
  struct recovered *one = (struct recovered *)post;
  one->recovery->on_their_way--;
  one->recovery->again |= one->code == E_STORE;
  free(one);
}

static void is_in_memory(void *arg, struct session *s, int code) {
  struct recovered *one = arg;
  one->code = code; /* memory is full, or it is gone: then it is dealt with when somebody comes */
  if (s) {
    session_unref(s);
  }
  one->post.run = is_back;
  mailbox_put(one->recovery->world.home, &one->post);
}

static void load(void *arg) {
  struct recovered *one = arg;
  join_load(one->worker, one->id, is_in_memory, one);
}

static void recover(struct recovery *r, const char *id) {
  struct recovered *one = calloc(1, sizeof *one);
  if (one) {
    one->recovery = r;
    one->worker = r->world.worker(r->world.ctx, r->number++);
    memcpy(one->id, id, sizeof one->id);
    r->on_their_way++;
    worker_call(one->worker, load, one);
  }
}

static void on_page(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct recovery *r = op->arg;
  r->asking = false;
  for (size_t i = 0; op->code == 0 && i < op->session_count; i++) {
    recover(r, op->sessions[i].id);
    memcpy(r->after, op->sessions[i].id, sizeof r->after);
  }
  if (op->code == 0 && op->session_count < op->limit) {
    r->done = true;
    LOG(r->number ? LOG_INFO : LOG_DEBUG, "server", "messages that were left unanswered are looked at",
        LINT("conversations", r->number));
  }
  store_op_free(op);
}

bool recovery_step(struct recovery *r) {
  if (r->asking || r->on_their_way) {
    return true;
  }
  if (r->done && r->again) {
    r->done = r->again = false; /* those that are in memory by now are found there */
    *r->after = 0;
  }
  struct store_op *op = r->done ? NULL : store_op_new(STORE_OPEN);
  if (op) {
    op->reply_to = r->world.home;
    op->post.run = on_page;
    op->arg = r;
    op->limit = RECOVERY_PAGE;
    op->before_ms = r->since_ms;
    memcpy(op->after.id, r->after, sizeof r->after);
    r->asking = store_submit(r->world.store, op) == 0;
    if (!r->asking) {
      store_op_free(op);
    }
  }
  return !r->done;
}
