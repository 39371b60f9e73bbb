/* In: items of sessions, HTTP requests. Out: what the scripts make of them, through core/chat/effects.
 * Why: a VM is one version of the scripts on one worker; it keeps no conversation state, because many run beside each
 * other and reloads replace them.
 * Thread: the worker that made it. Bound: SCRIPT_COROUTINES waiting handlers; beyond it a message is refused (FULL). */
#pragma once
#include "attr.h"
#include "http.h"
#include "vm_state.h"

/* Loads every script of the bundle and checks that init.lua gives what the server needs. 0; E_SCRIPT with
 * "scripts/bots/echo.lua:3: …" in why[]; UV_ENOMEM. References the bundle. */
int vm_new(struct worker *w, const struct vm_world *world, struct bundle *bundle, struct vm **out,
           char why[512]) NODISCARD;
/* For the log: how this LuaJIT and these settings let scripts run, "compiled" or "interpreted", and why. */
const char *vm_mode(const struct config *config);
/* Only when vm_idle. */
void vm_free(struct vm *vm);

/* ITEM_CONNECT, ITEM_TEXT or ITEM_UNANSWERED of a session this worker owns. Takes the item. */
void vm_item(struct vm *vm, struct session *s, struct item *item);
/* Answered by http_respond, now or later. */
void vm_http(struct vm *vm, struct http_request *req);
/* The inbox of s did not take a message of c. */
void vm_refused(struct vm *vm, struct session *s, struct conn *c, const char *code);

/* Ends every waiting handler; the user it answered is told to try again. */
void vm_cancel(struct vm *vm);
/* Only those that wait for a user's answer: that can take for ever, so a stop does not wait for them. */
void vm_cancel_askers(struct vm *vm);
/* What scripts/init.lua says of the protocol; a heap string, the caller frees; NULL when it says nothing. */
char *vm_describe(struct vm *vm);
