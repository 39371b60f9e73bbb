/* A process that is killed while it stores: what it was told is stored, is. A child writes messages through the store
 * and passes on each commit it is told of through a pipe; the parent kills it with SIGKILL after a random number of
 * those, opens the database and looks. The seed is printed; `store_crash_test SEED` runs the same again. */
#include "store_backends.h"
#include "store_caller.h"

#include "err.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 5
#define SESSIONS 7
#define IN_FLIGHT 100
#define REPORTS_MAX 20000
#define CHILD_MAX 60000 /* messages of one child: far more than it lives to write */

struct report {
  uint32_t session, number; /* number: of the message within its conversation and round */
  uint64_t seq;
  char id[STORE_ID_LEN + 1];
};

static unsigned seed;
static char folder[] = "/tmp/chatbox-crash-XXXXXX";
static char url[64];
static struct report reports[REPORTS_MAX]; /* of all rounds, in the order of their commits */
static unsigned report_round[REPORTS_MAX];
static size_t report_count;

static struct store *open_store(void) {
  struct store_options o = {.backends = store_backends, .url = url, .readers = 1, .queue = 2 * IN_FLIGHT};
  struct store *s;
  char why[256];
  if (store_open(&o, &s, why) != 0)
    fail_msg("%s", why);
  return s;
}

static void cid_of(char out[32], unsigned round, unsigned session, unsigned number) {
  snprintf(out, 32, "r%u-s%u-n%u", round, session, number);
}

static struct store_op *message_of(unsigned round, unsigned session, unsigned number) {
  char cid[32];
  cid_of(cid, round, session, number);
  struct store_op *op = caller_write(session);
  op->has_session = number == 1;
  op->session.user_id = strdup("u");
  caller_add(op, (unsigned long long)round << 40 | (unsigned long long)session << 32 | number, cid, cid, strlen(cid));
  return op;
}

/* ---- the one that dies ---- */

static void child_report(int out, const struct store_op *op) {
  struct report r = {.seq = op->messages[0].seq};
  unsigned round;
  if (op->code != 0 || sscanf(op->messages[0].cid, "r%u-s%u-n%u", &round, &r.session, &r.number) != 3)
    _exit(2);
  memcpy(r.id, op->messages[0].id, sizeof r.id);
  if (write(out, &r, sizeof r) != (ssize_t)sizeof r)
    _exit(3);
}

static void child_run(int out, unsigned round) {
  struct store *s = open_store();
  struct caller *c = caller_new();
  unsigned sent = 0, answered = 0;
  while (answered < CHILD_MAX) {
    for (; sent < CHILD_MAX && sent - answered < IN_FLIGHT; sent++) {
      if (caller_submit(c, s, message_of(round, sent % SESSIONS, sent / SESSIONS + 1)) != 0)
        _exit(4);
    }
    caller_wait(c, 1);
    for (size_t i = 0; i < c->count; i++)
      child_report(out, c->replies[i]);
    answered += (unsigned)c->count;
    caller_forget(c);
  }
  _exit(5);
}

/* ---- the one that looks ---- */

static bool read_report(int in, struct report *r) {
  size_t got = 0;
  while (got < sizeof *r) {
    ssize_t n = read(in, (char *)r + got, sizeof *r - got);
    if (n <= 0)
      return false;
    got += (size_t)n;
  }
  return true;
}

static void kill_after(unsigned count, unsigned round) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    child_run(ends[1], round);
  }
  close(ends[1]);
  for (unsigned n = 0; report_count < REPORTS_MAX && read_report(ends[0], &reports[report_count]); n++) {
    report_round[report_count++] = round;
    if (n == count)
      kill(child, SIGKILL);
  }
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* All of a conversation, page by page; its numbers have no gap and each round's messages are in the order they were
 * sent. found[seq] is the id. */
static uint64_t check_conversation(struct store *s, struct caller *c, unsigned session,
                                   char (*found)[STORE_ID_LEN + 1]) {
  struct store_op *op = store_op_new(STORE_SESSION);
  caller_id(op->session.id, 0x5e55, session);
  uint64_t top = caller_call(c, s, op)->session.top;
  assert_in_range(top, 1, REPORTS_MAX + ROUNDS * IN_FLIGHT);
  unsigned last_round = UINT32_MAX, last_number = UINT32_MAX;
  uint64_t next = top;
  while (next > 0) {
    op = store_op_new(STORE_HISTORY);
    caller_id(op->session.id, 0x5e55, session);
    op->limit = STORE_LIMIT_MAX;
    op->before_seq = next + 1;
    op = caller_call(c, s, op);
    assert_int_equal(op->code, 0);
    assert_true(op->message_count > 0);
    for (size_t i = op->message_count; i-- > 0; next--) {
      unsigned round, of, number;
      assert_int_equal(op->messages[i].seq, next);
      assert_int_equal(sscanf(op->messages[i].content, "r%u-s%u-n%u", &round, &of, &number), 3);
      assert_int_equal(of, session);
      assert_true(round < last_round || (round == last_round && number == last_number - 1));
      assert_true(round == last_round || last_number == UINT32_MAX || last_number == 1);
      last_round = round;
      last_number = number;
      memcpy(found[next], op->messages[i].id, STORE_ID_LEN + 1);
    }
  }
  assert_int_equal(last_number, 1);
  return top;
}

static void check_all(void) {
  static char found[REPORTS_MAX + ROUNDS * IN_FLIGHT + 1][STORE_ID_LEN + 1];
  struct store *s = open_store();
  struct caller *c = caller_new();
  for (unsigned session = 0; session < SESSIONS; session++) {
    uint64_t top = check_conversation(s, c, session, found);
    size_t last = SIZE_MAX;
    for (size_t i = 0; i < report_count; i++) {
      if (reports[i].session != session)
        continue;
      assert_in_range(reports[i].seq, 1, top);
      assert_string_equal(found[reports[i].seq], reports[i].id);
      last = i;
    }
    assert_true(last != SIZE_MAX);
    /* Sent again by somebody who did not see the answer: the same number and id, and no second row. */
    struct store_op *op = message_of(report_round[last], session, reports[last].number);
    caller_id(op->messages[0].id, 0xa9a1, session);
    op = caller_call(c, s, op);
    assert_int_equal(op->code, 0);
    assert_true(op->messages[0].duplicate);
    assert_int_equal(op->messages[0].seq, reports[last].seq);
    assert_string_equal(op->messages[0].id, reports[last].id);
    caller_forget(c);
  }
  store_close(s);
  caller_free(c);
}

static void nothing_that_was_reported_as_stored_is_lost_or_doubled_by_a_kill(void **state) {
  (void)state;
  srand(seed);
  for (unsigned round = 0; round < ROUNDS; round++) {
    kill_after((unsigned)rand() % 1500 + SESSIONS, round);
    check_all();
  }
  print_message("seed %u: %zu messages in %d rounds\n", seed, report_count, ROUNDS);
}

static int remove_folder(void **state) {
  (void)state;
  char command[64];
  snprintf(command, sizeof command, "rm -r %s", folder);
  return system(command);
}

int main(int argc, char **argv) {
  seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)time(NULL);
  print_message("seed %u\n", seed);
  if (mkdtemp(folder) == NULL)
    return 1;
  snprintf(url, sizeof url, "sqlite:%s/chat.db", folder);
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_that_was_reported_as_stored_is_lost_or_doubled_by_a_kill)};
  return cmocka_run_group_tests(tests, NULL, remove_folder);
}
