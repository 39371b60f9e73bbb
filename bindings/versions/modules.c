/* In: the tables of the functions that scripts call. Out: all of them. Why: see modules.h. */
#include "modules.h"

#include "api.h"
#include "scripts_impl.h"

const struct bind_module *const bind_modules[] = {
  &bind_session, &bind_connection, &bind_store,  &bind_timer, &bind_log,     &bind_metrics,
  &bind_config,  &bind_limit,      &bind_shared, &bind_guard, &bind_scripts, NULL,
};
