-- A small server in Lua: conversations, members, a store, a clock that stands still, and effects that wait for the end of
-- their slice. It keeps the contract of bindings/ far enough to run the scripts, in the real sandbox, as they will run.
--     local world = fake.new { config = { CHATBOX_BOT = "echo" }, sources = { ["bots.x"] = "…" } }
--     local anna = world:connect { user = "anna" }
--     anna:send { type = "ping" }   anna:heard() -> the documents that came since the last call
local cjson = require "cjson.safe"
local codec = require "chatbox_spec".json

local fake = {}

local START_MS = 1772463600000 -- 2026-03-02T15:00:00Z
local CONFIG = {
  CHATBOX_BOT = "echo", CHATBOX_PATH_PREFIX = "/chatbox", DEVELOPMENT = false, SCRIPT_ASIDE_TEXT = "Out of order.",
  REPLAY_LIMIT = 256 * 1024, WS_PING_PERIOD = 54000,
}
local LIMITS = {
  messages = { 100, 60000 },
  reads = { 240, 60000 },
  ends = { 30, 60000 },
  live = { 600, 60000 },
  admin = { 20, 60000 },
  admin_reads = { 240, 60000 },
  public = { 60, 60000 },
}
local RECORD = {
  "id", "user_id", "name", "model_id", "start_ms", "last_activity_ms", "end_ms", "help_requested", "admin_assisted",
  "assisting_admin_id", "assisting_admin_name", "total_tokens", "max_response_ms", "avg_response_ms", "top",
  "received", "read",
}

local function copy(t)
  local c = {}
  for k, v in pairs(t) do c[k] = v end
  return c
end

-- Time ---------------------------------------------------------------------------------------------------------------

local function iso(ms)
  return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(ms / 1000)) .. (".%03dZ"):format(ms % 1000)
end

local function parse_iso(text)
  local y, mo, d, h, mi, s, rest = text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d)(.*)$"
  if not y then return nil end
  local fraction, zone = rest:match "^%.(%d+)(.+)$"
  zone = zone or rest
  local sign, zh, zm = zone:match "^([+-])(%d%d):(%d%d)$"
  if not sign and zone:upper() ~= "Z" then return nil end
  y, mo, d, h, mi, s = tonumber(y), tonumber(mo), tonumber(d), tonumber(h), tonumber(mi), tonumber(s)
  local leap = (y % 4 == 0 and y % 100 ~= 0) or y % 400 == 0
  local days = { 31, leap and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
  if not days[mo] or d < 1 or d > days[mo] or h > 23 or mi > 59 or s > 59 then return nil end
  local a = math.floor((14 - mo) / 12)
  local yy, mm = y + 4800 - a, mo + 12 * a - 3
  local day = d + math.floor((153 * mm + 2) / 5) + 365 * yy + math.floor(yy / 4) - math.floor(yy / 100)
    + math.floor(yy / 400) - 32045 - 2440588
  local offset = sign and (zh * 3600 + zm * 60) * (sign == "-" and -1 or 1) or 0
  return (day * 86400 + h * 3600 + mi * 60 + s - offset) * 1000
    + math.floor(tonumber("0." .. (fraction or "0")) * 1000)
end

local function duration(value)
  if type(value) == "number" then return value end
  local n, unit = value:match "^(%d+)(%a+)$"
  return tonumber(n) * ({ ms = 1, s = 1000, m = 60000, h = 3600000 })[unit]
end

-- Slices: what a handler did since it last waited --------------------------------------------------------------------

local World = {}
World.__index = World

local function new_slice()
  return { undo = {}, appends = {}, sends = {}, dirty = {} }
end

function World:put(s, field, value)
  local old, slice = s[field], self.current.slice
  table.insert(slice.undo, function() s[field] = old end)
  slice.dirty[s] = true
  s[field] = value
end

local function undo(slice)
  for i = #slice.undo, 1, -1 do slice.undo[i]() end
end

-- What came after session:keep is forgotten.
local function cut(slice)
  local keep = slice.keep
  for i = #slice.undo, keep.undo + 1, -1 do
    slice.undo[i]()
    slice.undo[i] = nil
  end
  for _, list in ipairs { "appends", "sends" } do
    for i = #slice[list], keep[list] + 1, -1 do slice[list][i] = nil end
  end
end

-- The cid of what was kept.
local function kept_cid(slice)
  local first = slice.keep and slice.appends[1]
  return first and first.message.cid
end

-- Everything of the slice together, or nothing.
function World:commit(context)
  local slice = context.slice
  context.slice = new_slice()
  if self.store_fails and (#slice.appends > 0 or next(slice.dirty)) then
    undo(slice)
    return nil, "database operation failed", "STORE"
  end
  for _, append in ipairs(slice.appends) do
    local log, m = self.messages[append.session.id] or {}, append.message
    self.messages[append.session.id] = log
    local first = m.cid and log[m.cid]
    if not first then
      m.seq = #log + 1
      log[m.seq] = m
      append.session.top = m.seq
      if m.cid then log[m.cid] = m end
    end
    table.insert(context.flushed, { id = (first or m).id, seq = (first or m).seq, cid = m.cid, duplicate = first ~= nil })
  end
  for s in pairs(slice.dirty) do
    if s.stored then
      self.records[s.id] = copy(s)
    end
  end
  for _, send in ipairs(slice.sends) do
    local text, event = send.text, send.event
    local more = send.receipt and ',"duplicate":' .. tostring(not event.seq) or ""
    if event then text = text:gsub("}$", (',"id":"%s","seq":%d%s}'):format(event.id, event.seq or 0, more)) end
    for _, member in ipairs(event and not event.seq and not send.receipt and {} or self.clients) do -- a duplicate has got no number
      if (send.to and member == send.to) or (not send.to and member.session == send.session and member ~= send.except
        and (not send.protocol or send.protocol == (member.protocol or 1))) then
        table.insert(member.inbox, assert((codec.decode(text, "metadata"))))
        table.insert(member.raw, text)
      end
    end
  end
  return true
end

-- Handlers: each in a coroutine, waiting in self.waiting -------------------------------------------------------------

function World:step(context, ...)
  local outer = self.current
  self.current = context
  local result = { coroutine.resume(context.co, ...) }
  self.current = outer
  local keep, cid = context.slice.keep, kept_cid(context.slice)
  if not result[1] then
    if keep then
      cut(context.slice)
      local ok, _, code = self:commit(context)
      if not ok then context.refused(code, cid) end
    else
      undo(context.slice)
      context.slice = new_slice()
    end
    context.done = true
    context.failed(result[2])
  elseif coroutine.status(context.co) == "dead" then
    context.done = true
    if keep and self.store_held then
      table.insert(self.waiting, { late = function()
        local ok, _, code = self:commit(context)
        if not ok then context.refused(code, cid) end
      end })
    else
      local ok, _, code = self:commit(context)
      if not ok then context.refused(code, cid) end
    end
    context.result = result[2]
  else
    assert(result[2] == self.tag, "a yield without the tag reached the server")
    local op = result[3]
    local ok, message, code = self:commit(context)
    if not ok and (keep or not op.flush) then context.refused(code, cid) end
    op.failed = not ok and { nil, message, code } or nil
    op.context = context
    context.done = not ok and keep ~= nil
    if not context.done then table.insert(self.waiting, op) end
  end
  if context.done or context.gave_turn_up then context.ended() end
end

function World:start(fn, failed, refused, ended, ...)
  local context = { slice = new_slice(), flushed = {}, failed = failed, refused = refused, ended = ended }
  context.co = coroutine.create(fn)
  self:step(context, ...)
  return context
end

-- Completes what can be completed now.
function World:run()
  local progress = true
  while progress do
    progress = false
    for i, op in ipairs(self.waiting) do
      if (op.at and op.at <= self.now_ms) or (not op.at and not self.store_held) or op.ready then
        table.remove(self.waiting, i)
        if op.late then
          op.late()
        else
          self:step(op.context, unpack(op.failed or op.result(), 1, 3))
        end
        progress = true
        break
      end
    end
  end
end

function World:wait(op)
  if not self.current then error("cannot wait while a script is loading", 3) end
  return coroutine.yield(self.tag, op)
end

local function nothing() end

function World:plain(fn, ...)
  return self:start(fn, function(why) error(why, 0) end, nothing, nothing, ...)
end

-- One message; the others of its conversation wait in s.queue while a handler is busy.
function World:message(client, text, s)
  s = s or client.session
  if not s.busy and #s.queue > 0 then
    return table.insert(s.queue, { client, text })
  end
  local busy = s.busy
  local incident = function(why)
    self:plain(self.app.failed, s.handle, client, "incident-1", why)
  end
  local refused = function(code, about)
    self:plain(self.app.refused, s.handle, client, code, nil, about)
  end
  local context
  local ended = function()
    if s.busy and s.busy == context then s.busy = nil end
  end
  context = self:start(self.app.message, incident, refused, ended, s.handle, text, client, busy ~= nil)
  if context.result == "later" then
    table.insert(s.queue, { client, text })
  elseif not context.done and not context.gave_turn_up and not busy then
    s.busy = context
  end
end

function World:settle()
  repeat
    self:run()
    local moved = false
    for _, s in pairs(self.sessions) do
      if not s.busy and #s.queue > 0 then
        local queue = s.queue
        s.queue = {}
        for i, item in ipairs(queue) do
          if s.busy then table.insert(s.queue, item) else self:message(item[1], item[2], s) end
          moved = moved or i > 0
        end
      end
    end
  until not moved or self.store_held
end

-- Sessions -----------------------------------------------------------------------------------------------------------

function World:new_session(user_id, fields)
  self.ids = self.ids + 1
  local s = {
    id = ("%032x"):format(self.ids), user_id = user_id, name = "", model_id = "", assisting_admin_id = "",
    assisting_admin_name = "", start_ms = self.now_ms, last_activity_ms = 0, end_ms = 0, total_tokens = 0,
    top = 0, received = 0, read = 0,
    help_requested = false, admin_assisted = false, stored = false, max_response_ms = 0, avg_response_ms = 0,
    name_damaged = false, queue = {},
  }
  for k, v in pairs(fields or {}) do s[k] = v end
  self.sessions[s.id] = s
  s.handle = setmetatable({}, {
    __index = function(_, key)
      local method = self.methods[key]
      if method then
        return method
      elseif s.gone then
        return nil
      elseif key == "members" then
        local n = 0
        for _, c in ipairs(self.clients) do n = n + (c.session == s and 1 or 0) end
        return n
      end
      if s[key] == nil then error("a session has no field " .. tostring(key), 2) end
      return s[key]
    end,
    __tostring = function() return s.id end,
    __metatable = false,
  })
  self.of_handle[s.handle] = s
  if s.stored then self.records[s.id] = copy(s) end
  return s
end

local function session_methods(world)
  local of = world.of_handle
  local m = {}
  function m.set(h, fields)
    for k, v in pairs(fields) do world:put(of[h], k, v) end
    return true
  end
  function m.add_tokens(h, n) world:put(of[h], "total_tokens", of[h].total_tokens + n) return true end
  function m.add_response_time(h, ms)
    assert(ms >= 0 and ms <= 4e9, "a response time is 0 ms or more")
    world:put(of[h], "max_response_ms", math.max(ms, of[h].max_response_ms))
    return true
  end
  function m.mark(h, received, read)
    local s = of[h]
    if received > s.received then world:put(s, "received", math.min(received, s.top)) end
    if read > s.read then world:put(s, "read", math.min(read, s.top)) end
    return true
  end
  function m.append(h, message)
    local s = of[h]
    world.ids = world.ids + 1
    local stored = copy(message)
    world.current.answered = world.current.answered or message.sender == "ai"
    stored.id, stored.at_ms = ("%032x"):format(world.ids), world.now_ms
    world:put(s, "stored", true)
    world:put(s, "last_activity_ms", world.now_ms)
    table.insert(world.current.slice.appends, { session = s, message = stored })
    return stored.id
  end
  function m.close(h)
    if h.end_ms == 0 then world:put(of[h], "end_ms", world.now_ms) end -- the first end counts
    return true
  end
  function m.send(h, text, options)
    options = options or {}
    assert(type(text) == "string")
    local send = { session = of[h], text = text, to = options.to, except = options.except, receipt = options.receipt,
      protocol = options.protocol }
    for _, append in ipairs((options.event or options.receipt) and world.current.slice.appends or {}) do
      if append.session == of[h] then send.event = append.message end
    end
    assert(not options.event or send.event, "an event of no message")
    table.insert(world.current.slice.sends, send)
    return true
  end
  function m.fresh(h, cid)
    local log = world.messages[of[h].id]
    return not (log and log[cid])
  end
  function m.keep()
    local slice = world.current.slice
    slice.keep = { undo = #slice.undo, appends = #slice.appends, sends = #slice.sends }
    return true
  end
  function m.commit()
    local context = world.current
    local ok, _, code = world:commit(context)
    if not ok then context.refused(code) end
    return true
  end
  function m.flush()
    local context = world.current
    return world:wait { flush = true, result = function()
      local flushed = context.flushed
      context.flushed = {}
      return { flushed }
    end }
  end
  function m.ask(h, options)
    local s = of[h]
    local op = { at = world.now_ms + duration(options.within), session = s }
    op.result = function()
      s.asker = nil
      if op.ready then return { op.ready } end
      return { nil, "nobody answered in time", "TIMEOUT" }
    end
    s.asker, world.current.gave_turn_up = op, true
    return world:wait(op)
  end
  function m.offer(h, value)
    local op = of[h].asker
    if op and not op.ready then op.ready = value return true end
    return false
  end
  function m.answered() return world.current.answered or false end
  function m.attempt() return true end
  function m.current(h)
    return world:wait { result = function()
      for _, s in pairs(world.sessions) do
        if s.user_id == h.user_id and s.end_ms == 0 then return { s.handle } end
      end
      return { world:new_session(h.user_id).handle }
    end }
  end
  function m.times(h) return { max = of[h].max_response_ms, avg = 0, count = 0 } end
  return m
end

-- chat.* -------------------------------------------------------------------------------------------------------------

local function store_module(world)
  local function read(fn)
    return world:wait { result = function()
      if world.store_fails then return { nil, "database operation failed", "STORE" } end
      return fn()
    end }
  end
  local function record(id)
    local r = {}
    for _, field in ipairs(RECORD) do r[field] = world.records[id][field] end
    return r
  end
  local store = {}
  function store.session(id)
    return read(function()
      return world.records[id] and { record(id) } or { nil, "not found", "NOT_FOUND" }
    end)
  end
  function store.sessions(query)
    return read(function()
      local list = {}
      for id, r in pairs(world.records) do
        if r.user_id == query.user_id then list[#list + 1] = record(id) end
      end
      table.sort(list, function(a, b)
        return a.start_ms > b.start_ms or (a.start_ms == b.start_ms and a.id > b.id)
      end)
      while #list > query.limit do table.remove(list) end
      return { list }
    end)
  end
  function store.history(query)
    assert(query.limit >= 1 and query.limit <= 1000)
    return read(function()
      local log, list = world.messages[query.session_id] or {}, {}
      local last = math.min(#log, (query.before_seq or math.huge) - 1)
      for seq = math.max(1, last - query.limit + 1), last do list[#list + 1] = copy(log[seq]) end
      return { list }
    end)
  end
  function store.message(query)
    return read(function()
      for seq, message in ipairs(world.messages[query.session_id] or {}) do
        if message.cid == query.cid then return { { id = message.id, seq = seq, at_ms = message.at_ms } } end
      end
      return { nil, "not found", "NOT_FOUND" }
    end)
  end
  function store.epoch()
    return read(function() return { world.epoch or "00000000" } end)
  end
  function store.ready()
    return world:wait { result = function() return world.store_fails and { false, "no room is left" } or { true } end }
  end
  return store
end

local function chat_modules(world)
  local chat = { version = "0123456789ab", store = store_module(world) }
  chat.session = {
    method = function(name, fn)
      assert(not world.methods[name], "the name is taken")
      world.methods[name] = fn
    end,
    open = function(id)
      world.opened = world.opened + 1
      return world:wait { result = function()
        if world.store_fails then return { nil, "database operation failed", "STORE" } end
        local s = world.sessions[id]
        if not s then return { nil, "not found", "NOT_FOUND" } end
        return { s.handle }
      end }
    end,
  }
  chat.connection = {
    wanted = function(_, client)
      if client.gone then return nil, "it is gone", "GONE" end
      return client.wanted
    end,
    user = function(_, client)
      return { id = client.user, name = client.user, roles = client.admin and { "admin" } or {}, admin = client.admin }
    end,
    refresh = function(_, client, token)
      local found = world.tokens[token] or { code = "INVALID" }
      if found.code then return nil, "no", found.code, found.wait_ms end
      client.admin = found.admin
      return true, found.expires_ms
    end,
    move = function(_, client, other)
      client.session, client.wanted = world.of_handle[other], ""
      return true
    end,
    gather = function(session)
      local s, moved = world.of_handle[session], {}
      for _, client in ipairs(world.clients) do
        local from = client.session
        if from ~= s and from.user_id == s.user_id and from.end_ms ~= 0 and client.wanted ~= from.id then
          client.session = s
          table.insert(moved, client)
        end
      end
      return moved
    end,
    held = function() return false end, -- here nothing is refused before it is decoded; scenes show what waits
    hold = function() return true end,
    release = function() return true end,
    replaceable = function(_, client)
      client.protocol = 2
      return true
    end,
    catch_up = function() return true end, -- nothing happens here while a handler waits
    caught_up = function() return true end,
    close = function(_, client, code, reason)
      client.closed = { code = code, reason = reason }
      return true
    end,
    forward = function(_, client, other, text)
      if world.forward_fails then return nil, "it is full", "FULL" end
      local s = world.of_handle[other]
      table.insert(s.queue, { client, text })
      return true
    end,
  }
  chat.timer = {
    now = function() return world.now_ms end,
    iso = iso,
    parse_iso = parse_iso,
    duration = duration,
    sleep = function(time) return world:wait { at = world.now_ms + duration(time), result = function() return { true } end } end,
  }
  chat.log = {}
  for _, level in ipairs { "debug", "info", "warn", "error" } do
    chat.log[level] = function(message) table.insert(world.logged, level .. ": " .. message) end
  end
  chat.metrics = {
    add = function() end,
    count = function(name, n) world.counts[name] = (world.counts[name] or 0) + (n or 1) end,
    render = function() return "chatbox_messages_received_total 0\n" end,
  }
  chat.config = {
    get = function(name)
      if world.config[name] == nil then error("no setting " .. name, 2) end
      return world.config[name]
    end,
    allows = function(name, address, relayed)
      local list = world.config[name] or {}
      return #list == 0 or not relayed and list[address] == true
    end,
  }
  chat.guard = { watch = function(_, fn) return fn end, aside = function() return world.aside end,
    suggest = function() return "" end }
  chat.limit = { take = function(limiter, key)
    local most, window = unpack(LIMITS[limiter])
    assert(type(key) == "string")
    local log = world.taken[limiter .. key] or {}
    world.taken[limiter .. key] = log
    while log[1] and log[1] <= world.now_ms - window do table.remove(log, 1) end
    if #log >= most then return nil, "rate limit reached", "LIMITED", log[1] + window - world.now_ms end
    table.insert(log, world.now_ms)
    return true
  end }
  return chat
end

-- What a spec uses ---------------------------------------------------------------------------------------------------

local function read_script(name)
  local file = io.open("scripts/" .. name:gsub("%.", "/") .. ".lua")
  if file then
    local text = file:read "*a"
    file:close()
    return text
  end
end

--- The server's own codec, as its scripts have it.
function fake.cjson()
  return codec
end

function fake.new(options)
  options = options or {}
  local world = setmetatable({
    now_ms = START_MS, ids = 0, opened = 0, clients = {}, sessions = {}, records = {}, messages = {}, waiting = {},
    aside = {}, tokens = {}, counts = {}, logged = {}, taken = {}, of_handle = setmetatable({}, { __mode = "k" }), tag = newproxy(),
    config = setmetatable(options.config or {}, { __index = CONFIG }),
  }, World)
  world.methods = session_methods(world)
  world.chat = chat_modules(world)
  local sources = options.sources or {}
  local built = assert(loadfile "bindings/vm/sandbox.lua") {
    strings = { find = string.find, match = string.match, gmatch = string.gmatch, gsub = string.gsub, rep = string.rep,
      reverse = string.reverse, lower = string.lower, upper = string.upper, char = string.char },
    tables = { insert = table.insert, sort = table.sort },
    numbers = { string = {}, math = {}, bit = {} },
    text_max = 8 * 1024 * 1024,
    nesting = { protect = function() return 0 end, release = function() end, resume = function() return 0 end,
      back = function() return 0 end },
    chat = world.chat,
    cjson = fake.cjson(),
    yield_tag = world.tag,
    source = function(name) return sources[name] or read_script(name) end,
  }
  world.require = built.require
  world.app = options.app == false and {} or built.require "init"
  return world
end

local Client = {}
Client.__index = Client

--- A connection. who = { user =, admin =?, wanted =?, session =? (default: the user's active one, or a new one),
--- gone =? (it has left before anything ran) }
function World:connect(who)
  local client = setmetatable({ user = who.user, admin = who.admin or false, wanted = who.wanted or "", gone = who.gone,
    inbox = {}, raw = {}, world = self }, Client)
  client.session = who.session
  for _, s in pairs(self.sessions) do
    if not client.session and s.user_id == who.user and s.end_ms == 0 then client.session = s end
  end
  client.session = client.session or self:new_session(who.user)
  table.insert(self.clients, client)
  self:plain(self.app.connect, client.session.handle, client)
  self:settle()
  return client
end

--- Sends a text, or a table as JSON.
function Client:send(message)
  self.world:message(self, type(message) == "string" and message or assert(cjson.encode(message)))
  self.world:settle()
  return self
end

--- What came since the last call; the texts as second result.
function Client:heard()
  local documents, raw = self.inbox, self.raw
  self.inbox, self.raw = {}, {}
  return documents, raw
end

function World:http(request)
  request.query, request.body, request.headers = request.query or {}, request.body or "", request.headers or {}
  request.address = request.address or "192.0.2.1"
  request.auth = request.user and "ok" or request.auth or "missing"
  if type(request.user) == "string" then
    request.user = { id = request.user, name = request.user, roles = {}, admin = false }
  end
  local context = self:plain(self.app.http, request)
  self:settle()
  local response = context.result
  if response.body:sub(1, 1) == "{" then response.json = assert(cjson.decode(response.body)) end
  return response
end

--- Lets time pass.
function World:advance(time)
  self.now_ms = self.now_ms + duration(time)
  self:settle()
end

return fake
