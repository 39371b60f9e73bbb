/* In: items of sessions, HTTP requests. Out: what the scripts make of them, through core/effects.
 * Why: the one header main.c sees of everything Lua. A VM is one version of the scripts on one worker; it keeps no
 * conversation state, because many run beside each other and reloads replace them.
 * Thread: the worker that made it. Bound: SCRIPT_COROUTINES waiting handlers; beyond it a message is refused (FULL). */
#pragma once
#include "attr.h"
#include "bundle.h"
#include "config.h"
#include "http.h"
#include "quarantine.h"
#include "ratelimit.h"
#include "session.h"
#include "shared.h"
#include "worker.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct vm;

/* What all VMs of the process share; outlives them. */
struct vm_world {
  const struct config *config;
  struct ratelimit *messages, *public_requests;
  struct shared *shared;
  struct quarantine *quarantine; /* NULL: nothing is ever quarantined */
  struct networks *metrics_networks;
  atomic_bool *stopping;   /* the server is not ready any more */
  struct scripts *scripts; /* for chat.scripts; NULL: there is nothing to command */
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

/* Loads every script of the bundle and checks that init.lua gives what the server needs. 0; E_SCRIPT with
 * "scripts/bots/echo.lua:3: …" in why[]; UV_ENOMEM. References the bundle. */
int vm_new(struct worker *w, const struct vm_world *world, struct bundle *bundle, struct vm **out,
           char why[512]) NODISCARD;
/* For the log: how this LuaJIT and these settings let scripts run, "compiled" or "interpreted", and why. */
const char *vm_mode(const struct config *config);
/* From now on calls are counted there; it outlives the VM. */
void vm_count_into(struct vm *vm, struct vm_tally *tally);
/* fn(arg), once, when scripts keep so much that collecting does not help: from a slice's end, on its worker. */
void vm_when_nearly_full(struct vm *vm, void (*fn)(void *arg), void *arg);
bool vm_nearly_full(const struct vm *vm);
/* Whether what has to be ended in it too often is quarantined, for every VM: yes, until it is told that it is not the
 * current version. A canary goes as a whole. */
void vm_quarantines(struct vm *vm, bool yes);
/* Only when vm_idle. */
void vm_free(struct vm *vm);

/* ITEM_CONNECT or ITEM_TEXT of a session this worker owns. Takes the item. */
void vm_item(struct vm *vm, struct session *s, struct item *item);
/* Answered by http_respond, now or later. */
void vm_http(struct vm *vm, struct http_request *req);
/* The inbox of s did not take a message of c. */
void vm_refused(struct vm *vm, struct session *s, struct conn *c, const char *code);

/* No handler waits and nothing a script began is still on its way. */
bool vm_idle(const struct vm *vm);
size_t vm_tasks(const struct vm *vm);
/* Ends every waiting handler; the user it answered is told to try again. */
void vm_cancel(struct vm *vm);
/* Only those that wait for a user's answer: that can take for ever, so a stop does not wait for them. */
void vm_cancel_askers(struct vm *vm);
const char *vm_version(const struct vm *vm);
/* What scripts/init.lua says of the protocol; a heap string, the caller frees; NULL when it says nothing. */
char *vm_describe(struct vm *vm);
/* Calls fn(arg) once the VM has become idle; at once if it is. */
void vm_when_idle(struct vm *vm, void (*fn)(void *arg), void *arg);
