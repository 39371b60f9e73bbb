/* In: the folder of scripts, and orders to change what runs. Out: on every worker the VMs of one version, or of two for
 * a while.
 * Why: an order is all or nothing. The files are read once, tried in a process of their own (scripts_trial), then
 * started in new VMs beside the old ones on every worker; only when all have started, the workers swap a pointer. Any
 * error leaves what runs untouched. Handlers of an old version finish on it until SCRIPT_DRAIN_TIMEOUT, then they are
 * cancelled. A canary is a new version that serves only some conversations; the current version serves the others, and
 * all HTTP requests. Thread: the main one, unless stated otherwise. Bound: SCRIPTS_VERSIONS VMs per worker, including
 * one that is being started; SCRIPTS_KEPT earlier versions to roll back to. */
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

/* Reads dir. home: the mailbox of the main thread, for answers of the workers. 0, or a code and one line in why[]. */
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
/* done is called once, on the main thread; ok is true also when nothing had changed. text: one line. One order at a
 * time; another is refused. */
typedef void scripts_done(void *arg, bool ok, const char *text);
void scripts_do(struct scripts *s, const struct scripts_order *order, scripts_done *done, void *arg);
/* A reload for callers that need no outcome. While another order is running it is remembered, once, and done after
 * that. who: a static string. */
void scripts_reload(struct scripts *s, const char *who);

/* How what is new is tried before any worker starts it: in a process of its own. trial is called on the main thread and
 * answers with scripts_tried, once, later. Without one it is tried on the main thread, at once (specs). */
typedef void scripts_trial(void *arg, struct scripts *s);
void scripts_try_with(struct scripts *s, scripts_trial *trial, void *arg);
/* version: what was found in the folder; why: what is wrong with it, one line, or NULL. */
void scripts_tried(struct scripts *s, const char *version, const char *why);

/* Logs the mistakes that a check finds in the current version. At the start: then there is no other version to keep. */
void scripts_warn(const struct scripts *s);

/* Takes a route, a rule or a bot with all its rules out of quarantine; false when it was not in it. who: for the log.
 */
bool scripts_enable(struct scripts *s, const char *name, const char *who);

/* ---- on worker `index` ---- */

int scripts_attach(struct scripts *s, struct worker *w, size_t index, char why[512]) NODISCARD;
/* The current one: it has the HTTP requests. */
struct vm *scripts_vm(struct scripts *s, size_t index);
/* An item of a session this worker owns goes to the version that has the session. Takes the item. */
void scripts_item(struct scripts *s, size_t index, struct session *session, struct item *item);
/* As vm_refused, by the current version; the session may be another worker's. */
void scripts_refused(struct scripts *s, size_t index, struct session *session, struct conn *c, const char *code,
                     const char *cid);
/* A text of c is refused before a script has seen it: what it sends behind it may have to wait. cid: of it, or "". */
void scripts_put_off(struct scripts *s, size_t index, struct conn *c, const char *text, size_t len, int code,
                     uint32_t wait_ms, char cid[STORE_CID_MAX + 1]);
/* Handlers waiting, of all versions. */
size_t scripts_tasks(struct scripts *s, size_t index);
void scripts_cancel(struct scripts *s, size_t index);
/* Those that wait for a user's answer. */
void scripts_cancel_askers(struct scripts *s, size_t index);
/* Cancels what still waits and frees every VM. */
void scripts_detach(struct scripts *s, size_t index);
