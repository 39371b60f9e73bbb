/* In: a task whose coroutine failed, or that used too much. Out: a line in the log with the place, numbers, and the
 * word to whoever waits for an answer; the end of the task. Why: an error hurts one message. Nothing of its slice takes
 * effect, its client learns an incident number and no more, and the log has the rest under that number. */
#include "bind.h"

#include "id.h"
#include "log.h"
#include "metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INCIDENT_LEN 12 /* enough to find the line in the log */

struct failure_report {
  char incident[ID_LEN + 1];
  char *message, *traceback; /* heap */
  char blamed[GUARD_NAME_MAX + 1];
};

void failure_respond(struct http_request *req, int status) {
  static const char body[] = "{\"error\":\"An internal error occurred\",\"code\":\"INTERNAL_ERROR\"}";
  struct http_response res = {.status = status, .body = body, .body_len = sizeof body - 1};
  http_respond(req, &res);
}

/* What has to be asked of the coroutine while there is one. */
static struct failure_report report_of(struct task *t, enum guard_end end) {
  struct vm *vm = t->vm;
  struct failure_report r = {.blamed = ""};
  char text[200];
  const char *raised = end ? NULL : lua_tostring(t->co, -1); /* one that waits has nothing on its stack */
  id_new(r.incident);
  r.incident[INCIDENT_LEN] = 0;
  r.message = strdup(end      ? guard_text(&vm->guard, end, text, sizeof text)
                     : raised ? raised
                              : "(error object is not a string)");
  memcpy(r.blamed, vm->guard.blamed, sizeof r.blamed);
  if (end && !*r.blamed) {
    (void)guard_blame(vm, t->co, r.blamed);
  }
  if (end && vm->guard.end && vm->guard.traceback[0]) {
    r.traceback = strdup(vm->guard.traceback); /* of where it was caught first, not of where it came out */
    return r;
  }
  luaL_traceback(vm->L, t->co, r.message, 0); /* on the other stack, because the coroutine's may be full */
  r.traceback = strdup(lua_tostring(vm->L, -1));
  lua_pop(vm->L, 1);
  return r;
}

static void write_report(const struct task *t, enum guard_end end, const struct failure_report *r) {
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

void failure(struct task *t, enum guard_end end) {
  struct vm *vm = t->vm;
  struct failure_report r = report_of(t, end);
  write_report(t, end, &r);
  if (end) {
    guard_note_kill(t, r.blamed);
  }
  task_tally(t, true, end != GUARD_WELL);
  struct http_request *http = t->http;
  struct session *s = t->session && t->conn && t->kind != TASK_NOTICE ? session_ref(t->session) : NULL;
  struct conn *c = s ? conn_ref(t->conn) : NULL;
  t->http = NULL;
  task_end(t, false); /* before anybody is told: what it held can be collected then */
  if (end == GUARD_MEMORY) {
    vm_collect(vm);
  }
  if (vm->world->script_error) {
    vm->world->script_error(vm->world->arg, r.message, vm_version(vm));
  }
  if (http) {
    failure_respond(http, 500);
  }
  if (s) {
    vm_notice(vm, vm->failed_ref, s, c, r.incident, r.message);
    session_unref(s);
    conn_unref(c);
  }
  free(r.message);
  free(r.traceback);
}
