/* What core/chat/effects.c promises of memory and store: after any outcome memory says what the store says. Random
 * slices, from the owner and from elsewhere, go through a store that refuses some of them, and stores some it refuses;
 * the process forgets everything now and then. After each step memory is compared with a model that knows only which
 * slices were told to have been stored; as soon as the store takes writes again, also with the store. The seeds are
 * fixed: SPEC_SEED adds one. */
#include "stage.h"

#include "effects.h"
#include "err.h"
#include "store_memory.h"

#define SEEDS 60
#define STEPS 120
#define SLICES 4
#define WALL 1700000000000

/* ---- a store that fails ---- */

static struct {
  _Atomic uint32_t random;
  _Atomic unsigned refused, lied; /* percent: not stored; stored, and refused all the same */
} faults;

static uint32_t roll(uint32_t *state) { /* xorshift */
  *state ^= *state << 13;
  *state ^= *state >> 17;
  return *state ^= *state << 5;
}

/* One after the other, so that the same seed fails the same operations however they are batched. */
static void faulty_write(void *handle, struct store_op **ops, size_t count) {
  for (size_t i = 0; i < count; i++) {
    bool barrier = ops[i]->kind != STORE_WRITE || (!ops[i]->has_session && ops[i]->message_count == 0);
    uint32_t state = faults.random, percent = 100;
    if (!barrier) {
      percent = roll(&state) % 100;
      faults.random = state;
    }
    bool refused = percent < faults.refused, lied = !refused && percent < faults.refused + faults.lied;
    if (!refused)
      store_memory.write(handle, &ops[i], 1);
    if (refused || lied)
      ops[i]->code = E_STORE;
  }
}

static int faulty_open(const struct store_options *o, const char *location, bool writer, void **handle, char why[256]) {
  return store_memory.open(o, location, writer, handle, why);
}

static void faulty_close(void *handle) {
  store_memory.close(handle);
}

static void faulty_read(void *handle, struct store_op *op) {
  store_memory.read(handle, op);
}

static const struct store_backend faulty = {
  .scheme = "memory", .open = faulty_open, .close = faulty_close, .write = faulty_write, .read = faulty_read};
static const struct store_backend *const faulty_backends[] = {&faulty, NULL};

/* ---- the model ---- */

struct fields {
  char name[32], model[32];
  bool help, assisted, ended;
  int64_t tokens, last_ms;
  uint32_t responses, newest;
};

struct wish {
  bool text, flag, close;
  char name[32];
  bool help;
  int64_t tokens;
  uint32_t response;
  int64_t last_ms; /* 0: no message */
};

struct walk {
  struct stage *st;
  struct session *s;
  uint32_t seed, random;
  struct fields model;
  struct wish wishes[SLICES];
  unsigned slices, settled, refused, stored;
  int number, cid;
};

static void model_apply(struct walk *k, const struct wish *w, bool new_message, bool whole) {
  struct fields *m = &k->model;
  if (w->text)
    strcpy(m->name, w->name);
  m->help = w->flag ? w->help : m->help;
  m->tokens += w->tokens;
  if (w->response) {
    m->responses++;
    m->newest = w->response;
  }
  m->ended |= w->close;
  if (w->last_ms > m->last_ms && (new_message || whole))
    m->last_ms = w->last_ms;
}

static struct fields fields_of(const struct session_record *r) {
  struct fields f = {.help = r->help_requested,
                     .assisted = r->admin_assisted,
                     .ended = r->end_ms != 0,
                     .tokens = r->total_tokens,
                     .last_ms = r->last_activity_ms,
                     .responses = r->response_count,
                     .newest = r->response_count > 0 ? r->responses[r->response_count - 1] : 0};
  snprintf(f.name, sizeof f.name, "%s", r->name != NULL ? r->name : "");
  snprintf(f.model, sizeof f.model, "%s", r->model_id != NULL ? r->model_id : "");
  return f;
}

static void assert_same(const struct walk *k, const char *what, const struct fields *a, const struct fields *b) {
  if (strcmp(a->name, b->name) == 0 && strcmp(a->model, b->model) == 0 && a->help == b->help &&
      a->assisted == b->assisted && a->ended == b->ended && a->tokens == b->tokens && a->last_ms == b->last_ms &&
      a->responses == b->responses && a->newest == b->newest)
    return;
  fail_msg("seed %u, step %d, %s: name %s %s, help %d %d, ended %d %d, tokens %lld %lld, last %lld %lld, responses %u "
           "%u, newest "
           "%u %u",
           k->seed, k->number, what, a->name, b->name, a->help, b->help, a->ended, b->ended, (long long)a->tokens,
           (long long)b->tokens, (long long)(a->last_ms - WALL), (long long)(b->last_ms - WALL), a->responses,
           b->responses, a->newest, b->newest);
}

/* ---- one step ---- */

static void settled(struct effects *e, void *arg) {
  struct walk *k = arg;
  const struct wish *w = &k->wishes[e->token];
  bool new_message = false;
  for (size_t i = 0; i < e->message_count; i++)
    new_message |= !e->messages[i].duplicate;
  assert_int_equal(k->settled, e->token); /* in the order they were committed, or told elsewhere */
  k->settled++;
  if (e->code == 0) {
    k->stored++;
    model_apply(k, w, new_message, e->write.whole);
  } else {
    k->refused++;
  }
  effects_free(e);
}

static uint32_t pick(struct walk *k, uint32_t below) {
  return roll(&k->random) % below;
}

static void say(struct walk *k, struct effects *e, struct wish *w) {
  struct message_record r = {.sender = strdup("user"),
                             .type = strdup("user_message"),
                             .content = strdup("hello"),
                             .content_len = 5,
                             .at_ms = w->last_ms = WALL + ++k->number};
  char cid[16];
  snprintf(cid, sizeof cid, "c%d", pick(k, 3) > 0 ? k->cid++ : k->cid / 2);
  r.cid = strdup(cid);
  id_new(r.id);
  assert_int_equal(effects_append(e, &r), 0);
}

static void commit(struct walk *k, int worker) {
  struct wish *w = &k->wishes[k->slices];
  *w = (struct wish){0};
  struct effects *e = effects_new(k->s, NULL, (uint64_t)(WALL + ++k->number));
  assert_non_null(e);
  if (pick(k, 2))
    say(k, e, w);
  if (pick(k, 4) == 0) {
    w->text = true;
    snprintf(w->name, sizeof w->name, "name %d", k->number);
    assert_int_equal(effects_set_text(e, EFFECTS_NAME, w->name), 0);
  }
  if (pick(k, 4) == 0) {
    w->flag = true;
    e->flags[EFFECTS_HELP] = w->help = pick(k, 2);
  }
  if (pick(k, 3) == 0)
    e->tokens = w->tokens = 1 + pick(k, 100);
  if (pick(k, 3) == 0) {
    w->response = 1 + pick(k, 1000);
    assert_int_equal(effects_response(e, w->response), 0);
  }
  if (pick(k, 12) == 0)
    e->close = w->close = true;
  e->done = settled;
  e->arg = k;
  e->token = k->slices++;
  effects_commit(e, worker_home(k->st->workers[worker]));
}

static bool stored_record(struct walk *k, struct fields *out) {
  struct store_op *op = store_op_new(STORE_SESSION);
  memcpy(op->session.id, session_id(k->s), sizeof op->session.id);
  op = caller_call(k->st->caller, k->st->store, op);
  bool there = op->code == 0;
  if (there)
    *out = fields_of(&op->session);
  caller_forget(k->st->caller);
  return there;
}

static void assert_memory(struct walk *k) {
  session_lock_read(k->s);
  struct fields f = fields_of(session_fields(k->s));
  session_unlock_read(k->s);
  assert_same(k, "memory and what was told", &f, &k->model);
  struct session *active = sessions_active(k->st->sessions, "ann");
  assert_ptr_equal(active, k->model.ended ? NULL : k->s);
  if (active != NULL)
    session_unref(active);
}

/* The store takes writes again; whoever looks after idle conversations comes by. */
static void assert_store(struct walk *k) {
  unsigned refused = faults.refused, lied = faults.lied;
  faults.refused = faults.lied = 0;
  sessions_sweep(k->st->sessions, 0, UINT32_MAX);
  stage_settle(k->st);
  struct fields f;
  bool there = stored_record(k, &f);
  session_lock_read(k->s);
  bool stored = session_stored(k->s), settled = !stored || session_settled(k->s);
  session_unlock_read(k->s);
  assert_true(settled);
  if (stored) {
    assert_true(there);
    assert_same(k, "memory and store", &k->model, &f);
  }
  faults.refused = refused;
  faults.lied = lied;
}

/* Nothing of the old one stays in memory, for only so many have room there. */
static void fresh(struct walk *k) {
  unsigned refused = faults.refused, lied = faults.lied;
  session_unref(k->s);
  faults.refused = faults.lied = 0;
  sessions_sweep(k->st->sessions, UINT32_MAX, 0);
  stage_settle(k->st);
  sessions_sweep(k->st->sessions, UINT32_MAX, 0);
  assert_int_equal(sessions_count(k->st->sessions), 0);
  faults.refused = refused;
  faults.lied = lied;
  k->s = stage_draft(k->st, "ann", 0);
  k->model = (struct fields){0};
}

/* As after a crash: what was in memory is gone, and what the store has is the truth. */
static void restart(struct walk *k) {
  struct store_op *op = store_op_new(STORE_SESSION);
  memcpy(op->session.id, session_id(k->s), sizeof op->session.id);
  session_unref(sessions_take(k->st->sessions, session_id(k->s)));
  op = caller_call(k->st->caller, k->st->store, op);
  if (op->code) {
    fresh(k);
  } else {
    session_unref(k->s);
    assert_int_equal(
      sessions_enter(k->st->sessions, &op->session, sessions_epoch(k->st->sessions), stage_home(k->st, 0), 0, &k->s),
      0);
    k->model = fields_of(&op->session);
  }
  caller_forget(k->st->caller);
}

static void step(struct walk *k) {
  if (pick(k, 20) == 0) {
    faults.refused = pick(k, 3) == 0 ? 100 : pick(k, 40); /* 100: away for a while */
    faults.lied = pick(k, 30);
  }
  k->slices = k->settled = 0;
  for (unsigned n = 1 + pick(k, SLICES); n > 0; n--)
    commit(k, 0);
  if (pick(k, 4) == 0) { /* from another worker: alone, for its place among the others would be chance */
    stage_settle(k->st);
    assert_int_equal(k->settled, k->slices);
    k->slices = k->settled = 0;
    commit(k, 1);
  }
  stage_settle(k->st);
  assert_int_equal(k->settled, k->slices);
  assert_memory(k);
  if (pick(k, 3) == 0)
    assert_store(k);
  if (pick(k, 15) == 0)
    restart(k);
  if (k->model.ended && pick(k, 2))
    fresh(k);
}

static void walk(void **state, uint32_t seed) {
  struct walk k = {.st = *state, .seed = seed, .random = seed * 2654435761u + 1};
  faults.random = seed * 40503u + 7;
  faults.refused = 20;
  faults.lied = 15;
  k.s = stage_draft(k.st, "ann", 0);
  for (int i = 0; i < STEPS; i++)
    step(&k);
  assert_store(&k);
  assert_true(k.stored > 0 && k.refused > 0);
  session_unref(k.s);
}

static void after_any_outcome_memory_says_what_the_store_says(void **state) {
  const char *more = getenv("SPEC_SEED");
  (void)state;
  for (uint32_t seed = 1; seed <= SEEDS + (more != NULL); seed++) {
    void *st;
    uint32_t this = seed > SEEDS ? (uint32_t)strtoul(more, NULL, 10) : seed;
    stage_open_on(&st, faulty_backends);
    walk(&st, this);
    stage_close(&st);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(after_any_outcome_memory_says_what_the_store_says)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
