-- In: what a document says. Out: its text, ready to be sent.
-- Why: everything that goes to a client has the same shape (type, session_id, fields, sender, timestamp). The fixed
-- parts are put together once, while the scripts load; per message the rest is written between them, in one go.
local json = require "lib.json"

local envelope = {}

--- What each kind is for, in both directions; the descriptions are made from it.
envelope.kinds = {
  -- from clients
  user_message = "Somebody said something",
  file_upload = "Somebody showed a file that lies elsewhere",
  voice_message = "Somebody spoke; the recording lies elsewhere",
  model_select = "Who is to answer from now on",
  help_request = "Asks for a person",
  history = "Messages that were said before",
  typing_indicator = "Somebody is typing",
  ping = "Is the server there?",
  refresh = "A new token, before the old one ends",
  hello = "Asks for version 2 of the protocol, and for what was missed",
  mark = "How far somebody has received and read",
  typing = "Somebody is typing, or has stopped",
  -- from the server
  connection_status = "Where the connection is, and what holds there now",
  welcome = "What holds in the conversation, and whether all that was missed follows",
  loading = "An answer is being made",
  ai_response = "An answer, or a part of one",
  admin_join = "An administrator has joined",
  admin_leave = "An administrator has left",
  notification = "A word from the server",
  pong = "It is",
  ack = "A message is stored under this id and seq",
  refreshed = "The new token is in force",
  error = "What could not be done, and why",
  bye = "The connection is about to be closed, and why",
}

local TEXT, FLAG, WHOLE = { type = "string" }, { type = "boolean" }, { type = "integer", minimum = 0 }

--- What each field that the server sends is, as JSON Schema.
envelope.fields = {
  content = TEXT,
  metadata = { type = "object" },
  file_id = TEXT,
  file_url = TEXT,
  model_id = TEXT,
  user_id = TEXT,
  cid = TEXT,
  id = TEXT,
  seq = WHOLE,
  before_seq = WHOLE,
  duplicate = FLAG,
  ended = FLAG,
  expires_at = { type = "string", format = "date-time" },
  messages = { type = "array", items = { type = "object" } },
  models = {
    type = "array",
    items = { type = "object", required = json.array { "id", "name" }, properties = { id = TEXT, name = TEXT } },
  },
  error = {
    type = "object",
    required = json.array { "code", "message", "recoverable" },
    properties = {
      code = TEXT,
      message = TEXT,
      recoverable = FLAG,
      retry_after = WHOLE,
      incident = TEXT,
      detail = TEXT,
    },
  },
  code = TEXT,
  reason = TEXT,
  retry_after_ms = WHOLE,
  v = WHOLE,
  connection_id = {},
  epoch = TEXT,
  top = WHOLE,
  recovered = FLAG,
  replayed = WHOLE,
  received = WHOLE,
  read = WHOLE,
  unread = WHOLE,
  ping_s = { type = "number" },
  now = {},
  who = {},
  state = TEXT,
  ttl = WHOLE,
}

--- Close codes: the number in the close frame, the words in `bye` (that of BYES in core/chat/bye.h, or those said in
--- place of it), whether to come back. A spec holds this against what the server says.
envelope.closes = {
  { 1000, { "closed" }, "no: the client asked for it" },
  { 1001, { "going_away" }, "yes, after `retry_after_ms`: the server stops" },
  { 1002, { "protocol_error" }, "no: the client broke the rules of WebSockets" },
  { 1007, { "bad_data" }, "no: a text was not UTF-8" },
  { 1008, { "refused" }, "no" },
  { 1009, { "too_big" }, "no, not with a message of that size" },
  { 1013, { "try_later" }, "yes, with back-off: too slow a reader, or too much to do" },
  { 4401, { "token_expired", "token_revoked" }, "with a new token" },
  { 4403, { "not_yours", "erased" }, "no, and what was unsent is to be forgotten" },
  { 4409, { "replaced" }, "only when its user wants it: another device has its place" },
}

--- Every maker there is: { kind, sender, fields }. `bye` is made by the server itself.
envelope.made = { { kind = "bye", sender = "system", fields = { "code", "reason", "retry_after_ms" } } }

local encode, template = json.encode, json.template
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

local function made(document, why)
  return document or error("json.encode: " .. why)
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
  envelope.made[#envelope.made + 1] = { kind = kind, sender = sender, fields = { ... } }
  local head = '{"type":' .. encode(kind) .. ',"session_id":"'
  local fill = template(head, ',"sender":' .. encode(sender) .. ',"timestamp":"', ...)

  if select("#", ...) < 2 then
    return function(session, value)
      return made(fill(session.id, timestamp(), value))
    end
  end
  return function(session, ...)
    return made(fill(session.id, timestamp(), ...))
  end
end

return envelope
