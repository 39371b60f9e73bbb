-- In: a code and what is special about this case. Out: an error on the connection of the one who caused it.
-- Why: every code a client can meet stands here with its text (reference, section 2). An error goes to nobody else and
-- never carries a traceback.
local envelope = require "lib.envelope"

local errors = {}

local CODES = {
  -- what the client sent
  INVALID_FORMAT = { "Invalid message format", recoverable = true },
  MISSING_FIELD = { "Required field missing", recoverable = true },
  NOT_FOUND = { "Session not found", recoverable = true },
  INVALID_FILE_TYPE = { "Invalid file type", recoverable = true },
  INVALID_FILE_SIZE = { "File size exceeds maximum", recoverable = true },
  -- who it is
  UNAUTHORIZED = { "You do not have permission to access this session", recoverable = true },
  INVALID_TOKEN = { "Invalid authentication token", recoverable = false },
  EXPIRED_TOKEN = { "Authentication token has expired", recoverable = false },
  INSUFFICIENT_PERMISSIONS = { "Insufficient permissions for this operation", recoverable = false },
  -- how often
  TOO_MANY_REQUESTS = { "Too many requests, please slow down", recoverable = true },
  CONNECTION_LIMIT_EXCEEDED = { "Connection limit exceeded, please try again later", recoverable = true },
  -- what went wrong here
  SERVICE_ERROR = { "An unexpected error occurred", recoverable = true },
  DATABASE_ERROR = { "Database operation failed", recoverable = true },
  STORAGE_ERROR = { "File storage operation failed", recoverable = true },
  LLM_UNAVAILABLE = { "AI service is temporarily unavailable", recoverable = true },
  LLM_TIMEOUT = { "AI service request timed out", recoverable = true },
  INTERNAL = { "An unexpected error occurred", recoverable = true },
}

--- Read only: every code with its text.
errors.codes = CODES

local document = envelope.new("error", "ai", "error", "cid")

--- Tells one connection what went wrong; without one, everybody in the conversation.
---@param session table
---@param connection any?
---@param code string one of the codes above
---@param message? string in place of the code's own text
---@param more? { retry_after: integer?, incident: string?, detail: string? } further fields of the error
---@param cid? string of the message it is about
---@param asked? string the id of the conversation it is about, when it is not this one: the client keeps its id
function errors.send(session, connection, code, message, more, cid, asked)
  local known = CODES[code] or error("unknown error code " .. tostring(code), 2)
  local body = more or {}
  body.code, body.message, body.recoverable = code, message or known[1], known.recoverable
  chat.metrics.count "message_errors"
  session:send(document(asked and { id = asked } or session, body, cid), connection and { to = connection })
end

-- Why the server could not take a message, or could not store what its handler wanted.
local REFUSALS = {
  FULL = { "SERVICE_ERROR", "Server busy — please retry" },
  LIMITED = { "TOO_MANY_REQUESTS" },
  STORE = { "DATABASE_ERROR" },
  CANCELLED = { "SERVICE_ERROR", "The server was updated — please send that again" },
}

--- Tells one connection that a message of it was refused and can be sent again.
---@param session table
---@param connection any?
---@param why string FULL, LIMITED, STORE or CANCELLED
---@param retry_after_ms? number
---@param cid? string of the message
function errors.refused(session, connection, why, retry_after_ms, cid)
  local refusal = REFUSALS[why] or { "SERVICE_ERROR" }
  local wait = retry_after_ms and retry_after_ms > 0 and retry_after_ms or nil
  errors.send(session, connection, refusal[1], refusal[2], { retry_after = wait }, cid)
end

return errors
