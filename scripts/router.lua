-- In: the text of a message, the conversation and the connection it came on. Out: the call of the handler that
-- routes.lua names, with a checked request; or an error to the sender.
-- Why: everything all messages have in common happens here once, in this order: decode, find the route, check the
-- fields, limit, find the conversation, record. Handlers deal with what is left. This is the hot path: one decode, one
-- look-up. A route in quarantine, because its handler had to be ended too often, answers a sentence.
local access = require "lib.access"
local check = require "lib.check"
local envelope = require "lib.envelope"
local errors = require "lib.errors"
local json = require "lib.json"
local live = require "handlers.live"
local name = require "lib.name"
local text = require "lib.text"

local router = {}

local ASIDE = chat.config.get "SCRIPT_ASIDE_TEXT"
local aside = chat.guard.aside()
local count, take = chat.metrics.count, chat.limit.take
local decode, raw_json, send_error = json.decode, json.raw, errors.send
local held, hold, release = chat.connection.held, chat.connection.hold, chat.connection.release
local byte = string.byte
local setmetatable, type = setmetatable, type
local suggest = chat.guard.suggest

local FAILED = "Your message could not be answered. Please try to say it differently."
local ENDED = "Session not found: it has ended"
local LATER = "later" -- to the server: the conversation is busy, call again when it is not
local CID_MAX = 128 -- bytes
local OBJECT = byte "{"
local USER = { id = true, name = true, roles = true, admin = true }
local KIND_SHOWN = 64 -- bytes of an unknown type that are repeated in the error

local ack = envelope.new("ack", "system", "cid", "id", "seq", "duplicate")
local receipt = envelope.new("ack", "system", "cid") -- the server adds id, seq and duplicate
local said = {
  user_message = envelope.new("user_message", "user", "cid", "content", "metadata"),
  file_upload = envelope.new("file_upload", "user", "cid", "content", "file_id", "file_url", "metadata"),
  voice_message = envelope.new("voice_message", "user", "cid", "content", "file_id", "file_url", "metadata"),
}

-- Somebody who is not here: the request was made before the server ended.
local function absent(session)
  return { id = session.user_id, name = session.user_id, roles = {}, admin = false }
end

-- A request holds session, connection, type and the declared fields; user = { id, name, roles, admin } is looked up
-- when it is asked for. sent_metadata is the metadata byte for byte as the client wrote it, for whoever passes it on: a
-- number there may have more digits than Lua can hold.
-- Any other field is an error: a slip of the fingers would read as a field that is not there.
local FIELDS = {}
local NAMES = "type session connection stored session_id content cid user raw place begun sent_metadata metadata "
  .. "file_id file_url"
for field in NAMES:gmatch "%S+" do
  FIELDS[field] = true
end

local User = {
  __index = function(_, key)
    if not USER[key] then
      error("message.user has no field " .. tostring(key) .. suggest(key, USER), 2)
    end
  end,
}

local function metatable_of(fields)
  local known = {}
  for _, names in ipairs { FIELDS, fields } do
    for field in pairs(names) do
      known[field] = true
    end
  end
  return {
    __index = function(request, key)
      if key == "user" then
        local session, connection = request.session, request.connection
        local user = connection and chat.connection.user(session, connection) or absent(session)
        request.user = setmetatable(user, User)
        return user
      elseif not known[key] then
        error("a message has no field " .. tostring(key) .. suggest(key, known), 2)
      end
    end,
  }
end

-- An error about this request, under its sender's own number; for good, so nothing waits for it to come again.
local function refuse(request, code, message, more, asked)
  if request.cid and request.stored then
    release(request.cid)
  end
  send_error(request.session, request.connection, code, message, more, request.cid, asked)
end

-- It was refused, and can be sent again: what its client has said behind it is not stored in front of it.
local function put_off(request, why, wait_ms)
  local cid = request.cid
  if cid and request.stored then
    hold(cid, why, wait_ms)
  end
  errors.refused(request.session, request.connection, why, wait_ms, cid)
end

local function limited(request, limiter)
  local ok, _, _, retry_after_ms = take(limiter, request.session.user_id)
  if not ok then
    put_off(request, "LIMITED", retry_after_ms)
    return true
  end
  return false
end

-- One that its client has said before was put off, and has not come again: this one follows it. One without a cid never
-- holds anything up, because nobody could tell when it comes again.
local function waits(request)
  local why, wait_ms = held(request.cid)
  if why then
    errors.refused(request.session, request.connection, why, wait_ms, request.cid)
    return true
  end
  return false
end

-- To the conversation `other`, with the message; its answer comes there.
local function follow(request, other, raw)
  local session, connection = request.session, request.connection
  if not chat.connection.move(session, connection, other) then
    put_off(request, "FULL")
  elseif not chat.connection.forward(session, connection, other, raw) then -- too much waits there already
    put_off(request, "FULL")
  end
  return false
end

-- The conversation `ended` is over. A message that it has is acknowledged from there; anything else that is said begins
-- a new one, or goes on in the user's active one. true when that is where the connection is.
local function goes_on(request, ended, raw)
  local session, cid = request.session, request.cid
  if cid then
    local message, _, code = chat.store.message { session_id = ended.id, cid = cid }
    if message then
      release(cid)
      session:send(ack(ended, cid, message.id, message.seq, true), { to = request.connection })
      return false
    elseif code ~= "NOT_FOUND" then
      put_off(request, "STORE")
      return false
    end
  end
  if session.end_ms == 0 then
    return true
  end
  local current = session:current()
  if not current then
    put_off(request, "STORE")
    return false
  end
  live.moved(current, request.connection)
  session:commit() -- it hears where it is before it hears anything from there
  return follow(request, current, raw)
end

-- The message names another conversation than the one its connection is in. true when it stays here all the same: the
-- name is unknown, such as the UUID a client makes up for a new chat. Waits, but only for what looks like our own.
local function stays(request, route, raw, id)
  local session = request.session
  if not access.is_id(id) then
    return true
  end
  if route.rate == "live" and limited(request, "reads") then -- a look-up costs a read of the store
    return false
  end
  local other, code = access.read(id, session.user_id)
  if code == "UNKNOWN" then
    return true
  elseif code == "DATABASE_ERROR" then
    put_off(request, "STORE")
    return false
  elseif not other then
    refuse(request, code, nil, nil, id)
    return false
  elseif other.end_ms == 0 then
    return follow(request, other, raw)
  elseif route.stored then
    return goes_on(request, other, raw)
  elseif route.active then
    refuse(request, "NOT_FOUND", ENDED, nil, id)
    return false
  end
  request.place = other
  return true
end

-- The conversation a message is for, when it is not the one its connection is in. One that names none is for the one
-- its connection asked for: who asked for somebody else's does not write into another.
local function elsewhere(request)
  local session, id = request.session, request.session_id
  if not id or id == "" then
    id = chat.connection.wanted(session, request.connection)
  end
  return id and id ~= "" and id ~= session.id and id or nil
end

local function extra(request)
  if request.sent_metadata or request.file_id then
    return json.encode { metadata = request.sent_metadata, file_id = request.file_id, file_url = request.file_url }
  end
end

local function relay(session, request)
  local make = said[request.type]
  local document = request.file_id
      and make(session, request.cid, request.content, request.file_id, request.file_url, request.sent_metadata)
    or make(session, request.cid, request.content, request.sent_metadata)
  session:send(document, { except = request.connection, event = true })
end

-- Whether nobody has sent this message before. true only when that is sure. May wait for the store.
local function is_new(session, cid)
  local fresh = session:fresh(cid)
  if fresh == nil then
    local _, _, code = chat.store.message { session_id = session.id, cid = cid }
    return code == "NOT_FOUND" and session:fresh(cid) ~= false
  end
  return fresh
end

-- What may be there already: stored first, then looked at. false when it was there and is dealt with, or the store
-- failed.
local function settled(session, request)
  local stored = session:flush()
  if not stored then
    put_off(request, "STORE")
    return false
  end
  local message = stored[#stored]
  session:send(
    ack(session, request.cid, message.id, message.seq, message.duplicate),
    { to = request.connection }
  )
  if message.duplicate and not message.open then
    return false
  end
  session:commit()
  return true
end

-- Makes the message part of the conversation, in one write with what its handler does up to its first wait. With a cid
-- the sender is told once it is stored. The others see it once it is stored, with its number, and once. new: it was
-- not sent before. false when nothing more is to happen.
local function record(session, request, open, new)
  local cid = request.cid
  local id = session:append {
    sender = "user",
    type = request.type,
    content = request.content or "",
    cid = cid,
    extra = extra(request),
    open = open,
  }
  if not id then
    put_off(request, "STORE")
    return false
  end
  if session.name == "" and not session.name_damaged then
    live.gather(session)
    if request.type == "user_message" then
      session:set { name = name(request.content) }
    end
  end
  relay(session, request)
  if not new then
    return settled(session, request)
  end
  if cid then
    session:send(receipt(session, cid), { to = request.connection, receipt = true })
  end
  session:keep()
  return true
end

-- The handler under the name it is quarantined by. Its result is its own, never an answer to the server.
local function guarded(label, handler)
  return chat.guard.watch(label, function(session, request)
    handler(session, request)
  end)
end

local function handle(route, session, request)
  if aside[route.name] then
    refuse(request, "SERVICE_ERROR", ASIDE)
  elseif route.handler then
    route.handler(session, request)
  end
end

local function compile(routes)
  local compiled = {}
  for kind, route in pairs(routes) do
    if kind ~= "common" then
      local fields = {}
      for field, spec in pairs(routes.common) do
        fields[field] = spec
      end
      for field, spec in pairs(route.fields or {}) do
        fields[field] = spec
      end
      local judge, list = check.compile(fields)
      compiled[kind] = {
        check = judge,
        fields = list,
        handler = route[1] and guarded("route:" .. kind, route[1]),
        name = "route:" .. kind,
        immediate = route.immediate,
        rate = route.rate,
        stored = route.stored,
        active = route.active or route.stored,
        admin = route.admin,
        places = route.places,
        request = metatable_of(fields),
      }
    end
  end
  return compiled
end

-- Whether a field nobody has checked can be told back to its sender.
local function sayable(cid)
  return type(cid) == "string" and #cid <= CID_MAX
end

-- The name of a field that a client made up.
local function shown(field)
  return text.cut(text.clean(field), KIND_SHOWN)
end

local function unroutable(session, connection, document)
  local kind = type(document) == "table" and document.type
  if type(kind) == "string" then
    send_error(session, connection, "INVALID_FORMAT", "Invalid message format: unknown message type " .. shown(kind))
  else
    send_error(session, connection, "INVALID_FORMAT")
  end
end

local COLUMNS = { "session_id", "content", "cid" } -- what most messages have

local function fields_of(compiled)
  local fields = {}
  for kind, route in pairs(compiled) do
    fields[kind] = route.fields
  end
  return fields
end

-- Any message: the request and its route; or nil, when its sender has been told what is wrong with it, or LATER.
local function any(compiled, session, raw, connection, busy)
  local document, metadata, halved = decode(raw, "metadata")
  local kind = type(document) == "table" and document.type
  local route = kind and compiled[kind]
  if busy and not (route and route.immediate) then
    return nil, LATER
  elseif not route then
    return nil, unroutable(session, connection, document)
  end

  local request = setmetatable({
    type = kind,
    session = session,
    connection = connection,
    stored = route.stored, -- as a part of the conversation
  }, route.request)
  local wrong = route.check(document, request)
    or halved and "Invalid message format: " .. shown(halved) .. " contains half of a surrogate pair"
  if wrong then
    request.cid = sayable(document.cid) and document.cid or nil
    return nil, refuse(request, "INVALID_FORMAT", wrong)
  end
  if metadata and byte(metadata) == OBJECT then
    request.sent_metadata = raw_json(metadata)
  end
  return request, route
end

--- The function the server calls for every message.
---@param routes table as routes.lua
---@return fun(session: table, raw: string, connection: any, busy: boolean): string?
function router.new(routes)
  local compiled = compile(routes)
  local read = json.reader(COLUMNS, fields_of(compiled))

  return function(session, raw, connection, busy)
    local request
    local kind, session_id, content, cid, others = read(raw)
    local route = kind and compiled[kind]
    if route then
      if busy and not route.immediate then
        return LATER
      end
      request = setmetatable({
        type = kind,
        session = session,
        connection = connection,
        stored = route.stored,
        session_id = session_id,
        content = content,
        cid = cid,
      }, route.request)
      request = (not others or check.others(route.fields, others, request)) and request
    end
    if not request then
      request, route = any(compiled, session, raw, connection, busy)
      if not request then
        return route
      end
    end
    count "messages_received"

    if route.stored and waits(request) then
      return
    elseif route.rate and limited(request, route.rate) then
      return
    elseif route.admin and not (request.user and request.user.admin) then
      return refuse(request, "INSUFFICIENT_PERMISSIONS")
    end
    request.raw = route.places and raw or nil
    local id = not route.places and request.session_id ~= session.id and elsewhere(request)
    if id and not stays(request, route, raw, id) then
      return
    end
    local new = not (route.stored and request.cid) or is_new(session, request.cid)
    if route.active and session.end_ms ~= 0 then
      if not route.stored then
        return refuse(request, "NOT_FOUND", ENDED)
      elseif not goes_on(request, session, raw) then
        return
      end
    elseif route.stored and not record(session, request, route.handler ~= nil, new) then
      return
    end
    handle(route, session, request)
  end
end

--- The function the server calls for every message that it has stored and that nobody has dealt with: the server ended,
--- or the store failed, before its answer was stored. What was running when the server ended runs once more and not a
--- third time, for it may be what ended it.
---@param routes table as routes.lua
---@return fun(session: table, message: table) message: { type, content, cid?, extra?, attempts, begun }
function router.unanswered(routes)
  local compiled = compile(routes)

  return function(session, message)
    local route = compiled[message.type]
    if not (route and route.handler) then
      return
    end
    local request = setmetatable({
      type = message.type,
      session = session,
      content = message.content,
      cid = message.cid,
      begun = message.begun,
    }, route.request)
    for key, value in pairs(message.extra and decode(message.extra) or {}) do
      request[key] = value
    end
    if session.end_ms ~= 0 then
      return
    elseif message.attempts > 0 then
      refuse(request, "INTERNAL", FAILED)
      return session:reply(FAILED)
    end
    session:attempt()
    if session:flush() then
      handle(route, session, request)
    end
  end
end

--- The types of messages that become part of the conversation.
---@param routes table
---@return table type -> true
function router.stored(routes)
  local stored = {}
  for kind, route in pairs(compile(routes)) do
    stored[kind] = route.stored
  end
  return stored
end

--- The protocol as text, one line per kind of message.
---@param routes table
---@return string
function router.describe(routes)
  local lines = {}
  for kind, route in pairs(routes) do
    local words = {}
    for field, spec in pairs(kind == "common" and route or route.fields or {}) do
      words[#words + 1] = field .. "=" .. spec:gsub("%s+", " ")
    end
    table.sort(words)
    for _, flag in ipairs { "rate", "stored", "active", "immediate", "admin", "places" } do
      if kind ~= "common" and route[flag] then
        words[#words + 1] = route[flag] == true and "[" .. flag .. "]" or "[" .. flag .. " " .. route[flag] .. "]"
      end
    end
    lines[#lines + 1] = ("%-18s %s"):format(kind, table.concat(words, "  "))
  end
  table.sort(lines)
  return table.concat(lines, "\n")
end

return router
