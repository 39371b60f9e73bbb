-- THE HTTP API ON ONE SCREEN, below the path prefix. One line per endpoint: method, path, who handles it, and
--     auth      "user": with a valid token; "admin": with one of an administrator
--     networks  only from addresses of this setting
--     limit     counts against this limiter of the address
-- A handler is function(request, id) -> response; `:id` matches one part of a path. HEAD is GET without a body.
local admin_scripts = require "api.admin_scripts"
local probes = require "api.probes"
local sessions = require "api.sessions"

return {
  { "GET", "/healthz", probes.healthz, limit = "public" },
  { "GET", "/readyz", probes.readyz, limit = "public" },
  { "GET", "/metrics/prometheus", probes.metrics, networks = "METRICS_ALLOWED_NETWORKS", limit = "public" },
  { "GET", "/sessions", sessions.list, auth = "user" },
  { "GET", "/sessions/:id", sessions.show, auth = "user" },
  { "POST", "/sessions/:id/end", sessions.finish, auth = "user" },
  { "GET", "/admin/scripts", admin_scripts.show, auth = "admin" },
  { "POST", "/admin/scripts/reload", admin_scripts.reload, auth = "admin" },
  { "POST", "/admin/scripts/promote", admin_scripts.promote, auth = "admin" },
  { "POST", "/admin/scripts/rollback", admin_scripts.rollback, auth = "admin" },
}
