-- The conversations of a user (reference, 3.5): list them, read one, end one. Somebody else's is as unknown as one that
-- does not exist.
local access = require "lib.access"
local history = require "lib.history"
local json = require "lib.json"
local response = require "lib.response"

local sessions = {}

local LIST_MAX = 100
local HISTORY_MAX = 1000
local PAGE_BYTES = 4 * 1024 * 1024

local iso = chat.timer.iso

local function summary(record, now)
  local ended = record.end_ms > 0
  local last = record.last_activity_ms > 0 and record.last_activity_ms or record.start_ms
  local admin = record.assisting_admin_name
  return {
    id = record.id,
    user_id = record.user_id,
    name = record.name,
    name_damaged = record.name_damaged,
    last_activity = iso(last),
    message_count = record.top,
    unread = record.top - record.read,
    admin_assisted = record.admin_assisted,
    start_time = iso(record.start_ms),
    end_time = ended and iso(record.end_ms) or nil,
    is_active = not ended,
    duration = math.max(0, math.floor(((ended and record.end_ms or now) - record.start_ms) / 1000)),
    total_tokens = record.total_tokens,
    max_response_time = record.max_response_ms,
    avg_response_time = record.avg_response_ms,
    assisting_admin_name = admin ~= "" and admin or nil,
  }
end

function sessions.list(request)
  local user_id = request.user.id
  local records = chat.store.sessions { user_id = user_id, limit = LIST_MAX }
  if not records then
    return response.unavailable()
  end
  local now, list = chat.timer.now(), json.array {}
  for i, record in ipairs(records) do
    list[i] = summary(record, now)
  end
  return response.json(200, {
    user_id = user_id,
    sessions = list,
    count = #list,
    limit = LIST_MAX,
    truncated = #list == LIST_MAX,
  })
end

-- A whole number from the query; default when it is absent, nil when it is none.
local function number(text, default, low, high)
  if text == nil or text == "" then
    return default
  end
  local value = text:find "^%d+$" and tonumber(text)
  return value and value >= low and value <= high and value or nil
end

-- The conversation, or the response that says why not.
local function find(request, id)
  local session, code = access.read(id, request.user.id)
  if session then
    return session
  end
  return nil, code == "DATABASE_ERROR" and response.unavailable() or response.error(404)
end

--- The last messages; ?before_seq= and ?limit= page back. before_seq in the answer is there when there is more.
function sessions.show(request, id)
  local limit = number(request.query.limit, HISTORY_MAX, 1, HISTORY_MAX)
  local before_seq = number(request.query.before_seq, 0, 1, 2 ^ 53)
  if not limit then
    return response.error(400, "limit must be a whole number from 1 to " .. HISTORY_MAX)
  elseif not before_seq then
    return response.error(400, "before_seq must be a whole number from 1")
  end
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  local name, model_id, name_damaged = session.name, session.model_id, session.name_damaged or nil
  local page = history.page(id, before_seq > 0 and before_seq or nil, limit, PAGE_BYTES)
  if not page then
    return response.unavailable()
  end
  return response.json(200, {
    session_id = id,
    name = name,
    name_damaged = name_damaged,
    model_id = model_id,
    messages = page.messages,
    before_seq = page.before_seq,
  })
end

--- Ends the conversation. Doing it again changes nothing: the first end counts. That it has ended is said when the
--- store has it, also to the second who asks while the first still waits.
function sessions.finish(request, id)
  local session, refusal = find(request, id)
  if not session then
    return refusal
  end
  session:finish()
  if not session:flush() then
    return response.unavailable()
  end
  return response.json(200, { status = "ended" })
end

return sessions
