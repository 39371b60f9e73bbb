/* In: nothing. Out: what may be asked of a VM while it lives, and what all VMs of the process share.
 * Why: the rooms above look after VMs without knowing their inside, and the other files of this room build on it.
 * Thread: the VM's own worker, except for vm_tally. */
#pragma once
#include "bundle.h"
#include "config.h"
#include "limiters.h"
#include "quarantine.h"
#include "session.h"
#include "shared.h"
#include "worker.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct vm;
struct bind_module;

/* What all VMs of the process share; outlives them. */
struct vm_world {
  const struct config *config;
  const struct bind_module *const *modules; /* what scripts call: chat.NAME; ends with NULL */
  struct limiters *limiters;
  struct log_shares *log_shares; /* NULL: scripts log as much as they like */
  struct accounts *users;        /* for HTTP requests; NULL: no bounds of users */
  struct shared *shared;
  struct quarantine *quarantine; /* NULL: nothing is ever quarantined */
  struct networks *metrics_networks;
  struct token_verifier *verifier; /* of tokens on open connections; NULL: none is taken */
  atomic_bool *stopping;           /* the server is not ready any more */
  struct erasure *erasure;         /* of conversations; NULL: they are erased in the store alone */
  struct scripts *scripts;         /* for chat.scripts; NULL: there is nothing to command */
  /* A script failed: one line with file and line, for admins in development. Any worker; may be NULL. */
  void (*script_error)(void *arg, const char *text, const char *version);
  void (*reloading)(void *arg); /* the folder is read anew; the main thread. May be NULL. */
  /* An order for the scripts begins, or is over, whatever came of it; the main thread. May be NULL. */
  void (*ordered)(void *arg, bool begins);
  void *arg;
};

/* Counts the calls of a VM. Written by its worker only, read by any thread. */
struct vm_tally {
  _Alignas(64) atomic_ullong calls; /* messages, connections, requests that ended */
  atomic_ullong errors, kills;      /* of those calls; a kill is an error, too */
};

/* Counts calls there from now on; it outlives the VM. */
void vm_count_into(struct vm *vm, struct vm_tally *tally);
/* Whether a route or rule that is killed too often in this VM goes into quarantine, for every VM. Yes by default; no
 * for a VM that is not the current version. A canary is rolled back as a whole instead. */
void vm_quarantines(struct vm *vm, bool yes);

const char *vm_version(const struct vm *vm);
/* Whether no handler waits and no completion is still to arrive. */
bool vm_idle(const struct vm *vm);
/* Handlers that wait. */
size_t vm_tasks(const struct vm *vm);
size_t vm_memory(const struct vm *vm); /* bytes */
struct vm_waiting {
  const char *session; /* its id; "": an HTTP request */
  const char *what;    /* it waits for: a static string */
  uint64_t since_ms;   /* the worker's clock */
};
/* fn of each handler that waits, the one that waits longest first. */
void vm_each_waiting(const struct vm *vm, void (*fn)(void *arg, const struct vm_waiting *w), void *arg);

/* Calls fn(arg) once, as soon as the VM is idle; at once if it is. fn may free the VM, so a caller of vm_maybe_idle
 * does that last. */
void vm_when_idle(struct vm *vm, void (*fn)(void *arg), void *arg);
void vm_maybe_idle(struct vm *vm);
/* Calls fn(arg) once, when scripts hold so much memory that collecting does not help: at the end of a slice, on its
 * worker. */
void vm_when_nearly_full(struct vm *vm, void (*fn)(void *arg), void *arg);
bool vm_nearly_full(const struct vm *vm);
/* Between slices: collects if needed. */
void vm_collect(struct vm *vm);
