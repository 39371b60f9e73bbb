/* In: a task whose coroutine failed, or that used too much. Out: a line in the log with the place, numbers in the
 * metrics, and what its client may be told. Why: an error hurts one message. Its client learns an incident number and
 * no more, and the log has the rest under that number. Thread: the VM's own. */
#pragma once
#include "id.h"
#include "machine.h"

struct failure {
  char incident[ID_LEN + 1];
  char *message, *traceback; /* heap */
  char blamed[GUARD_NAME_MAX + 1];
};

/* end: what it did too much of; GUARD_WELL: the coroutine has failed. Fills in out; the caller calls failure_deinit. */
void failure_note(struct task *t, enum guard_end end, struct failure *out);
void failure_deinit(struct failure *f);
