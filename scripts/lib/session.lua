-- What every conversation can do besides what the server gives it: session:reply.
local envelope = require "lib.envelope"
local json = require "lib.json"

local BYTES_PER_TOKEN = 4 -- an estimate, as long as nobody counts for us
local RESPONSE_MAX_MS = 24 * 60 * 60 * 1000 -- whoever speaks a day later is not answering

local EXTRA = json.encode { version = chat.version } -- whoever reads it later can find the script that said it

local EVENT = { event = true }
-- A client of protocol 1 waits for the end of an answer that began with `loading`, whatever shape it has.
local WHOLE = json.raw '{"streaming":"true","done":"true"}'
local answer = envelope.new("ai_response", "ai", "content", "metadata")
local ended = envelope.new("connection_status", "system", "ended")
local now = chat.timer.now

--- Ends the conversation; everybody in it is told once it is stored. What they say next begins a new one.
---@param session table
---@return true?
---@return string? why
---@return string? code "GONE", "FULL"
chat.session.method("finish", function(session)
  if session.end_ms == 0 then
    session:send(ended(session, true))
  end
  return session:close()
end)

--- Answers: the text becomes part of the conversation and goes to everybody in it, once it is stored. The time since
--- the message before it counts as response time. In one that has ended nobody would hear it: that is an error.
---     session:reply "Hello!"
---@param session table
---@param text string
---@return true?
---@return string? why
---@return string? code "GONE", "FULL"
chat.session.method("reply", function(session, text)
  if type(text) ~= "string" or text == "" then
    error("session:reply needs a text", 2)
  end
  local sayable, why_not = json.try(text)
  if not sayable then
    error("session:reply: " .. why_not, 2)
  end
  local last_ms = session.last_activity_ms
  if not last_ms then
    return nil, "the conversation is gone", "GONE"
  elseif session.end_ms ~= 0 then
    error("session:reply: the conversation has ended (after waiting, look at session.end_ms)", 2)
  end
  local id, why, code = session:append { sender = "ai", type = "ai_response", content = text, extra = EXTRA }
  if not id then
    return nil, why, code
  end
  if last_ms > 0 then -- 0: nothing was said yet
    session:add_response_time(math.min(math.max(0, now() - last_ms), RESPONSE_MAX_MS))
  end
  session:add_tokens(math.floor(#text / BYTES_PER_TOKEN))
  return session:send(answer(session, text, WHOLE), EVENT)
end)
