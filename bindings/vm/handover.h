/* In: a handler that is cancelled because its version is replaced, in the middle of a message that the store has as
 * open. Out: the message, as an item in front of its conversation's inbox, for the version that is there by then. Why:
 * it was acknowledged, so it is answered: by the new version as by a new server (router.unanswered), where what is cut
 * off a second time has failed and its sender is told. It is read back from the store, which alone knows what became of
 * the handler's last commit. Meanwhile nothing else of the conversation runs. Thread: the VM's own, which stays until
 * that is done. */
#pragma once
#include "attr.h"
#include "machine.h"

/* Before the task ends. false: it is not that far, or there is no memory; then its client has to send it again. */
bool handover_begin(struct task *t) NODISCARD;
