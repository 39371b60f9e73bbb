/* In: nothing. Out: what may be asked of a VM while it lives, and what all VMs of the process share.
 * Why: the versions of the scripts look after VMs without knowing what is in them; everything in this room stands on
 * it. Thread: the VM's own worker, but for vm_tally. */
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
  struct accounts *users; /* for HTTP requests; NULL: no bounds of users */
  struct shared *shared;
  struct quarantine *quarantine; /* NULL: nothing is ever quarantined */
  struct networks *metrics_networks;
  struct token_verifier *verifier; /* of tokens on open connections; NULL: none is taken */
  atomic_bool *stopping;           /* the server is not ready any more */
  struct scripts *scripts;         /* for chat.scripts; NULL: there is nothing to command */
  /* A script failed: one line with file and line, for admins in development. Any worker; may be NULL. */
  void (*script_error)(void *arg, const char *text, const char *version);
  void (*reloading)(void *arg); /* the folder is read anew; the main thread. May be NULL. */
  void *arg;
};

/* What became of the calls of a VM. Written by its worker alone, read by any thread. */
struct vm_tally {
  _Alignas(64) atomic_ullong calls; /* messages, connections, requests that ended */
  atomic_ullong errors, kills;      /* of these; a kill is an error, too */
};

/* From now on calls are counted there; it outlives the VM. */
void vm_count_into(struct vm *vm, struct vm_tally *tally);
/* Whether a route or bot that has to be ended too often in it is quarantined, for every VM: yes, until it is told that
 * it is not the current version. A canary is rolled back as a whole. */
void vm_quarantines(struct vm *vm, bool yes);

const char *vm_version(const struct vm *vm);
/* No handler waits and nothing a script began is still on its way. */
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

/* Calls fn(arg) once, when the VM has become idle; at once if it is. fn may free the VM, so what may lead to that call
 * comes last in whoever does it. */
void vm_when_idle(struct vm *vm, void (*fn)(void *arg), void *arg);
void vm_maybe_idle(struct vm *vm);
/* fn(arg), once, when scripts keep so much that collecting does not help: from a slice's end, on its worker. */
void vm_when_nearly_full(struct vm *vm, void (*fn)(void *arg), void *arg);
bool vm_nearly_full(const struct vm *vm);
/* Between slices: memory is looked after. */
void vm_collect(struct vm *vm);
