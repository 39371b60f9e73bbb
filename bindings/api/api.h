/* In: nothing. Out: what scripts call, one table a file: chat.session, chat.store, …
 * Why: whoever puts a program together lists them (versions/modules.c); nobody else needs their names. */
#pragma once
#include "bind.h"

extern const struct bind_module bind_session, bind_connection, bind_store, bind_timer, bind_log, bind_metrics,
  bind_config, bind_limit, bind_shared, bind_guard;
