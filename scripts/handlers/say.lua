-- A user says something. It is recorded and shown to the other members already (router); here it gets its answer.
local bot = require "bots"
local envelope = require "lib.envelope"

local say = {}

local loading = envelope.new("loading", "ai")

function say.user_message(session, request)
  if session:offer(request) then -- a handler asked a question and this is the answer
    return
  end
  session:send(loading(session))
  bot:answer(session, request)
end

return say
