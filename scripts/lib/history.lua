-- In: messages as the store has them. Out: a page of them as JSON, newest last, of bounded size.
-- Or, for a client that was away for a moment, what it missed as it would have heard it.
-- Why: a thousand messages of ten kilobytes are more than a connection's outbox takes. A page holds what fits, counted
-- in bytes from its newest message back, and says where the next older page begins.
local json = require "lib.json"

local history = {}

local WHOLE = json.raw '{"streaming":"true","done":"true"}' -- as it was sent
local EVENTS_MAX = 1000 -- as many as one slice may send

-- Whoever changed a row of the database may have put anything there; a client is told one of these all the same.
local SENDERS = { user = true, ai = true, admin = true, system = true }

-- session_id: for an event, which says where it is.
local function encode(message, session_id)
  local extra, metadata
  if message.extra then
    extra, metadata = json.decode(message.extra, "metadata")
  end
  if type(extra) ~= "table" then -- whatever wrote it
    extra, metadata = {}, nil
  end
  return json.encode {
    session_id = session_id,
    seq = message.seq,
    id = message.id,
    cid = message.cid,
    type = message.type,
    content = message.content,
    sender = SENDERS[message.sender] and message.sender or "system",
    timestamp = chat.timer.iso(message.at_ms),
    file_id = extra.file_id,
    file_url = extra.file_url,
    metadata = metadata and json.raw(metadata) -- byte for byte as the client sent it
      or (session_id and message.type == "ai_response" and WHOLE or nil),
    damaged = message.damaged,
  }
end

--- The last `limit` messages before `before_seq` (nil: the last ones of all) that fit into `bytes`; always one, if
--- there is one. Waits.
---@param session_id string
---@param before_seq integer?
---@param limit integer
---@param bytes integer
---@return { messages: table, before_seq: integer? }? page before_seq: ask with it for what is older
---@return string? why
---@return string? code
function history.page(session_id, before_seq, limit, bytes)
  local messages, why, code =
    chat.store.history { session_id = session_id, before_seq = before_seq, limit = limit }
  if code == "NOT_FOUND" then -- a conversation nobody has said anything in is not stored yet
    messages = {}
  elseif not messages then
    return nil, why, code
  end
  local first = #messages + 1
  local texts, size = {}, 0
  while first > 1 do
    local text = encode(messages[first - 1])
    size = size + #text + 1
    if size > bytes and first <= #messages then
      break
    end
    first = first - 1
    texts[first] = text
  end
  local oldest = messages[first]
  return {
    messages = json.raw("[" .. table.concat(texts, ",", first, #messages) .. "]"),
    before_seq = oldest and oldest.seq > 1 and oldest.seq or nil,
  }
end

--- The messages behind `seq` up to `top`, each as the text of its event; nil when there are not all of them, or they
--- are more than `bytes`. Waits, unless there are none.
---@param session_id string
---@param seq integer
---@param top integer
---@param bytes integer
---@return string[]? events
---@return string? code "DATABASE_ERROR"
function history.events(session_id, seq, top, bytes)
  local count = top - seq
  if count == 0 then
    return {}
  elseif count < 0 or count > EVENTS_MAX then
    return nil
  end
  local messages, _, code =
    chat.store.history { session_id = session_id, before_seq = top + 1, limit = count, bytes = bytes }
  if not messages then
    return nil, code ~= "NOT_FOUND" and "DATABASE_ERROR" or nil
  end
  local texts, size = {}, 0
  for i = 1, count do
    local message = messages[i]
    if not message or message.seq ~= seq + i then
      return nil
    end
    texts[i] = encode(message, session_id)
    size = size + #texts[i]
    if size > bytes then
      return nil
    end
  end
  return texts
end

return history
