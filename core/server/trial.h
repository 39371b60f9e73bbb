/* In: scripts that nobody has run yet. Out: whether they load, and what `chatbox check` says of them if not.
 * Why: a script that hangs in C, or brings a process down, may do that while it loads; so what is new is first tried in
 * a process of its own, which is this program's `check` with the same settings. What it finds is what anybody else
 * finds with that command. The main thread goes on meanwhile: signals, control socket, watchdog.
 * Thread: main. Bound: one at a time; SCRIPT_CHECK_TIMEOUT, behind which the process is killed. */
#pragma once
#ifndef ROOM_SERVER
#error "trial.h is private to core/server"
#endif

#include "attr.h"
#include "config.h"
#include "scripts.h"

struct trial;
struct uv_loop_s;

struct trial *trial_new(struct uv_loop_s *loop, const struct config *c) NODISCARD;
/* After the loop has closed its handles. */
void trial_free(struct trial *t); /* NULL is allowed */
/* As scripts_trial; arg: the trial. */
void trial_begin(void *arg, struct scripts *s);
/* The stop begins: a trial that is under way is over, and its order is refused. */
void trial_stop(struct trial *t);
