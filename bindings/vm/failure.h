/* In: a task whose coroutine raised an error or was killed. Out: a log line with the place, metrics, and what its
 * client may be told.
 * Why: an error affects one message. The client learns an incident number and nothing else; the log has the details
 * under that number.
 * Thread: the VM's own. */
#pragma once
#include "id.h"
#include "machine.h"

struct failure {
  char incident[ID_LEN + 1];
  char *message, *traceback; /* heap */
  char blamed[GUARD_NAME_MAX + 1];
};

/* end says which limit it exceeded; GUARD_WELL means the coroutine raised an error. Fills out; the caller calls
 * failure_deinit. */
void failure_note(struct task *t, enum guard_end end, struct failure *out);
void failure_deinit(struct failure *f);
