/* In: chat.config calls. Out: the settings in force. Why: scripts are configured like the rest of the server, but
 * must not see secrets. */
#include "api.h"

#include "address.h"
#include "config.h"

#include <string.h>

static int l_config_get(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const struct config *config = bind_vm(L)->world->config;
  int found = config_find(name);
  if (found < 0) {
    return luaL_error(L, "chat.config.get: there is no setting %s", name);
  }
  enum setting s = (enum setting)found;
  if (config_secret(s)) {
    return luaL_error(L, "chat.config.get: %s is secret", name);
  }
  switch (config_type(s)) {
  case SETTING_STRING:
    lua_pushstring(L, config_string(config, s));
    break;
  case SETTING_BOOL:
    lua_pushboolean(L, config_bool(config, s));
    break;
  default:
    lua_pushnumber(L, (double)config_int(config, s));
  }
  return 1;
}

static int l_config_allows(lua_State *L) {
  const char *name = luaL_checkstring(L, 1), *address = luaL_checkstring(L, 2);
  luaL_argcheck(L, strcmp(name, "METRICS_ALLOWED_NETWORKS") == 0, 1, "this is not a list of networks");
  const struct networks *n = bind_vm(L)->world->metrics_networks;
  bool relayed = lua_toboolean(L, 3);
  lua_pushboolean(L, networks_empty(n) || (!relayed && networks_contain(n, address)));
  return 1;
}

static const struct bind_function functions[] = {
  {"get", l_config_get, "name string", "string|number|boolean", false, "A setting: durations in ms, sizes in bytes."},
  {"allows", l_config_allows, "name string, address string, relayed? boolean", "boolean", false,
   "Whether an address is in METRICS_ALLOWED_NETWORKS. One that is only a relay's is not (request.relayed)."},
  {NULL, NULL, NULL, NULL, false, NULL},
};
const struct bind_module bind_config = {"config", "The settings in force.", functions, NULL};
