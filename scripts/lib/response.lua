-- In: what an endpoint has to say. Out: the response in the form the server takes.
-- Why: the bodies of errors are the contract of reference section 3.3; they stand here once.
local json = require "lib.json"

local response = {}

local RETRY_AFTER_S = "2"

local CODES = {
  [400] = { code = "BAD_REQUEST", error = "Bad request" },
  [403] = { code = "FORBIDDEN", error = "Insufficient permissions" },
  [404] = { code = "NOT_FOUND", error = "Session not found" },
  [500] = { code = "INTERNAL_ERROR", error = "An internal error occurred" },
}

---@param status integer
---@param body table
---@return table
function response.json(status, body)
  return { status = status, body = json.encode(body) }
end

---@param status integer
---@param body string
---@param type? string
---@return table
function response.text(status, body, type)
  return { status = status, body = body, type = type or "text/plain; charset=utf-8" }
end

--- An error of reference 3.3; text and code replace those of the status (401 has two, so it needs both).
---@param status integer
---@param text? string
---@param code? string
---@return table
function response.error(status, text, code)
  local known = CODES[status] or {}
  return response.json(status, { error = text or known.error, code = code or known.code })
end

--- The store does not answer, or could not do it: that passes, so the client may try again.
---@return table
function response.unavailable()
  local answer = response.json(503, { error = "Database operation failed", code = "DATABASE_ERROR" })
  answer.headers = { ["Retry-After"] = RETRY_AFTER_S }
  return answer
end

--- To another spelling of the same path; relative to what was asked for, so it is right behind any proxy.
---@param status integer
---@param location string
---@return table
function response.redirect(status, location)
  local answer = response.text(status, "")
  answer.headers = { Location = location }
  return answer
end

---@param retry_after_ms integer
---@param told boolean? the body says it to the millisecond, too
---@return table
function response.too_many(retry_after_ms, told)
  local answer = response.json(429, {
    error = "rate_limit_exceeded",
    message = "Too many requests. Please try again later.",
    retry_after_ms = told and math.max(1, math.ceil(retry_after_ms)) or nil,
  })
  answer.headers = { ["Retry-After"] = ("%d"):format(math.max(1, math.ceil(retry_after_ms / 1000))) }
  return answer
end

return response
