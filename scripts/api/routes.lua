-- THE HTTP API ON ONE SCREEN, below the path prefix. One line per endpoint: method, path, who handles it, and
--     auth      "user": with a valid token; "admin": with one of an administrator
--     networks  only from addresses of this setting
--     limit     counts against this limiter of the address; the probes have none, or a flood could make a healthy
--               server look ill
--     rate      counts against this limiter of the user
-- A handler is function(request, id) -> response; `:id` matches one part of a path. HEAD is GET without a body.
local admin_scripts = require "api.admin_scripts"
local probes = require "api.probes"
local sessions = require "api.sessions"

return {
  { "GET", "/healthz", probes.healthz },
  { "GET", "/readyz", probes.readyz },
  { "GET", "/metrics/prometheus", probes.metrics, networks = "METRICS_ALLOWED_NETWORKS", limit = "public" },
  { "GET", "/sessions", sessions.list, auth = "user", rate = "reads" },
  { "GET", "/sessions/:id", sessions.show, auth = "user", rate = "reads" },
  { "POST", "/sessions/:id/end", sessions.finish, auth = "user", rate = "ends" },
  { "GET", "/admin/scripts", admin_scripts.show, auth = "admin", rate = "admin" },
  { "POST", "/admin/scripts/reload", admin_scripts.reload, auth = "admin", rate = "admin" },
  { "POST", "/admin/scripts/promote", admin_scripts.promote, auth = "admin", rate = "admin" },
  { "POST", "/admin/scripts/rollback", admin_scripts.rollback, auth = "admin", rate = "admin" },
}
