-- THE BODIES OF THE HTTP API: what the answers and requests that api/routes.lua names look like, as JSON Schema. The
-- description at /openapi.json is made from it, and the tests hold every answer they see against it.
local json = require "lib.json"

local schemas = {}

local function object(required, properties, more)
  return {
    type = "object",
    required = #required > 0 and json.array(required) or nil,
    properties = next(properties) and properties or nil,
    additionalProperties = more or false,
  }
end

local function array(of)
  return { type = "array", items = of }
end

local function ref(name)
  return { ["$ref"] = "#/components/schemas/" .. name }
end

local TEXT, WHOLE, FLAG = { type = "string" }, { type = "integer", minimum = 0 }, { type = "boolean" }
local NUMBER = { type = "number", minimum = 0 }
local TIME = { type = "string", format = "date-time" }
local ID = { type = "string", pattern = "^[0-9a-f]{32}$" }

local function word(...)
  return { type = "string", enum = json.array { ... } }
end

schemas.Error = object({ "error" }, {
  error = TEXT,
  code = TEXT,
  message = TEXT,
  retry_after_ms = WHOLE,
})

schemas.Session = object({
  "id", "session_id", "user_id", "name", "last_activity", "message_count", "admin_assisted", "help_requested",
  "start_time", "is_active", "duration", "total_tokens", "max_response_time", "avg_response_time",
}, {
  id = ID,
  session_id = ID,
  user_id = TEXT,
  name = TEXT,
  name_damaged = FLAG,
  last_activity = TIME,
  message_count = WHOLE,
  unread = WHOLE,
  admin_assisted = FLAG,
  help_requested = FLAG,
  start_time = TIME,
  end_time = TIME,
  is_active = FLAG,
  duration = WHOLE,
  total_tokens = WHOLE,
  max_response_time = WHOLE,
  avg_response_time = WHOLE,
  assisting_admin_name = TEXT,
  share_token = ID,
  share_expires_at = TIME,
}, true)

schemas.SessionList = object({ "user_id", "sessions", "count", "limit", "truncated" }, {
  user_id = TEXT,
  sessions = array(ref "Session"),
  count = WHOLE,
  limit = WHOLE,
  truncated = FLAG,
  next_cursor = TEXT,
})

schemas.SessionPage = object({ "sessions", "count", "limit", "offset" }, {
  sessions = array(ref "Session"),
  count = WHOLE,
  limit = WHOLE,
  offset = WHOLE,
  next_cursor = TEXT,
})

schemas.Sessions = { oneOf = json.array { array(ref "Session"), ref "SessionPage" } }

schemas.Message = object({ "id", "seq", "type", "sender", "content", "timestamp" }, {
  id = TEXT,
  seq = { type = "integer", minimum = 1 },
  type = TEXT,
  sender = word("user", "ai", "admin", "system"),
  content = TEXT,
  timestamp = TIME,
  file_id = TEXT,
  file_url = TEXT,
  metadata = { type = "object" },
  damaged = FLAG,
}, true)

schemas.History = object({ "session_id", "name", "model_id", "messages" }, {
  session_id = ID,
  name = TEXT,
  name_damaged = FLAG,
  model_id = TEXT,
  help_requested = FLAG,
  messages = array(ref "Message"),
  before_seq = WHOLE,
}, true)

schemas.Shared = object({ "session_id", "name", "messages" }, {
  session_id = ID,
  name = TEXT,
  messages = array(ref "Message"),
  before_seq = WHOLE,
})

schemas.Status = object({ "status" }, { status = word("ended", "deleted", "revoked", "left") })
schemas.Name = object({ "name" }, { name = { type = "string", minLength = 1, maxLength = 255 } }, true)
schemas.Renamed = object({ "session_id", "name" }, { session_id = ID, name = TEXT })
schemas.ShareRequest = object({}, { expires_in = { type = "integer", minimum = 1 } }, true)
schemas.Share = object({ "share_token" }, { share_token = ID, expires_at = TIME })

schemas.Metrics = object({
  "active_sessions", "total_sessions", "total_tokens", "avg_concurrent", "metrics", "time_range",
}, {
  active_sessions = WHOLE,
  total_sessions = WHOLE,
  total_tokens = WHOLE,
  avg_concurrent = NUMBER,
  avg_response_time = WHOLE,
  max_response_time = WHOLE,
  admin_assisted_count = WHOLE,
  metrics = object({
    "TotalSessions", "ActiveSessions", "TotalTokens", "AvgResponseTime", "MaxResponseTime", "AdminAssistedCount",
  }, {
    TotalSessions = WHOLE,
    ActiveSessions = WHOLE,
    TotalTokens = WHOLE,
    AvgResponseTime = WHOLE,
    MaxResponseTime = WHOLE,
    AdminAssistedCount = WHOLE,
  }),
  time_range = object({ "start", "end" }, { start = TIME, ["end"] = TIME }),
})

schemas.Takeover = object({ "admin_id", "message", "session_id" }, { admin_id = TEXT, message = TEXT, session_id = ID })

schemas.Health = object({ "status", "timestamp" }, { status = word "healthy", timestamp = TIME })
schemas.Ready = object({ "status", "timestamp", "checks" }, {
  status = word("ready", "not ready"),
  timestamp = TIME,
  checks = object({}, {}, object({ "status" }, {
    status = word("ready", "not ready"),
    reason = TEXT,
    providers_count = WHOLE,
  })),
})

schemas.ScriptOrder = object({}, { why = TEXT, canary_percent = NUMBER }, true)
schemas.ScriptOutcome = object({ "outcome" }, { outcome = TEXT })
schemas.Scripts = object({ "versions", "vms", "history", "routes" }, {
  versions = array { type = "object" },
  vms = array { type = "object" },
  history = array { type = "object" },
  routes = { type = "object" },
}, true)

return schemas
