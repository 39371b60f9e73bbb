/* In: the table of options a script gives to one of our functions. Out: nothing, or an error that names what is none.
 * Why: an option that is misspelt would be ignored, and nobody would find out. One table says what each
 * function knows. Thread: the VM's own. */
#pragma once
#include <lua.h>

/* id, the function as the reference calls it, which of its arguments, what it knows */
#define OPTIONS_ALL(X)                                                                                                 \
  X(ASK, "session:ask", 1, "within")                                                                                   \
  X(SEND, "session:send", 2, "to except event receipt protocol")                                                       \
  X(APPEND, "session:append", 1, "sender type content cid extra open")                                                 \
  X(SET, "session:set", 1, "name model_id assisting_admin_id assisting_admin_name help_requested admin_assisted")      \
  X(SESSIONS, "chat.store.sessions", 1, "user_id limit after")                                                         \
  X(LIST, "chat.store.list", 1, "user_id sort ascending active assisted limit from_ms to_ms offset after")             \
  X(TOTALS, "chat.store.totals", 1, "from_ms to_ms")                                                                   \
  X(HISTORY, "chat.store.history", 1, "session_id limit before_seq bytes")                                             \
  X(MESSAGE, "chat.store.message", 1, "session_id cid")                                                                \
  X(SHARE, "chat.store.share", 1, "session_id user_id expires_ms")                                                     \
  X(UNSHARE, "chat.store.unshare", 1, "session_id user_id")                                                            \
  X(ERASE, "chat.store.erase", 1, "session_id user_id actor")                                                          \
  X(RELOAD, "chat.scripts.reload", 1, "why canary")                                                                    \
  X(PROMOTE, "chat.scripts.promote", 1, "why")                                                                         \
  X(ROLLBACK, "chat.scripts.rollback", 1, "why")

#define OPTIONS_ID(id, function, argument, names) OPTIONS_##id,
enum options { OPTIONS_ALL(OPTIONS_ID) OPTIONS_COUNT };
#undef OPTIONS_ID

/* Of the table at index (positive): raises "session:ask: there is no option withn: did you mean within?" */
void options_check(lua_State *L, int index, enum options which);
