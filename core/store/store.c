/* In: operations from any thread. Out: each one's result, in the mailbox it names.
 * Why: one writer thread takes all that is queued into one transaction, so a commit is shared by everybody who
 * waited for the one before it and no timer has to guess a batch; readers take one operation each. There is one
 * lock, held for a list operation; a backend is called, and a reply posted, without it. */
#include "store.h"

#include "err.h"
#include "hash.h"
#include "lock.h"
#include "log.h"
#include "lookout.h"
#include "metrics.h"
#include "queue.h"
#include "thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uv.h>

#define BATCH_MAX 512
#define AWAY_WAIT_MS 100     /* between two tries while the database is away */
#define FAILING_WAIT_MS 1000 /* between two looks at one that takes no writes */

struct store_thread {
  struct store *store;
  struct queue *queue;
  void *handle; /* the backend's */
  pthread_t id;
};

struct store {
  const struct store_backend *backend;
  char *folder;
  struct lookout *lookout; /* NULL: nobody looks */
  struct hash_seed seed;
  uint64_t timeout_ns; /* 0: none */
  struct lock lock;    /* guards what follows, up to idle */
  struct queue writes, reads;
  size_t unanswered;            /* submitted, reply not yet posted */
  bool refusing, closing, away; /* away: writes wait for the database */
  bool draining, failing;       /* erasures do not go on; writes fail, all of them */
  bool epoch_known;
  uint64_t epoch;
  pthread_cond_t idle;           /* unanswered is 0 */
  size_t handles, running;       /* of threads[] */
  struct store_thread threads[]; /* the writer, then the readers */
};

/* ---- taking operations ---- */

int store_submit(struct store *s, struct store_op *op) {
  return store_submit_for(s, NULL, op);
}

int store_submit_for(struct store *s, const char *user_id, struct store_op *op) {
  if (!store_op_ok(op))
    return E_INVALID;
  struct queue *q = store_op_writes(op) ? &s->writes : &s->reads;
  size_t bytes = store_op_bytes(op);
  op->code = 0;
  op->submitted_ns = uv_hrtime();
  op->share = user_id ? hash_bytes(s->seed, user_id, strlen(user_id)) | 1 : 0;
  int r = 0;
  lock_acquire(&s->lock);
  if (s->refusing)
    r = E_STOPPING;
  else if (queue_full(q, op->share, bytes))
    r = E_FULL;
  else {
    queue_push(q, op);
    s->unanswered++;
    pthread_cond_signal(&q->ready);
  }
  lock_release(&s->lock);
  if (r == 0)
    metrics_add(METRIC_STORE_QUEUED, 1);
  return r;
}

/* ---- threads ---- */

static const char *kind_label(enum store_kind kind) {
  static const char *const labels[] = {
    [STORE_WRITE] = "kind=\"write\"",       [STORE_SESSION] = "kind=\"session\"", [STORE_ACTIVE] = "kind=\"active\"",
    [STORE_SESSIONS] = "kind=\"sessions\"", [STORE_HISTORY] = "kind=\"history\"", [STORE_PING] = "kind=\"ping\"",
    [STORE_OPEN] = "kind=\"open\"",         [STORE_CID] = "kind=\"cid\"",         [STORE_ERASE] = "kind=\"erase\"",
    [STORE_EXPIRE] = "kind=\"expire\"",     [STORE_AUDIT] = "kind=\"audit\"",     [STORE_EPOCH] = "kind=\"epoch\"",
    [STORE_LIST] = "kind=\"list\"",         [STORE_TOTALS] = "kind=\"totals\"",   [STORE_SHARED] = "kind=\"shared\"",
    [STORE_SHARE] = "kind=\"share\""};
  return labels[kind];
}

/* Names that monitors of the reference know; whichever store it is. */
static const char *reference_label(const struct store_op *op) {
  if (op->kind == STORE_LIST)
    return "operation=\"list_all_sessions_with_options\"";
  if (op->kind == STORE_TOTALS)
    return "operation=\"get_session_metrics\"";
  return op->begins ? "operation=\"create_session\"" : op->ends ? "operation=\"end_session\"" : NULL;
}

static void op_measure(const struct store_op *op, uint64_t now) {
  double seconds = (double)(now - op->submitted_ns) / 1e9;
  const char *label = reference_label(op);
  metrics_observe_labelled(METRIC_STORE_SECONDS, kind_label(op->kind), seconds);
  if (label)
    metrics_observe_labelled(METRIC_MONGODB_SECONDS, label, seconds);
}

/* Once posted, an operation belongs to its receiver. */
static void ops_answer(struct store *s, struct store_op **ops, size_t count) {
  uint64_t now = uv_hrtime();
  metrics_add(METRIC_STORE_QUEUED, -(int64_t)count);
  for (size_t i = 0; i < count; i++) {
    op_measure(ops[i], now);
    if (ops[i]->code == E_STORE)
      metrics_add(METRIC_STORE_ERRORS, 1);
    mailbox_put(ops[i]->reply_to, &ops[i]->post);
  }
  lock_acquire(&s->lock);
  s->unanswered -= count;
  if (s->unanswered == 0)
    pthread_cond_broadcast(&s->idle);
  lock_release(&s->lock);
}

/* 0: the store closes and the queue is empty. */
static size_t thread_take(struct store_thread *t, struct store_op **ops, size_t max) {
  struct store *s = t->store;
  lock_acquire(&s->lock);
  while (t->queue->count == 0 && !s->closing)
    pthread_cond_wait(&t->queue->ready, &s->lock.mutex);
  size_t n = queue_take(t->queue, ops, max);
  lock_release(&s->lock);
  return n;
}

/* ---- while the database is away ---- */

static struct timespec time_in(uint64_t ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += (time_t)(ms / 1000);
  until.tv_nsec += (long)(ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  return until;
}

/* What there is now, or comes within so long. */
static size_t thread_take_within(struct store_thread *t, struct store_op **ops, size_t max, uint64_t ms) {
  struct store *s = t->store;
  struct timespec until = time_in(ms);
  int timed_out = ms == 0;
  lock_acquire(&s->lock);
  while (t->queue->count == 0 && !s->closing && !timed_out)
    timed_out = pthread_cond_timedwait(&t->queue->ready, &s->lock.mutex, &until);
  size_t n = queue_take(t->queue, ops, max);
  lock_release(&s->lock);
  return n;
}

/* Until it is time for another try; false: the store closes, this was the last one. */
static bool away_wait(struct store *s) {
  struct timespec until = time_in(AWAY_WAIT_MS);
  lock_acquire(&s->lock);
  int timed_out = 0;
  while (!s->closing && !timed_out)
    timed_out = pthread_cond_timedwait(&s->writes.ready, &s->lock.mutex, &until);
  bool closing = s->closing;
  lock_release(&s->lock);
  return !closing;
}

/* Whether an operation among the first n gave up on this session: what came after it must not overtake it. An erasure
 * is of no single session. */
static bool session_gave_up(struct store_op *const *given_up, size_t n, const struct store_op *op) {
  for (size_t i = 0; op->session.id[0] != '\0' && i < n; i++)
    if (strcmp(given_up[i]->session.id, op->session.id) == 0)
      return true;
  return false;
}

/* ---- erasures, which go on between the batches ---- */

/* Of the writer's thread. */
struct erasing {
  struct queue ops; /* those that have begun */
  bool leftover;    /* there may be some that were begun before */
  bool failed;      /* not of them, but of the last batch: something in it has failed */
};

static bool erasing_any(const struct erasing *e) {
  return e->ops.count > 0 || e->leftover;
}

static void erasing_add(struct erasing *e, struct store_op *op) {
  queue_push(&e->ops, op);
}

/* One step. Who stops the store does not wait for all of them: the next start goes on. true: it is to be tried again,
 * but not at once. */
static bool erasing_step(struct store_thread *t, struct erasing *e) {
  struct store *s = t->store;
  struct store_op *op = (struct store_op *)e->ops.first;
  lock_acquire(&s->lock);
  bool stop = s->closing || s->draining;
  lock_release(&s->lock);
  int code = stop ? E_STOPPING : s->backend->erase(t->handle, op);
  if (code == E_MORE || code == E_AWAY)
    return code == E_AWAY;
  if (!op) {
    e->leftover = false;
    return false;
  }
  queue_take(&e->ops, &op, 1);
  op->code = code == 0 || code == E_STOPPING ? code : E_STORE;
  ops_answer(s, &op, 1);
  return false;
}

/* Answers what has an outcome and what has no time left; the rest stays in ops, in order. How many stay. */
static size_t keep_waiting(struct store *s, struct store_op **ops, size_t n, bool last_try, struct erasing *e) {
  struct store_op *done[BATCH_MAX], *given_up[BATCH_MAX];
  size_t done_count = 0, given_up_count = 0, kept = 0;
  uint64_t now = uv_hrtime();
  for (size_t i = 0; i < n; i++) {
    bool late = last_try || (s->timeout_ns && now >= ops[i]->submitted_ns + s->timeout_ns);
    e->failed = e->failed || ops[i]->code == E_STORE;
    if (ops[i]->code == E_MORE && ops[i]->soon) {
      ops[i]->code = 0;
      e->leftover = true;
      done[done_count++] = ops[i];
    } else if (ops[i]->code == E_MORE) {
      erasing_add(e, ops[i]);
    } else if (ops[i]->code != E_AWAY) {
      done[done_count++] = ops[i];
    } else if (late || session_gave_up(given_up, given_up_count, ops[i])) {
      ops[i]->code = E_STORE;
      done[done_count++] = given_up[given_up_count++] = ops[i];
    } else {
      ops[kept++] = ops[i];
    }
  }
  if (done_count > 0)
    ops_answer(s, done, done_count);
  return kept;
}

static void away_note(struct store *s, bool away) {
  lock_acquire(&s->lock);
  bool news = s->away != away;
  s->away = away;
  lock_release(&s->lock);
  if (news)
    LOG(away ? LOG_ERROR : LOG_INFO, "store", away ? "the database is away: writes wait" : "the database is back");
}

/* Adds operations that arrived meanwhile. */
static size_t take_more(struct store_thread *t, struct store_op **ops, size_t max) {
  lock_acquire(&t->store->lock);
  size_t n = queue_take(t->queue, ops, max);
  lock_release(&t->store->lock);
  return n;
}

/* true: the database is away. */
static bool batch_write(struct store_thread *t, struct store_op **ops, size_t n) {
  bool away = false;
  t->store->backend->write(t->handle, ops, n);
  for (size_t i = 0; i < n; i++)
    away |= ops[i]->code == E_AWAY;
  return away;
}

/* Nothing waits any more for a database that was away: is it still? */
static bool still_away(struct store_thread *t) {
  struct store_op probe = {.kind = STORE_PING}, *ops[] = {&probe};
  t->store->backend->write(t->handle, ops, 1);
  return probe.code == E_AWAY;
}

/* Until all of ops, and what comes while the database is away, has an outcome. */
static void batch_settle(struct store_thread *t, struct store_op **ops, size_t n, struct erasing *e) {
  struct store *s = t->store;
  bool more = true;
  for (bool away = false; n > 0 || (away && more);) {
    away = n > 0 ? batch_write(t, ops, n) : still_away(t);
    away_note(s, away); /* first: who has his answer and asks whether it is away is told the truth */
    n = keep_waiting(s, ops, n, !more, e);
    more = !away || away_wait(s);
    n += take_more(t, ops + n, away ? BATCH_MAX - n : 0);
  }
}

/* Something has failed, or had before: is it the fault of the database? Readiness says so until it is not. */
static bool failing_note(struct store_thread *t) {
  struct store *s = t->store;
  struct store_op probe = {.kind = STORE_PING}, *ops[] = {&probe};
  s->backend->write(t->handle, ops, 1);
  lock_acquire(&s->lock);
  bool news = s->failing != (probe.code == E_STORE);
  s->failing = probe.code == E_STORE;
  lock_release(&s->lock);
  if (news)
    LOG(probe.code ? LOG_ERROR : LOG_INFO, "store",
        probe.code ? "the database takes no writes" : "the database takes writes again");
  return probe.code == E_STORE;
}

/* What is next; 0: nothing yet. *closed: and nothing will be. */
static size_t writer_take(struct store_thread *t, struct store_op **ops, bool busy, bool failing, bool later,
                          bool *closed) {
  size_t n = !busy && !failing ? thread_take(t, ops, BATCH_MAX)
                               : thread_take_within(t, ops, BATCH_MAX,
                                                    !busy   ? FAILING_WAIT_MS
                                                    : later ? AWAY_WAIT_MS
                                                            : 0);
  lock_acquire(&t->store->lock);
  *closed = n == 0 && !busy && t->store->closing;
  lock_release(&t->store->lock);
  return n;
}

static void *writer_run(void *arg) {
  struct store_thread *t = arg;
  struct store_op *ops[BATCH_MAX];
  struct erasing e = {.leftover = t->store->backend->erase};
  e.ops.last = &e.ops.first;
  bool later = false, failing = false;
  for (;;) {
    bool closed;
    size_t n = writer_take(t, ops, erasing_any(&e), failing, later, &closed);
    if (closed)
      return NULL;
    e.failed = false;
    if (n > 0)
      batch_settle(t, ops, n, &e);
    if (e.failed || failing)
      failing = failing_note(t);
    later = erasing_any(&e) && erasing_step(t, &e);
  }
}

/* Why it is not ready although it answers; NULL: it is. */
static const char *unready(struct store *s) {
  const char *reason = lookout_reason(s->lookout);
  lock_acquire(&s->lock);
  if (!reason && (s->away || s->failing))
    reason = s->away ? "the database is away, writes wait for it" : "the database takes no writes";
  lock_release(&s->lock);
  return reason;
}

static void epoch_note(struct store *s, uint64_t epoch) {
  lock_acquire(&s->lock);
  s->epoch = epoch;
  s->epoch_known = true;
  lock_release(&s->lock);
}

bool store_epoch(struct store *s, uint64_t *epoch) {
  lock_acquire(&s->lock);
  bool known = s->epoch_known;
  *epoch = s->epoch;
  lock_release(&s->lock);
  return known;
}

static void *reader_run(void *arg) {
  struct store_thread *t = arg;
  struct store_op *op;
  while (thread_take(t, &op, 1) > 0) {
    t->store->backend->read(t->handle, op);
    if (op->kind == STORE_EPOCH && op->code == 0)
      epoch_note(t->store, op->epoch);
    if (op->kind == STORE_PING && (op->reason = unready(t->store)))
      op->code = E_STORE; /* it can be read but not written */
    ops_answer(t->store, &op, 1);
  }
  return NULL;
}

/* ---- life ---- */

const struct store_backend *store_backend_find(const struct store_options *o, const char **location) {
  for (const struct store_backend *const *b = o->backends; *b; b++) {
    size_t len = strlen((*b)->scheme);
    if (strncmp(o->url, (*b)->scheme, len) != 0)
      continue;
    if ((*b)->srv && strncmp(o->url + len, "+srv:", 5) == 0)
      len += 4;
    if (o->url[len] == ':' && o->url[len + 1] != '\0') {
      *location = o->url + len + 1;
      return *b;
    }
  }
  return NULL;
}

/* What begins with // is no path but a server. */
static char *folder_of(const char *location) {
  const char *slash = strrchr(location, '/');
  if (!slash || strncmp(location, "//", 2) == 0)
    return strdup(".");
  return strndup(location, slash == location ? 1 : (size_t)(slash - location));
}

static struct store *store_new(const struct store_options *o, const struct store_backend *backend,
                               const char *location) {
  struct store *s = calloc(1, sizeof *s + (1 + (size_t)o->readers) * sizeof s->threads[0]);
  if (!s)
    return NULL;
  s->backend = backend;
  s->folder = folder_of(location);
  s->seed = hash_seed_draw();
  s->timeout_ns = (uint64_t)o->timeout_ms * 1000000;
  lock_init(&s->lock);
  size_t user_max = o->queue_per_user ? o->queue_per_user : o->queue;
  queue_init(&s->writes, o->queue, user_max);
  queue_init(&s->reads, o->queue, user_max);
  monotonic_cond(&s->idle);
  return s;
}

/* All handles first: a thread that runs means the database is open. */
static int store_start(struct store *s, const struct store_options *o, const char *location, char why[256]) {
  size_t count = 1 + (size_t)o->readers;
  for (; s->handles < count; s->handles++) {
    int r = s->backend->open(o, location, s->handles == 0, &s->threads[s->handles].handle, why);
    if (r < 0)
      return r;
  }
  for (; s->running < count; s->running++) {
    struct store_thread *t = &s->threads[s->running];
    t->store = s;
    t->queue = s->running == 0 ? &s->writes : &s->reads;
    int r = thread_start(&t->id, s->running == 0 ? writer_run : reader_run, t);
    if (r != 0) {
      snprintf(why, 256, "cannot start a store thread: %s", uv_strerror(r));
      return r;
    }
  }
  return 0;
}

int store_open(const struct store_options *o, struct store **out, char why[256]) {
  const char *location;
  const struct store_backend *backend = store_backend_find(o, &location);
  if (!backend || o->readers == 0 || o->queue == 0) {
    snprintf(why, 256,
             !backend ? "not a store: expected sqlite:PATH or mongodb://HOST/DATABASE"
                      : "readers and queue have to be at least 1");
    return E_INVALID;
  }
  struct store *s = store_new(o, backend, location);
  if (!s || !s->folder) {
    snprintf(why, 256, "out of memory");
    if (s)
      store_close(s);
    return UV_ENOMEM;
  }
  int r = store_start(s, o, location, why);
  r = r < 0 ? r : lookout_new(o, backend, location, &s->lookout, why);
  if (r < 0) {
    store_close(s);
    return r;
  }
  *out = s;
  return 0;
}

int store_drain(struct store *s, uint64_t timeout_ms) {
  struct timespec until = time_in(timeout_ms);
  int timed_out = 0;
  lock_acquire(&s->lock);
  s->draining = true;
  pthread_cond_broadcast(&s->writes.ready);
  while (s->unanswered > 0 && !timed_out)
    timed_out = pthread_cond_timedwait(&s->idle, &s->lock.mutex, &until);
  s->refusing = true;
  int r = s->unanswered > 0 ? UV_ETIMEDOUT : 0;
  lock_release(&s->lock);
  return r;
}

void store_close(struct store *s) {
  lock_acquire(&s->lock);
  s->refusing = s->closing = true;
  pthread_cond_broadcast(&s->writes.ready);
  pthread_cond_broadcast(&s->reads.ready);
  lock_release(&s->lock);
  while (s->running > 0)
    pthread_join(s->threads[--s->running].id, NULL);
  lookout_free(s->lookout);
  while (s->handles > 0) /* the writer's handle last: it holds the lock against other processes */
    s->backend->close(s->threads[--s->handles].handle);
  pthread_cond_destroy(&s->writes.ready);
  pthread_cond_destroy(&s->reads.ready);
  pthread_cond_destroy(&s->idle);
  lock_deinit(&s->lock);
  free(s->folder);
  free(s);
}

const char *store_folder(const struct store *s) {
  return s->folder;
}
