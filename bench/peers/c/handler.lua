-- In: the text of a message. Out: the text of its answer; and the greeting. Why: see luajit.c.
local cjson = cjson -- luacheck: ignore

local types = { user_message = true, measure = true }
local own = ("%08x"):rep(4):format(math.random(2 ^ 31), math.random(2 ^ 31), math.random(2 ^ 31), math.random(2 ^ 31))

local second, said

local function now() -- whole seconds are enough for what is measured, and cost next to nothing
  local time = os.time()
  if time ~= second then
    second, said = time, os.date("!%Y-%m-%dT%H:%M:%S.000Z", time)
  end
  return said
end

local function failure(text)
  return cjson.encode { type = "error", error = { code = "INVALID_FORMAT", message = text, recoverable = true } }
end

local function answer(text)
  local ok, message = pcall(cjson.decode, text)
  if not ok then
    return failure "Invalid message format"
  end
  if type(message) ~= "table" or not types[message.type] or type(message.content) ~= "string" or message.content == "" then
    return failure "Message validation failed"
  end
  return cjson.encode {
    type = "ai_response", session_id = message.session_id or own, content = message.content, sender = "ai", timestamp = now(),
  }
end

local function greet()
  return cjson.encode { type = "connection_status", session_id = own, sender = "system", timestamp = now() }
end

return answer, greet
