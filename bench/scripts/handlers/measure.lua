-- In: a message with a content. Out: an ai_response with the same content, to everybody in the conversation.
-- Why: what is measured is the way through the server: frame, session, inbox, VM, router, checks, reply. Nothing is
-- stored, because the peers store nothing either.
local envelope = require "lib.envelope"

local measure = {}

local answer = envelope.new("ai_response", "ai", "content")

function measure.measure(session, request)
  session:send(answer(session, request.content))
end

-- What the guard is for.
function measure.spin()
  while true do
  end
end

-- What SCRIPT_LOG_RATE is for.
function measure.noise()
  for i = 1, 200 do
    print(("noise "):rep(100), i)
  end
end

return measure
