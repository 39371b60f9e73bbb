/* In: chat.store.share, unshare, shared and erase. Out: tokens, and conversations that are gone. Why: each of them
 * names a conversation and its owner, and the store looks whether they belong together. */
#include "lua_store_impl.h"

#include "err.h"
#include "id.h"
#include "known_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct store_op *named_op(const char *id, const char *user, struct store_op *op) {
  if (op) {
    memcpy(op->session.id, id, STORE_ID_LEN + 1);
    op->session.user_id = strdup(user);
  }
  return op;
}

/* session_id and user_id of the table at index 1; false: such an id cannot be there. */
static bool names_field(lua_State *L, enum options which, const char **id, const char **user) {
  luaL_checktype(L, 1, LUA_TTABLE);
  options_check(L, 1, which);
  *id = bind_field(L, 1, "session_id", 1000, NULL);
  *user = bind_field(L, 1, "user_id", 1000, NULL);
  luaL_argcheck(L, *id && *user, 1, "session_id and user_id are needed");
  bind_task(L);
  return id_valid(*id);
}

int store_share(lua_State *L) {
  const char *id, *user;
  if (!names_field(L, OPTIONS_SHARE, &id, &user)) {
    return bind_result(L, E_NOT_FOUND);
  }
  double expires_ms = bind_number(L, 1, "expires_ms", -1, -1, 8640000000000000.0);
  char token[ID_LEN + 1];
  id_new(token);
  struct store_op *op = named_op(id, user, store_op_new(STORE_SHARE));
  if (op) {
    op->session.share_token = strdup(token);
    op->sharing = (struct store_share){.now_ms = (int64_t)worker_wall_ms(bind_vm(L)->worker),
                                       .sets_expiry = expires_ms >= 0,
                                       .expires_ms = expires_ms > 0 ? (int64_t)expires_ms : 0};
  }
  return store_wait_for(L, op, "chat.store.share", store_begin_ask);
}

int store_unshare(lua_State *L) {
  const char *id, *user;
  if (!names_field(L, OPTIONS_UNSHARE, &id, &user)) {
    return bind_result(L, E_NOT_FOUND);
  }
  struct store_op *op = named_op(id, user, store_op_new(STORE_SHARE));
  if (op) {
    op->sharing.revoke = true;
  }
  return store_wait_for(L, op, "chat.store.unshare", store_begin_ask);
}

int store_shared(lua_State *L) {
  const char *token = bind_text(L, 1, 1000);
  bind_task(L);
  if (!id_valid(token)) {
    return bind_result(L, E_NOT_FOUND);
  }
  struct store_op *op = store_op_new(STORE_SHARED);
  if (op) {
    op->session.share_token = strdup(token);
  }
  return store_wait_for(L, op, "chat.store.shared", store_begin_ask);
}

int store_erase(lua_State *L) {
  const char *id, *user;
  char subject[STORE_AUDIT_MAX];
  if (!names_field(L, OPTIONS_ERASE, &id, &user)) {
    return bind_result(L, E_NOT_FOUND);
  }
  const char *actor = bind_field(L, 1, "actor", STORE_AUDIT_MAX, NULL);
  struct vm *vm = bind_vm(L);
  snprintf(subject, sizeof subject, "session %s", id);
  struct store_op *op = named_op(
    id, user,
    store_op_audit(STORE_ERASE, actor ? actor : "script", "erase", subject, (int64_t)worker_wall_ms(vm->worker)));
  if (op) {
    op->soon = true;
  }
  return store_wait_for(L, op, "chat.store.erase", store_begin_ask);
}
