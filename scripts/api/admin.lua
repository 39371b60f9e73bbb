-- For those who look after all conversations (reference, 3.7): list them, add them up, take one over.
local access = require "lib.access"
local cursor = require "lib.cursor"
local envelope = require "lib.envelope"
local json = require "lib.json"
local query = require "lib.query"
local response = require "lib.response"
local summary = require "lib.summary"
local text = require "lib.text"

local admin = {}

local LIMIT, LIMIT_MAX = 100, 1000
local OFFSET_MAX = 10000
local USER_MAX = 255 -- bytes
local DAY_MS = 24 * 60 * 60 * 1000
local NAME_SHOWN = 100 -- bytes of an administrator's name in a sentence
local WAIT_MS, WAIT_TRIES = 50, 40 -- for another administrator who takes the same one over just now
local HELD = "10s" -- how long that may take

local SORTS = {
  "start_time", "end_time", "message_count", "total_tokens", "user_id", "duration", "last_activity",
}
local KNOWN = {}
for _, name in ipairs(SORTS) do
  KNOWN[name] = true
end

local iso = chat.timer.iso

-- Lists ---------------------------------------------------------------------------------------------------------------

-- The first of these parameters that is there, as a time; false when it is none, nil when it is absent.
local function time(request, last, ...)
  for _, name in ipairs { ... } do
    local given = request.query[name]
    if given and given ~= "" then
      return query.time(given, last) or false
    end
  end
end

-- What was asked for, or nil and the response that says what is wrong with it.
local function filter(request)
  local q = request.query
  local sort = q.sort_by ~= "" and q.sort_by or "start_time"
  local order = q.sort_order ~= "" and q.sort_order or "desc"
  if #(q.user_id or "") > USER_MAX then
    return nil, response.error(400, "user_id exceeds maximum length of " .. USER_MAX .. " characters")
  elseif not KNOWN[sort] then
    local allowed = table.concat(SORTS, ", ")
    return nil, response.error(400, ('invalid sort_by field "%s"; allowed: %s'):format(text.cut(sort, 100), allowed))
  elseif order ~= "asc" and order ~= "desc" then
    return nil, response.error(400, ('invalid sort_order "%s"; allowed: asc, desc'):format(text.cut(order, 100)))
  end
  local from = time(request, false, "start_time_from", "start_time")
  local to = time(request, true, "start_time_to", "end_time")
  if from == false or to == false then
    return nil, response.error(400, "Invalid time format, expected RFC3339")
  end
  local wanted = {
    user_id = q.user_id ~= "" and q.user_id or nil,
    sort = sort,
    ascending = order == "asc",
    from_ms = from,
    to_ms = to,
    limit = query.leading(q.limit) or LIMIT,
    offset = math.max(0, query.leading(q.offset) or 0),
  }
  if q.status == "active" or q.status == "ended" then
    wanted.active = q.status == "active"
  end
  if q.admin_assisted and q.admin_assisted ~= "" then
    wanted.assisted = q.admin_assisted == "true"
  end
  if wanted.limit <= 0 or wanted.limit > LIMIT_MAX then
    wanted.limit = LIMIT
  end
  wanted.order = wanted.sort .. (wanted.ascending and "_asc" or "_desc")
  if wanted.offset > OFFSET_MAX then
    return nil, response.error(400, "offset is at most " .. OFFSET_MAX .. "; go on with cursor")
  end
  if q.cursor and q.cursor ~= "" then
    wanted.after = cursor.read(wanted.order, q.cursor)
    if not wanted.after then
      return nil, response.error(400, "invalid cursor")
    end
  end
  return wanted
end

-- Items, and the word for the next page, or the response that says why not.
local function list(wanted)
  local records, last = chat.store.list(wanted)
  if not records then
    return nil, response.unavailable()
  end
  local now, items = chat.timer.now(), json.array {}
  for i, record in ipairs(records) do
    items[i] = summary(record, now)
  end
  return items, type(last) == "table" and cursor.write(wanted.order, last) or nil
end

local function escape(word)
  return (word:gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- Beside an array: where the next page is, with the same filter.
local function link(request, answer, next_cursor)
  if next_cursor then
    local words = {}
    for name, value in pairs(request.query) do
      if name ~= "cursor" and name ~= "offset" then
        words[#words + 1] = escape(name) .. "=" .. escape(value)
      end
    end
    table.sort(words)
    words[#words + 1] = "cursor=" .. escape(next_cursor)
    answer.headers = { Link = "<?" .. table.concat(words, "&") .. '>; rel="next"' }
  end
  return answer
end

--- All conversations: an array, which is what the reference's page reads; an object, with next_cursor, for who names a
--- limit or an offset.
function admin.sessions(request)
  local wanted, refusal = filter(request)
  if not wanted then
    return refusal
  end
  local items, last = list(wanted)
  if not items then
    return last
  end
  if not request.query.limit and not request.query.offset then
    return link(request, response.json(200, items), last)
  end
  return response.json(200, {
    count = #items,
    limit = wanted.limit,
    offset = wanted.offset,
    sessions = items,
    next_cursor = last,
  })
end

--- Those of one user, likewise.
function admin.user_sessions(request, user_id)
  if #user_id > USER_MAX then
    return response.error(400, "user_id exceeds maximum length of " .. USER_MAX .. " characters")
  end
  request.query.user_id = user_id
  local answer = admin.sessions(request)
  request.query.user_id = nil
  return answer
end

-- Sums ----------------------------------------------------------------------------------------------------------------

--- Of all conversations that began in a time, by default the last day. avg_concurrent: how many of them were going on
--- at once, on average over that time.
function admin.metrics(request)
  local from, to = time(request, false, "start_time"), time(request, true, "end_time")
  if from == false or to == false then
    return response.error(400, "Invalid time format, expected RFC3339")
  end
  to = to or chat.timer.now()
  from = from or to - DAY_MS
  if to < from then
    return response.error(400, "end_time is before start_time")
  end
  local found = chat.store.totals { from_ms = from, to_ms = to }
  if not found then
    return response.unavailable()
  end
  local passed = math.min(to, chat.timer.now()) - from
  local concurrent = passed > 0 and math.floor(found.lasted_ms / passed * 100 + 0.5) / 100 or 0
  return response.json(200, {
    active_sessions = found.active,
    total_sessions = found.sessions,
    total_tokens = found.tokens,
    avg_concurrent = concurrent,
    avg_response_time = found.avg_response_ms,
    max_response_time = found.max_response_ms,
    admin_assisted_count = found.assisted,
    metrics = {
      TotalSessions = found.sessions,
      ActiveSessions = found.active,
      TotalTokens = found.tokens,
      AvgResponseTime = found.avg_response_ms,
      MaxResponseTime = found.max_response_ms,
      AdminAssistedCount = found.assisted,
    },
    time_range = { start = iso(from), ["end"] = iso(to) },
  })
end

-- Taking over ---------------------------------------------------------------------------------------------------------

local joined = envelope.new("admin_join", "admin", "content", "metadata")

-- Of two administrators who want the same one, one is first. true when it is this one's turn.
local function take_turn(key)
  for _ = 1, WAIT_TRIES do
    local holders = chat.shared.add(key, 1, HELD)
    if holders == 1 then
      return true
    elseif not holders then
      return false
    end
    chat.timer.sleep(WAIT_MS)
  end
  return false
end

local function take_over(session, user)
  local by = session.assisting_admin_id
  if session.end_ms ~= 0 then
    return response.error(404)
  elseif by ~= "" and by ~= user.id then
    local why = ("session already assisted by another admin: %s (%s)"):format(session.assisting_admin_name, by)
    return response.json(400, { error = why, message = why, code = "BAD_REQUEST" })
  end
  if by == "" then
    local name = text.cut(user.name, USER_MAX)
    session:set { admin_assisted = true, assisting_admin_id = user.id, assisting_admin_name = name }
    local sentence = "Administrator " .. text.cut(name, NAME_SHOWN) .. " has joined the session"
    session:send(joined(session, sentence, { admin_id = user.id, admin_name = name }))
    if not session:flush() then
      return response.unavailable()
    end
    chat.metrics.count "admin_takeovers"
  end
  return response.json(200, {
    admin_id = user.id,
    message = "Takeover initiated successfully",
    session_id = session.id,
  })
end

--- The conversation is this administrator's, and everybody in it is told. Doing it again changes nothing.
function admin.takeover(request, id)
  local session, code = access.read(id, request.user.id, true)
  if not session then
    return code == "DATABASE_ERROR" and response.unavailable() or response.error(404)
  end
  local key = "takeover:" .. id
  if not take_turn(key) then
    return response.unavailable()
  end
  local answer = take_over(session, request.user)
  chat.shared.delete(key)
  return answer
end

return admin
