/* In: items of sessions, HTTP requests. Out: what the scripts do with them, as effects (core/chat/effects.h) and
 * responses.
 * Why: a VM is one version of the scripts on one worker. It keeps no state of conversations, because several run side
 * by side and reloads replace them.
 * Thread: the worker that made it. Bound: SCRIPT_COROUTINES waiting handlers; beyond that a message is refused
 * (FULL). */
#pragma once
#include "attr.h"
#include "http.h"
#include "vm_state.h"

/* Loads every script of the bundle and checks that init.lua returns what the server needs. 0; E_SCRIPT with
 * "scripts/bots/echo.lua:3: …" in why[]; UV_ENOMEM. References the bundle. */
int vm_new(struct worker *w, const struct vm_world *world, struct bundle *bundle, struct vm **out,
           char why[512]) NODISCARD;
/* For the log: whether scripts run "compiled" or "interpreted" with this LuaJIT and these settings, and why. */
const char *vm_mode(const struct config *config);
/* Only when vm_idle. */
void vm_free(struct vm *vm);

/* ITEM_CONNECT, ITEM_TEXT, ITEM_REFUSED or ITEM_UNANSWERED of a session this worker owns. Takes the item. */
void vm_item(struct vm *vm, struct session *s, struct item *item);
/* Answered by http_respond, now or later. */
void vm_http(struct vm *vm, struct http_request *req);
/* The inbox of s was full and refused a message of c. cid: of it, or "". */
void vm_refused(struct vm *vm, struct session *s, struct conn *c, const char *code, const char *cid);

/* Of a message of text that nobody has decoded: cid, or ""; and what others wait for, if it would have been stored. */
struct conn_refusal vm_refusal(const struct vm *vm, const char *text, size_t len, int code, uint32_t wait_ms,
                               char cid[STORE_CID_MAX + 1]);

/* Cancels every waiting handler; its user is told to try again. */
void vm_cancel(struct vm *vm);
/* The same when another VM has its conversations from now on: what is acknowledged is answered there (handover.h). */
void vm_replace(struct vm *vm);
/* Cancels only those that wait for an answer of the user: that can take for ever, so a stop does not wait for them. */
void vm_cancel_askers(struct vm *vm);
/* The description of the protocol by scripts/init.lua, in the form it calls `which`: a heap string the caller frees;
 * NULL when there is none. */
char *vm_describe(struct vm *vm, const char *which);
