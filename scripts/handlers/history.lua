-- A client asks for what was said before, here or in a conversation of its user that has ended. It goes to that client
-- alone, a page at a time.
local envelope = require "lib.envelope"
local errors = require "lib.errors"
local history = require "lib.history"

local handler = {}

local DEFAULT_LIMIT = 50
local PAGE_BYTES = 256 * 1024 -- well under the outbox of a connection

local page_of = envelope.new("history", "system", "messages", "before_seq")

function handler.history(session, request)
  local place = request.place or session -- one of the user's own that has ended can be read, too
  local page = history.page(place.id, request.before_seq, request.limit or DEFAULT_LIMIT, PAGE_BYTES)
  if not page then
    return errors.send(session, request.connection, "DATABASE_ERROR")
  end
  session:send(page_of(place, page.messages, page.before_seq), { to = request.connection })
end

return handler
