/* In: nothing. Out: the functions of chat.session that have files of their own, for lua_session*.c only. Why: reading
 * (lua_session.c), changing (lua_session_change.c) and waiting (lua_session_wait.c) follow different rules; the table
 * that describes them all is in lua_session.c. */
#pragma once
#ifndef ROOM_API
#error "lua_session_impl.h is private to bindings/api"
#endif

#include "api.h"

#define TEXT_FIELD_MAX 1000 /* bytes of a name and the like */

int l_session_set(lua_State *L);
int l_session_add_tokens(lua_State *L);
int l_session_add_response_time(lua_State *L);
int l_session_attempt(lua_State *L);
int l_session_answered(lua_State *L);
int l_session_mark(lua_State *L);
int l_session_close(lua_State *L);
int l_session_append(lua_State *L);
int l_session_send(lua_State *L);

int l_session_commit(lua_State *L);
int l_session_flush(lua_State *L);
int l_session_ask(lua_State *L);
int l_session_offer(lua_State *L);
int l_session_keep(lua_State *L);
int l_session_fresh(lua_State *L);
int l_session_open(lua_State *L);
int l_session_current(lua_State *L);
