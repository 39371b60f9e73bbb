/* In: what a handler wants while it runs. Out: all of it at once, when the slice has ended well, or nothing.
 * Why: a handler that raises, or is ended, leaves nothing half done; what it sends, appends and counts is collected
 * here first. A slice is what a handler does up to its next wait, or its end. Thread: the VM's own. Bound: what is
 * stored and never flushed is remembered for the last 4096 messages. */
#pragma once
#include "attr.h"
#include "machine.h"

/* The pending effects on s of the running slice; NULL: none yet, or (slice_effects) no memory for them. */
struct effects *slice_pending(const struct task *t, const struct session *s);
struct effects *slice_effects(struct task *t, struct session *s) NODISCARD;
/* None of them takes effect. */
void slice_discard(struct task *t);
/* Takes them into force, without a wait. settled: later, of each that stores something, with the task; it frees e. */
void slice_commit(struct task *t, void (*settled)(struct effects *e, void *task));

/* What was stored, for session:flush, which then forgets it. */
void slice_note_stored(struct task *t, const struct effects *e);
void slice_forget_stored(struct task *t);
