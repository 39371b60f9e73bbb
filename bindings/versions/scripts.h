/* In: the folder of scripts, orders to change what runs. Out: on every worker the VMs of one version, for a while of
 * two. Why: an order is all or nothing: the files are read once, tried in a process of their own (scripts_trial), then
 * started in new VMs beside the old ones on every worker, and only when all of them started is a pointer swapped; any
 * error leaves what runs untouched. Handlers of an old version finish on it until SCRIPT_DRAIN_TIMEOUT, then they are
 * cancelled. A canary is a new version that has only some conversations; the current one has the others, and all HTTP
 * requests. Thread: the main thread, but for what says otherwise. Bound: SCRIPTS_VERSIONS VMs per worker, the one that
 * is being started included; SCRIPTS_KEPT earlier versions to go back to. */
#pragma once
#include "attr.h"
#include "history.h"
#include "vm.h"

#include <stdbool.h>
#include <stddef.h>

#define SCRIPTS_VERSIONS 3
#define SCRIPTS_KEPT 4
#define SCRIPTS_WHOLE 10000u /* a share is in hundredths of a per cent */

struct scripts;

/* Reads dir. home: of the main thread, for answers of the workers. 0, or a code and one line in why[]. */
int scripts_new(const struct vm_world *world, const char *dir, size_t workers, struct mailbox *home,
                struct scripts **out, char why[512]) NODISCARD;
void scripts_free(struct scripts *s);
/* Of the current version. */
const char *scripts_version(const struct scripts *s);

/* RELOAD: what is in the folder now. CANARY: the same, for a share of the conversations. PROMOTE: the canary becomes
 * the current version. ROLLBACK: the canary goes; without one, the version before the current one comes back. */
enum scripts_verb { SCRIPTS_RELOAD, SCRIPTS_CANARY, SCRIPTS_PROMOTE, SCRIPTS_ROLLBACK };
struct scripts_order {
  enum scripts_verb verb;
  unsigned share;        /* CANARY: 1..SCRIPTS_WHOLE-1 */
  const char *who, *why; /* copied; for log and history */
};
/* done: once, on the main thread; ok also when nothing had changed. text: one line. One order at a time: a further one
 * is refused. */
typedef void scripts_done(void *arg, bool ok, const char *text);
void scripts_do(struct scripts *s, const struct scripts_order *order, scripts_done *done, void *arg);
/* For those who wait for no outcome. While another order is under way it is remembered, once, for after that. who: a
 * static string. */
void scripts_reload(struct scripts *s, const char *who);

/* How what is new is tried before any worker starts it: in a process of its own. trial is called on the main thread and
 * answers with scripts_tried, once, later. Without one it is tried on the main thread, at once (specs). */
typedef void scripts_trial(void *arg, struct scripts *s);
void scripts_try_with(struct scripts *s, scripts_trial *trial, void *arg);
/* version: what was found in the folder; why: what is wrong with it, one line, or NULL. */
void scripts_tried(struct scripts *s, const char *version, const char *why);

/* Logs what a check finds wrong with the current version: at the start, when there is no other one to go on with. */
void scripts_warn(const struct scripts *s);

/* A route or bot that was in quarantine answers again; false: it was not. who: for the log. */
bool scripts_enable(struct scripts *s, const char *name, const char *who);

/* ---- on worker `index` ---- */

int scripts_attach(struct scripts *s, struct worker *w, size_t index, char why[512]) NODISCARD;
/* The current one: it has the HTTP requests. */
struct vm *scripts_vm(struct scripts *s, size_t index);
/* An item of a session this worker owns goes to the version that has the session. Takes the item. */
void scripts_item(struct scripts *s, size_t index, struct session *session, struct item *item);
/* As vm_refused, by the current version; the session may be another worker's. */
void scripts_refused(struct scripts *s, size_t index, struct session *session, struct conn *c, const char *code);
/* Handlers waiting, of all versions. */
size_t scripts_tasks(struct scripts *s, size_t index);
void scripts_cancel(struct scripts *s, size_t index);
/* Those that wait for a user's answer. */
void scripts_cancel_askers(struct scripts *s, size_t index);
/* Cancels what still waits and frees every VM. */
void scripts_detach(struct scripts *s, size_t index);
