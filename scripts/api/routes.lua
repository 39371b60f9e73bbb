-- THE HTTP API ON ONE SCREEN, below the path prefix. One line per endpoint: method, path, who handles it, and
--     auth      "user": with a valid token; "admin": with one of an administrator
--     networks  only from addresses of this setting
--     limit     counts against this limiter of the address; the probes have none, or a flood could make a healthy
--               server look ill
--     rate      counts against this limiter of the user
--     does      what it is for; asks, gives: the bodies of request and answer (api/schemas; "text": none of those);
--               query: its parameters (below; lib/query says what a spec means), read into request.asked. The
--               description at /openapi.json is made from these
-- A handler is function(request, id) -> response; `:id` matches one part of a path. HEAD is GET without a body.
local admin = require "api.admin"
local admin_scripts = require "api.admin_scripts"
local described = require "api.described"
local probes = require "api.probes"
local sessions = require "api.sessions"

-- stylua: ignore start
local CURSOR = { "cursor", "cursor", "The next_cursor of the page before" }
local OWN = {
  { "q", "text 255", "Only conversations with this in their names, whatever the case" },
  { "limit", "integer 1..100 = 100", "How many at most" },
  CURSOR,
}
local PAGE = {
  { "limit", "integer 1..1000 = 1000", "How many at most" },
  { "before_seq", "integer 1..", "Only messages before this number" },
}
local FROM = { "start_time", "time first", "Only those that began then or later; a time (RFC 3339) or a day" }
local TO = { "end_time", "time last", "Likewise: then or earlier" }
local OF_USER = {
  { "sort_by", "field of start_time end_time message_count total_tokens user_id duration last_activity = start_time",
    "What they are sorted by" },
  { "sort_order", "one of asc desc = desc", "Which way" },
  { "start_time_from", "time first", "As start_time, and comes before it" },
  { "start_time_to", "time last", "As end_time, and comes before it" },
  FROM,
  TO,
  { "status", "any of active ended", "Anything else: all" },
  { "admin_assisted", "flag", "true: only those an administrator took over; anything else: only the others" },
  { "limit", "leading 1..1000 = 100", "How many at most; what is no such number counts as absent" },
  { "offset", "offset 10000", "How many are passed over; a cursor goes on from any place" },
  CURSOR,
}
local LIST = { { "user_id", "text 255 characters", "Only this user's" }, unpack(OF_USER) }
-- stylua: ignore end

-- stylua: ignore
return {
  { "GET", "/healthz", probes.healthz, does = "Whether the process lives", gives = "Health" },
  { "GET", "/readyz", probes.readyz, does = "Whether it may be given work", gives = "Ready" },
  { "GET", "/metrics/prometheus", probes.metrics, networks = "METRICS_ALLOWED_NETWORKS", limit = "public",
    does = "All metrics in the text format of Prometheus", gives = "text" },
  { "GET", "/openapi.json", described.openapi, limit = "public", does = "This description" },
  { "GET", "/asyncapi.json", described.asyncapi, limit = "public", does = "The description of the WebSocket" },
  { "GET", "/sessions", sessions.list, auth = "user", rate = "reads", query = OWN,
    does = "One's own conversations, the newest first", gives = "SessionList" },
  { "GET", "/sessions/:id", sessions.show, auth = "user", rate = "reads", query = PAGE,
    does = "The messages of a conversation; an administrator reads any", gives = "History" },
  { "PATCH", "/sessions/:id", sessions.rename, auth = "user", rate = "messages",
    does = "Gives a conversation another name", asks = "Name", gives = "Renamed" },
  { "DELETE", "/sessions/:id", sessions.delete, auth = "user", rate = "ends",
    does = "Erases a conversation with all its messages", gives = "Status" },
  { "POST", "/sessions/:id/end", sessions.finish, auth = "user", rate = "ends",
    does = "Ends a conversation", gives = "Status" },
  { "POST", "/sessions/:id/share", sessions.share, auth = "user", rate = "messages",
    does = "Gives the token with which anybody can read a conversation", asks = "ShareRequest", gives = "Share" },
  { "DELETE", "/sessions/:id/share", sessions.unshare, auth = "user", rate = "messages",
    does = "Takes that token back", gives = "Status" },
  { "GET", "/shared/:token", sessions.shared, limit = "public", query = PAGE,
    does = "The conversation that has this token", gives = "Shared" },
  { "GET", "/admin/sessions", admin.sessions, auth = "admin", rate = "admin_reads", query = LIST,
    does = "Everybody's conversations: an array, or an object when a limit or an offset is named", gives = "Sessions" },
  { "GET", "/admin/metrics", admin.metrics, auth = "admin", rate = "admin_reads", query = { FROM, TO },
    does = "Sums over the conversations that began in a time, by default the last day", gives = "Metrics" },
  { "GET", "/admin/users/:id/sessions", admin.user_sessions, auth = "admin", rate = "admin_reads", query = OF_USER,
    does = "Those of one user", gives = "Sessions" },
  { "POST", "/admin/takeover/:id", admin.takeover, auth = "admin", rate = "admin",
    does = "Takes a conversation over, and tells everybody in it", gives = "Takeover" },
  { "DELETE", "/admin/takeover/:id", admin.leave, auth = "admin", rate = "admin",
    does = "Leaves a conversation that was taken over, and tells everybody in it", gives = "Status" },
  { "GET", "/admin/scripts", admin_scripts.show, auth = "admin", rate = "admin_reads",
    does = "Which versions of the scripts answer, and how well", gives = "Scripts" },
  { "POST", "/admin/scripts/reload", admin_scripts.reload, auth = "admin", rate = "admin",
    does = "Takes the scripts of the folder", asks = "ScriptOrder", gives = "ScriptOutcome" },
  { "POST", "/admin/scripts/promote", admin_scripts.promote, auth = "admin", rate = "admin",
    does = "Gives the canary all conversations", asks = "ScriptOrder", gives = "ScriptOutcome" },
  { "POST", "/admin/scripts/rollback", admin_scripts.rollback, auth = "admin", rate = "admin",
    does = "Takes the canary, or the current version, back", asks = "ScriptOrder", gives = "ScriptOutcome" },
}
