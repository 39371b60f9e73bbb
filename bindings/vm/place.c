/* In: a signal on a thread that runs Lua. Out: the innermost line of a script on its stack. Why: see place.h. The
 * handler takes no lock and allocates nothing: lua_getstack and lua_getinfo only read. */
#include "place.h"

#include "machine.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PLACE_SIGNAL (SIGRTMIN + 1)
#define ANSWER_NS 500000000
#define LEVELS_MAX 100000

static struct {
  sem_t answered;
  sigjmp_buf fault;
  volatile bool found;
  char text[PLACE_MAX];
} place;

static void on_fault(int number) {
  (void)number;
  siglongjmp(place.fault, 1);
}

/* A function of C that the innermost line has called has a name there, and none of its own. */
static void note_place(lua_State *L) {
  lua_Debug at;
  char in[48] = "";
  for (int level = 0; level < LEVELS_MAX && lua_getstack(L, level, &at); level++) {
    lua_getinfo(L, "Sln", &at);
    if (level == 0 && *at.what == 'C' && at.name) {
      snprintf(in, sizeof in, " (in %.40s)", at.name);
    }
    if (at.currentline > 0 && strncmp(at.source, "@scripts/", 9) == 0) {
      snprintf(place.text, sizeof place.text, "%.200s:%d%s", at.source + 1, at.currentline, in);
      place.found = true;
      return;
    }
  }
}

static void on_ask(int number) {
  int saved = errno;
  const struct guard *g = guard_running();
  const struct vm *vm = g ? g->arg : NULL;
  struct sigaction catching = {.sa_handler = on_fault}, segv, bus;
  (void)number;
  if (vm) {
    sigaction(SIGSEGV, &catching, &segv);
    sigaction(SIGBUS, &catching, &bus);
    if (sigsetjmp(place.fault, 1) == 0) {
      note_place(vm->current && vm->current->co ? vm->current->co : vm->L);
    }
    sigaction(SIGSEGV, &segv, NULL);
    sigaction(SIGBUS, &bus, NULL);
  }
  sem_post(&place.answered);
  errno = saved;
}

bool place_of_thread(int tid, char out[PLACE_MAX]) {
  struct sigaction asking = {.sa_handler = on_ask, .sa_flags = SA_RESTART};
  struct timespec until;
  *out = 0;
  place.found = false;
  sem_init(&place.answered, 0, 0);
  sigaction(PLACE_SIGNAL, &asking, NULL);
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += ANSWER_NS;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  if (syscall(SYS_tgkill, getpid(), tid, PLACE_SIGNAL)) {
    return false;
  }
  int waited;
  do {
    waited = sem_clockwait(&place.answered, CLOCK_MONOTONIC, &until);
  } while (waited && errno == EINTR);
  if (waited || !place.found) {
    return false;
  }
  snprintf(out, PLACE_MAX, "%s", place.text);
  return true;
}
