-- A client asks for what was said before. It goes to that client alone, a page at a time.
local envelope = require "lib.envelope"
local errors = require "lib.errors"
local history = require "lib.history"

local handler = {}

local DEFAULT_LIMIT = 50
local PAGE_BYTES = 256 * 1024 -- well under the outbox of a connection

local page_of = envelope.new("history", "system", "messages", "before_seq")

function handler.history(session, request)
  local page = history.page(session.id, request.before_seq, request.limit or DEFAULT_LIMIT, PAGE_BYTES)
  if not page then
    return errors.send(session, request.connection, "DATABASE_ERROR")
  end
  session:send(page_of(session, page.messages, page.before_seq), { to = request.connection })
end

return handler
