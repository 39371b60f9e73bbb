/* In: a handler that is cancelled because its version is replaced, in the middle of a message that the store has as
 * open. Out: the message, as an item in front of its conversation's inbox, for the version that is there by then. Why:
 * it was acknowledged, so it is answered: by the new version as by a new server (router.unanswered), where what is cut
 * off a second time has failed and its sender is told. It is read back from the store, which alone knows what became of
 * the handler's last commit. Meanwhile nothing else of the conversation runs. Thread: the VM's own, which stays until
 * that is done. */
#pragma once
#include "attr.h"
#include "machine.h"

/* Tells a client to send its message again. */
typedef void handover_failed(struct vm *vm, struct session *s, struct conn *c, const char *cid);
/* Before the task ends. cid: of its message, or "". failed: later, when the store could not say what it was. false: it
 * is not that far, or there is no memory; then its client has to send it again. */
bool handover_begin(struct task *t, const char cid[STORE_CID_MAX + 1], handover_failed *failed) NODISCARD;
