-- What is true only now and never stored: a connection joins, somebody is typing, a client asks whether we are there.
local access = require "lib.access"
local envelope = require "lib.envelope"
local errors = require "lib.errors"
local models = require "handlers.models"

local live = {}

local status = envelope.new("connection_status", "system", "user_id", "models", "ended")
local typing = envelope.new("typing_indicator", "user", "content", "metadata")
local typing_v2 = envelope.new("typing", "user", "who", "state", "ttl")
local pong = envelope.new("pong", "system")
local refreshed = envelope.new("refreshed", "system", "expires_at")

local NONE = { id = "" } -- in place of a session: the client keeps the id it has

--- A connection has joined `session`; it may have asked for another one (?session_id=). What it is told is the
--- conversation it is in, or "" when it asked for one it cannot have: it then finds out with its first message (router)
--- and does not write into a conversation its user does not see.
function live.connect(session, connection)
  local user_id = session.user_id
  local wanted = chat.connection.wanted(session, connection) or "" -- nil: it has left already
  local place, named = session, session
  if access.is_id(wanted) and wanted ~= session.id then
    local other, code = access.find(wanted, user_id)
    if other and chat.connection.move(session, connection, other) then
      place, named = other, other
    elseif code ~= "UNKNOWN" then
      named = NONE
    else
      chat.connection.move(session, connection, session) -- it stays, and is not asked again
    end
  end
  local ended = named == session and session.end_ms ~= 0 or nil
  place:send(status(named, user_id, models.list, ended), { to = connection })
end

--- The connection goes on in another conversation of its user.
function live.moved(session, connection)
  session:send(status(session, session.user_id, models.list), { to = connection })
end

--- Something was said in a conversation that is new: the user's other devices, left behind in one that has ended, come
--- along and hear it.
function live.gather(session)
  for _, connection in ipairs(chat.connection.gather(session) or {}) do
    live.moved(session, connection)
  end
end

local TYPING_MS = 6000 -- a client that goes on typing says so again before it is over

-- Each client hears it in its own protocol. Protocol 2 says who it is and for how long, so that nobody types for ever
-- who has left without a word; protocol 1 has no word for somebody who has stopped.
local function tell_typing(session, request, state, ttl)
  if session.members > 1 then
    local user, from = request.user, request.connection
    local who = { id = user.id, name = user.name, kind = user.id == session.user_id and "user" or "admin" }
    local word = typing_v2(session, who, state, state == "typing" and ttl or nil)
    session:send(word, { protocol = 2, except = from })
    if state == "typing" then
      session:send(typing(session, request.content, request.sent_metadata), { protocol = 1, except = from })
    end
  end
end

function live.typing_indicator(session, request)
  tell_typing(session, request, "typing", TYPING_MS)
end

function live.typing(session, request)
  tell_typing(session, request, request.state or "typing", request.ttl or TYPING_MS)
end

-- What the client is told when its new token is not taken. It keeps the one it has.
local REFUSED = {
  EXPIRED = { "EXPIRED_TOKEN" },
  FORBIDDEN = { "INVALID_TOKEN", "This token is another user's; the connection keeps the one it has" },
  LIMITED = { "TOO_MANY_REQUESTS" },
}

--- A new token, sent before the old one ends: the connection goes on, with the name and the roles that it states.
function live.refresh(session, request)
  local connection = request.connection
  local ok, expires_ms, code, wait_ms = chat.connection.refresh(session, connection, request.token)
  if ok then
    local expires_at = expires_ms and chat.timer.iso(expires_ms)
    session:send(refreshed(session, expires_at), { to = connection })
  elseif code ~= "GONE" then
    local known = REFUSED[code] or { "INVALID_TOKEN" }
    errors.send(session, connection, known[1], known[2], wait_ms and { retry_after = wait_ms }, request.cid)
  end
end

function live.ping(session, request)
  session:send(pong(session), { to = request.connection })
end

return live
