-- A user says something. It is recorded and shown to the other members already (router); here it gets its answer.
local bot = require "bots"
local envelope = require "lib.envelope"
local json = require "lib.json"

local say = {}

local loading = envelope.new("loading", "ai")
local silence = envelope.new("ai_response", "ai", "metadata")
local DONE = json.raw '{"streaming":"true","done":"true"}'

function say.user_message(session, request)
  if session:offer(request) then -- a handler asked a question and this is the answer
    return
  end
  session:send(loading(session))
  bot:answer(session, request)
  if not session:answered() then
    session:send(silence(session, DONE)) -- or a client that was told `loading` waits for ever
  end
end

return say
