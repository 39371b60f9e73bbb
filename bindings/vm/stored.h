/* In: what scripts/init.lua says is stored; a message that is refused before they have seen it. Out: whether what its
 * client sends behind it has to wait (core/chat/conn_turn.c).
 * Why: what is refused was not decoded, and only scripts know which types of messages become part of a conversation.
 * Thread: the VM's own. Bound: STORED_TYPES names. */
#pragma once
#include "attr.h"
#include "machine.h"

#define STORED_TYPES 64

/* Reads "stored" of the table on top of the stack: { type = true, … }, or nothing. 0; E_SCRIPT and why; UV_ENOMEM. */
int stored_take(struct vm *vm, char why[512]) NODISCARD;
void stored_free(struct vm *vm);
