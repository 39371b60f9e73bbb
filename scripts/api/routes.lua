-- THE HTTP API ON ONE SCREEN, below the path prefix. One line per endpoint: method, path, who handles it, and
--     auth      "user": with a valid token; "admin": with one of an administrator
--     networks  only from addresses of this setting
--     limit     counts against this limiter of the address; the probes have none, or a flood could make a healthy
--               server look ill
--     rate      counts against this limiter of the user
-- A handler is function(request, id) -> response; `:id` matches one part of a path. HEAD is GET without a body.
local admin = require "api.admin"
local admin_scripts = require "api.admin_scripts"
local probes = require "api.probes"
local sessions = require "api.sessions"

return {
  { "GET", "/healthz", probes.healthz },
  { "GET", "/readyz", probes.readyz },
  { "GET", "/metrics/prometheus", probes.metrics, networks = "METRICS_ALLOWED_NETWORKS", limit = "public" },
  { "GET", "/sessions", sessions.list, auth = "user", rate = "reads" },
  { "GET", "/sessions/:id", sessions.show, auth = "user", rate = "reads" },
  { "PATCH", "/sessions/:id", sessions.rename, auth = "user", rate = "messages" },
  { "DELETE", "/sessions/:id", sessions.delete, auth = "user", rate = "ends" },
  { "POST", "/sessions/:id/end", sessions.finish, auth = "user", rate = "ends" },
  { "POST", "/sessions/:id/share", sessions.share, auth = "user", rate = "messages" },
  { "DELETE", "/sessions/:id/share", sessions.unshare, auth = "user", rate = "messages" },
  { "GET", "/shared/:token", sessions.shared, limit = "public" },
  { "GET", "/admin/sessions", admin.sessions, auth = "admin", rate = "admin_reads" },
  { "GET", "/admin/metrics", admin.metrics, auth = "admin", rate = "admin_reads" },
  { "GET", "/admin/users/:id/sessions", admin.user_sessions, auth = "admin", rate = "admin_reads" },
  { "POST", "/admin/takeover/:id", admin.takeover, auth = "admin", rate = "admin" },
  { "GET", "/admin/scripts", admin_scripts.show, auth = "admin", rate = "admin_reads" },
  { "POST", "/admin/scripts/reload", admin_scripts.reload, auth = "admin", rate = "admin" },
  { "POST", "/admin/scripts/promote", admin_scripts.promote, auth = "admin", rate = "admin" },
  { "POST", "/admin/scripts/rollback", admin_scripts.rollback, auth = "admin", rate = "admin" },
}
