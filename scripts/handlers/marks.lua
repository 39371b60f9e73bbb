-- How far its user has got in a conversation: what the devices have received, and what has been read. Both only grow,
-- so a mark that comes late, or twice, does no harm; every device sees where the others are, and what is still unread.
local access = require "lib.access"
local envelope = require "lib.envelope"
local errors = require "lib.errors"

local marks = {}

local marked = envelope.new("mark", "user", "cid", "received", "read", "unread")

local MISSING = "Message validation failed: received or read is required"
local BEYOND = "Message validation failed: %s must be at most %.0f, the last seq"

-- What is wrong with it, if anything.
local function wrong(request, top)
  if not (request.received or request.read) then
    return MISSING
  end
  for _, name in ipairs { "received", "read" } do
    if (request[name] or 0) > top then
      return BEYOND:format(name, top)
    end
  end
end

-- The conversation the mark is for: also one of the user's own that its connection is not in, which stays where it is.
local function find(session, request)
  local id = request.session_id
  if not id or id == "" or id == session.id or not access.is_id(id) then
    return session
  end
  local ok, _, _, retry_after_ms = chat.limit.take("reads", session.user_id)
  if not ok then
    return nil, "TOO_MANY_REQUESTS", { retry_after = retry_after_ms }
  end
  local other, code = access.read(id, session.user_id)
  return other, code == "UNKNOWN" and "NOT_FOUND" or code
end

function marks.mark(session, request)
  local connection = request.connection
  local place, code, more = find(session, request)
  if not place then
    return errors.send(session, connection, code, nil, more, request.cid, request.session_id)
  end
  local top = place.top
  local why = wrong(request, top)
  if why then
    return errors.send(session, connection, "INVALID_FORMAT", why, nil, request.cid, place.id)
  end
  local read = math.max(request.read or 0, place.read)
  local received = math.max(request.received or 0, read, place.received)
  local news = read > place.read or received > place.received
  if news then
    place:mark(received, read)
    place:send(marked(place, nil, received, read, top - read), { except = connection })
  end
  if news or request.cid then
    place:send(marked(place, request.cid, received, read, top - read), { to = connection })
  end
end

return marks
