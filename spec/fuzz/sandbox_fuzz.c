/* In: bytes, each a choice of what a script calls with what (sandbox/init.lua). Out: an abort when the world of the
 * scripts is not what it was, when a hook or a limit is left over, or when memory grew that nothing holds.
 * Why: nobody can think of every chain of calls; what they may end in is known. */
#include "fuzz_world.h"

static char *settings[] = {"JWT_SECRET=V4l1d-JWT-K3y-F0r-T3st1ng-Purp0ses-1!",
                           "SCRIPT_WAIT_DEADLINE=10s",
                           "SCRIPT_KILLS_MAX=0",
                           "SCRIPT_MEMORY_LIMIT=32MiB",
                           "SCRIPT_ALLOCATION_LIMIT=4MiB",
                           "RATE_LIMIT=1000000",
                           NULL};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  return setenv("SCRIPTS_DIR", SCRIPTS_DIR "/../spec/fuzz/sandbox", 1);
}

static void forget_heard(struct client *c) {
  struct message *m;
  while ((m = client_hears(c))) {
    message_unref(m);
  }
}

/* What the script itself finds out; a conversation of its own, for the other one may be full of waits. */
static void ask_intact(struct world *w, struct client *c) {
  static const char question[] = "intact?";
  forget_heard(c);
  put_or_refuse(c, question, sizeof question - 1, (struct conn_refusal){0});
  world_settle(w);
  struct message *m = client_hears(c);
  check(m, "nobody answers any more");
  check(m->len == 8 && memcmp(m->text, "\"intact\"", 8) == 0, "%.*s", (int)m->len, m->text);
  message_unref(m);
}

static void check_outside(struct world *w) {
  struct vm *vm = scripts_vm(w->scripts, 0);
  check(lua_gethookmask(vm->L) == 0, "a hook is left");
  check(vm->guard.depth == 0 && !vm->current && !vm->to_resume, "a slice is left");
  check(lua_gettop(vm->L) == 0, "%d values are left on the stack", lua_gettop(vm->L));
}

static struct client *join(struct world *w, const char *user) {
  struct identity *who = identity_new(user, user, NULL, 0, 0);
  struct client *c = client_new(w, who, "");
  identity_unref(who);
  check(c->conn && conn_session(c->conn), "%s found no conversation", user);
  return c;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned users;
  char user[32], other[32], text[1024];
  size_t len = size < sizeof text ? size : sizeof text;
  struct world *w = fuzz_world(settings);
  snprintf(user, sizeof user, "user-%u", users);
  snprintf(other, sizeof other, "other-%u", users++);
  struct client *c = join(w, user), *judge = join(w, other);
  memcpy(text, data, len);
  fuzz_utf8(text, len);
  put_or_refuse(c, text, len, (struct conn_refusal){0});
  world_settle(w);
  worker_advance(w->worker, 60000);
  world_settle(w);
  ask_intact(w, judge);
  check_outside(w);
  fuzz.script_errors = metrics_value(METRIC_SCRIPT_ERRORS); /* one that was ended is no news */
  fuzz_world_check(w);
  return 0;
}
