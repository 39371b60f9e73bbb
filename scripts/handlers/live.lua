-- What is true only now and never stored: a connection joins, somebody is typing, a client asks whether we are there.
local access = require "lib.access"
local envelope = require "lib.envelope"
local models = require "handlers.models"

local live = {}

local status = envelope.new("connection_status", "system", "user_id", "models")
local typing = envelope.new("typing_indicator", "user", "content", "metadata")
local pong = envelope.new("pong", "system")

local NONE = { id = "" } -- in place of a session: the client keeps the id it has

--- A connection has joined `session`; it may have asked for another one (?session_id=). What it is told is the
--- conversation it is in, or "" when it asked for one it cannot have: it then finds out with its first message and
--- does not write into a conversation its user does not see.
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
    end
  end
  place:send(status(named, user_id, models.list), { to = connection })
end

function live.typing_indicator(session, request)
  if session.members > 1 then
    session:send(typing(session, request.content, request.metadata), { except = request.connection })
  end
end

function live.ping(session, request)
  session:send(pong(session), { to = request.connection })
end

return live
