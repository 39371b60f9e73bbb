-- In: scripts, and what people say. Out: what they hear. Why: a spec of a conversation reads as the conversation.
-- Everything behind it is real (chatbox_spec.c) but the sockets and the clock.
--     local world = scene.shipped()                           the scripts of this repository; { files = … } over them
--     local alice = world:connect "alice"
--     alice:says "hello"
--     alice:hears("ai_response").content                      the next document of that type
-- or, for bindings, with handlers of the spec's own: "word rest" calls word(session, connection, rest); what it returns
-- comes back as a list.
--     local alice = scene.case([[ return { sum = function() return 1 + 1 end } ]]):connect "alice"
--     alice:asks "sum"                                        -> { 2 }
-- Handlers have as much processor time as they need, on any machine, under any sanitizer. A spec that looks at time sets
-- SCRIPT_SLICE_BUDGET itself, to what scene.budget makes of it on this machine.
local chatbox = require "chatbox_spec"
local cjson = require "cjson.safe"

local scene = {}

local worlds = {}

-- Time ---------------------------------------------------------------------------------------------------------------

--- How many times as long as the reference this processor takes (speed.lua), at least 1.
scene.slowness = math.max(1, tonumber(os.getenv "SPEC_SLOWNESS") or 1)

--- So many milliseconds of the reference's processor time, as a setting.
function scene.budget(ms) return ("%dms"):format(math.ceil(ms * scene.slowness)) end

local PATIENT = { SCRIPT_SLICE_BUDGET = "1m", SCRIPT_MESSAGE_BUDGET = "10m" }

-- Clients ------------------------------------------------------------------------------------------------------------

local Client = {}
Client.__index = Client

local function without_null(value)
  if value == cjson.null then return nil end
  if type(value) == "table" then
    for k, v in pairs(value) do value[k] = without_null(v) end
  end
  return value
end

--- A text or a document, as it is. `more`: another message comes before the server looks.
function Client:sends(what, more)
  self.raw:says(type(what) == "table" and cjson.encode(what) or what, more)
end

--- A user_message with this content; `fields`: cid, session_id, …
function Client:says(content, fields)
  local document = { type = "user_message", content = content }
  for k, v in pairs(fields or {}) do document[k] = v end
  self:sends(document)
end

--- The next document, or the next of this type; nil when there is none.
function Client:hears(kind)
  for text in function() return self.raw:hears() end do
    local document = without_null(cjson.decode(text)) or text
    if not kind or document.type == kind then return document end
  end
end

--- Everything not yet heard.
function Client:hears_all()
  local all = {}
  for document in function() return self:hears() end do all[#all + 1] = document end
  return all
end

--- Sends, and returns the next document.
function Client:asks(what)
  self:hears_all()
  self:sends(what)
  return self:hears()
end

function Client:leave() self.raw:leave() end
function Client:closed() return self.raw:closed() end
function Client:stalls(on) self.raw:stalls(on) end
function Client:id() return self.raw:id() end

-- Worlds -------------------------------------------------------------------------------------------------------------

local UNITS = { ms = 1, s = 1000, m = 60000, h = 3600000 }
local World = {}

function World.__index(world, name)
  return World[name] or function(_, ...) return world.raw[name](world.raw, ...) end
end

--- A name, or { user, name, roles, wanted }.
function World:connect(who)
  who = type(who) == "table" and who or { user = who }
  return setmetatable({ raw = self.raw:connect(who) }, Client)
end

--- Milliseconds, or like "5m". Nothing waits: the clock is turned.
function World:advance(time)
  local n, unit = tostring(time):match "^(%d+)(%a*)$"
  self.raw:advance(n * (UNITS[unit] or 1))
end

--- The answer, with the decoded body as `json`; nil while the handler waits.
function World:http(request)
  return scene.answer(self.raw:request(request))
end

function scene.answer(request)
  local answer = request:answer()
  if answer then answer.json = without_null(cjson.decode(answer.body)) end
  return answer
end

-- Scripts ------------------------------------------------------------------------------------------------------------

local CASE = [[
local case = require "case"
local cjson = require "cjson"

-- A list with holes, as a spec wants to see it: null in each.
local function whole(list, count)
  for key, value in pairs(list) do
    if type(key) == "number" and key > count then count = key end
    if type(value) == "table" then whole(value, 0) end
  end
  for i = 1, count do
    if list[i] == nil then list[i] = cjson.null end
  end
  return list
end

local function tell(session, connection, ...)
  local values = { ... }
  for i = 1, select("#", ...) do
    local kind = type(values[i])
    if kind == "userdata" and values[i] ~= cjson.null or kind == "function" then values[i] = tostring(values[i]) end
  end
  whole(values, select("#", ...))
  if select("#", ...) > 0 then session:send(cjson.encode(values), { to = connection }) end
end

return {
  message = function(session, text, connection, busy)
    local word, rest = text:match "^(%S+)%s?(.*)$"
    if busy and not (case.immediate and case.immediate[word]) then return "later" end
    tell(session, connection, case[word](session, connection, rest))
  end,
  connect = function(session, connection)
    if case.connect then case.connect(session, connection) end
  end,
  http = function(request)
    if case.http then return case.http(request) end
  end,
  failed = function(session, connection, incident, message)
    session:send(cjson.encode { failed = message, incident = incident }, { to = connection })
  end,
  refused = function(session, connection, code, _, cid)
    session:send(cjson.encode { refused = code, cid = cid }, { to = connection })
  end,
  describe = case.describe,
}
]]

local shipped

local function read_shipped()
  local files, list = {}, assert(io.popen "find scripts -name '*.lua'")
  for path in list:lines() do
    local file = assert(io.open(path))
    files[path:gsub("^scripts/", "")] = file:read "*a"
    file:close()
  end
  list:close()
  return files
end

--- A world with these files and nothing else, or nil and why.
function scene.new(options)
  local settings = {}
  for _, some in ipairs { PATIENT, options.settings or {} } do
    for name, value in pairs(some) do settings[name] = value end
  end
  local raw, why = chatbox.new { files = options.files, settings = settings }
  if not raw then return nil, why end
  worlds[#worlds + 1] = raw
  return setmetatable({ raw = raw }, World)
end

--- A world with the scripts of this repository and options.files over them.
function scene.shipped(options)
  shipped = shipped or read_shipped()
  local files = {}
  for path, text in pairs(shipped) do files[path] = text end
  for path, text in pairs(options and options.files or {}) do files[path] = text end
  return assert(scene.new { files = files, settings = options and options.settings })
end

--- A world whose handlers are the fields of the table that this text returns.
function scene.case(text, settings)
  return assert(scene.new { files = { ["init.lua"] = CASE, ["case.lua"] = text }, settings = settings })
end

--- What the body of a handler(session, connection) returns, as a list; nil and the message when it raises.
function scene.run(body, settings)
  local world = scene.case("return { run = function(session, connection) " .. body .. "\nend }", settings)
  local heard = world:connect("alice"):asks "run"
  if heard and heard.failed then return nil, heard.failed end
  return heard
end

--- In after_each.
function scene.close()
  for _, world in ipairs(worlds) do world:close() end
  worlds = {}
end

--- The log since the last call, one line per event.
scene.log = chatbox.log
scene.docs = chatbox.docs

--- What a check says of these files: lines, and what it would ask of a VM.
scene.check = chatbox.check

return scene
