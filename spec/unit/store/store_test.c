/* The queues and threads of core/store/store.c, on a backend that does what the test says: it can be held inside a
 * call, it remembers its batches, and it fails on demand. */
#include "store_caller.h"

#include "err.h"
#include "metrics.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <uv.h>

#define BATCHES_MAX 2048
#define OPS_MAX 4096

static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool hold_writes, hold_reads;
  size_t writes_inside, reads_inside;
  size_t batches[BATCHES_MAX], batch_count;
  struct store_op *order[OPS_MAX]; /* writes, as the backend got them; only to compare */
  size_t order_count;
  int handles_open, opened, fail_open_at;
  int away;                 /* so many calls find no database; negative: all of them */
  const char *away_session; /* NULL: of all sessions */
} script;

static bool script_away(const struct store_op *op, bool away) {
  return away && (script.away_session == NULL || strcmp(script.away_session, op->session.id) == 0);
}

static int script_open(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  assert_non_null(o);
  assert_non_null(location);
  assert_int_equal(writer, script.opened == 0);
  if (++script.opened == script.fail_open_at) {
    snprintf(why, 256, "the script says no");
    return E_BUSY;
  }
  script.handles_open++;
  *handle = &script;
  return 0;
}

static void script_close(void *handle) {
  assert_ptr_equal(handle, &script);
  script.handles_open--;
}

static void script_write(void *handle, struct store_op **ops, size_t count) {
  (void)handle;
  pthread_mutex_lock(&script.lock);
  script.writes_inside++;
  pthread_cond_broadcast(&script.changed);
  while (script.hold_writes)
    pthread_cond_wait(&script.changed, &script.lock);
  script.batches[script.batch_count++ % BATCHES_MAX] = count;
  bool away = script.away != 0;
  script.away -= script.away > 0;
  for (size_t i = 0; i < count; i++) {
    script.order[script.order_count++ % OPS_MAX] = ops[i];
    ops[i]->code = script_away(ops[i], away) ? E_AWAY
                   : ops[i]->limit > 0       ? E_STORE
                                             : 0; /* limit means nothing to a write: the script's own sign */
  }
  script.writes_inside--;
  pthread_mutex_unlock(&script.lock);
}

static void script_read(void *handle, struct store_op *op) {
  (void)handle;
  pthread_mutex_lock(&script.lock);
  script.reads_inside++;
  pthread_cond_broadcast(&script.changed);
  while (script.hold_reads)
    pthread_cond_wait(&script.changed, &script.lock);
  script.reads_inside--;
  op->code = 0;
  pthread_mutex_unlock(&script.lock);
}

static const struct store_backend script_backend = {
  .scheme = "sqlite", .open = script_open, .close = script_close, .write = script_write, .read = script_read};
static const struct store_backend *const script_backends[] = {&script_backend, NULL};

static void hold(bool *which, bool on) {
  pthread_mutex_lock(&script.lock);
  *which = on;
  pthread_cond_broadcast(&script.changed);
  pthread_mutex_unlock(&script.lock);
}

static void wait_inside(const size_t *inside, size_t count) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 60;
  pthread_mutex_lock(&script.lock);
  int r = 0;
  while (*inside < count && r == 0)
    r = pthread_cond_timedwait(&script.changed, &script.lock, &until);
  pthread_mutex_unlock(&script.lock);
  assert_int_equal(r, 0);
}

struct fixture {
  struct store *store;
  struct caller *caller;
};

static int open_within(struct fixture *f, uint32_t readers, uint32_t queue, uint32_t timeout_ms) {
  memset(&script, 0, sizeof script);
  pthread_mutex_init(&script.lock, NULL);
  pthread_cond_init(&script.changed, NULL);
  f->caller = caller_new();
  struct store_options o = {.backends = script_backends,
                            .url = "sqlite:/folder/of/it.db",
                            .readers = readers,
                            .queue = queue,
                            .queue_per_user = 2,
                            .timeout_ms = timeout_ms};
  char why[256];
  return store_open(&o, &f->store, why);
}

static int open_with(struct fixture *f, uint32_t readers, uint32_t queue) {
  return open_within(f, readers, queue, 0);
}

static int setup_hasty(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  return open_within(f, 1, 2000, 150);
}

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  return open_with(f, 2, 2000);
}

static int setup_small(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  *state = f;
  return open_with(f, 1, 4);
}

static int teardown(void **state) {
  struct fixture *f = *state;
  hold(&script.hold_writes, false);
  hold(&script.hold_reads, false);
  if (f->store != NULL)
    store_close(f->store);
  caller_free(f->caller);
  free(f);
  return script.handles_open;
}

static struct store_op *op_of(enum store_kind kind) {
  struct store_op *op = store_op_new(kind);
  assert_non_null(op);
  return op;
}

static void submit_writes(struct fixture *f, size_t count) {
  for (size_t i = 0; i < count; i++)
    assert_int_equal(caller_submit(f->caller, f->store, op_of(STORE_WRITE)), 0);
}

/* The writer is inside the backend, so what comes now queues up. */
static void occupy_writer(struct fixture *f) {
  hold(&script.hold_writes, true);
  submit_writes(f, 1);
  wait_inside(&script.writes_inside, 1);
}

static void what_waits_for_a_commit_shares_the_next_one(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  submit_writes(f, 9);
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 10);
  assert_int_equal(script.batch_count, 2);
  assert_int_equal(script.batches[0], 1);
  assert_int_equal(script.batches[1], 9);
}

static void a_batch_is_bounded(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  submit_writes(f, 1300);
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 1301);
  assert_int_equal(script.batch_count, 4);
  assert_int_equal(script.batches[1], 512);
  assert_int_equal(script.batches[2], 512);
  assert_int_equal(script.batches[3], 276);
}

static void writes_are_done_and_answered_in_the_order_of_submission(void **state) {
  struct fixture *f = *state;
  struct store_op *sent[600];
  occupy_writer(f);
  for (size_t i = 0; i < 600; i++) {
    sent[i] = op_of(STORE_WRITE);
    assert_int_equal(caller_submit(f->caller, f->store, sent[i]), 0);
  }
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 601);
  for (size_t i = 0; i < 600; i++) {
    assert_ptr_equal(script.order[i + 1], sent[i]);
    assert_ptr_equal(f->caller->replies[i + 1], sent[i]);
  }
}

static void a_failed_write_fails_alone(void **state) {
  struct fixture *f = *state;
  int64_t errors = metrics_value(METRIC_STORE_ERRORS);
  occupy_writer(f);
  submit_writes(f, 1);
  struct store_op *bad = op_of(STORE_WRITE);
  bad->limit = 1;
  assert_int_equal(caller_submit(f->caller, f->store, bad), 0);
  submit_writes(f, 1);
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 4);
  assert_int_equal(f->caller->replies[1]->code, 0);
  assert_int_equal(f->caller->replies[2]->code, E_STORE);
  assert_int_equal(f->caller->replies[3]->code, 0);
  assert_int_equal(metrics_value(METRIC_STORE_ERRORS) - errors, 1);
}

static void one_user_fills_a_part_of_it_and_nobody_elses(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  struct store_op *ops[5];
  const char *const users[] = {"ann", "ann", "ann", "bob", NULL};
  const int codes[] = {0, 0, E_FULL, 0, 0};
  for (size_t i = 0; i < 5; i++) {
    ops[i] = op_of(STORE_WRITE);
    ops[i]->reply_to = f->caller->mailbox;
    ops[i]->post.run = caller_reply;
    ops[i]->arg = f->caller;
    assert_int_equal(store_submit_for(f->store, users[i], ops[i]), codes[i]);
  }
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 5);
  assert_int_equal(store_submit_for(f->store, "ann", ops[2]), 0); /* what is done takes no place */
  caller_wait(f->caller, 6);
}

static void a_full_queue_refuses_and_leaves_the_operation_to_the_caller(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  submit_writes(f, 4);
  struct store_op *refused = op_of(STORE_WRITE);
  assert_int_equal(caller_submit(f->caller, f->store, refused), E_FULL);
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 5);
  assert_int_equal(caller_call(f->caller, f->store, refused)->code, 0);
  assert_int_equal(script.order_count, 6);
}

static void reads_have_a_bound_of_their_own(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  submit_writes(f, 4);
  hold(&script.hold_reads, true);
  assert_int_equal(caller_submit(f->caller, f->store, op_of(STORE_PING)), 0);
  wait_inside(&script.reads_inside, 1);
  for (int i = 0; i < 4; i++)
    assert_int_equal(caller_submit(f->caller, f->store, op_of(STORE_PING)), 0);
  struct store_op *refused = op_of(STORE_PING);
  assert_int_equal(caller_submit(f->caller, f->store, refused), E_FULL);
  store_op_free(refused);
  assert_int_equal(metrics_value(METRIC_STORE_QUEUED), 10);
  hold(&script.hold_writes, false);
  hold(&script.hold_reads, false);
  caller_wait(f->caller, 10);
  assert_int_equal(metrics_value(METRIC_STORE_QUEUED), 0);
}

/* The backend never looks at the content, so the length may say more than there is. */
static struct store_op *write_of_bytes(size_t len) {
  struct store_op *op = caller_write(1);
  caller_add(op, 1, NULL, "", 0)->content_len = len;
  return op;
}

static void the_queue_is_bounded_in_bytes(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  assert_int_equal(caller_submit(f->caller, f->store, write_of_bytes(STORE_QUEUE_BYTES / 2)), 0);
  struct store_op *second = write_of_bytes(STORE_QUEUE_BYTES / 2);
  assert_int_equal(caller_submit(f->caller, f->store, second), E_FULL);
  assert_int_equal(caller_submit(f->caller, f->store, write_of_bytes(1000)), 0);
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 3);
  assert_int_equal(caller_call(f->caller, f->store, second)->code, 0);
}

/* Of 16 MiB beside its content, in one of the texts it holds. */
static struct store_op *write_with_long_text(int which) {
  enum { LONG = 16 << 20 };
  struct store_op *op = caller_write(1);
  struct message_record *m = caller_add(op, 1, NULL, "", 0);
  char **texts[] = {&m->extra, &m->type, &op->session.name, &op->session.model_id};
  char *text = malloc(LONG + 1);
  memset(text, 'x', LONG);
  text[LONG] = 0;
  free(*texts[which]);
  *texts[which] = text;
  return op;
}

static void everything_an_operation_holds_counts_for_the_bound_in_bytes(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  int taken = 0;
  struct store_op *op;
  while (caller_submit(f->caller, f->store, op = write_with_long_text(taken % 4)) == 0)
    assert_in_range(++taken, 1, 16);
  store_op_free(op);
  assert_int_equal(taken, 15); /* 256 MiB */
  hold(&script.hold_writes, false);
  caller_wait(f->caller, (size_t)taken + 1);
}

static void one_operation_over_the_bound_of_bytes_is_taken_alone(void **state) {
  struct fixture *f = *state;
  assert_int_equal(caller_call(f->caller, f->store, write_of_bytes(2 * (size_t)STORE_QUEUE_BYTES))->code, 0);
}

static void a_read_does_not_wait_for_a_write(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  assert_int_equal(caller_call(f->caller, f->store, op_of(STORE_PING))->kind, STORE_PING);
}

static void readers_work_side_by_side(void **state) {
  struct fixture *f = *state;
  hold(&script.hold_reads, true);
  for (int i = 0; i < 2; i++)
    assert_int_equal(caller_submit(f->caller, f->store, op_of(STORE_PING)), 0);
  wait_inside(&script.reads_inside, 2);
  hold(&script.hold_reads, false);
  caller_wait(f->caller, 2);
}

#define PER_THREAD 400

struct sender {
  struct fixture *f;
  struct caller *caller;
  struct store_op *sent[PER_THREAD];
};

static void *sender_run(void *arg) {
  struct sender *s = arg;
  for (size_t i = 0; i < PER_THREAD; i++) {
    s->sent[i] = store_op_new(i % 4 == 3 ? STORE_PING : STORE_WRITE);
    while (caller_submit(s->caller, s->f->store, s->sent[i]) == E_FULL)
      sched_yield();
  }
  return NULL;
}

static void each_of_many_threads_gets_its_answers_once_and_its_writes_in_order(void **state) {
  struct fixture *f = *state;
  struct sender senders[4];
  pthread_t threads[4];
  for (int t = 0; t < 4; t++) {
    senders[t] = (struct sender){.f = f, .caller = caller_new()};
    assert_int_equal(pthread_create(&threads[t], NULL, sender_run, &senders[t]), 0);
  }
  for (int t = 0; t < 4; t++)
    pthread_join(threads[t], NULL);
  for (int t = 0; t < 4; t++) {
    struct caller *c = senders[t].caller;
    caller_wait(c, PER_THREAD);
    size_t next = 0;
    for (size_t i = 0; i < c->count; i++) {
      if (c->replies[i]->kind != STORE_WRITE)
        continue;
      while (senders[t].sent[next]->kind != STORE_WRITE)
        next++;
      assert_ptr_equal(c->replies[i], senders[t].sent[next++]);
    }
    assert_int_equal(c->count, PER_THREAD);
    caller_free(c);
  }
}

static void drain_returns_when_all_is_answered_and_refuses_from_then_on(void **state) {
  struct fixture *f = *state;
  submit_writes(f, 1000);
  for (int i = 0; i < 50; i++)
    assert_int_equal(caller_submit(f->caller, f->store, op_of(STORE_PING)), 0);
  assert_int_equal(store_drain(f->store, 10000), 0);
  mailbox_drain(f->caller->mailbox);
  assert_int_equal(f->caller->count, 1050);
  struct store_op *late = op_of(STORE_WRITE);
  assert_int_equal(caller_submit(f->caller, f->store, late), E_STOPPING);
  store_op_free(late);
}

static void drain_gives_up_after_its_time_and_can_be_asked_again(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  assert_int_equal(store_drain(f->store, 1), UV_ETIMEDOUT);
  struct store_op *late = op_of(STORE_WRITE);
  assert_int_equal(caller_submit(f->caller, f->store, late), E_STOPPING);
  store_op_free(late);
  hold(&script.hold_writes, false);
  assert_int_equal(store_drain(f->store, 10000), 0);
  mailbox_drain(f->caller->mailbox);
  assert_int_equal(f->caller->count, 1);
}

/* Lets the writer go once the store has begun to close; close cannot end before that. */
static void *release_when_closing(void *arg) {
  struct fixture *f = arg;
  struct store_op *op = NULL;
  for (int r = 0; r != E_STOPPING;) {
    if (r == 0)
      op = store_op_new(STORE_PING);
    else
      sched_yield();
    r = caller_submit(f->caller, f->store, op);
  }
  store_op_free(op);
  hold(&script.hold_writes, false);
  hold(&script.hold_reads, false);
  return NULL;
}

static void close_settles_what_is_still_queued(void **state) {
  struct fixture *f = *state;
  occupy_writer(f);
  hold(&script.hold_reads, true); /* bounds the pings of the thread that looks out for the close */
  submit_writes(f, 700);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, release_when_closing, f), 0);
  store_close(f->store);
  f->store = NULL;
  pthread_join(thread, NULL);
  mailbox_drain(f->caller->mailbox);
  size_t writes = 0;
  for (size_t i = 0; i < f->caller->count; i++)
    writes += f->caller->replies[i]->kind == STORE_WRITE;
  assert_int_equal(writes, 701);
}

static void refused(struct fixture *f, struct store_op *op) {
  assert_int_equal(caller_submit(f->caller, f->store, op), E_INVALID);
  store_op_free(op);
}

static void a_read_out_of_its_bounds_is_refused(void **state) {
  struct fixture *f = *state;
  for (int i = 0; i < 2; i++) {
    struct store_op *op = op_of(STORE_HISTORY);
    caller_id(op->session.id, 1, 1);
    op->limit = i == 0 ? 0 : STORE_LIMIT_MAX + 1;
    refused(f, op);
    op = op_of(STORE_SESSIONS);
    op->session.user_id = strdup("u");
    op->limit = i == 0 ? 0 : STORE_LIMIT_MAX + 1;
    refused(f, op);
  }
  refused(f, op_of(STORE_SESSION));
  refused(f, op_of(STORE_ACTIVE));
  refused(f, op_of((enum store_kind)77));
}

static void a_write_out_of_its_bounds_is_refused(void **state) {
  struct fixture *f = *state;
  char cid[STORE_CID_MAX + 2];
  memset(cid, 'c', sizeof cid);
  cid[sizeof cid - 1] = '\0';
  struct store_op *op = caller_write(1);
  caller_add(op, 1, cid, "", 0);
  refused(f, op);
  op = caller_write(1);
  caller_add(op, 1, "", "", 0);
  refused(f, op);
  op = caller_write(1);
  caller_add(op, 1, NULL, "", 0)->id[4] = '\0';
  refused(f, op);
  op = caller_write(1);
  caller_add(op, 1, NULL, "", 0);
  memset(op->session.id, 'a', sizeof op->session.id); /* no end */
  refused(f, op);
  op = caller_write(1);
  op->has_session = true;
  op->session.response_count = 101;
  refused(f, op);
  cid[STORE_CID_MAX] = '\0';
  op = caller_write(1);
  caller_add(op, 1, cid, "", 0);
  assert_int_equal(caller_call(f->caller, f->store, op)->code, 0);
}

static void an_erasure_needs_a_user_and_somebody_who_did_it(void **state) {
  struct fixture *f = *state;
  char long_text[STORE_AUDIT_MAX + 2];
  memset(long_text, 'a', sizeof long_text);
  long_text[sizeof long_text - 1] = '\0';
  refused(f, op_of(STORE_AUDIT));
  refused(f, store_op_audit(STORE_ERASE, "a", "erase", "of whom?", 1));
  refused(f, store_op_audit(STORE_EXPIRE, "a", "retention", "no limit", 1));
  refused(f, store_op_audit(STORE_AUDIT, long_text, "erase", "s", 1));
  struct store_op *op = store_op_audit(STORE_AUDIT, "a", "erase", long_text, 1);
  assert_int_equal(strlen(op->audit.subject), STORE_AUDIT_MAX); /* cut */
  assert_int_equal(caller_call(f->caller, f->store, op)->code, 0);
  op = op_of(STORE_SESSIONS);
  op->session.user_id = strdup("u");
  op->limit = 1;
  strcpy(op->after.id, "no id");
  refused(f, op);
}

static void erasures_go_with_the_writes(void **state) {
  struct fixture *f = *state;
  struct store_op *ops[] = {caller_write(1), store_op_audit(STORE_ERASE, "a", "erase", "u", 1), caller_write(2)};
  ops[1]->session.user_id = strdup("u");
  hold(&script.hold_writes, true);
  for (int i = 0; i < 3; i++)
    assert_int_equal(caller_submit(f->caller, f->store, ops[i]), 0);
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 3);
  for (int i = 0; i < 3; i++)
    assert_ptr_equal(script.order[i], ops[i]);
}

static void open_says_what_is_wrong_with_its_options(void **state) {
  (void)state;
  const char *const urls[] = {"", "sqlite", "sqlite:", "sqlitex:a", "postgres://a", "chatbox.db"};
  char why[256];
  struct store *s;
  for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
    struct store_options o = {.backends = script_backends, .url = urls[i], .readers = 1, .queue = 1};
    assert_int_equal(store_open(&o, &s, why), E_INVALID);
    assert_non_null(strstr(why, "sqlite:PATH"));
  }
  struct store_options no_readers = {.backends = script_backends, .url = "sqlite:a", .queue = 1},
                       no_queue = {.backends = script_backends, .url = "sqlite:a", .readers = 1};
  assert_int_equal(store_open(&no_readers, &s, why), E_INVALID);
  assert_int_equal(store_open(&no_queue, &s, why), E_INVALID);
}

static void open_that_fails_half_way_closes_what_it_had(void **state) {
  (void)state;
  for (int at = 1; at <= 3; at++) {
    memset(&script, 0, sizeof script);
    script.fail_open_at = at;
    struct store_options o = {.backends = script_backends, .url = "sqlite:a", .readers = 2, .queue = 1};
    struct store *s;
    char why[256];
    assert_int_equal(store_open(&o, &s, why), E_BUSY);
    assert_string_equal(why, "the script says no");
    assert_int_equal(script.opened, at);
    assert_int_equal(script.handles_open, 0);
  }
}

static struct store_op *write_to(const char *session) {
  struct store_op *op = op_of(STORE_WRITE);
  op->has_session = true;
  memset(op->session.id, session[0], STORE_ID_LEN);
  op->session.user_id = strdup("alice");
  return op;
}

static void writes_wait_while_the_database_is_away_and_keep_their_order(void **state) {
  struct fixture *f = *state;
  script.away = 2;
  struct store_op *sent[5];
  for (size_t i = 0; i < 5; i++) {
    sent[i] = write_to(i % 2 ? "a" : "b");
    assert_int_equal(caller_submit(f->caller, f->store, sent[i]), 0);
  }
  caller_wait(f->caller, 5);
  for (size_t i = 0; i < 5; i++) {
    assert_ptr_equal(f->caller->replies[i], sent[i]);
    assert_int_equal(sent[i]->code, 0);
  }
}

static void a_read_does_not_wait_for_a_database_that_is_away(void **state) {
  struct fixture *f = *state;
  script.away = -1;
  assert_int_equal(caller_submit(f->caller, f->store, write_to("a")), 0);
  struct store_op *read = op_of(STORE_SESSION);
  memset(read->session.id, 'a', STORE_ID_LEN);
  assert_int_equal(caller_call(f->caller, f->store, read)->code, 0);
}

static void a_write_that_has_waited_too_long_has_failed(void **state) {
  struct fixture *f = *state;
  script.away = -1;
  assert_int_equal(caller_submit(f->caller, f->store, write_to("a")), 0);
  caller_wait(f->caller, 1);
  assert_int_equal(f->caller->replies[0]->code, E_STORE);
  hold(&script.hold_writes, false);
  pthread_mutex_lock(&script.lock);
  script.away = 0;
  pthread_mutex_unlock(&script.lock);
  assert_int_equal(caller_call(f->caller, f->store, write_to("a"))->code, 0);
}

static void what_came_after_a_write_that_failed_does_not_overtake_it(void **state) {
  struct fixture *f = *state;
  char away[STORE_ID_LEN + 1] = {0};
  memset(away, 'a', STORE_ID_LEN);
  script.away_session = away;
  script.away = -1;
  occupy_writer(f);
  struct store_op *first = write_to("a"), *other = write_to("b"), *second = write_to("a");
  assert_int_equal(caller_submit(f->caller, f->store, first), 0);
  assert_int_equal(caller_submit(f->caller, f->store, other), 0);
  assert_int_equal(caller_submit(f->caller, f->store, second), 0);
  second->submitted_ns = UINT64_MAX / 2; /* its own time is far from over; nobody looks before the writer is let go */
  hold(&script.hold_writes, false);
  caller_wait(f->caller, 4);
  assert_int_equal(other->code, 0);
  assert_int_equal(first->code, E_STORE);
  assert_int_equal(second->code, E_STORE);
}

static void close_tries_once_more_and_does_not_wait(void **state) {
  struct fixture *f = *state;
  script.away = -1;
  assert_int_equal(caller_submit(f->caller, f->store, write_to("a")), 0);
  store_close(f->store);
  f->store = NULL;
  caller_wait(f->caller, 1);
  assert_int_equal(f->caller->replies[0]->code, E_STORE);
}

static void folder_is_where_the_database_lies(void **state) {
  (void)state;
  const char *const cases[][2] = {{"sqlite:/a/b/c.db", "/a/b"},
                                  {"sqlite:c.db", "."},
                                  {"sqlite:/c.db", "/"},
                                  {"sqlite:data/c.db", "data"},
                                  {"sqlite://host:27017/chat", "."}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    memset(&script, 0, sizeof script);
    struct store_options o = {.backends = script_backends, .url = cases[i][0], .readers = 1, .queue = 1};
    struct store *s;
    char why[256];
    assert_int_equal(store_open(&o, &s, why), 0);
    assert_string_equal(store_folder(s), cases[i][1]);
    store_close(s);
  }
}

#define WITH(setup_fn, test) cmocka_unit_test_setup_teardown(test, setup_fn, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
    WITH(setup, what_waits_for_a_commit_shares_the_next_one),
    WITH(setup, a_batch_is_bounded),
    WITH(setup, writes_are_done_and_answered_in_the_order_of_submission),
    WITH(setup, a_failed_write_fails_alone),
    WITH(setup_small, one_user_fills_a_part_of_it_and_nobody_elses),
    WITH(setup_small, a_full_queue_refuses_and_leaves_the_operation_to_the_caller),
    WITH(setup_small, reads_have_a_bound_of_their_own),
    WITH(setup, the_queue_is_bounded_in_bytes),
    WITH(setup, everything_an_operation_holds_counts_for_the_bound_in_bytes),
    WITH(setup, one_operation_over_the_bound_of_bytes_is_taken_alone),
    WITH(setup, a_read_does_not_wait_for_a_write),
    WITH(setup, readers_work_side_by_side),
    WITH(setup, each_of_many_threads_gets_its_answers_once_and_its_writes_in_order),
    WITH(setup, drain_returns_when_all_is_answered_and_refuses_from_then_on),
    WITH(setup, drain_gives_up_after_its_time_and_can_be_asked_again),
    WITH(setup, close_settles_what_is_still_queued),
    WITH(setup, a_read_out_of_its_bounds_is_refused),
    WITH(setup, a_write_out_of_its_bounds_is_refused),
    WITH(setup, an_erasure_needs_a_user_and_somebody_who_did_it),
    WITH(setup, erasures_go_with_the_writes),
    WITH(setup, writes_wait_while_the_database_is_away_and_keep_their_order),
    WITH(setup, a_read_does_not_wait_for_a_database_that_is_away),
    WITH(setup_hasty, a_write_that_has_waited_too_long_has_failed),
    WITH(setup_hasty, what_came_after_a_write_that_failed_does_not_overtake_it),
    WITH(setup, close_tries_once_more_and_does_not_wait),
    cmocka_unit_test(open_says_what_is_wrong_with_its_options),
    cmocka_unit_test(open_that_fails_half_way_closes_what_it_had),
    cmocka_unit_test(folder_is_where_the_database_lies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
