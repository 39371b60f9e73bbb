-- A client says hello, and with it how far it had got: it is told where it is, then what it missed, then what happens
-- from now on, all in order and nothing twice. Its place is fixed before anything is read (chat.connection.catch_up),
-- or what happens meanwhile would be lost, or overtake what was missed. All of what was missed or nothing: where the
-- numbers are not the same any more (epoch), where a number is not ours, or where it is too much, `recovered` is false
-- and the client reads the conversation anew.
local access = require "lib.access"
local envelope = require "lib.envelope"
local errors = require "lib.errors"
local history = require "lib.history"

local hello = {}

local REPLAY_LIMIT = chat.config.get "REPLAY_LIMIT"
local PING_S = math.ceil(chat.config.get "WS_PING_PERIOD" / 1000)
local TRY_LATER = 1013
local VERSION = 2 -- of the protocol

local welcome = envelope.new("welcome", "system",
  "v", "connection_id", "user_id", "epoch", "top", "recovered", "replayed", "received", "read",
  "unread", "ended", "ping_s", "now", "cid")

-- It comes back, and asks again.
local function turn_away(session, request)
  errors.send(session, request.connection, "DATABASE_ERROR", nil, nil, request.cid)
  chat.connection.close(session, request.connection, TRY_LATER, "the store does not answer")
end

-- To the conversation the client was in, with the message: it is dealt with there.
local function follow(session, request, other)
  local connection = request.connection
  if not chat.connection.move(session, connection, other) then
    errors.send(session, connection, "SERVICE_ERROR", "Failed to establish session connection", nil, request.cid)
  elseif not chat.connection.forward(session, connection, other, request.raw) then
    errors.send(session, connection, "SERVICE_ERROR", "Server busy — please retry", nil, request.cid)
  end
end

-- The events of the conversation behind the place the client names; nil: it has to read everything anew.
local function missed(session, place, epoch, top)
  if place and place.session_id == session.id and place.epoch == epoch then
    return history.events(session.id, place.seq, top, REPLAY_LIMIT)
  end
end

local function greet(session, request, place)
  local connection = request.connection
  local epoch = chat.store.epoch()
  if not epoch then
    return turn_away(session, request)
  end
  if not chat.connection.catch_up(session, connection) then
    return errors.send(session, connection, "SERVICE_ERROR", "Server busy — please retry", nil, request.cid)
  end
  local top = session.top
  local events, code = missed(session, place, epoch, top)
  if code then
    return turn_away(session, request)
  end
  local ended = session.end_ms ~= 0 or nil
  local count, now = events and #events or 0, envelope.timestamp()
  local greeting = welcome(
    session, VERSION, tostring(connection), session.user_id, epoch, top, events ~= nil, count, session.received,
    session.read, top - session.read, ended, PING_S, now, request.cid
  )
  session:send(greeting, { to = connection })
  for i = 1, count do
    session:send(events[i], { to = connection })
  end
  chat.connection.caught_up(session, connection, top)
end

function hello.hello(session, request)
  chat.connection.replaceable(session, request.connection) -- a client of protocol 1 would only come back at once
  local place = request.resume
  if place and place.session_id and place.session_id ~= session.id then
    local other, code = access.read(place.session_id, session.user_id)
    if other then
      return follow(session, request, other)
    elseif code == "DATABASE_ERROR" then
      return turn_away(session, request)
    elseif code == "UNAUTHORIZED" then
      errors.send(session, request.connection, code, nil, nil, request.cid, place.session_id)
    end
    place = nil
  end
  greet(session, request, place)
end

return hello
