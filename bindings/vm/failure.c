/* In: a task whose coroutine raised an error or was killed. Out: a log line with the place, metrics, and what its
 * client may be told. Why: see failure.h. */
#include "failure.h"

#include "blame.h"
#include "log.h"
#include "metrics.h"
#include "raised.h"
#include "task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INCIDENT_LEN 12 /* enough to find the line in the log */

/* Collects what only the coroutine knows, before it is released. */
static struct failure report_of(struct task *t, enum guard_end end) {
  struct vm *vm = t->vm;
  struct failure r = {.blamed = ""};
  char text[200], place[RAISED_MAX / 2];
  if (end) {
    guard_place(&vm->guard, place, sizeof place);
    r.message = raised_join(place, guard_text(&vm->guard, end, text, sizeof text));
  } else {
    r.message = raised_text(vm, t->co, &t->spent_ns);
  }
  id_new(r.incident);
  r.incident[INCIDENT_LEN] = 0;
  memcpy(r.blamed, vm->guard.blamed, sizeof r.blamed);
  if (end && !*r.blamed) {
    (void)blame_find(vm, t->co, r.blamed);
  }
  if (end && vm->guard.end && vm->guard.traceback[0]) {
    r.traceback = strdup(
      vm->guard.traceback); /* of the place where the guard first stopped it, not of where the error finally surfaced */
    return r;
  }
  luaL_traceback(vm->L, t->co, r.message, 0); /* on the main stack: the coroutine's may be full */
  r.traceback = strdup(lua_tostring(vm->L, -1));
  lua_pop(vm->L, 1);
  return r;
}

static void write_report(const struct task *t, enum guard_end end, const struct failure *r) {
  struct vm *vm = t->vm;
  char labels[64];
  snprintf(labels, sizeof labels, "version=\"%s\"", vm_version(vm));
  metrics_add_labelled(METRIC_SCRIPT_ERRORS, labels, 1);
  const char *session = t->session ? session_id(t->session) : "";
  if (!end) {
    LOG(LOG_ERROR, "script", "a handler failed", LSTR("incident", r->incident), LSTR("version", vm_version(vm)),
        LSTR("session", session), LSTR("traceback", r->traceback));
    return;
  }
  snprintf(labels, sizeof labels, "kind=\"%s\",version=\"%s\"", guard_kind(end), vm_version(vm));
  metrics_add_labelled(METRIC_SCRIPT_KILLS, labels, 1);
  LOG(LOG_ERROR, "script", "a handler was ended", LSTR("incident", r->incident), LSTR("version", vm_version(vm)),
      LSTR("kind", guard_kind(end)), LSTR("name", r->blamed), LSTR("error", r->message),
      LINT("cpu_ms", vm->guard.cpu_ns / 1000000), LINT("message_cpu_ms", t->spent_ns / 1000000),
      LSTR("session", session), LSTR("traceback", r->traceback));
}

void failure_note(struct task *t, enum guard_end end, struct failure *out) {
  *out = report_of(t, end);
  write_report(t, end, out);
  if (end) {
    blame_kill(t, out->blamed);
  }
  task_tally(t, true, end != GUARD_WELL);
}

void failure_deinit(struct failure *f) {
  free(f->message);
  free(f->traceback);
}
