-- What every conversation can do besides what the server gives it: session:reply.
local envelope = require "lib.envelope"

local BYTES_PER_TOKEN = 4 -- an estimate, as long as nobody counts for us

local answer = envelope.new("ai_response", "ai", "content")
local now = chat.timer.now

--- Answers: the text becomes part of the conversation and goes to everybody in it, once it is stored. The time since the
--- message before it counts as response time.
---     session:reply "Hello!"
---@param session table
---@param text string
---@return true
chat.session.method("reply", function(session, text)
  if type(text) ~= "string" or text == "" then
    error("session:reply needs a text", 2)
  end
  session:add_response_time(math.max(0, now() - session.last_activity_ms))
  session:add_tokens(math.floor(#text / BYTES_PER_TOKEN))
  session:append { sender = "ai", type = "ai_response", content = text }
  return session:send(answer(session, text))
end)
