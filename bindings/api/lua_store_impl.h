/* In: nothing. Out: what the files of chat.store share. Why: reading (lua_store.c), lists of operators
 * (lua_store_list.c), and sharing and erasing (lua_store_share.c) make operations of the same kind. */
#pragma once
#include "api.h"

/* ---- lua_store_answer.c ---- */
/* Leaves that many values on the stack: nil, code, text when it has failed. */
int store_push_answer(lua_State *L, const struct store_op *op);
int store_push_ready(lua_State *L, bool ready, const char *reason);
int store_push_epoch(lua_State *L, uint64_t epoch);

/* ---- lua_store_ask.c ---- */
/* Takes op, NULL: memory was out; the handler waits for its answer. */
int store_wait_for(lua_State *L, struct store_op *op, const char *what, void (*begin)(struct task *));
void store_begin_ask(struct task *t);
uint32_t store_limit_field(lua_State *L); /* of the table at index 1 */

/* ---- lua_store_list.c ---- */
/* The place in the field "after" of the table at index 1, a record; none: it stays. */
void store_after_field(lua_State *L, struct store_place *after);
int store_list(lua_State *L);
int store_totals(lua_State *L);

/* ---- lua_store_share.c ---- */
int store_share(lua_State *L);
int store_unshare(lua_State *L);
int store_shared(lua_State *L);
int store_erase(lua_State *L);
