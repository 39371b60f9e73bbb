/* In: what a handler wants to change while it runs. Out: all of it at once when the slice ends well, or nothing.
 * Why: a handler that raises an error or is killed leaves nothing half done, so what it sends, appends and counts is
 * collected here first. A slice is what a handler does up to its next wait, or to its end.
 * Thread: the VM's own. Bound: of what is stored and never flushed, the last 4096 messages are remembered. */
#pragma once
#include "attr.h"
#include "machine.h"

/* The pending effects of the running slice on s; NULL when there are none. slice_effects creates them; NULL when
 * memory is out. */
struct effects *slice_pending(const struct task *t, const struct session *s);
struct effects *slice_effects(struct task *t, struct session *s) NODISCARD;
/* What the slice has done so far to its own conversation is stored, and goes out, even if the handler fails; together
 * with what follows, before anything else takes effect or is waited for. 0, UV_ENOMEM. */
int slice_keep(struct task *t) NODISCARD;
/* Something that is kept has not been stored yet. */
bool slice_unsettled(const struct task *t);
/* The handler has failed: takes what is kept into force, as slice_commit, and drops all else. */
void slice_fail(struct task *t, void (*settled)(struct effects *e, void *task));
/* Drops them all. */
void slice_discard(struct task *t);
/* Takes them into force, without a wait. settled: later, of each that stores something, with the task; it frees e.
 * last: nothing more comes, so what it deals with is dealt with. */
void slice_commit(struct task *t, bool last, void (*settled)(struct effects *e, void *task));

/* The message of its conversation that it deals with, which is stored as open until its last slice. take: stored: the
 * store has it already. */
void slice_take_errand(struct task *t, const char *id, bool stored);
/* It stays open; whoever comes with it again, or loads it, deals with it. */
void slice_forget_errand(struct task *t);
/* It is dealt with, although no slice says so: its people have been told that it failed. */
void slice_end_errand(struct task *t);

/* What was stored, for session:flush, which then forgets it. */
void slice_note_stored(struct task *t, struct effects *e);
void slice_forget_stored(struct task *t);
/* For the client whose message it was; its handler may be over. */
void slice_note_client(const struct effects *e, uint64_t now_ms);
/* The next message of the conversation may run, if it had to wait for e. */
void slice_give_turn(struct vm *vm, const struct effects *e);
