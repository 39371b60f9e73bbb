/* In: a database, a number of sessions, who writes. Out: one JSON line: messages committed per second.
 * Why: the store and its database's own library put the same messages into the same schema, in turns, so that their
 * ratio says what the store costs (bench/store runs both and prints it). Each session has one message on its way and
 * sends the next when that one is committed, as clients that wait for their ack do. */
#include "ceiling.h"
#include "store_backends.h"

#include "err.h"
#include "id.h"
#include "metrics.h"
#include "store.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSIONS_MAX 100000
#define SECONDS_MAX 60
#define NS 1000000000ull

static const char help[] =
  "Usage: chatbox-commit URL SESSIONS store SECONDS\n"
  "       chatbox-commit URL SESSIONS ceiling SECONDS BATCH\n"
  "Commits messages of SESSIONS conversations for SECONDS and prints how many: through the store, or BATCH at a time\n"
  "straight through the library of the database. The database of URL gets new conversations; point it at one of its "
  "own.\n"
  "Exit: 0 measured, 1 wrong use, 2 it failed.\n";

static const struct ceiling *const ceilings[] = {&ceiling_sqlite, &ceiling_mongo};

struct run {
  const char *url;
  size_t sessions;
  char **ids;
  uint64_t *seqs;
  uint64_t seconds;
  uint64_t committed, failed;
  uint64_t end_ns;
  size_t waiting; /* operations on their way */
  struct store *store;
  struct mailbox *mailbox;
  sem_t woken;
};

static uint64_t now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static void die(const char *why) {
  fprintf(stderr, "chatbox-commit: %s\n", why);
  exit(2);
}

static void *some(void *memory) {
  if (!memory) {
    die("out of memory");
  }
  return memory;
}

/* ---- through the store ---- */

static char *content(void) {
  char *text = some(malloc(CONTENT_LEN + 1));
  memset(text, 'm', CONTENT_LEN);
  text[CONTENT_LEN] = 0;
  return text;
}

static void on_wake(void *arg) {
  sem_post(&((struct run *)arg)->woken);
}

static struct run *the_run; /* of the one run of this process: a reply carries only its session */

static void submit(struct run *r, size_t session, bool first);

static void on_reply(struct post *post) {
  struct store_op *op = (struct store_op *)post;
  struct run *r = the_run;
  size_t session = (size_t)op->arg;
  bool stored = op->message_count > 0;
  r->waiting--;
  r->failed += op->code != 0;
  r->committed += stored;
  store_op_free(op);
  if (stored && now_ns(CLOCK_MONOTONIC) < r->end_ns) {
    submit(r, session, false);
  }
}

/* The first operation of a session inserts it. */
static void submit(struct run *r, size_t session, bool first) {
  struct store_op *op = some(store_op_new(STORE_WRITE));
  int64_t at_ms = (int64_t)(now_ns(CLOCK_REALTIME) / 1000000);
  op->arg = (void *)session;
  op->reply_to = r->mailbox;
  op->post.run = on_reply;
  memcpy(op->session.id, r->ids[session], sizeof op->session.id);
  if (first) {
    op->has_session = true;
    op->session.user_id = some(strdup(r->ids[session]));
    op->session.start_ms = op->session.last_activity_ms = at_ms;
  } else {
    op->messages = some(calloc(1, sizeof *op->messages));
    op->message_count = 1;
    struct message_record *m = op->messages;
    *m = (struct message_record){.sender = some(strdup("user")),
                                 .type = some(strdup("user_message")),
                                 .content = content(),
                                 .content_len = CONTENT_LEN,
                                 .at_ms = at_ms};
    id_new(m->id);
    m->cid = some(strdup(m->id));
  }
  r->waiting++;
  if (store_submit(r->store, op)) {
    die("the store did not take a write");
  }
}

static void drain(struct run *r) {
  while (r->waiting) {
    sem_wait(&r->woken);
    mailbox_drain(r->mailbox);
  }
}

static void open_store(struct run *r) {
  char why[256];
  struct store_options o = {
    .backends = store_backends, .url = r->url, .readers = 1, .queue = (uint32_t)r->sessions + 16, .timeout_ms = 60000};
  if (store_open(&o, &r->store, why)) {
    die(why);
  }
  for (size_t i = 0; i < r->sessions; i++) {
    submit(r, i, true);
  }
  drain(r);
  if (r->failed) {
    die("the conversations could not be stored");
  }
}

static void close_store(struct run *r) {
  if (store_drain(r->store, 10000)) {
    die("the store did not drain");
  }
  store_close(r->store);
}

static void report(const struct run *r, const char *who, uint64_t begun_ns, double batch) {
  double seconds = (double)(now_ns(CLOCK_MONOTONIC) - begun_ns) / (double)NS;
  printf("{\"who\":\"%s\",\"sessions\":%zu,\"per_second\":%.1f,\"batch\":%.2f}\n", who, r->sessions,
         (double)r->committed / seconds, batch);
}

static void measure_store(struct run *r) {
  int64_t commits = metrics_value(METRIC_STORE_COMMITS);
  uint64_t begun = now_ns(CLOCK_MONOTONIC);
  r->end_ns = begun + r->seconds * NS;
  for (size_t i = 0; i < r->sessions; i++) {
    submit(r, i, false);
  }
  drain(r);
  if (r->failed) {
    die("a message was not stored");
  }
  commits = metrics_value(METRIC_STORE_COMMITS) - commits;
  report(r, "store", begun, commits ? (double)r->committed / (double)commits : 0);
  close_store(r);
}

/* ---- straight ---- */

static void fill(struct run *r, struct row *rows, size_t count, size_t *next, char (*ids)[ID_LEN + 1],
                 const char *text) {
  int64_t at_ms = (int64_t)(now_ns(CLOCK_REALTIME) / 1000000);
  for (size_t i = 0; i < count; i++) {
    size_t session = (*next)++ % r->sessions;
    id_new(ids[i]);
    rows[i] = (struct row){session, ++r->seqs[session], ids[i], ids[i], text, at_ms};
  }
}

static void measure_ceiling(struct run *r, size_t batch) {
  char why[256];
  const struct ceiling *c = NULL;
  for (size_t i = 0; i < sizeof ceilings / sizeof *ceilings; i++) {
    c = strncmp(r->url, ceilings[i]->scheme, strlen(ceilings[i]->scheme)) == 0 ? ceilings[i] : c;
  }
  void *handle;
  close_store(r); /* it has made the schema and the conversations */
  if (!c || c->open(r->url, r->ids, r->sessions, &handle, why)) {
    die(c ? why : "there is no ceiling for this database");
  }
  struct row *rows = some(calloc(batch, sizeof *rows));
  char(*ids)[ID_LEN + 1] = some(calloc(batch, sizeof *ids));
  char *text = content();
  size_t next = 0;
  uint64_t begun = now_ns(CLOCK_MONOTONIC), end = begun + r->seconds * NS;
  while (now_ns(CLOCK_MONOTONIC) < end) {
    fill(r, rows, batch, &next, ids, text);
    c->commit(handle, rows, batch);
    r->committed += batch;
  }
  report(r, "ceiling", begun, (double)batch);
  c->close(handle);
  free(rows);
  free(ids);
  free(text);
}

static size_t number(const char *text, size_t max) {
  char *end;
  unsigned long n = strtoul(text, &end, 10);
  if (*end || n < 1 || n > max) {
    fputs(help, stderr);
    exit(1);
  }
  return n;
}

int main(int argc, char **argv) {
  bool store = argc == 5 && strcmp(argv[3], "store") == 0;
  if (!store && !(argc == 6 && strcmp(argv[3], "ceiling") == 0)) {
    fputs(help, stderr);
    return 1;
  }
  struct run r = {.url = argv[1], .sessions = number(argv[2], SESSIONS_MAX), .seconds = number(argv[4], SECONDS_MAX)};
  the_run = &r;
  sem_init(&r.woken, 0, 0);
  r.mailbox = some(mailbox_new(on_wake, &r));
  r.ids = some(calloc(r.sessions, sizeof *r.ids));
  r.seqs = some(calloc(r.sessions, sizeof *r.seqs));
  for (size_t i = 0; i < r.sessions; i++) {
    r.ids[i] = some(malloc(ID_LEN + 1));
    id_new(r.ids[i]);
  }
  open_store(&r);
  if (store) {
    measure_store(&r);
  } else {
    measure_ceiling(&r, number(argv[5], SESSIONS_MAX));
  }
  for (size_t i = 0; i < r.sessions; i++) {
    free(r.ids[i]);
  }
  free(r.ids);
  free(r.seqs);
  mailbox_free(r.mailbox);
  return 0;
}
