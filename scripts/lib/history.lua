-- In: messages as the store has them. Out: a page of them as JSON, newest last, of bounded size.
-- Why: a thousand messages of ten kilobytes are more than a connection's outbox takes. A page holds what fits, counted
-- in bytes from its newest message back, and says where the next older page begins.
local json = require "lib.json"

local history = {}

local function encode(message)
  local extra, metadata
  if message.extra then
    extra, metadata = json.decode(message.extra, "metadata")
  end
  if type(extra) ~= "table" then -- whatever wrote it
    extra, metadata = {}, nil
  end
  return json.encode {
    seq = message.seq,
    id = message.id,
    type = message.type,
    content = message.content,
    sender = message.sender,
    timestamp = chat.timer.iso(message.at_ms),
    file_id = extra.file_id,
    file_url = extra.file_url,
    metadata = metadata and json.raw(metadata), -- byte for byte as the client sent it
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

return history
