-- For those who look after all conversations (reference, 3.7): list them, add them up, take one over, leave it again.
local access = require "lib.access"
local cursor = require "lib.cursor"
local envelope = require "lib.envelope"
local json = require "lib.json"
local response = require "lib.response"
local summary = require "lib.summary"
local text = require "lib.text"

local admin = {}

local USER_MAX = 255 -- bytes
local DAY_MS = 24 * 60 * 60 * 1000
local NAME_SHOWN = 100 -- bytes of an administrator's name in a sentence
local WAIT_MS, WAIT_TRIES = 50, 40 -- for another administrator who takes the same one over just now
local HELD = "10s" -- how long that may take

local iso = chat.timer.iso

-- Lists ---------------------------------------------------------------------------------------------------------------

local function order_of(wanted)
  return wanted.sort .. (wanted.ascending and "_asc" or "_desc")
end

-- What was asked for, or nil and the response that says what is wrong with it. What a URL may say is declared in
-- api/routes.
local function filter(asked)
  local wanted = {
    user_id = asked.user_id,
    sort = asked.sort_by,
    ascending = asked.sort_order == "asc",
    assisted = asked.admin_assisted,
    from_ms = asked.start_time_from or asked.start_time,
    to_ms = asked.start_time_to or asked.end_time,
    limit = asked.limit,
    offset = asked.offset,
  }
  if asked.status then
    wanted.active = asked.status == "active"
  end
  if asked.cursor then
    wanted.after = cursor.read(order_of(wanted), asked.cursor)
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
  return items, type(last) == "table" and cursor.write(order_of(wanted), last) or nil
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
  local wanted, refusal = filter(request.asked)
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
  request.asked.user_id = user_id
  return admin.sessions(request)
end

-- Sums ----------------------------------------------------------------------------------------------------------------

--- Of all conversations that began in a time, by default the last day. avg_concurrent: how many of them were going on
--- at once, on average over that time.
function admin.metrics(request)
  local to = request.asked.end_time or chat.timer.now()
  local from = request.asked.start_time or to - DAY_MS
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
local left = envelope.new("admin_leave", "admin", "content", "metadata")

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

-- The refusal, when another administrator has it.
local function of_another(session, user)
  local by = session.assisting_admin_id
  if by ~= "" and by ~= user.id then
    local why = ("session already assisted by another admin: %s (%s)"):format(session.assisting_admin_name, by)
    return response.json(400, { error = why, message = why, code = "BAD_REQUEST" })
  end
end

local function tell(session, document, what, id, name)
  local sentence = ("Administrator %s has %s the session"):format(text.cut(name, NAME_SHOWN), what)
  session:send(document(session, sentence, { admin_id = id, admin_name = name }))
end

local function take_over(session, user)
  local by = session.assisting_admin_id
  if session.end_ms ~= 0 then
    return response.error(404)
  end
  local refusal = of_another(session, user)
  if refusal then
    return refusal
  end
  if by == "" then
    local name = text.cut(user.name, USER_MAX)
    session:set { admin_assisted = true, assisting_admin_id = user.id, assisting_admin_name = name }
    tell(session, joined, "joined", user.id, name)
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

-- It stays one that somebody has helped in (admin_assisted).
local function leave(session, user)
  local refusal = of_another(session, user)
  if refusal then
    return refusal
  end
  if session.assisting_admin_id ~= "" then
    local name = session.assisting_admin_name
    session:set { assisting_admin_id = "", assisting_admin_name = "" }
    tell(session, left, "left", user.id, name)
    if not session:flush() then
      return response.unavailable()
    end
  end
  return response.json(200, { status = "left" })
end

-- One administrator after the other.
local function in_turn(request, id, change)
  local session, code = access.read(id, request.user.id, true)
  if not session then
    return code == "DATABASE_ERROR" and response.unavailable() or response.error(404)
  end
  local key = "takeover:" .. id
  if not take_turn(key) then
    return response.unavailable()
  end
  local answer = change(session, request.user)
  chat.shared.delete(key)
  return answer
end

--- The conversation is this administrator's, and everybody in it is told. Doing it again changes nothing.
function admin.takeover(request, id)
  return in_turn(request, id, take_over)
end

--- It is nobody's again, and everybody in it is told: another may take it over. Doing it again changes nothing.
function admin.leave(request, id)
  return in_turn(request, id, leave)
end

return admin
