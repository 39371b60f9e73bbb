/* In: the folder of scripts, requests to reload. Out: on every worker one current VM, all of one version.
 * Why: a reload is all or nothing: the files are read once, started in new VMs beside the old ones on every worker, and
 * only when all of them started is the pointer swapped; any error leaves what runs untouched. Handlers of the old
 * version finish on it until SCRIPT_DRAIN_TIMEOUT, then they are cancelled.
 * Thread: the main thread, but for what says otherwise. Bound: two versions beside the new one per worker. */
#pragma once
#include "attr.h"
#include "vm.h"

#include <stdbool.h>
#include <stddef.h>

struct scripts;

/* Reads dir. home: of the main thread, for answers of the workers. 0, or a code and one line in why[]. */
int scripts_new(const struct vm_world *world, const char *dir, size_t workers, struct mailbox *home,
                struct scripts **out, char why[512]) NODISCARD;
void scripts_free(struct scripts *s);
const char *scripts_version(const struct scripts *s);

/* done: once, on the main thread; ok also when nothing had changed. text is one line. cause: for the log. */
void scripts_reload(struct scripts *s, const char *cause, void (*done)(void *arg, bool ok, const char *text),
                    void *arg);

/* ---- on worker `index` ---- */

int scripts_attach(struct scripts *s, struct worker *w, size_t index, char why[512]) NODISCARD;
struct vm *scripts_vm(struct scripts *s, size_t index);
/* Handlers waiting, of all versions. */
size_t scripts_tasks(struct scripts *s, size_t index);
void scripts_cancel(struct scripts *s, size_t index);
/* Those that wait for a user's answer. */
void scripts_cancel_askers(struct scripts *s, size_t index);
/* Cancels what still waits and frees every VM. */
void scripts_detach(struct scripts *s, size_t index);
