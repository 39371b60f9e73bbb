-- In: what a document says. Out: its text, ready to be sent.
-- Why: everything that goes to a client has the same shape (type, session_id, fields, sender, timestamp). The fixed
-- parts are put together once, while the scripts load; per message there is one concatenation.
local json = require "lib.json"

local envelope = {}

local encode = json.encode
local now, iso = chat.timer.now, chat.timer.iso

local last_ms, last_text

--- The time of the server, UTC, milliseconds.
---@return string
function envelope.timestamp()
  local ms = now()
  if ms ~= last_ms then
    last_ms, last_text = ms, iso(ms)
  end
  return last_text
end
local timestamp = envelope.timestamp

local function field(key, value)
  if value == nil then
    return ""
  end
  return key .. encode(value)
end

--- A maker of documents of one type. It takes the conversation and a value for each of the fields; a field whose value
--- is nil is left out.
---     local said = envelope.new("user_message", "user", "content", "metadata")
---     session:send(said(session, "hello"))
---@param kind string the type on the wire
---@param sender "user"|"ai"|"admin"|"system"
---@param ... string names of fields
---@return fun(session: table, ...: any): string
function envelope.new(kind, sender, ...)
  local keys = {}
  for i, name in ipairs { ... } do
    keys[i] = "," .. encode(name) .. ":"
  end
  local k1, k2, k3, k4, k5, k6 = unpack(keys)
  local head = '{"type":' .. encode(kind) .. ',"session_id":"'
  local tail = ',"sender":' .. encode(sender) .. ',"timestamp":"'

  if not k2 then
    return function(session, v1)
      return head .. session.id .. '"' .. field(k1, v1) .. tail .. timestamp() .. '"}'
    end
  end
  if keys[7] then -- nothing that is sent often has so many
    return function(session, ...)
      local parts = {}
      for i = 1, #keys do
        parts[i] = field(keys[i], (select(i, ...)))
      end
      return head .. session.id .. '"' .. table.concat(parts) .. tail .. timestamp() .. '"}'
    end
  end
  return function(session, v1, v2, v3, v4, v5, v6)
    return head
      .. session.id
      .. '"'
      .. field(k1, v1)
      .. field(k2, v2)
      .. field(k3, v3)
      .. field(k4, v4)
      .. field(k5, v5)
      .. field(k6, v6)
      .. tail
      .. timestamp()
      .. '"}'
  end
end

return envelope
